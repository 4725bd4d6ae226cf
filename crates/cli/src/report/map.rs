//! The map: areas, the day's incidents where they were reported, the ways of the patrols.
//!
//! An equirectangular view scaled at its middle: right to a few metres over a city. Drawn in SVG from
//! the data alone, without a base map. Not here: colours, which are the page's.

use std::collections::BTreeMap;
use std::fmt::Write as _;

use geo_types::{Coord, LineString, Rect, coord};
use gridbeat_base::Position;

use super::svg::{escape, hue, px};
use crate::demo::Story;
use crate::input::{Area, Track};

/// How wide the drawing is, and how high at most.
const WIDTH: f64 = 1_120.0;
const HEIGHT_MAX: f64 = 860.0;

/// Room around it.
const MARGIN: f64 = 16.0;

/// Points closer than this to the one before are left out: nobody sees them.
const STEP_MIN: f64 = 0.8;

/// Metres in a degree of latitude.
const METRES_PER_DEGREE: f64 = 111_195.0;

/// The lengths a scale bar may have.
const SCALES_M: [f64; 9] = [100.0, 200.0, 500.0, 1e3, 2e3, 5e3, 1e4, 2e4, 5e4];

/// From degrees to the drawing.
struct View {
    west: f64,
    north: f64,
    x_per_degree: f64,
    y_per_degree: f64,
    width: f64,
    height: f64,
}

impl View {
    fn of(bounds: Rect<f64>) -> Self {
        let squeeze = bounds.center().y.to_radians().cos();
        let (across, down) = (
            bounds.width().max(1e-6) * squeeze,
            bounds.height().max(1e-6),
        );
        let room = (WIDTH - 2.0 * MARGIN, HEIGHT_MAX - 2.0 * MARGIN);
        let scale = (room.0 / across).min(room.1 / down);
        let width = WIDTH;
        Self {
            // Centred, if it is the height that limits.
            west: bounds.min().x - (room.0 / scale - across) / squeeze / 2.0,
            north: bounds.max().y,
            x_per_degree: scale * squeeze,
            y_per_degree: scale,
            width,
            height: scale.mul_add(down, 2.0 * MARGIN),
        }
    }

    fn at(&self, point: Coord<f64>) -> (f64, f64) {
        (
            (point.x - self.west).mul_add(self.x_per_degree, MARGIN),
            (self.north - point.y).mul_add(self.y_per_degree, MARGIN),
        )
    }

    fn place(&self, position: Position) -> (f64, f64) {
        self.at(coord! { x: position.longitude_deg(), y: position.latitude_deg() })
    }

    fn metres(&self, metres: f64) -> f64 {
        metres / METRES_PER_DEGREE * self.y_per_degree
    }
}

/// Draws the map; nothing if there is no area.
pub(super) fn draw(story: &Story<'_>) -> String {
    let Some(bounds) = story.day.areas.bounds() else {
        return String::new();
    };
    let view = View::of(bounds);
    let mut svg = format!(
        "<svg class=\"map\" viewBox=\"0 0 {} {}\" role=\"img\" aria-label=\"Map of areas, incidents and tracks\">",
        px(view.width),
        px(view.height)
    );
    areas(&mut svg, &view, story);
    for (number, track) in story
        .day
        .tracks
        .iter()
        .enumerate()
        .take(story.plan.officers.len())
    {
        draw_track(
            &mut svg,
            &view,
            track,
            &hue(number, story.plan.officers.len()),
        );
    }
    incidents(&mut svg, &view, story);
    for area in story.day.areas.all() {
        label(&mut svg, &view, area);
    }
    scale_bar(&mut svg, &view);
    svg.push_str("</svg>");
    svg
}

fn areas(svg: &mut String, view: &View, story: &Story<'_>) {
    let officers = &story.plan.officers;
    for (number, area) in story.day.areas.all().iter().enumerate() {
        let owner = officers
            .iter()
            .position(|officer| officer.areas.contains(&number));
        let colour = owner.map_or_else(
            || "var(--faint)".to_owned(),
            |owner| hue(owner, officers.len()),
        );
        let mut path = String::new();
        for polygon in &area.shape {
            ring(&mut path, view, polygon.exterior());
            for hole in polygon.interiors() {
                ring(&mut path, view, hole);
            }
        }
        let _ = write!(
            svg,
            "<path class=\"area\" d=\"{path}\" fill=\"{colour}\"><title>{}</title></path>",
            escape(&area.name)
        );
    }
}

fn ring(path: &mut String, view: &View, ring: &LineString<f64>) {
    line(path, ring.coords().map(|point| view.at(*point)));
    path.push('Z');
}

/// Adds a line to a path, without the points nobody would see.
fn line(path: &mut String, points: impl Iterator<Item = (f64, f64)>) {
    let mut last: Option<(f64, f64)> = None;
    for (x, y) in points {
        let far = last.is_none_or(|(a, b)| (a - x).hypot(b - y) >= STEP_MIN);
        if far {
            let letter = if last.is_none() { 'M' } else { 'L' };
            let _ = write!(path, "{letter}{} {}", px(x), px(y));
            last = Some((x, y));
        }
    }
}

fn draw_track(svg: &mut String, view: &View, track: &Track, colour: &str) {
    let mut path = String::new();
    for segment in &track.segments {
        line(
            &mut path,
            segment.iter().map(|point| view.place(point.position)),
        );
    }
    let _ = write!(
        svg,
        "<path class=\"track-back\" d=\"{path}\"/><path class=\"track\" d=\"{path}\" stroke=\"{colour}\"/>"
    );
}

/// Where an incident stands, as the map tells it.
pub(super) fn stage(status: &str, is_open: bool) -> &'static str {
    match status {
        _ if !is_open => "closed",
        "draft" | "reported" | "pending_verification" | "accepted" | "filed" => "reported",
        "dispatched" | "returned" | "handling" | "suspended" => "handling",
        _handled_and_being_checked => "checking",
    }
}

fn incidents(svg: &mut String, view: &View, story: &Story<'_>) {
    // Several on one spot (a placeholder, a building) are one mark, larger.
    let mut spots: BTreeMap<(i32, i32, &str, bool), u32> = BTreeMap::new();
    for record in story
        .relay
        .records
        .values()
        .filter(|record| record.kind == "incident")
    {
        let Some(position) = record.position else {
            continue;
        };
        let conflicts = record.body["conflicts"]
            .as_array()
            .is_some_and(|all| !all.is_empty());
        let key = (
            position.latitude_e7(),
            position.longitude_e7(),
            stage(&record.status, record.is_open),
            conflicts,
        );
        *spots.entry(key).or_default() += 1;
    }
    for ((latitude, longitude, stage, conflicts), count) in spots {
        let Ok(position) = Position::from_e7(latitude, longitude) else {
            continue;
        };
        let (x, y) = view.place(position);
        let radius = (2.6 + f64::from(count).sqrt() * 0.9).min(11.0);
        if conflicts {
            let _ = write!(
                svg,
                "<circle class=\"conflict\" cx=\"{}\" cy=\"{}\" r=\"{}\"/>",
                px(x),
                px(y),
                px(radius + 3.0)
            );
        }
        let _ = write!(
            svg,
            "<circle class=\"spot {stage}\" cx=\"{}\" cy=\"{}\" r=\"{}\"><title>{count} · {stage}</title></circle>",
            px(x),
            px(y),
            px(radius)
        );
    }
}

fn label(svg: &mut String, view: &View, area: &Area) {
    let (width, height) = (
        area.bounds().width() * view.x_per_degree,
        area.bounds().height() * view.y_per_degree,
    );
    // A name that does not fit would lie over its neighbour's.
    let letters = area
        .name
        .chars()
        .map(|c| if c.is_ascii() { 6.2 } else { 12.0 })
        .sum::<f64>();
    if letters > width * 1.15 || height < 16.0 {
        return;
    }
    let (x, y) = view.place(area.inner_point());
    let _ = write!(
        svg,
        "<text class=\"place\" x=\"{}\" y=\"{}\">{}</text>",
        px(x.clamp(letters / 2.0, view.width - letters / 2.0)),
        px(y),
        escape(&area.name)
    );
}

fn scale_bar(svg: &mut String, view: &View) {
    let fitting = SCALES_M
        .iter()
        .rev()
        .find(|metres| view.metres(**metres) <= 180.0);
    let metres = fitting.copied().unwrap_or(SCALES_M[0]);
    let length = view.metres(metres);
    let (x, y) = (MARGIN, view.height - MARGIN);
    let words = if metres >= 1e3 {
        format!("{} km", metres / 1e3)
    } else {
        format!("{metres} m")
    };
    let _ = write!(
        svg,
        "<path class=\"scale\" d=\"M{x} {0}v6h{1}v-6\"/><text class=\"scale-text\" x=\"{2}\" y=\"{3}\">{words}</text>",
        px(y - 6.0),
        px(length),
        px(x + length / 2.0),
        px(y - 4.0)
    );
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_view_keeps_north_up_and_everything_inside() {
        let bounds = Rect::new(coord! { x: 121.0, y: 29.0 }, coord! { x: 121.2, y: 29.1 });
        let view = View::of(bounds);
        for corner in [bounds.min(), bounds.max()] {
            let (x, y) = view.at(corner);
            assert!(
                (0.0..=view.width).contains(&x) && (0.0..=view.height).contains(&y),
                "{x} {y}"
            );
        }
        assert!(view.at(bounds.max()).1 < view.at(bounds.min()).1);
    }

    #[test]
    fn points_nobody_would_see_are_left_out() {
        let mut path = String::new();
        line(&mut path, [(0.0, 0.0), (0.1, 0.1), (5.0, 0.0)].into_iter());
        assert_eq!(path, "M0 0L5 0");
    }
}
