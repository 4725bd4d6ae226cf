//! Both ends of a session against each other, over the bytes they really exchange.

use crate::support::*;
use gridbeat_base::{Lane, WallTime};
use gridbeat_sync_protocol::{
    CloseReason, Compare, CompareDocument, Compared, ComparedDocument, DeviceOutput, DeviceSession,
    Entry, Feed, Frame, Grant, PackForm, RelayOutput, RelaySession, decode, encode,
};

/// Two sessions and what lies between them.
struct Pair {
    device: DeviceSession,
    relay: RelaySession,
    /// What came out besides frames.
    at_device: Vec<DeviceOutput>,
    at_relay: Vec<RelayOutput>,
    up_bytes: usize,
    down_bytes: usize,
}

impl Pair {
    fn new(device: DeviceSession) -> Self {
        Self {
            device,
            relay: new_relay(),
            at_device: Vec::new(),
            at_relay: Vec::new(),
            up_bytes: 0,
            down_bytes: 0,
        }
    }

    /// Carries frames until none is left.
    fn exchange(&mut self) {
        loop {
            let (up, down) = (
                device_outputs(&mut self.device),
                relay_outputs(&mut self.relay),
            );
            if up.is_empty() && down.is_empty() {
                return;
            }
            for output in up {
                if let DeviceOutput::Send { frame, .. } = output {
                    let bytes = encode(&frame);
                    self.up_bytes += bytes.len();
                    assert_eq!(decode(&bytes).unwrap(), frame);
                    send(&mut self.relay, frame).unwrap();
                } else {
                    self.at_device.push(output);
                }
            }
            for output in down {
                if let RelayOutput::Send { frame, .. } = output {
                    let bytes = encode(&frame);
                    self.down_bytes += bytes.len();
                    assert_eq!(decode(&bytes).unwrap(), frame);
                    give(&mut self.device, frame).unwrap();
                } else {
                    self.at_relay.push(output);
                }
            }
        }
    }

    fn welcomed(scopes: &[(&str, u64)]) -> Self {
        let mut device = DeviceSession::new();
        device.start(NOW, hello(scopes)).unwrap();
        let mut pair = Self::new(device);
        pair.exchange();
        let greetings = scopes.iter().map(|(name, head)| greeting(name, *head));
        pair.relay
            .welcome(
                incarnation(9),
                WallTime(1_790_000_000_500),
                greetings.collect(),
            )
            .unwrap();
        pair.exchange();
        pair
    }
}

#[test]
fn nothing_changed_costs_one_round_trip_of_few_bytes() {
    let one = Pair::welcomed(&[("330211001", 123_456)]);
    println!("1 scope: {} B up, {} B down", one.up_bytes, one.down_bytes);
    assert!(one.up_bytes <= 130 && one.down_bytes <= 60);
    let two = Pair::welcomed(&[("330211001", 123_456), ("330211002", 4_000_000_000)]);
    println!("2 scopes: {} B up, {} B down", two.up_bytes, two.down_bytes);
    assert!(two.up_bytes <= 170 && two.down_bytes <= 80);
}

#[test]
fn a_push_comes_back_as_a_count_in_the_feed() {
    let mut pair = Pair::welcomed(&[("a", 10)]);
    let documents = vec![push_document(1, 200), push_document(2, 200)];
    let number = pair
        .device
        .push(Lane::Record, &scope("a"), documents)
        .unwrap();
    pair.exchange();
    assert!(matches!(
        pair.at_relay.last(),
        Some(RelayOutput::Pushed { number: n, .. }) if *n == number
    ));
    let mut ack = accepted(number, 12);
    ack.attached = vec![true, false];
    ack.verdicts.push(ack.verdicts[0].clone());
    pair.relay.acknowledge(ack).unwrap();
    // Entry 11 is somebody else's; 12 to 14 are this push's; 15 is somebody else's.
    let entries = (11..=15).map(change_entry).collect();
    assert!(pair.relay.feed_room(&scope("a")) > 0);
    pair.relay
        .feed(Lane::Record, feed("a", 11, entries))
        .unwrap();
    pair.exchange();
    let expected = vec![change_entry(11), Entry::Own { count: 3 }, change_entry(15)];
    let expected = Feed {
        form: PackForm::Apart,
        ..feed("a", 11, expected)
    };
    assert_eq!(pair.at_device.last(), Some(&DeviceOutput::Feed(expected)));
    pair.device.applied(&scope("a"), 15).unwrap();
    pair.exchange();
    let applied = RelayOutput::Applied {
        scope: scope("a"),
        seq: 15,
    };
    assert_eq!(pair.at_relay.last(), Some(&applied));
    assert_eq!(pair.relay.fed(&scope("a")), Some(15));
}

fn asked(n: u8) -> CompareDocument {
    CompareDocument {
        document: document(n),
        changes: vec![hash(n)],
    }
}

fn answer(documents: &[u8], last: bool) -> Compared {
    let documents = documents.iter().map(|n| ComparedDocument {
        document: document(*n),
        held: None,
    });
    Compared {
        form: PackForm::Whole,
        scope: scope("a"),
        seq: 41,
        digest: digest(1),
        documents: documents.collect(),
        last,
    }
}

#[test]
fn a_scope_whose_digests_differ_is_fed_after_its_reconciliation() {
    let mut device = DeviceSession::new();
    device.start(NOW, hello(&[("a", 100)])).unwrap();
    let mut pair = Pair::new(device);
    pair.exchange();
    // A relay restored from a backup: another incarnation, a head before the device's cursor.
    let mut scopes = vec![greeting("a", 40)];
    scopes[0].digest_agrees = false;
    pair.relay
        .welcome(incarnation(8), WallTime(0), scopes)
        .unwrap();
    pair.exchange();
    assert!(pair.device.needs_reconciliation(&scope("a")));
    assert_eq!(pair.relay.feed_room(&scope("a")), 0);

    pair.device.reconcile(&scope("a"), vec![1]).unwrap();
    pair.exchange();
    pair.relay.reconcile(&scope("a"), 40, vec![2]).unwrap();
    pair.exchange();
    // While they compare, the device's own push is accepted as entry 41.
    let push = vec![push_document(1, 200)];
    let number = pair.device.push(Lane::Record, &scope("a"), push).unwrap();
    pair.exchange();
    pair.relay.acknowledge(accepted(number, 41)).unwrap();
    // The second goes out by itself when the first is answered.
    pair.device
        .compare(&scope("a"), vec![asked(1), asked(2)], false)
        .unwrap();
    pair.device
        .compare(&scope("a"), vec![asked(3)], true)
        .unwrap();
    pair.exchange();
    pair.relay.compared(answer(&[1], false)).unwrap();
    pair.relay.compared(answer(&[2], false)).unwrap();
    pair.exchange();
    let second = Compare {
        scope: scope("a"),
        documents: vec![asked(3)],
        last: true,
    };
    assert_eq!(pair.at_relay.last(), Some(&RelayOutput::Compare(second)));
    pair.relay.compared(answer(&[3], true)).unwrap();
    pair.exchange();
    let aligned = DeviceOutput::Aligned {
        scope: scope("a"),
        cursor: 40,
    };
    assert_eq!(pair.at_device.last(), Some(&aligned));
    assert!(!pair.device.needs_reconciliation(&scope("a")));
    // The feed goes on behind the inventory, and knows the push.
    assert_eq!(pair.relay.fed(&scope("a")), Some(40));
    let entries = vec![change_entry(41), change_entry(42)];
    pair.relay
        .feed(Lane::Record, feed("a", 41, entries))
        .unwrap();
    pair.exchange();
    let expected = vec![Entry::Own { count: 1 }, change_entry(42)];
    let expected = Feed {
        form: PackForm::Apart,
        ..feed("a", 41, expected)
    };
    assert_eq!(pair.at_device.last(), Some(&DeviceOutput::Feed(expected)));
}

#[test]
fn a_scope_that_is_not_granted_is_told_and_not_fed() {
    let mut device = DeviceSession::new();
    device.start(NOW, hello(&[("a", 10)])).unwrap();
    let mut pair = Pair::new(device);
    pair.exchange();
    let mut scopes = vec![greeting("a", 0), greeting("b", 5)];
    scopes[0].grant = Grant::None;
    pair.relay
        .welcome(incarnation(9), WallTime(0), scopes)
        .unwrap();
    assert_eq!(pair.relay.feed_room(&scope("a")), 0);
    assert_eq!(pair.relay.fed(&scope("b")), Some(0), "from its start");
    let entries = vec![change_entry(1)];
    pair.relay
        .feed(Lane::Record, feed("b", 1, entries))
        .unwrap();
    pair.exchange();
    assert!(matches!(pair.at_device.last(), Some(DeviceOutput::Feed(_))));
}

#[test]
fn either_end_may_close_and_the_other_hears_why() {
    let mut pair = Pair::welcomed(&[("a", 10)]);
    pair.relay.close(close());
    pair.exchange();
    assert_eq!(
        pair.at_relay.last(),
        Some(&RelayOutput::Closed(CloseReason::Ours(close())))
    );
    assert_eq!(
        pair.at_device.last(),
        Some(&DeviceOutput::Closed(CloseReason::Peer(close())))
    );
    let mut pair = Pair::welcomed(&[("a", 10)]);
    pair.device.close(close());
    pair.device.close(close());
    pair.exchange();
    assert_eq!(
        pair.at_relay.last(),
        Some(&RelayOutput::Closed(CloseReason::Peer(close())))
    );
    give(&mut pair.device, Frame::Ack(accepted(1, 1))).unwrap();
    assert_eq!(
        pair.device.poll_output(),
        None,
        "what comes late is ignored"
    );
}
