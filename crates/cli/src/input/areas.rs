//! Named areas: `GeoJSON` polygons, which one a point lies in, and which is nearest.
//!
//! An area is a scope: what one team answers for. A point on a shared border belongs to the first of
//! its areas, so that no point between neighbours falls to nobody. Not here: unit cells.

use std::collections::BTreeSet;
use std::path::Path;

use geo::{Area as _, BoundingRect as _, Contains as _, InteriorPoint as _, Intersects as _};
use geo_types::{Coord, LineString, MultiPolygon, Point, Polygon, Rect, coord};
use geojson::{Feature, FeatureCollection, GeoJson, GeometryValue};
use gridbeat_base::{Position, Random, SCOPE_BYTES_MAX, Scope};

use super::draw::fraction;
use super::error::{InputError, InputProblem};
use super::file;
use super::rejects::{Input, Reason, Rejects};

/// Largest file of areas, unpacked: a hundred times Boston's 26 neighbourhoods.
pub const AREAS_BYTES_MAX: u64 = 64 << 20;

/// The properties that may hold an area's name, the first present wins.
const NAME_PROPERTIES: [&str; 6] = ["name", "Name", "NAME", "name:zh", "title", "名称"];

/// The properties that may hold an area's code, which makes the better scope.
const CODE_PROPERTIES: [&str; 4] = ["code", "CODE", "adcode", "代码"];

/// Metres in one degree of latitude: the circumference of a sphere of 6,371,008.8 m over 360.
pub(super) const METRES_PER_DEGREE: f64 = 111_195.08;

/// How often a random point of the bounding box is drawn before an inner point is taken: enough for
/// an area that fills a hundredth of its box in all but one of 20,000 calls.
const DRAWS_MAX: u32 = 1_000;

/// One named area.
#[derive(Clone, Debug)]
pub struct Area {
    /// Its name, as people say it.
    pub name: String,
    /// The unit of replication and permission that it makes: its code, or else its name.
    pub scope: Scope,
    /// Its shape: x is the longitude, y the latitude, in degrees.
    pub shape: MultiPolygon<f64>,
    // Invariant: the bounding box of `shape`.
    bounds: Rect<f64>,
}

impl Area {
    /// Makes an area; `None` if the shape is empty, or beyond ±180 or ±90 degrees.
    pub fn new(name: &str, scope: Scope, shape: MultiPolygon<f64>) -> Option<Self> {
        let bounds = shape.bounding_rect()?;
        let corners = [bounds.min(), bounds.max()];
        let on_globe = corners
            .iter()
            .all(|c| c.x.abs() <= 180.0 && c.y.abs() <= 90.0);
        (on_globe && shape.unsigned_area() > 0.0).then(|| Self {
            name: name.to_owned(),
            scope,
            shape,
            bounds,
        })
    }

    /// Returns the smallest box around it, in degrees.
    pub const fn bounds(&self) -> Rect<f64> {
        self.bounds
    }

    /// Tells whether a position lies inside or on the border.
    pub fn contains(&self, position: Position) -> bool {
        self.covers(Point::from(position))
    }

    /// Tells whether a position lies strictly inside: it is in no other area then.
    pub(super) fn holds(&self, position: Position) -> bool {
        let point = Point::from(position);
        self.bounds.contains(&point) && self.shape.contains(&point)
    }

    fn covers(&self, point: Point<f64>) -> bool {
        self.bounds.intersects(&point) && self.shape.intersects(&point)
    }

    /// Returns a point well inside.
    pub fn inner_point(&self) -> Position {
        let inner = self.shape.interior_point();
        let inner = inner.and_then(|point| Position::try_from(point).ok());
        inner.unwrap_or_else(|| {
            let centre = Point::from(self.bounds.center());
            Position::try_from(centre).expect("a shape's degrees are checked when it is made")
        })
    }

    /// Draws a position strictly inside, all places alike.
    pub fn random_point(&self, random: &mut Random) -> Position {
        let (min, size) = (self.bounds.min(), self.bounds.max() - self.bounds.min());
        for _ in 0..DRAWS_MAX {
            let x = min.x + size.x * fraction(random);
            let y = min.y + size.y * fraction(random);
            // Judged after rounding to what a position can hold.
            if let Ok(position) = Position::from_degrees(y, x)
                && self.holds(position)
            {
                return position;
            }
        }
        self.inner_point()
    }

    /// Returns how far a position is from the border, in metres.
    fn distance_m(&self, position: Position) -> f64 {
        let here = Point::from(position);
        let scale = here.y().to_radians().cos();
        let flat = |c: Coord<f64>| {
            coord! {
                x: (c.x - here.x()) * scale * METRES_PER_DEGREE,
                y: (c.y - here.y()) * METRES_PER_DEGREE,
            }
        };
        let rings = self
            .shape
            .iter()
            .flat_map(|p| core::iter::once(p.exterior()).chain(p.interiors()));
        let edges = rings.flat_map(LineString::lines);
        let distances = edges.map(|edge| from_origin(flat(edge.start), flat(edge.end)));
        distances.fold(f64::INFINITY, f64::min)
    }
}

/// Returns the distance from the origin to the nearest point of an edge.
fn from_origin(a: Coord<f64>, b: Coord<f64>) -> f64 {
    let along = b - a;
    let length = along.x * along.x + along.y * along.y;
    let t = if length > 0.0 {
        -(a.x * along.x + a.y * along.y) / length
    } else {
        0.0
    };
    let nearest = a + along * t.clamp(0.0, 1.0);
    nearest.x.hypot(nearest.y)
}

/// All areas of a day, in the order of their file.
#[derive(Clone, Debug)]
pub struct Areas(Vec<Area>);

impl Areas {
    /// Makes the set; scopes that occur twice get a number.
    pub fn new(areas: Vec<Area>) -> Self {
        let mut taken = BTreeSet::new();
        let mut areas = areas;
        for area in &mut areas {
            let name = area.scope.as_str().to_owned();
            let mut number = 1;
            while !taken.insert(area.scope.clone()) {
                number += 1;
                area.scope = scope_named(&format!("{number} {name}"));
            }
        }
        Self(areas)
    }

    /// Reads the polygons of a `GeoJSON` file, plain or gzip.
    ///
    /// # Errors
    ///
    /// [`InputError`] if it is no feature collection in WGS 84 degrees, or has no polygon.
    pub fn read(path: &Path, rejects: &mut Rejects) -> Result<Self, InputError> {
        let fault = |problem| InputError::new(path, problem);
        let not_geojson = |message| fault(InputProblem::NotGeoJson { message });
        let text = file::read_text(path, "a GeoJSON file, plain or gzip", AREAS_BYTES_MAX)?;
        let geojson: GeoJson = text.parse().map_err(|error: geojson::Error| {
            let message: String = error.to_string().chars().take(200).collect();
            not_geojson(message)
        })?;
        let collection = FeatureCollection::try_from(geojson)
            .map_err(|_| not_geojson("it is a single feature or geometry".to_owned()))?;
        let mut areas = Vec::new();
        for (feature, number) in collection.features.iter().zip(1..) {
            let Some(shape) = shape_of(feature) else {
                rejects.count(Input::Areas, Reason::NotAPolygon, number);
                continue;
            };
            let shape = shape.ok_or_else(|| fault(InputProblem::NotDegrees { feature: number }))?;
            let name = property(feature, &NAME_PROPERTIES).unwrap_or_else(|| {
                rejects.count(Input::Areas, Reason::NameMissing, number);
                format!("area {number}")
            });
            let scope = property(feature, &CODE_PROPERTIES).unwrap_or_else(|| name.clone());
            match Area::new(&name, scope_named(&scope), shape) {
                Some(area) => areas.push(area),
                None => rejects.count(Input::Areas, Reason::NotAPolygon, number),
            }
        }
        if areas.is_empty() {
            return Err(fault(InputProblem::NoAreas));
        }
        Ok(Self::new(areas))
    }

    /// Cuts a box into equal rectangles, row by row from the south-west: for requests that come
    /// without a file of areas. `None` if the box is empty.
    pub fn grid(bounds: Rect<f64>, columns: u32, rows: u32) -> Option<Self> {
        let min = bounds.min();
        let step_x = bounds.width() / f64::from(columns);
        let step_y = bounds.height() / f64::from(rows);
        let cell = |column: u32, row: u32| {
            // Both corners by the same rule, so that neighbours share their border exactly.
            let corner = |c: u32, r: u32| {
                coord! {
                    x: step_x.mul_add(f64::from(c), min.x),
                    y: step_y.mul_add(f64::from(r), min.y),
                }
            };
            let rect = Rect::new(corner(column, row), corner(column + 1, row + 1));
            let name = format!("grid {}-{}", row + 1, column + 1);
            Area::new(
                &name,
                scope_named(&name),
                MultiPolygon::from(rect.to_polygon()),
            )
        };
        let cells = (0..rows).flat_map(|row| (0..columns).map(move |column| (column, row)));
        let cells: Option<Vec<_>> = cells.map(|(column, row)| cell(column, row)).collect();
        cells.filter(|cells| !cells.is_empty()).map(Self)
    }

    /// Returns all areas.
    pub fn all(&self) -> &[Area] {
        &self.0
    }

    /// Returns the index of the area that a position lies in.
    pub fn containing(&self, position: Position) -> Option<usize> {
        let point = Point::from(position);
        self.0.iter().position(|area| area.covers(point))
    }

    /// Returns the index of the area whose border is nearest, and how far that is in metres.
    pub fn nearest(&self, position: Position) -> Option<(usize, f64)> {
        let distances = self.0.iter().map(|area| area.distance_m(position));
        distances.enumerate().min_by(|a, b| a.1.total_cmp(&b.1))
    }

    /// Returns the index of the area with a name.
    pub fn named(&self, name: &str) -> Option<usize> {
        self.0.iter().position(|area| area.name == name)
    }

    /// Returns the smallest box around all areas, in degrees; `None` if there is none.
    pub fn bounds(&self) -> Option<Rect<f64>> {
        let join = |a: Rect<f64>, b: Rect<f64>| {
            Rect::new(
                coord! { x: a.min().x.min(b.min().x), y: a.min().y.min(b.min().y) },
                coord! { x: a.max().x.max(b.max().x), y: a.max().y.max(b.max().y) },
            )
        };
        self.0.iter().map(Area::bounds).reduce(join)
    }
}

/// Makes a scope of any name: control characters become spaces, and what is too long is cut.
pub(super) fn scope_named(name: &str) -> Scope {
    let clean = name.chars().map(|c| if c.is_control() { ' ' } else { c });
    let mut text = String::new();
    for character in clean {
        if text.len() + character.len_utf8() > SCOPE_BYTES_MAX {
            break;
        }
        text.push(character);
    }
    if text.is_empty() {
        text.push('-');
    }
    Scope::new(&text).expect("1 to 64 bytes and no control character, by the lines above")
}

fn property(feature: &Feature, names: &[&str]) -> Option<String> {
    let value = names.iter().find_map(|name| feature.property(name))?;
    let text = value.as_str().map(|text| text.trim().to_owned());
    let number = || value.as_i64().map(|number| number.to_string());
    text.or_else(number).filter(|text| !text.is_empty())
}

/// Returns the polygons of a feature: `None` if it is something else, `Some(None)` if a coordinate
/// is beyond ±180 or ±90.
fn shape_of(feature: &Feature) -> Option<Option<MultiPolygon<f64>>> {
    let polygons = match &feature.geometry.as_ref()?.value {
        GeometryValue::Polygon { coordinates } => core::slice::from_ref(coordinates),
        GeometryValue::MultiPolygon { coordinates } => coordinates.as_slice(),
        GeometryValue::Point { .. }
        | GeometryValue::MultiPoint { .. }
        | GeometryValue::LineString { .. }
        | GeometryValue::MultiLineString { .. }
        | GeometryValue::GeometryCollection { .. } => return None,
    };
    let point = |position: &geojson::Position| {
        let [x, y, ..] = *position.as_slice() else {
            return None;
        };
        (x.abs() <= 180.0 && y.abs() <= 90.0).then_some(coord! { x: x, y: y })
    };
    let ring =
        |ring: &Vec<geojson::Position>| ring.iter().map(point).collect::<Option<LineString>>();
    let polygon = |rings: &geojson::PolygonType| {
        let mut rings = rings
            .iter()
            .map(ring)
            .collect::<Option<Vec<_>>>()?
            .into_iter();
        let exterior = rings.next().unwrap_or_else(|| LineString::new(Vec::new()));
        Some(Polygon::new(exterior, rings.collect()))
    };
    let polygons: Option<Vec<_>> = polygons.iter().map(polygon).collect();
    Some(polygons.map(MultiPolygon::new))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(text: &str) -> Result<(Areas, Rejects), InputProblem> {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("areas.geojson");
        std::fs::write(&path, text).unwrap();
        let mut rejects = Rejects::default();
        let areas = Areas::read(&path, &mut rejects).map_err(|error| error.problem)?;
        Ok((areas, rejects))
    }

    fn feature(name: &str, geometry: &str) -> String {
        format!(r#"{{"type":"Feature","properties":{{{name}}},"geometry":{geometry}}}"#)
    }

    fn collection(features: &[String]) -> String {
        let features = features.join(",");
        format!(r#"{{"type":"FeatureCollection","features":[{features}]}}"#)
    }

    /// A square of a hundredth of a degree with its south-west corner at `x`, 30.
    fn square(x: f64) -> String {
        let e = x + 0.01;
        format!(
            r#"{{"type":"Polygon","coordinates":[[[{x},30.0],[{e},30.0],[{e},30.01],[{x},30.01],[{x},30.0]]]}}"#
        )
    }

    fn at(latitude_deg: f64, longitude_deg: f64) -> Position {
        Position::from_degrees(latitude_deg, longitude_deg).unwrap()
    }

    #[test]
    fn a_point_finds_its_area_or_the_nearest() {
        let text = collection(&[
            feature(r#""name":"西""#, &square(121.0)),
            feature(r#""name":"东","code":330211001"#, &square(121.01)),
        ]);
        let (areas, rejects) = check(&text).unwrap();
        assert!(rejects.is_empty());
        assert_eq!(areas.all()[0].scope.as_str(), "西");
        assert_eq!(areas.all()[1].scope.as_str(), "330211001");
        assert_eq!(areas.containing(at(30.005, 121.005)), Some(0));
        assert_eq!(areas.containing(at(30.005, 121.015)), Some(1));
        assert_eq!(
            areas.containing(at(30.005, 121.01)),
            Some(0),
            "the border is the first's"
        );
        assert_eq!(areas.containing(at(30.02, 121.005)), None);
        let (nearest, distance) = areas.nearest(at(30.02, 121.013)).unwrap();
        assert_eq!(nearest, 1);
        assert!((distance - 1_112.0).abs() < 1.0, "{distance}");
        assert_eq!(areas.named("东"), Some(1));
        let bounds = areas.bounds().unwrap();
        assert!((bounds.width() - 0.02).abs() < 1e-9);
    }

    #[test]
    fn what_is_no_area_is_counted_by_feature() {
        let point = r#"{"type":"Point","coordinates":[121.0,30.0]}"#;
        let text = collection(&[
            feature(r#""name":"p""#, point),
            feature("", &square(121.0)),
            feature(r#""name":"n""#, "null"),
        ]);
        let (areas, rejects) = check(&text).unwrap();
        assert_eq!(areas.all()[0].name, "area 2");
        let listed: Vec<_> = rejects.iter().map(|r| (r.reason, r.lines)).collect();
        assert_eq!(
            listed,
            [
                (Reason::NotAPolygon, vec![1, 3]),
                (Reason::NameMissing, vec![2])
            ]
        );
    }

    #[test]
    fn a_wrong_file_is_one_clear_error() {
        assert!(matches!(
            check("trip,rider\n"),
            Err(InputProblem::NotGeoJson { .. })
        ));
        assert!(matches!(
            check(&square(1.0)),
            Err(InputProblem::NotGeoJson { .. })
        ));
        assert!(matches!(
            check(&collection(&[])),
            Err(InputProblem::NoAreas)
        ));
        let metres = square(121.0).replace("121", "331121");
        let text = collection(&[feature(r#""name":"m""#, &metres)]);
        assert!(matches!(
            check(&text),
            Err(InputProblem::NotDegrees { feature: 1 })
        ));
    }

    #[test]
    fn scopes_are_unique_and_fit_whatever_the_names() {
        let long = "招宝山".repeat(30);
        let text = collection(&[
            feature(&format!(r#""name":"{long}""#), &square(121.0)),
            feature(&format!(r#""name":"{long}""#), &square(121.1)),
            feature(r#""name":"a\nb""#, &square(121.2)),
        ]);
        let (areas, _) = check(&text).unwrap();
        let scopes: Vec<_> = areas.all().iter().map(|a| a.scope.as_str()).collect();
        assert_ne!(scopes[0], scopes[1]);
        assert_eq!(scopes[2], "a b");
    }

    #[test]
    fn a_grid_tiles_its_box() {
        let bounds = Rect::new(coord! { x: 121.0, y: 30.0 }, coord! { x: 121.3, y: 30.2 });
        let areas = Areas::grid(bounds, 3, 2).unwrap();
        assert_eq!(areas.all().len(), 6);
        let sum: f64 = areas.all().iter().map(|a| a.shape.unsigned_area()).sum();
        assert!((sum - 0.06).abs() < 1e-9);
        let mut random = Random::from_number(1);
        for (index, area) in areas.all().iter().enumerate() {
            let point = area.random_point(&mut random);
            assert_eq!(areas.containing(point), Some(index));
            assert!(area.contains(area.inner_point()));
        }
        assert!(Areas::grid(Rect::new((1.0, 1.0), (1.0, 1.0)), 2, 2).is_none());
    }
}
