//! One request of the day, whatever it came from.

use gridbeat_base::{Position, Redacted, WallTime};
use gridbeat_domain::Category;

/// One request: what was reported, where, and what became of it.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Request {
    /// The id in the source; unique in a day.
    pub source_id: String,
    /// The line in the source's file, counted from 1; 0 if it was made up.
    pub line: u64,
    /// When it was opened.
    pub opened: WallTime,
    /// When it was closed. May lie before `opened` where the source says so, and then is noted as
    /// [`Reason::ClosedBeforeOpened`](super::Reason::ClosedBeforeOpened).
    pub closed: Option<WallTime>,
    /// When it ought to be closed.
    pub deadline: Option<WallTime>,
    /// Its category in the catalogue.
    pub category: Category,
    /// The source's own name of the type.
    pub type_text: String,
    /// The source's subject and reason, above the type; empty if it has none.
    pub subject: String,
    /// See `subject`.
    pub reason: String,
    /// What it says, in the source's language; its type, if the source says nothing.
    pub description: Redacted<String>,
    /// Where it is, in words; may be empty.
    pub address: Redacted<String>,
    /// Where it is on the ground; `None` if the source does not say, or names a placeholder.
    pub position: Option<Position>,
    /// What was written when it was closed.
    pub closure_note: Option<Redacted<String>>,
    /// What was written on it in between, in order of time.
    pub remarks: Vec<Remark>,
    /// The source's name of the area; may be empty, or unlike any area's name.
    pub area_text: String,
    /// The area it falls to, as an index into the day's areas; `None` if nothing tells. Such a
    /// request is the centre's.
    pub area: Option<usize>,
    /// What decided `area`; `None` exactly if `area` is.
    pub placed_by: Option<PlacedBy>,
}

/// A text that was put on a request.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Remark {
    /// When. The time of opening, if the source gives none.
    pub at: WallTime,
    /// What it says.
    pub text: Redacted<String>,
}

/// What decided which area a request falls to.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum PlacedBy {
    /// Its position lies inside.
    Position,
    /// Its position lies outside of every area, and nearest to this one.
    Nearest {
        /// How far outside, in whole metres.
        distance_m: u32,
    },
    /// It has no position; the source names the area.
    Name,
}
