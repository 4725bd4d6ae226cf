//! The account of what could not be read: counted by reason, with line numbers, never silent.

use std::collections::BTreeMap;
use std::fmt;

use serde::Serialize;

/// How many line numbers are kept for one reason: more than all rows of a city's year, and still under
/// two megabytes. Beyond, rows are only counted.
pub const LINES_MAX: usize = 200_000;

/// How many line numbers a printed account shows for one reason; the rest is in the JSON.
const LINES_SHOWN: usize = 12;

/// How many details are told apart for one reason, so that a wrong column cannot fill the memory.
const DETAILS_MAX: usize = 1_000;

/// Which input a row came from.
#[derive(Clone, Copy, Debug, Eq, Ord, PartialEq, PartialOrd, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Input {
    /// The file of requests.
    Incidents,
    /// The file of areas; its "lines" are features, counted from 1.
    Areas,
    /// The file of tracks.
    Tracks,
}

/// What became of the row.
#[derive(Clone, Copy, Debug, Eq, Ord, PartialEq, PartialOrd, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Effect {
    /// It is not used.
    Dropped,
    /// It is used without the part that could not be read, or as it is.
    Kept,
}

/// Why a row was counted.
#[derive(Clone, Copy, Debug, Eq, Ord, PartialEq, PartialOrd, Serialize)]
#[serde(rename_all = "snake_case")]
#[non_exhaustive]
pub enum Reason {
    /// It is not UTF-8, or has more or fewer fields than the first line.
    RowBroken,
    /// When it was opened cannot be read, so its day is unknown. Counted for the whole file.
    OpenedUnreadable,
    /// It has no id.
    IdMissing,
    /// Its id came before.
    IdRepeated,
    /// When it was closed cannot be read; it counts as open.
    ClosedUnreadable,
    /// Its deadline cannot be read; it counts as having none.
    DeadlineUnreadable,
    /// A time fell into the hour that the clocks skip or repeat; it was read as before the change.
    TimeAmbiguous,
    /// It was closed before it was opened; kept as it is.
    ClosedBeforeOpened,
    /// The mapping has no line for its type; it got the mapping's default category.
    TypeUnknown,
    /// It has no coordinates.
    PositionMissing,
    /// Its coordinates are no numbers.
    PositionUnreadable,
    /// Its coordinates are not on the globe.
    PositionOutOfRange,
    /// It sits on a placeholder point of the mapping, which is no position.
    PositionPlaceholder,
    /// It lies outside of every area, and fell to the nearest.
    OutsideAreas,
    /// Neither its position nor a name tells its area.
    NoArea,
    /// A feature is no polygon.
    NotAPolygon,
    /// A feature has no name; it was given its number.
    NameMissing,
    /// The time of a track's point cannot be read.
    TimeUnreadable,
    /// A track's point has the time of the one before.
    TimeRepeated,
    /// A track's point lies in time before the one before.
    TimeBackward,
    /// A track's point has no coordinates that are on the globe.
    PointUnreadable,
    /// A gap of more than [`GAP`](super::GAP) cuts a track into segments.
    GapInTrack,
    /// A gap too long for one ride cuts a trip in two.
    TripCut,
    /// A trip is shorter than [`TRIP_MIN`](super::TRIP_MIN).
    TripTooShort,
}

impl Reason {
    /// Returns what becomes of a row that is counted under this reason.
    pub const fn effect(self) -> Effect {
        match self {
            Self::RowBroken
            | Self::OpenedUnreadable
            | Self::IdMissing
            | Self::IdRepeated
            | Self::NotAPolygon
            | Self::TimeUnreadable
            | Self::TimeRepeated
            | Self::TimeBackward
            | Self::PointUnreadable
            | Self::TripTooShort => Effect::Dropped,
            Self::ClosedUnreadable
            | Self::DeadlineUnreadable
            | Self::TimeAmbiguous
            | Self::ClosedBeforeOpened
            | Self::TypeUnknown
            | Self::PositionMissing
            | Self::PositionUnreadable
            | Self::PositionOutOfRange
            | Self::PositionPlaceholder
            | Self::OutsideAreas
            | Self::NoArea
            | Self::NameMissing
            | Self::GapInTrack
            | Self::TripCut => Effect::Kept,
        }
    }

    /// Returns the reason in words, as a person reads it after "rows".
    pub const fn words(self) -> &'static str {
        match self {
            Self::RowBroken => "not UTF-8, or with a wrong number of fields",
            Self::OpenedUnreadable => "with an opening time that cannot be read",
            Self::IdMissing => "without an id",
            Self::IdRepeated => "with an id that came before",
            Self::ClosedUnreadable => "with a closing time that cannot be read",
            Self::DeadlineUnreadable => "with a deadline that cannot be read",
            Self::TimeAmbiguous => "with a time in the hour that the clocks skip or repeat",
            Self::ClosedBeforeOpened => "closed before they were opened",
            Self::TypeUnknown => "of a type that the mapping does not have",
            Self::PositionMissing => "without coordinates",
            Self::PositionUnreadable => "with coordinates that are no numbers",
            Self::PositionOutOfRange => "with coordinates that are not on the globe",
            Self::PositionPlaceholder => "on a placeholder point",
            Self::OutsideAreas => "outside of every area, given to the nearest",
            Self::NoArea => "whose area nothing tells",
            Self::NotAPolygon => "that are no polygon",
            Self::NameMissing => "without a name",
            Self::TimeUnreadable => "with a time that cannot be read",
            Self::TimeRepeated => "with the time of the point before",
            Self::TimeBackward => "earlier than the point before",
            Self::PointUnreadable => "with coordinates that are no place",
            Self::GapInTrack => "after a gap of more than 30 s, beginning a segment",
            Self::TripCut => "after a gap of more than an hour, beginning a trip",
            Self::TripTooShort => "beginning a trip of less than 20 s",
        }
    }
}

/// One line of the account.
#[derive(Clone, Debug, Eq, PartialEq, Serialize)]
pub struct Reject {
    /// Which input.
    pub input: Input,
    /// Why.
    pub reason: Reason,
    /// What became of the rows.
    pub effect: Effect,
    /// What exactly: the unknown type; else empty. Never personal.
    pub detail: String,
    /// How many rows.
    pub count: u64,
    /// Their line numbers, the first [`LINES_MAX`] of them.
    pub lines: Vec<u64>,
}

#[derive(Clone, Debug, Default, Eq, PartialEq)]
struct Tally {
    count: u64,
    lines: Vec<u64>,
}

/// The account of one day's input. Prints as a list for people; serialises as a list of [`Reject`].
#[derive(Clone, Debug, Default, Eq, PartialEq)]
pub struct Rejects(BTreeMap<(Input, Reason, String), Tally>);

impl Rejects {
    /// Counts one row.
    pub fn count(&mut self, input: Input, reason: Reason, line: u64) {
        self.count_detail(input, reason, "", line);
    }

    /// Counts one row under a detail of its reason.
    pub fn count_detail(&mut self, input: Input, reason: Reason, detail: &str, line: u64) {
        let mut key = (input, reason, detail.to_owned());
        if !detail.is_empty() && !self.0.contains_key(&key) {
            let details = self.0.keys().filter(|k| (k.0, k.1) == (input, reason));
            if details.count() >= DETAILS_MAX {
                key.2 = "(others)".to_owned();
            }
        }
        let tally = self.0.entry(key).or_default();
        tally.count += 1;
        if tally.lines.len() < LINES_MAX {
            tally.lines.push(line);
        }
    }

    /// Takes in another account.
    pub fn merge(&mut self, other: Self) {
        for (key, theirs) in other.0 {
            let tally = self.0.entry(key).or_default();
            tally.count += theirs.count;
            let room = LINES_MAX - tally.lines.len().min(LINES_MAX);
            tally.lines.extend(theirs.lines.into_iter().take(room));
        }
    }

    /// Returns the account line by line, by input, then reason, then detail.
    pub fn iter(&self) -> impl Iterator<Item = Reject> + '_ {
        self.0
            .iter()
            .map(|((input, reason, detail), tally)| Reject {
                input: *input,
                reason: *reason,
                effect: reason.effect(),
                detail: detail.clone(),
                count: tally.count,
                lines: tally.lines.clone(),
            })
    }

    /// Returns how many rows were counted under a reason, over all inputs and details.
    pub fn of(&self, reason: Reason) -> u64 {
        let of_reason = self.0.iter().filter(|((_, r, _), _)| *r == reason);
        of_reason.map(|(_, tally)| tally.count).sum()
    }

    /// Returns how many rows of an input were not used.
    pub fn dropped(&self, input: Input) -> u64 {
        let dropped = |(i, reason, _): &(Input, Reason, String)| {
            *i == input && reason.effect() == Effect::Dropped
        };
        let of_input = self.0.iter().filter(|(key, _)| dropped(key));
        of_input.map(|(_, tally)| tally.count).sum()
    }

    /// Tells whether there is nothing to account for.
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }
}

impl Serialize for Rejects {
    fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_seq(self.iter())
    }
}

impl fmt::Display for Rejects {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for reject in self.iter() {
            let (input, unit) = match reject.input {
                Input::Incidents => ("incidents", "line"),
                Input::Areas => ("areas", "feature"),
                Input::Tracks => ("tracks", "line"),
            };
            let effect = match reject.effect {
                Effect::Dropped => "dropped",
                Effect::Kept => "kept",
            };
            write!(
                f,
                "{input}: {} {} ({effect})",
                reject.count,
                reject.reason.words()
            )?;
            if !reject.detail.is_empty() {
                write!(f, " {:?}", reject.detail)?;
            }
            let shown = reject.lines.iter().take(LINES_SHOWN);
            let shown: Vec<_> = shown.map(ToString::to_string).collect();
            let plural = if reject.count == 1 { "" } else { "s" };
            write!(f, ": {unit}{plural} {}", shown.join(", "))?;
            let rest = reject.count.saturating_sub(shown.len() as u64);
            if rest > 0 {
                write!(f, " and {rest} more")?;
            }
            writeln!(f)?;
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_account_lists_reasons_details_and_lines() {
        let mut rejects = Rejects::default();
        for line in 2..17 {
            rejects.count(Input::Incidents, Reason::PositionPlaceholder, line);
        }
        rejects.count_detail(Input::Incidents, Reason::TypeUnknown, "Moon dust", 40);
        let mut tracks = Rejects::default();
        tracks.count(Input::Tracks, Reason::TripTooShort, 9);
        rejects.merge(tracks);

        assert_eq!(rejects.of(Reason::PositionPlaceholder), 15);
        assert_eq!(rejects.dropped(Input::Incidents), 0);
        assert_eq!(rejects.dropped(Input::Tracks), 1);
        assert_eq!(
            rejects.to_string(),
            "incidents: 1 of a type that the mapping does not have (kept) \"Moon dust\": line 40\n\
             incidents: 15 on a placeholder point (kept): lines 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13 and 3 more\n\
             tracks: 1 beginning a trip of less than 20 s (dropped): line 9\n"
        );
        let json = serde_json::to_value(&rejects).unwrap();
        assert_eq!(json[0]["reason"], "type_unknown");
        assert_eq!(json[1]["lines"][14], 16);
    }

    #[test]
    fn a_wrong_column_cannot_fill_the_memory() {
        let mut rejects = Rejects::default();
        for line in 0..3_000 {
            let detail = format!("type {line}");
            rejects.count_detail(Input::Incidents, Reason::TypeUnknown, &detail, line);
        }
        assert_eq!(rejects.iter().count(), DETAILS_MAX + 1);
        assert_eq!(rejects.of(Reason::TypeUnknown), 3_000);
    }
}
