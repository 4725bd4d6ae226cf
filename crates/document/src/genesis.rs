//! The deterministic first change of every document of a kind and schema version.
//!
//! Two devices that lay out the same kind write byte-identical changes, so their containers are
//! one and the same, and nothing written into one hides what was written into the other. A genesis
//! change never travels: both sides make it.

use std::sync::Arc;

use automerge::transaction::{CommitOptions, Transactable, Transaction};
use automerge::{Automerge, ObjId, ObjType, ROOT, ReadDoc, ScalarValue, Value};
use gridbeat_base::ChangeHash;
use sha2::{Digest as _, Sha256};

use crate::change::hash_of;
use crate::{Actor, Kind};

/// Begins the text whose hash is the actor of a genesis change.
const ACTOR_PREFIX: &[u8] = b"gridbeat genesis";

/// Returns the name of the first change of every document of this kind and schema version.
///
/// It is the one head of a document that nobody has edited.
pub fn genesis_hash(kind: &Arc<dyn Kind>, schema_version: u16) -> ChangeHash {
    make(kind, schema_version).1
}

/// The containers of a new document, laid out by [`Kind::genesis`].
///
/// A path names each map from the root down; maps on the way that are not there yet are made.
/// Scalars need no laying out: an [`Edit`](crate::Edit) puts them into these containers.
#[derive(Debug)]
pub struct Skeleton<'a> {
    tx: Transaction<'a>,
}

impl Skeleton<'_> {
    /// Makes a map: named fields, or entries keyed by random ids.
    ///
    /// # Panics
    ///
    /// As every method here, if the path is empty or runs into something that is not a map: a
    /// mistake in the kind that shows the first time it is used.
    pub fn map(&mut self, path: &[&str]) {
        let (parent, key) = self.parent(path);
        self.descend(&parent, key);
    }

    /// Makes a text that merges letter by letter.
    ///
    /// # Panics
    ///
    /// As [`Self::map`].
    pub fn text(&mut self, path: &[&str]) {
        self.container(path, ObjType::Text);
    }

    /// Makes a list.
    ///
    /// # Panics
    ///
    /// As [`Self::map`].
    pub fn list(&mut self, path: &[&str]) {
        self.container(path, ObjType::List);
    }

    /// Makes a counter, at zero.
    ///
    /// # Panics
    ///
    /// As [`Self::map`].
    pub fn counter(&mut self, path: &[&str]) {
        let (parent, key) = self.vacant(path);
        self.tx
            .put(&parent, key, ScalarValue::counter(0))
            .expect("the parent is a map and the key is free");
    }

    fn commit(self, options: CommitOptions) -> Option<automerge::ChangeHash> {
        self.tx.commit_with(options).0
    }

    fn container(&mut self, path: &[&str], sort: ObjType) {
        let (parent, key) = self.vacant(path);
        self.tx
            .put_object(&parent, key, sort)
            .expect("the parent is a map and the key is free");
    }

    fn vacant<'p>(&mut self, path: &[&'p str]) -> (ObjId, &'p str) {
        let (parent, key) = self.parent(path);
        let taken = self.tx.get(&parent, key).expect("the parent is a map");
        assert!(taken.is_none(), "a skeleton lays out {path:?} twice");
        (parent, key)
    }

    fn parent<'p>(&mut self, path: &[&'p str]) -> (ObjId, &'p str) {
        let (key, steps) = path.split_last().expect("a skeleton's path names a field");
        let mut map = ROOT;
        for step in steps {
            map = self.descend(&map, step);
        }
        (map, key)
    }

    fn descend(&mut self, map: &ObjId, key: &str) -> ObjId {
        match self.tx.get(map, key).expect("the parent is a map") {
            Some((Value::Object(ObjType::Map), inner)) => inner,
            Some(_) => panic!("a skeleton's path runs through {key:?}, which is not a map"),
            None => self
                .tx
                .put_object(map, key, ObjType::Map)
                .expect("the parent is a map and the key is free"),
        }
    }
}

/// Makes the document that holds nothing but the genesis change, and that change's name.
pub(crate) fn make(kind: &Arc<dyn Kind>, schema_version: u16) -> (Automerge, ChangeHash) {
    let mut automerge =
        Automerge::new().with_actor(actor(kind.name(), schema_version).to_automerge());
    let options = || CommitOptions::default().with_time(0);
    let mut skeleton = Skeleton {
        tx: automerge.transaction(),
    };
    kind.genesis(schema_version, &mut skeleton);
    let hash = skeleton.commit(options());
    // A kind without containers still has a first change, or documents would have no head.
    let hash = hash.unwrap_or_else(|| automerge.empty_commit(options()));
    (automerge, hash_of(hash))
}

/// Returns the actor of a genesis change: the first 16 bytes of a SHA-256.
pub(crate) fn actor(name: &str, schema_version: u16) -> Actor {
    let hash: [u8; 32] = Sha256::new()
        .chain_update(ACTOR_PREFIX)
        .chain_update(name.as_bytes())
        .chain_update(schema_version.to_be_bytes())
        .finalize()
        .into();
    let mut actor = [0; 16];
    actor.copy_from_slice(&hash[..16]);
    Actor::from_bytes(actor)
}
