//! What a kind of document is: the one trait an integrator implements.
//!
//! The engine moves documents of registered kinds and knows nothing else about them. A kind says
//! how an empty document looks, how what a person wanted becomes edits, how a document is shown as
//! a row, and what a change may do. Not here: storage, links, or anything of a trade.

use core::fmt;
use std::collections::{BTreeMap, BTreeSet};
use std::sync::{Arc, OnceLock};

use gridbeat_base::{BlobHash, DeviceId, Hlc, Lane, Position, Remedy, Verb, Verbs, WallTime};

use crate::{Document, Edit, Skeleton, View};

/// One kind of document. All methods are pure: same input, same output, on every platform.
///
/// How to lay a kind out, so that it merges well:
///
/// - **What happened is a fact:** an entry in a map, keyed by the 32 hexadecimal digits of
///   [`Stamp::fact`], holding one [`Scalar::Bytes`](crate::Scalar::Bytes) in the kind's own encoding, never changed afterwards.
///   Facts of two devices never meet; the document's state is folded from all of them, in
///   [`Kind::project`], in the order of the stamps that the kind stores in them.
/// - **What is one value at a time is a field:** an entry of a map. Concurrent values are all kept
///   and shown as [`Field::conflicts`](crate::Field::conflicts) until someone puts one.
/// - **What people write is a text,** what they count a counter.
///
/// ```
/// # use gridbeat_base::{DeviceId, Hlc, WallTime};
/// use std::sync::Arc;
///
/// use gridbeat_document::{
///     Actor, Author, Document, Edit, IntentError, Kind, Projection, Provenance, Refusal, Skeleton, Stamp,
///     View, Words,
/// };
///
/// /// A tree in a street: where it stands, and each time somebody watered it.
/// #[derive(Debug)]
/// struct Tree;
///
/// impl Kind for Tree {
///     fn name(&self) -> &'static str {
///         "tree"
///     }
///
///     fn schema_version(&self) -> u16 {
///         1
///     }
///
///     fn genesis(&self, _schema_version: u16, skeleton: &mut Skeleton<'_>) {
///         skeleton.map(&["fields"]);
///         skeleton.map(&["facts"]);
///     }
///
///     fn apply(
///         &self,
///         intent: &[u8],
///         stamp: &Stamp,
///         _before: &View,
///         edit: &mut Edit<'_>,
///     ) -> Result<(), IntentError> {
///         match intent {
///             b"water" => {
///                 let id: String = stamp.fact.iter().map(|byte| format!("{byte:02x}")).collect();
///                 edit.put(&["facts", &id], stamp.hlc.bits().to_be_bytes().to_vec());
///             }
///             street => {
///                 let street = str::from_utf8(street).map_err(|_| IntentError::Unreadable {
///                     reason: "a street is UTF-8".into(),
///                 })?;
///                 edit.put(&["fields", "street"], street);
///             }
///         }
///         Ok(())
///     }
///
///     fn project(&self, view: &View) -> Projection {
///         Projection {
///             text: view.text(&["fields", "street"]).to_owned(),
///             status: format!("watered {} times", view.entries(&["facts"]).count()),
///             attention: view
///                 .entries(&["fields"])
///                 .map(|(_, field)| u32::from(!field.conflicts.is_empty()))
///                 .sum(),
///             ..Projection::default()
///         }
///     }
///
///     fn admit(&self, before: &View, after: &View, _: &Author) -> Result<(), Refusal> {
///         for (id, fact) in before.entries(&["facts"]) {
///             if after.field(&["facts", id]) != Some(fact) {
///                 return Err(Refusal {
///                     rule: "facts_stay",
///                     words: Words {
///                         en: "what happened cannot be changed",
///                         zh: "已发生的事实不能更改",
///                     },
///                 });
///             }
///         }
///         Ok(())
///     }
/// }
///
/// # fn main() -> Result<(), Box<dyn std::error::Error>> {
/// let kind: Arc<dyn Kind> = Arc::new(Tree);
/// let nothing_known = |_: &_| Provenance::default();
/// # let stamp = Stamp {
/// #     hlc: Hlc::at(WallTime(1_000)),
/// #     wall: WallTime(1_000),
/// #     relay_offset_ms: None,
/// #     device: DeviceId::from_bytes([1; 16]),
/// #     fact: [7; 16],
/// # };
/// # let actor = Actor::from_bytes([1; 16]);
/// let mut document = Document::genesis(&kind, kind.schema_version());
/// let planted = document.edit(actor, "中山路".as_bytes(), &stamp, &nothing_known)?;
/// let watered = document.edit(actor, b"water", &stamp, &nothing_known)?;
/// assert_eq!(watered.deps, [planted.hash]);
///
/// let row = kind.project(&document.view(&nothing_known));
/// assert_eq!(row.text, "中山路");
/// assert_eq!(row.status, "watered 1 times");
/// # Ok(())
/// # }
/// ```
pub trait Kind: fmt::Debug + Send + Sync + 'static {
    /// Returns the kind's name, 1 to 32 bytes of lower-case ASCII, the same for ever.
    fn name(&self) -> &'static str;

    /// Returns the schema version that new documents are made with, from 1.
    fn schema_version(&self) -> u16;

    /// Returns the lane its changes travel in.
    fn lane(&self) -> Lane {
        Lane::Record
    }

    /// Lays out an empty document: every container a document of `schema_version` will ever have.
    ///
    /// Called for each schema version this program can read. Must give the same calls for the same
    /// version for ever: it becomes the shared first change of all such documents.
    fn genesis(&self, schema_version: u16, skeleton: &mut Skeleton<'_>);

    /// Turns what a person wanted into edits: all of them become one change, or none.
    ///
    /// `intent` is in the kind's own encoding (JSON by custom); it is stored beside the change, so that
    /// it can be replayed on a rebuilt document. A replay has the first call's `stamp`.
    ///
    /// # Errors
    ///
    /// [`IntentError`] if the intent cannot be read or may not be done; the document is then unchanged.
    fn apply(
        &self,
        intent: &[u8],
        stamp: &Stamp,
        before: &View,
        edit: &mut Edit<'_>,
    ) -> Result<(), IntentError>;

    /// Shows a document as the row that screens query. Must not fail on any content: what it cannot
    /// read it counts in [`Projection::attention`].
    fn project(&self, view: &View) -> Projection;

    /// Returns the blobs (photos, tracks) that a document refers to. Must not fail on any content.
    ///
    /// As long as the kind does not say: none. Blobs travel to where documents do that refer to them, are given to
    /// those who may read such a document, and go where none is left.
    fn blobs(&self, _view: &View) -> BTreeSet<BlobHash> {
        BTreeSet::new()
    }

    /// Returns what a change takes: the author must hold all of these verbs, or it is refused.
    ///
    /// As long as the kind does not say: [`Verb::Report`] to begin a document, [`Verb::Edit`] for whatever comes
    /// later. A change of which nothing is to be seen takes [`Verb::Edit`], whatever is returned here.
    ///
    /// A relay asks this of what devices send, and a device that knows its verbs of what it is to save. Changes of an
    /// author who lacks any of [`Verbs::WORK`] are asked about one by one, so that none hides in another.
    fn needs(&self, before: &View, _after: &View) -> Verbs {
        Verbs::of(&[if before.is_blank() {
            Verb::Report
        } else {
            Verb::Edit
        }])
    }

    /// Decides whether a foreign change may do what it did, from the document before and after it.
    ///
    /// A relay asks this of what devices send, once [`Kind::needs`] has been held against the author's verbs. Consecutive changes of one author may be asked about at
    /// once. The form is sound already: containers are as laid out, values are scalars.
    ///
    /// # Errors
    ///
    /// [`Refusal`] with the rule it broke.
    fn admit(&self, before: &View, after: &View, author: &Author) -> Result<(), Refusal>;
}

/// Who made a change, and what that author may do where it was offered.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct Author {
    /// The device.
    pub device: DeviceId,
    /// Its verbs in the scope, at the moment of judging.
    pub verbs: Verbs,
}

impl Author {
    /// Makes an author whose right somebody else has decided on: one with every verb.
    pub const fn decided(device: DeviceId) -> Self {
        Self {
            device,
            verbs: Verbs::ALL,
        }
    }
}

/// The circumstances of one user action, handed to [`Kind::apply`].
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct Stamp {
    /// The place of this action in the order of all.
    pub hlc: Hlc,
    /// This device's wall clock at the action, as it was.
    pub wall: WallTime,
    /// Relay's clock minus this device's, in milliseconds, when it was last measured; `None` before.
    pub relay_offset_ms: Option<i64>,
    /// The device that acts.
    pub device: DeviceId,
    /// 16 random bytes for this action alone: the id of the fact it adds.
    pub fact: [u8; 16],
}

/// A document as screens query it. Made by [`Kind::project`], stored in the commit of the change.
#[derive(Clone, Debug, Default, Eq, PartialEq)]
pub struct Projection {
    /// The document's state, in the kind's own word; queried by equality.
    pub status: String,
    /// Whether work is still to be done on it.
    pub is_open: bool,
    /// The kind's own class of the document (a category code); queried by equality. May be empty.
    pub category: String,
    /// Where it is, for "near me".
    pub position: Option<Position>,
    /// When it happened, for people and for sorting.
    pub occurred: WallTime,
    /// The words to find it by, in any language.
    pub text: String,
    /// How many things a person should settle: concurrent values, illegal or unreadable facts.
    pub attention: u32,
    /// The whole view for a screen, as JSON of the kind's own shape.
    pub body: String,
}

/// The kinds a program knows, by name. Cheap to clone.
#[derive(Clone, Debug, Default)]
pub struct Kinds(Arc<BTreeMap<&'static str, Registered>>);

/// A kind that a program knows.
#[derive(Debug)]
struct Registered {
    kind: Arc<dyn Kind>,
    /// A document that nobody has edited yet, for each schema version from 1: made at the first question.
    blank: Vec<OnceLock<Document>>,
}

impl Kinds {
    /// Registers kinds. Of two with one name the later counts.
    pub fn new(kinds: impl IntoIterator<Item = Arc<dyn Kind>>) -> Self {
        let registered = |kind: Arc<dyn Kind>| {
            let versions = 1..=kind.schema_version();
            let blank = versions.map(|_| OnceLock::new()).collect();
            (kind.name(), Registered { kind, blank })
        };
        Self(Arc::new(kinds.into_iter().map(registered).collect()))
    }

    /// Finds a kind by name.
    pub fn find(&self, name: &str) -> Option<&Arc<dyn Kind>> {
        self.0.get(name).map(|registered| &registered.kind)
    }

    /// Begins a document as [`Document::genesis`] does, which is made once and copied then; `None` if the kind, or
    /// the schema version, is not known.
    pub fn begin(&self, name: &str, schema_version: u16) -> Option<Document> {
        let Registered { kind, blank } = self.0.get(name)?;
        let blank = blank.get(usize::from(schema_version).checked_sub(1)?)?;
        let blank = blank.get_or_init(|| Document::genesis(kind, schema_version));
        Some(blank.clone())
    }

    /// Lists the kinds in order of name.
    pub fn iter(&self) -> impl Iterator<Item = &Arc<dyn Kind>> {
        self.0.values().map(|registered| &registered.kind)
    }
}

/// Why a kind did not turn an intent into edits. The document is unchanged.
#[derive(Clone, Debug, Eq, PartialEq, thiserror::Error)]
#[non_exhaustive]
pub enum IntentError {
    /// The intent is not in the kind's encoding, or misses something.
    #[error("intent cannot be read: {reason}")]
    Unreadable {
        /// What is wrong with it, in words for an integrator. Never what it says: errors are logged.
        reason: String,
    },
    /// The intent asks for something the kind does not allow in the document's state.
    #[error("not allowed: {rule}")]
    NotAllowed {
        /// The rule it breaks: a stable code, lower-case with underscores.
        rule: &'static str,
        /// The reason in words for a person, in English and Chinese.
        words: Words,
    },
}

impl IntentError {
    /// Returns what the caller should do about this error.
    pub const fn remedy(&self) -> Remedy {
        Remedy::FixInput
    }
}

/// Why a kind refused a foreign change.
#[derive(Clone, Debug, Eq, PartialEq, thiserror::Error)]
#[error("refused: {rule}")]
pub struct Refusal {
    /// The rule it broke: a stable code, lower-case with underscores.
    pub rule: &'static str,
    /// The reason in words for a person, in English and Chinese.
    pub words: Words,
}

impl Refusal {
    /// Returns what the caller should do: the author must make another change.
    pub fn remedy(&self) -> Remedy {
        Remedy::FixInput
    }
}

/// A sentence in both languages of the product.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct Words {
    /// English.
    pub en: &'static str,
    /// Simplified Chinese.
    pub zh: &'static str,
}
