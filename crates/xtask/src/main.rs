//! Developer tasks: `cargo xtask demo` shows the main job, `cargo xtask test` runs every test.
//!
//! A task is a list of commands that anyone could type; this program orders them, times them and
//! adds up what they report. Few dependencies, so that it is built in seconds: no argument parser.

#![expect(
    clippy::print_stdout,
    clippy::print_stderr,
    reason = "a developer task talks to the terminal it was started from"
)]

mod advisories;
mod checks;
mod tally;
mod workshop;

use std::process::ExitCode;

use anyhow::Context as _;

use crate::workshop::Workshop;

/// Exit code of a wrong task or step name, as clap uses it in `gridbeat`.
const USAGE: u8 = 2;

fn main() -> ExitCode {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let Some((task, rest)) = arguments.split_first() else {
        print!("{}", usage());
        return ExitCode::from(USAGE);
    };
    let result = match task.as_str() {
        "demo" => demo(rest),
        "test" => test(rest),
        "help" | "-h" | "--help" => {
            print!("{}", usage());
            Ok(ExitCode::SUCCESS)
        }
        unknown => {
            eprint!("xtask: there is no task `{unknown}`\n\n{}", usage());
            Ok(ExitCode::from(USAGE))
        }
    };
    result.unwrap_or_else(|error| {
        eprintln!("xtask: {error:#}");
        ExitCode::FAILURE
    })
}

/// Builds the binary and hands it over to the main job, with the arguments as they came.
fn demo(arguments: &[String]) -> anyhow::Result<ExitCode> {
    let workshop = Workshop::open()?;
    let gridbeat = workshop.gridbeat_for_demo()?;
    let status = std::process::Command::new(&gridbeat)
        .arg("demo")
        .args(arguments)
        .status()
        .with_context(|| format!("could not start {}", gridbeat.display()))?;
    Ok(match status.code() {
        Some(0) => ExitCode::SUCCESS,
        Some(code) => u8::try_from(code).map_or(ExitCode::FAILURE, ExitCode::from),
        None => ExitCode::FAILURE,
    })
}

/// Runs the named steps, or all of them.
fn test(names: &[String]) -> anyhow::Result<ExitCode> {
    if let Some(unknown) = checks::unknown(names) {
        eprint!("xtask: there is no step `{unknown}`\n\n{}", usage());
        return Ok(ExitCode::from(USAGE));
    }
    let workshop = Workshop::open()?;
    Ok(if checks::run(&workshop, names) {
        ExitCode::SUCCESS
    } else {
        ExitCode::FAILURE
    })
}

fn usage() -> String {
    let mut text = String::from(
        "usage:\n  \
         cargo xtask demo [ARGUMENT…]   build what is needed and run `gridbeat demo`\n  \
         cargo xtask test [STEP…]       run every test there is, or only the steps named\n\n\
         steps, in their order:\n",
    );
    for step in checks::STEPS {
        text.push_str(&format!("  {:<10} {}\n", step.name, step.about));
    }
    text
}
