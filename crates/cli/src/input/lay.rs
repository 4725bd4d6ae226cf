//! Lays tracks of one place and month onto the areas and the shift of another.
//!
//! A ride is moved as a whole: one offset on the map, one in time, and both are told
//! ([`Track::moved_by`]). Nothing is turned, stretched or cut.

use geo_types::Rect;
use gridbeat_base::{Position, Random, WallTime};

use super::areas::{Area, Areas};
use super::draw::shuffle;
use super::tracks::{TrackPoint, Trip};

/// A ride worth showing takes at least this long; shorter ones serve only if there are too few.
const RIDE_MS_MIN: i64 = 5 * 60_000;

/// And goes at least this far: two or three streets.
const RIDE_M_MIN: f64 = 1_000.0;

/// How many rides are tried for an area, and how many places for each: small areas need a choice.
const RIDES_TRIED: usize = 12;
const PLACES_TRIED: usize = 5;

/// Every how many points a place is judged: a point a minute.
const JUDGED_EVERY: usize = 12;

/// One patrol's way.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Track {
    /// Where it comes from: the source's name of the ride, or a made-up one.
    pub name: String,
    /// The area it belongs to, as an index into the day's areas.
    pub area: usize,
    /// Its points, strictly rising in time; a new segment after every gap. None is empty.
    pub segments: Vec<Vec<TrackPoint>>,
    /// By how much it was moved; `None` if it was made for its area.
    pub moved_by: Option<Moved>,
}

/// A constant offset of a whole track.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct Moved {
    /// To the north, in ten-millionths of a degree.
    pub latitude_e7: i32,
    /// To the east, in ten-millionths of a degree.
    pub longitude_e7: i32,
    /// How far that is on the ground, in whole kilometres.
    pub distance_km: u32,
    /// Later by, in milliseconds.
    pub later_ms: i64,
}

impl Track {
    /// Returns all points in order.
    pub fn points(&self) -> impl DoubleEndedIterator<Item = &TrackPoint> {
        self.segments.iter().flatten()
    }
}

/// Lays one ride onto each of the areas `onto` (an area may occur more than once), at some time
/// between `from` and `until`.
///
/// Rides are drawn without repetition while there are enough. For each, the place is taken where
/// most of its points lie inside the area; what does not fit, sticks out. Empty if `trips` is.
pub fn lay_tracks(
    trips: &[Trip],
    areas: &Areas,
    onto: &[usize],
    from: WallTime,
    until: WallTime,
    random: &mut Random,
) -> Vec<Track> {
    let room_ms = until.millis() - from.millis();
    let mut rides = usable(trips, onto.len(), room_ms);
    shuffle(random, &mut rides);
    let mut tracks = Vec::new();
    let mut next = 0;
    for &index in onto {
        let Some(area) = areas.all().get(index).filter(|_| !rides.is_empty()) else {
            continue;
        };
        // Enough rides for every area to choose from several; else they are shared.
        let tried = (rides.len() / onto.len()).clamp(1, RIDES_TRIED);
        let candidates: Vec<_> = (next..next + tried)
            .map(|i| rides[i % rides.len()])
            .collect();
        next += tried;
        let best = candidates.into_iter().filter_map(|ride| {
            let (offset, share) = best_place(ride, area, random)?;
            Some((ride, offset, share))
        });
        // The first of equals, so that a seed decides and not the order of comparison.
        let best = best.reduce(|a, b| if b.2 > a.2 { b } else { a });
        let Some((ride, offset, _)) = best else {
            continue;
        };
        let free_ms = (room_ms - duration_ms(ride)).max(0);
        let start = from.millis() + draw_ms(random, free_ms);
        tracks.push(moved(ride, index, offset, start));
    }
    tracks
}

/// Returns the rides that are long enough, or all that fit if those are too few.
fn usable(trips: &[Trip], wanted: usize, room_ms: i64) -> Vec<&Trip> {
    let fits = trips.iter().filter(|trip| duration_ms(trip) <= room_ms);
    let worth = |trip: &&Trip| duration_ms(trip) >= RIDE_MS_MIN && trip.length_m() >= RIDE_M_MIN;
    let rides: Vec<_> = fits.clone().filter(worth).collect();
    if rides.len() >= wanted {
        rides
    } else {
        fits.collect()
    }
}

fn duration_ms(trip: &Trip) -> i64 {
    i64::try_from(trip.duration().as_millis()).unwrap_or(i64::MAX)
}

fn draw_ms(random: &mut Random, end: i64) -> i64 {
    let end = u64::try_from(end).unwrap_or(0);
    i64::try_from(random.below(end)).unwrap_or(0)
}

/// Finds where in an area a ride fits best: the offset (latitude, longitude), and the share of the
/// judged points that lie inside. `None` if every place would leave the globe.
fn best_place(ride: &Trip, area: &Area, random: &mut Random) -> Option<((i32, i32), usize)> {
    let points: Vec<_> = ride
        .points()
        .step_by(JUDGED_EVERY)
        .map(|p| p.position)
        .collect();
    let centre = centre_of(&points)?;
    let mut anchors = vec![area.inner_point(), middle(area.bounds(), centre)];
    while anchors.len() < PLACES_TRIED {
        anchors.push(area.random_point(random));
    }
    let places = anchors.into_iter().filter_map(|anchor| {
        let offset = (
            anchor.latitude_e7() - centre.latitude_e7(),
            anchor.longitude_e7().checked_sub(centre.longitude_e7())?,
        );
        let laid: Option<Vec<_>> = points.iter().map(|p| shifted(*p, offset)).collect();
        let inside = laid?.into_iter().filter(|p| area.contains(*p)).count();
        Some((offset, inside))
    });
    places.reduce(|a, b| if b.1 > a.1 { b } else { a })
}

fn centre_of(points: &[Position]) -> Option<Position> {
    let latitudes = points.iter().map(|p| p.latitude_e7());
    let longitudes = points.iter().map(|p| p.longitude_e7());
    let middle = |low: i32, high: i32| low.midpoint(high);
    let latitude = middle(latitudes.clone().min()?, latitudes.max()?);
    let longitude = middle(longitudes.clone().min()?, longitudes.max()?);
    Position::from_e7(latitude, longitude).ok()
}

/// Returns the middle of a box, or `or` if that is no place.
fn middle(bounds: Rect<f64>, or: Position) -> Position {
    let centre = bounds.center();
    Position::from_degrees(centre.y, centre.x).unwrap_or(or)
}

fn shifted(position: Position, offset: (i32, i32)) -> Option<Position> {
    let latitude = position.latitude_e7().checked_add(offset.0)?;
    let longitude = position.longitude_e7().checked_add(offset.1)?;
    Position::from_e7(latitude, longitude).ok()
}

fn moved(ride: &Trip, area: usize, offset: (i32, i32), start_ms: i64) -> Track {
    let first = ride.points().next();
    let later_ms = first.map_or(0, |first| start_ms - first.time.millis());
    let point = |point: &TrackPoint| {
        Some(TrackPoint {
            time: WallTime(point.time.millis() + later_ms),
            position: shifted(point.position, offset)?,
        })
    };
    let segments = ride
        .segments
        .iter()
        .map(|s| s.iter().filter_map(point).collect::<Vec<_>>());
    let segments: Vec<_> = segments.filter(|segment| !segment.is_empty()).collect();
    let here = first.map(|first| first.position);
    let there = here.and_then(|here| shifted(here, offset));
    let distance_m = here
        .zip(there)
        .map_or(0.0, |(here, there)| here.distance_m(there));
    Track {
        name: format!("trip {}", ride.name),
        area,
        segments,
        moved_by: Some(Moved {
            latitude_e7: offset.0,
            longitude_e7: offset.1,
            distance_km: whole(distance_m / 1_000.0),
            later_ms,
        }),
    }
}

/// Rounds to a whole number; what does not fit becomes the nearest that does.
#[expect(
    clippy::cast_possible_truncation,
    clippy::cast_sign_loss,
    reason = "a cast from a float saturates"
)]
pub(super) fn whole(number: f64) -> u32 {
    number.round() as u32
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use geo_types::coord;

    use super::*;

    /// A ride along a line to the north-east, a point every 5 s, with a gap in the middle.
    fn ride(name: &str, points: i32) -> Trip {
        let point = |i: i32| TrackPoint {
            time: WallTime(1_601_542_800_000 + i64::from(i) * 5_000),
            position: Position::from_e7(423_000_000 + i * 1_500, -726_000_000 + i * 1_500).unwrap(),
        };
        let half = points / 2;
        Trip {
            name: name.to_owned(),
            line: 2,
            segments: vec![
                (0..half).map(point).collect(),
                (half + 10..points).map(point).collect(),
            ],
        }
    }

    fn check(trips: &[Trip], onto: &[usize]) -> (Areas, Vec<Track>) {
        let bounds = Rect::new(coord! { x: -71.2, y: 42.2 }, coord! { x: -71.0, y: 42.4 });
        let areas = Areas::grid(bounds, 2, 2).unwrap();
        let (from, until) = (WallTime(1_421_730_000_000), WallTime(1_421_758_800_000));
        let mut random = Random::from_number(5);
        let tracks = lay_tracks(trips, &areas, onto, from, until, &mut random);
        for track in &tracks {
            assert!(track.points().all(|p| from <= p.time && p.time < until));
            assert!(track.points().is_sorted_by(|a, b| a.time < b.time));
        }
        (areas, tracks)
    }

    #[test]
    fn a_ride_is_moved_as_a_whole_into_its_area_and_says_by_how_much() {
        let trips = [ride("1", 100), ride("2", 110), ride("3", 120)];
        let (areas, tracks) = check(&trips, &[3, 0]);
        assert_eq!(tracks.len(), 2);
        assert_ne!(tracks[0].name, tracks[1].name, "no ride twice");
        for (track, area) in tracks.iter().zip([3, 0]) {
            assert_eq!(track.area, area);
            assert!(
                track
                    .points()
                    .all(|p| areas.all()[area].contains(p.position))
            );
            let trip = trips
                .iter()
                .find(|t| format!("trip {}", t.name) == track.name)
                .unwrap();
            let moved = track.moved_by.unwrap();
            assert!(moved.distance_km > 90, "from western Massachusetts");
            assert_eq!(track.segments.len(), trip.segments.len());
            for (there, here) in track.points().zip(trip.points()) {
                assert_eq!(there.time.millis() - here.time.millis(), moved.later_ms);
                let step = there.position.latitude_e7() - here.position.latitude_e7();
                assert_eq!(step, moved.latitude_e7);
            }
        }
    }

    #[test]
    fn too_few_rides_are_laid_more_than_once() {
        let (_, tracks) = check(&[ride("1", 40)], &[0, 1, 2]);
        assert_eq!(tracks.len(), 3, "a short ride is better than none");
        assert_eq!(check(&[], &[0]).1, []);
        let endless = Trip {
            segments: vec![
                ride("1", 2).segments.concat(),
                vec![TrackPoint {
                    time: WallTime(1_701_542_800_000),
                    position: Position::from_e7(0, 0).unwrap(),
                }],
            ],
            ..ride("1", 40)
        };
        assert!(endless.duration() > Duration::from_hours(24));
        assert_eq!(check(&[endless], &[0]).1, [], "longer than the shift");
    }
}
