//! `cargo run -p tests --bin kills -- [TIMES [SEED]]`: kills a relay and its devices so often each.
//! `cargo run -p tests --bin kills -- calls [MOST]`: kills a relay at its n-th call that makes durable, and lets that
//! call fail, for every n up to MOST.
//! `cargo run -p tests --bin kills -- full [CYCLES [SEED]]`: fills the disk of all and frees it, so often.
//!
//! Prints what was lost as one JSON object each. Exits 1 if anything was.

use std::io::Write as _;
use std::process::ExitCode;

use serde_json::{Value, json};
use tests::kills::{Blow, DURABLE, Figures, fill, run, strike};

fn main() -> anyhow::Result<ExitCode> {
    let words: Vec<String> = std::env::args().skip(1).collect();
    let number = |place: usize, default: u64| {
        let word = words.get(place);
        word.map_or(Ok(default), |word| word.parse())
    };
    let program = tests::gridbeat();
    let mut lost = 0;
    match words.first().map(String::as_str) {
        Some("calls") => {
            let most = u32::try_from(number(1, 60)?)?;
            for call in DURABLE {
                for blow in [Blow::Kill, Blow::Fail("EIO"), Blow::Fail("ENOSPC")] {
                    let figures = strike(program, call, blow, 1, most)?;
                    let what =
                        json!({"call": call, "blow": format!("{blow:?}"), "met": figures.met});
                    lost += tell(what, figures.history)?;
                }
            }
        }
        Some("full") => {
            let (cycles, seed) = (u32::try_from(number(1, 50)?)?, number(2, 1)?);
            match fill(program, cycles, seed)? {
                Some(figures) => {
                    let what = json!({"cycles": cycles, "seed": seed, "met": figures.met});
                    lost += tell(what, figures.history)?;
                }
                None => writeln!(std::io::stdout(), "skipped: no disk may be mounted here")?,
            }
        }
        Some(_) | None => {
            let (times, seed) = (u32::try_from(number(0, 200)?)?, number(1, 1)?);
            lost += tell(json!({"seed": seed}), run(program, times, times, seed)?)?;
        }
    }
    Ok(ExitCode::from(u8::from(lost > 0)))
}

/// Prints figures behind what they are of; returns how much was lost.
fn tell(what: Value, figures: Figures) -> anyhow::Result<usize> {
    let mut line = what;
    for (name, value) in [
        ("relay_kills", json!(figures.relay_kills)),
        ("device_kills", json!(figures.device_kills)),
        ("saved", json!(figures.saved)),
        ("acknowledged", json!(figures.acknowledged)),
        ("lost_saved", json!(figures.lost_saved)),
        ("lost_acknowledged", json!(figures.lost_acknowledged)),
    ] {
        line[name] = value;
    }
    writeln!(std::io::stdout(), "{line}")?;
    Ok(figures.lost_saved + figures.lost_acknowledged)
}
