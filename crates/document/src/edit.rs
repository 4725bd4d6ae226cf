//! The edits of one user action, and why an action did not become a change.

use automerge::transaction::{Transactable, Transaction};
use automerge::{AutomergeError, ObjId, ObjType, Prop, ROOT, ReadDoc, ScalarValue, Value};
use gridbeat_base::Remedy;

use crate::{CHANGE_OPS_MAX, IntentError};

/// A value that is replaced as a whole.
#[derive(Clone, Debug, PartialEq)]
pub enum Scalar {
    /// Nothing.
    Null,
    /// Yes or no.
    Bool(bool),
    /// A signed number.
    Int(i64),
    /// An unsigned number.
    Uint(u64),
    /// A floating-point number; must be finite.
    F64(f64),
    /// A string.
    Str(String),
    /// Bytes, such as a fact in its kind's own encoding.
    Bytes(Vec<u8>),
    /// Milliseconds since 1970.
    Time(i64),
}

macro_rules! scalar_from {
    ($($from:ty => $make:expr,)*) => {
        $(impl From<$from> for Scalar {
            fn from(value: $from) -> Self {
                $make(value)
            }
        })*
    };
}

scalar_from! {
    bool => Scalar::Bool,
    i32 => |number| Scalar::Int(i64::from(number)),
    i64 => Scalar::Int,
    u32 => |number| Scalar::Uint(u64::from(number)),
    u64 => Scalar::Uint,
    f64 => Scalar::F64,
    &str => |text: &str| Scalar::Str(text.to_owned()),
    String => Scalar::Str,
    &[u8] => |bytes: &[u8]| Scalar::Bytes(bytes.to_vec()),
    Vec<u8> => Scalar::Bytes,
    gridbeat_base::WallTime => |time: gridbeat_base::WallTime| Scalar::Time(time.millis()),
}

impl Scalar {
    fn into_automerge(self) -> ScalarValue {
        match self {
            Self::Null => ScalarValue::Null,
            Self::Bool(value) => ScalarValue::Boolean(value),
            Self::Int(value) => ScalarValue::Int(value),
            Self::Uint(value) => ScalarValue::Uint(value),
            Self::F64(value) => ScalarValue::F64(value),
            Self::Str(value) => ScalarValue::Str(value.into()),
            Self::Bytes(value) => ScalarValue::Bytes(value),
            Self::Time(value) => ScalarValue::Timestamp(value),
        }
    }
}

/// The edits of one user action, made by [`Kind::apply`](crate::Kind::apply).
///
/// A path names each map from the root down, then the field. Containers are never made, replaced
/// or deleted here: [`Kind::genesis`](crate::Kind::genesis) made them all. The first edit that cannot be done is
/// remembered, all later ones are skipped, and the whole action fails with [`EditError::Path`].
/// Putting what is already there adds nothing.
#[derive(Debug)]
pub struct Edit<'a> {
    tx: Transaction<'a>,
    failed: Option<EditError>,
}

impl<'a> Edit<'a> {
    pub(crate) const fn new(tx: Transaction<'a>) -> Self {
        Self { tx, failed: None }
    }

    /// Ends the action: the open transaction if it holds something, to be committed.
    pub(crate) fn finish(self) -> Result<Transaction<'a>, EditError> {
        if let Some(error) = self.failed {
            return Err(error);
        }
        match self.tx.pending_ops() {
            0 => Err(EditError::NothingToDo),
            ops if ops > CHANGE_OPS_MAX => Err(EditError::TooManyOperations { ops }),
            _ => Ok(self.tx),
        }
    }

    /// Puts a value into a map, in place of what the field held.
    pub fn put(&mut self, path: &[&str], value: impl Into<Scalar>) {
        let value = value.into();
        self.attempt(path, |tx| {
            let (map, key) = field(tx, path)?;
            refuse_container(tx, &map, key)?;
            tx.put(&map, key, finite(value)?).map_err(Problem::from)
        });
    }

    /// Deletes a field of a map. Deleting what is not there adds nothing.
    pub fn delete(&mut self, path: &[&str]) {
        self.attempt(path, |tx| {
            let (map, key) = field(tx, path)?;
            refuse_container(tx, &map, key)?;
            if tx.get(&map, key)?.is_some() {
                tx.delete(&map, key)?;
            }
            Ok(())
        });
    }

    /// Makes a text read `text`, by the fewest insertions and deletions of whole letters, so that
    /// it merges with what others wrote elsewhere in it.
    pub fn update_text(&mut self, path: &[&str], text: &str) {
        self.attempt(path, |tx| {
            let object = container(tx, path, ObjType::Text)?;
            tx.update_text(&object, text).map_err(Problem::from)
        });
    }

    /// Adds to a counter. Adding zero adds nothing.
    pub fn increment(&mut self, path: &[&str], by: i64) {
        self.attempt(path, |tx| {
            let (map, key) = field(tx, path)?;
            match tx.get(&map, key)? {
                Some((Value::Scalar(value), _)) if value.is_counter() => {}
                Some(_) | None => return Err(Problem::NotA("counter")),
            }
            if by.unsigned_abs() > COUNTER_STEP_MAX {
                return Err(Problem::StepTooBig);
            }
            if by != 0 {
                tx.increment(&map, key, by)?;
            }
            Ok(())
        });
    }

    /// Inserts a value into a list, before the one at `index`.
    pub fn insert(&mut self, path: &[&str], index: usize, value: impl Into<Scalar>) {
        let value = value.into();
        self.attempt(path, |tx| {
            let list = container(tx, path, ObjType::List)?;
            tx.insert(&list, index, finite(value)?)
                .map_err(Problem::from)
        });
    }

    /// Adds a value at the end of a list.
    pub fn push(&mut self, path: &[&str], value: impl Into<Scalar>) {
        let value = value.into();
        self.attempt(path, |tx| {
            let list = container(tx, path, ObjType::List)?;
            let end = tx.length(&list);
            tx.insert(&list, end, finite(value)?).map_err(Problem::from)
        });
    }

    /// Takes the value at `index` out of a list.
    pub fn remove(&mut self, path: &[&str], index: usize) {
        self.attempt(path, |tx| {
            let list = container(tx, path, ObjType::List)?;
            tx.delete(&list, index).map_err(Problem::from)
        });
    }

    fn attempt(
        &mut self,
        path: &[&str],
        edit: impl FnOnce(&mut Transaction<'a>) -> Result<(), Problem>,
    ) {
        if self.failed.is_some() {
            return;
        }
        if let Err(problem) = edit(&mut self.tx) {
            self.failed = Some(EditError::Path {
                path: path.join("/"),
                problem,
            });
        }
    }
}

/// Furthest that one edit may move a counter.
///
/// 2³² times [`CHANGE_OPS_MAX`] times [`DOCUMENT_CHANGES_MAX`](crate::DOCUMENT_CHANGES_MAX) stays far inside 64 bits, so no sum of
/// accepted steps can overflow.
pub const COUNTER_STEP_MAX: u64 = 1 << 32;

/// Finds the map and the key that a path names.
fn field<'p>(tx: &Transaction<'_>, path: &[&'p str]) -> Result<(ObjId, &'p str), Problem> {
    let (key, steps) = path.split_last().ok_or(Problem::NotA("field"))?;
    let mut map = ROOT;
    for step in steps {
        map = object(tx, &map, step, ObjType::Map)?;
    }
    Ok((map, key))
}

fn container(tx: &Transaction<'_>, path: &[&str], sort: ObjType) -> Result<ObjId, Problem> {
    let (map, key) = field(tx, path)?;
    object(tx, &map, key, sort)
}

fn object(tx: &Transaction<'_>, map: &ObjId, key: &str, sort: ObjType) -> Result<ObjId, Problem> {
    match tx.get(map, key)? {
        Some((Value::Object(found), object)) if found == sort => Ok(object),
        Some(_) | None => Err(Problem::NotA(match sort {
            ObjType::Map | ObjType::Table => "map",
            ObjType::List => "list",
            ObjType::Text => "text",
        })),
    }
}

fn refuse_container(tx: &Transaction<'_>, map: &ObjId, key: &str) -> Result<(), Problem> {
    match tx.get(map, Prop::from(key))? {
        Some((Value::Object(_), _)) => Err(Problem::Container),
        Some((Value::Scalar(value), _)) if value.is_counter() => Err(Problem::Container),
        Some(_) | None => Ok(()),
    }
}

fn finite(value: Scalar) -> Result<ScalarValue, Problem> {
    if let Scalar::F64(number) = value
        && !number.is_finite()
    {
        return Err(Problem::NotFinite);
    }
    Ok(value.into_automerge())
}

/// Why an action did not become a change. The document is unchanged.
#[derive(Clone, Debug, Eq, PartialEq, thiserror::Error)]
#[non_exhaustive]
pub enum EditError {
    /// The kind did not turn the intent into edits.
    #[error("intent was not carried out")]
    Intent(#[from] IntentError),
    /// The document already is what the intent asks for.
    #[error("nothing to do")]
    NothingToDo,
    /// The kind made an edit that the document's layout does not allow: a mistake in the kind.
    #[error("edit of {path:?} cannot be done")]
    Path {
        /// The place, steps joined by `/`.
        path: String,
        /// What is wrong there.
        #[source]
        problem: Problem,
    },
    /// The document has as many changes or bytes as it may have; go on in a new one.
    #[error("document is full: {changes} changes, {size_bytes} bytes")]
    Full {
        /// How many changes it has.
        changes: usize,
        /// About how many bytes it takes when saved.
        size_bytes: usize,
    },
    /// The change would take more bytes than one may.
    #[error("change would take {size_bytes} bytes")]
    TooBig {
        /// How many bytes it would take.
        size_bytes: usize,
    },
    /// The change would have more operations than one may; a letter of text is one.
    #[error("change would have {ops} operations")]
    TooManyOperations {
        /// How many operations it would have.
        ops: usize,
    },
}

impl EditError {
    /// Returns what the caller should do about this error.
    pub const fn remedy(&self) -> Remedy {
        match self {
            Self::Intent(error) => error.remedy(),
            Self::NothingToDo
            | Self::Full { .. }
            | Self::TooBig { .. }
            | Self::TooManyOperations { .. } => Remedy::FixInput,
            Self::Path { .. } => Remedy::Report,
        }
    }
}

/// What is wrong with an edit at its place.
#[derive(Clone, Debug, Eq, PartialEq, thiserror::Error)]
#[non_exhaustive]
pub enum Problem {
    /// Something else, or nothing, is where a container or a field must be.
    #[error("there is no {0}")]
    NotA(&'static str),
    /// A container or a counter would be replaced or deleted.
    #[error("a container stays what it is")]
    Container,
    /// A number is infinite or not a number.
    #[error("a number must be finite")]
    NotFinite,
    /// A counter would move further than [`COUNTER_STEP_MAX`].
    #[error("a counter moves by at most 2^32 in one edit")]
    StepTooBig,
    /// Automerge would not do it: an index past the end, for instance.
    #[error("automerge: {0}")]
    Automerge(String),
}

impl From<AutomergeError> for Problem {
    fn from(error: AutomergeError) -> Self {
        Self::Automerge(error.to_string())
    }
}
