//! A relay and devices over real sockets of the loopback.
//!
//! A relay whose memory is measured is a process of its own: this program again. Its database may have
//! been made by `stock` before. Devices are enrolled by codes, over the link, as any device is.

use std::io::{self, Read as _, Write as _};
use std::net::{Ipv4Addr, SocketAddr};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use anyhow::{Context as _, bail, ensure};
use clap::Args;
use gridbeat_base::{Scope, Verbs};
use gridbeat_device::{
    Config, Device, DeviceBundle, Enrolment, Invitation, LinkNews, LinkPolicy, SyncState,
};
use gridbeat_relay::{Invite, Operator, RelayConfig, RelayHandle};
use serde_json::{Value, json};
use tokio::sync::broadcast::Receiver;
use tokio::sync::broadcast::error::RecvError;

use super::stock::INSTALL;

/// How long anything over the loopback may take before the bench gives up: a busy machine, a large
/// database, a hundred times the usual.
pub(super) const PATIENCE: Duration = Duration::from_mins(2);

/// What the relay in a process of its own is told.
#[derive(Debug, Args)]
pub(super) struct ChildArgs {
    /// The directory of its files.
    #[arg(long)]
    data: PathBuf,
}

/// Returns the configuration of a relay with its files in that directory, on free ports.
pub(super) fn relay_config(data: &Path) -> RelayConfig {
    let free = SocketAddr::from((Ipv4Addr::LOCALHOST, 0));
    RelayConfig {
        listen: free,
        admin: free,
        data: data.to_owned(),
        ..RelayConfig::default()
    }
}

/// Serves until standard input ends.
pub(super) fn serve_child(args: &ChildArgs) -> anyhow::Result<()> {
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .enable_all()
        .build()?;
    let relay = runtime.block_on(gridbeat_relay::start(
        relay_config(&args.data),
        super::kinds(),
    ))?;
    super::say(&json!({ "listening": relay.addr() }), true)?;
    io::stdin().lock().read_to_end(&mut Vec::new())?;
    ensure!(
        runtime.block_on(relay.stop()),
        "the relay did not drain in time"
    );
    Ok(())
}

/// A relay in a process of its own; killed when dropped.
#[derive(Debug)]
pub(super) struct RelayProcess {
    child: Child,
    addr: SocketAddr,
    operator: Operator,
}

impl RelayProcess {
    /// Starts it over the files of a directory, and waits until it listens.
    pub(super) fn start(data: &Path) -> anyhow::Result<Self> {
        let program = std::env::current_exe().context("could not find this program's own file")?;
        let mut child = Command::new(&program)
            .args(["bench", "relay-child", "--data"])
            .arg(data)
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .context("could not start the relay")?;
        match listening(&mut child) {
            Ok(addr) => Ok(Self {
                child,
                addr,
                operator: Operator::open(&relay_config(data))?,
            }),
            Err(error) => {
                kill(&mut child);
                Err(error)
            }
        }
    }

    /// Returns the id of its process.
    pub(super) fn id(&self) -> u32 {
        self.child.id()
    }

    /// Has a device enrol that may write in a scope.
    pub(super) async fn enrol(&mut self, scope: &Scope) -> anyhow::Result<DeviceBundle> {
        let (invitation, _) = self.operator.invite(&invite(scope, self.addr))?;
        redeem(invitation).await
    }

    /// Returns the address it listens at.
    pub(super) const fn addr(&self) -> SocketAddr {
        self.addr
    }

    /// Has it drain, and waits for its end.
    pub(super) fn stop(mut self) -> anyhow::Result<()> {
        drop(self.child.stdin.take());
        let status = self.child.wait()?;
        ensure!(status.success(), "the relay ended badly: {status}");
        Ok(())
    }
}

impl Drop for RelayProcess {
    fn drop(&mut self) {
        kill(&mut self.child);
    }
}

fn kill(child: &mut Child) {
    // Errors mean that it has ended already.
    let _ = child.kill();
    let _ = child.wait();
}

/// Reads a line of JSON, and nothing beyond it.
pub(super) fn first_line(from: &mut impl io::Read) -> anyhow::Result<Value> {
    let mut line = Vec::new();
    let mut byte = [0];
    while from.read(&mut byte)? > 0 && byte != *b"\n" {
        line.extend(byte);
    }
    serde_json::from_slice(&line).context("what was said is no JSON")
}

fn listening(child: &mut Child) -> anyhow::Result<SocketAddr> {
    let stdout = child
        .stdout
        .as_mut()
        .context("the relay has no standard output")?;
    let said = first_line(stdout).context("the relay did not say where it listens")?;
    let addr = said["listening"]
        .as_str()
        .context("the relay did not say where it listens")?;
    Ok(addr.parse()?)
}

/// Has a device enrol that may write in a scope and reaches the relay at `via`.
pub(super) async fn enrol(
    relay: &RelayHandle,
    scope: &Scope,
    via: SocketAddr,
) -> anyhow::Result<DeviceBundle> {
    let (invitation, _) = relay.invite(invite(scope, via)).await?;
    redeem(invitation).await
}

/// Has a device enrol for each scope at a relay that runs over these files only for that: what its file and the
/// relay's then hold can be made by `stock`.
pub(super) async fn enrol_ahead(
    config: &RelayConfig,
    scopes: &[Scope],
) -> anyhow::Result<Vec<DeviceBundle>> {
    let relay = gridbeat_relay::start(config.clone(), super::kinds()).await?;
    let mut bundles = Vec::new();
    for scope in scopes {
        bundles.push(enrol(&relay, scope, relay.addr()).await?);
    }
    relay.stop().await;
    Ok(bundles)
}

fn invite(scope: &Scope, relay: SocketAddr) -> Invite {
    Invite {
        name: "bench".to_owned(),
        grants: [(scope.clone(), Verbs::WORK.into())].into(),
        relay: relay.to_string(),
        auto_approve: true,
    }
}

async fn redeem(invitation: Invitation) -> anyhow::Result<DeviceBundle> {
    let place = tempfile::tempdir()?;
    let file = place.path().join("bundle.json");
    let enrolment = Enrolment::begin(invitation, &file, INSTALL, "bench")?;
    Ok(enrolment.finish(drop).await?)
}

/// Opens a device that has a link to a relay.
pub(super) async fn connect(
    file: PathBuf,
    bundle: DeviceBundle,
    link: LinkPolicy,
) -> anyhow::Result<Device> {
    let mut config = Config::new(file, bundle, INSTALL, super::kinds());
    config.link = link;
    Ok(Device::open(config).await?)
}

/// Waits until a device is in sync.
pub(super) async fn in_sync(device: &Device) -> anyhow::Result<()> {
    settled(device, "come in sync", |state| {
        matches!(state, SyncState::InSync { .. })
    })
    .await
}

/// Waits until a device has no link.
pub(super) async fn offline(device: &Device) -> anyhow::Result<()> {
    settled(device, "end its link", |state| {
        matches!(state, SyncState::Offline { .. })
    })
    .await
}

async fn settled(
    device: &Device,
    what: &str,
    is_it: impl Fn(&SyncState) -> bool,
) -> anyhow::Result<()> {
    let mut states = device.watch_sync_state();
    let wait = states.wait_for(|state| is_it(state) || matches!(state, SyncState::Problem { .. }));
    let Ok(state) = tokio::time::timeout(PATIENCE, wait).await else {
        bail!("the device did not {what} in {PATIENCE:?}");
    };
    let state = state?.clone();
    ensure!(is_it(&state), "the device did not {what}: {state:?}");
    Ok(())
}

/// Waits until so many changes were acknowledged; returns when that was, `None` if there are none.
pub(super) async fn acknowledged(
    news: &mut Receiver<LinkNews>,
    count: u64,
) -> anyhow::Result<Option<Instant>> {
    let mut open = count;
    let wait = async {
        while open > 0 {
            match news.recv().await {
                Ok(LinkNews::Acknowledged { changes, .. }) => {
                    open = open.saturating_sub(changes as u64)
                }
                Ok(
                    LinkNews::Up { .. }
                    | LinkNews::EarlyRefused
                    | LinkNews::Down { .. }
                    | LinkNews::Renewed { .. },
                ) => {}
                Err(RecvError::Lagged(_)) => bail!("acknowledgements were missed"),
                Err(RecvError::Closed) => bail!("the device stopped"),
            }
        }
        Ok((count > 0).then(Instant::now))
    };
    let waited = tokio::time::timeout(PATIENCE, wait).await;
    waited.context("not everything was acknowledged in time")?
}

/// Tells people who wait what is being done; figures alone go to standard output.
pub(super) fn tell(words: &str) {
    // Nothing can be told to someone who closed standard error.
    let _ = writeln!(io::stderr().lock(), "{words}");
}
