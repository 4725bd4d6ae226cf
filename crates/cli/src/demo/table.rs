//! The table at the end, for people.

use std::fmt::Write as _;

use super::{Percentiles, Story, seconds};

/// How many differences the table shows; the log has more.
const TOLD_MAX: usize = 8;

/// Writes the table.
pub(crate) fn of(story: &Story<'_>) -> String {
    let mut text = devices(story);
    for (name, value) in summary(story) {
        // Writing to a string does not fail.
        let _ = writeln!(text, "{name:<38} {value}");
    }
    for what in story.findings.told.iter().take(TOLD_MAX) {
        let _ = writeln!(text, "  ! {what}");
    }
    let verdict = if story.figures.ok {
        "every promise held"
    } else {
        "A PROMISE DID NOT HOLD"
    };
    let _ = write!(text, "{verdict}, in {} s", story.figures.seconds);
    text
}

fn devices(story: &Story<'_>) -> String {
    let row = |cells: [&str; 9]| {
        let [name, reports, edits, acks, outages, down, kills, p50, p95] = cells;
        format!(
            "{name:<26} {reports:>7} {edits:>6} {acks:>6} {outages:>8} {down:>7} {kills:>6} {p50:>9} {p95:>9}\n"
        )
    };
    let mut text = row([
        "device", "reports", "edits", "acks", "outages", "down s", "kills", "ack p50", "ack p95",
    ]);
    for log in &story.chronicle.devices {
        let acks = Percentiles::of(log.acknowledge_ms.clone());
        text += &row([
            &log.name.chars().take(26).collect::<String>(),
            &log.created.to_string(),
            &log.edited.to_string(),
            &log.acknowledged.len().to_string(),
            &log.outages().to_string(),
            &seconds(log.down_for(story.chronicle.played)),
            &log.kills.len().to_string(),
            &millis(acks.p50),
            &millis(acks.p95),
        ]);
    }
    text.push('\n');
    text
}

fn summary(story: &Story<'_>) -> Vec<(&'static str, String)> {
    let figures = story.figures;
    let (ack, back) = (figures.acknowledge_ms, figures.return_to_acknowledge_ms);
    let three = |a: u64, b: u64, c: u64| format!("{a} / {b} / {c}");
    let two = |a: u64, b: u64| format!("{a} / {b}");
    vec![
        (
            "played",
            format!("{} (seed {})", figures.input, figures.seed),
        ),
        (
            "devices enrolled by a code",
            story.chronicle.devices.len().to_string(),
        ),
        (
            "incidents / edits / concurrent",
            three(figures.incidents, figures.edits, figures.concurrent_edits),
        ),
        (
            "conflicts for a person to settle",
            figures.conflicts_open.to_string(),
        ),
        (
            "outages / relay kills / device kills",
            three(figures.outages, figures.relay_kills, figures.device_kills),
        ),
        (
            "saved to acknowledged, p50 / p95",
            format!("{} / {}", millis(ack.p50), millis(ack.p95)),
        ),
        (
            "link back to acknowledged, p50 / p95",
            format!("{} / {}", millis(back.p50), millis(back.p95)),
        ),
        (
            "photos and tracks / received",
            two(figures.blobs, figures.blobs_received),
        ),
        ("bytes up / down", two(figures.bytes_up, figures.bytes_down)),
        (
            "connections tried / radio on",
            format!("{} / {} s", figures.dials, figures.radio_on_s),
        ),
        (
            "relay's memory at its peak",
            format!("{} MiB", figures.relay_peak_rss_bytes >> 20),
        ),
        (
            "acknowledged / lost",
            two(figures.changes_acknowledged, figures.changes_lost),
        ),
        (
            "pairs compared / that differ",
            two(story.findings.pairs, figures.digest_mismatches),
        ),
    ]
}

/// Writes milliseconds so that people need not count digits.
pub(crate) fn millis(value: Option<u64>) -> String {
    match value {
        None => "-".to_owned(),
        Some(value) if value < 10_000 => format!("{value} ms"),
        Some(value) => format!("{}.{} s", value / 1_000, value % 1_000 / 100),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn spans_are_written_for_people() {
        assert_eq!(millis(None), "-");
        assert_eq!(millis(Some(912)), "912 ms");
        assert_eq!(millis(Some(61_240)), "61.2 s");
    }
}
