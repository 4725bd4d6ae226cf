//! The relay of a workload.

use std::net::{Ipv4Addr, SocketAddr};
use std::path::{Path, PathBuf};
use std::time::Duration;

use clap::Args;
use gridbeat_relay::RelayConfig;
use rusqlite::Connection;
use serde_json::json;

use super::history;
use super::pool::Pool;
use super::{States, read_states, relay_of, say, words, write_states};
use crate::bench::field::relay_config;
use crate::bench::measure::peak_rss_bytes;

/// How often it looks whether all blobs are there.
const BLOBS_EVERY: Duration = Duration::from_millis(20);

/// Where it listens, and for what it waits.
#[derive(Debug, Args)]
pub(super) struct ServerArgs {
    /// The port, of the loopback.
    #[arg(long)]
    port: u16,
    /// What it is to hold in the end.
    #[arg(long, value_name = "FILE")]
    expect: Option<PathBuf>,
}

/// Serves until it is told to quit.
pub(super) async fn serve(args: &ServerArgs, dir: &Path, pool: &Pool) -> anyhow::Result<()> {
    pool.relay(&relay_of(dir))?;
    let config = RelayConfig {
        listen: SocketAddr::from((Ipv4Addr::LOCALHOST, args.port)),
        new_documents_per_hour_max: u32::MAX,
        ..relay_config(&relay_of(dir))
    };
    let expected = match &args.expect {
        Some(file) => read_states(file)?,
        None => States::new(),
    };
    let database = config.database();
    let relay = gridbeat_relay::start(config, crate::bench::kinds()).await?;
    let db = history::open(&database)?;
    let mut missing = Missing { expected };
    let mut committed = relay.committed();
    let mut words = words();
    say("ready", &json!({ "listening": relay.addr() }))?;
    let mut is_done = false;
    loop {
        if !is_done && missing.is_none(&db)? {
            is_done = true;
            say("done", &json!({}))?;
        }
        tokio::select! {
            // Blobs come without news of a commit.
            () = tokio::time::sleep(BLOBS_EVERY), if !is_done => {}
            // A watcher that missed some looks again all the same.
            _ = committed.recv(), if !is_done => {}
            word = words.recv() => {
                let word = word.unwrap_or_else(|| vec!["quit".to_owned()]);
                match word.iter().map(String::as_str).collect::<Vec<_>>()[..] {
                    ["status"] => {
                        let traffic = relay.traffic();
                        say("status", &json!({
                            "missing": missing.expected.len(),
                            "sent_bytes": traffic.sent_bytes, "received_bytes": traffic.received_bytes,
                            "peak_rss_bytes": peak_rss_bytes(std::process::id())?,
                        }))?;
                    }
                    ["state", file] => {
                        write_states(Path::new(file), &history::heads(&db, None)?)?;
                        say("state", &json!({}))?;
                    }
                    // What it has acknowledged is durable.
                    ["flush"] => say("durable", &json!({}))?,
                    ["quit"] => break,
                    _ => say("unknown", &json!({ "word": word.join(" ") }))?,
                }
            }
        }
    }
    relay.stop().await;
    say("quit", &json!({}))
}

/// What is expected and not held yet.
struct Missing {
    expected: States,
}

impl Missing {
    /// Takes off what the database holds by now; says whether nothing is left.
    fn is_none(&mut self, db: &Connection) -> anyhow::Result<bool> {
        let mut missing = States::new();
        for (document, heads) in std::mem::take(&mut self.expected) {
            let mut left = Vec::new();
            for hash in heads {
                if !history::holds(db, document, &hash)? {
                    left.push(hash);
                }
            }
            if !left.is_empty() {
                missing.insert(document, left);
            }
        }
        self.expected = missing;
        Ok(self.expected.is_empty() && history::has_all_blobs(db)?)
    }
}
