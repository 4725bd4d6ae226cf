//! One device: its file, and what it does with it.
//!
//! A save is one transaction: the change, the document's cache, the rows screens query, the outbox.
//! Only when it is committed is it reported as saved. Not here: reading (`read`), the link (`link`).

use std::collections::VecDeque;
use std::io::Read;
use std::path::Path;

use gridbeat_base::{
    BlobHash, ChangeHash, DeviceId, DocumentId, Hlc, Install, Monotonic, Now, Random, Scope, Verb,
    Verbs,
};
use gridbeat_document::{Actor, Change, Kinds, Stamp, gate};
use gridbeat_sync_protocol::limits::BLOB_BYTES_MAX;
use gridbeat_sync_protocol::{Grant, Signer};
use rusqlite::Connection;

use crate::book::Book;
use crate::link::Link;
use crate::positions::Board;
use crate::store::blobs::PutFault;
use crate::store::documents::{self, Loaded, Touched};
use crate::store::log::Intent;
use crate::store::outbox::{self, Waiting};
use crate::store::scopes::{self, Membership, Placement, ScopeRow};
use crate::store::{Store, blobs, meta};
use crate::{
    Config, Counters, OpenError, Opening, Output, SaveError, StorageError, SyncProblem, SyncState,
    Uploads,
};

/// One device's records, in its file.
#[derive(Debug)]
pub struct Device {
    pub(crate) device: DeviceId,
    pub(crate) install: Install,
    pub(crate) signer: Option<Signer>,
    pub(crate) kinds: Kinds,
    pub(crate) random: Random,
    pub(crate) store: Store,
    pub(crate) book: Book,
    // Fresh for each opening, at the first edit; and again after a refusal.
    pub(crate) actor: Option<Actor>,
    pub(crate) link: Option<Link>,
    pub(crate) outputs: VecDeque<Output>,
    pub(crate) problem: Option<SyncProblem>,
    pub(crate) shown: SyncState,
    pub(crate) counters: Counters,
    /// When leaving is to go on, if there is more to remove.
    pub(crate) leave_due: Option<Monotonic>,
    /// Whether a scope that has just come is being filled from those that are held: they stay until then.
    pub(crate) is_adopting: bool,
    pub(crate) board: Board,
    pub(crate) uploads: Uploads,
    opening: Opening,
}

/// A save that is durable on this device.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct Saved {
    /// The document.
    pub document: DocumentId,
    /// The change it was saved as.
    pub change: ChangeHash,
}

impl Device {
    /// Opens the file at `path`, or makes it.
    ///
    /// # Errors
    ///
    /// [`OpenError`]; a file that is not this device's is as it was.
    pub fn open(
        path: &Path,
        config: Config,
        kinds: Kinds,
        random: Random,
        now: Now,
    ) -> Result<Self, OpenError> {
        let Config {
            device,
            install,
            signer,
            key,
            uploads,
            file_size_max_bytes,
            before_commit,
        } = config;
        let mut store = Store::open(path, key.as_ref(), file_size_max_bytes, before_commit)?;
        let meta = meta::load(store.reader())?;
        let was_restored = match (meta.device, meta.install) {
            (Some(found), _) if found != device => return Err(OpenError::OtherDevice { found }),
            (Some(_), Some(found)) => found != install,
            (Some(_) | None, _) => false,
        };
        if meta.device.is_none() || was_restored {
            store.write(|tx| meta::put_owner(tx, device, install))?;
        }
        store.write(|tx| {
            if meta::take_references_due(tx)? {
                documents::list_references(tx, &kinds)?;
            }
            blobs::drop_never_used(tx, now.wall)
        })?;
        let mut book = Book::load(store.reader())?;
        if was_restored {
            // The original goes on stamping from the same last stamp.
            book.clock.tick(now.wall);
        }
        let opening = Opening {
            is_fresh: meta.device.is_none(),
            was_unclean: store.was_unclean(),
            was_restored,
        };
        let waiting = book.waiting.changes;
        let is_leaving = book.scopes.values().any(|row| row.left.is_some());
        Ok(Self {
            device,
            install,
            signer,
            kinds,
            random,
            store,
            book,
            actor: None,
            link: None,
            outputs: VecDeque::new(),
            problem: None,
            shown: SyncState::Offline { waiting },
            counters: Counters::default(),
            leave_due: is_leaving.then_some(now.monotonic),
            is_adopting: false,
            board: Board::default(),
            uploads,
            opening,
        })
    }

    /// Makes a document of a kind in a scope, by a first intent.
    ///
    /// # Errors
    ///
    /// [`SaveError`]; nothing was saved then.
    pub fn create(
        &mut self,
        now: Now,
        kind: &str,
        scope: &Scope,
        intent: &[u8],
    ) -> Result<Saved, SaveError> {
        let document = DocumentId::mint(now.wall, &mut self.random);
        self.create_as(now, document, kind, scope, intent)
    }

    /// Makes a document that has an id already: a record taken over from another system, which must not be
    /// taken over twice. Whoever gives ids out sees to it that no two records have one.
    ///
    /// # Errors
    ///
    /// [`SaveError`]; nothing was saved then.
    pub fn create_as(
        &mut self,
        now: Now,
        document: DocumentId,
        kind: &str,
        scope: &Scope,
        intent: &[u8],
    ) -> Result<Saved, SaveError> {
        let newest = self.kinds.find(kind).map(|found| found.schema_version());
        let blank = newest.and_then(|newest| self.kinds.begin(kind, newest));
        let blank = blank.ok_or_else(|| SaveError::UnknownKind {
            kind: kind.to_owned(),
        })?;
        let mut row = *self
            .book
            .scopes
            .get(scope)
            .ok_or_else(|| SaveError::UnknownScope {
                scope: scope.clone(),
            })?;
        if row.grant != Grant::Write {
            return Err(SaveError::NotGranted(Verb::Report));
        }
        let place = Place::of(&row);
        let action = self.action(now, intent);
        let (saved, waiting) = self.store.write(|tx| {
            if documents::find(tx, document)?.is_some() {
                return Err(SaveError::DocumentExists { document });
            }
            let mut loaded = Loaded::create(tx, blank, document)?;
            let proposed = Placement {
                scope: row.id,
                membership: Membership::Proposed,
                heads: Vec::new(),
            };
            scopes::place(tx, (loaded.id, document), None, &proposed, &mut row)?;
            action.perform(tx, &mut loaded, &[place])
        })?;
        self.saved(now, action.stamp.hlc, saved, waiting);
        Ok(saved)
    }

    /// Edits a document by an intent.
    ///
    /// # Errors
    ///
    /// [`SaveError`]; nothing was saved then.
    pub fn edit(
        &mut self,
        now: Now,
        document: DocumentId,
        intent: &[u8],
    ) -> Result<Saved, SaveError> {
        let action = self.action(now, intent);
        let (book, kinds, counters) = (&self.book, &self.kinds, &mut self.counters);
        let (saved, waiting) = self
            .store
            .write(|tx| action.edit(tx, (book, kinds, counters), document))?;
        self.saved(now, action.stamp.hlc, saved, waiting);
        Ok(saved)
    }

    /// Keeps a blob (a photo, a track) and returns its hash. It is sent once a document refers to it that the relay
    /// has; one that nothing ever refers to goes after a week.
    ///
    /// # Errors
    ///
    /// [`SaveError::BlobSize`], [`SaveError::DiskFull`] or [`SaveError::Storage`].
    pub fn put_blob(&mut self, now: Now, bytes: &[u8]) -> Result<BlobHash, SaveError> {
        self.put_blob_from(now, bytes)
    }

    /// Keeps all that a reader gives as a blob, as [`Self::put_blob`] does: in one transaction, and never more of it
    /// in memory than a chunk.
    ///
    /// # Errors
    ///
    /// As [`Self::put_blob`], and [`SaveError::BlobUnreadable`]; nothing is kept then.
    pub fn put_blob_from(&mut self, now: Now, bytes: impl Read) -> Result<BlobHash, SaveError> {
        let hash = self.store.write(|tx| keep_blob(tx, now, bytes))?;
        // Documents may have referred to it before it was here.
        self.send_waiting(now);
        Ok(hash)
    }

    /// Keeps blobs and edits a document by an intent that is made from their names: all of it in one transaction, or
    /// nothing. So a kill leaves neither a photo that nothing refers to nor a reference to one that is not here.
    ///
    /// # Errors
    ///
    /// As [`Self::edit`] and [`Self::put_blob`]; nothing was saved then.
    pub fn edit_with_blobs<const N: usize>(
        &mut self,
        now: Now,
        document: DocumentId,
        blobs: [&[u8]; N],
        intent: impl FnOnce([BlobHash; N]) -> Vec<u8>,
    ) -> Result<(Saved, [BlobHash; N]), SaveError> {
        let Action { actor, stamp, .. } = self.action(now, &[]);
        let (book, kinds, counters) = (&self.book, &self.kinds, &mut self.counters);
        let (saved, waiting, hashes) = self.store.write(|tx| {
            let mut hashes = [BlobHash::from_bytes([0; 32]); N];
            for (hash, bytes) in hashes.iter_mut().zip(blobs) {
                *hash = keep_blob(tx, now, bytes)?;
            }
            let intent = intent(hashes);
            let action = Action {
                actor,
                stamp,
                intent: &intent,
            };
            let (saved, waiting) = action.edit(tx, (book, kinds, counters), document)?;
            Ok::<_, SaveError>((saved, waiting, hashes))
        })?;
        self.saved(now, stamp.hlc, saved, waiting);
        Ok((saved, hashes))
    }

    /// Asks for a blob that a document here refers to: it is fetched as soon as a relay gives it, however many
    /// sessions that takes. Says whether the document refers to it.
    ///
    /// # Errors
    ///
    /// [`SaveError::DiskFull`] or [`SaveError::Storage`].
    pub fn want_blob(
        &mut self,
        now: Now,
        document: DocumentId,
        hash: BlobHash,
    ) -> Result<bool, SaveError> {
        let is_referred_to = self
            .store
            .write(|tx| Ok::<_, SaveError>(blobs::want(tx, document, hash)?))?;
        self.send_waiting(now);
        Ok(is_referred_to)
    }

    /// Says which blobs go up, from now on and until the device is closed. What is held back goes when it may; of a blob that is
    /// on its way what is under way is sent, and nothing of it again. Who asks for one by [`Self::want_blob`] gets it.
    pub fn set_uploads(&mut self, now: Now, uploads: Uploads) {
        self.uploads = uploads;
        self.send_waiting(now);
    }

    /// Drops a blob to which no document refers any more; says whether there was one. The only way in which one goes that
    /// was put here and that the relay never had.
    ///
    /// # Errors
    ///
    /// [`SaveError::Storage`].
    pub fn drop_blob(&mut self, hash: BlobHash) -> Result<bool, SaveError> {
        self.store.write(|tx| Ok(blobs::drop_unused(tx, hash)?))
    }

    /// Returns what was found when the file was opened.
    pub const fn opening(&self) -> Opening {
        self.opening
    }

    /// Returns how often something rare happened since then.
    pub const fn counters(&self) -> Counters {
        self.counters
    }

    /// Returns the device this is.
    pub const fn device(&self) -> DeviceId {
        self.device
    }

    /// Returns the relay's clock minus this device's, in milliseconds, when it was last measured.
    pub const fn relay_offset_ms(&self) -> Option<i64> {
        self.book.relay_offset_ms
    }

    /// Returns the next thing for the caller to do or to know, in order.
    pub fn poll_output(&mut self) -> Option<Output> {
        self.outputs.pop_front()
    }

    /// Returns when to call [`Self::handle_deadline`] at the latest.
    pub fn next_deadline(&self) -> Option<Monotonic> {
        let leave = self.leave_due.filter(|_| !self.is_adopting);
        let link = self.link.as_ref().and_then(Link::next_deadline);
        let board = self.link.as_ref().filter(|link| link.takes_positions());
        let board = board.and_then(|_| self.board.next_deadline());
        leave.into_iter().chain(link).chain(board).min()
    }

    /// Limits the size of the file, or takes the limit off; as [`Config::file_size_max_bytes`].
    ///
    /// # Errors
    ///
    /// [`StorageError`].
    pub fn set_file_size_max(&mut self, bytes: Option<u64>) -> Result<(), StorageError> {
        self.store.set_size_max(bytes)
    }

    /// Brings SQLite's log into the file and empties it: for quiet moments.
    ///
    /// # Errors
    ///
    /// [`StorageError`]; nothing is lost by it.
    pub fn checkpoint(&mut self) -> Result<(), StorageError> {
        self.store.checkpoint()
    }

    /// Closes the file, so that the next opening need not check it. Dropping a device is as safe.
    ///
    /// # Errors
    ///
    /// [`StorageError`]; nothing is lost by it.
    pub fn close(self) -> Result<(), StorageError> {
        self.store.close()
    }

    pub(crate) fn action<'i>(&mut self, now: Now, intent: &'i [u8]) -> Action<'i> {
        let random = &mut self.random;
        // The clock itself moves on only with the commit; a stamp that fails may be given again.
        let mut clock = self.book.clock;
        Action {
            actor: *self.actor.get_or_insert_with(|| Actor::mint(random)),
            stamp: Stamp {
                hlc: clock.tick(self.book.stamping_time(now)),
                wall: now.wall,
                relay_offset_ms: self.book.relay_offset_ms,
                device: self.device,
                fact: self.random.bytes(),
            },
            intent,
        }
    }

    pub(crate) fn saved(&mut self, now: Now, hlc: Hlc, saved: Saved, waiting: Waiting) {
        self.book.clock = gridbeat_base::HlcClock::from_last(hlc);
        self.book.waiting.add(waiting.size);
        self.outputs.push_back(Output::Changed {
            documents: vec![saved.document],
        });
        self.send_waiting(now);
        self.show(now);
    }
}

/// One user action on its way to become a change.
pub(crate) struct Action<'i> {
    actor: Actor,
    pub(crate) stamp: Stamp,
    intent: &'i [u8],
}

impl Action<'_> {
    /// Does the action on a document that is here.
    fn edit(
        &self,
        tx: &Connection,
        (book, kinds, counters): (&Book, &Kinds, &mut Counters),
        document: DocumentId,
    ) -> Result<(Saved, Waiting), SaveError> {
        let mut loaded =
            documents::load(tx, kinds, document)?.ok_or(SaveError::UnknownDocument { document })?;
        counters.documents_rebuilt += u64::from(loaded.was_rebuilt);
        let places = writable(tx, book, loaded.id)?;
        self.perform(tx, &mut loaded, &places)
    }

    /// Does the action on a document by the first of `places` that allows it, and stores all that follows.
    pub(crate) fn perform(
        &self,
        tx: &Connection,
        loaded: &mut Loaded,
        places: &[Place],
    ) -> Result<(Saved, Waiting), SaveError> {
        let intent = Intent {
            stamp: self.stamp,
            bytes: self.intent.to_vec(),
        };
        let first = places.first().ok_or(SaveError::NotGranted(Verb::Edit))?;
        // To see what a change takes costs two looks at the document: spared where it may do all work.
        let before = first.lacks(Verbs::WORK).map(|_| loaded.view());
        let change = edit(loaded, self.actor, &intent)?;
        let scope = match before {
            None => first.scope,
            Some(before) => {
                let needed = gate::needed(&loaded.kind, &before, &loaded.view());
                let allowing = places.iter().find(|place| place.lacks(needed).is_none());
                let lacking = first.lacks(needed).unwrap_or(Verb::Edit);
                allowing.ok_or(SaveError::NotGranted(lacking))?.scope
            }
        };
        let (change, waiting) = queue(tx, loaded, &change, &intent, scope)?;
        loaded.store(tx, Touched::Content)?;
        let saved = Saved {
            document: loaded.uuid,
            change,
        };
        Ok((saved, waiting))
    }
}

/// Keeps all that a reader gives as a blob.
fn keep_blob(tx: &Connection, now: Now, bytes: impl Read) -> Result<BlobHash, SaveError> {
    let max = BLOB_BYTES_MAX;
    blobs::insert(tx, bytes, max, now.wall)?.map_err(|fault| match fault {
        PutFault::Size(size_bytes) => SaveError::BlobSize { size_bytes, max },
        PutFault::Unreadable(source) => SaveError::BlobUnreadable(source),
    })
}

/// Turns an intent into a change of a document, its log and the outbox; does not store the document.
pub(crate) fn enact(
    tx: &Connection,
    loaded: &mut Loaded,
    actor: Actor,
    intent: &Intent,
    scope: i64,
) -> Result<(ChangeHash, Waiting), SaveError> {
    let change = edit(loaded, actor, intent)?;
    queue(tx, loaded, &change, intent, scope)
}

fn edit(loaded: &mut Loaded, actor: Actor, intent: &Intent) -> Result<Change, SaveError> {
    let Loaded { document, log, .. } = loaded;
    let provenance = |hash: &ChangeHash| documents::provenance(log, hash);
    Ok(document.edit(actor, &intent.bytes, &intent.stamp, &provenance)?)
}

fn queue(
    tx: &Connection,
    loaded: &mut Loaded,
    change: &Change,
    intent: &Intent,
    scope: i64,
) -> Result<(ChangeHash, Waiting), SaveError> {
    let id = loaded.append(tx, change, intent.stamp.device, None, Some(intent))?;
    let waiting = Waiting {
        change: id,
        scope,
        lane: loaded.kind.lane(),
        hlc: intent.stamp.hlc,
        size: change.bytes.len() as u64,
    };
    outbox::insert(tx, &waiting)?;
    Ok((change.hash, waiting))
}

/// A scope by whose grant a document may be changed.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Place {
    scope: i64,
    /// What the relay said that the device may do there, if it did.
    verbs: Option<Verbs>,
}

impl Place {
    pub(crate) const fn of(row: &ScopeRow) -> Self {
        Self {
            scope: row.id,
            verbs: row.verbs,
        }
    }

    /// Returns a verb that is needed and surely lacking; what is not known the relay decides.
    fn lacks(&self, needed: Verbs) -> Option<Verb> {
        self.verbs?.lacks(needed)
    }
}

/// Lists the scopes by whose grants the device may change a document, the best first.
pub(crate) fn writable(
    tx: &Connection,
    book: &Book,
    document: i64,
) -> Result<Vec<Place>, StorageError> {
    let placements = scopes::placements(tx, document)?;
    // A place the relay took back is the last resort: it decides on what arrives there.
    let rank = |placement: &Placement| match placement.membership {
        Membership::Attached => 0,
        Membership::Proposed => 1,
        Membership::Leaving => 2,
    };
    let mut places: Vec<_> = placements
        .iter()
        .filter_map(|placement| {
            let (_, row) = book.scope(placement.scope)?;
            (row.grant == Grant::Write).then(|| (rank(placement), Place::of(row)))
        })
        .collect();
    places.sort_by_key(|(rank, _)| *rank);
    Ok(places.into_iter().map(|(_, place)| place).collect())
}
