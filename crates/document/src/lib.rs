//! The one door to Automerge: kinds of documents, and how one is made, edited, merged and read.
//!
//! - [`kind`]: the trait a kind implements, and the row it projects to
//! - [`view`]: a document's content as plain values, conflicts included

mod kind;
mod view;

pub use kind::{IntentError, Kind, Kinds, Projection, Refusal, Stamp, Words};
pub use view::{Field, Origin, Provenance, Value, View};

/// The containers of a new document, laid out by [`Kind::genesis`].
#[derive(Debug)]
pub struct Skeleton<'a>(core::marker::PhantomData<&'a ()>);

/// The edits of one user action, made by [`Kind::apply`].
#[derive(Debug)]
pub struct Edit<'a>(core::marker::PhantomData<&'a ()>);
