//! The relay's greeting: its clock, its life, and what the device may do where.

use gridbeat_base::Scope;
use gridbeat_sync_protocol::{Grant, ScopeGreeting, Welcome};

use super::work::Work;
use super::{Link, ScopeLink};
use crate::LinkError;
use crate::store::{documents, scopes};

/// Takes the greeting in.
pub(super) fn apply(
    work: &mut Work<'_>,
    link: &mut Link,
    welcome: &Welcome,
) -> Result<(), LinkError> {
    link.is_welcomed = true;
    let ours = work.now.wall.millis();
    work.book.relay_offset_ms = Some(welcome.time.millis().saturating_sub(ours));
    work.book.relay_time = Some((work.now.monotonic, welcome.time));
    work.book.observe(welcome.time, work.now);
    for greeting in &welcome.scopes {
        match greeting.grant {
            Grant::None => withdraw(work, link, &greeting.scope)?,
            Grant::Read | Grant::Write => grant(work, link, greeting)?,
        }
    }
    if work.book.incarnation != Some(welcome.incarnation) {
        // Cursors belong to an incarnation: it is ours once every scope is reconciled with it.
        link.incarnation = Some(welcome.incarnation);
        adopt_incarnation(work, link);
    }
    Ok(())
}

/// Makes the relay's incarnation ours if no scope is left to reconcile with it.
pub(super) fn adopt_incarnation(work: &mut Work<'_>, link: &mut Link) {
    let Link {
        session,
        incarnation,
        ..
    } = link;
    let scopes = &work.book.scopes;
    if incarnation.is_some()
        && !scopes
            .keys()
            .any(|scope| session.needs_reconciliation(scope))
    {
        work.book.incarnation = incarnation.take();
    }
}

fn grant(work: &mut Work<'_>, link: &mut Link, greeting: &ScopeGreeting) -> Result<(), LinkError> {
    match work.book.scopes.get_mut(&greeting.scope) {
        Some(row) => row.grant = greeting.grant,
        None => {
            let row = scopes::insert(work.tx, &greeting.scope, greeting.grant)?;
            work.book.scopes.insert(greeting.scope.clone(), row);
        }
    }
    let agrees = !link.session.needs_reconciliation(&greeting.scope);
    link.scopes.insert(
        greeting.scope.clone(),
        ScopeLink {
            head: greeting.head,
            agrees,
            ..ScopeLink::default()
        },
    );
    Ok(())
}

/// Leaves a scope that is not granted any more: all its documents, but nothing unsent.
fn withdraw(work: &mut Work<'_>, link: &Link, scope: &Scope) -> Result<(), LinkError> {
    let Some(row) = work.book.scopes.get(scope) else {
        return Ok(());
    };
    let id = row.id;
    for document in scopes::members(work.tx, id)? {
        let uuid = documents::uuid(work.tx, document)?;
        work.detach(link, uuid, id)?;
    }
    if let Some(row) = work.book.scopes.get_mut(scope) {
        row.grant = Grant::None;
        // Should it be granted again, its feed begins anew.
        row.cursor = 0;
    }
    work.drop_scope_if_done(id)?;
    Ok(())
}
