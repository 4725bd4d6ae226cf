//! A file that was handed in cannot be used: which one, and what was expected of it.
//!
//! One error for the one job of this module tree. Rows are not errors: see `rejects`.

use std::path::{Path, PathBuf};
use std::{error, fmt, io};

use gridbeat_badlink::LinkLogError;
use gridbeat_base::Remedy;
use jiff::civil::Date;

/// A file that was handed in cannot be used.
#[derive(Debug)]
pub struct InputError {
    /// The file, as the user named it.
    pub path: PathBuf,
    /// What is wrong with it.
    pub problem: InputProblem,
}

impl InputError {
    pub(crate) fn new(path: &Path, problem: InputProblem) -> Self {
        Self {
            path: path.to_owned(),
            problem,
        }
    }

    /// Returns what the caller should do about this error.
    pub const fn remedy(&self) -> Remedy {
        self.problem.remedy()
    }
}

impl fmt::Display for InputError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: {}", self.path.display(), self.problem)
    }
}

impl error::Error for InputError {
    fn source(&self) -> Option<&(dyn error::Error + 'static)> {
        self.problem.source()
    }
}

/// What is wrong with a file.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum InputProblem {
    /// The file is missing, a directory, or not ours to read.
    #[error("cannot be read")]
    Unreadable(#[source] io::Error),
    /// Its name ends in `.gz`, its first bytes say otherwise.
    #[error("is named .gz and is not a gzip file")]
    NotGzip,
    /// The compressed data breaks off or its checksum is wrong.
    #[error("is damaged or cut short")]
    Damaged(#[source] io::Error),
    /// It holds bytes that no text file has.
    #[error("is not UTF-8 text; expected {expected}")]
    NotText {
        /// What was expected, in a few words.
        expected: &'static str,
    },
    /// It is larger than anything of its kind should be.
    #[error("is larger than {bytes_max} bytes when unpacked")]
    TooLarge {
        /// The limit.
        bytes_max: u64,
    },
    /// The first line does not name a column that is needed.
    #[error("has no column {column:?} ({wanted_as}); its first line names: {found}")]
    MissingColumn {
        /// The name that was looked for.
        column: String,
        /// What the column is to be used as: the key in the mapping.
        wanted_as: &'static str,
        /// The names there are, shortened.
        found: String,
    },
    /// No row could be read at all.
    #[error("has no row with an opening time that can be read")]
    NoRequests,
    /// The chosen day is not in the file.
    #[error("has no request opened on {day}; its days run from {first} to {last}")]
    NothingOnDay {
        /// The day asked for.
        day: Date,
        /// The earliest day in the file.
        first: Date,
        /// The latest day in the file.
        last: Date,
    },
    /// The mapping breaks its own rules.
    #[error("line {line}: {message}")]
    Map {
        /// The line, counted from 1.
        line: usize,
        /// What is wrong there.
        message: String,
    },
    /// It is not a `GeoJSON` feature collection.
    #[error("is not a GeoJSON feature collection: {message}")]
    NotGeoJson {
        /// What the reader stumbled over.
        message: String,
    },
    /// Its coordinates are no degrees; probably a projected system.
    #[error("feature {feature}: coordinates are not WGS 84 degrees (longitude, latitude)")]
    NotDegrees {
        /// The feature, counted from 1.
        feature: u64,
    },
    /// No feature is a polygon.
    #[error("has no polygon; expected areas as polygons or multipolygons")]
    NoAreas,
    /// No trip is left after the quirks were removed.
    #[error("has no trip of at least 20 seconds; expected columns trip, time, lon, lat")]
    NoTrips,
    /// It is no tar, and no single log either.
    #[error("is neither a link log (.json), nor a folder or a tar of link logs")]
    NotATar(#[source] io::Error),
    /// A log is not what SABRE writes.
    #[error(
        "{entry} is not a link log; expected a JSON array of duration_ms, bandwidth_kbps, latency_ms"
    )]
    NotALinkLog {
        /// The file inside the archive or directory.
        entry: String,
        /// What the reader stumbled over.
        #[source]
        error: LinkLogError,
    },
    /// The archive or directory holds no log.
    #[error("holds no .json link log")]
    NoLinkLogs,
}

impl InputProblem {
    /// Returns what the caller should do about this problem.
    pub const fn remedy(&self) -> Remedy {
        match self {
            Self::Unreadable(_) => Remedy::FixSetup,
            Self::NotGzip
            | Self::Damaged(_)
            | Self::NotText { .. }
            | Self::TooLarge { .. }
            | Self::MissingColumn { .. }
            | Self::NoRequests
            | Self::NothingOnDay { .. }
            | Self::Map { .. }
            | Self::NotGeoJson { .. }
            | Self::NotDegrees { .. }
            | Self::NoAreas
            | Self::NoTrips
            | Self::NotATar(_)
            | Self::NotALinkLog { .. }
            | Self::NoLinkLogs => Remedy::FixInput,
        }
    }
}
