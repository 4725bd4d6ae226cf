//! How to read one city's file of requests: its columns, dates, zone and types, as a TOML file.
//!
//! Boston's mapping is built in ([`CityMap::boston`]); `examples/maps/boston-311.toml` is that very
//! file, with every key explained. An unknown key is an error that names file and line.

use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;

use gridbeat_base::{Position, WallTime};
use gridbeat_domain::{Category, CategoryKind};
use jiff::civil::{Date, DateTime, date};
use jiff::fmt::strtime::BrokenDownTime;
use jiff::tz::{Offset, TimeZone};
use serde::Deserialize;
use toml::Spanned;

use super::error::{InputError, InputProblem};
use super::file;

/// Boston's mapping, built in.
const BOSTON: &str = include_str!("../../../../examples/maps/boston-311.toml");

/// Largest mapping: a hundred times Boston's.
const MAP_BYTES_MAX: u64 = 1 << 20;

/// How near a point must be to a placeholder, in ten-millionths of a degree: equal to four decimals.
const PLACEHOLDER_E7: u32 = 500;

/// How to read one city's file of requests.
#[derive(Clone, Debug)]
pub struct CityMap {
    /// What the data is, for reports and messages.
    pub name: String,
    /// Where the file's clock hangs.
    pub time_zone: TimeZone,
    /// How moments are written, in the order tried (`strftime` letters).
    pub date_formats: Vec<String>,
    /// Texts that say nothing, in any column.
    pub blank_texts: BTreeSet<String>,
    /// Points that stand for "somewhere".
    pub placeholder_points: Vec<PlaceholderPoint>,
    /// The names of the columns.
    pub columns: Columns,
    /// Names in the area column, and what the areas file calls them.
    pub area_names: BTreeMap<String, String>,
    /// The category of a type that is not in `types`.
    pub unknown_type: Category,
    /// The category of every known type.
    pub types: BTreeMap<String, Category>,
}

/// A point that a source writes when it does not know one.
#[derive(Clone, Copy, Debug, Deserialize, PartialEq)]
#[serde(deny_unknown_fields)]
pub struct PlaceholderPoint {
    /// Degrees, north positive.
    pub latitude_deg: f64,
    /// Degrees, east positive.
    pub longitude_deg: f64,
}

/// The names of the columns in the first line of the file. What a file has not is left out.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Columns {
    /// The source's id of the request.
    pub id: String,
    /// When it was opened.
    pub opened: String,
    /// The type, looked up in the mapping's table.
    #[serde(rename = "type")]
    pub type_: String,
    /// When it ought to be closed.
    pub deadline: Option<String>,
    /// When it was closed.
    pub closed: Option<String>,
    /// The subject above the type.
    pub subject: Option<String>,
    /// The reason between subject and type.
    pub reason: Option<String>,
    /// What it says.
    pub title: Option<String>,
    /// What was written when it was closed. Handled as personal.
    pub closure_note: Option<String>,
    /// Where it is, in words.
    pub address: Option<String>,
    /// The neighbourhood, township or community.
    pub area: Option<String>,
    /// Degrees, north positive.
    pub latitude: Option<String>,
    /// Degrees, east positive.
    pub longitude: Option<String>,
    /// Further texts that become remarks.
    #[serde(default)]
    pub remarks: Vec<String>,
}

/// The file as it is written; lines are found again by the spans.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Written {
    name: String,
    standard: String,
    time_zone: Spanned<String>,
    date_formats: Spanned<Vec<Spanned<String>>>,
    unknown_type: Spanned<String>,
    #[serde(default)]
    blank_texts: BTreeSet<String>,
    #[serde(default)]
    placeholder_points: Vec<PlaceholderPoint>,
    columns: Columns,
    #[serde(default)]
    area_names: BTreeMap<String, String>,
    categories: BTreeMap<Spanned<String>, WrittenCategory>,
    types: BTreeMap<String, Spanned<String>>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct WrittenCategory {
    kind: CategoryKind,
    zh: String,
    en: String,
    #[serde(default)]
    local: bool,
}

/// A moment as a file writes it.
#[derive(Clone, Copy, Debug)]
pub(super) struct WrittenTime {
    local: DateTime,
    offset: Option<Offset>,
}

impl CityMap {
    /// Returns the mapping of Boston's 311 requests.
    pub fn boston() -> Self {
        Self::parse(BOSTON, Path::new("examples/maps/boston-311.toml"))
            .expect("the built-in mapping is read by a test")
    }

    /// Reads a mapping from a file.
    ///
    /// # Errors
    ///
    /// [`InputProblem::Map`] with the line, if the mapping breaks a rule; others if it cannot be read.
    pub fn read(path: &Path) -> Result<Self, InputError> {
        Self::parse(
            &file::read_text(path, "a TOML mapping", MAP_BYTES_MAX)?,
            path,
        )
    }

    /// Reads a mapping from a text; `path` names it in errors.
    ///
    /// # Errors
    ///
    /// [`InputProblem::Map`] with the line, if the mapping breaks a rule.
    pub fn parse(text: &str, path: &Path) -> Result<Self, InputError> {
        let written = toml::from_str::<Written>(text).map_err(|error| Fault {
            offset: error.span().map_or(0, |span| span.start),
            message: error.message().replace('\n', " "),
        });
        written.and_then(Written::checked).map_err(|fault| {
            let before = &text.as_bytes()[..fault.offset.min(text.len())];
            let line = 1 + before.iter().filter(|byte| **byte == b'\n').count();
            let message = fault.message;
            InputError::new(path, InputProblem::Map { line, message })
        })
    }

    /// Returns the category of a type, and whether the mapping has the type.
    pub fn category(&self, type_text: &str) -> (&Category, bool) {
        let known = self.types.get(type_text);
        (known.unwrap_or(&self.unknown_type), known.is_some())
    }

    /// Tells whether a position stands for "somewhere".
    pub fn is_placeholder(&self, position: Position) -> bool {
        self.placeholder_points.iter().any(|point| {
            Position::from_degrees(point.latitude_deg, point.longitude_deg).is_ok_and(|p| {
                p.latitude_e7().abs_diff(position.latitude_e7()) <= PLACEHOLDER_E7
                    && p.longitude_e7().abs_diff(position.longitude_e7()) <= PLACEHOLDER_E7
            })
        })
    }

    /// Returns the first and the last moment of a local day: midnight, and the next midnight.
    pub(super) fn span_of(&self, day: Date) -> (WallTime, WallTime) {
        let midnight = |day: Date| self.wall_of(day.at(0, 0, 0, 0));
        (
            midnight(day),
            midnight(day.saturating_add(jiff::Span::new().days(1))),
        )
    }

    /// Returns a local time of the map's zone as wall time; in a skipped or repeated hour as before
    /// the change.
    pub(super) fn wall_of(&self, local: DateTime) -> WallTime {
        self.wall_time(WrittenTime {
            local,
            offset: None,
        })
        .0
    }

    /// Reads a moment in any of the map's formats.
    pub(super) fn written_time(&self, text: &str) -> Option<WrittenTime> {
        let read = |format: &String| read_time(format, text);
        self.date_formats.iter().find_map(read)
    }

    /// Returns the day of a moment where the map's clock hangs.
    pub(super) fn local_day(&self, time: WrittenTime) -> Date {
        let stamp = time.offset.and_then(|o| o.to_timestamp(time.local).ok());
        stamp.map_or_else(
            || time.local.date(),
            |stamp| self.time_zone.to_datetime(stamp).date(),
        )
    }

    /// Returns a moment as wall time, and whether the clocks skip or repeat its hour.
    pub(super) fn wall_time(&self, time: WrittenTime) -> (WallTime, bool) {
        let exact = time.offset.and_then(|o| o.to_timestamp(time.local).ok());
        let guess = self.time_zone.to_ambiguous_timestamp(time.local);
        let ambiguous = exact.is_none() && guess.is_ambiguous();
        // Only years beyond ±9999 fail, which no four-digit year of a format reaches.
        let stamp = exact
            .or_else(|| guess.compatible().ok())
            .unwrap_or_default();
        (WallTime(stamp.as_millisecond()), ambiguous)
    }
}

/// What breaks a rule, and where in the text.
struct Fault {
    offset: usize,
    message: String,
}

impl Fault {
    fn at<T>(place: &Spanned<T>, message: String) -> Self {
        let offset = place.span().start;
        Self { offset, message }
    }
}

impl Written {
    fn checked(self) -> Result<CityMap, Fault> {
        let zone = &self.time_zone;
        let time_zone = TimeZone::get(zone.get_ref()).map_err(|_| {
            let message = format!("{:?} is no time zone of the IANA database", zone.get_ref());
            Fault::at(zone, message)
        })?;
        let formats = self.date_formats.get_ref();
        if formats.is_empty() {
            let message = "at least one date format is needed".to_owned();
            return Err(Fault::at(&self.date_formats, message));
        }
        if let Some(bad) = formats.iter().find(|f| !is_date_format(f.get_ref())) {
            let message = format!("{:?} does not write a date that reads back", bad.get_ref());
            return Err(Fault::at(bad, message));
        }
        let date_formats = formats.iter().map(|f| f.get_ref().clone()).collect();
        let categories = named(self.categories, &self.standard, &self.name)?;
        let category = |code: &Spanned<String>| {
            categories.get(code.get_ref()).cloned().ok_or_else(|| {
                let message = format!("category {:?} is not under [categories]", code.get_ref());
                Fault::at(code, message)
            })
        };
        let unknown_type = category(&self.unknown_type)?;
        let types = self.types.into_iter();
        let types = types.map(|(name, code)| Ok((name, category(&code)?)));
        Ok(CityMap {
            types: types.collect::<Result<_, _>>()?,
            name: self.name,
            time_zone,
            date_formats,
            blank_texts: self.blank_texts,
            placeholder_points: self.placeholder_points,
            columns: self.columns,
            area_names: self.area_names,
            unknown_type,
        })
    }
}

/// Gives each written category its standard: a city's own has its meaning from the city.
fn named(
    written: BTreeMap<Spanned<String>, WrittenCategory>,
    standard: &str,
    city: &str,
) -> Result<BTreeMap<String, Category>, Fault> {
    let mut categories = BTreeMap::new();
    for (code, category) in written {
        if !is_code(code.get_ref()) {
            let message = format!("category {:?} has not five digits", code.get_ref());
            return Err(Fault::at(&code, message));
        }
        let owner = if category.local { city } else { standard };
        let category = Category {
            standard: owner.to_owned(),
            kind: category.kind,
            code: code.get_ref().clone(),
            zh: category.zh,
            en: category.en,
        };
        categories.insert(code.into_inner(), category);
    }
    Ok(categories)
}

/// Tells whether a text is a category code: five ASCII digits.
fn is_code(text: &str) -> bool {
    text.len() == 5 && text.bytes().all(|byte| byte.is_ascii_digit())
}

fn read_time(format: &str, text: &str) -> Option<WrittenTime> {
    let broken_down = BrokenDownTime::parse(format, text).ok()?;
    Some(WrittenTime {
        local: broken_down.to_datetime().ok()?,
        offset: broken_down.offset(),
    })
}

/// Tells whether a format writes a date that it reads back: catches typing errors before 100,000 rows.
fn is_date_format(format: &str) -> bool {
    let sample = date(2015, 11, 20).at(13, 4, 5, 0);
    let written = sample
        .to_zoned(TimeZone::UTC)
        .map(|zoned| BrokenDownTime::from(&zoned).to_string(format));
    let Ok(Ok(written)) = written else {
        return false;
    };
    read_time(format, &written).is_some_and(|time| time.local.date() == sample.date())
}

#[cfg(test)]
mod tests {
    use gridbeat_domain::Catalogue;

    use super::*;

    const SMALL: &str = r#"name = "Small town"
standard = "GB/T 47678.5-2026"
time_zone = "Asia/Shanghai"
date_formats = ["%Y-%m-%d %H:%M", "%Y-%m-%dT%H:%M:%S%:z"]
unknown_type = "10999"
[columns]
id = "编号"
opened = "上报时间"
type = "小类"
[categories]
06010 = { kind = "matter", zh = "暴露垃圾", en = "Exposed litter" }
10999 = { kind = "matter", zh = "其他", en = "Other", local = true }
[types]
"暴露垃圾" = "06010"
"#;

    fn check(from: &str, to: &str, line: usize, says: &str) {
        assert!(SMALL.contains(from), "{from}");
        let error = CityMap::parse(&SMALL.replace(from, to), Path::new("m.toml")).unwrap_err();
        let text = error.to_string();
        assert!(
            text.starts_with(&format!("m.toml: line {line}: ")),
            "{text}"
        );
        assert!(text.contains(says), "{text}");
    }

    #[test]
    fn a_fault_in_a_mapping_names_file_and_line() {
        check("opened =", "opend =", 8, "unknown field `opend`");
        check("name =", "title =", 1, "unknown field `title`");
        check("opened = \"上报时间\"\n", "", 6, "missing field `opened`");
        check("Asia/Shanghai", "Asia/Zhenhai", 3, "no time zone");
        check("%Y-%m-%d %H:%M", "%Y-%m", 4, "does not write a date");
        check("%Y-%m-%d %H:%M", "%Q", 4, "does not write a date");
        check(
            "= \"06010\"",
            "= \"06011\"",
            14,
            "\"06011\" is not under [categories]",
        );
        check("06010 = {", "0601 = {", 11, "five digits");
        check(
            "kind = \"matter\", zh = \"其",
            "kind = \"thing\", zh = \"其",
            12,
            "unknown variant",
        );
        check("[columns]", "[columns", 6, "");
    }

    #[test]
    fn a_moment_is_read_in_the_zone_of_the_map_or_in_its_own() {
        let map = CityMap::parse(SMALL, Path::new("m.toml")).unwrap();
        let read = |text: &str| map.wall_time(map.written_time(text).unwrap());
        let shanghai = 1_421_717_400_000; // 2015-01-20T01:30Z
        assert_eq!(read("2015-01-20 09:30"), (WallTime(shanghai), false));
        assert_eq!(
            read("2015-01-19T20:30:00-05:00"),
            (WallTime(shanghai), false)
        );
        let elsewhere = map.written_time("2015-01-19T20:30:00-05:00").unwrap();
        assert_eq!(map.local_day(elsewhere), date(2015, 1, 20));
        assert!(map.written_time("20.1.2015").is_none());
        assert!(map.written_time("").is_none());
    }

    #[test]
    fn a_skipped_or_repeated_hour_is_told() {
        let map = CityMap::boston();
        let read = |text: &str| map.wall_time(map.written_time(text).unwrap());
        assert!(read("03/08/2015 02:30:00 AM").1, "skipped");
        assert!(read("11/01/2015 01:30:00 AM").1, "repeated");
        assert_eq!(
            read("11/01/2015 01:30:00 AM").0,
            WallTime(1_446_355_800_000)
        );
        assert!(!read("11/01/2015 03:30:00 AM").1);
        let (from, until) = map.span_of(date(2015, 11, 1));
        assert_eq!(until.millis() - from.millis(), 25 * 3_600_000);
    }

    #[test]
    fn the_built_in_mapping_has_every_type_of_boston() {
        let map = CityMap::boston();
        assert_eq!(map.types.len(), 158);
        let (category, known) = map.category("Street Light Outages");
        assert_eq!((category.code.as_str(), known), ("01037", true));
        assert_eq!(map.category("Moon dust"), (&map.unknown_type, false));
        let national = Catalogue::national();
        for category in map.types.values() {
            // Subclasses from 900 on are the city's own; the rest is in the catalogue as it is here.
            if &category.code[2..] < "900" {
                assert_eq!(national.find(category.kind, &category.code), Some(category));
            } else {
                assert_eq!(category.standard, "Boston 311");
                assert_eq!(national.find(category.kind, &category.code), None);
                assert!(!category.zh.is_ascii() && category.en.is_ascii());
            }
        }
        let city_hall = Position::from_degrees(42.3594, -71.0587).unwrap();
        assert!(map.is_placeholder(city_hall));
        assert!(!map.is_placeholder(Position::from_degrees(42.3595, -71.0587).unwrap()));
    }
}
