//! A store under test, and batches to fill it with, for the conformance suite.

use std::collections::{BTreeMap, BTreeSet};

use gridbeat_base::{ChangeHash, DeviceId, Digest, DocumentId, Scope, WallTime};
use gridbeat_relay_core::{
    Answer, Batch, Comparison, DocumentState, DocumentWrite, EntryKind, Greeting, Inventory,
    NewChange, NewEntry, Page, RecordFields, SnapshotPage, StoredDocument, Task,
};

use crate::Registry;

pub(super) fn scope(name: &str) -> Scope {
    Scope::new(name).expect("the name is short and printable")
}

pub(super) fn document(number: u8) -> DocumentId {
    DocumentId::from_bytes([number; 16])
}

pub(super) fn device(number: u8) -> DeviceId {
    DeviceId::from_bytes([number; 16])
}

pub(super) fn hash(number: u8) -> ChangeHash {
    ChangeHash::new([number; 32])
}

pub(super) fn term(number: u8, head: u8) -> Digest {
    Digest::of_document(document(number), &[hash(head)])
}

/// A change whose bytes and hash follow from its number.
pub(super) fn change(number: u8) -> NewChange {
    NewChange {
        hash: hash(number),
        bytes: vec![number; 100],
        author: device(1),
        brought_by: device(2),
        recovered: false,
    }
}

pub(super) fn state(number: u8, head: u8) -> DocumentState {
    DocumentState {
        heads: vec![hash(head)],
        term: term(number, head),
        cache: vec![head; 50],
        blobs: BTreeSet::new(),
        record: RecordFields {
            status: "reported".to_owned(),
            ..RecordFields::default()
        },
    }
}

/// A store under test.
pub(super) struct Bench {
    pub(super) store: Box<dyn Registry>,
}

impl Bench {
    pub(super) fn run(&mut self, task: Task) -> Answer {
        self.store.run(&task).expect("the store does the task")
    }

    pub(super) fn commit(&mut self, batch: Batch) -> BTreeMap<Scope, u64> {
        let Answer::Committed { first_seqs } = self.run(Task::Commit(Box::new(batch))) else {
            panic!("a commit is answered by what it committed");
        };
        first_seqs
    }

    pub(super) fn page(&mut self, name: &str, after: u64, bytes_max: u64) -> Page {
        let scope = scope(name);
        let task = Task::ReadFeed {
            scope,
            after,
            bytes_max,
        };
        let Answer::Page(page) = self.run(task) else {
            panic!("a read of the feed is answered by a page");
        };
        page
    }

    pub(super) fn snapshot(
        &mut self,
        name: &str,
        after: Option<u64>,
        bytes_max: u64,
    ) -> SnapshotPage {
        let scope = scope(name);
        let task = Task::ReadSnapshot {
            scope,
            after,
            bytes_max,
        };
        let Answer::Snapshot(page) = self.run(task) else {
            panic!("a read of a snapshot is answered by a page");
        };
        page
    }

    pub(super) fn inventory(&mut self, name: &str) -> Inventory {
        let task = Task::Inventory { scope: scope(name) };
        let Answer::Inventory(mut inventory) = self.run(task) else {
            panic!("an inventory is answered by one");
        };
        inventory.items.sort_unstable();
        inventory
    }

    pub(super) fn load(
        &mut self,
        numbers: &[u8],
        logs: &[u8],
        bytes_max: u64,
    ) -> Vec<Option<StoredDocument>> {
        let task = Task::Load {
            documents: numbers.iter().copied().map(document).collect(),
            devices: Vec::new(),
            authors: BTreeSet::new(),
            logs: logs.iter().copied().map(document).collect::<BTreeSet<_>>(),
            bytes_max,
            at: WallTime(0),
        };
        let Answer::Loaded { documents, .. } = self.run(task) else {
            panic!("a load is answered by documents");
        };
        documents.into_iter().map(|(_, it)| it).collect()
    }

    pub(super) fn compare(
        &mut self,
        name: &str,
        asked: &[(u8, &[u8])],
        bytes_max: u64,
    ) -> Comparison {
        let documents = asked.iter().map(|(number, hashes)| {
            let hashes = hashes.iter().copied().map(hash).collect();
            (document(*number), hashes)
        });
        let task = Task::Compare {
            scope: scope(name),
            documents: documents.collect(),
            bytes_max,
        };
        let Answer::Compared(comparison) = self.run(task) else {
            panic!("a comparison is answered by one");
        };
        comparison
    }

    pub(super) fn greet(&mut self, cursors: &[(&str, u64)]) -> Greeting {
        let cursors = cursors.iter().map(|(name, cursor)| (scope(name), *cursor));
        let task = Task::Greet {
            device: device(1),
            cursors: cursors.collect(),
        };
        let Answer::Greeting(greeting) = self.run(task) else {
            panic!("a greeting is answered by one");
        };
        greeting
    }
}

/// A batch of a new document with changes, in scopes that it enters.
pub(super) fn creation(number: u8, scopes: &[&str], changes: &[u8]) -> Batch {
    let head = changes.last().copied().unwrap_or(0);
    let mut entries = vec![NewEntry {
        document: document(number),
        what: EntryKind::Attach { upto: 0 },
        delta: term(number, 0),
    }];
    entries.extend(change_entries(number, 0, changes, 1));
    Batch {
        received: WallTime(7_000),
        documents: BTreeMap::from([(
            document(number),
            DocumentWrite {
                kind: "note".to_owned(),
                schema_version: 3,
                expected: None,
                changes: changes.iter().copied().map(change).collect(),
                attach: scopes.iter().map(|name| scope(name)).collect(),
                detach: Vec::new(),
                state: Some(state(number, head)),
            },
        )]),
        scopes: scopes
            .iter()
            .map(|name| (scope(name), entries.clone()))
            .collect(),
        ..Batch::default()
    }
}

/// A batch of changes to a document that has `count` changes, the last of them `before`.
pub(super) fn edit(
    number: u8,
    version: u64,
    scopes: &[&str],
    before: u8,
    count: u64,
    new: &[u8],
) -> Batch {
    let head = new.last().copied().unwrap_or(before);
    let mut batch = creation(number, scopes, new);
    let entries: Vec<_> = change_entries(number, before, new, count + 1).collect();
    for write in batch.documents.values_mut() {
        write.expected = Some(version);
        write.attach.clear();
        write.state = Some(state(number, head));
    }
    for old in batch.scopes.values_mut() {
        old.clone_from(&entries);
    }
    batch
}

pub(super) fn change_entries(
    number: u8,
    mut head: u8,
    changes: &[u8],
    first: u64,
) -> impl Iterator<Item = NewEntry> {
    (first..).zip(changes).map(move |(n, change)| {
        let delta = term(number, *change).minus(term(number, head));
        head = *change;
        NewEntry {
            document: document(number),
            what: EntryKind::Change { n },
            delta,
        }
    })
}
