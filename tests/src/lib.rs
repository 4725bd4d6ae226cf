//! What the tests of whole promises share: where the repository is, and a `gridbeat` to run.
//!
//! The tests themselves are in `tests/`, one module a promise, all in one binary. Not here:
//! anything that only one of them needs.

pub mod kills;

use std::io;
use std::path::{Path, PathBuf};
use std::process::{Command, Output, Stdio};
use std::sync::{OnceLock, PoisonError, RwLock, RwLockReadGuard};

/// Held for writing while a process is being started, and for reading while a locked file is opened.
static STARTING: RwLock<()> = RwLock::new(());

/// Returns the root of the repository.
pub fn repository() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR"))
        .parent()
        .expect("this package is a folder in the repository")
}

/// Returns the path of an up-to-date binary `gridbeat`, to be started as a process of its own.
///
/// `cargo xtask test` names the one it built in `GRIDBEAT_BIN`; otherwise cargo is asked to build
/// it, once a test process, so that no test ever runs against yesterday's.
///
/// # Panics
///
/// If it does not compile.
pub fn gridbeat() -> &'static Path {
    static PATH: OnceLock<PathBuf> = OnceLock::new();
    PATH.get_or_init(|| std::env::var_os("GRIDBEAT_BIN").map_or_else(build_gridbeat, PathBuf::from))
}

fn build_gridbeat() -> PathBuf {
    let output = cargo()
        // With the features of the whole workspace, or its libraries would be compiled twice.
        .args(["build", "--workspace", "--bin", "gridbeat"])
        .arg("--message-format=json-render-diagnostics")
        .stderr(Stdio::inherit())
        .output()
        .expect("cargo can be started");
    assert!(output.status.success(), "gridbeat does not compile");
    output
        .stdout
        .split(|byte| *byte == b'\n')
        .filter_map(|line| serde_json::from_slice::<serde_json::Value>(line).ok())
        .filter(|message| message["target"]["name"] == "gridbeat")
        .find_map(|message| message["executable"].as_str().map(PathBuf::from))
        .expect("cargo says where it put the binary")
}

/// Makes a command of the cargo that built this test, to run at the root of the repository.
pub fn cargo() -> Command {
    let mut command = Command::new(std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into()));
    command.current_dir(repository());
    command
}

/// Runs a command to its end, as `Command::output` does; never starts it while a file is being opened.
///
/// Until a process that was started has become its program it holds a copy of all our files, and so
/// the locks that other tests have just given back.
///
/// # Errors
///
/// If it cannot be started.
pub fn output(command: &mut Command) -> io::Result<Output> {
    command
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped());
    let child = {
        let _alone = STARTING.write().unwrap_or_else(PoisonError::into_inner);
        command.spawn()?
    };
    child.wait_with_output()
}

/// Waits until no process is being started by [`output`], and keeps any from it.
pub fn while_no_process_starts() -> RwLockReadGuard<'static, ()> {
    STARTING.read().unwrap_or_else(PoisonError::into_inner)
}
