//! One transaction of the link, and what every part of it does to documents.

use std::collections::BTreeSet;

use gridbeat_base::{ChangeHash, DeviceId, DocumentId, Install, Now, Random};
use gridbeat_document::{Change, Kinds};
use gridbeat_sync_protocol::Grant;
use rusqlite::Connection;

use super::{Leave, Link, OwnEntry, leave};
use crate::book::Book;
use crate::store::documents::{self, Loaded};
use crate::store::outbox::{self, Waiting};
use crate::store::scopes::{self, Membership, Placement};
use crate::store::{blobs, kept, log, sql};
use crate::{Counters, StorageError};

/// One transaction: what it may use, and what memory will be when it is committed.
pub(super) struct Work<'a> {
    pub(super) tx: &'a Connection,
    pub(super) kinds: &'a Kinds,
    pub(super) now: Now,
    pub(super) random: &'a mut Random,
    pub(super) book: Book,
    pub(super) counters: Counters,
    /// Documents that became different.
    pub(super) changed: BTreeSet<DocumentId>,
    /// Whether intents were replayed, so that the next edit needs a fresh actor.
    pub(super) rebased: bool,
    pub(super) device: DeviceId,
    pub(super) install: Install,
    /// Whether there may be documents to remove with a scope.
    pub(super) leaves: bool,
    /// What is made known about leaving.
    pub(super) leave_news: Vec<Leave>,
    /// Documents whose blobs are further on their way.
    pub(super) blobs_changed: BTreeSet<DocumentId>,
}

impl Work<'_> {
    /// Puts a document into a scope, or changes its place there.
    pub(super) fn place(
        &mut self,
        document: (i64, DocumentId),
        after: &Placement,
    ) -> Result<(), StorageError> {
        let before = scopes::placement(self.tx, document.0, after.scope)?;
        if before.as_ref() == Some(after) {
            return Ok(());
        }
        let row = self
            .book
            .scope_mut(after.scope)
            .ok_or_else(|| sql::impossible("placement.scope"))?;
        scopes::place(self.tx, document, before.as_ref(), after, row)
    }

    /// Takes a document out of a scope.
    pub(super) fn displace(
        &mut self,
        document: (i64, DocumentId),
        before: &Placement,
    ) -> Result<(), StorageError> {
        let row = self
            .book
            .scope_mut(before.scope)
            .ok_or_else(|| sql::impossible("placement.scope"))?;
        scopes::displace(self.tx, document, before, row)
    }

    /// Adds a change to the outbox.
    pub(super) fn wait(&mut self, waiting: &Waiting) -> Result<(), StorageError> {
        if outbox::insert(self.tx, waiting)? {
            self.book.waiting.add(waiting.size);
        }
        Ok(())
    }

    /// Takes a change out of the outbox, because it is proven durable or is no more; says whether it
    /// waited.
    pub(super) fn settle(&mut self, change: i64) -> Result<bool, StorageError> {
        let Some((size, did_wait)) = outbox::delete(self.tx, change)? else {
            return Ok(false);
        };
        if did_wait {
            self.book.waiting.take(size);
        }
        Ok(did_wait)
    }

    /// Takes a change out of the outbox, because it came back from the relay in a scope; says whether it waited. One
    /// that waits for another scope, which its document is proposed to, stays: only its push can put the document
    /// there, or show that the relay keeps it out.
    pub(super) fn settle_from(
        &mut self,
        scope: i64,
        document: i64,
        change: i64,
    ) -> Result<bool, StorageError> {
        if let Some(other) = outbox::scope(self.tx, change)?.filter(|other| *other != scope) {
            let place = scopes::placement(self.tx, document, other)?;
            if place.is_some_and(|place| place.membership == Membership::Proposed) {
                return Ok(false);
            }
        }
        self.settle(change)
    }

    /// Takes the relay's word that a change is durable, until the feed shows it.
    pub(super) fn answer(&mut self, change: i64) -> Result<(), StorageError> {
        if let Some(size) = outbox::answer(self.tx, change)? {
            self.book.waiting.take(size);
        }
        Ok(())
    }

    /// Lets a change wait again, because the feed came to its end without it.
    pub(super) fn reopen(&mut self, change: i64) -> Result<(), StorageError> {
        if let Some(size) = outbox::reopen(self.tx, change)? {
            self.book.waiting.add(size);
        }
        Ok(())
    }

    /// Takes a document out of a scope by the relay's word, but nothing that is unsent: that keeps the
    /// document here until it has an answer.
    pub(super) fn detach(
        &mut self,
        link: Option<&Link>,
        uuid: DocumentId,
        scope: i64,
    ) -> Result<(), StorageError> {
        let Some(id) = documents::find(self.tx, uuid)? else {
            return Ok(());
        };
        let placements = scopes::placements(self.tx, id)?;
        let Some(before) = placements.iter().find(|place| place.scope == scope) else {
            return Ok(());
        };
        self.changed.insert(uuid);
        let unsent = outbox::of_document(self.tx, id)?;
        // What was just acknowledged puts it back: the entries are on their way.
        let is_granted = self
            .book
            .scope(scope)
            .is_some_and(|(_, row)| row.grant != Grant::None);
        let mut own = link.into_iter().flat_map(|link| &link.own);
        let returns = is_granted
            && own.any(|((at, _), own)| {
                *at == scope
                    && *own
                        == OwnEntry {
                            document: uuid,
                            change: None,
                        }
            });
        let other = placements.iter().find(|place| {
            let grant = self.book.scope(place.scope).map(|(_, row)| row.grant);
            place.scope != scope && grant == Some(Grant::Write)
        });
        let stays = match other {
            Some(other) => {
                for waiting in unsent.iter().filter(|waiting| waiting.scope == scope) {
                    outbox::reroute(self.tx, waiting.change, other.scope)?;
                }
                returns.then_some(Membership::Proposed)
            }
            None if returns => Some(Membership::Proposed),
            None if unsent.iter().any(|waiting| waiting.scope == scope) => {
                Some(Membership::Leaving)
            }
            None if self.owes_blobs(link, id)? => Some(Membership::Leaving),
            None => None,
        };
        match stays {
            Some(membership) => self.place(
                (id, uuid),
                &Placement {
                    scope,
                    membership,
                    heads: Vec::new(),
                },
            ),
            None => {
                self.displace((id, uuid), before)?;
                self.let_go((id, uuid), &[scope])
            }
        }
    }

    /// Returns whether a document that leaves is to stay until its blobs are sent. With a relay that takes none, it
    /// goes, and its blobs stay without it.
    fn owes_blobs(&self, link: Option<&Link>, document: i64) -> Result<bool, StorageError> {
        let may_be_sent = link.is_none_or(Link::takes_blobs);
        Ok(may_be_sent && blobs::has_to_send(self.tx, document)?)
    }

    /// Lets a document go that was only kept for what was unsent, once nothing is.
    pub(super) fn finish_leaving(
        &mut self,
        link: &Link,
        document: (i64, DocumentId),
    ) -> Result<(), StorageError> {
        let placements = scopes::placements(self.tx, document.0)?;
        let leaving = |place: &&Placement| place.membership == Membership::Leaving;
        if !placements.iter().any(|place| leaving(&place))
            || !outbox::of_document(self.tx, document.0)?.is_empty()
            || self.owes_blobs(Some(link), document.0)?
        {
            return Ok(());
        }
        let mut left = Vec::new();
        for place in placements.iter().filter(leaving) {
            self.displace(document, place)?;
            left.push(place.scope);
        }
        self.let_go(document, &left)?;
        for scope in left {
            self.drop_scope_if_done(scope)?;
        }
        Ok(())
    }

    /// Removes a document that has just left some scopes, if it is in no other.
    ///
    /// The one place where a document goes that the relay has had. Own changes that may not be in a backup of the
    /// relay's are kept aside.
    pub(super) fn let_go(
        &mut self,
        document: (i64, DocumentId),
        left: &[i64],
    ) -> Result<(), StorageError> {
        if !scopes::placements(self.tx, document.0)?.is_empty() {
            return Ok(());
        }
        let (id, stable, now) = (document.0, self.book.stable, self.now.wall);
        let from = left.last().and_then(|scope| self.book.scope(*scope));
        if let (Some((name, _)), Some(life)) = (from, self.book.incarnation) {
            kept::keep(self.tx, id, name, life, stable, now)?;
        }
        documents::delete(self.tx, id)?;
        self.changed.insert(document.1);
        for scope in left {
            if let Some(left) = self
                .book
                .scope_mut(*scope)
                .and_then(|row| row.left.as_mut())
            {
                left.removed = left.removed.saturating_add(1);
            }
        }
        Ok(())
    }

    /// Forgets a scope that is not granted and in which nothing is left.
    pub(super) fn drop_scope_if_done(&mut self, scope: i64) -> Result<(), StorageError> {
        let Some((name, row)) = self.book.scope(scope) else {
            return Ok(());
        };
        if row.grant == Grant::None && scopes::is_empty(self.tx, scope)? {
            let (name, left) = (name.clone(), row.left);
            if let Some(left) = left {
                leave::state(self, &name, left)?;
            }
            scopes::delete(self.tx, scope)?;
            self.book.scopes.remove(&name);
        }
        Ok(())
    }

    /// Returns whether a change of a document is among the ancestors of `heads`, or one of them.
    pub(super) fn is_included(
        &self,
        loaded: &Loaded,
        heads: &[ChangeHash],
        change: &Change,
    ) -> Result<bool, StorageError> {
        if heads.contains(&change.hash) {
            return Ok(true);
        }
        // Heads do not descend from one another: an ancestor of one has no dependency among them.
        if heads.is_empty() || change.deps.iter().any(|dep| heads.contains(dep)) {
            return Ok(false);
        }
        let mut reached: BTreeSet<ChangeHash> = heads.iter().copied().collect();
        for (entry, bytes) in log::bytes_of_all(self.tx, loaded.id)?.iter().rev() {
            if reached.contains(&entry.hash) {
                reached.extend(parse(bytes)?.deps);
            }
        }
        Ok(reached.contains(&change.hash))
    }
}

/// Reads a change of our own log.
pub(super) fn parse(bytes: &[u8]) -> Result<Change, StorageError> {
    Change::parse(bytes).map_err(|_| sql::impossible("change.bytes"))
}
