//! The relay's side of a reconciliation: answers to range messages, and comparisons of documents.
//!
//! Nothing is kept of an inventory: each message is answered from a fresh one, and one inventory
//! serves all sessions that wait for it. The feed goes on behind the first one's sequence number, so
//! whatever changes while the two sides talk comes again as an entry.

use gridbeat_base::{DocumentId, Now, Scope};
use gridbeat_sync_protocol::{Compare, Compared, ComparedDocument, Held, Item, PackForm, respond};

use crate::config::COMPARE_BYTES_MAX;
use crate::fan::feed_change;
use crate::reasons::{RECONCILE_MALFORMED, RETRY_AFTER_DENIED, STORAGE_FAILED};
use crate::relay::{Relay, Waiting};
use crate::session::Comparing;
use crate::{Answer, ComparedWith, Comparison, Inventory, SessionId, StoreFault, Task};

impl Relay {
    /// Takes in a message of range reconciliation.
    pub(crate) fn reconcile(&mut self, id: SessionId, scope: Scope, message: Vec<u8>) {
        let Some(session) = self.sessions.get_mut(&id) else {
            return;
        };
        if session.reconciling.insert(scope.clone()) {
            self.counters.reconciliations += 1;
        }
        session.messages.insert(scope.clone(), message);
        if self.inventories.insert(scope.clone()) {
            let task = Task::Inventory {
                scope: scope.clone(),
            };
            self.run(Waiting::Inventory { scope }, task);
        }
    }

    /// Takes in an inventory: answers every message that waits for it.
    pub(crate) fn inventory_read(
        &mut self,
        now: Now,
        scope: &Scope,
        result: Result<Answer, StoreFault>,
    ) {
        self.inventories.remove(scope);
        let inventory = match result {
            Ok(Answer::Inventory(inventory)) => Some(inventory),
            Ok(_) => panic!("an inventory was answered by another task's answer"),
            Err(_) => None,
        };
        let mut messages = Vec::new();
        for (id, session) in &mut self.sessions {
            if let Some(message) = session.messages.remove(scope) {
                messages.push((*id, message));
            }
        }
        for (id, message) in messages {
            match &inventory {
                Some(inventory) => self.answer_message(now, id, scope, inventory, &message),
                None => {
                    self.close(now, id, STORAGE_FAILED.close(self.config.retry_after_fault));
                }
            }
        }
    }

    fn answer_message(
        &mut self,
        now: Now,
        id: SessionId,
        scope: &Scope,
        inventory: &Inventory,
        message: &[u8],
    ) {
        let items = inventory.items.iter();
        let items = items.map(|(document, digest)| Item {
            document: *document,
            digest: *digest,
        });
        let Ok(answer) = respond(items, message) else {
            self.counters.sessions_misbehaved += 1;
            self.close(now, id, RECONCILE_MALFORMED.close(RETRY_AFTER_DENIED));
            return;
        };
        let Some(session) = self.sessions.get_mut(&id) else {
            return;
        };
        if let Err(error) = session.protocol.reconcile(scope, inventory.seq, answer) {
            self.close_internal(now, id, &error);
        }
        self.settle(now, id);
    }

    /// Takes in a comparison.
    pub(crate) fn compare(&mut self, id: SessionId, compare: Compare) {
        let Compare {
            scope,
            documents,
            last,
        } = compare;
        let documents = documents
            .into_iter()
            .map(|it| (it.document, it.changes))
            .collect();
        if let Some(session) = self.sessions.get_mut(&id) {
            let comparing = Comparing { documents, last };
            session.comparing.insert(scope.clone(), comparing);
        }
        self.go_on_comparing(id, scope);
    }

    fn go_on_comparing(&mut self, id: SessionId, scope: Scope) {
        let Some(session) = self.sessions.get(&id) else {
            return;
        };
        let Some(comparing) = session.comparing.get(&scope) else {
            return;
        };
        let task = Task::Compare {
            scope: scope.clone(),
            documents: comparing.documents.clone(),
            bytes_max: COMPARE_BYTES_MAX,
        };
        self.run(Waiting::Compare { session: id, scope }, task);
    }

    /// Takes in a comparison with what is stored: answers it, and goes on with what did not fit.
    pub(crate) fn compare_read(
        &mut self,
        now: Now,
        id: SessionId,
        scope: &Scope,
        result: Result<Answer, StoreFault>,
    ) {
        let Comparison {
            seq,
            digest,
            documents,
        } = match result {
            Ok(Answer::Compared(comparison)) => comparison,
            Ok(_) => panic!("a comparison was answered by another task's answer"),
            Err(_) => {
                self.close(now, id, STORAGE_FAILED.close(self.config.retry_after_fault));
                return;
            }
        };
        let Some(session) = self.sessions.get_mut(&id) else {
            return;
        };
        let Some(comparing) = session.comparing.get_mut(scope) else {
            return;
        };
        comparing
            .documents
            .drain(..documents.len().min(comparing.documents.len()));
        let is_done = comparing.documents.is_empty();
        let last = comparing.last && is_done;
        if is_done {
            session.comparing.remove(scope);
        }
        let compared = Compared {
            scope: scope.clone(),
            seq,
            digest,
            documents: documents.into_iter().map(compared_document).collect(),
            form: PackForm::default(),
            last,
        };
        if let Err(error) = session.protocol.compared(compared) {
            self.close_internal(now, id, &error);
            return;
        }
        if last {
            session.reconciling.remove(scope);
            session.reconciled.insert(scope.clone());
            self.dirty.insert(scope.clone());
        }
        self.settle(now, id);
        if !is_done {
            self.go_on_comparing(id, scope.clone());
        }
    }
}

fn compared_document((document, held): (DocumentId, Option<ComparedWith>)) -> ComparedDocument {
    let held = held.map(|held| Held {
        kind: held.kind,
        schema_version: held.schema_version,
        heads: held.heads,
        lacks: held.lacks,
        changes: held.changes.into_iter().map(feed_change).collect(),
    });
    ComparedDocument { document, held }
}
