//! Made-up rides: an officer on a bicycle, through one area, for a shift.
//!
//! Streets are not known; the ride keeps to two directions at right angles, as streets mostly do,
//! turns at corners, stops where something is to be seen, and never leaves its area.

use gridbeat_base::{Position, Random, WallTime};

use super::super::areas::{Area, Areas, METRES_PER_DEGREE};
use super::super::draw::{between, index_below};
use super::super::lay::Track;
use super::super::tracks::TrackPoint;

/// A point each 5 s, the interval of a product in use (domain brief, 3.4).
const STEP_MS: i64 = 5_000;

/// Three rounds a shift (domain brief, 3.1: two to three), with a rest after each but the last.
const ROUNDS: i64 = 3;

/// How long a rest is: at the post, without a track.
const REST_MS: i64 = 25 * 60_000;

/// How fast an officer rides, in metres a second: 11 to 18 km/h, slow enough to look.
const SPEED: (f64, f64) = (3.0, 5.0);

/// How far from corner to corner, in metres.
const BLOCK_M: (f64, f64) = (80.0, 400.0);

/// How many corners of a thousand make the officer stop, and for how many steps: half a minute to
/// four minutes.
const STOP_PER_MILLE: u64 = 250;
const STOP_STEPS: (f64, f64) = (6.0, 48.0);

/// Makes up one ride for each of the areas `onto`, from `from` to before `until`.
pub(in super::super) fn rides(
    areas: &Areas,
    onto: &[usize],
    from: WallTime,
    until: WallTime,
    random: &mut Random,
) -> Vec<Track> {
    let ride = |(&area, number): (&usize, usize)| {
        let shape = areas.all().get(area)?;
        Some(Track {
            name: format!("ride {number}"),
            area,
            segments: Ride::start(shape, random).shift(from, until, random),
            moved_by: None,
        })
    };
    onto.iter().zip(1..).filter_map(ride).collect()
}

/// Where a ride is, and where it is going.
struct Ride<'a> {
    area: &'a Area,
    at: Position,
    /// The direction of the streets here, in radians from east.
    streets: f64,
    /// Which of the four directions is ridden.
    quarter: usize,
    /// Metres to the next corner.
    to_corner: f64,
    /// Metres a second.
    speed: f64,
    /// Steps still to stand.
    standing: u32,
}

impl<'a> Ride<'a> {
    fn start(area: &'a Area, random: &mut Random) -> Self {
        Self {
            area,
            at: area.random_point(random),
            streets: between(random, 0.0, core::f64::consts::FRAC_PI_2),
            quarter: index_below(random, 4),
            to_corner: between(random, BLOCK_M.0, BLOCK_M.1),
            speed: between(random, SPEED.0, SPEED.1),
            standing: 0,
        }
    }

    /// Rides a whole shift: a segment a round.
    fn shift(
        mut self,
        from: WallTime,
        until: WallTime,
        random: &mut Random,
    ) -> Vec<Vec<TrackPoint>> {
        let length = (until.millis() - from.millis()).max(0);
        let round = (length - REST_MS * (ROUNDS - 1)).max(0) / ROUNDS;
        let mut segments = Vec::new();
        for number in 0..ROUNDS {
            let begin = from.millis() + number * (round + REST_MS);
            let times = (0..round / STEP_MS).map(|step| WallTime(begin + step * STEP_MS));
            let segment: Vec<_> = times
                .map(|time| TrackPoint {
                    time,
                    position: self.step(random),
                })
                .collect();
            if !segment.is_empty() {
                segments.push(segment);
            }
        }
        segments
    }

    /// Moves on by one step and returns where that is.
    fn step(&mut self, random: &mut Random) -> Position {
        if self.standing > 0 {
            self.standing -= 1;
            return self.at;
        }
        if self.to_corner <= 0.0 {
            self.corner(random);
        }
        // Straight on if that stays inside; else the first other direction that does.
        for turn in 0..4 {
            let quarter = (self.quarter + turn) % 4;
            if let Some(next) = self.ahead(quarter) {
                self.quarter = quarter;
                self.to_corner -= self.step_m();
                self.at = next;
                break;
            }
        }
        self.at
    }

    /// Draws what happens at a corner.
    fn corner(&mut self, random: &mut Random) {
        self.to_corner = between(random, BLOCK_M.0, BLOCK_M.1);
        self.speed = between(random, SPEED.0, SPEED.1);
        // Straight on half of the time, else left or right; nobody turns round at a corner.
        self.quarter = (self.quarter + [0, 0, 1, 3][index_below(random, 4)]) % 4;
        if random.chance(STOP_PER_MILLE) {
            self.standing = super::super::lay::whole(between(random, STOP_STEPS.0, STOP_STEPS.1));
        }
    }

    fn step_m(&self) -> f64 {
        self.speed * STEP_MS as f64 / 1_000.0
    }

    /// Returns the place a step ahead, if it lies inside the area.
    fn ahead(&self, quarter: usize) -> Option<Position> {
        let angle = self.streets + core::f64::consts::FRAC_PI_2 * quarter as f64;
        let degrees = self.step_m() / METRES_PER_DEGREE;
        let latitude = self.at.latitude_deg() + degrees * angle.sin();
        let shrink = self.at.latitude_deg().to_radians().cos();
        let longitude = self.at.longitude_deg() + degrees * angle.cos() / shrink;
        let next = Position::from_degrees(latitude, longitude).ok()?;
        self.area.holds(next).then_some(next)
    }
}

#[cfg(test)]
mod tests {
    use super::super::zhenhai;
    use super::*;

    const FROM: WallTime = WallTime(1_773_703_800_000);
    const UNTIL: WallTime = WallTime(1_773_703_800_000 + 8 * 3_600_000);

    #[test]
    fn a_ride_stays_in_its_area_and_keeps_a_bicycles_pace() {
        let areas = zhenhai();
        let tracks = rides(&areas, &[0, 6, 3], FROM, UNTIL, &mut Random::from_number(1));
        assert_eq!(tracks.iter().map(|t| t.area).collect::<Vec<_>>(), [0, 6, 3]);
        for track in &tracks {
            assert_eq!(track.segments.len(), 3);
            let (mut moving, mut length) = (0, 0.0);
            for segment in &track.segments {
                for step in segment.windows(2) {
                    let metres = step[0].position.distance_m(step[1].position);
                    assert!(metres < 5.05 * 5.0, "{metres} m in 5 s");
                    assert_eq!(step[1].time.millis() - step[0].time.millis(), 5_000);
                    moving += usize::from(metres > 0.0);
                    length += metres;
                }
            }
            let points = track.points().count();
            assert!(
                track
                    .points()
                    .all(|p| areas.all()[track.area].contains(p.position))
            );
            assert!(track.points().all(|p| FROM <= p.time && p.time < UNTIL));
            assert!(
                moving * 10 > points * 3 && moving < points,
                "{moving} of {points}"
            );
            assert!(
                (20_000.0..110_000.0).contains(&length),
                "{length} m in a shift"
            );
        }
        assert_eq!(
            tracks,
            rides(&areas, &[0, 6, 3], FROM, UNTIL, &mut Random::from_number(1))
        );
    }

    #[test]
    fn a_shift_of_no_time_has_no_points() {
        let tracks = rides(&zhenhai(), &[1], FROM, FROM, &mut Random::from_number(1));
        assert_eq!(tracks[0].segments.len(), 0);
    }
}
