//! A revoked device gets nothing admitted and no record sent: with an open connection, on a new one, and in what it
//! sends before it is answered. What it hands over then goes into the quarantine. Tickets and early data over real
//! sockets are in `end_to_end`.

use std::time::Duration;

use gridbeat_base::{DeviceId, Scope, Verbs};
use gridbeat_relay_core::{Config, SessionId};
use gridbeat_relay_store::Registry as _;
use gridbeat_sync_protocol::FrameKind;

use super::office::{Draft, Office, device, scope};
use crate::pump::report;

/// How long a revoked device's open connection may live.
const CLOSED_WITHIN: Duration = Duration::from_secs(5);

fn json(intent: &impl serde::Serialize) -> Vec<u8> {
    serde_json::to_vec(intent).unwrap()
}

fn area() -> Scope {
    scope("招宝山")
}

/// A relay with two devices in one area.
fn office() -> Office {
    let mut office = Office::new();
    for number in [1, 2] {
        office.enrol(device(number), &[(&area(), Verbs::WORK)]);
    }
    office
}

/// Another process takes a device's rights.
fn revoke(office: &mut Office, device: DeviceId) {
    let now = office.now.wall;
    assert!(office.store.revoke(device, now).unwrap());
}

/// Hands in a new report, and does nothing that follows.
fn offer_report(office: &mut Office, session: SessionId, number: u64) -> u64 {
    let mut draft = Draft::new(number, "incident");
    let by = office.device_of(session);
    let change = draft.edit(by, number, &json(&report("井盖破损", "王", None)));
    office.offer(
        session,
        &area(),
        (draft.id, &draft.kind),
        &[(&change, None)],
    )
}

fn closed(office: &Office, session: SessionId) -> Option<&str> {
    office.lines[&session].closed.as_deref()
}

#[test]
fn an_open_connection_closes_within_five_seconds_and_nothing_is_sent_to_it_after() {
    assert!(Config::default().rights_refresh <= CLOSED_WITHIN);
    for waited in [0, 1, 2_500, 4_999] {
        let mut office = office();
        let (lost, other) = (office.connect(device(1)), office.connect(device(2)));
        office.pass(Duration::from_millis(waited));
        revoke(&mut office, device(1));
        office.pass(CLOSED_WITHIN);
        assert_eq!(closed(&office, lost), Some("device_revoked"), "{waited}");
        assert_eq!(closed(&office, other), None);
        let had = office.lines[&lost].came.len();
        offer_report(&mut office, other, 1);
        office.work();
        assert_eq!(office.lines[&lost].came.len(), had);
    }
}

#[test]
fn an_open_connection_gets_nothing_admitted_even_before_it_is_closed() {
    let mut office = office();
    let lost = office.connect(device(1));
    revoke(&mut office, device(1));
    let number = offer_report(&mut office, lost, 1);
    office.work();
    assert_eq!(office.answer(lost, number), None);
    assert_eq!(closed(&office, lost), Some("device_revoked"));
    assert_eq!(office.relay.counters().changes_accepted, 0);
}

#[test]
fn what_comes_with_the_first_flight_of_a_revoked_device_is_not_admitted_nor_is_anything_sent() {
    let mut office = office();
    let other = office.connect(device(2));
    offer_report(&mut office, other, 1);
    office.work();
    revoke(&mut office, device(1));
    // Its greeting and a push lie there together before the relay looks at its table.
    let lost = office.greet(device(1), Vec::new());
    let number = offer_report(&mut office, lost, 2);
    office.work();
    assert_eq!(
        office.answer(lost, number).as_deref(),
        Some("device_revoked")
    );
    let feeds = office.lines[&lost].frames();
    let feeds = feeds
        .filter(|frame| frame.kind() == FrameKind::Feed)
        .count();
    assert_eq!(feeds, 0);
    assert_eq!(office.relay.counters().changes_accepted, 1);
}

#[test]
fn a_device_that_revokes_itself_hands_in_nothing_more() {
    // An administrator's own device, whose operator takes its rights while its push is under way.
    let mut office = office();
    let lost = office.connect(device(1));
    let number = offer_report(&mut office, lost, 1);
    revoke(&mut office, device(1));
    office.work();
    assert_eq!(office.answer(lost, number), None);
    assert_eq!(closed(&office, lost), Some("device_revoked"));
}
