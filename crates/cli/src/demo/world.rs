//! The processes and links of a run: one relay, the devices, a bad link before each.
//!
//! Started, killed and started again here; what they do is decided in `shift`. The relay and each
//! device are processes of this same program, in folders of their own.

use std::net::{Ipv4Addr, SocketAddr, UdpSocket};
use std::path::{Path, PathBuf};
use std::process::Stdio;
use std::time::Duration;

use anyhow::{Context as _, bail};
use gridbeat_badlink::{Forwarder, Profile};
use gridbeat_base::Scope;
use tokio::io::{AsyncBufReadExt as _, BufReader};
use tokio::process::Command;
use tokio::sync::mpsc;

use super::child::{Child, FromChild};
use crate::relay;

/// How long the relay may take until it listens: seconds on a busy machine, with a database to open.
const RELAY_START_MAX: Duration = Duration::from_secs(20);

/// How long a device may take to enrol, when all of them do at once on a busy machine.
const ENROL_MAX: Duration = Duration::from_secs(60);

/// How long the relay may take to drain and end.
const RELAY_END_MAX: Duration = Duration::from_secs(15);

/// The relay's file of configuration, in its folder.
const RELAY_CONFIG: &str = "relay.toml";

/// What is to be set up for one device.
#[derive(Clone, Debug)]
pub(crate) struct Wanted {
    /// Its name at the relay.
    pub(crate) name: String,
    /// The scopes it may read and write.
    pub(crate) scopes: Vec<Scope>,
}

/// All processes and links.
#[derive(Debug)]
pub(crate) struct World<P> {
    program: PathBuf,
    /// Where everything is.
    folder: PathBuf,
    relay: Option<tokio::process::Child>,
    /// The devices, the centre's last.
    pub(crate) devices: Vec<Station<P>>,
    from_children: mpsc::UnboundedSender<FromChild>,
}

/// A device with its link.
#[derive(Debug)]
pub(crate) struct Station<P> {
    /// Its folder.
    folder: PathBuf,
    /// The link before it.
    pub(crate) link: Forwarder,
    /// Its process, while it lives.
    pub(crate) child: Option<Child<P>>,
    /// Which life it is in.
    life: u32,
}

impl<P> World<P> {
    /// Sets up the relay and the devices' folders; the relay runs then, and the links are good.
    pub(crate) async fn set_up(
        folder: &Path,
        wanted: &[Wanted],
        from_children: mpsc::UnboundedSender<FromChild>,
    ) -> anyhow::Result<Self> {
        let program = std::env::current_exe().context("could not find this program's own file")?;
        let relay_folder = folder.join("relay");
        std::fs::create_dir_all(&relay_folder)?;
        let listen = free_address()?;
        let config = relay_folder.join(RELAY_CONFIG);
        relay::init(&config, listen, local(0)).context("could not set up the relay")?;
        let mut devices = Vec::new();
        for number in 1..=wanted.len() {
            let folder = folder.join(format!("device-{number:02}"));
            std::fs::create_dir_all(&folder)?;
            let link = Forwarder::udp(local(0), listen, Profile::lan()).await?;
            devices.push(Station {
                folder,
                link,
                child: None,
                life: 0,
            });
        }
        let mut world = Self {
            program,
            folder: folder.to_owned(),
            relay: None,
            devices,
            from_children,
        };
        world.start_relay().await?;
        world.enrol(wanted).await?;
        Ok(world)
    }

    /// Asks every device in by a code, and has each of them enrol by it: as programs of their own, over
    /// their links.
    async fn enrol(&self, wanted: &[Wanted]) -> anyhow::Result<()> {
        let mut enrolling = Vec::new();
        for (station, device) in self.devices.iter().zip(wanted) {
            let via = station.link.local_addr().to_string();
            let config = self.relay_config();
            let invitation = relay::invite(&config, &device.name, &device.scopes, &via)?;
            let process = Command::new(&self.program)
                .args(["device", "--dir"])
                .arg(&station.folder)
                .args(["enrol", "--json", "--name", "demo", &invitation])
                .stdin(Stdio::null())
                .stdout(Stdio::piped())
                .kill_on_drop(true)
                .spawn()
                .context("could not start a device's enrolment")?;
            enrolling.push((&device.name, process));
        }
        for (name, process) in enrolling {
            let enrolled = tokio::time::timeout(ENROL_MAX, process.wait_with_output()).await;
            let enrolled = enrolled.context("a device was not enrolled in time")??;
            if !enrolled.status.success() {
                let said = String::from_utf8_lossy(&enrolled.stdout);
                bail!("{name} was not enrolled: {said}");
            }
        }
        Ok(())
    }

    /// Starts the relay and waits until it listens.
    pub(crate) async fn start_relay(&mut self) -> anyhow::Result<()> {
        let folder = self.folder.join("relay");
        let log = std::fs::File::options()
            .create(true)
            .append(true)
            .open(folder.join("relay.log"))?;
        let mut process = Command::new(&self.program)
            .args(["relay", "run", "--json", "--config"])
            .arg(folder.join(RELAY_CONFIG))
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .stderr(log)
            .kill_on_drop(true)
            .spawn()
            .context("could not start the relay")?;
        let stdout = process.stdout.take().context("no standard output")?;
        let mut lines = BufReader::new(stdout).lines();
        let first = tokio::time::timeout(RELAY_START_MAX, lines.next_line()).await;
        match first.context("the relay did not listen in time")?? {
            Some(line) if line.contains("listening") => {}
            Some(line) => bail!("the relay said something else than that it listens: {line}"),
            None => bail!(
                "the relay ended at once: see {}",
                folder.join("relay.log").display()
            ),
        }
        self.relay = Some(process);
        Ok(())
    }

    /// Kills the relay at once.
    pub(crate) async fn kill_relay(&mut self) -> anyhow::Result<()> {
        if let Some(mut relay) = self.relay.take() {
            relay.kill().await.context("could not kill the relay")?;
        }
        Ok(())
    }

    /// Ends the relay as an operator does, and waits until it is drained.
    pub(crate) async fn end_relay(&mut self) -> anyhow::Result<()> {
        let Some(mut relay) = self.relay.take() else {
            return Ok(());
        };
        let id = relay.id().context("the relay has ended by itself")?;
        let id = nix::unistd::Pid::from_raw(i32::try_from(id)?);
        nix::sys::signal::kill(id, nix::sys::signal::Signal::SIGTERM)?;
        let status = tokio::time::timeout(RELAY_END_MAX, relay.wait()).await;
        let status = status.context("the relay did not drain in time")??;
        if !status.success() {
            bail!("the relay ended with {status}");
        }
        Ok(())
    }

    /// Returns the most memory the relay's process has had so far.
    pub(crate) fn relay_peak_rss_bytes(&self) -> Option<u64> {
        let id = self.relay.as_ref()?.id()?;
        peak_rss_bytes(&std::fs::read_to_string(format!("/proc/{id}/status")).ok()?)
    }

    /// Starts a device's process: the first time, or again on the same file.
    pub(crate) fn start_device(&mut self, device: usize) -> anyhow::Result<()> {
        let station = &mut self.devices[device];
        station.life += 1;
        let out = self.from_children.clone();
        let child = Child::start(&self.program, &station.folder, device, station.life, out)?;
        station.child = Some(child);
        Ok(())
    }

    /// Kills a device's process at once.
    pub(crate) async fn kill_device(&mut self, device: usize) -> anyhow::Result<()> {
        match self.devices[device].child.take() {
            Some(child) => child.kill().await,
            None => Ok(()),
        }
    }

    /// Returns the relay's file of configuration.
    pub(crate) fn relay_config(&self) -> PathBuf {
        self.folder.join("relay").join(RELAY_CONFIG)
    }
}

fn local(port: u16) -> SocketAddr {
    SocketAddr::from((Ipv4Addr::LOCALHOST, port))
}

/// Finds a UDP port nobody uses; the relay keeps it over its death.
fn free_address() -> anyhow::Result<SocketAddr> {
    Ok(UdpSocket::bind(local(0))?.local_addr()?)
}

/// Reads the high-water mark of resident memory from `/proc/<id>/status`.
fn peak_rss_bytes(status: &str) -> Option<u64> {
    let line = status
        .lines()
        .find_map(|line| line.strip_prefix("VmHWM:"))?;
    let kib: u64 = line.trim().strip_suffix("kB")?.trim().parse().ok()?;
    Some(kib * 1024)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_peak_of_memory_is_read_in_bytes() {
        let status = "Name:\tgridbeat\nVmPeak:\t  90000 kB\nVmHWM:\t   31234 kB\nVmRSS:\t 1 kB\n";
        assert_eq!(peak_rss_bytes(status), Some(31_234 * 1024));
        assert_eq!(peak_rss_bytes("Name: x"), None);
    }
}
