//! `bench workloads`: the workloads that other engines are measured by, over bad links, by this engine alone.
//!
//! The workloads are files of actions, made by the harness that all engines share (`bench peer` is this engine's side of
//! it). Here relay and device are processes of this very binary, with an emulated link between them. Each pair of a workload
//! and a link begins from copies of the same prepared stores.
//!
//! - `side`: one side, in a process of its own
//! - `known`: what the figures are held to, what others took and what cannot be beaten
//! - `plot`: all of it as a picture

mod known;
mod plot;
mod side;

use std::fs;
use std::net::{Ipv4Addr, SocketAddr};
use std::path::{Path, PathBuf};

use anyhow::{Context as _, bail, ensure};
use clap::Args;
use gridbeat_badlink::{Forwarder, Profile};
use serde_json::{Value, json};
use tempfile::TempDir;

use self::side::{Side, peer};
use super::field::tell;
use super::measure::rounded;

/// Which workloads, over which links.
#[derive(Debug, Args)]
pub(super) struct WorkloadsArgs {
    /// The folder of the workloads' files, as the harness's generator makes them.
    #[arg(long, value_name = "FOLDER")]
    ops: PathBuf,
    /// The workloads: a shift that comes back, a reconnect, a first sync.
    #[arg(
        long,
        value_name = "NAMES",
        value_delimiter = ',',
        default_value = "w1,w2,w3"
    )]
    only: Vec<String>,
    /// The links.
    #[arg(
        long,
        value_name = "NAMES",
        value_delimiter = ',',
        default_value = "lan,rtt400,slow,lossy,flap"
    )]
    links: Vec<String>,
    /// Let no UDP through.
    #[arg(long)]
    tcp: bool,
    /// Where a picture of the times goes, as SVG.
    #[arg(long, value_name = "FILE")]
    svg: Option<PathBuf>,
}

/// One workload.
struct Workload {
    name: &'static str,
    /// What both hold in the beginning; and what each did since.
    base: &'static str,
    local: &'static [&'static str],
    remote: Option<&'static str>,
}

const WORKLOADS: [Workload; 3] = [
    Workload {
        name: "w1",
        base: "w1_base.jsonl",
        local: &["w1_local_inc.jsonl", "w1_local_log.jsonl"],
        remote: Some("w1_remote.jsonl"),
    },
    Workload {
        name: "w2",
        base: "w3_base.jsonl",
        local: &["w2_local.jsonl"],
        remote: Some("w2_remote.jsonl"),
    },
    Workload {
        name: "w3",
        base: "w3_base.jsonl",
        local: &[],
        remote: None,
    },
];

/// One workload over one link.
struct Run {
    workload: &'static str,
    link: String,
    /// From the word to the last of both sides that says it holds everything.
    seconds: f64,
    figures: Value,
}

/// Prepares the stores of each workload once, and lets the sides meet over each link.
pub(super) fn run(args: &WorkloadsArgs, folder: &TempDir) -> anyhow::Result<Value> {
    for name in &args.only {
        let is_known = WORKLOADS.iter().any(|workload| workload.name == name);
        ensure!(is_known, "there is no workload {name}, but w1, w2 and w3");
    }
    for link in &args.links {
        let names = Profile::NAMES;
        ensure!(
            names.contains(&link.as_str()),
            "there is no link {link}, but {names:?}"
        );
    }
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .enable_all()
        .build()?;
    let pool = folder.path().join("pool");
    let mut runs = Vec::new();
    for workload in &WORKLOADS {
        if !args.only.iter().any(|name| name == workload.name) {
            continue;
        }
        tell(&format!("preparing {}", workload.name));
        let stores = Stores::prepare(workload, &args.ops, folder.path(), &pool)?;
        for link in &args.links {
            tell(&format!("{} over {link}", workload.name));
            let over = Over {
                link,
                tcp: args.tcp,
            };
            let meeting = stores.meet(workload, over, folder.path(), &pool);
            runs.push(runtime.block_on(meeting)?);
        }
    }
    if let Some(file) = &args.svg {
        let written = fs::write(file, plot::draw(&runs));
        written.with_context(|| format!("{} cannot be written", file.display()))?;
    }
    let runs: Vec<Value> = runs.iter().map(Run::said).collect();
    Ok(json!({ "bench": "workloads", "tcp": args.tcp, "runs": runs }))
}

impl Run {
    fn said(&self) -> Value {
        let mut said = json!({
            "workload": self.workload, "link": self.link, "done_s": rounded(self.seconds),
        });
        if let (Some(said), Some(figures)) = (said.as_object_mut(), self.figures.as_object()) {
            said.extend(figures.clone());
        }
        said
    }
}

/// What the sides meet over.
#[derive(Clone, Copy)]
struct Over<'a> {
    link: &'a str,
    tcp: bool,
}

impl Over<'_> {
    async fn forwarder(self, relay: SocketAddr) -> anyhow::Result<Forwarder> {
        let profile = Profile::named(self.link).context("looked at before")?;
        let here = SocketAddr::from((Ipv4Addr::LOCALHOST, 0));
        Ok(if self.tcp {
            Forwarder::tcp(here, relay, profile).await?
        } else {
            Forwarder::udp(here, relay, profile).await?
        })
    }
}

/// The prepared stores of a workload, and what each side is to hold in the end.
struct Stores {
    device: Option<PathBuf>,
    relay: PathBuf,
    device_expects: PathBuf,
    relay_expects: PathBuf,
}

impl Stores {
    fn prepare(
        workload: &Workload,
        ops: &Path,
        folder: &Path,
        pool: &Path,
    ) -> anyhow::Result<Self> {
        let at = |name: &str| folder.join(format!("{}-{name}", workload.name));
        let file = |name: &str| {
            let file = ops.join(name);
            ensure!(
                file.is_file(),
                "{} is not there: make the workloads first",
                file.display()
            );
            Ok(file)
        };
        let (base, base_state) = (at("base"), at("base.json"));
        let words = |mode: &str, dir: &Path, ops: &Path, state: &Path| {
            let words = [
                mode.as_ref(),
                "--dir".as_ref(),
                dir.as_os_str(),
                "--ops".as_ref(),
            ];
            let more = [ops.as_os_str(), "--state".as_ref(), state.as_os_str()];
            peer(pool, words.into_iter().chain(more))
        };
        words("base", &base, &file(workload.base)?, &base_state)?;
        let nothing = at("nothing.json");
        fs::write(&nothing, "{}")?;
        let Some(remote) = workload.remote else {
            return Ok(Self {
                device: None,
                relay: base,
                device_expects: base_state,
                relay_expects: nothing,
            });
        };
        let (device, relay) = (at("device"), at("relay"));
        copy(&base, &device)?;
        copy(&base, &relay)?;
        let (device_expects, relay_expects) = (at("remote.json"), at("local.json"));
        let local: Vec<PathBuf> = workload
            .local
            .iter()
            .map(|name| file(name))
            .collect::<Result<_, _>>()?;
        let local = local
            .iter()
            .map(|file| file.as_os_str())
            .collect::<Vec<_>>();
        words(
            "apply",
            &device,
            Path::new(&local.join(",".as_ref())),
            &relay_expects,
        )?;
        words("apply", &relay, &file(remote)?, &device_expects)?;
        Ok(Self {
            device: Some(device),
            relay,
            device_expects,
            relay_expects,
        })
    }

    /// Lets copies of both meet over a link.
    async fn meet(
        &self,
        workload: &Workload,
        over: Over<'_>,
        folder: &Path,
        pool: &Path,
    ) -> anyhow::Result<Run> {
        let place = tempfile::tempdir_in(folder)?;
        let (device, relay) = (place.path().join("device"), place.path().join("relay"));
        copy(&self.relay, &relay)?;
        if let Some(prepared) = &self.device {
            copy(prepared, &device)?;
        }
        let mut server = Side::start(
            pool,
            &[
                "server".as_ref(),
                "--dir".as_ref(),
                relay.as_os_str(),
                "--port".as_ref(),
                "0".as_ref(),
                "--expect".as_ref(),
                self.relay_expects.as_os_str(),
            ],
        )?;
        let ready = server.hear("ready")?;
        let listening = ready["listening"]
            .as_str()
            .context("a relay says where it listens")?;
        let forwarder = over.forwarder(listening.parse()?).await?;
        let url = forwarder.local_addr().to_string();
        let first = if self.device.is_some() { "0" } else { "1" };
        let mut client = Side::start(
            pool,
            &[
                "client".as_ref(),
                "--dir".as_ref(),
                device.as_os_str(),
                "--url".as_ref(),
                url.as_ref(),
                "--first".as_ref(),
                first.as_ref(),
                "--expect".as_ref(),
                self.device_expects.as_os_str(),
            ],
        )?;
        client.hear("ready")?;
        let began = side::epoch_ms()?;
        client.tell("go")?;
        // Both block this thread; the forwarder has others.
        let (held, taken) = tokio::task::block_in_place(|| {
            let held = client.hear("done")?;
            anyhow::Ok((held, server.hear("done")?))
        })?;
        server.tell("status")?;
        let status = server.hear("status")?;
        let ended = [&held, &taken].map(|done| done["t"].as_u64().unwrap_or(0));
        let (Some(ended), false) = (ended.into_iter().max(), ended.contains(&0)) else {
            bail!("a side does not say when it was done");
        };
        let millis = u32::try_from(ended.saturating_sub(began))?;
        Ok(Run {
            workload: workload.name,
            link: over.link.to_owned(),
            seconds: f64::from(millis) / 1e3,
            figures: json!({
                "up_bytes": held["payload_up_bytes"], "down_bytes": held["payload_down_bytes"],
                "up_udp_bytes": held["udp_up_bytes"], "down_udp_bytes": held["udp_down_bytes"],
                "dials": held["dials"], "usable_ms": held["usable_ms"],
                "device_peak_rss_bytes": held["peak_rss_bytes"],
                "relay_peak_rss_bytes": status["peak_rss_bytes"],
            }),
        })
    }
}

/// Copies a folder.
fn copy(from: &Path, to: &Path) -> anyhow::Result<()> {
    fs::create_dir_all(to)?;
    for entry in fs::read_dir(from)? {
        let entry = entry?;
        let to = to.join(entry.file_name());
        if entry.file_type()?.is_dir() {
            copy(&entry.path(), &to)?;
        } else {
            fs::copy(entry.path(), &to)?;
        }
    }
    Ok(())
}
