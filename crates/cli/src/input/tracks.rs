//! Tracks of bicycles: CSV with one point a line, trip after trip, as `ValleyBike` publishes them.
//!
//! Columns `trip`, `time` (UTC, or with an offset), `lon`, `lat`, in any order; others are ignored.
//! Quirks are put right and counted: repeated and backward times, gaps, trips too short to be one.

use std::path::Path;
use std::time::Duration;

use csv::StringRecord;
use gridbeat_base::{Position, WallTime};
use gridbeat_domain::track::Marks;
use jiff::Timestamp;
use jiff::civil::DateTime;
use jiff::tz::Offset;

use super::error::{InputError, InputProblem};
use super::file;
use super::incidents::{shortened, unusable};
use super::rejects::{Input, Reason, Rejects};

/// A longer silence begins a new segment: six of the usual steps of 5 s, more than a missed fix.
pub const GAP: Duration = Duration::from_secs(30);

/// A longer silence ends the trip: nobody rides through it; the lock was left open.
const TRIP_END: Duration = Duration::from_secs(3_600);

/// A shorter trip is none: the bicycle was taken and put back (10 % of all in the source).
pub const TRIP_MIN: Duration = Duration::from_secs(20);

const EXPECTED: &str = "a CSV file of track points, plain or gzip";

/// One point of a track.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct TrackPoint {
    /// When.
    pub time: WallTime,
    /// Where.
    pub position: Position,
}

impl TrackPoint {
    /// Returns it as a receiver's fix that tells nothing else.
    pub(crate) fn as_fix(&self) -> gridbeat_domain::track::TrackPoint {
        gridbeat_domain::track::TrackPoint {
            time: self.time,
            position: self.position,
            accuracy_dm: None,
            speed_cm_s: None,
            marks: Marks::default(),
        }
    }
}

/// One ride.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Trip {
    /// The source's id; a ride cut off another has `+1` behind.
    pub name: String,
    /// The line of its first point.
    pub line: u64,
    /// Its points, strictly rising in time, cut wherever a gap is longer than [`GAP`]. Never empty,
    /// nor is any segment.
    pub segments: Vec<Vec<TrackPoint>>,
}

impl Trip {
    /// Returns all points in order.
    pub fn points(&self) -> impl DoubleEndedIterator<Item = &TrackPoint> {
        self.segments.iter().flatten()
    }

    /// Returns how long it took from the first point to the last.
    pub fn duration(&self) -> Duration {
        let mut points = self.points();
        let Some(first) = points.next() else {
            return Duration::ZERO;
        };
        let last = points.next_back().unwrap_or(first);
        since(first.time, last.time)
    }

    /// Returns the length of the way in metres, gaps not counted.
    pub fn length_m(&self) -> f64 {
        let steps = self.segments.iter().flat_map(|segment| segment.windows(2));
        steps
            .map(|step| step[0].position.distance_m(step[1].position))
            .sum()
    }
}

/// Returns how long after `earlier` a time is; zero if it is not.
fn since(earlier: WallTime, later: WallTime) -> Duration {
    let millis = later.millis().saturating_sub(earlier.millis());
    Duration::from_millis(u64::try_from(millis).unwrap_or(0))
}

/// What a file of tracks gave.
#[derive(Clone, Debug)]
pub struct Trips {
    /// The rides, in the order of the file.
    pub trips: Vec<Trip>,
    /// How many points the file has.
    pub points_read: u64,
    /// What could not be read.
    pub rejects: Rejects,
}

/// Reads all rides of a file.
///
/// # Errors
///
/// [`InputError`] if the file as a whole cannot be used, or has no ride of [`TRIP_MIN`].
pub fn read_trips(path: &Path) -> Result<Trips, InputError> {
    let input = file::open_text(path, EXPECTED)?;
    let mut reader = csv::ReaderBuilder::new().flexible(true).from_reader(input);
    let header = reader
        .headers()
        .map_err(|error| unusable(path, error, EXPECTED))?;
    let column = |name: &str, wanted_as| {
        let found = header.iter().position(|field| field.trim() == name);
        found.ok_or_else(|| {
            let (column, found) = (name.to_owned(), shortened(header));
            InputError::new(
                path,
                InputProblem::MissingColumn {
                    column,
                    wanted_as,
                    found,
                },
            )
        })
    };
    let at = At {
        trip: column("trip", "the ride")?,
        time: column("time", "UTC")?,
        latitude: column("lat", "degrees")?,
        longitude: column("lon", "degrees")?,
    };
    let mut rides = Rides::default();
    let mut record = StringRecord::new();
    loop {
        let line = reader.position().line();
        match reader.read_record(&mut record) {
            Ok(false) => break,
            Ok(true) => rides.take(
                &at,
                &record,
                record.position().map_or(line, csv::Position::line),
            ),
            Err(error) if matches!(error.kind(), csv::ErrorKind::Utf8 { .. }) => {
                rides.points_read += 1;
                rides.rejects.count(Input::Tracks, Reason::RowBroken, line);
            }
            Err(error) => return Err(unusable(path, error, EXPECTED)),
        }
    }
    rides.end_trip();
    if rides.trips.is_empty() {
        return Err(InputError::new(path, InputProblem::NoTrips));
    }
    Ok(Trips {
        trips: rides.trips,
        points_read: rides.points_read,
        rejects: rides.rejects,
    })
}

/// Where the columns are.
struct At {
    trip: usize,
    time: usize,
    latitude: usize,
    longitude: usize,
}

/// Puts points together into rides.
#[derive(Default)]
struct Rides {
    trips: Vec<Trip>,
    current: Option<Trip>,
    /// The source's id of the current ride, without what was added for a cut.
    id: String,
    /// How often the current ride was cut.
    cuts: u32,
    points_read: u64,
    rejects: Rejects,
}

impl Rides {
    fn take(&mut self, at: &At, record: &StringRecord, line: u64) {
        self.points_read += 1;
        let (Some(id), Some(time), Some(latitude), Some(longitude)) = (
            record.get(at.trip),
            record.get(at.time),
            record.get(at.latitude),
            record.get(at.longitude),
        ) else {
            return self.count(Reason::RowBroken, line);
        };
        if id != self.id {
            self.end_trip();
            id.clone_into(&mut self.id);
            self.cuts = 0;
        }
        let Some(time) = read_time(time.trim()) else {
            return self.count(Reason::TimeUnreadable, line);
        };
        let degrees = (
            latitude.trim().parse::<f64>(),
            longitude.trim().parse::<f64>(),
        );
        let (Ok(latitude), Ok(longitude)) = degrees else {
            return self.count(Reason::PointUnreadable, line);
        };
        let Ok(position) = Position::from_degrees(latitude, longitude) else {
            return self.count(Reason::PointUnreadable, line);
        };
        self.add(TrackPoint { time, position }, line);
    }

    fn add(&mut self, point: TrackPoint, line: u64) {
        let last = self
            .current
            .as_ref()
            .and_then(|trip| trip.points().next_back());
        let gap = match last.map(|last| last.time) {
            None => Duration::ZERO,
            Some(last) if point.time == last => return self.count(Reason::TimeRepeated, line),
            Some(last) if point.time < last => return self.count(Reason::TimeBackward, line),
            Some(last) => since(last, point.time),
        };
        if gap > TRIP_END {
            self.count(Reason::TripCut, line);
            self.end_trip();
            self.cuts += 1;
        } else if gap > GAP {
            self.count(Reason::GapInTrack, line);
        }
        let name = if self.cuts == 0 {
            self.id.clone()
        } else {
            format!("{}+{}", self.id, self.cuts)
        };
        let trip = self.current.get_or_insert_with(|| Trip {
            name,
            line,
            segments: Vec::new(),
        });
        match trip.segments.last_mut() {
            Some(segment) if gap <= GAP => segment.push(point),
            Some(_) | None => trip.segments.push(vec![point]),
        }
    }

    fn end_trip(&mut self) {
        let Some(trip) = self.current.take() else {
            return;
        };
        if trip.duration() < TRIP_MIN {
            self.count(Reason::TripTooShort, trip.line);
        } else {
            self.trips.push(trip);
        }
    }

    fn count(&mut self, reason: Reason, line: u64) {
        self.rejects.count(Input::Tracks, reason, line);
    }
}

/// Reads a time: with `Z` or an offset as it says, else as UTC.
fn read_time(text: &str) -> Option<WallTime> {
    let stamp = text.parse::<Timestamp>().ok().or_else(|| {
        let local: DateTime = text.parse().ok()?;
        Offset::UTC.to_timestamp(local).ok()
    })?;
    Some(WallTime(stamp.as_millisecond()))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(rows: &str) -> Result<Trips, InputProblem> {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("tracks.csv");
        std::fs::write(&path, rows).unwrap();
        read_trips(&path).map_err(|error| error.problem)
    }

    #[test]
    fn quirks_are_put_right_and_counted() {
        let rows = "\
trip,rider,bike,time,lon,lat\n\
1,1,9,2020-10-01T09:00:00,-72.60,42.30\n\
1,1,9,2020-10-01T09:00:05,-72.60,42.3001\n\
1,1,9,2020-10-01T09:00:05,-72.60,42.3001\n\
1,1,9,2020-10-01T09:00:01,-72.60,42.3001\n\
1,1,9,2020-10-01T09:00:35,-72.60,42.3002\n\
1,1,9,2020-10-01T09:01:06,-72.60,42.3003\n\
1,1,9,2020-10-01T12:00:00,-72.60,42.3004\n\
1,1,9,2020-10-01T12:00:30,-72.60,42.3005\n\
2,1,9,2020-10-01T09:00:00,-72.60,42.3\n\
2,1,9,2020-10-01T09:00:19,-72.60,42.3\n\
3,1,9,late,-72.60,42.3\n\
3,1,9,2020-10-01T09:00:00,-172.60,142.3\n\
3,1\n";
        let trips = check(rows).unwrap();
        assert_eq!(trips.points_read, 13);
        let names: Vec<_> = trips
            .trips
            .iter()
            .map(|t| (t.name.as_str(), t.line))
            .collect();
        assert_eq!(names, [("1", 2), ("1+1", 8)]);
        let first = &trips.trips[0];
        assert_eq!(
            first.segments.iter().map(Vec::len).collect::<Vec<_>>(),
            [3, 1]
        );
        assert_eq!(first.duration(), Duration::from_secs(66));
        assert!(
            (first.length_m() - 22.24).abs() < 0.1,
            "{}",
            first.length_m()
        );
        assert_eq!(first.segments[0][0].time, WallTime(1_601_542_800_000));
        let listed: Vec<_> = trips.rejects.iter().map(|r| (r.reason, r.lines)).collect();
        let expected = [
            (Reason::RowBroken, vec![14]),
            (Reason::TimeUnreadable, vec![12]),
            (Reason::TimeRepeated, vec![4]),
            (Reason::TimeBackward, vec![5]),
            (Reason::PointUnreadable, vec![13]),
            (Reason::GapInTrack, vec![7]),
            (Reason::TripCut, vec![8]),
            (Reason::TripTooShort, vec![10]),
        ];
        assert_eq!(listed, expected);
    }

    #[test]
    fn a_wrong_file_is_one_clear_error() {
        let missing = check("id,opened\n1,2\n");
        assert!(matches!(missing, Err(InputProblem::MissingColumn { .. })));
        assert!(matches!(
            check("trip,time,lon,lat\n"),
            Err(InputProblem::NoTrips)
        ));
    }
}
