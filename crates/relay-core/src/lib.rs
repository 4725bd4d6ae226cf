//! The relay's brain: sessions, admission, sequencing, fan-out. No I/O.
//!
//! - `task`: what is asked of storage, and what storage answers
//! - `batch`: what one admission cycle makes durable, in one transaction
//! - `record`: a document as a row, written in the commit of the change

mod batch;
mod record;
mod task;

pub use batch::{
    Batch, DocumentState, DocumentWrite, EntryKind, Mark, NewChange, NewEntry, RefusedChange,
};
pub use record::{RecordFields, RecordRow};
pub use task::{
    Answer, ComparedWith, Comparison, Greeting, Inventory, LoggedChange, Page, Right, Rights,
    ScopePosition, StoreFault, StoredChange, StoredDocument, StoredEntry, Task, TaskId,
};
