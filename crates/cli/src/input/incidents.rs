//! A file of requests, row by row: plain or gzip CSV, read by a [`CityMap`].
//!
//! Streams: only the chosen day's rows are kept. Every row that was not used, or not used whole, is
//! in [`Incidents::rejects`] with its line. Rows of other days are counted and not judged, but for
//! those whose opening time cannot be read: their day is unknown.

use std::collections::{BTreeMap, BTreeSet};
use std::io::BufRead;
use std::path::Path;

use csv::StringRecord;
use gridbeat_base::{Position, Redacted, WallTime};
use jiff::civil::Date;

use super::error::{InputError, InputProblem};
use super::file;
use super::map::CityMap;
use super::rejects::{Input, Reason, Rejects};
use super::request::{Remark, Request};

const EXPECTED: &str = "a CSV file of requests, plain or gzip";

/// How many of a file's column names an error repeats: enough to see which file it is.
const COLUMNS_SHOWN: usize = 12;

/// What a file of requests gave.
#[derive(Clone, Debug)]
pub struct Incidents {
    /// The chosen requests, by time of opening, then line. Their `area` is not decided here.
    pub requests: Vec<Request>,
    /// What could not be read.
    pub rejects: Rejects,
    /// How many rows the file has, the first line not counted.
    pub rows_read: u64,
    /// How many of them belong to other days.
    pub rows_of_other_days: u64,
}

/// Reads the requests of one local day, or of all days.
///
/// # Errors
///
/// [`InputError`] if the file as a whole cannot be used, or has no request on the day.
pub fn read_incidents(
    path: &Path,
    map: &CityMap,
    day: Option<Date>,
) -> Result<Incidents, InputError> {
    let mut rows = Rows::open(path, map)?;
    let mut incidents = Incidents {
        requests: Vec::new(),
        rejects: Rejects::default(),
        rows_read: 0,
        rows_of_other_days: 0,
    };
    let mut ids = BTreeSet::new();
    let mut days: Option<(Date, Date)> = None;
    while let Some(line) = rows.next(&mut incidents.rejects)? {
        let row = Row { rows: &rows, line };
        let Some(opened) = map.written_time(row.text(rows.at.opened)) else {
            incidents
                .rejects
                .count(Input::Incidents, Reason::OpenedUnreadable, line);
            continue;
        };
        let its_day = map.local_day(opened);
        let (first, last) = days.unwrap_or((its_day, its_day));
        days = Some((first.min(its_day), last.max(its_day)));
        if day.is_some_and(|day| day != its_day) {
            incidents.rows_of_other_days += 1;
            continue;
        }
        let id = row.text(rows.at.id);
        if id.is_empty() {
            incidents
                .rejects
                .count(Input::Incidents, Reason::IdMissing, line);
        } else if ids.insert(id.to_owned()) {
            let opened = map.wall_time(opened);
            incidents
                .requests
                .push(row.request(opened, &mut incidents.rejects));
        } else {
            incidents
                .rejects
                .count(Input::Incidents, Reason::IdRepeated, line);
        }
    }
    incidents.rows_read = rows.count;
    let (first, last) = days.ok_or_else(|| InputError::new(path, InputProblem::NoRequests))?;
    if let (Some(day), true) = (day, incidents.requests.is_empty()) {
        let problem = InputProblem::NothingOnDay { day, first, last };
        return Err(InputError::new(path, problem));
    }
    incidents
        .requests
        .sort_by_key(|request| (request.opened, request.line));
    Ok(incidents)
}

/// Returns the day with the most requests in a file, the earliest of equals, and how many they are.
///
/// # Errors
///
/// [`InputError`] if the file as a whole cannot be used.
pub fn busiest_day(path: &Path, map: &CityMap) -> Result<(Date, u64), InputError> {
    let mut rows = Rows::open(path, map)?;
    let mut days = BTreeMap::<Date, u64>::new();
    while let Some(line) = rows.next(&mut Rejects::default())? {
        let row = Row { rows: &rows, line };
        if let Some(opened) = map.written_time(row.text(rows.at.opened)) {
            *days.entry(map.local_day(opened)).or_default() += 1;
        }
    }
    let busiest = days.into_iter().rev().max_by_key(|(_, count)| *count);
    busiest.ok_or_else(|| InputError::new(path, InputProblem::NoRequests))
}

/// The rows of an opened file, one at a time.
struct Rows<'a> {
    path: &'a Path,
    map: &'a CityMap,
    at: At,
    reader: csv::Reader<Box<dyn BufRead>>,
    record: StringRecord,
    fields: usize,
    count: u64,
}

/// Where the map's columns are in the file.
struct At {
    id: usize,
    opened: usize,
    type_: usize,
    deadline: Option<usize>,
    closed: Option<usize>,
    subject: Option<usize>,
    reason: Option<usize>,
    title: Option<usize>,
    closure_note: Option<usize>,
    address: Option<usize>,
    area: Option<usize>,
    latitude: Option<usize>,
    longitude: Option<usize>,
    remarks: Vec<usize>,
}

impl<'a> Rows<'a> {
    fn open(path: &'a Path, map: &'a CityMap) -> Result<Self, InputError> {
        let input = file::open_text(path, EXPECTED)?;
        let mut reader = csv::ReaderBuilder::new().flexible(true).from_reader(input);
        let header = reader
            .headers()
            .map_err(|error| unusable(path, error, EXPECTED))?;
        let at = At::find(path, map, header)?;
        let fields = header.len();
        let record = StringRecord::new();
        Ok(Self {
            path,
            map,
            at,
            reader,
            record,
            fields,
            count: 0,
        })
    }

    /// Reads the next whole row and returns its line; broken ones are counted on the way.
    fn next(&mut self, rejects: &mut Rejects) -> Result<Option<u64>, InputError> {
        loop {
            let line = self.reader.position().line();
            match self.reader.read_record(&mut self.record) {
                Ok(false) => return Ok(None),
                Ok(true) => {
                    self.count += 1;
                    let line = self.record.position().map_or(line, csv::Position::line);
                    if self.record.len() == self.fields {
                        return Ok(Some(line));
                    }
                    rejects.count(Input::Incidents, Reason::RowBroken, line);
                }
                Err(error) => {
                    let csv::ErrorKind::Utf8 { pos, .. } = error.kind() else {
                        return Err(unusable(self.path, error, EXPECTED));
                    };
                    self.count += 1;
                    let line = pos.as_ref().map_or(line, csv::Position::line);
                    rejects.count(Input::Incidents, Reason::RowBroken, line);
                }
            }
        }
    }
}

impl At {
    fn find(path: &Path, map: &CityMap, header: &StringRecord) -> Result<Self, InputError> {
        let need = |column: &String, wanted_as: &'static str| {
            let found = header.iter().position(|name| name.trim() == column);
            found.ok_or_else(|| {
                let found = shortened(header);
                let column = column.clone();
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
        let take = |column: &Option<String>, wanted_as| {
            column.as_ref().map(|c| need(c, wanted_as)).transpose()
        };
        let columns = &map.columns;
        let remarks = columns.remarks.iter().map(|column| need(column, "remarks"));
        Ok(Self {
            id: need(&columns.id, "id")?,
            opened: need(&columns.opened, "opened")?,
            type_: need(&columns.type_, "type")?,
            deadline: take(&columns.deadline, "deadline")?,
            closed: take(&columns.closed, "closed")?,
            subject: take(&columns.subject, "subject")?,
            reason: take(&columns.reason, "reason")?,
            title: take(&columns.title, "title")?,
            closure_note: take(&columns.closure_note, "closure_note")?,
            address: take(&columns.address, "address")?,
            area: take(&columns.area, "area")?,
            latitude: take(&columns.latitude, "latitude")?,
            longitude: take(&columns.longitude, "longitude")?,
            remarks: remarks.collect::<Result<_, _>>()?,
        })
    }
}

/// One row, with its line.
struct Row<'a> {
    rows: &'a Rows<'a>,
    line: u64,
}

impl<'a> Row<'a> {
    /// Returns a field without the space around it; nothing if it says nothing.
    fn text(&self, column: usize) -> &'a str {
        let text = self.rows.record.get(column).unwrap_or("").trim();
        let blank = &self.rows.map.blank_texts;
        if blank.contains(text) { "" } else { text }
    }

    fn optional(&self, column: Option<usize>) -> &'a str {
        column.map_or("", |column| self.text(column))
    }

    fn request(&self, opened: (WallTime, bool), rejects: &mut Rejects) -> Request {
        let at = &self.rows.at;
        let mut count = |reason| rejects.count(Input::Incidents, reason, self.line);
        let mut ambiguous = opened.1;
        let mut time = |column, unreadable| {
            let text = self.optional(column);
            if text.is_empty() {
                return None;
            }
            let Some(time) = self.rows.map.written_time(text) else {
                count(unreadable);
                return None;
            };
            let (time, twice) = self.rows.map.wall_time(time);
            ambiguous |= twice;
            Some(time)
        };
        let closed = time(at.closed, Reason::ClosedUnreadable);
        let deadline = time(at.deadline, Reason::DeadlineUnreadable);
        if ambiguous {
            count(Reason::TimeAmbiguous);
        }
        if closed.is_some_and(|closed| closed < opened.0) {
            count(Reason::ClosedBeforeOpened);
        }
        let position = self.position().unwrap_or_else(|reason| {
            count(reason);
            None
        });
        let type_text = self.text(at.type_);
        let (category, known) = self.rows.map.category(type_text);
        if !known {
            let reason = Reason::TypeUnknown;
            rejects.count_detail(Input::Incidents, reason, type_text, self.line);
        }
        let title = self.optional(at.title);
        let description = if title.is_empty() { type_text } else { title };
        let note = self.optional(at.closure_note);
        let remarks = at.remarks.iter().map(|column| self.text(*column));
        let remark = |text: &str| Remark {
            at: opened.0,
            text: Redacted::new(text.to_owned()),
        };
        Request {
            source_id: self.text(at.id).to_owned(),
            line: self.line,
            opened: opened.0,
            closed,
            deadline,
            category: category.clone(),
            type_text: type_text.to_owned(),
            subject: self.optional(at.subject).to_owned(),
            reason: self.optional(at.reason).to_owned(),
            description: Redacted::new(description.to_owned()),
            address: Redacted::new(self.optional(at.address).to_owned()),
            position,
            closure_note: (!note.is_empty()).then(|| Redacted::new(note.to_owned())),
            remarks: remarks
                .filter(|text| !text.is_empty())
                .map(remark)
                .collect(),
            area_text: self.optional(at.area).to_owned(),
            area: None,
            placed_by: None,
        }
    }

    /// Reads the position; `Ok(None)` if the file has no such columns.
    fn position(&self) -> Result<Option<Position>, Reason> {
        let at = &self.rows.at;
        let (Some(latitude), Some(longitude)) = (at.latitude, at.longitude) else {
            return Ok(None);
        };
        let (latitude, longitude) = (self.text(latitude), self.text(longitude));
        if latitude.is_empty() && longitude.is_empty() {
            return Err(Reason::PositionMissing);
        }
        let degrees = |text: &str| text.parse::<f64>().ok().filter(|number| number.is_finite());
        let (Some(latitude), Some(longitude)) = (degrees(latitude), degrees(longitude)) else {
            return Err(Reason::PositionUnreadable);
        };
        let position =
            Position::from_degrees(latitude, longitude).map_err(|_| Reason::PositionOutOfRange)?;
        if self.rows.map.is_placeholder(position) {
            return Err(Reason::PositionPlaceholder);
        }
        Ok(Some(position))
    }
}

/// Returns the first names of a header, for an error.
pub(super) fn shortened(header: &StringRecord) -> String {
    let names: Vec<_> = header.iter().take(COLUMNS_SHOWN).collect();
    let more = if header.len() > COLUMNS_SHOWN {
        ", …"
    } else {
        ""
    };
    // A file that is no CSV may have a whole page as its first line.
    let mut text: String = names.join(", ").chars().take(300).collect();
    text.push_str(more);
    text
}

/// Turns an error of the CSV reader into ours.
pub(super) fn unusable(path: &Path, error: csv::Error, expected: &'static str) -> InputError {
    // What is not I/O is about encoding or lengths, and cannot be repaired row by row.
    if let csv::ErrorKind::Io(error) = error.into_kind() {
        return file::broken(path, error);
    }
    InputError::new(path, InputProblem::NotText { expected })
}

#[cfg(test)]
mod tests {
    use std::path::PathBuf;

    use jiff::civil::date;

    use super::*;

    const HEADER: &str = "CASE_ENQUIRY_ID,OPEN_DT,TARGET_DT,CLOSED_DT,CLOSURE_REASON,CASE_TITLE,SUBJECT,REASON,TYPE,QUEUE,Location,neighborhood,LATITUDE,LONGITUDE\n";

    fn check(rows: &str, day: Option<Date>) -> Result<Incidents, InputError> {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("requests.csv");
        std::fs::write(&path, format!("{HEADER}{rows}")).unwrap();
        read_incidents(&path, &CityMap::boston(), day)
    }

    const TWO_DAYS: &str = "\
1,01/20/2015 09:00:00 AM,01/21/2015 08:30:00 AM,01/20/2015 11:00:00 AM,Case Closed,PRINTED,PWD,Street Lights,Street Light Outages,PWDx,\"1 High St\nBoston\",Roxbury,42.3300,-71.0900\n\
2,01/21/2015 12:00:01 AM,,,,,,,Pick up Dead Animal,,,,42.33,-71.09\n\
3,01/20/2015 12:00:00 AM,,,,,,,Pick up Dead Animal,,,,42.33,-71.09\n";

    #[test]
    fn the_rows_of_a_local_day_come_sorted_with_their_lines() {
        let incidents = check(TWO_DAYS, Some(date(2015, 1, 20))).unwrap();
        assert_eq!((incidents.rows_read, incidents.rows_of_other_days), (3, 1));
        let [first, second] = &incidents.requests[..] else {
            panic!("two requests")
        };
        assert_eq!(
            (first.source_id.as_str(), first.line),
            ("3", 5),
            "a field has a line break"
        );
        assert_eq!(
            first.opened,
            WallTime(1_421_730_000_000),
            "midnight in Boston"
        );
        assert_eq!((second.source_id.as_str(), second.line), ("1", 2));
        assert_eq!(second.category.zh, "路灯异常");
        let says = second.description.reveal();
        assert_eq!(says, "Street Light Outages", "PRINTED says nothing");
        assert_eq!(
            second.closed.unwrap().millis() - second.opened.millis(),
            7_200_000
        );
        assert_eq!(
            second.closure_note.as_ref().unwrap().reveal(),
            "Case Closed"
        );
        assert_eq!(second.remarks[0].text.reveal(), "PWDx");
        assert!(incidents.rejects.is_empty(), "{}", incidents.rejects);
        let all = check(TWO_DAYS, None).unwrap();
        assert_eq!((all.requests.len(), all.rows_of_other_days), (3, 0));
    }

    #[test]
    fn every_fault_of_a_row_is_counted_with_its_line() {
        let rows = "\
1,yesterday,,,,,,,Catchbasin,,,,42.33,-71.09\n\
2,01/20/2015 09:00:00 AM,soon,later,,,,,Moon dust,,,,42.33,-71.09\n\
3,01/20/2015 09:00:00 AM,,01/19/2015 09:00:00 AM,,,,,Catchbasin,,,,42.3594,-71.0587\n\
4,01/20/2015 09:00:00 AM,,,,,,,Catchbasin,,,,north,-71.09\n\
5,01/20/2015 09:00:00 AM,,,,,,,Catchbasin,,,,142.33,-71.09\n\
6,01/20/2015 09:00:00 AM,,,,,,,Catchbasin,,,,,\n\
6,01/20/2015 09:00:00 AM,,,,,,,Catchbasin,,,,42.33,-71.09\n\
,01/20/2015 09:00:00 AM,,,,,,,Catchbasin,,,,42.33,-71.09\n\
7,01/20/2015 09:00:00 AM\n\
8,11/01/2015 01:30:00 AM,,,,,,,Catchbasin,,,,NaN,-71.09\n";
        let incidents = check(rows, None).unwrap();
        assert_eq!(incidents.rows_read, 10);
        assert_eq!(incidents.requests.len(), 6);
        assert_eq!(incidents.rejects.dropped(Input::Incidents), 4);
        let listed: Vec<_> = incidents
            .rejects
            .iter()
            .map(|r| (r.reason, r.lines))
            .collect();
        let expected = [
            (Reason::RowBroken, vec![10]),
            (Reason::OpenedUnreadable, vec![2]),
            (Reason::IdMissing, vec![9]),
            (Reason::IdRepeated, vec![8]),
            (Reason::ClosedUnreadable, vec![3]),
            (Reason::DeadlineUnreadable, vec![3]),
            (Reason::TimeAmbiguous, vec![11]),
            (Reason::ClosedBeforeOpened, vec![4]),
            (Reason::TypeUnknown, vec![3]),
            (Reason::PositionMissing, vec![7]),
            (Reason::PositionUnreadable, vec![5, 11]),
            (Reason::PositionOutOfRange, vec![6]),
            (Reason::PositionPlaceholder, vec![4]),
        ];
        assert_eq!(listed, expected);
    }

    #[test]
    fn a_row_that_is_not_utf8_is_counted_and_the_next_is_read() {
        let folder = tempfile::tempdir().unwrap();
        let path: PathBuf = folder.path().join("requests.csv");
        let mut bytes = HEADER.as_bytes().to_vec();
        // The fault lies beyond the part that decides whether the file is text.
        for id in 0..1_000 {
            let row = format!(
                "{id},01/20/2015 09:00:00 AM,,,,,,,Catchbasin,,{:80},,,\n",
                ""
            );
            bytes.extend_from_slice(row.as_bytes());
        }
        bytes.extend_from_slice(b"a,01/20/2015 09:00:00 AM,,,,,,,\xff\xfe,,,,,\n");
        bytes.extend_from_slice(b"b,01/20/2015 09:00:00 AM,,,,,,,Catchbasin,,,,,\n");
        std::fs::write(&path, bytes).unwrap();
        let incidents = read_incidents(&path, &CityMap::boston(), None).unwrap();
        assert_eq!(
            (incidents.rows_read, incidents.requests.len()),
            (1_002, 1_001)
        );
        assert_eq!(incidents.rejects.iter().next().unwrap().lines, [1_002]);
    }

    #[test]
    fn a_wrong_file_is_one_clear_error() {
        let error = check(TWO_DAYS, Some(date(2016, 1, 1)))
            .unwrap_err()
            .to_string();
        let says = "no request opened on 2016-01-01; its days run from 2015-01-20 to 2015-01-21";
        assert!(error.ends_with(says), "{error}");
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("trips.csv");
        std::fs::write(&path, "trip,rider,time\n1,2,3\n").unwrap();
        let error = read_incidents(&path, &CityMap::boston(), None).unwrap_err();
        assert!(
            error.to_string().ends_with(
                "trips.csv: has no column \"CASE_ENQUIRY_ID\" (id); its first line names: trip, rider, time"
            ),
            "{error}"
        );
        std::fs::write(&path, HEADER).unwrap();
        let error = read_incidents(&path, &CityMap::boston(), None).unwrap_err();
        assert!(matches!(error.problem, InputProblem::NoRequests));
    }

    #[test]
    fn the_busiest_day_is_found() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("requests.csv");
        std::fs::write(&path, format!("{HEADER}{TWO_DAYS}")).unwrap();
        let busiest = busiest_day(&path, &CityMap::boston()).unwrap();
        assert_eq!(busiest, (date(2015, 1, 20), 2));
    }
}
