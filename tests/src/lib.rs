//! What the tests of whole promises share: where the repository is, and a `gridbeat` to run.
//!
//! The tests themselves are in `tests/`, one module a promise, all in one binary. Not here:
//! anything that only one of them needs.

use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::sync::OnceLock;

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
        .args(["build", "--package", "gridbeat-cli", "--bin", "gridbeat"])
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
