//! `gridbeat sim`: seeds over all cores, each run twice, and the figures of them.

use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::mpsc;
use std::thread;
use std::time::{Duration, Instant};

use gridbeat_sim::{Options, Outcome};
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
    let cores = thread::available_parallelism().map_or(1, usize::from);
    let threads = args.threads.unwrap_or(cores).max(1);
    let began = Instant::now();
    let bar = ProgressBar::new(args.seeds);
    if let Ok(style) =
        ProgressStyle::with_template("{bar:32} {pos}/{len} seeds, {msg} ({eta} left)")
    {
        bar.set_style(style);
    }
    let options = Options::default();
    let next = AtomicU64::new(0);
    let (sender, outcomes) = mpsc::channel::<Outcome>();
    let (mut violations, mut simulated) = (0_u64, Duration::ZERO);
    thread::scope(|scope| -> anyhow::Result<()> {
        for _ in 0..threads {
            let (sender, next, options) = (sender.clone(), &next, &options);
            scope.spawn(move || {
                loop {
                    let number = next.fetch_add(1, Ordering::Relaxed);
                    if number >= args.seeds {
                        return;
                    }
                    let seed = args.first.wrapping_add(number);
                    if sender.send(gridbeat_sim::run_twice(seed, options)).is_err() {
                        return;
                    }
                }
            });
        }
        drop(sender);
        for outcome in outcomes {
            simulated += outcome.simulated * 2;
            bar.inc(1);
            if !outcome.violations.is_empty() {
                violations += outcome.violations.len() as u64;
                bar.suspend(|| tell(&outcome));
            }
            bar.set_message(format!("{violations} violations"));
        }
        Ok(())
    })?;
    bar.finish_and_clear();
    let minutes = began.elapsed().as_secs_f64() / 60.0;
    #[expect(clippy::cast_precision_loss, reason = "a count of seeds, for people")]
    let per_minute = (args.seeds as f64 / minutes * 10.0).round() / 10.0;
    let days = (simulated.as_secs_f64() / DAY_SECONDS * 100.0).round() / 100.0;
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
    Ok(if violations == 0 {
        Ending::Good
    } else {
        Ending::Failed
    })
}

fn tell(outcome: &Outcome) {
    let seed = outcome.seed;
    eprint_line(&format!(
        "seed {seed}: {} violations",
        outcome.violations.len()
    ));
    for violation in outcome.violations.iter().take(TOLD_MAX) {
        eprint_line(&format!("  {violation}"));
    }
    eprint_line(&format!(
        "  replay: gridbeat sim --first {seed} --seeds 1 --trace"
    ));
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
    tell(&outcome);
    Ok(Ending::Failed)
}
