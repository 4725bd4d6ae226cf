//! `bench peer`: the engine as one of several that do the same work over the same link.
//!
//! A harness outside starts relays and devices as processes, puts its own links between them, and reads
//! what they say: a JSON object a line, `{"ev": …, "t": milliseconds since 1970}`. It says words on their standard
//! input. States of documents are their heads, as hexadecimal hashes; a state is held when all its
//! changes are.
//!
//! - `action`: the actions that workloads consist of
//! - `case`: the record kind they are done to
//! - `pool`: who takes part
//! - `history`: what others did, at the relay
//! - `prepare`: stores that begin a workload (`base`, `apply`, `dump`)
//! - `client`, `server`, `fan`: those that talk to each other
//!
//! A folder (`--dir`) has both ends: the relay's folder and the officer's file. A harness copies it to where each is to
//! run.

mod action;
mod case;
mod client;
mod fan;
mod history;
mod pool;
mod prepare;
mod server;

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::io::{self, BufRead as _, Write as _};
use std::path::{Path, PathBuf};
use std::time::{SystemTime, UNIX_EPOCH};

use anyhow::Context as _;
use clap::{Args, Subcommand};
use gridbeat_base::{ChangeHash, DocumentId};
use serde_json::{Value, json};
use tokio::sync::mpsc;

pub(super) use case::CaseKind;

/// What this process is in the workload.
#[derive(Debug, Args)]
pub(super) struct PeerArgs {
    /// The folder of the enrolled devices, made if it is not there [default: in the system's temporary folder].
    #[arg(long, global = true, value_name = "FOLDER")]
    pool: Option<PathBuf>,
    #[command(subcommand)]
    mode: Mode,
}

#[derive(Debug, Subcommand)]
enum Mode {
    /// Make a store that holds a history, at the relay and on the officer's device.
    Base(prepare::BaseArgs),
    /// Do actions on a store, one durable change each, without a network.
    Apply(prepare::ApplyArgs),
    /// Read states out of a relay's store that nobody has open.
    Dump(prepare::DumpArgs),
    /// Be the relay.
    Server(server::ServerArgs),
    /// Be the officer's device, or one that holds nothing yet.
    Client(client::ClientArgs),
    /// Be many devices that come back at once.
    Fan(fan::FanArgs),
}

/// Heads by document.
type States = BTreeMap<DocumentId, Vec<ChangeHash>>;

/// Does what the mode says. `dir` is the folder of the store.
pub(super) fn run(args: &PeerArgs, dir: Option<&Path>) -> anyhow::Result<()> {
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .enable_all()
        .build()?;
    let pool = runtime.block_on(pool::Pool::open(args.pool.as_deref()))?;
    let dir = || dir.context("--dir is missing: the folder of the store");
    match &args.mode {
        Mode::Base(args) => prepare::base(args, dir()?, &pool),
        Mode::Apply(args) => prepare::apply(args, dir()?, &pool),
        Mode::Dump(args) => prepare::dump(args, dir()?),
        Mode::Server(args) => runtime.block_on(server::serve(args, dir()?, &pool)),
        Mode::Client(args) => runtime.block_on(client::sync(args, dir()?, &pool)),
        Mode::Fan(args) => runtime.block_on(fan::come_back(args, &pool)),
    }
}

/// Where the relay's folder is in a store.
fn relay_of(dir: &Path) -> PathBuf {
    dir.join("relay")
}

/// Where the device's file is in a store.
fn device_of(dir: &Path) -> PathBuf {
    dir.join("device.db")
}

/// Says that something happened, now.
fn say(event: &str, more: &Value) -> anyhow::Result<()> {
    say_at(event, epoch_ms()?, more)
}

/// Says that something happened, then.
fn say_at(event: &str, epoch_ms: u64, more: &Value) -> anyhow::Result<()> {
    let mut line = json!({ "ev": event, "t": epoch_ms });
    if let (Some(line), Some(more)) = (line.as_object_mut(), more.as_object()) {
        line.extend(more.clone());
    }
    let mut out = io::stdout().lock();
    writeln!(out, "{line}")?;
    Ok(out.flush()?)
}

fn epoch_ms() -> anyhow::Result<u64> {
    let since = SystemTime::now().duration_since(UNIX_EPOCH)?;
    Ok(u64::try_from(since.as_millis())?)
}

/// Reads the harness's words as they come, a line each.
fn words() -> mpsc::UnboundedReceiver<Vec<String>> {
    let (words, said) = mpsc::unbounded_channel();
    std::thread::spawn(move || {
        for line in io::stdin().lock().lines().map_while(Result::ok) {
            let line = line.split_whitespace().map(str::to_owned).collect();
            if words.send(line).is_err() {
                return;
            }
        }
    });
    said
}

/// Reads states. A file may also list documents alone, without their heads.
fn read_states(path: &Path) -> anyhow::Result<States> {
    let text = fs::read(path).with_context(|| format!("{} cannot be read", path.display()))?;
    let states = serde_json::from_slice(&text);
    states.with_context(|| format!("{} does not map documents to their heads", path.display()))
}

/// Reads which documents a file names, as a list or with their states.
fn read_names(path: &Path) -> anyhow::Result<BTreeSet<DocumentId>> {
    let text = fs::read(path).with_context(|| format!("{} cannot be read", path.display()))?;
    if let Ok(names) = serde_json::from_slice(&text) {
        return Ok(names);
    }
    Ok(read_states(path)?.into_keys().collect())
}

fn write_states(path: &Path, states: &States) -> anyhow::Result<()> {
    Ok(fs::write(path, serde_json::to_vec(states)?)?)
}

/// Takes the scheme and the path off a URL: what is left is `host:port`.
fn address(url: &str) -> &str {
    let rest = url.split_once("://").map_or(url, |(_, rest)| rest);
    rest.split('/').next().unwrap_or(rest)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn of_a_url_only_the_address_counts() {
        for url in [
            "127.0.0.1:4747",
            "udp://127.0.0.1:4747",
            "ws://127.0.0.1:4747/sync",
        ] {
            assert_eq!(address(url), "127.0.0.1:4747");
        }
    }
}
