//! What a device may have out, what goes first, and what waits for what.

use gridbeat_base::Lane;
use gridbeat_sync_protocol::limits::{
    PUSH_CHANGES_MAX, PUSH_DOCUMENTS_MAX, PUSHES_OUT_MAX, PUSHES_RESERVE,
};
use gridbeat_sync_protocol::{
    Applied, Compare, Compared, DeviceOutput, DeviceSession, Entry, Frame, PackForm, Push,
    Reconcile, SessionError,
};

use crate::support::*;

fn push(session: &mut DeviceSession, lane: Lane, documents: &[u8], bytes: usize) -> Option<Push> {
    let documents = documents.iter().map(|n| push_document(*n, bytes));
    let number = session.push(lane, &scope("a"), documents.collect()).ok()?;
    match device_outputs(session).pop() {
        Some(DeviceOutput::Send {
            lane: sent,
            frame: Frame::Push(push),
        }) => {
            assert_eq!((sent, push.number), (lane, number));
            Some(push)
        }
        other => panic!("{other:?}"),
    }
}

fn feeds(session: &mut DeviceSession) -> Vec<u64> {
    let feed = |output| match output {
        DeviceOutput::Feed(feed) => Some(feed.first_seq),
        DeviceOutput::Send { .. }
        | DeviceOutput::Welcomed(_)
        | DeviceOutput::Snapshot(_)
        | DeviceOutput::Acknowledged { .. }
        | DeviceOutput::Reconciled { .. }
        | DeviceOutput::Compared(_)
        | DeviceOutput::Aligned { .. }
        | DeviceOutput::Noticed(_)
        | DeviceOutput::Noted(_)
        | DeviceOutput::Offered { .. }
        | DeviceOutput::Kept { .. }
        | DeviceOutput::Part { .. }
        | DeviceOutput::Withheld { .. }
        | DeviceOutput::Positions(_)
        | DeviceOutput::Closed(_) => None,
    };
    device_outputs(session)
        .into_iter()
        .filter_map(feed)
        .collect()
}

fn change_at(seq: u64) -> Frame {
    Frame::Feed(feed("a", seq, vec![change_entry(1)]))
}

#[test]
fn pushes_go_out_with_the_greeting_and_wait_only_for_their_own_documents() {
    let mut session = greeting_device(hello(&[("a", 10)]));
    let mut after = |documents: &[u8]| {
        push(&mut session, Lane::Record, documents, 9)
            .unwrap()
            .after
    };
    assert_eq!(after(&[1, 2]), 0);
    assert_eq!(after(&[3]), 0);
    assert_eq!(after(&[2]), 1);
    assert_eq!(after(&[3, 2]), 3);
}

#[test]
fn a_push_does_not_wait_for_what_is_acknowledged() {
    let mut session = live_device();
    push(&mut session, Lane::Record, &[1], 9).unwrap();
    give(&mut session, Frame::Ack(accepted(1, 11))).unwrap();
    device_outputs(&mut session);
    assert_eq!(push(&mut session, Lane::Record, &[1], 9).unwrap().after, 0);
}

#[test]
fn a_full_window_takes_urgent_pushes_a_little_longer() {
    let mut session = live_device();
    let mut out = 0;
    while push(&mut session, Lane::Log, &[1], 16_000).is_some() {
        out += 1;
    }
    assert_eq!(out, 15);
    assert!(!session.can_push(Lane::Record) && session.can_push(Lane::Urgent));
    let record = session.push(Lane::Record, &scope("a"), vec![push_document(2, 9)]);
    assert_eq!(record, Err(SessionError::Full));
    let urgent = push(&mut session, Lane::Urgent, &[2], 16_000).unwrap();
    assert_eq!(urgent.after, 0, "it waits for none of them");
    push(&mut session, Lane::Urgent, &[3], 16_000).unwrap();
    assert!(!session.can_push(Lane::Urgent));
    give(&mut session, Frame::Ack(accepted(7, 11))).unwrap();
    assert!(session.can_push(Lane::Urgent) && !session.can_push(Lane::Log));
}

#[test]
fn one_push_that_is_never_acknowledged_holds_the_others_in_the_end() {
    let mut session = live_device();
    push(&mut session, Lane::Record, &[1], 9).unwrap();
    let mut number = 1;
    while let Some(push) = push(&mut session, Lane::Record, &[2], 9) {
        number = push.number;
        give(&mut session, Frame::Ack(accepted(number, 10 + number))).unwrap();
        device_outputs(&mut session);
    }
    assert_eq!(number, PUSHES_OUT_MAX - PUSHES_RESERVE);
    give(&mut session, Frame::Ack(accepted(1, 11))).unwrap();
    assert!(session.can_push(Lane::Record));
}

#[test]
fn a_push_of_the_wrong_size_is_told_and_changes_nothing() {
    let mut session = live_device();
    let mut offer = |documents| session.push(Lane::Record, &scope("a"), documents);
    let wrong = |result| {
        assert!(
            matches!(result, Err(SessionError::WrongSize { .. })),
            "{result:?}"
        )
    };
    wrong(offer(vec![]));
    wrong(offer(vec![push_document(1, 9), push_document(1, 9)]));
    let mut empty = push_document(1, 9);
    empty.changes.clear();
    wrong(offer(vec![empty]));
    let mut many = push_document(1, 9);
    many.changes = vec![many.changes[0].clone(); PUSH_CHANGES_MAX + 1];
    wrong(offer(vec![many]));
    let most = u8::try_from(PUSH_DOCUMENTS_MAX).unwrap();
    wrong(offer((0..=most).map(|n| push_document(n, 9)).collect()));
    wrong(offer((0..4).map(|n| push_document(n, 65_536)).collect()));
    assert_eq!(offer(vec![push_document(1, 9)]), Ok(1));
    let mut idle = DeviceSession::default();
    assert!(!idle.can_push(Lane::Urgent));
    let early = idle.push(Lane::Urgent, &scope("a"), vec![push_document(1, 9)]);
    assert_eq!(early, Err(SessionError::NotOpen));
}

#[test]
fn feed_frames_come_out_in_order() {
    let mut session = live_device();
    for seq in [13, 14, 12] {
        give(&mut session, change_at(seq)).unwrap();
        assert_eq!(feeds(&mut session), Vec::<u64>::new());
    }
    give(&mut session, change_at(11)).unwrap();
    assert_eq!(feeds(&mut session), [11, 12, 13, 14]);
}

#[test]
fn a_count_of_own_entries_waits_for_the_acknowledgement_on_the_other_stream() {
    let mut session = live_device();
    push(&mut session, Lane::Record, &[1], 9).unwrap();
    push(&mut session, Lane::Record, &[2], 9).unwrap();
    let own = Frame::Feed(feed("a", 11, vec![Entry::Own { count: 2 }]));
    give(&mut session, own).unwrap();
    give(&mut session, change_at(13)).unwrap();
    give(&mut session, Frame::Ack(accepted(2, 11))).unwrap();
    assert_eq!(feeds(&mut session), Vec::<u64>::new());
    give(&mut session, Frame::Ack(accepted(1, 12))).unwrap();
    assert_eq!(feeds(&mut session), [11, 13]);
}

#[test]
fn frames_from_before_a_reconciliation_are_ignored_and_those_from_after_it_kept() {
    let mut session = live_device();
    give(&mut session, change_at(12)).unwrap();
    session.reconcile(&scope("a"), vec![1]).unwrap();
    give(&mut session, change_at(11)).unwrap();
    let answer = Reconcile {
        scope: scope("a"),
        seq: 14,
        message: vec![1],
    };
    give(&mut session, Frame::Reconcile(answer)).unwrap();
    give(&mut session, change_at(13)).unwrap();
    session.compare(&scope("a"), vec![], true).unwrap();
    // The relay is done and feeds again; this overtakes its last answer.
    give(&mut session, change_at(15)).unwrap();
    assert_eq!(feeds(&mut session), Vec::<u64>::new());
    let compared = Compared {
        form: PackForm::Whole,
        scope: scope("a"),
        seq: 14,
        digest: digest(1),
        documents: vec![],
        last: true,
    };
    give(&mut session, Frame::Compared(compared)).unwrap();
    assert_eq!(feeds(&mut session), [15]);
    give(&mut session, change_at(14)).unwrap();
    give(&mut session, change_at(16)).unwrap();
    assert_eq!(feeds(&mut session), [16]);
}

#[test]
fn the_relay_is_told_of_whole_frames_that_are_applied_once() {
    let mut session = live_device();
    let two = feed("a", 11, vec![change_entry(1), change_entry(2)]);
    give(&mut session, Frame::Feed(two)).unwrap();
    give(&mut session, change_at(13)).unwrap();
    device_outputs(&mut session);
    let mut told = |seq| {
        session.applied(&scope("a"), seq).unwrap();
        device_outputs(&mut session)
    };
    assert_eq!(told(10), []);
    assert_eq!(told(11), []);
    let applied = Frame::Applied(Applied {
        scope: scope("a"),
        seq: 13,
    });
    let lane = Lane::Control;
    assert_eq!(
        told(99),
        [DeviceOutput::Send {
            lane,
            frame: applied
        }]
    );
    assert_eq!(told(13), []);
}

#[test]
fn steps_of_a_reconciliation_out_of_turn_are_told_and_change_nothing() {
    let mut session = live_device();
    let out_of_place = || Err(SessionError::OutOfPlace(scope("a")));
    assert_eq!(session.compare(&scope("a"), vec![], true), out_of_place());
    session.reconcile(&scope("a"), vec![1]).unwrap();
    assert_eq!(session.reconcile(&scope("a"), vec![1]), out_of_place());
    assert_eq!(session.compare(&scope("a"), vec![], true), out_of_place());
    let answer = Reconcile {
        scope: scope("a"),
        seq: 10,
        message: vec![1],
    };
    give(&mut session, Frame::Reconcile(answer)).unwrap();
    device_outputs(&mut session);
    session.compare(&scope("a"), vec![], true).unwrap();
    assert_eq!(session.compare(&scope("a"), vec![], true), out_of_place());
    assert_eq!(session.reconcile(&scope("a"), vec![1]), out_of_place());
    let compare = Compare {
        scope: scope("a"),
        documents: vec![],
        last: true,
    };
    let (lane, frame) = (Lane::Control, Frame::Compare(compare));
    assert_eq!(
        device_outputs(&mut session),
        [DeviceOutput::Send { lane, frame }]
    );
    let unknown = session.reconcile(&scope("b"), vec![1]);
    assert_eq!(unknown, Err(SessionError::OutOfPlace(scope("b"))));
    assert!(matches!(
        session.reconcile(&scope("a"), vec![0; 40_000]),
        Err(SessionError::WrongSize { .. })
    ));
}
