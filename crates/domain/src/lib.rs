//! The trade: incidents and patrols of grid-based city management, as kinds of documents.
//!
//! - `category`: what is wrong, by the national code; the built-in catalogue
//! - `fact`: what happened, as immutable entries, and the order they are read in
//! - `step`: the states of an incident and the steps between them, as data
//! - `incident`: the incident: fields that merge, facts that are added, a state that is folded
//! - `role`: who may do what: the roles of the trade as sets of verbs
//! - `patrol`: an officer's patrol: legs, check-ins, notes, track segments
//! - `track`: what such a segment is: fixes as they came, the bad ones marked
//! - `wanted`: what a person wanted, in words
//! - `deed`: what one change did to either, in words
//!
//! Pure. Not here: who holds which role, deadlines, grids, posts, indicators.

mod category;
mod deed;
mod fact;
mod incident;
mod patrol;
mod role;
mod step;
pub mod track;
mod wanted;

pub use category::{Catalogue, Category, CategoryKind, NATIONAL_STANDARD};
pub use deed::{Deed, deeds};
pub use fact::{FOLD_SLACK, FactTimes};
pub use incident::{
    ConflictValue, ConflictView, IncidentIntent, IncidentKind, IncidentView, PhotoRole, PhotoView,
    Severity, StepView,
};
pub use patrol::{
    CheckInView, LegView, PatrolIntent, PatrolKind, PatrolNoteView, PatrolView, SegmentView,
    Transport,
};
pub use role::{ROLES, Role};
pub use step::{State, Step};
pub use wanted::{Wanted, wanted};

use std::sync::Arc;

use gridbeat_document::{IntentError, Kind, Kinds};
use serde::de::DeserializeOwned;
use serde_json::error::Category as Fault;

/// Returns the kinds of this crate, for a device or a relay to be opened with.
pub fn kinds() -> Kinds {
    Kinds::new([
        Arc::new(IncidentKind) as Arc<dyn Kind>,
        Arc::new(PatrolKind),
    ])
}

/// Reads an intent. What is wrong with it is told by its place: the JSON library's own words would repeat
/// what a person typed, and errors are logged.
fn read_intent<T: DeserializeOwned>(intent: &[u8]) -> Result<T, IntentError> {
    serde_json::from_slice(intent).map_err(|error| {
        let what = match error.classify() {
            Fault::Data => "not what this kind takes",
            Fault::Eof => "it ends too soon",
            Fault::Syntax | Fault::Io => "no JSON",
        };
        let (line, column) = (error.line(), error.column());
        IntentError::Unreadable {
            reason: format!("{what} at line {line}, column {column}"),
        }
    })
}
