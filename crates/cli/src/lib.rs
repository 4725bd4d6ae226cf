//! What the binary `gridbeat` is made of, as a library, so that tests and benches reach it too.
//!
//! - [`mod@bench`]: the figures the engine is held to, measured
//! - [`input`]: a day of patrol as the user hands it over, in files or as a seeded shift of our own
//! - `args`, `config`, `output`, `signals`: the command line, the environment, how we speak and end
//! - `quarantine`, `recovery`, `relay`, `device`, `office`, `demo`, `sim`, `import`, `version`: the verbs
//! - `report`: the page that shows a run of the demo

mod args;
mod audit;
pub mod bench;
mod blob;
mod config;
mod demo;
mod device;
mod enrol;
mod import;
pub mod input;
mod office;
mod output;
mod qr;
mod quarantine;
mod recovery;
mod relay;
mod report;
mod signals;
mod sim;
mod version;

use std::io::Write as _;
use std::process::ExitCode;

use clap::Parser as _;

use args::{Cli, Verb};
use output::Ending;

/// Does what the command line says, and returns the code to end with.
pub fn run() -> ExitCode {
    let cli = Cli::parse();
    keep_quiet_about_contained_panics();
    let done = config::start_log(cli.log.as_deref()).and_then(|()| match cli.verb {
        Verb::Relay(args) => relay::run(args),
        Verb::Device(args) => device::run(*args),
        Verb::Grant(args) => office::grant(args),
        Verb::Enrol(args) => enrol::run(args),
        Verb::Demo(args) => demo::run(&args),
        Verb::Sim(args) => sim::run(&args),
        Verb::Bench(args) => bench::run(args).map(|()| Ending::Good),
        Verb::Quarantine(args) => quarantine::run(args.verb),
        Verb::Blob(args) => blob::run(args.verb),
        Verb::Audit(args) => audit::run(&args),
        Verb::Import(args) => import::run(&args),
        Verb::Version(args) => version::run(args),
    });
    let ending = done.unwrap_or_else(|error| {
        // Nothing can be told to someone who closed standard error.
        let _ = writeln!(std::io::stderr().lock(), "gridbeat: {error:#}");
        Ending::of(&error)
    });
    ending.into()
}

/// Keeps what a stranger's change made Automerge panic with off standard error: it is refused, with its reason.
fn keep_quiet_about_contained_panics() {
    let usual = std::panic::take_hook();
    std::panic::set_hook(Box::new(move |panic| {
        if !gridbeat_document::is_contained() {
            usual(panic);
        }
    }));
}
