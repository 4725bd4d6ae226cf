//! One device as a process of its own: its lines in, its lines out, its death.
//!
//! Every line a child writes comes out of one channel, with the number of the life it belongs to, so
//! that what a killed process still had in its pipe is not taken for its successor's.

use std::collections::{BTreeMap, VecDeque};
use std::path::Path;
use std::process::Stdio;

use anyhow::Context as _;
use tokio::io::{AsyncBufReadExt as _, AsyncWriteExt as _, BufReader};
use tokio::process::{ChildStdin, Command};
use tokio::sync::mpsc;

use crate::device::protocol::{Line, Request, read_line, write_request};

/// How many requests a device is sent before it has answered: enough to keep it busy, few enough
/// that a kill leaves little unanswered.
const IN_FLIGHT_MAX: usize = 4;

/// What comes from the children.
#[derive(Debug)]
pub(crate) struct FromChild {
    /// Which device.
    pub(crate) device: usize,
    /// Which life of it.
    pub(crate) life: u32,
    /// The line; `None` when the process is gone.
    pub(crate) line: Option<Line>,
}

/// A device's process. `P` says what a request was for.
#[derive(Debug)]
pub(crate) struct Child<P> {
    process: tokio::process::Child,
    lines: mpsc::UnboundedSender<String>,
    life: u32,
    next: u64,
    asked: BTreeMap<u64, P>,
    waiting: VecDeque<(Request, P)>,
}

impl<P> Child<P> {
    /// Starts the process.
    pub(crate) fn start(
        program: &Path,
        folder: &Path,
        device: usize,
        life: u32,
        out: mpsc::UnboundedSender<FromChild>,
    ) -> anyhow::Result<Self> {
        let log = std::fs::File::options()
            .create(true)
            .append(true)
            .open(folder.join("device.log"))?;
        let mut process = Command::new(program)
            .args(["device", "--stdio", "--dir"])
            .arg(folder)
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(log)
            .kill_on_drop(true)
            .spawn()
            .with_context(|| format!("could not start {}", program.display()))?;
        let stdin = process.stdin.take().context("no standard input")?;
        let stdout = process.stdout.take().context("no standard output")?;
        let (lines, from) = mpsc::unbounded_channel();
        tokio::spawn(write_lines(stdin, from));
        tokio::spawn(async move {
            let mut lines = BufReader::new(stdout).lines();
            while let Ok(Some(text)) = lines.next_line().await {
                if let Some(line) = read_line(&text) {
                    let line = Some(line);
                    if out.send(FromChild { device, life, line }).is_err() {
                        return;
                    }
                }
            }
            // Nobody listening any more is the end of the run.
            let _ = out.send(FromChild {
                device,
                life,
                line: None,
            });
        });
        Ok(Self {
            process,
            lines,
            life,
            next: 0,
            asked: BTreeMap::new(),
            waiting: VecDeque::new(),
        })
    }

    /// Returns which life this is.
    pub(crate) const fn life(&self) -> u32 {
        self.life
    }

    /// Asks something; it waits its turn while too much is unanswered.
    pub(crate) fn ask(&mut self, request: Request, purpose: P) {
        self.waiting.push_back((request, purpose));
        self.send();
    }

    /// Takes note of an answer, and returns what the question was for.
    pub(crate) fn answered(&mut self, id: u64) -> Option<P> {
        let purpose = self.asked.remove(&id);
        self.send();
        purpose
    }

    /// Tells whether nothing is unanswered.
    pub(crate) fn is_idle(&self) -> bool {
        self.asked.is_empty() && self.waiting.is_empty()
    }

    /// Drops what has not been sent: the shift is over.
    pub(crate) fn drop_waiting(&mut self) {
        self.waiting.clear();
    }

    /// Kills the process at once, as a battery does that falls out.
    pub(crate) async fn kill(mut self) -> anyhow::Result<()> {
        self.process.kill().await.context("could not kill a device")
    }

    /// Waits until the process has ended by itself.
    pub(crate) async fn ended(mut self) -> anyhow::Result<std::process::ExitStatus> {
        drop(self.lines);
        Ok(self.process.wait().await?)
    }

    fn send(&mut self) {
        while self.asked.len() < IN_FLIGHT_MAX {
            let Some((request, purpose)) = self.waiting.pop_front() else {
                return;
            };
            self.next += 1;
            // A child that is gone says so by its end; what it did not answer is not counted.
            let _ = self.lines.send(write_request(self.next, &request));
            self.asked.insert(self.next, purpose);
        }
    }
}

async fn write_lines(mut stdin: ChildStdin, mut lines: mpsc::UnboundedReceiver<String>) {
    while let Some(line) = lines.recv().await {
        if stdin.write_all(line.as_bytes()).await.is_err() {
            return;
        }
    }
}
