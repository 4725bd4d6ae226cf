//! A ride as a picture: its fixes, the bad ones, and the shorter line over them.

use std::fmt::Write as _;

use gridbeat_base::Position;
use gridbeat_domain::track::{TrackPoint, simplified};

const WIDTH: f64 = 960.0;
const HEIGHT: f64 = 560.0;
const MARGIN: f64 = 30.0;
/// Where the words end and the map begins.
const TOP: f64 = 64.0;

/// Lengths that a scale may have, in metres.
const SCALES_M: [f64; 9] = [
    10.0, 20.0, 50.0, 100.0, 200.0, 500.0, 1_000.0, 2_000.0, 5_000.0,
];

const STYLE: &str = "text{font:13px sans-serif;fill:#1c2733}.small{font-size:11px;fill:#5b6b7a}\
    .title{font-size:16px;font-weight:600}.fix{fill:#aab4bd}.bad{fill:none;stroke:#c4622d;stroke-width:2}\
    .line{fill:none;stroke:#2f6fab;stroke-width:2;stroke-linejoin:round}.corner{fill:#2f6fab}.scale{stroke:#1c2733;stroke-width:2}";

/// A map on which a metre is the same both ways.
struct Plane {
    left: f64,
    west_deg: f64,
    north_deg: f64,
    narrow: f64,
    pixels_a_degree: f64,
}

impl Plane {
    /// Fits the good fixes; bad ones may lie outside.
    fn of(good: &[Position]) -> Option<Self> {
        let edge = |of: fn(Position) -> f64, pick: fn(f64, f64) -> f64| {
            good.iter().map(|it| of(*it)).reduce(pick)
        };
        let (west, east) = (
            edge(Position::longitude_deg, f64::min)?,
            edge(Position::longitude_deg, f64::max)?,
        );
        let (south, north) = (
            edge(Position::latitude_deg, f64::min)?,
            edge(Position::latitude_deg, f64::max)?,
        );
        let narrow = north.to_radians().cos();
        let wide_deg = (east - west) * narrow;
        let across = (WIDTH - 2.0 * MARGIN) / wide_deg.max(1e-6);
        let down = (HEIGHT - TOP - MARGIN * 2.0) / (north - south).max(1e-6);
        let pixels_a_degree = across.min(down);
        Some(Self {
            left: (WIDTH - wide_deg * pixels_a_degree) / 2.0,
            west_deg: west,
            north_deg: north,
            narrow,
            pixels_a_degree,
        })
    }

    fn place(&self, at: Position) -> (f64, f64) {
        let x = (at.longitude_deg() - self.west_deg) * self.narrow * self.pixels_a_degree;
        let y = (self.north_deg - at.latitude_deg()) * self.pixels_a_degree;
        (self.left + x, TOP + y)
    }

    fn pixels(&self, metres: f64) -> f64 {
        metres / 111_195.0 * self.pixels_a_degree
    }
}

/// Draws a ride.
pub(super) fn picture(fixes: &[TrackPoint], tolerance_m: f64) -> String {
    let good: Vec<Position> = fixes
        .iter()
        .filter(|fix| !fix.marks.is_bad())
        .map(|fix| fix.position)
        .collect();
    let line = simplified(fixes, tolerance_m);
    let mut svg = format!(
        "<svg xmlns=\"http://www.w3.org/2000/svg\" viewBox=\"0 0 {WIDTH} {HEIGHT}\" role=\"img\" \
         aria-label=\"A ride: {} fixes, and a line of {} points\"><style>{STYLE}</style>\
         <rect width=\"{WIDTH}\" height=\"{HEIGHT}\" fill=\"#fff\"/>\
         <text class=\"title\" x=\"20\" y=\"26\">A ride of {} fixes, and a line of {} points that is nowhere further than {tolerance_m} m from them</text>\
         <circle class=\"fix\" cx=\"26\" cy=\"43\" r=\"3\"/><text class=\"small\" x=\"36\" y=\"47\">fix</text>\
         <circle class=\"bad\" cx=\"76\" cy=\"43\" r=\"5\"/><text class=\"small\" x=\"88\" y=\"47\">bad fix, {}</text>\
         <line class=\"line\" x1=\"170\" x2=\"196\" y1=\"43\" y2=\"43\"/><text class=\"small\" x=\"204\" y=\"47\">line for a map</text>",
        fixes.len(),
        line.len(),
        fixes.len(),
        line.len(),
        fixes.len() - good.len(),
    );
    if let Some(plane) = Plane::of(&good) {
        draw(&mut svg, &plane, fixes, &line);
    }
    svg.push_str("</svg>\n");
    svg
}

fn draw(svg: &mut String, plane: &Plane, fixes: &[TrackPoint], line: &[Position]) {
    svg.push_str("<path class=\"line\" d=\"");
    for (number, at) in line.iter().enumerate() {
        let (x, y) = plane.place(*at);
        let _ = write!(svg, "{}{x:.1} {y:.1}", if number == 0 { "M" } else { "L" });
    }
    svg.push_str("\"/>");
    for fix in fixes {
        let (x, y) = plane.place(fix.position);
        let is_inside = (0.0..WIDTH).contains(&x) && (TOP - MARGIN..HEIGHT).contains(&y);
        if is_inside {
            let (class, radius) = if fix.marks.is_bad() {
                ("bad", 5.0)
            } else {
                ("fix", 1.6)
            };
            let _ = write!(
                svg,
                "<circle class=\"{class}\" cx=\"{x:.1}\" cy=\"{y:.1}\" r=\"{radius}\"/>"
            );
        }
    }
    for at in line {
        let (x, y) = plane.place(*at);
        let _ = write!(
            svg,
            "<circle class=\"corner\" cx=\"{x:.1}\" cy=\"{y:.1}\" r=\"2.6\"/>"
        );
    }
    let fits = |metres: &&f64| plane.pixels(**metres) <= 220.0;
    let metres = SCALES_M.iter().rev().find(fits).unwrap_or(&SCALES_M[0]);
    let (right, bottom) = (WIDTH - MARGIN, HEIGHT - 16.0);
    let _ = write!(
        svg,
        "<line class=\"scale\" x1=\"{:.1}\" x2=\"{right}\" y1=\"{bottom}\" y2=\"{bottom}\"/>\
         <text class=\"small\" x=\"{right}\" y=\"{:.1}\" text-anchor=\"end\">{metres} m</text>",
        right - plane.pixels(*metres),
        bottom - 6.0,
    );
}
