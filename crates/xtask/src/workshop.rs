//! The repository as a place to run commands in: its root, its cargo, the programs it builds.

use std::cell::OnceCell;
use std::collections::BTreeMap;
use std::io::{BufRead as _, BufReader, Read, Write};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::thread;

use anyhow::{Context as _, bail};
use serde_json::Value;

use crate::tally::{Runner, Tally};

/// What to do where the encryption of devices' files cannot be compiled.
const NO_OPENSSL: &str = "encrypting devices' files needs OpenSSL's headers (Debian: apt install libssl-dev; \
elsewhere: set OPENSSL_DIR)";

/// The repository, and what was built in it so far.
pub(crate) struct Workshop {
    root: PathBuf,
    programs: OnceCell<Programs>,
}

/// Paths of the programs one build produced.
#[derive(Default)]
pub(crate) struct Programs {
    /// Binaries, by name.
    pub(crate) binaries: BTreeMap<String, PathBuf>,
    /// Examples, by name.
    pub(crate) examples: BTreeMap<String, PathBuf>,
}

impl Programs {
    /// Returns the path of the binary `gridbeat`.
    pub(crate) fn gridbeat(&self) -> anyhow::Result<&Path> {
        self.binaries
            .get("gridbeat")
            .map(PathBuf::as_path)
            .context("the build made no binary `gridbeat`")
    }
}

impl Workshop {
    /// Finds the repository this program was built from.
    pub(crate) fn open() -> anyhow::Result<Self> {
        let root = Path::new(env!("CARGO_MANIFEST_DIR"))
            .ancestors()
            .nth(2)
            .context("xtask is not two folders deep in the repository")?
            .to_path_buf();
        Ok(Self {
            root,
            programs: OnceCell::new(),
        })
    }

    /// Returns the root of the repository.
    pub(crate) fn root(&self) -> &Path {
        &self.root
    }

    /// Returns cargo's folder for what it builds, which we may put things into, too.
    pub(crate) fn target(&self) -> anyhow::Result<PathBuf> {
        let output = self
            .cargo(&["metadata", "--format-version=1", "--no-deps", "--offline"])
            .output()
            .context("could not start cargo")?;
        let metadata: Value = serde_json::from_slice(&output.stdout)?;
        let target = metadata["target_directory"].as_str();
        Ok(target.context("cargo names no target folder")?.into())
    }

    /// Makes a command of this cargo, to run at the root.
    pub(crate) fn cargo(&self, arguments: &[&str]) -> Command {
        // Cargo names itself in `CARGO` when it starts us, so that one toolchain does it all.
        let cargo = std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into());
        let mut command = Command::new(cargo);
        command.args(arguments).current_dir(&self.root);
        command
    }

    /// Whether cargo knows the subcommand `name`, so that `cargo name` can be run.
    pub(crate) fn has_cargo_command(&self, name: &str) -> bool {
        self.cargo(&[name, "--version"])
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .status()
            .is_ok_and(|status| status.success())
    }

    /// Builds everything there is, tests included, and returns the paths of the programs.
    ///
    /// One build for all of it: naming single packages would give their libraries other features,
    /// and compile those twice.
    pub(crate) fn programs(&self) -> anyhow::Result<&Programs> {
        if let Some(programs) = self.programs.get() {
            return Ok(programs);
        }
        if !has_openssl() {
            bail!("{NO_OPENSSL}");
        }
        let built = self.build(&["--workspace", "--all-targets"])?;
        Ok(self.programs.get_or_init(|| built))
    }

    /// Builds the binary alone, for somebody who wants to see the demo soon; without the encryption of
    /// devices' files where what that needs is not there.
    pub(crate) fn gridbeat_for_demo(&self) -> anyhow::Result<PathBuf> {
        let mut what = vec!["--package", "gridbeat-cli", "--bin", "gridbeat"];
        if !has_openssl() {
            eprintln!(
                "xtask: {NO_OPENSSL}\nxtask: going on without it: devices' files will be plain"
            );
            what.push("--no-default-features");
        }
        let built = self.build(&what)?;
        Ok(built.gridbeat()?.to_path_buf())
    }

    fn build(&self, what: &[&str]) -> anyhow::Result<Programs> {
        let mut command = self.cargo(&["build", "--message-format=json-render-diagnostics"]);
        let output = command
            .args(what)
            .stderr(Stdio::inherit())
            .output()
            .context("could not start cargo")?;
        if !output.status.success() {
            bail!("cargo build failed");
        }
        let mut programs = Programs::default();
        for line in output.stdout.split(|byte| *byte == b'\n') {
            let Ok(message) = serde_json::from_slice::<Value>(line) else {
                continue;
            };
            programs.take_in(&message);
        }
        Ok(programs)
    }
}

impl Programs {
    /// Notes the program of one message of cargo's, if it is about one.
    fn take_in(&mut self, message: &Value) {
        let Some(executable) = message["executable"].as_str() else {
            return;
        };
        let name = message["target"]["name"].as_str().unwrap_or_default();
        let kind = message["target"]["kind"][0].as_str();
        let programs = match kind {
            Some("bin") if message["profile"]["test"] == false => &mut self.binaries,
            Some("example") => &mut self.examples,
            _a_test_or_build_script => return,
        };
        programs.insert(name.to_owned(), executable.into());
    }
}

/// Whether the headers of OpenSSL are where the compiler looks, or somebody said where they are.
///
/// macOS needs none: its own library does the work there.
fn has_openssl() -> bool {
    let named = ["OPENSSL_DIR", "OPENSSL_INCLUDE_DIR"];
    if cfg!(target_os = "macos") || named.iter().any(|name| std::env::var_os(name).is_some()) {
        return true;
    }
    let compiler = std::env::var_os("CC").unwrap_or_else(|| "cc".into());
    let compiling = Command::new(compiler)
        .args(["-E", "-x", "c", "-"])
        .stdin(Stdio::piped())
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .spawn();
    let Ok(mut compiling) = compiling else {
        return false;
    };
    // A compiler that reads nothing says so by its status.
    if let Some(mut stdin) = compiling.stdin.take() {
        let _ = stdin.write_all(b"#include <openssl/evp.h>\n");
    }
    compiling.wait().is_ok_and(|status| status.success())
}

/// Runs a command to its end, printing what it prints and counting the tests it reports.
///
/// A command that fails without reporting a failed test counts as one failed.
pub(crate) fn run_counting_tests(runner: Runner, command: &mut Command) -> anyhow::Result<Tally> {
    let name = format!("{command:?}");
    let mut child = command
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .with_context(|| format!("could not start {name}"))?;
    let stdout = child.stdout.take().context("no standard output")?;
    let stderr = child.stderr.take().context("no standard error")?;
    let mut tally = thread::scope(|scope| {
        let errors = scope.spawn(|| echo(runner, stderr, std::io::stderr()));
        let mut tally = echo(runner, stdout, std::io::stdout())?;
        match errors.join() {
            Ok(result) => tally += result?,
            Err(_panic) => bail!("the reader of standard error panicked"),
        }
        Ok(tally)
    })?;
    let status = child.wait()?;
    if !status.success() && tally.failed == 0 {
        tally += Tally::FAILED;
    }
    Ok(tally)
}

/// Copies lines from `from` to `to` as they come, and counts the tests they report.
fn echo(runner: Runner, from: impl Read, mut to: impl Write) -> anyhow::Result<Tally> {
    let mut reader = BufReader::new(from);
    let mut tally = Tally::default();
    let mut line = Vec::new();
    while reader.read_until(b'\n', &mut line)? > 0 {
        to.write_all(&line)?;
        tally += Tally::of_line(runner, &String::from_utf8_lossy(&line));
        line.clear();
    }
    to.flush()?;
    Ok(tally)
}
