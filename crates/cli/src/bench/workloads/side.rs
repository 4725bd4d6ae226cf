//! One side of a workload: this binary again, as `bench peer`.

use std::ffi::OsStr;
use std::io::{BufRead as _, BufReader, Write as _};
use std::path::Path;
use std::process::{Child, ChildStdout, Command, Stdio};
use std::time::{SystemTime, UNIX_EPOCH};

use anyhow::{Context as _, bail, ensure};
use serde_json::Value;

/// A side that runs, until it is dropped.
pub(super) struct Side {
    child: Child,
    said: BufReader<ChildStdout>,
}

impl Side {
    pub(super) fn start(pool: &Path, words: &[&OsStr]) -> anyhow::Result<Self> {
        let mut child = command(pool)?
            .args(words)
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()?;
        let said = child.stdout.take().context("asked for above")?;
        Ok(Self {
            child,
            said: BufReader::new(said),
        })
    }

    pub(super) fn tell(&mut self, word: &str) -> anyhow::Result<()> {
        let stdin = self.child.stdin.as_mut().context("asked for above")?;
        Ok(writeln!(stdin, "{word}")?)
    }

    /// Waits for what it says next, which must be this.
    pub(super) fn hear(&mut self, event: &str) -> anyhow::Result<Value> {
        let mut line = String::new();
        ensure!(
            self.said.read_line(&mut line)? > 0,
            "a side ended before it said {event}"
        );
        let said: Value = serde_json::from_str(&line)?;
        if said["ev"] != event {
            bail!("a side said {} where {event} was due", line.trim());
        }
        Ok(said)
    }
}

impl Drop for Side {
    fn drop(&mut self) {
        // It may have ended by itself.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// Runs a side that does its work and ends.
pub(super) fn peer<'a>(
    pool: &Path,
    words: impl IntoIterator<Item = &'a OsStr>,
) -> anyhow::Result<()> {
    let output = command(pool)?.args(words).output()?;
    let said = String::from_utf8_lossy(&output.stderr);
    ensure!(output.status.success(), "a side failed: {}", said.trim());
    Ok(())
}

fn command(pool: &Path) -> anyhow::Result<Command> {
    let mut command = Command::new(std::env::current_exe()?);
    command.args(["bench", "peer", "--pool"]).arg(pool);
    Ok(command)
}

pub(super) fn epoch_ms() -> anyhow::Result<u64> {
    let since = SystemTime::now().duration_since(UNIX_EPOCH)?;
    Ok(u64::try_from(since.as_millis())?)
}
