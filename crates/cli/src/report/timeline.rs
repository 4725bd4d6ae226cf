//! The timeline: for every device its link, what waited on it, and when it was acknowledged.
//!
//! One row a device: a band that is red where the link was down; above it, as an area, how many
//! saved changes waited; below it a tick for each moment of acknowledgements. The relay's death goes
//! through all rows. Not here: colours, which are the page's.

use std::collections::BTreeSet;
use std::fmt::Write as _;
use std::time::Duration;

use super::svg::{escape, px};
use crate::demo::{DeviceLog, Story};

const WIDTH: f64 = 1_120.0;

/// Where the rows' time begins and ends.
const LEFT: f64 = 168.0;
const RIGHT: f64 = 1_104.0;

/// The height of a row, and of its parts.
const ROW: f64 = 46.0;
const DEPTH: f64 = 24.0;
const BAND: f64 = 7.0;
const TICK: f64 = 6.0;

/// Room for the words above the first row, and the clock below the last.
const TOP: f64 = 22.0;
const BOTTOM: f64 = 28.0;

/// Marks on the clock: every so many seconds, the fewest that leave them room.
const STEPS_S: [u64; 8] = [1, 2, 5, 10, 20, 60, 120, 600];
const STEPS_MAX: u64 = 12;

/// Ticks closer than this are one: in pixels.
const TICK_APART: f64 = 1.2;

/// From the beginning of the shift to pixels.
struct Clock {
    end: Duration,
}

impl Clock {
    fn x(&self, at: Duration) -> f64 {
        let part = at.min(self.end).as_secs_f64() / self.end.as_secs_f64().max(1e-3);
        (RIGHT - LEFT).mul_add(part, LEFT)
    }
}

/// Draws the timeline.
pub(super) fn draw(story: &Story<'_>) -> String {
    let devices = &story.chronicle.devices;
    let clock = Clock {
        end: story.chronicle.played,
    };
    #[expect(clippy::cast_precision_loss, reason = "a handful of devices")]
    let rows = devices.len() as f64;
    let height = ROW.mul_add(rows, TOP + BOTTOM);
    let mut svg = format!(
        "<svg class=\"timeline\" viewBox=\"0 0 {WIDTH} {}\" role=\"img\" aria-label=\"Timeline of every device\">",
        px(height)
    );
    let foot = height - BOTTOM;
    axis(&mut svg, &clock, foot);
    for (number, (killed, back)) in story.chronicle.relay_down.iter().enumerate() {
        let (x, to) = (clock.x(*killed), clock.x(back.unwrap_or(clock.end)));
        let _ = write!(
            svg,
            "<rect class=\"relay-down\" x=\"{}\" y=\"{TOP}\" width=\"{}\" height=\"{}\"/>",
            px(x),
            px((to - x).max(2.0)),
            px(foot - TOP)
        );
        if number == 0 {
            let _ = write!(
                svg,
                "<text class=\"mark\" x=\"{}\" y=\"14\">relay killed 服务端被强杀</text>",
                px(f64::midpoint(x, to))
            );
        }
    }
    let run = clock.x(story.plan.run);
    let _ = write!(
        svg,
        "<path class=\"shift-end\" d=\"M{0} {TOP}V{1}\"/><text class=\"mark\" x=\"{0}\" y=\"14\">links good 信号恢复</text>",
        px(run),
        px(foot)
    );
    let most = devices
        .iter()
        .flat_map(|log| log.outbox.iter().map(|(_, n)| *n))
        .max()
        .unwrap_or(1);
    let mut top = TOP;
    for log in devices {
        row(&mut svg, &clock, log, top, most.max(1));
        top += ROW;
    }
    svg.push_str("</svg>");
    svg
}

fn axis(svg: &mut String, clock: &Clock, foot: f64) {
    let seconds = clock.end.as_secs();
    let step = STEPS_S
        .into_iter()
        .find(|step| seconds / step <= STEPS_MAX)
        .unwrap_or(600);
    for second in (0..=seconds).step_by(usize::try_from(step).unwrap_or(1)) {
        let x = px(clock.x(Duration::from_secs(second)));
        let _ = write!(
            svg,
            "<path class=\"grid\" d=\"M{x} {TOP}V{}\"/><text class=\"hour\" x=\"{x}\" y=\"{}\">{second} s</text>",
            px(foot + 4.0),
            px(foot + 18.0)
        );
    }
}

fn row(svg: &mut String, clock: &Clock, log: &DeviceLog, top: f64, most: u64) {
    let base = top + 6.0 + DEPTH;
    let name: String = log.name.chars().take(24).collect();
    let _ = write!(
        svg,
        "<text class=\"name\" x=\"0\" y=\"{}\">{}</text><text class=\"sub\" x=\"0\" y=\"{}\">{}</text>",
        px(base - 8.0),
        escape(&name),
        px(base + 6.0),
        escape(&log.link.chars().take(30).collect::<String>())
    );
    depth(svg, clock, log, base, most);
    let _ = write!(
        svg,
        "<rect class=\"up\" x=\"{LEFT}\" y=\"{}\" width=\"{}\" height=\"{BAND}\"/>",
        px(base),
        px(RIGHT - LEFT)
    );
    for (from, to) in down(log, clock.end) {
        let (x, end) = (clock.x(from), clock.x(to));
        let _ = write!(
            svg,
            "<rect class=\"down\" x=\"{}\" y=\"{}\" width=\"{}\" height=\"{BAND}\"><title>link down {:.1} s</title></rect>",
            px(x),
            px(base),
            px((end - x).max(1.5)),
            (to - from).as_secs_f64()
        );
    }
    let mut ticks = String::new();
    let mut last = f64::NEG_INFINITY;
    let moments: BTreeSet<Duration> = log.acknowledged_at.iter().copied().collect();
    for at in moments {
        let x = clock.x(at);
        if x - last >= TICK_APART {
            let _ = write!(ticks, "M{} {}v{TICK}", px(x), px(base + BAND + 1.0));
            last = x;
        }
    }
    let _ = write!(svg, "<path class=\"ack\" d=\"{ticks}\"/>");
    for (killed, back) in &log.kills {
        let (x, to) = (clock.x(*killed), clock.x(back.unwrap_or(clock.end)));
        let y = base + BAND / 2.0;
        let _ = write!(
            svg,
            "<rect class=\"dead\" x=\"{0}\" y=\"{1}\" width=\"{2}\" height=\"{3}\"/>\
             <path class=\"kill\" d=\"M{4} {5}l9 9m0 -9l-9 9\"/><text class=\"kill-text\" x=\"{6}\" y=\"{7}\">killed 强杀</text>",
            px(x),
            px(base - DEPTH),
            px((to - x).max(2.0)),
            px(DEPTH + BAND),
            px(x - 4.5),
            px(y - 4.5),
            px(x - 8.0),
            px(base - 6.0)
        );
    }
}

/// Draws how much waited, as steps; the root of it, so that one change is seen beside a hundred.
fn depth(svg: &mut String, clock: &Clock, log: &DeviceLog, base: f64, most: u64) {
    #[expect(
        clippy::cast_precision_loss,
        reason = "counts of changes, drawn in a few pixels"
    )]
    let y = |waiting: u64| base - DEPTH * (waiting as f64 / most as f64).sqrt();
    let mut path = format!("M{LEFT} {}", px(base));
    for (at, waiting) in &log.outbox {
        let _ = write!(path, "H{}V{}", px(clock.x(*at)), px(y(*waiting)));
    }
    let _ = write!(path, "H{RIGHT}V{}Z", px(base));
    let _ = write!(svg, "<path class=\"depth\" d=\"{path}\"/>");
    let peak = log.outbox.iter().max_by_key(|(_, waiting)| *waiting);
    if let Some((at, waiting)) = peak.filter(|(_, waiting)| *waiting > 1) {
        let _ = write!(
            svg,
            "<text class=\"peak\" x=\"{}\" y=\"{}\">{waiting}</text>",
            px(clock.x(*at) + 3.0),
            px((y(*waiting) - 1.0).max(base - DEPTH + 6.0))
        );
    }
}

/// Returns the spans in which the link was down.
fn down(log: &DeviceLog, end: Duration) -> Vec<(Duration, Duration)> {
    let mut spans = Vec::new();
    let mut since = None;
    for (at, up) in &log.link_changes {
        match (since, up) {
            (None, false) => since = Some(*at),
            (Some(from), true) => {
                spans.push((from, *at));
                since = None;
            }
            (None, true) | (Some(_), false) => {}
        }
    }
    spans.extend(since.map(|from| (from, end)));
    spans.retain(|(from, to)| from < to);
    spans
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_outage_without_an_end_lasts_to_the_end() {
        let at = Duration::from_secs;
        let mut log = DeviceLog::new("01", "log");
        for (when, up) in [(0, true), (2, false), (3, true), (8, false)] {
            log.link(at(when), up);
        }
        assert_eq!(down(&log, at(10)), [(at(2), at(3)), (at(8), at(10))]);
    }

    #[test]
    fn time_runs_from_left_to_right_and_stays_inside() {
        let clock = Clock {
            end: Duration::from_secs(60),
        };
        assert!((clock.x(Duration::ZERO) - LEFT).abs() < 1e-9);
        assert!((clock.x(Duration::from_secs(90)) - RIGHT).abs() < 1e-9);
    }
}
