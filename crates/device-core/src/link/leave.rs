//! Leaving a scope: its documents go, in pieces, but nothing that the relay has not taken; then the device
//! states what it removed. A revoked device hands over all it has and states that everything is gone.
//!
//! A scope is granted, leaving (`ScopeRow::left`) or left (no row, but a statement). Each piece is one
//! transaction, so that a crash at any moment leaves a file that goes on where it stopped. A document that
//! is in another granted scope stays; so does one with something unsent, until that has an answer.
//! Not here: what takes a document out of one scope (`work`).

use gridbeat_base::{DeviceId, Digest, DocumentId, Install, Lane, Now, Scope, WallTime};
use gridbeat_sync_protocol::{
    BatchMark, Grant, PushChange, PushDocument, RemovalHash, RemovalStatement, Removed, Seal,
    SessionError,
};
use rusqlite::Connection;

use super::push::{PushOut, Pusher};
use super::work::Work;
use super::{Link, LinkError, repair};
use crate::book::Book;
use crate::store::scopes::{Left, ScopeRow};
use crate::store::{documents, refused, removals, scopes, sql};
use crate::{Device, Output, StorageError};

/// What a device makes known about leaving.
#[derive(Clone, Debug, Eq, PartialEq)]
pub enum Leave {
    /// The relay gave notice.
    Noticed {
        /// The scope; `None` for everything, because the device was revoked.
        scope: Option<Scope>,
        /// Until when the relay still takes what was saved there, by its clock; for everything, when the
        /// device was revoked.
        deadline: WallTime,
    },
    /// The records are gone from this device, but for those in other scopes.
    Left {
        /// The scope; `None` for everything.
        scope: Option<Scope>,
        /// How many documents are gone.
        removed: u64,
        /// How many changes are kept among the refused ones, because the relay did not take them.
        kept: u64,
    },
    /// The relay has the signed statement that everything is gone, and nothing waits here: the keys and the
    /// file may go too. Told again in each session until they have.
    Acknowledged,
}

/// Most documents removed in one transaction: about a tenth of a second on a phone, which a person who
/// saves meanwhile does not notice.
const PIECE_DOCUMENTS_MAX: usize = 256;

/// Begins to leave a scope that is not granted any more, by the word of a relay that has the life the device
/// knows, or another.
pub(super) fn begin(work: &mut Work<'_>, scope: &Scope, is_other_life: bool) {
    let Some(row) = work.book.scopes.get_mut(scope) else {
        return;
    };
    row.grant = Grant::None;
    let left = row.left.get_or_insert(Left {
        seq: row.cursor,
        digest: row.digest,
        documents: row.documents,
        removed: 0,
        offers: false,
    });
    left.offers |= is_other_life;
    work.leaves = true;
}

/// Removes some of the documents of scopes that are being left; says whether there are more.
fn piece(work: &mut Work<'_>, link: Option<&Link>) -> Result<bool, LinkError> {
    let mut room = PIECE_DOCUMENTS_MAX;
    let rows = work.book.scopes.values();
    let leaving: Vec<(i64, bool)> = rows
        .filter(|row| row.grant == Grant::None)
        .map(|row| (row.id, row.left.is_some_and(|left| left.offers)))
        .collect();
    for (scope, offers) in leaving {
        let members = scopes::staying(work.tx, scope, room)?;
        room -= members.len();
        for document in members {
            let uuid = documents::uuid(work.tx, document)?;
            if offers {
                repair::offer_whole(work, scope, uuid)?;
            }
            work.detach(link, uuid, scope)?;
        }
        if room == 0 {
            return Ok(true);
        }
        work.drop_scope_if_done(scope)?;
    }
    Ok(false)
}

/// States that a scope was left. Its row goes with this.
pub(super) fn state(work: &mut Work<'_>, scope: &Scope, left: Left) -> Result<(), StorageError> {
    let statement = RemovalStatement {
        device: work.device,
        install: work.install,
        scope: Some(scope.clone()),
        incarnation: work.book.incarnation,
        seq: left.seq,
        digest: left.digest,
        documents: left.documents,
        removed: left.removed,
        kept: refused::count(work.tx, scope)?,
        at: work.now.wall,
    };
    removals::insert(work.tx, &statement)?;
    work.leave_news.push(Leave::Left {
        scope: Some(scope.clone()),
        removed: statement.removed,
        kept: statement.kept,
    });
    Ok(())
}

/// Takes in that the relay has a statement. That of everything is the end of a device that was revoked, if nothing was
/// saved in it since.
pub(super) fn noted(
    work: &mut Work<'_>,
    link: &Link,
    removal: &RemovalHash,
) -> Result<(), StorageError> {
    let is_everything = removals::note(work.tx, removal)?;
    if is_everything && link.is_wiped && work.book.waiting.changes == 0 {
        work.leave_news.push(Leave::Acknowledged);
    }
    Ok(())
}

/// States, for a file that is wiped in this transaction, that all its scopes and everything else are gone;
/// returns how many documents these were.
fn state_everything(
    db: &Connection,
    (device, install): (DeviceId, Install),
    book: &Book,
    at: WallTime,
) -> Result<u64, StorageError> {
    let held = documents::count(db)?;
    if held == 0 && book.scopes.is_empty() && removals::reopen_everything(db)? {
        // It was wiped before, and nothing came since.
        return Ok(0);
    }
    let of = |scope: Option<&Scope>, left: Left| RemovalStatement {
        device,
        install,
        scope: scope.cloned(),
        incarnation: book.incarnation,
        seq: left.seq,
        digest: left.digest,
        documents: left.documents,
        removed: left.removed,
        kept: 0,
        at,
    };
    for (scope, row) in &book.scopes {
        let ScopeRow {
            left,
            cursor: seq,
            digest,
            documents,
            ..
        } = *row;
        let left = left.unwrap_or(Left {
            seq,
            digest,
            documents,
            removed: 0,
            offers: false,
        });
        let removed = scopes::members(db, row.id)?.len() as u64;
        let removed = left.removed.saturating_add(removed);
        removals::insert(db, &of(Some(scope), Left { removed, ..left }))?;
    }
    let everything = Left {
        seq: 0,
        digest: Digest::EMPTY,
        documents: held,
        removed: held,
        offers: false,
    };
    removals::insert(db, &of(None, everything))?;
    Ok(held)
}

/// Hands over what the relay did not take earlier, of a device that is to be wiped.
pub(super) fn surrender(
    db: &Connection,
    book: &mut Book,
    pusher: &Pusher<'_>,
    kinds: &gridbeat_document::Kinds,
    link: &mut Link,
) -> Result<(), LinkError> {
    while link.session.can_push(Lane::Log)
        && let Some(row) = refused::after(db, link.handed_over)?
    {
        let scope = Scope::new(&row.scope).map_err(|_| sql::impossible("refused.scope"))?;
        let schema = kinds
            .find(&row.kind)
            .map_or(1, |kind| kind.schema_version());
        let documents = vec![PushDocument {
            document: row.document,
            kind: row.kind,
            schema_version: schema,
            changes: vec![PushChange {
                bytes: row.bytes,
                recovered_from: (row.author != pusher.device).then_some(row.author),
            }],
        }];
        let sealed: Option<(Seal, BatchMark)> = pusher.seal(book, &scope, &documents);
        let seal = sealed.map(|(seal, _)| seal);
        match link.session.push_sealed(Lane::Log, &scope, documents, seal) {
            Ok(number) => {
                let out = PushOut {
                    batch: sealed.map(|(seal, mark)| (seal.stamp.number, mark)),
                    refused: Some(row.id),
                    ..PushOut::default()
                };
                link.pushes.insert(number, out);
                link.handed_over = row.id;
            }
            Err(SessionError::Full | SessionError::NotOpen) => break,
            Err(error) => return Err(error.into()),
        }
    }
    Ok(())
}

impl Device {
    /// Puts the link back after a transaction, and does what of leaving follows from that.
    pub(super) fn leave_with(&mut self, now: Now, link: Link) -> Result<(), LinkError> {
        self.is_adopting = link.scopes.values().any(|at| at.adopts && !at.is_stuck);
        self.link = Some(link);
        self.leave_on(now)?;
        self.wipe_if_handed_over(now)
    }

    /// Goes on with leaving: one piece, in a transaction of its own.
    pub(crate) fn leave_on(&mut self, now: Now) -> Result<(), LinkError> {
        if self.leave_due.take().is_none() {
            return Ok(());
        }
        if self.is_adopting {
            // What is to go may be in a scope that has just come: that is found out first.
            self.leave_due = Some(now.monotonic);
            return Ok(());
        }
        let link = self.link.take();
        let mut has_more = false;
        let result = self.in_transaction(now, |work| {
            has_more = piece(work, link.as_ref())?;
            Ok(())
        });
        self.link = link;
        result?;
        self.leave_due = has_more.then_some(now.monotonic);
        Ok(())
    }

    /// Wipes the file of a device that was revoked, once nothing in it waits for the relay.
    pub(crate) fn wipe_if_handed_over(&mut self, now: Now) -> Result<(), LinkError> {
        let Some(link) = &mut self.link else {
            return Ok(());
        };
        let is_handed_over = self.book.waiting.changes == 0 && link.pushes.is_empty();
        if !link.surrenders
            || link.is_wiped
            || !is_handed_over
            || refused::after(self.store.reader(), link.handed_over)?.is_some()
        {
            return Ok(());
        }
        link.is_wiped = true;
        link.scopes.clear();
        let documents: Vec<DocumentId> = documents::fingerprint(self.store.reader())?
            .into_iter()
            .map(|(document, _)| document)
            .collect();
        let (owner, book) = ((self.device, self.install), &self.book);
        let wiped = self
            .store
            .wipe(|tx| state_everything(tx, owner, book, now.wall));
        // What was committed stands, even if cleaning up behind it failed.
        let relay_time = self.book.relay_time;
        self.book = Book::load(self.store.reader())?;
        self.book.relay_time = relay_time;
        let removed = wiped?;
        self.actor = None;
        self.leave_due = None;
        self.is_adopting = false;
        if !documents.is_empty() {
            self.outputs.push_back(Output::Changed { documents });
        }
        self.outputs.push_back(Output::Leave(Leave::Left {
            scope: None,
            removed,
            kept: 0,
        }));
        Ok(())
    }

    /// Sends the next statement of removal, if there is one and its scope has not come back meanwhile.
    pub(crate) fn send_removal(&mut self) -> Result<(), LinkError> {
        let Some(link) = &mut self.link else {
            return Ok(());
        };
        if !link.session.can_remove() || (link.surrenders && !link.is_wiped) {
            return Ok(());
        }
        let Some(statement) = removals::next(self.store.reader(), |scope| {
            // While it is being left again, the relay would take this statement for that of today.
            let row = scope.and_then(|scope| self.book.scopes.get(scope));
            row.is_none_or(|row| row.grant != Grant::None)
        })?
        else {
            return Ok(());
        };
        link.session
            .removed(Removed::new(statement, self.signer.as_ref()))?;
        Ok(())
    }
}
