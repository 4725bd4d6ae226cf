//! `gridbeat bench`: the figures the engine is held to, measured on this machine.
//!
//! Each bench prints one JSON object: its name, its parameters, its figures with units in their names.
//! Everything runs on the loopback and in a folder of its own, which is removed at the end. Not here:
//! what the figures should be (`docs/`), and benches of single functions.
//!
//! - `stock`: databases and files with many documents, made by the real cores without a network
//! - `field`: a relay and devices over real sockets
//! - `measure`: percentiles and memory
//! - `peer`: the engine as one of several in a harness from outside; `workloads`: by itself
//! - one file for each bench

mod fan_in;
mod field;
mod flood;
mod gate;
mod hostile;
mod link_return;
mod measure;
mod move_scopes;
mod open;
mod peer;
mod photo;
mod reconnect;
mod relay_memory;
mod save;
mod soak;
mod stock;
mod tracks;
mod workloads;

use std::io::{self, Write as _};
use std::path::PathBuf;
use std::sync::Arc;

use anyhow::{Context as _, ensure};
use clap::{Args as ClapArgs, Subcommand};
use gridbeat_document::{Kind, Kinds};
use serde_json::Value;
use tempfile::TempDir;

/// `gridbeat bench`.
#[derive(Debug, ClapArgs)]
pub struct Args {
    /// On one line, for a program.
    #[arg(long, global = true)]
    json: bool,
    /// Where to work: a folder on the disk to be measured [default: target, or else this folder].
    #[arg(long, global = true, value_name = "FOLDER")]
    dir: Option<PathBuf>,
    /// What to measure.
    #[command(subcommand)]
    bench: Bench,
}

#[derive(Debug, Subcommand)]
enum Bench {
    /// Open a device's file and list the 50 nearest open incidents.
    Open(open::OpenArgs),
    /// Save reports one by one, beside bare inserts of the same size.
    Save(save::SaveArgs),
    /// Change records without a pause over links that fail, and see what a relay's memory and log do.
    Soak(soak::SoakArgs),
    /// Meet the relay with few or no changes: after a full handshake, resumed, on a live link.
    Reconnect(reconnect::ReconnectArgs),
    /// Let the link go and come back, and take how soon what waits is acknowledged.
    Return(link_return::ReturnArgs),
    /// Check honest changes, and refuse what was built to exhaust whoever decodes it.
    Gate(gate::GateArgs),
    /// Move a device to an area that shares most documents with the one it leaves.
    Move(move_scopes::MoveArgs),
    /// Let many devices bring their outboxes at once.
    FanIn(fan_in::FanInArgs),
    /// Let honest devices work beside a hostile one, and take what they notice of it.
    Flood(flood::FloodArgs),
    /// Cut a photo off on its way, and save reports beside one.
    Photo(photo::PhotoArgs),
    /// Be one side of a workload that other engines are measured by too.
    Peer(peer::PeerArgs),
    /// Do those workloads over bad links, and draw the times.
    Workloads(workloads::WorkloadsArgs),
    /// Pack the fixes of real rides, and shorten them for a map.
    Tracks(tracks::TracksArgs),
    /// Take a relay's memory over a large database, and with idle devices.
    RelayMemory(relay_memory::RelayMemoryArgs),
    /// The measured half of `open`, in a process of its own.
    #[command(hide = true)]
    OpenChild(open::ChildArgs),
    /// The hostile device of `flood`, in a process of its own.
    #[command(hide = true)]
    FloodChild(hostile::ChildArgs),
    /// A relay in a process of its own, until its standard input ends.
    #[command(hide = true)]
    RelayChild(field::ChildArgs),
}

/// Runs a bench and prints its figures.
///
/// # Errors
///
/// Whatever kept it from being measured; nothing is printed then.
pub fn run(args: Args) -> anyhow::Result<()> {
    let Args { json, dir, bench } = args;
    let figures = match bench {
        Bench::Open(args) => open::run(&args, &workplace(dir)?)?,
        Bench::Save(args) => save::run(&args, &workplace(dir)?)?,
        Bench::Reconnect(args) => reconnect::run(&args, &workplace(dir)?)?,
        Bench::Return(args) => link_return::run(&args, &workplace(dir)?)?,
        Bench::Gate(args) => gate::run(&args)?,
        Bench::Move(args) => move_scopes::run(&args, &workplace(dir)?)?,
        Bench::FanIn(args) => fan_in::run(&args, &workplace(dir)?)?,
        Bench::Flood(args) => flood::run(&args, &workplace(dir)?)?,
        Bench::RelayMemory(args) => relay_memory::run(&args, &workplace(dir)?)?,
        Bench::Tracks(args) => tracks::run(&args)?,
        Bench::Workloads(args) => workloads::run(&args, &workplace(dir)?)?,
        Bench::Photo(args) => photo::run(&args, &workplace(dir)?)?,
        Bench::Soak(args) => return tell_soak(&soak::run(&args, &workplace(dir)?)?, json),
        Bench::Peer(args) => return peer::run(&args, dir.as_deref()),
        Bench::OpenChild(args) => return say(&open::child(&args)?, true),
        Bench::FloodChild(args) => return say(&hostile::run(&args)?, true),
        Bench::RelayChild(args) => return field::serve_child(&args),
    };
    say(&figures, json)
}

/// Prints what came of a soak; fails if something was lost.
fn tell_soak(soaked: &soak::Soaked, json: bool) -> anyhow::Result<()> {
    if json {
        say(&soaked.figures, true)?;
    } else {
        crate::output::print(&soaked.words)?;
    }
    ensure!(
        soaked.is_whole,
        "something that was saved is not where it belongs"
    );
    Ok(())
}

/// Returns the kinds that relays and devices of benches know: the domain's, and that of the workloads.
fn kinds() -> Kinds {
    let own: Arc<dyn Kind> = Arc::new(peer::CaseKind);
    let domain = gridbeat_domain::kinds();
    Kinds::new(domain.iter().cloned().chain([own]))
}

/// Makes the folder of a run. The system's own is no good: it is often in memory, where an fsync is free.
fn workplace(dir: Option<PathBuf>) -> anyhow::Result<TempDir> {
    let target = PathBuf::from("target");
    let dir = match dir {
        Some(dir) => dir,
        None if target.is_dir() => target,
        None => PathBuf::from("."),
    };
    std::fs::create_dir_all(&dir)?;
    tempfile::Builder::new()
        .prefix("gridbeat-bench-")
        .tempdir_in(&dir)
        .with_context(|| format!("{} cannot be worked in", dir.display()))
}

/// Prints an object on standard output.
fn say(figures: &Value, on_one_line: bool) -> anyhow::Result<()> {
    let text = if on_one_line {
        figures.to_string()
    } else {
        serde_json::to_string_pretty(figures)?
    };
    let mut out = io::stdout().lock();
    writeln!(out, "{text}")?;
    Ok(out.flush()?)
}
