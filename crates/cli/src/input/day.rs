//! One day of patrol, whatever it was made of: the one thing that the demo takes in.

use std::path::{Path, PathBuf};
use std::time::Duration;

use geo_types::{Rect, coord};
use gridbeat_badlink::{LinkLog, LinkLogError, Synthetic};
use gridbeat_base::{Position, Random, WallTime};
use jiff::civil::Date;
use jiff::tz::TimeZone;

use super::areas::Areas;
use super::error::InputError;
use super::incidents::{busiest_day, read_incidents};
use super::lay::{Track, lay_tracks};
use super::links::{LinkLogs, read_links};
use super::map::CityMap;
use super::place::place_requests;
use super::rejects::Rejects;
use super::request::Request;
use super::synthetic::{self, SyntheticOptions, TIME_ZONE, reports, rides, zhenhai};
use super::tracks::read_trips;
use super::windows::{NamedLink, choose_windows};

/// Requests without a file of areas are cut into a grid of so many columns and rows.
const GRID: (u32, u32) = (4, 4);

/// How many times as long as a run a made-up link log is.
const MADE_UP_RUNS: u32 = 10;

/// How far the grid reaches beyond the outermost request: about 100 m, so that none lies on its edge.
const GRID_MARGIN_DEG: f64 = 0.001;

/// Which files there are. What is missing is made up, and [`Day::notes`] says so.
#[derive(Clone, Debug, Default)]
pub struct FileArgs {
    /// Requests: CSV, plain or gzip.
    pub incidents: Option<PathBuf>,
    /// Which local day of them; default: the one with the most.
    pub day: Option<Date>,
    /// How to read them; default: as Boston's.
    pub map: Option<PathBuf>,
    /// Areas: `GeoJSON`, plain or gzip.
    pub areas: Option<PathBuf>,
    /// Tracks: CSV, plain or gzip.
    pub tracks: Option<PathBuf>,
    /// Link logs: a JSON, a directory, a tar.
    pub links: Option<PathBuf>,
    /// What the made-up part should be like; `devices` and `run` count for files too.
    pub wanted: SyntheticOptions,
}

/// One day of patrol.
#[derive(Clone, Debug)]
pub struct Day {
    /// What it is, in a few words: `Boston 311, 2015-01-20`.
    pub name: String,
    /// The local day.
    pub date: Date,
    /// Where its clocks hang, to show times in.
    pub time_zone: TimeZone,
    /// From when requests may be opened: local midnight, or the beginning of a made-up shift.
    pub from: WallTime,
    /// Until when (exclusive): the next midnight, or the end of the shift.
    pub until: WallTime,
    /// The areas, each a scope.
    pub areas: Areas,
    /// The requests, by time of opening. Their `area` indexes `areas`; it is `None` for those whose
    /// place nothing tells ([`Reason::NoArea`](super::Reason::NoArea)): the centre's.
    pub requests: Vec<Request>,
    /// One track for each device, device by device: over the busiest areas, busiest first, and round
    /// again. Fewer if no ride could be laid.
    pub tracks: Vec<Track>,
    /// One part of a link log for each device.
    pub links: Vec<NamedLink>,
    /// What a person must know about how the day was made: what was made up, moved, chosen.
    pub notes: Vec<String>,
    /// What could not be read.
    pub rejects: Rejects,
    /// How many rows the file of requests has; 0 if there was none.
    pub rows_read: u64,
}

impl Day {
    /// Reads a day from files and makes up what is missing. Same files and seed, same day.
    ///
    /// # Errors
    ///
    /// [`DayError`] if a file that was named cannot be used as a whole, or the wish for links is
    /// impossible.
    pub fn from_files(files: &FileArgs, seed: u64) -> Result<Self, DayError> {
        let mut random = Random::from_number(seed);
        // A stream of its own for each part, so that one file more changes nothing in the others.
        let mut streams = [random.fork(), random.fork(), random.fork()];
        let [for_requests, for_tracks, for_links] = &mut streams;
        let mut rejects = Rejects::default();
        let given = files
            .areas
            .as_deref()
            .map(|path| Areas::read(path, &mut rejects));
        let given = given.transpose()?;
        let mut day = match &files.incidents {
            Some(path) => Self::of_incidents(path, files, given)?,
            None => Self::of_no_incidents(files, given, for_requests)?,
        };
        rejects.merge(core::mem::take(&mut day.rejects));
        day.rejects = rejects;
        day.add_tracks(files, for_tracks)?;
        day.add_links(files, for_links)?;
        Ok(day)
    }

    /// Makes up a whole day in Zhenhai's seven townships. Same seed and wishes, same day.
    ///
    /// # Errors
    ///
    /// [`DayError::Link`] if the wished run is no length for a link log.
    pub fn synthetic(seed: u64, wanted: &SyntheticOptions) -> Result<Self, DayError> {
        let files = FileArgs {
            wanted: wanted.clone(),
            ..FileArgs::default()
        };
        Self::from_files(&files, seed)
    }

    /// Returns the indices of all areas, those with the most requests first.
    pub fn busiest_areas(&self) -> Vec<usize> {
        let mut counts = vec![0_u64; self.areas.all().len()];
        for area in self.requests.iter().filter_map(|request| request.area) {
            counts[area] += 1;
        }
        let mut order: Vec<_> = (0..counts.len()).collect();
        order.sort_by_key(|area| core::cmp::Reverse(counts[*area]));
        order
    }

    fn of_incidents(path: &Path, files: &FileArgs, areas: Option<Areas>) -> Result<Self, DayError> {
        let map = map_of(files)?;
        let mut notes = Vec::new();
        let date = match files.day {
            Some(day) => day,
            None => {
                let (day, count) = busiest_day(path, &map)?;
                notes.push(format!(
                    "no day was named: {day} has the most requests, {count}"
                ));
                day
            }
        };
        let mut incidents = read_incidents(path, &map, Some(date))?;
        let areas = areas.unwrap_or_else(|| {
            notes.push("areas are squares of a grid: no file of areas was named".to_owned());
            grid_around(&incidents.requests)
        });
        let mut rejects = incidents.rejects;
        place_requests(&mut incidents.requests, &areas, &map, &mut rejects);
        let (from, until) = map.span_of(date);
        Ok(Self {
            name: format!("{}, {date}", map.name),
            date,
            time_zone: map.time_zone,
            from,
            until,
            areas,
            requests: incidents.requests,
            tracks: Vec::new(),
            links: Vec::new(),
            notes,
            rejects,
            rows_read: incidents.rows_read,
        })
    }

    fn of_no_incidents(
        files: &FileArgs,
        areas: Option<Areas>,
        random: &mut Random,
    ) -> Result<Self, DayError> {
        let wanted = &files.wanted;
        let mut map = map_of(files)?;
        if files.map.is_none() {
            map.time_zone = TimeZone::get(TIME_ZONE).expect("the zone database is built in");
        }
        let date = files.day.unwrap_or(wanted.date);
        let (from, until) = synthetic::shift_of(&map, date);
        let mut notes = vec![format!(
            "{} requests are made up, with the frequencies of published bulletins",
            wanted.requests
        )];
        let made_up = areas.is_none();
        let areas = areas.unwrap_or_else(|| {
            notes.push("the townships' shapes are approximate, drawn by hand".to_owned());
            zhenhai()
        });
        let place = if made_up {
            "Zhenhai (made up)"
        } else {
            "made-up shift"
        };
        Ok(Self {
            name: format!("{place}, {date}"),
            date,
            time_zone: map.time_zone,
            from,
            until,
            requests: reports(&areas, wanted.requests, from, until, random),
            areas,
            tracks: Vec::new(),
            links: Vec::new(),
            notes,
            rejects: Rejects::default(),
            rows_read: 0,
        })
    }

    fn add_tracks(&mut self, files: &FileArgs, random: &mut Random) -> Result<(), DayError> {
        let busiest = self.busiest_areas();
        let onto: Vec<_> = busiest
            .into_iter()
            .cycle()
            .take(files.wanted.devices)
            .collect();
        let begin = self.date.to_datetime(synthetic::SHIFT_FROM);
        let begin = self.time_zone.to_ambiguous_timestamp(begin).compatible();
        let from = begin.map_or(self.from, |stamp| WallTime(stamp.as_millisecond()));
        let until = from.plus(synthetic::SHIFT);
        let Some(path) = &files.tracks else {
            self.tracks = rides(&self.areas, &onto, from, until, random);
            self.notes.push("tracks are made up".to_owned());
            return Ok(());
        };
        let trips = read_trips(path)?;
        self.rejects.merge(trips.rejects);
        self.tracks = lay_tracks(&trips.trips, &self.areas, &onto, from, until, random);
        let count = trips.trips.len();
        self.notes
            .push(moved_note(&self.tracks, &self.areas, count));
        Ok(())
    }

    fn add_links(&mut self, files: &FileArgs, random: &mut Random) -> Result<(), DayError> {
        let SyntheticOptions { devices, run, .. } = files.wanted;
        let (logs, what) = match &files.links {
            Some(path) => (read_links(path)?, "logs"),
            None => (made_up_links(devices, run, random)?, "made-up logs"),
        };
        self.links = choose_windows(&logs, devices, run, random)?;
        let with = self
            .links
            .iter()
            .filter(|link| !link.outages.is_empty())
            .count();
        self.notes.push(format!(
            "{devices} links: parts of {} s of {} {what}, chosen so that half meet an outage; {with} do",
            run.as_secs(),
            logs.logs.len()
        ));
        Ok(())
    }
}

/// Makes up a log for each device, much longer than a run, so that there is a choice of outages.
fn made_up_links(
    devices: usize,
    run: Duration,
    random: &mut Random,
) -> Result<LinkLogs, LinkLogError> {
    let wishes = Synthetic::rough(run * MADE_UP_RUNS);
    let log = |number: usize| {
        let log = LinkLog::synthetic(random.number(), &wishes)?;
        Ok((format!("made-up log {number}"), log))
    };
    let logs = (1..=devices.max(1)).map(log).collect::<Result<_, _>>()?;
    Ok(LinkLogs { logs })
}

fn map_of(files: &FileArgs) -> Result<CityMap, InputError> {
    files
        .map
        .as_deref()
        .map_or_else(|| Ok(CityMap::boston()), CityMap::read)
}

/// Cuts the box around all positions into a grid; the whole world is one square if there is none.
fn grid_around(requests: &[Request]) -> Areas {
    let corner = |p: Position| coord! { x: p.longitude_deg(), y: p.latitude_deg() };
    let points = requests
        .iter()
        .filter_map(|request| request.position)
        .map(corner);
    let boxes = points.map(|c| (c, c));
    let around = boxes.reduce(|(min, max), (point, _)| {
        (
            coord! { x: min.x.min(point.x), y: min.y.min(point.y) },
            coord! { x: max.x.max(point.x), y: max.y.max(point.y) },
        )
    });
    let margin = coord! { x: GRID_MARGIN_DEG, y: GRID_MARGIN_DEG };
    let grid = around
        .and_then(|(min, max)| Areas::grid(Rect::new(min - margin, max + margin), GRID.0, GRID.1));
    let world = || Rect::new(coord! { x: -180.0, y: -90.0 }, coord! { x: 180.0, y: 90.0 });
    grid.or_else(|| Areas::grid(world(), 1, 1))
        .expect("the world is not empty")
}

/// Says by how much the tracks were moved, and how well they fit.
fn moved_note(tracks: &[Track], areas: &Areas, trips: usize) -> String {
    let moved = || tracks.iter().filter_map(|track| track.moved_by);
    let nearest = moved().map(|m| m.distance_km).min().unwrap_or(0);
    let farthest = moved().map(|m| m.distance_km).max().unwrap_or(0);
    let (mut points, mut inside) = (0_usize, 0_usize);
    for track in tracks {
        let area = &areas.all()[track.area];
        points += track.points().count();
        inside += track.points().filter(|p| area.contains(p.position)).count();
    }
    let percent = inside * 100 / points.max(1);
    format!(
        "{} of {trips} rides were taken and each moved by a constant offset, {nearest} to {farthest} km, \
         onto its area and into the shift; {percent} % of their points lie inside",
        tracks.len()
    )
}

/// Why there is no day.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum DayError {
    /// A file cannot be used.
    #[error(transparent)]
    File(#[from] InputError),
    /// A link log of the wished length cannot be made.
    #[error("the run is no length for a link log")]
    Link(#[from] LinkLogError),
}

impl DayError {
    /// Returns what the caller should do about this error.
    pub fn remedy(&self) -> gridbeat_base::Remedy {
        match self {
            Self::File(error) => error.remedy(),
            Self::Link(_) => gridbeat_base::Remedy::FixInput,
        }
    }
}

#[cfg(test)]
mod tests {
    use std::fs;

    use super::super::rejects::Reason;
    use super::super::request::PlacedBy;
    use super::*;

    const HEADER: &str = "CASE_ENQUIRY_ID,OPEN_DT,TARGET_DT,CLOSED_DT,CLOSURE_REASON,CASE_TITLE,SUBJECT,REASON,TYPE,QUEUE,Location,neighborhood,LATITUDE,LONGITUDE\n";
    const ROWS: &str = "\
1,01/20/2015 09:00:00 AM,,01/20/2015 11:00:00 AM,Done,,,,Catchbasin,,,,42.305,-71.095\n\
2,01/20/2015 10:00:00 AM,,,,,,,Catchbasin,,,,42.325,-71.095\n\
3,01/20/2015 11:00:00 AM,,,,,,,Catchbasin,,,Greater Mattapan,42.3594,-71.0587\n\
4,01/20/2015 12:00:00 PM,,,,,,,Catchbasin,,,Atlantis,42.3594,-71.0587\n\
5,01/21/2015 12:00:00 PM,,,,,,,Catchbasin,,,Mattapan,42.3594,-71.0587\n";
    const AREAS: &str = r#"{"type":"FeatureCollection","features":[
        {"type":"Feature","properties":{"name":"Roxbury"},"geometry":{"type":"Polygon","coordinates":[[[-71.1,42.3],[-71.09,42.3],[-71.09,42.32],[-71.1,42.32],[-71.1,42.3]]]}},
        {"type":"Feature","properties":{"name":"Mattapan"},"geometry":{"type":"Polygon","coordinates":[[[-71.08,42.3],[-71.07,42.3],[-71.07,42.32],[-71.08,42.32],[-71.08,42.3]]]}}]}"#;

    struct Folder(tempfile::TempDir);

    impl Folder {
        fn new() -> Self {
            Self(tempfile::tempdir().unwrap())
        }

        fn file(&self, name: &str, text: &str) -> PathBuf {
            let path = self.0.path().join(name);
            fs::write(&path, text).unwrap();
            path
        }
    }

    fn tracks_text() -> String {
        let mut text = "trip,rider,bike,time,lon,lat\n".to_owned();
        for trip in 1..=4 {
            for step in 0..80 {
                let longitude = -72.6 + f64::from(step) * 0.0001;
                let (minute, second) = (step * 5 / 60, step * 5 % 60);
                let time = format!("2020-10-01T09:{minute:02}:{second:02}");
                text.push_str(&format!("{trip},1,1,{time},{longitude},42.3\n"));
            }
        }
        text
    }

    #[test]
    fn files_become_a_day_and_everything_odd_is_told() {
        let folder = Folder::new();
        let files = FileArgs {
            incidents: Some(folder.file("requests.csv", &format!("{HEADER}{ROWS}"))),
            areas: Some(folder.file("areas.geojson", AREAS)),
            tracks: Some(folder.file("tracks.csv", &tracks_text())),
            links: Some(folder.file("log.json", r#"[{"duration_ms":1000,"bandwidth_kbps":5,"latency_ms":100},{"duration_ms":90000,"bandwidth_kbps":500,"latency_ms":100}]"#)),
            wanted: SyntheticOptions { devices: 3, ..SyntheticOptions::default() },
            ..FileArgs::default()
        };
        let day = Day::from_files(&files, 1).unwrap();
        assert_eq!(day.name, "Boston 311, 2015-01-20");
        let placed: Vec<_> = day.requests.iter().map(|r| (r.area, r.placed_by)).collect();
        assert_eq!(placed[0], (Some(0), Some(PlacedBy::Position)));
        assert_eq!(
            placed[1],
            (Some(0), Some(PlacedBy::Nearest { distance_m: 556 }))
        );
        assert_eq!(placed[2], (Some(1), Some(PlacedBy::Name)));
        assert_eq!(placed[3], (None, None));
        assert_eq!(day.rejects.of(Reason::PositionPlaceholder), 2);
        assert_eq!(day.rejects.of(Reason::NoArea), 1);
        assert_eq!(day.rejects.of(Reason::OutsideAreas), 1);
        assert_eq!(day.busiest_areas(), [0, 1]);
        assert_eq!(
            day.tracks.iter().map(|t| t.area).collect::<Vec<_>>(),
            [0, 1, 0]
        );
        assert_eq!(day.links.len(), 3);
        assert!(
            day.links
                .iter()
                .all(|l| l.log.total_duration() == Duration::from_secs(60))
        );
        assert!(
            day.notes
                .iter()
                .any(|note| note.contains("has the most requests, 4"))
        );
        assert!(
            day.notes
                .iter()
                .any(|note| note.contains("moved by a constant offset, 12"))
        );

        let no_areas = FileArgs {
            areas: None,
            links: None,
            tracks: None,
            ..files.clone()
        };
        let day = Day::from_files(&no_areas, 1).unwrap();
        assert_eq!(day.areas.all().len(), 16);
        assert_eq!(day.rejects.of(Reason::OutsideAreas), 0);
        assert_eq!((day.tracks.len(), day.links.len()), (3, 3));
        assert_eq!(day.notes.len(), 4, "{:?}", day.notes);
    }

    #[test]
    fn a_made_up_day_is_the_same_for_a_seed() {
        let wanted = SyntheticOptions::default();
        let day = Day::synthetic(7, &wanted).unwrap();
        let again = Day::synthetic(7, &wanted).unwrap();
        assert_eq!(day.requests, again.requests);
        assert_eq!(day.tracks, again.tracks);
        assert_eq!(day.links, again.links);
        assert_ne!(day.requests, Day::synthetic(8, &wanted).unwrap().requests);
        assert_eq!((day.requests.len(), day.areas.all().len()), (400, 7));
        assert_eq!((day.tracks.len(), day.links.len()), (12, 12));
        let with_outage = day
            .links
            .iter()
            .filter(|link| !link.outages.is_empty())
            .count();
        assert!(with_outage >= 6, "{with_outage}");
        assert_eq!(day.until.millis() - day.from.millis(), 8 * 3_600_000);
        assert_eq!(day.from, WallTime(1_773_703_800_000), "07:30 in Zhenhai");
        assert!(day.rejects.is_empty());
        assert_eq!(day.busiest_areas().len(), 7);
    }

    #[test]
    fn one_file_more_changes_nothing_in_the_other_parts() {
        let folder = Folder::new();
        let tracks = Some(folder.file("tracks.csv", &tracks_text()));
        let with = Day::from_files(
            &FileArgs {
                tracks,
                ..FileArgs::default()
            },
            7,
        )
        .unwrap();
        let without = Day::synthetic(7, &SyntheticOptions::default()).unwrap();
        assert_eq!(with.requests, without.requests);
        assert_eq!(with.links, without.links);
        assert_ne!(with.tracks, without.tracks);
    }

    #[test]
    fn a_wrong_file_is_the_days_error() {
        let folder = Folder::new();
        let areas = Some(folder.file("areas.geojson", "trip,time\n"));
        let error = Day::from_files(
            &FileArgs {
                areas,
                ..FileArgs::default()
            },
            1,
        )
        .unwrap_err();
        assert!(
            error
                .to_string()
                .contains("areas.geojson: is not a GeoJSON"),
            "{error}"
        );
        assert_eq!(error.remedy(), gridbeat_base::Remedy::FixInput);
    }
}
