//! What can be asked of a device, and what it answers.

use core::fmt;

use gridbeat_base::{ChangeHash, DeviceId, DocumentId, Position, Scope, WallTime};
use gridbeat_sync_protocol::Reason;

use crate::Saved;

/// Rows a query gives unless told otherwise: two screens of a phone.
pub const QUERY_LIMIT: usize = 50;

/// Which records to list, and in which order. Every condition must hold.
#[derive(Clone, Debug, PartialEq)]
pub struct Query {
    /// Only records of this kind.
    pub kind: Option<String>,
    /// Only records on which work is still to be done, or only others.
    pub is_open: Option<bool>,
    /// Only records in this state, in the kind's own word.
    pub status: Option<String>,
    /// Only records of this category.
    pub category: Option<String>,
    /// Only records in this scope.
    pub scope: Option<Scope>,
    /// Only records with these words: Chinese anywhere, others by their beginnings.
    pub text: Option<String>,
    /// Only records at a place, near this one.
    pub near: Option<Near>,
    /// Only records with something a person should settle.
    pub needs_attention: bool,
    /// The order; [`Order::NearestFirst`] needs `near`, and is the newest first without it.
    pub order: Order,
    /// Most records to give; default [`QUERY_LIMIT`].
    pub limit: usize,
    /// Only records that come after this one, for the next page of the same query.
    pub after: Option<DocumentId>,
}

impl Default for Query {
    fn default() -> Self {
        Self {
            kind: None,
            is_open: None,
            status: None,
            category: None,
            scope: None,
            text: None,
            near: None,
            needs_attention: false,
            order: Order::NewestFirst,
            limit: QUERY_LIMIT,
            after: None,
        }
    }
}

/// The order of a query's records.
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq)]
pub enum Order {
    /// By when it happened, the newest first.
    #[default]
    NewestFirst,
    /// By distance on the ground.
    NearestFirst,
}

/// Near a place.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Near {
    /// The place.
    pub position: Position,
    /// How far at most, in metres; `None` for any distance.
    pub within_m: Option<f64>,
}

/// A document as screens show it.
#[derive(Clone, PartialEq)] // Debug is by hand and leaves out what is personal
pub struct Record {
    /// The document.
    pub document: DocumentId,
    /// Its kind's name.
    pub kind: String,
    /// The scopes it is in.
    pub scopes: Vec<Scope>,
    /// Its state, in the kind's own word.
    pub status: String,
    /// Whether work is still to be done on it.
    pub is_open: bool,
    /// The kind's own class of it.
    pub category: String,
    /// Where it is.
    pub position: Option<Position>,
    /// When it happened.
    pub occurred: WallTime,
    /// How many things a person should settle.
    pub attention: u32,
    /// The whole view, as JSON of the kind's own shape.
    pub body: String,
    /// How far its changes made here have got.
    pub delivery: Delivery,
    /// How far it is from the place the query named, in metres.
    pub distance_m: Option<f64>,
}

impl fmt::Debug for Record {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Record")
            .field("document", &self.document)
            .field("kind", &self.kind)
            .field("status", &self.status)
            .field("delivery", &self.delivery)
            .finish_non_exhaustive()
    }
}

/// How far a document's changes made on this device have got.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Delivery {
    /// Some are only here.
    OnDevice,
    /// All are on their way; the relay has not called all of them durable.
    Sent,
    /// All are durable at the relay.
    Received {
        /// When the relay received the document's latest change; `None` if it has not told yet.
        at: Option<WallTime>,
    },
}

/// One change in a document's history.
#[derive(Clone, PartialEq, Eq)] // Debug is by hand and leaves out the intent
pub struct HistoryEntry {
    /// The change.
    pub change: ChangeHash,
    /// The device that made it.
    pub author: DeviceId,
    /// When it was saved, by its author's clock; known only of changes made here.
    pub saved: Option<WallTime>,
    /// When the relay received it; `None` until it is accepted.
    pub received: Option<WallTime>,
    /// What the person wanted, in the kind's encoding; known only of changes made here.
    pub intent: Option<Vec<u8>>,
}

impl fmt::Debug for HistoryEntry {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("HistoryEntry")
            .field("change", &self.change)
            .field("author", &self.author)
            .field("saved", &self.saved)
            .field("received", &self.received)
            .finish_non_exhaustive()
    }
}

/// Something the relay refused, kept until a person corrects or drops it, and in the history ever after.
#[derive(Clone, PartialEq, Eq)] // Debug is by hand and leaves out the intent
pub struct RefusedIntent {
    /// Its number in this file, for [`Device::correct_refused`](crate::Device::correct_refused) and
    /// [`Device::drop_refused`](crate::Device::drop_refused).
    pub id: i64,
    /// The document it was meant for.
    pub document: DocumentId,
    /// That document's kind.
    pub kind: String,
    /// The scope it was sent to.
    pub scope: String,
    /// The change it had become.
    pub change: ChangeHash,
    /// The device that made it.
    pub author: DeviceId,
    /// When it was saved.
    pub saved: WallTime,
    /// When the refusal came.
    pub refused: WallTime,
    /// What the person wanted, in the kind's encoding; `None` if it was made elsewhere.
    pub intent: Option<Vec<u8>>,
    /// Why it was refused.
    pub reason: Reason,
    /// What a person did about it; `None` while it is to be seen to.
    pub settled: Option<Settled>,
}

/// What a person did about something refused.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct Settled {
    /// When.
    pub at: WallTime,
    /// The corrected intent, if it was not dropped: its document and its change.
    pub replaced_by: Option<Saved>,
}

impl fmt::Debug for RefusedIntent {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("RefusedIntent")
            .field("id", &self.id)
            .field("document", &self.document)
            .field("code", &self.reason.code)
            .finish_non_exhaustive()
    }
}
