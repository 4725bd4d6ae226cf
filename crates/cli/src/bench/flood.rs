//! `bench flood`: what honest devices notice of a hostile one that is enrolled as they are.
//!
//! Officers report now and then, first undisturbed, then beside a hostile device that sends as fast as it can:
//! honest changes, changes that are none, bytes that are no frames, dial after dial. It runs in a process of
//! its own at the lowest priority, because its processor is not the relay's; it writes in an area of its own,
//! so that what is measured is the relay and not how fast the others' disks take what it wrote.

use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use anyhow::{Context as _, bail, ensure};
use clap::Args;
use gridbeat_base::Scope;
use gridbeat_device::{Device, LinkNews, LinkPolicy};
use gridbeat_link::random_from_system;
use serde_json::{Value, json};
use tempfile::TempDir;
use tokio::sync::broadcast::error::RecvError;
use tokio::task::JoinSet;

use super::field::{PATIENCE, RelayProcess, connect, in_sync, tell};
use super::measure::{Samples, rounded};
use super::stock::{KIND, report};

/// Reports of one officer in a second: some hundred times an officer's, to have enough of them.
const REPORTS_PER_S: u64 = 2;

/// Who floods whom.
#[derive(Debug, Args)]
pub(super) struct FloodArgs {
    /// How many honest devices there are.
    #[arg(long, value_name = "N", default_value_t = 20, value_parser = clap::value_parser!(u64).range(1..=100))]
    devices: u64,
    /// How long each half takes.
    #[arg(long, value_name = "SECONDS", default_value_t = 30, value_parser = clap::value_parser!(u64).range(5..=600))]
    seconds: u64,
}

/// Measures without the hostile device, then with it.
pub(super) fn run(args: &FloodArgs, folder: &TempDir) -> anyhow::Result<Value> {
    let data = folder.path().join("relay");
    let mut relay = RelayProcess::start(&data)?;
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .enable_all()
        .build()?;
    let scope = Scope::new("flooded")?;
    let area = Scope::new("hostile")?;
    let bundle = folder.path().join("hostile.json");
    let (quiet, flooded, hostile) = runtime.block_on(async {
        relay.enrol(&area).await?.write(&bundle)?;
        let mut devices = Vec::new();
        for _ in 0..args.devices {
            let bundle = relay.enrol(&scope).await?;
            let file = folder.path().join(format!("{}.db", bundle.device));
            let device = connect(file, bundle, LinkPolicy::Always).await?;
            in_sync(&device).await?;
            devices.push(device);
        }
        tell("honest devices alone");
        let quiet = work(&devices, &scope, args.seconds).await?;
        tell("with a hostile one beside them");
        let mut hostile = start(&bundle, &area, args.seconds)?;
        let flooded = work(&devices, &scope, args.seconds).await;
        let hostile = end(&mut hostile, flooded.is_ok())?;
        for device in devices {
            device.close().await;
        }
        anyhow::Ok((quiet, flooded?, hostile))
    })?;
    relay.stop()?;
    let quiet_p99_ms = quiet.percentile_ms(99).context("nothing was sent")?;
    let flooded_p99_ms = flooded.percentile_ms(99).context("nothing was sent")?;
    Ok(json!({
        "bench": "flood", "devices": args.devices, "seconds": args.seconds,
        "acknowledge_p50_ms": quiet.percentile_ms(50), "acknowledge_p99_ms": quiet_p99_ms,
        "flooded_acknowledge_p50_ms": flooded.percentile_ms(50),
        "flooded_acknowledge_p99_ms": flooded_p99_ms,
        "ratio_p99": rounded(flooded_p99_ms / quiet_p99_ms),
        "hostile": hostile,
    }))
}

/// Has every device report now and then; returns how long each push waited for its acknowledgement.
async fn work(devices: &[Device], scope: &Scope, seconds: u64) -> anyhow::Result<Samples> {
    let mut running = JoinSet::new();
    let reports = seconds * REPORTS_PER_S;
    let period = Duration::from_secs(seconds);
    for device in devices {
        let (device, scope) = (device.clone(), scope.clone());
        running.spawn(async move {
            let mut news = device.link_news();
            let mut random = random_from_system();
            let mut waits = Vec::new();
            let period_ms = 1_000 / REPORTS_PER_S;
            let save = async {
                for _ in 0..reports {
                    // Somewhere in its period, so that they do not all report at once.
                    let before = random.below(period_ms);
                    tokio::time::sleep(Duration::from_millis(before)).await;
                    device.create(KIND, &scope, report(&mut random)?).await?;
                    tokio::time::sleep(Duration::from_millis(period_ms - before)).await;
                }
                anyhow::Ok(())
            };
            let listen = async {
                let mut acknowledged = 0;
                while acknowledged < reports {
                    match news.recv().await {
                        Ok(LinkNews::Acknowledged { changes, after, .. }) => {
                            acknowledged += changes as u64;
                            waits.push(after);
                        }
                        Ok(_) => {}
                        Err(RecvError::Lagged(_)) => bail!("acknowledgements were missed"),
                        Err(RecvError::Closed) => bail!("a device stopped"),
                    }
                }
                Ok(())
            };
            let both = async { tokio::try_join!(save, listen) };
            let done = tokio::time::timeout(PATIENCE + period, both).await;
            done.context("not everything was acknowledged in time")??;
            anyhow::Ok(waits)
        });
    }
    let mut samples = Samples::default();
    while let Some(waits) = running.join_next().await {
        waits??.into_iter().for_each(|wait| samples.push(wait));
    }
    Ok(samples)
}

/// Starts the hostile device, and waits until it begins.
fn start(bundle: &Path, area: &Scope, seconds: u64) -> anyhow::Result<Child> {
    let program = std::env::current_exe().context("could not find this program's own file")?;
    let mut child = Command::new("nice")
        .args(["-n", "19"])
        .arg(program)
        .args(["bench", "flood-child", "--bundle"])
        .arg(bundle)
        .args(["--scope", area.as_str(), "--seconds", &seconds.to_string()])
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .spawn()
        .context("could not start the hostile device")?;
    let stdout = child.stdout.as_mut().context("it has no standard output")?;
    if super::field::first_line(stdout)?["ready"] != true {
        bail!("the hostile device did not begin");
    }
    Ok(child)
}

/// Waits for its end, and returns what it says it did.
fn end(child: &mut Child, wait: bool) -> anyhow::Result<Value> {
    if !wait {
        // An error means that it has ended already.
        let _ = child.kill();
    }
    let mut stdout = child.stdout.take().context("it has no standard output")?;
    let did = super::field::first_line(&mut stdout);
    let status = child.wait()?;
    ensure!(
        status.success() || !wait,
        "the hostile device failed: {status}"
    );
    did
}
