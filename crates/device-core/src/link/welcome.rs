//! The relay's greeting: its clock, its life, and what the device may do where.

use gridbeat_sync_protocol::{Grant, ScopeGreeting, Welcome};

use super::snapshot::Snapping;
use super::work::Work;
use super::{Link, ScopeLink, leave};
use crate::LinkError;
use crate::store::{blobs, kept, scopes};

/// Takes the greeting in.
pub(super) fn apply(
    work: &mut Work<'_>,
    link: &mut Link,
    welcome: &Welcome,
) -> Result<(), LinkError> {
    link.is_welcomed = true;
    work.book.relay_version = Some(welcome.version);
    let ours = work.now.wall.millis();
    work.book.relay_offset_ms = Some(welcome.time.millis().saturating_sub(ours));
    work.book.relay_time = Some((work.now.monotonic, welcome.time));
    work.book.observe(welcome.time, work.now);
    work.book.stable = welcome.stable;
    if let Some(stable) = welcome.stable {
        kept::pass(work.tx, welcome.incarnation, stable)?;
    }
    kept::trim(work.tx, work.now.wall)?;
    let known = work.book.incarnation;
    let is_other_life = known.is_some_and(|life| life != welcome.incarnation);
    if is_other_life {
        blobs::doubt_all(work.tx)?;
    }
    for greeting in &welcome.scopes {
        match greeting.grant {
            Grant::None => leave::begin(work, &greeting.scope, is_other_life),
            Grant::Read | Grant::Write => grant(work, link, greeting, is_other_life)?,
        }
    }
    if work.book.incarnation != Some(welcome.incarnation) {
        // Cursors belong to an incarnation: it is ours once every scope is reconciled with it.
        link.incarnation = Some(welcome.incarnation);
        adopt_incarnation(work, link);
    }
    super::blobs::welcomed(work, link)
}

/// Makes the relay's incarnation ours if no scope is left to reconcile with it, and it lacks nothing of ours.
pub(super) fn adopt_incarnation(work: &mut Work<'_>, link: &mut Link) {
    let Link {
        session,
        incarnation,
        owes,
        ..
    } = link;
    let scopes = &work.book.scopes;
    if incarnation.is_some()
        && !*owes
        && !scopes
            .keys()
            .any(|scope| session.needs_reconciliation(scope))
    {
        work.book.incarnation = incarnation.take();
    }
}

fn grant(
    work: &mut Work<'_>,
    link: &mut Link,
    greeting: &ScopeGreeting,
    is_other_life: bool,
) -> Result<(), LinkError> {
    match work.book.scopes.get_mut(&greeting.scope) {
        Some(row) => {
            (row.grant, row.verbs, row.left) = (greeting.grant, greeting.verbs, None);
        }
        None => {
            let (grant, verbs) = (greeting.grant, greeting.verbs);
            let row = scopes::insert(work.tx, &greeting.scope, grant, verbs)?;
            work.book.scopes.insert(greeting.scope.clone(), row);
        }
    }
    let row = work.book.scopes.get(&greeting.scope).map(|row| row.id);
    let owes = match row {
        Some(id) if is_other_life => scopes::owes(work.tx, id)?,
        Some(_) | None => false,
    };
    // The relay would feed a scope of which nothing was applied as it is, and never say what it lost of it.
    link.owes |= owes;
    let snapshot = greeting.snapshot.map(Snapping::new);
    if let Some(row) = work.book.scopes.get_mut(&greeting.scope)
        && snapshot.is_none()
    {
        // It is not gone on with, but reconciled.
        row.snapshot = None;
    }
    let is_aligned = !link.session.needs_reconciliation(&greeting.scope);
    let agrees = !owes && is_aligned && snapshot.is_none();
    let mut rows = work.book.scopes.values();
    let is_new = rows.any(|row| row.documents > 0)
        && work
            .book
            .scopes
            .get(&greeting.scope)
            .is_some_and(|row| row.cursor == 0);
    link.scopes.insert(
        greeting.scope.clone(),
        ScopeLink {
            head: greeting.head,
            agrees,
            adopts: is_new && !agrees && snapshot.is_none(),
            snapshot,
            ..ScopeLink::default()
        },
    );
    Ok(())
}
