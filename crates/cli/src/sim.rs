//! `gridbeat sim`: seeds over all cores, and the figures of them.

use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::mpsc;
use std::thread;
use std::time::{Duration, Instant};

use gridbeat_sim::{Death, Left, Options, Outcome};
use indicatif::{ProgressBar, ProgressStyle};
use serde_json::json;

use crate::args::SimArgs;
use crate::output::{Ending, print, print_json};

/// How many violations of one seed are printed; the first ones matter.
const TOLD_MAX: usize = 10;

/// Seconds in a day, for telling how much time passed in the simulated city.
const DAY_SECONDS: f64 = 86_400.0;

/// Runs the seeds. [`Ending::Failed`] if any promise did not hold.
pub(crate) fn run(args: &SimArgs) -> anyhow::Result<Ending> {
    if args.trace {
        return trace(args);
    }
    if args.exhaustive {
        return exhaust(args);
    }
    let options = Options::default();
    let began = Instant::now();
    let sum = play(args, args.seeds, "seeds", |number| {
        let seed = args.first.wrapping_add(number);
        let outcome = if args.twice {
            gridbeat_sim::run_twice(seed, &options)
        } else {
            gridbeat_sim::run_seed(seed, &options)
        };
        let replay = format!("gridbeat sim --first {seed} --seeds 1 --trace");
        (outcome, replay)
    });
    let per_minute = per_minute(args.seeds, began);
    let days = (sum.simulated.as_secs_f64() / DAY_SECONDS * 100.0).round() / 100.0;
    let violations = sum.violations;
    if args.json {
        print_json(&json!({
            "seeds": args.seeds, "first": args.first, "violations": violations,
            "seeds_per_minute": per_minute, "simulated_days": days,
        }))?;
    } else {
        print(&format!(
            "{} seeds from {}: {violations} violations; {per_minute} seeds a minute, {days} days simulated",
            args.seeds, args.first
        ))?;
    }
    Ok(sum.ending())
}

/// Lets whoever makes a commit die by it, for every commit of one script.
fn exhaust(args: &SimArgs) -> anyhow::Result<Ending> {
    let seed = args.first;
    let commits = gridbeat_sim::commits(seed);
    let began = Instant::now();
    let runs = commits * Left::ALL.len() as u64;
    let sum = play(args, runs, "deaths", |number| {
        let place = usize::try_from(number % Left::ALL.len() as u64).unwrap_or(0);
        let death = Death {
            commit: number / Left::ALL.len() as u64 + 1,
            left: Left::ALL[place],
        };
        let replay = format!("the script of seed {seed} with {death:?}");
        (gridbeat_sim::run_dying(seed, death), replay)
    });
    let violations = sum.violations;
    let per_minute = per_minute(runs, began);
    if args.json {
        print_json(&json!({
            "seed": seed, "commits": commits, "runs": runs, "violations": violations,
            "runs_per_minute": per_minute,
        }))?;
    } else {
        print(&format!(
            "seed {seed}: {commits} commits, a death that leaves nothing, all or a part of each: {violations} violations"
        ))?;
    }
    Ok(sum.ending())
}

/// What came of several runs.
#[derive(Debug, Default)]
struct Sum {
    violations: u64,
    simulated: Duration,
}

impl Sum {
    const fn ending(&self) -> Ending {
        if self.violations == 0 {
            Ending::Good
        } else {
            Ending::Failed
        }
    }
}

fn per_minute(runs: u64, began: Instant) -> f64 {
    let minutes = began.elapsed().as_secs_f64() / 60.0;
    #[expect(clippy::cast_precision_loss, reason = "a count of runs, for people")]
    let per_minute = runs as f64 / minutes;
    (per_minute * 10.0).round() / 10.0
}

/// Plays so many runs over all cores, and tells of each that broke a promise how to play it again.
fn play(
    args: &SimArgs,
    runs: u64,
    what: &str,
    run: impl Fn(u64) -> (Outcome, String) + Sync,
) -> Sum {
    let cores = thread::available_parallelism().map_or(1, usize::from);
    let threads = args.threads.unwrap_or(cores).max(1);
    let bar = ProgressBar::new(runs);
    let template = format!("{{bar:32}} {{pos}}/{{len}} {what}, {{msg}} ({{eta}} left)");
    if let Ok(style) = ProgressStyle::with_template(&template) {
        bar.set_style(style);
    }
    let next = AtomicU64::new(0);
    let (sender, outcomes) = mpsc::channel::<(Outcome, String)>();
    let mut sum = Sum::default();
    thread::scope(|scope| {
        for _ in 0..threads {
            let (sender, next, run) = (sender.clone(), &next, &run);
            scope.spawn(move || {
                loop {
                    let number = next.fetch_add(1, Ordering::Relaxed);
                    if number >= runs || sender.send(run(number)).is_err() {
                        return;
                    }
                }
            });
        }
        drop(sender);
        for (outcome, replay) in outcomes {
            sum.simulated += outcome.simulated;
            bar.inc(1);
            if !outcome.violations.is_empty() {
                sum.violations += outcome.violations.len() as u64;
                bar.suspend(|| tell(&outcome, &replay));
            }
            bar.set_message(format!("{} violations", sum.violations));
        }
    });
    bar.finish_and_clear();
    sum
}

fn tell(outcome: &Outcome, replay: &str) {
    let seed = outcome.seed;
    eprint_line(&format!(
        "seed {seed}: {} violations",
        outcome.violations.len()
    ));
    for violation in outcome.violations.iter().take(TOLD_MAX) {
        eprint_line(&format!("  {violation}"));
    }
    eprint_line(&format!("  replay: {replay}"));
}

fn eprint_line(line: &str) {
    use std::io::Write as _;
    // Nothing can be told to someone who closed standard error.
    let _ = writeln!(std::io::stderr().lock(), "{line}");
}

/// Runs one seed and prints what happened, line by line.
fn trace(args: &SimArgs) -> anyhow::Result<Ending> {
    if args.seeds != 1 {
        return Err(Ending::usage(
            "--trace is for one seed: say --seeds 1 --first SEED",
        ));
    }
    let outcome = gridbeat_sim::run(args.first, &Options::default(), true);
    for line in &outcome.lines {
        print(line)?;
    }
    if outcome.violations.is_empty() {
        return Ok(Ending::Good);
    }
    let replay = format!("gridbeat sim --first {} --seeds 1 --trace", args.first);
    tell(&outcome, &replay);
    Ok(Ending::Failed)
}
