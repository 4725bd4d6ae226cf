//! The times of all runs as one picture: a bar a run on a scale where each step is ten times the last, and marks of what is
//! known beside it.

use std::fmt::Write as _;

use super::{Run, known};

const WIDTH: f64 = 960.0;
/// Where the scale begins and ends.
const LEFT: f64 = 206.0;
const RIGHT: f64 = 880.0;
const TOP: f64 = 74.0;
const ROW: f64 = 26.0;
const BAR: f64 = 12.0;
/// Between two workloads.
const GAP: f64 = 16.0;
const BOTTOM: f64 = 40.0;

/// The scale's ends, in seconds, and what is written on it.
const FIRST_S: f64 = 0.01;
const LAST_S: f64 = 200.0;
const MARKS_S: [(f64, &str); 5] = [
    (0.01, "10 ms"),
    (0.1, "100 ms"),
    (1.0, "1 s"),
    (10.0, "10 s"),
    (100.0, "100 s"),
];

const STYLE: &str = "text{font:13px sans-serif;fill:#1c2733}.small{font-size:11px;fill:#5b6b7a}\
    .title{font-size:16px;font-weight:600}.grid{stroke:#dde3e8}.bar{fill:#2f6fab}.over{fill:#c4622d}\
    .target{stroke:#1c2733;stroke-width:2}.others{fill:#8a97a3}.limit{fill:#fff;stroke:#2e8b57;stroke-width:2}";

fn x(seconds: f64) -> f64 {
    let span = (LAST_S / FIRST_S).log10();
    let part = (seconds.clamp(FIRST_S, LAST_S) / FIRST_S).log10() / span;
    (RIGHT - LEFT).mul_add(part, LEFT)
}

fn title(workload: &str) -> &'static str {
    match workload {
        "w1" => "a shift comes back",
        "w2" => "a reconnect",
        _ => "a first sync",
    }
}

/// Draws the runs.
pub(super) fn draw(runs: &[Run]) -> String {
    let mut rows = String::new();
    let mut y = TOP;
    let mut last = None;
    for run in runs {
        if last.is_some_and(|last| last != run.workload) {
            y += GAP;
        }
        last = Some(run.workload);
        row(&mut rows, run, y);
        y += ROW;
    }
    let height = y + BOTTOM;
    let mut svg = format!(
        "<svg xmlns=\"http://www.w3.org/2000/svg\" viewBox=\"0 0 {WIDTH} {height:.0}\" role=\"img\" \
         aria-label=\"Seconds until everything is held and durable\"><style>{STYLE}</style>\
         <rect width=\"{WIDTH}\" height=\"{height:.0}\" fill=\"#fff\"/>\
         <text class=\"title\" x=\"20\" y=\"28\">Seconds until everything is held and durable on both sides</text>"
    );
    legend(&mut svg);
    for (seconds, words) in MARKS_S {
        let x = x(seconds);
        let (top, bottom) = (TOP - 8.0, y + 4.0);
        let _ = write!(
            svg,
            "<line class=\"grid\" x1=\"{x:.1}\" x2=\"{x:.1}\" y1=\"{top:.1}\" y2=\"{bottom:.1}\"/>\
             <text class=\"small\" x=\"{x:.1}\" y=\"{:.1}\" text-anchor=\"middle\">{words}</text>",
            bottom + 16.0
        );
    }
    svg.push_str(&rows);
    svg.push_str("</svg>\n");
    svg
}

fn legend(svg: &mut String) {
    let y = 48.0;
    let _ = write!(
        svg,
        "<rect class=\"bar\" x=\"20\" y=\"{:.1}\" width=\"22\" height=\"10\"/><text class=\"small\" x=\"48\" y=\"{y}\">measured</text>\
         <rect class=\"over\" x=\"112\" y=\"{:.1}\" width=\"22\" height=\"10\"/><text class=\"small\" x=\"140\" y=\"{y}\">over its target</text>\
         <line class=\"target\" x1=\"236\" x2=\"236\" y1=\"{:.1}\" y2=\"{:.1}\"/><text class=\"small\" x=\"244\" y=\"{y}\">target</text>\
         <circle class=\"others\" cx=\"304\" cy=\"{:.1}\" r=\"5\"/><text class=\"small\" x=\"314\" y=\"{y}\">best of four other engines</text>\
         <circle class=\"limit\" cx=\"482\" cy=\"{:.1}\" r=\"5\"/><text class=\"small\" x=\"492\" y=\"{y}\">the facts alone over TCP</text>",
        y - 9.0,
        y - 9.0,
        y - 12.0,
        y + 2.0,
        y - 4.0,
        y - 4.0
    );
}

fn row(svg: &mut String, run: &Run, y: f64) {
    let known = known::of(run.workload, &run.link);
    let is_over = known
        .and_then(|known| known.target)
        .is_some_and(|target| run.seconds > target);
    let class = if is_over { "over" } else { "bar" };
    let end = x(run.seconds).max(LEFT + 2.0);
    let middle = BAR.mul_add(0.5, y);
    let _ = write!(
        svg,
        "<text x=\"20\" y=\"{:.1}\">{} · {}</text>\
         <rect class=\"{class}\" x=\"{LEFT}\" y=\"{y:.1}\" width=\"{:.1}\" height=\"{BAR}\"/>",
        y + 11.0,
        title(run.workload),
        run.link,
        end - LEFT
    );
    if let Some(known) = known {
        if let Some(target) = known.target.map(x) {
            let _ = write!(
                svg,
                "<line class=\"target\" x1=\"{target:.1}\" x2=\"{target:.1}\" y1=\"{:.1}\" y2=\"{:.1}\"/>",
                y - 4.0,
                y + BAR + 4.0
            );
        }
        let _ = write!(
            svg,
            "<circle class=\"limit\" cx=\"{:.1}\" cy=\"{middle:.1}\" r=\"5\"/>",
            x(known.limit)
        );
        if let Some(others) = known.others {
            let _ = write!(
                svg,
                "<circle class=\"others\" cx=\"{:.1}\" cy=\"{middle:.1}\" r=\"5\"/>",
                x(others)
            );
        }
    }
    let _ = write!(
        svg,
        "<text class=\"small\" x=\"{WIDTH}\" dx=\"-14\" y=\"{:.1}\" text-anchor=\"end\">{:.2} s</text>",
        y + 11.0,
        run.seconds
    );
}
