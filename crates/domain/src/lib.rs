//! The trade: incidents and patrols of grid-based city management, as kinds of documents.
//!
//! - `category`: what is wrong, by the national code; the built-in catalogue
//! - `fact`: what happened, as immutable entries, and the order they are read in
//! - `step`: the states of an incident and the steps between them, as data
//! - `incident`: the incident: fields that merge, facts that are added, a state that is folded
//! - `patrol`: an officer's patrol: legs, check-ins, notes, track segments
//! - `wanted`: what a person wanted, in words
//!
//! Pure. Not here: who may take which step, deadlines, grids, posts, indicators.

mod category;
mod fact;
mod incident;
mod patrol;
mod step;
mod wanted;

pub use category::{Catalogue, Category, CategoryKind, NATIONAL_STANDARD};
pub use fact::{FOLD_SLACK, FactTimes};
pub use incident::{
    ConflictValue, ConflictView, IncidentIntent, IncidentKind, IncidentView, PhotoRole, PhotoView,
    Severity, StepView,
};
pub use patrol::{
    CheckInView, LegView, PatrolIntent, PatrolKind, PatrolNoteView, PatrolView, SegmentView,
    Transport,
};
pub use step::{State, Step};
pub use wanted::{Wanted, wanted};

use std::sync::Arc;

use gridbeat_document::{Kind, Kinds};

/// Returns the kinds of this crate, for a device or a relay to be opened with.
pub fn kinds() -> Kinds {
    Kinds::new([
        Arc::new(IncidentKind) as Arc<dyn Kind>,
        Arc::new(PatrolKind),
    ])
}
