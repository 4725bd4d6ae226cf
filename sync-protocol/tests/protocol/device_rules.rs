//! Every rule that a device can break ends the relay's session, with the rule's code.
//!
//! long because each rule has its cases here, and a reader looks for one by its neighbours.

use gridbeat_base::{Lane, WallTime};
use gridbeat_sync_protocol::limits::{GREETING_TIMEOUT, PUSHES_OUT_MAX, RECONCILE_ROUNDS_MAX};
use gridbeat_sync_protocol::{
    Applied, BatchProof, BatchStatement, CloseReason, Compare, CompareDocument, Compared,
    DeviceMisbehaved, Feed, Frame, Gone, Grant, Noted, PackForm, Push, PushDocument, Reconcile,
    RelayInput, RelayOutput, RelaySession, RemovalHash, Removed, SessionError, Signer, Taken,
    Versions, Watch, encode,
};

use crate::positions::positions;
use crate::support::*;

/// Plays a case: the last frame breaks the rule with this code.
fn check(code: &str, mut session: RelaySession, frames: Vec<Frame>) {
    let Some((bad, good)) = frames.split_last() else {
        panic!("{code}: no frames");
    };
    for frame in good {
        send(&mut session, frame.clone()).unwrap_or_else(|error| panic!("{code}: {error:?}"));
    }
    relay_outputs(&mut session);
    let error = send(&mut session, bad.clone()).expect_err(code);
    let SessionError::DeviceMisbehaved(fault) = &error else {
        panic!("{code}: {error:?}");
    };
    assert_eq!(fault.code(), code);
    let outputs = relay_outputs(&mut session);
    let [
        ..,
        RelayOutput::Send { frame, .. },
        RelayOutput::Closed(reason),
    ] = outputs.as_slice()
    else {
        panic!("{code}: {outputs:?}");
    };
    assert!(matches!(frame, Frame::Close(close) if close.reason.code == code));
    assert_eq!(*reason, CloseReason::Failed(error));
    send(&mut session, bad.clone()).unwrap();
    assert_eq!(
        relay_outputs(&mut session),
        [],
        "what comes late is ignored"
    );
}

fn hello_a() -> Frame {
    Frame::Hello(hello(&[("a", 10)]))
}

/// A relay's session that has not answered the greeting.
fn greeted() -> RelaySession {
    let mut session = new_relay();
    send(&mut session, hello_a()).unwrap();
    session
}

fn push(number: u64, after: u64, documents: Vec<PushDocument>) -> Frame {
    Frame::Push(Push {
        form: PackForm::Whole,
        number,
        after,
        scope: scope("a"),
        documents,
        seal: None,
    })
}

/// A session with device 1 that has a signing key, which greeted and was welcomed.
fn signing_relay() -> RelaySession {
    let key = signer().public_key();
    let mut session = RelaySession::new(NOW, device(1), Some(key));
    send(&mut session, hello_a()).unwrap();
    let scopes = vec![greeting("a", 10)];
    session
        .welcome(incarnation(9), WallTime(0), scopes)
        .unwrap();
    relay_outputs(&mut session);
    session
}

fn small(number: u64) -> Frame {
    push(number, 0, vec![push_document(1, 100)])
}

fn applied(name: &str, seq: u64) -> Frame {
    Frame::Applied(Applied {
        scope: scope(name),
        seq,
    })
}

fn ask(name: &str) -> Frame {
    Frame::Reconcile(Reconcile {
        scope: scope(name),
        seq: 0,
        message: vec![1],
    })
}

fn compare(name: &str, documents: &[u8], last: bool) -> Frame {
    let documents = documents.iter().map(|n| CompareDocument {
        document: document(*n),
        changes: vec![],
    });
    Frame::Compare(Compare {
        scope: scope(name),
        documents: documents.collect(),
        last,
    })
}

/// A relay's session that fed entries 11 and 12 of scope "a".
fn fed() -> RelaySession {
    let mut session = live_relay();
    let entries = vec![change_entry(1), change_entry(2)];
    session.feed(Lane::Record, feed("a", 11, entries)).unwrap();
    session
}

fn reconciled() -> RelaySession {
    let mut session = fed();
    send(&mut session, ask("a")).unwrap();
    session.reconcile(&scope("a"), 12, vec![1]).unwrap();
    session
}

/// The removal that [`removed`] states, with some other signature or none.
fn removed_by(signer: Option<&Signer>) -> Frame {
    let Frame::Removed(removed) = removed() else {
        panic!("a removal");
    };
    Frame::Removed(Removed::new(removed.statement, signer))
}

#[test]
fn a_removal_is_the_devices_own_word_and_one_is_out_at_a_time() {
    let unread = Frame::Removed(Removed::new(b"gridbeat removed".to_vec(), None));
    check("removed_content", live_relay(), vec![unread]);
    check("removed_content", live_relay(), vec![removed_of(2)]);
    check("removed_too_soon", live_relay(), vec![removed(), removed()]);
    let other = Signer::from_seed(&[9; 32]);
    check("removed_signature", signing_relay(), vec![removed()]);
    check(
        "removed_signature",
        signing_relay(),
        vec![removed_by(Some(&other))],
    );
    check(
        "removed_signature",
        live_relay(),
        vec![removed_by(Some(&signer()))],
    );
    let mut old = hello(&[("a", 10)]);
    old.versions.newest = 1;
    let mut session = new_relay();
    send(&mut session, Frame::Hello(old)).unwrap();
    let scopes = vec![greeting("a", 10)];
    session
        .welcome(incarnation(9), WallTime(0), scopes)
        .unwrap();
    check("later_version", session, vec![removed()]);
}

#[test]
fn changes_taken_apart_come_in_no_session_of_an_earlier_version() {
    let mut session = new_relay();
    let mut old = hello(&[("a", 10)]);
    old.versions.newest = 2;
    send(&mut session, Frame::Hello(old)).unwrap();
    let scopes = vec![greeting("a", 10)];
    session
        .welcome(incarnation(9), WallTime(0), scopes)
        .unwrap();
    let push = Frame::Push(Push {
        form: PackForm::Apart,
        number: 1,
        after: 0,
        scope: scope("a"),
        documents: vec![push_document(1, 40)],
        seal: None,
    });
    check("later_version", session, vec![push]);
}

/// A session with scope "a", which comes as a snapshot of one frame that is out.
fn snapping() -> RelaySession {
    let mut session = new_relay();
    send(&mut session, Frame::Hello(hello(&[("a", 0)]))).unwrap();
    let scopes = vec![snapshot_greeting()];
    session
        .welcome(incarnation(9), WallTime(0), scopes)
        .unwrap();
    let page = snapshot(0, 1, true);
    session.snapshot(Lane::Record, page.clone()).unwrap();
    assert_eq!(
        session.snapshot(Lane::Record, page),
        Err(SessionError::OutOfPlace(scope("a"))),
        "that was the last"
    );
    relay_outputs(&mut session);
    session
}

fn taken(name: &str, number: u64) -> Frame {
    Frame::Taken(Taken {
        scope: scope(name),
        number,
    })
}

#[test]
fn what_is_taken_of_a_snapshot_is_out() {
    check("taken_unsent", snapping(), vec![taken("a", 2)]);
    check("taken_unsent", snapping(), vec![taken("b", 1)]);
    let twice = vec![taken("a", 1), taken("a", 1)];
    check("taken_unsent", snapping(), twice);
    check("taken_unsent", live_relay(), vec![taken("a", 1)]);
    check("too_early", greeted(), vec![taken("a", 1)]);
}

#[test]
fn the_feed_goes_on_where_the_greeting_said_when_a_snapshot_is_taken() {
    let mut session = snapping();
    assert_eq!(session.fed(&scope("a")), None);
    send(&mut session, taken("a", 1)).unwrap();
    let outputs = relay_outputs(&mut session);
    assert!(matches!(outputs.as_slice(), [RelayOutput::Taken { .. }]));
    assert_eq!(session.fed(&scope("a")), Some(300));
}

#[test]
fn nothing_is_reconciled_before_a_snapshot_is_taken() {
    check("reconcile_too_soon", snapping(), vec![ask("a")]);
}

#[test]
fn a_removal_is_answered_after_it_came_out_and_the_next_may_follow() {
    let mut session = signing_relay();
    for _ in 0..2 {
        send(&mut session, removed_by(Some(&signer()))).unwrap();
        let outputs = relay_outputs(&mut session);
        let [RelayOutput::Removed(proof)] = outputs.as_slice() else {
            panic!("{outputs:?}");
        };
        assert_eq!(proof.signed.map(|it| it.0), Some(signer().public_key()));
        session.noted(proof.hash).unwrap();
        assert_eq!(relay_outputs(&mut session).len(), 1);
    }
}

#[test]
fn frames_that_only_relays_send_come_from_no_device() {
    let compared = Compared {
        form: PackForm::Whole,
        scope: scope("a"),
        seq: 1,
        digest: digest(1),
        documents: vec![],
        last: true,
    };
    let frames = [
        Frame::Welcome(welcome(vec![])),
        Frame::Ack(accepted(1, 1)),
        Frame::Feed(feed("a", 11, vec![change_entry(1)])),
        Frame::Compared(compared),
        notice(Some("b")),
        Frame::Noted(Noted {
            removal: RemovalHash::of(b""),
        }),
        Frame::Snapshot(snapshot(1, 1, true)),
        Frame::Positions(positions(1)),
        Frame::Moved(positions(1)),
    ];
    for frame in frames {
        check("not_for_relay", live_relay(), vec![frame.clone()]);
        check("not_for_relay", new_relay(), vec![frame]);
    }
}

#[test]
fn the_device_greets_first_and_once() {
    for frame in [
        applied("a", 1),
        ask("a"),
        compare("a", &[], true),
        removed(),
        Frame::Gone(Gone { number: 1 }),
        Frame::Watch(Watch { is_wanted: true }),
        Frame::Close(close()),
    ] {
        check("not_greeted", new_relay(), vec![frame]);
    }
    check("greeted_twice", greeted(), vec![hello_a()]);
    check("greeted_twice", live_relay(), vec![hello_a()]);
}

#[test]
fn the_device_greets_as_the_one_its_certificate_names() {
    let mut bad = hello(&[]);
    bad.device = device(3);
    check("wrong_device", new_relay(), vec![Frame::Hello(bad)]);
}

#[test]
fn a_greeting_makes_sense() {
    let mut bad = hello(&[]);
    bad.versions = Versions {
        newest: 1,
        oldest: 2,
    };
    check("versions_backwards", new_relay(), vec![Frame::Hello(bad)]);
    let twice = hello(&[("a", 1), ("b", 1), ("a", 1)]);
    check("scope_twice", new_relay(), vec![Frame::Hello(twice)]);
}

#[test]
fn only_pushes_come_before_the_relay_has_greeted() {
    for frame in [
        applied("a", 1),
        ask("a"),
        compare("a", &[], true),
        removed(),
        Frame::Gone(Gone { number: 1 }),
        Frame::Watch(Watch { is_wanted: true }),
    ] {
        check("too_early", greeted(), vec![frame]);
    }
}

#[test]
fn pushes_are_numbered_densely_from_one() {
    check("push_repeated", live_relay(), vec![small(0)]);
    check("push_repeated", live_relay(), vec![small(1), small(1)]);
    check(
        "push_repeated",
        live_relay(),
        vec![small(2), small(1), small(2)],
    );
    let waits = push(3, 2, vec![push_document(1, 9)]);
    check("push_repeated", live_relay(), vec![waits.clone(), waits]);
    check(
        "push_too_far_ahead",
        live_relay(),
        vec![small(1 + PUSHES_OUT_MAX)],
    );
    let mut session = live_relay();
    send(&mut session, small(1)).unwrap();
    session.acknowledge(accepted(1, 11)).unwrap();
    send(&mut session, small(2)).unwrap();
    send(&mut session, small(1 + PUSHES_OUT_MAX)).unwrap();
    check(
        "push_too_far_ahead",
        session,
        vec![small(2 + PUSHES_OUT_MAX)],
    );
    check("push_too_far_ahead", live_relay(), vec![small(u64::MAX)]);
}

#[test]
fn a_push_waits_for_an_earlier_one_and_has_changes() {
    let one = || vec![push_document(1, 9)];
    check("push_after_later", live_relay(), vec![push(1, 1, one())]);
    check(
        "push_after_later",
        live_relay(),
        vec![push(1, u64::MAX, one())],
    );
    check("push_content", live_relay(), vec![push(1, 0, vec![])]);
    let mut empty = one();
    empty[0].changes.clear();
    check("push_content", live_relay(), vec![push(1, 0, empty)]);
    check(
        "push_content",
        live_relay(),
        vec![push(1, 0, [one(), one()].concat())],
    );
}

#[test]
fn the_device_keeps_to_the_push_window() {
    let large = |number, after| {
        let documents = (0..3).map(|n| push_document(n, 65_536));
        push(number, after, documents.collect())
    };
    // Whether they wait for the greetings, for an earlier push or for their acknowledgement.
    for session in [new_relay(), live_relay()] {
        check(
            "push_over_window",
            session,
            vec![large(1, 0), large(2, 0), large(3, 0)],
        );
    }
    let waiting = vec![large(2, 1), large(3, 1), large(4, 1)];
    check("push_over_window", live_relay(), waiting);
}

#[test]
fn what_is_applied_was_sent_and_rises() {
    check("applied_unsent", fed(), vec![applied("a", 13)]);
    check("applied_unsent", fed(), vec![applied("b", 1)]);
    check("applied_unsent", reconciled(), vec![applied("a", 12)]);
    check("applied_backwards", fed(), vec![applied("a", 10)]);
    check(
        "applied_backwards",
        fed(),
        vec![applied("a", 12), applied("a", 11)],
    );
}

#[test]
fn a_reconciliation_goes_step_by_step_to_its_end() {
    check("reconcile_not_granted", live_relay(), vec![ask("b")]);
    check("reconcile_too_soon", live_relay(), vec![ask("a"), ask("a")]);
    check(
        "reconcile_too_soon",
        reconciled(),
        vec![compare("a", &[1], true), ask("a")],
    );
    let mut endless = reconciled();
    for _ in 1..RECONCILE_ROUNDS_MAX {
        send(&mut endless, ask("a")).unwrap();
        endless.reconcile(&scope("a"), 12, vec![1]).unwrap();
    }
    check("reconcile_too_long", endless, vec![ask("a")]);
}

#[test]
fn a_comparison_follows_a_reconciliation_and_names_documents_once() {
    check(
        "compare_unreconciled",
        live_relay(),
        vec![compare("a", &[], true)],
    );
    check(
        "compare_unreconciled",
        live_relay(),
        vec![compare("b", &[], true)],
    );
    check(
        "compare_unreconciled",
        live_relay(),
        vec![ask("a"), compare("a", &[], true)],
    );
    let two = vec![compare("a", &[1], false), compare("a", &[2], true)];
    check("compare_too_soon", reconciled(), two);
    check(
        "compare_content",
        reconciled(),
        vec![compare("a", &[1, 1], true)],
    );
    check(
        "compare_content",
        reconciled(),
        vec![compare("a", &[], false)],
    );
}

#[test]
fn a_silent_device_ends_the_session() {
    let mut session = new_relay();
    let deadline = session.next_deadline().unwrap();
    assert_eq!(deadline, NOW.plus(GREETING_TIMEOUT));
    session.handle(NOW, RelayInput::Deadline).unwrap();
    let result = session.handle(deadline, RelayInput::Deadline);
    assert_eq!(result, Err(SessionError::GreetingTimedOut));
    assert_eq!(session.next_deadline(), None);
}

#[test]
fn a_device_of_another_age_is_told_that_its_program_must_be_updated() {
    let mut future = hello(&[]);
    future.versions = Versions {
        newest: 9,
        oldest: 7,
    };
    let mut session = new_relay();
    let theirs = future.versions;
    let result = send(&mut session, Frame::Hello(future));
    assert_eq!(result, Err(SessionError::NoCommonVersion { theirs }));
    let outputs = relay_outputs(&mut session);
    assert!(matches!(
        outputs.first(),
        Some(RelayOutput::Send { frame: Frame::Close(close), .. }) if close.reason.code == "no_common_version"
    ));
}

#[test]
fn pushes_that_overtake_the_greeting_come_out_after_the_welcome_in_order() {
    let mut session = new_relay();
    send(&mut session, small(2)).unwrap();
    send(&mut session, hello_a()).unwrap();
    send(&mut session, small(1)).unwrap();
    assert!(matches!(
        relay_outputs(&mut session).as_slice(),
        [RelayOutput::Greeted(_)]
    ));
    let mut scopes = vec![greeting("a", 10)];
    scopes[0].grant = Grant::Read;
    session
        .welcome(incarnation(9), WallTime(0), scopes)
        .unwrap();
    assert!(matches!(
        relay_outputs(&mut session).as_slice(),
        [
            RelayOutput::Send {
                frame: Frame::Welcome(_),
                ..
            },
            RelayOutput::Pushed { number: 1, .. },
            RelayOutput::Pushed { number: 2, .. },
        ]
    ));
}

#[test]
fn a_push_waits_for_those_it_names_and_for_no_others() {
    let numbers = |session: &mut RelaySession| {
        let outputs = relay_outputs(session).into_iter();
        let numbers = outputs.map(|output| {
            let RelayOutput::Pushed { number, .. } = output else {
                panic!("{output:?}");
            };
            number
        });
        numbers.collect::<Vec<u64>>()
    };
    let mut session = live_relay();
    send(&mut session, push(4, 2, vec![push_document(1, 9)])).unwrap();
    assert_eq!(numbers(&mut session), Vec::<u64>::new());
    send(&mut session, push(3, 0, vec![push_document(2, 9)])).unwrap();
    assert_eq!(numbers(&mut session), [3], "an urgent one goes ahead");
    send(&mut session, push(2, 1, vec![push_document(1, 9)])).unwrap();
    assert_eq!(numbers(&mut session), Vec::<u64>::new());
    send(&mut session, push(1, 0, vec![push_document(1, 9)])).unwrap();
    assert_eq!(numbers(&mut session), [1, 2, 4]);
}

#[test]
fn the_relays_own_slips_are_told_and_change_nothing() {
    let mut session = fed();
    relay_outputs(&mut session);
    let frame = |name, first_seq, entries| -> Feed { feed(name, first_seq, entries) };
    let one = || vec![change_entry(1)];
    let out_of_place = |name| Err(SessionError::OutOfPlace(scope(name)));
    assert_eq!(
        session.feed(Lane::Log, frame("a", 12, one())),
        out_of_place("a")
    );
    assert_eq!(
        session.feed(Lane::Log, frame("a", 14, one())),
        out_of_place("a")
    );
    assert_eq!(
        session.feed(Lane::Log, frame("b", 1, one())),
        out_of_place("b")
    );
    let empty = session.feed(Lane::Log, frame("a", 13, vec![]));
    assert!(matches!(
        empty,
        Err(SessionError::WrongSize { weight: 0, .. })
    ));
    send(&mut session, ask("a")).unwrap();
    assert_eq!(
        session.feed(Lane::Log, frame("a", 13, one())),
        out_of_place("a")
    );
    let mut early = greeted();
    assert_eq!(
        early.feed(Lane::Log, frame("a", 11, one())),
        Err(SessionError::NotOpen)
    );
    assert_eq!(early.feed_room(&scope("a")), 0);
}

#[test]
fn a_device_with_a_signing_key_signs_every_push() {
    let key = signer();
    let one = || vec![push_document(1, 100)];
    let good = || sealed(&key, 1, one());
    check("push_unsigned", signing_relay(), vec![small(1)]);
    let signed = |push| Frame::Push(push);
    let other = Signer::from_seed(&[9; 32]);
    let by_other = signed(sealed(&other, 1, one()));
    check("push_signature", signing_relay(), vec![by_other]);
    // Where the certificate has no key, nobody could say whose signature it is.
    check("push_signature", live_relay(), vec![signed(good())]);
    let mut forged = vec![good(); 6];
    forged[0].scope = scope("b");
    forged[1].documents = vec![push_document(1, 101)];
    forged[2].documents = vec![push_document(2, 100)];
    forged[3].documents[0].changes[0].recovered_from = Some(device(3));
    forged[4].seal.as_mut().unwrap().stamp.number = 8;
    forged[5].seal.as_mut().unwrap().stamp.previous = None;
    for forged in forged {
        check("push_signature", signing_relay(), vec![signed(forged)]);
    }
}

#[test]
fn a_signed_push_comes_out_with_what_proves_it() {
    let push = sealed(&signer(), 1, vec![push_document(1, 100)]);
    let mut session = signing_relay();
    send(&mut session, Frame::Push(push.clone())).unwrap();
    let outputs = relay_outputs(&mut session);
    let [RelayOutput::Pushed { proof, .. }] = outputs.as_slice() else {
        panic!("{outputs:?}");
    };
    let seal = push.seal.unwrap();
    assert_eq!(proof.signed, Some((signer().public_key(), seal.signature)));
    let again = BatchProof::of_bytes(proof.statement.clone(), proof.signed);
    assert!(again == *proof && again.is_good());
    let statement = BatchStatement::from_bytes(&proof.statement).unwrap();
    assert_eq!((statement.device, statement.stamp), (device(1), seal.stamp));
    let named = push.documents[0].changes[0].hash();
    assert_eq!(statement.documents[0].changes, [(named, None)]);
    assert_eq!(statement.to_bytes(), proof.statement);
}

#[test]
fn a_forged_push_that_overtook_the_greeting_ends_the_session_at_the_welcome() {
    let mut session = RelaySession::new(NOW, device(1), Some(signer().public_key()));
    send(&mut session, small(1)).unwrap();
    send(&mut session, hello_a()).unwrap();
    relay_outputs(&mut session);
    let welcomed = session.welcome(incarnation(9), WallTime(0), vec![greeting("a", 10)]);
    let unsigned = SessionError::DeviceMisbehaved(DeviceMisbehaved::PushUnsigned(1));
    assert_eq!(welcomed, Err(unsigned.clone()));
    let last = relay_outputs(&mut session).pop();
    assert_eq!(
        last,
        Some(RelayOutput::Closed(CloseReason::Failed(unsigned)))
    );
}

#[test]
fn a_signature_costs_a_push_of_one_change_little() {
    let signed = sealed(&signer(), 1, vec![push_document(1, 100)]);
    let mut unsigned = signed.clone();
    unsigned.seal = None;
    let size = |push| encode(&Frame::Push(push)).len();
    let growth = size(signed) - size(unsigned);
    assert!(growth <= 104, "{growth} bytes");
}
