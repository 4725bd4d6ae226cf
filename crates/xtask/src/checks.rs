//! Every test there is, as steps in the order that finds a mistake soonest.
//!
//! The first step that fails ends the run. Each step counts as one test, unless it is a test
//! runner, whose own tests are counted.

use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use anyhow::{Context as _, bail, ensure};
use serde_json::Value;

use crate::advisories;
use crate::tally::{Runner, Tally};
use crate::workshop::{Workshop, run_counting_tests};

/// Seeds of the simulator in one run.
const SIMULATOR_SEEDS: &str = "1000";

/// Where Python may be: one of the path's may lack what the system's packages hold.
const PYTHONS: &[&str] = &["python3", "/usr/bin/python3"];

/// One thing to check.
pub(crate) struct Step {
    /// What to call it on the command line.
    pub(crate) name: &'static str,
    /// What it checks.
    pub(crate) about: &'static str,
    run: fn(&Workshop) -> anyhow::Result<Outcome>,
}

/// How a step ended, unless it could not be run at all.
pub(crate) enum Outcome {
    Ran(Tally),
    Skipped(&'static str),
}

/// Every step, in order.
pub(crate) const STEPS: &[Step] = &[
    Step {
        name: "fmt",
        about: "the code is formatted",
        run: |workshop| whole(&mut workshop.cargo(&["fmt", "--all", "--check"])),
    },
    Step {
        name: "deny",
        about: "licences, sources and bans of the libraries (needs cargo-deny)",
        run: deny,
    },
    Step {
        name: "audit",
        about: "known holes in the libraries (needs cargo-deny and an advisory database)",
        run: advisories::check,
    },
    Step {
        name: "decoder",
        about: "a decoder written from PROTOCOL.md alone reads the golden vectors (needs python3)",
        run: decoder,
    },
    Step {
        name: "clippy",
        about: "lints, warnings are errors",
        run: clippy,
    },
    Step {
        name: "doc",
        about: "the documentation builds, warnings are errors",
        run: doc,
    },
    Step {
        name: "build",
        about: "everything compiles",
        run: |workshop| {
            workshop.programs()?;
            Ok(Outcome::Ran(Tally::PASSED))
        },
    },
    Step {
        name: "tests",
        about: "unit, tidy, golden vectors, end to end",
        run: tests,
    },
    Step {
        name: "doctests",
        about: "the examples in the documentation",
        run: doctests,
    },
    Step {
        name: "examples",
        about: "the programs in examples/ run to their end",
        run: examples,
    },
    Step {
        name: "sim",
        about: "the simulator: seeds of storm and calm; nothing lost",
        run: sim,
    },
    Step {
        name: "demo",
        about: "the main job, from end to end",
        run: demo,
    },
];

/// Returns the first of `names` that is no step.
pub(crate) fn unknown(names: &[String]) -> Option<&String> {
    names
        .iter()
        .find(|name| STEPS.iter().all(|step| step.name != name.as_str()))
}

/// Runs the steps in `names`, or all if there are none, and prints the sum. Returns success.
pub(crate) fn run(workshop: &Workshop, names: &[String]) -> bool {
    let start = Instant::now();
    let mut tally = Tally::default();
    let mut summary = Vec::new();
    let chosen = |step: &&Step| names.is_empty() || names.iter().any(|name| name == step.name);
    for step in STEPS.iter().filter(chosen) {
        println!("\n━━━ {}: {}", step.name, step.about);
        let began = Instant::now();
        let (line, ran) = match (step.run)(workshop) {
            Ok(Outcome::Ran(ran)) => (format!("{} passed, {} failed", ran.passed, ran.failed), ran),
            Ok(Outcome::Skipped(why)) => (format!("skipped: {why}"), Tally::default()),
            Err(error) => (format!("failed: {error:#}"), Tally::FAILED),
        };
        let line = format!("{:<10}{:>8}  {line}", step.name, seconds(began.elapsed()));
        println!("{line}");
        summary.push(line);
        tally += ran;
        if ran.failed > 0 {
            break;
        }
    }
    println!("\n━━━ summary\n{}", summary.join("\n"));
    println!("{:<10}{:>8}\n", "total", seconds(start.elapsed()));
    println!("{} passed, {} failed", tally.passed, tally.failed);
    tally.failed == 0
}

/// Runs a command that is a check as a whole.
pub(crate) fn whole(command: &mut Command) -> anyhow::Result<Outcome> {
    let status = command
        .stdin(Stdio::null())
        .status()
        .with_context(|| format!("could not start {command:?}"))?;
    Ok(Outcome::Ran(if status.success() {
        Tally::PASSED
    } else {
        Tally::FAILED
    }))
}

fn deny(workshop: &Workshop) -> anyhow::Result<Outcome> {
    if !workshop.has_cargo_command("deny") {
        return Ok(Outcome::Skipped("cargo-deny is not installed"));
    }
    whole(&mut workshop.cargo(&["deny", "check", "bans", "licenses", "sources"]))
}

fn decoder(workshop: &Workshop) -> anyhow::Result<Outcome> {
    let has_modules = |python: &&&str| {
        Command::new(python)
            .args(["-c", "import cryptography, zstandard"])
            .stdin(Stdio::null())
            .stderr(Stdio::null())
            .status()
            .is_ok_and(|status| status.success())
    };
    let Some(python) = PYTHONS.iter().find(has_modules) else {
        return Ok(Outcome::Skipped(
            "there is no python3 with the modules cryptography and zstandard",
        ));
    };
    let mut command = Command::new(python);
    command
        .args(["-B", "-m", "unittest", "-v", "decoder.test_vectors"])
        .current_dir(workshop.root().join("tests"));
    Ok(Outcome::Ran(run_counting_tests(
        Runner::Unittest,
        &mut command,
    )?))
}

fn clippy(workshop: &Workshop) -> anyhow::Result<Outcome> {
    whole(&mut workshop.cargo(&[
        "clippy",
        "--workspace",
        "--all-targets",
        "--",
        "--deny=warnings",
    ]))
}

fn doc(workshop: &Workshop) -> anyhow::Result<Outcome> {
    whole(
        workshop
            .cargo(&["doc", "--workspace", "--no-deps"])
            .env("RUSTDOCFLAGS", "--deny=warnings"),
    )
}

fn tests(workshop: &Workshop) -> anyhow::Result<Outcome> {
    let gridbeat = workshop.programs()?.gridbeat()?;
    let (runner, mut command) = if workshop.has_cargo_command("nextest") {
        let arguments = ["nextest", "run", "--workspace", "--no-fail-fast"];
        (Runner::Nextest, workshop.cargo(&arguments))
    } else {
        // Documentation tests have a step of their own, hence the list of targets.
        let targets = ["--lib", "--bins", "--tests", "--examples"];
        let mut command = workshop.cargo(&["test", "--workspace", "--no-fail-fast"]);
        command.args(targets);
        (Runner::Cargo, command)
    };
    // A snapshot that differs is a failure here, never a file to accept.
    command
        .env("INSTA_UPDATE", "no")
        .env("GRIDBEAT_BIN", gridbeat);
    Ok(Outcome::Ran(run_counting_tests(runner, &mut command)?))
}

fn doctests(workshop: &Workshop) -> anyhow::Result<Outcome> {
    let mut command = workshop.cargo(&["test", "--workspace", "--doc", "--no-fail-fast"]);
    Ok(Outcome::Ran(run_counting_tests(
        Runner::Cargo,
        &mut command,
    )?))
}

fn examples(workshop: &Workshop) -> anyhow::Result<Outcome> {
    let mut tally = Tally::default();
    for (name, path) in &workshop.programs()?.examples {
        println!("── {name}");
        let status = Command::new(path)
            .current_dir(workshop.root())
            .stdin(Stdio::null())
            .status()
            .with_context(|| format!("could not start the example {name}"))?;
        tally += if status.success() {
            Tally::PASSED
        } else {
            println!("── {name} failed: {status}");
            Tally::FAILED
        };
    }
    if tally == Tally::default() {
        return Ok(Outcome::Skipped("there are no examples"));
    }
    Ok(Outcome::Ran(tally))
}

fn sim(workshop: &Workshop) -> anyhow::Result<Outcome> {
    if !has_verb(workshop, "sim") {
        return Ok(Outcome::Skipped("`gridbeat` has no verb `sim`"));
    }
    let gridbeat = workshop.programs()?.gridbeat()?;
    let output = Command::new(gridbeat)
        .args(["sim", "--json", "--seeds", SIMULATOR_SEEDS])
        .current_dir(workshop.root())
        .stdin(Stdio::null())
        .stderr(Stdio::inherit())
        .output()
        .context("could not start the simulator")?;
    print!("{}", String::from_utf8_lossy(&output.stdout));
    ensure!(output.status.success(), "{}", output.status);
    let figures: Value =
        serde_json::from_slice(&output.stdout).context("it did not print one JSON object")?;
    ensure!(
        figures["violations"] == 0,
        "violations: {}",
        figures["violations"]
    );
    Ok(Outcome::Ran(Tally::PASSED))
}

fn demo(workshop: &Workshop) -> anyhow::Result<Outcome> {
    if !has_verb(workshop, "demo") {
        return Ok(Outcome::Skipped("`gridbeat` has no verb `demo`"));
    }
    let gridbeat = workshop.programs()?.gridbeat()?;
    let json = gridbeat.with_file_name("demo.json");
    let status = Command::new(gridbeat)
        .args(["demo", "--json"])
        .arg(&json)
        .current_dir(workshop.root())
        .stdin(Stdio::null())
        .status()
        .context("could not start the demo")?;
    ensure!(status.success(), "{status}");
    let text = std::fs::read(&json).with_context(|| format!("it left no {}", json.display()))?;
    let figures: Value = serde_json::from_slice(&text).context("its figures are not JSON")?;
    for (name, wanted) in [
        ("ok", Value::Bool(true)),
        ("changes_lost", Value::from(0)),
        ("digest_mismatches", Value::from(0)),
    ] {
        if figures[name] != wanted {
            bail!("\"{name}\" is {}, not {wanted}", figures[name]);
        }
    }
    Ok(Outcome::Ran(Tally::PASSED))
}

/// Whether the command line has this verb: a file or folder of that name.
fn has_verb(workshop: &Workshop, verb: &str) -> bool {
    let sources = workshop.root().join("crates/cli/src");
    sources.join(format!("{verb}.rs")).is_file() || sources.join(verb).is_dir()
}

fn seconds(duration: Duration) -> String {
    format!("{:.1} s", duration.as_secs_f64())
}
