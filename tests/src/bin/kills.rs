//! `cargo run -p tests --bin kills -- TIMES [SEED]`: kills a relay and its devices so often each, and prints what
//! was lost as one JSON object. Exits 1 if anything was.

use std::io::Write as _;
use std::process::ExitCode;

fn main() -> anyhow::Result<ExitCode> {
    let mut numbers = std::env::args().skip(1);
    let times = numbers.next().map_or(Ok(200), |text| text.parse())?;
    let seed = numbers.next().map_or(Ok(1), |text| text.parse())?;
    let figures = tests::kills::run(tests::gridbeat(), times, times, seed)?;
    let lost = figures.lost_saved + figures.lost_acknowledged;
    writeln!(
        std::io::stdout(),
        "{}",
        serde_json::json!({
            "seed": seed, "relay_kills": figures.relay_kills, "device_kills": figures.device_kills,
            "saved": figures.saved, "acknowledged": figures.acknowledged,
            "lost_saved": figures.lost_saved, "lost_acknowledged": figures.lost_acknowledged,
        })
    )?;
    Ok(ExitCode::from(u8::from(lost > 0)))
}
