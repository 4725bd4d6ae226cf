//! Every rule that a relay can break ends the device's session, with the rule's code.
//!
//! long because each rule has its cases here, and a reader looks for one by its neighbours.

use gridbeat_base::Lane;
use gridbeat_sync_protocol::limits::{FEED_WEIGHT_MAX, FEED_WINDOW_BYTES, GREETING_TIMEOUT};
use gridbeat_sync_protocol::{
    Ack, Applied, CloseReason, Compare, CompareDocument, Compared, ComparedDocument, DeviceInput,
    DeviceOutput, DeviceSession, Entry, Feed, Frame, Gone, Grant, Hello, Here, Noted, PackForm,
    Reconcile, RemovalHash, ScopeGreeting, SessionError, Taken, VERSION_NEWEST, Verdict, Watch,
    Welcome,
};

use crate::positions::{fix, positions};
use crate::support::*;

/// Plays a case: the last frame breaks the rule with this code.
fn check(code: &str, mut session: DeviceSession, frames: Vec<Frame>) {
    let Some((bad, good)) = frames.split_last() else {
        panic!("{code}: no frames");
    };
    for frame in good {
        give(&mut session, frame.clone()).unwrap_or_else(|error| panic!("{code}: {error:?}"));
    }
    device_outputs(&mut session);
    let error = give(&mut session, bad.clone()).expect_err(code);
    let SessionError::RelayMisbehaved(fault) = &error else {
        panic!("{code}: {error:?}");
    };
    assert_eq!(fault.code(), code);
    assert!(error.ends_session());
    let outputs = device_outputs(&mut session);
    let [
        ..,
        DeviceOutput::Send { frame, .. },
        DeviceOutput::Closed(reason),
    ] = outputs.as_slice()
    else {
        panic!("{code}: {outputs:?}");
    };
    assert!(
        matches!(frame, Frame::Close(close) if close.reason.code == code && close.retry_after_s > 0)
    );
    assert_eq!(*reason, CloseReason::Failed(error));
    assert_eq!(
        session.push(Lane::Record, &scope("a"), vec![push_document(1, 9)]),
        Err(SessionError::NotOpen)
    );
}

fn greeting_a() -> DeviceSession {
    greeting_device(hello(&[("a", 10)]))
}

fn welcome_a() -> Frame {
    Frame::Welcome(welcome(vec![greeting("a", 10)]))
}

fn feed_a(first_seq: u64, entries: Vec<Entry>) -> Frame {
    Frame::Feed(feed("a", first_seq, entries))
}

fn change_a(seq: u64) -> Frame {
    feed_a(seq, vec![change_entry(1)])
}

/// A live session with one push of one change out, as number 1.
fn pushed() -> DeviceSession {
    let mut session = live_device();
    let documents = vec![push_document(1, 100)];
    session.push(Lane::Record, &scope("a"), documents).unwrap();
    device_outputs(&mut session);
    session
}

fn reconciling() -> DeviceSession {
    let mut session = live_device();
    session.reconcile(&scope("a"), vec![1]).unwrap();
    session
}

fn answer(name: &str) -> Frame {
    Frame::Reconcile(Reconcile {
        scope: scope(name),
        seq: 12,
        message: vec![1],
    })
}

fn comparing(last: bool) -> DeviceSession {
    let mut session = reconciling();
    give(&mut session, answer("a")).unwrap();
    let document = CompareDocument {
        document: document(1),
        changes: vec![],
    };
    session.compare(&scope("a"), vec![document], last).unwrap();
    session
}

fn compared(name: &str, documents: &[u8], last: bool) -> Frame {
    let documents = documents.iter().map(|n| ComparedDocument {
        document: document(*n),
        held: None,
    });
    Frame::Compared(Compared {
        form: PackForm::Whole,
        scope: scope(name),
        seq: 12,
        digest: digest(1),
        documents: documents.collect(),
        last,
    })
}

fn compare() -> Frame {
    Frame::Compare(Compare {
        scope: scope("a"),
        documents: vec![],
        last: true,
    })
}

fn applied() -> Frame {
    Frame::Applied(Applied {
        scope: scope("a"),
        seq: 11,
    })
}

fn noted(removed: &Frame) -> Frame {
    let Frame::Removed(removed) = removed else {
        panic!("a removal");
    };
    let removal = RemovalHash::of(&removed.statement);
    Frame::Noted(Noted { removal })
}

/// A session of version 2 with scope "a", and "b" that is not granted.
fn leaving() -> DeviceSession {
    let mut session = greeting_device(hello(&[("a", 10), ("b", 3)]));
    let mut scopes = vec![greeting("a", 10), greeting("b", 0)];
    scopes[1].grant = Grant::None;
    let mut welcome = welcome(scopes);
    welcome.version = 2;
    give(&mut session, Frame::Welcome(welcome)).unwrap();
    device_outputs(&mut session);
    session
}

#[test]
fn a_notice_is_of_what_is_not_granted() {
    check("notice_granted", leaving(), vec![notice(Some("a"))]);
    check("notice_granted", leaving(), vec![notice(None)]);
    check("later_version", live_device(), vec![notice(Some("b"))]);
    let mut session = leaving();
    give(&mut session, notice(Some("b"))).unwrap();
    let outputs = device_outputs(&mut session);
    assert!(matches!(outputs.as_slice(), [DeviceOutput::Noticed(_)]));
}

#[test]
fn a_removal_is_acknowledged_once_when_it_is_out() {
    let out = || {
        let mut session = leaving();
        let Frame::Removed(removed) = removed() else {
            panic!("a removal");
        };
        session.removed(removed.clone()).unwrap();
        assert_eq!(session.removed(removed), Err(SessionError::Full));
        device_outputs(&mut session);
        session
    };
    let (good, other) = (noted(&removed()), noted(&removed_of(2)));
    check("noted_unsent", leaving(), vec![good.clone()]);
    check("noted_unsent", out(), vec![other]);
    check("noted_unsent", out(), vec![good.clone(), good.clone()]);
    check("later_version", live_device(), vec![good]);
}

/// A session with scope "a", which comes as a snapshot.
fn snapping() -> DeviceSession {
    let mut session = greeting_device(hello(&[("a", 0)]));
    give(&mut session, announcing(snapshot_greeting())).unwrap();
    device_outputs(&mut session);
    session
}

fn announcing(greeting: ScopeGreeting) -> Frame {
    Frame::Welcome(Welcome {
        version: 3,
        ..welcome(vec![greeting])
    })
}

fn page(number: u64, count: usize, last: bool) -> Frame {
    Frame::Snapshot(snapshot(number, count, last))
}

#[test]
fn a_snapshot_is_of_a_granted_scope_without_a_cursor_in_a_session_that_has_it() {
    let greeted = |cursor| greeting_device(hello(&[("a", cursor)]));
    check(
        "welcome_snapshot",
        greeted(10),
        vec![announcing(snapshot_greeting())],
    );
    let withheld = ScopeGreeting {
        grant: Grant::None,
        ..snapshot_greeting()
    };
    check("welcome_snapshot", greeted(0), vec![announcing(withheld)]);
    let old = Frame::Welcome(Welcome {
        version: 2,
        ..welcome(vec![snapshot_greeting()])
    });
    check("welcome_snapshot", greeted(0), vec![old]);
}

#[test]
fn a_snapshot_comes_where_it_was_announced_and_once() {
    check("snapshot_not_due", live_device(), vec![page(1, 1, true)]);
    let early = vec![page(1, 1, true), announcing(greeting("a", 300))];
    check(
        "snapshot_not_due",
        greeting_device(hello(&[("a", 0)])),
        early,
    );
    let mut over = snapping();
    give(&mut over, page(1, 1, true)).unwrap();
    over.taken(&scope("a"), 1).unwrap();
    check("snapshot_not_due", over, vec![page(2, 1, true)]);
}

#[test]
fn snapshot_frames_are_numbered_and_only_the_last_is_empty() {
    for frames in [
        vec![page(0, 1, false)],
        vec![page(2, 1, false), page(2, 1, false)],
        vec![page(1, 1, false), page(1, 1, false)],
        vec![page(1, 1, true), page(2, 1, false)],
        vec![page(2, 1, false), page(1, 1, true)],
        vec![page(1, 0, false)],
    ] {
        check("snapshot_numbers", snapping(), frames);
    }
    let mut session = snapping();
    give(&mut session, page(1, 0, true)).unwrap();
}

#[test]
fn nothing_is_fed_before_a_snapshot_is_taken() {
    let entry = Frame::Feed(feed("a", 301, vec![change_entry(1)]));
    check("feed_not_reconciled", snapping(), vec![entry.clone()]);
    let mut session = snapping();
    give(&mut session, page(1, 1, true)).unwrap();
    assert_eq!(
        session.reconcile(&scope("a"), vec![1]),
        Err(SessionError::OutOfPlace(scope("a")))
    );
    session.taken(&scope("a"), 1).unwrap();
    device_outputs(&mut session);
    give(&mut session, entry).unwrap();
    let outputs = device_outputs(&mut session);
    assert!(matches!(outputs.as_slice(), [DeviceOutput::Feed(_)]));
}

#[test]
fn snapshot_frames_keep_to_the_window_of_the_feed() {
    let large = |number| {
        let mut frame = snapshot(number, 1, false);
        frame.documents[0].changes = vec![change(&[7; 60_000]); 20];
        Frame::Snapshot(frame)
    };
    let over = vec![large(1), large(2), large(3)];
    check("feed_over_window", snapping(), over);
}

#[test]
fn frames_that_only_devices_send_come_from_no_relay() {
    let taken = Frame::Taken(Taken {
        scope: scope("a"),
        number: 1,
    });
    for frame in [
        Frame::Hello(hello(&[])),
        compare(),
        applied(),
        removed(),
        taken,
        Frame::Here(Here {
            number: 1,
            age_ms: 0,
            fix: fix(),
        }),
        Frame::Gone(Gone { number: 1 }),
        Frame::Watch(Watch { is_wanted: true }),
    ] {
        check("not_for_device", live_device(), vec![frame]);
    }
}

#[test]
fn the_relay_greets_first_and_once() {
    for frame in [
        Frame::Ack(accepted(1, 1)),
        answer("a"),
        compared("a", &[], true),
        notice(Some("b")),
        noted(&removed()),
        Frame::Positions(positions(1)),
    ] {
        check("not_welcomed", greeting_a(), vec![frame]);
    }
    check(
        "welcomed_twice",
        greeting_a(),
        vec![welcome_a(), welcome_a()],
    );
}

#[test]
fn the_relay_chooses_among_the_versions_offered() {
    let mut bad = welcome(vec![greeting("a", 10)]);
    bad.version = VERSION_NEWEST + 1;
    check(
        "version_not_offered",
        greeting_a(),
        vec![Frame::Welcome(bad)],
    );
}

#[test]
fn the_relay_answers_for_each_scope_in_order_and_once() {
    for scopes in [
        vec![],
        vec!["b"],
        vec!["b", "a"],
        vec!["a", "b", "b"],
        vec!["a", "a"],
    ] {
        let scopes = scopes.into_iter().map(|name| greeting(name, 10));
        let bad = Frame::Welcome(welcome(scopes.collect()));
        check("welcome_scopes", greeting_a(), vec![bad]);
    }
}

#[test]
fn an_acknowledgement_names_one_push_that_is_out_in_full() {
    let ack = |change: fn(&mut Ack)| {
        let mut ack = accepted(1, 11);
        change(&mut ack);
        Frame::Ack(ack)
    };
    check(
        "acknowledged_unsent",
        pushed(),
        vec![ack(|ack| ack.number = 2)],
    );
    check(
        "acknowledged_unsent",
        pushed(),
        vec![ack(|_| ()), ack(|_| ())],
    );
    check(
        "ack_counts",
        pushed(),
        vec![ack(|ack| ack.verdicts.clear())],
    );
    check(
        "ack_counts",
        pushed(),
        vec![ack(|ack| ack.attached.push(true))],
    );
    check(
        "ack_entries",
        pushed(),
        vec![ack(|ack| ack.first_seq = None)],
    );
    check(
        "ack_entries",
        pushed(),
        vec![ack(|ack| ack.first_seq = Some(0))],
    );
    check(
        "ack_entries",
        pushed(),
        vec![ack(|ack| ack.first_seq = Some(u64::MAX))],
    );
    check(
        "ack_entries",
        pushed(),
        vec![ack(|ack| ack.verdicts = vec![Verdict::Known])],
    );
}

#[test]
fn a_scope_that_is_not_granted_is_not_fed() {
    let other = Frame::Feed(feed("b", 1, vec![change_entry(1)]));
    check("feed_not_granted", live_device(), vec![other.clone()]);
    check("feed_not_granted", greeting_a(), vec![other, welcome_a()]);
    let mut refused = welcome(vec![greeting("a", 10)]);
    refused.scopes[0].grant = Grant::None;
    let refused = Frame::Welcome(refused);
    check(
        "feed_not_granted",
        greeting_a(),
        vec![refused.clone(), change_a(11)],
    );
    check(
        "feed_not_granted",
        greeting_a(),
        vec![change_a(11), refused],
    );
}

#[test]
fn a_scope_that_must_be_reconciled_is_not_fed_before() {
    let mut apart = welcome(vec![greeting("a", 10)]);
    apart.scopes[0].digest_agrees = false;
    let apart = Frame::Welcome(apart);
    check(
        "feed_not_reconciled",
        greeting_a(),
        vec![apart.clone(), change_a(11)],
    );
    check(
        "feed_not_reconciled",
        greeting_a(),
        vec![change_a(11), apart],
    );
    let mut restored = welcome(vec![greeting("a", 10)]);
    restored.incarnation = incarnation(8);
    let restored = Frame::Welcome(restored);
    check(
        "feed_not_reconciled",
        greeting_a(),
        vec![restored, change_a(11)],
    );
}

#[test]
fn entries_are_numbered_from_one_and_lie_within_the_head() {
    let mut beyond = feed("a", 11, vec![change_entry(1), change_entry(2)]);
    beyond.head = 11;
    let cases = [
        feed("a", 11, vec![]),
        feed("a", 0, vec![change_entry(1)]),
        feed("a", 11, vec![change_entry(1), Entry::Own { count: 0 }]),
        feed("a", 11, vec![Entry::Own { count: u64::MAX }]),
        feed("a", u64::MAX, vec![change_entry(1), change_entry(1)]),
        beyond,
    ];
    for case in cases {
        check("feed_numbers", live_device(), vec![Frame::Feed(case)]);
    }
}

#[test]
fn entries_come_once() {
    check("feed_repeats", live_device(), vec![change_a(10)]);
    check(
        "feed_repeats",
        live_device(),
        vec![change_a(11), change_a(11)],
    );
    check(
        "feed_repeats",
        live_device(),
        vec![change_a(13), change_a(13)],
    );
    let two = feed_a(11, vec![change_entry(1), change_entry(2)]);
    check("feed_repeats", live_device(), vec![change_a(12), two]);
}

#[test]
fn the_relay_keeps_to_the_feed_window() {
    let large = |first_seq: u64| {
        let changes = (0..31).map(|_| change(&[0; 65_536])).collect();
        let entry = Entry::Attach {
            document: document(1),
            kind: "incident".to_owned(),
            schema_version: 1,
            changes,
        };
        feed_a(first_seq, vec![entry])
    };
    let Frame::Feed(one) = large(11) else {
        unreachable!()
    };
    assert!(
        one.weight() <= FEED_WEIGHT_MAX && 2 * one.weight() > FEED_WINDOW_BYTES + FEED_WEIGHT_MAX
    );
    // Whether they wait for an earlier frame or to be applied.
    check(
        "feed_over_window",
        live_device(),
        vec![large(12), large(13)],
    );
    check(
        "feed_over_window",
        live_device(),
        vec![large(11), large(12)],
    );
    check("feed_over_window", greeting_a(), vec![large(11), large(12)]);
}

#[test]
fn only_what_was_acknowledged_in_this_session_is_fed_as_a_count() {
    let own = |seq, count| feed_a(seq, vec![Entry::Own { count }]);
    check("own_not_acknowledged", live_device(), vec![own(11, 1)]);
    let ack = || Frame::Ack(accepted(1, 11));
    check("own_not_acknowledged", pushed(), vec![ack(), own(11, 2)]);
    check("own_not_acknowledged", pushed(), vec![own(11, 2), ack()]);
    check(
        "own_not_acknowledged",
        pushed(),
        vec![ack(), change_a(11), own(12, 1)],
    );
}

#[test]
fn a_reconciliation_is_answered_when_asked() {
    check("reconcile_unasked", live_device(), vec![answer("a")]);
    check("reconcile_unasked", live_device(), vec![answer("b")]);
    check(
        "reconcile_unasked",
        reconciling(),
        vec![answer("a"), answer("a")],
    );
    check("reconcile_unasked", comparing(true), vec![answer("a")]);
}

#[test]
fn a_comparison_is_answered_when_asked_document_by_document_and_to_its_end() {
    check(
        "compared_unasked",
        live_device(),
        vec![compared("a", &[], true)],
    );
    check(
        "compared_unasked",
        live_device(),
        vec![compared("b", &[], true)],
    );
    check(
        "compared_unasked",
        reconciling(),
        vec![compared("a", &[1], true)],
    );
    let twice = vec![compared("a", &[1], true), compared("a", &[], true)];
    check("compared_unasked", comparing(true), twice);
    check(
        "compared_document",
        comparing(true),
        vec![compared("a", &[2], true)],
    );
    check(
        "compared_document",
        comparing(true),
        vec![compared("a", &[1, 1], true)],
    );
    check(
        "compared_too_short",
        comparing(true),
        vec![compared("a", &[], true)],
    );
    check(
        "compared_too_short",
        comparing(false),
        vec![compared("a", &[1], true)],
    );
}

#[test]
fn a_silent_relay_ends_the_session() {
    let mut session = greeting_a();
    let deadline = session.next_deadline().unwrap();
    assert_eq!(deadline, NOW.plus(GREETING_TIMEOUT));
    session.handle(NOW, DeviceInput::Deadline).unwrap();
    assert_eq!(device_outputs(&mut session), []);
    let result = session.handle(deadline, DeviceInput::Deadline);
    assert_eq!(result, Err(SessionError::GreetingTimedOut));
    assert_eq!(session.next_deadline(), None);
    assert!(matches!(
        device_outputs(&mut session).as_slice(),
        [
            DeviceOutput::Send {
                frame: Frame::Close(_),
                ..
            },
            DeviceOutput::Closed(_)
        ]
    ));
}

#[test]
fn a_first_session_names_no_incarnation_and_is_fed_from_the_start() {
    let first = Hello {
        incarnation: None,
        ..hello(&[("a", 0)])
    };
    let mut session = greeting_device(first);
    // The frame overtakes the greeting, and its scope was not even named.
    let early: Feed = feed("b", 1, vec![change_entry(1)]);
    give(&mut session, Frame::Feed(early.clone())).unwrap();
    assert_eq!(device_outputs(&mut session), []);
    let scopes = vec![greeting("a", 0), greeting("b", 1)];
    give(&mut session, Frame::Welcome(welcome(scopes))).unwrap();
    assert!(matches!(
        device_outputs(&mut session).as_slice(),
        [DeviceOutput::Welcomed(_), DeviceOutput::Feed(fed)] if *fed == early
    ));
}

#[test]
fn changes_taken_apart_come_in_no_session_of_an_earlier_version() {
    let mut older = welcome(vec![greeting("a", 10)]);
    older.version = 2;
    let apart = Feed {
        form: PackForm::Apart,
        ..feed("a", 11, vec![change_entry(11)])
    };
    let frames = [Frame::Welcome(older), Frame::Feed(apart)];
    check("later_version", greeting_a(), frames.to_vec());
    // One that overtook the greeting is judged by it.
    let [welcome, feed] = frames;
    check("later_version", greeting_a(), vec![feed, welcome]);
}
