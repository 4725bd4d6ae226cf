//! A document as a row: what consoles query, written in the commit of the change.
//!
//! The row is the kind's own projection; the relay adds the kind's name and the scopes. Not here:
//! searching by words and by place, which a console brings with itself.

use gridbeat_base::{DocumentId, Position, Scope, WallTime};
use gridbeat_document::Projection;

/// What a kind's projection says of a document.
#[derive(Clone, Debug, Default, Eq, PartialEq)]
pub struct RecordFields {
    /// The document's state, in the kind's own word.
    pub status: String,
    /// Whether work is still to be done on it.
    pub is_open: bool,
    /// The kind's own class of the document; may be empty.
    pub category: String,
    /// Where it is.
    pub position: Option<Position>,
    /// When it happened.
    pub occurred: WallTime,
    /// The words to find it by.
    pub text: String,
    /// How many things a person should settle.
    pub attention: u32,
    /// The whole view, as JSON of the kind's own shape.
    pub body: String,
}

impl From<Projection> for RecordFields {
    fn from(projection: Projection) -> Self {
        let Projection {
            status,
            is_open,
            category,
            position,
            occurred,
            text,
            attention,
            body,
        } = projection;
        Self {
            status,
            is_open,
            category,
            position,
            occurred,
            text,
            attention,
            body,
        }
    }
}

/// One row of the relay's records.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct RecordRow {
    /// The document.
    pub document: DocumentId,
    /// Its kind's name.
    pub kind: String,
    /// The scopes it is in, sorted.
    pub scopes: Vec<Scope>,
    /// What the kind says of it.
    pub fields: RecordFields,
    /// When the relay received the last change to it.
    pub updated: WallTime,
}
