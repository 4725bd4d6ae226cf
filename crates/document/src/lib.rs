//! The one door to Automerge: kinds of documents, and how one is made, edited, merged and read.
//!
//! - `kind`: the trait a kind implements, and the row it projects to
//! - `genesis`: the deterministic first change of every document of a kind
//! - `document`: one loaded document: genesis, load, rebuild, edit, view, save
//! - `edit`: the edits of one user action
//! - `view`: a document's content as plain values, conflicts included
//! - `change` and `chunk`: one change as it is stored and sent, and how its bytes are read
//! - `gate`: the one function through which every change from outside passes; what one says of itself
//! - `limits`: the sizes a change and a document may have
//! - `contain`: Automerge's panics on bytes of others, caught
//! - `read`, `actor`: from Automerge to plain values; the name a device writes under
//!
//! Pure: the same calls give the same changes on every machine. Nothing outside this crate names
//! Automerge.

mod actor;
mod change;
mod chunk;
mod contain;
mod document;
mod edit;
pub mod gate;
mod genesis;
mod kind;
mod limits;
mod read;
mod view;

pub use actor::Actor;
pub use change::{Change, advance_heads};
pub use chunk::ParseError;
pub use contain::is_contained;
pub use document::{Document, LoadError};
pub use edit::{COUNTER_STEP_MAX, Edit, EditError, Problem, Scalar};
pub use gate::{Incoming, Outline, Rule, Side, Verdict};
pub use genesis::{Skeleton, genesis_hash};
pub use kind::{Author, IntentError, Kind, Kinds, Projection, Refusal, Stamp, Words};
pub use limits::{
    CHANGE_BYTES_MAX, CHANGE_OPS_MAX, DOCUMENT_BYTES_MAX, DOCUMENT_CHANGES_MAX, MISSING_NAMED_MAX,
    NESTING_MAX,
};
pub use view::{Field, Origin, Provenance, Value, View};
