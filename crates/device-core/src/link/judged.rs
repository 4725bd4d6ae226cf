//! Documents that come whole pass the gate beside each other, on the cores there are.
//!
//! The gate is what a first sync waits for, and documents do not touch each other: its verdicts are the same on any
//! thread. All else, the file above all, stays on the thread that calls.

use std::collections::BTreeSet;
use std::thread;

use gridbeat_document::{Document, Incoming, Kinds, Provenance, Side, Verdict, gate};
use gridbeat_sync_protocol::SnapshotDocument;
use rusqlite::Connection;

use super::feed;
use crate::StorageError;
use crate::store::documents;

/// Threads at most: the fast cores of a phone.
const THREADS_MAX: usize = 4;

/// Documents at least for each thread: to begin a thread takes a fraction of what one document of 8 changes takes.
const DOCUMENTS_EACH_MIN: usize = 4;

/// A document that is new here, after the gate.
#[derive(Debug)]
pub(super) struct Judged {
    /// The document, with what was let in.
    pub(super) document: Document,
    /// What became of each of its changes.
    pub(super) verdicts: Vec<Verdict>,
}

/// A document that is to be judged.
struct Job<'f> {
    /// Its place among those that came.
    place: usize,
    whole: &'f SnapshotDocument,
    document: Document,
    verdicts: Option<Vec<Verdict>>,
}

/// Judges those of the documents that are new here and of a known kind; `None` in the place of each other.
pub(super) fn ahead(
    db: &Connection,
    kinds: &Kinds,
    wholes: &[SnapshotDocument],
) -> Result<Vec<Option<Judged>>, StorageError> {
    let mut jobs = Vec::with_capacity(wholes.len());
    let mut named = BTreeSet::new();
    for (place, whole) in wholes.iter().enumerate() {
        // Of a document that is named twice only the first can be new.
        if !named.insert(whole.document) || documents::find(db, whole.document)?.is_some() {
            continue;
        }
        if let Some(document) = kinds.begin(&whole.kind, whole.schema_version) {
            jobs.push(Job {
                place,
                whole,
                document,
                verdicts: None,
            });
        }
    }
    judge(&mut jobs);
    let mut judged: Vec<Option<Judged>> = wholes.iter().map(|_| None).collect();
    for job in jobs {
        let (document, verdicts) = (job.document, job.verdicts);
        judged[job.place] = verdicts.map(|verdicts| Judged { document, verdicts });
    }
    Ok(judged)
}

fn judge(jobs: &mut [Job<'_>]) {
    let cores = thread::available_parallelism().map_or(1, usize::from);
    let most = (jobs.len() / DOCUMENTS_EACH_MIN).clamp(1, THREADS_MAX);
    let share = jobs.len().div_ceil(cores.min(most)).max(1);
    thread::scope(|scope| {
        let mut shares = jobs.chunks_mut(share);
        let own = shares.next();
        for share in shares {
            let work = || share.iter_mut().for_each(Job::judge);
            // A system without another thread to give leaves its share to us.
            drop(thread::Builder::new().spawn_scoped(scope, work));
        }
        own.into_iter().flatten().for_each(Job::judge);
    });
    let left = jobs.iter_mut().filter(|job| job.verdicts.is_none());
    left.for_each(Job::judge);
}

impl Job<'_> {
    fn judge(&mut self) {
        let offered: Vec<Incoming<'_>> = self.whole.changes.iter().map(feed::offered).collect();
        let nothing_known = |_: &_| Provenance::default();
        let verdicts = gate::admit(&mut self.document, &offered, Side::Relay, &nothing_known);
        self.verdicts = Some(verdicts);
    }
}
