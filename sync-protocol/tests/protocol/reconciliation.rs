//! Two sides find which documents differ, in few messages.

use std::collections::BTreeSet;

use gridbeat_base::{Digest, DocumentId, Random, WallTime};
use gridbeat_sync_protocol::limits::RECONCILE_BYTES_MAX;
use gridbeat_sync_protocol::{Item, ReconcileError, Reconciler, respond};
use proptest::prelude::*;

/// What a reconciliation found and took.
#[derive(Debug)]
struct Found {
    have: BTreeSet<Item>,
    need: BTreeSet<Item>,
    rounds: usize,
    up_bytes: usize,
    down_bytes: usize,
}

fn reconcile(device: &BTreeSet<Item>, relay: &BTreeSet<Item>) -> Found {
    let (mut reconciler, first) = Reconciler::initiate(device.iter().copied());
    let mut found = Found {
        have: BTreeSet::new(),
        need: BTreeSet::new(),
        rounds: 0,
        up_bytes: 0,
        down_bytes: 0,
    };
    let mut message = Some(first);
    while let Some(up) = message {
        let down = respond(relay.iter().copied(), &up).unwrap();
        assert!(up.len() <= RECONCILE_BYTES_MAX && down.len() <= RECONCILE_BYTES_MAX);
        found.rounds += 1;
        found.up_bytes += up.len();
        found.down_bytes += down.len();
        let step = reconciler.step(&down).unwrap();
        assert!(step.have.is_sorted() && step.need.is_sorted());
        found.have.extend(step.have);
        found.need.extend(step.need);
        message = step.reply;
    }
    found
}

/// Items of documents made over a year.
fn items(count: usize, random: &mut Random) -> BTreeSet<Item> {
    let item = |_| {
        let wall =
            WallTime(1_760_000_000_000 + i64::try_from(random.below(31_536_000_000)).unwrap());
        Item {
            document: DocumentId::mint(wall, random),
            digest: Digest::from_bytes(random.bytes()),
        }
    };
    (0..count).map(item).collect()
}

/// Changes some items on one side.
fn differ(items: &BTreeSet<Item>, count: usize, random: &mut Random) -> BTreeSet<Item> {
    let mut other = items.clone();
    for _ in 0..count {
        let place = usize::try_from(random.below(items.len() as u64)).unwrap();
        let item = *items.iter().nth(place).unwrap();
        other.remove(&item);
        other.insert(Item {
            digest: Digest::from_bytes(random.bytes()),
            ..item
        });
    }
    other
}

fn check(found: &Found, device: &BTreeSet<Item>, relay: &BTreeSet<Item>) {
    assert_eq!(found.have, device - relay);
    assert_eq!(found.need, relay - device);
}

#[test]
fn equal_sides_need_one_round_trip_of_few_bytes() {
    let items = items(10_000, &mut Random::from_number(1));
    let found = reconcile(&items, &items);
    println!(
        "equal, 10,000: {} B up, {} B down",
        found.up_bytes, found.down_bytes
    );
    check(&found, &items, &items);
    assert_eq!(found.rounds, 1);
    assert!(found.up_bytes < 500 && found.down_bytes < 20);
}

#[test]
fn few_differences_among_ten_thousand_need_two_or_three_round_trips() {
    for (count, rounds_max) in [(1, 3), (10, 3), (100, 4)] {
        let mut random = Random::from_number(2);
        let device = items(10_000, &mut random);
        let relay = differ(&device, count, &mut random);
        let found = reconcile(&device, &relay);
        println!(
            "{count} of 10,000 differ: {} rounds, {} B up, {} B down",
            found.rounds, found.up_bytes, found.down_bytes
        );
        check(&found, &device, &relay);
        assert!(found.rounds <= rounds_max, "{}", found.rounds);
    }
}

#[test]
fn sides_that_share_nothing_find_everything_in_bounded_messages() {
    let mut random = Random::from_number(3);
    let (device, relay) = (items(3_000, &mut random), items(3_000, &mut random));
    let found = reconcile(&device, &relay);
    println!(
        "3,000 against 3,000: {} rounds, {} B up, {} B down",
        found.rounds, found.up_bytes, found.down_bytes
    );
    check(&found, &device, &relay);
    let nothing = BTreeSet::new();
    check(&reconcile(&nothing, &relay), &nothing, &relay);
    check(&reconcile(&device, &nothing), &device, &nothing);
    check(&reconcile(&nothing, &nothing), &nothing, &nothing);
}

#[test]
fn a_document_that_differs_is_named_once() {
    let mut random = Random::from_number(4);
    let device = items(20, &mut random);
    let relay = differ(&device, 1, &mut random);
    let (mut reconciler, first) = Reconciler::initiate(device.iter().copied());
    let answer = respond(relay.iter().copied(), &first).unwrap();
    let step = reconciler.step(&answer).unwrap();
    assert_eq!((step.have.len(), step.need.len()), (1, 1));
    assert_eq!(step.documents(), [step.have[0].document]);
}

#[test]
fn documents_whose_ids_are_not_of_version_7_are_reconciled_too() {
    let item = |n: u8| Item {
        document: DocumentId::from_bytes([n; 16]),
        digest: Digest::from_bytes([n; 16]),
    };
    let device: BTreeSet<Item> = (0..100).map(item).collect();
    let relay: BTreeSet<Item> = (50..=255).map(item).collect();
    check(&reconcile(&device, &relay), &device, &relay);
}

#[test]
fn what_is_not_a_message_is_refused() {
    let (mut reconciler, _) = Reconciler::initiate([]);
    assert_eq!(reconciler.step(&[]), Err(ReconcileError::Malformed));
    assert_eq!(respond([], &[]), Err(ReconcileError::Malformed));
    assert_eq!(
        respond([], &[0x61, 0, 0, 9]),
        Err(ReconcileError::Malformed)
    );
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 256, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn any_two_sides_find_their_differences(seed in any::<u64>(), count in 1..400usize, differing in 0..60usize) {
        let mut random = Random::from_number(seed);
        let device = items(count, &mut random);
        let mut relay = differ(&device, differing, &mut random);
        relay.extend(items(differing / 3, &mut random));
        check(&reconcile(&device, &relay), &device, &relay);
    }

    #[test]
    fn no_message_does_harm(
        seed in any::<u64>(),
        tail in proptest::collection::vec(any::<u8>(), 0..300),
        cut in any::<proptest::sample::Index>(),
    ) {
        let held = items(60, &mut Random::from_number(seed));
        let (mut reconciler, mut message) = Reconciler::initiate(held.iter().copied());
        message.truncate(1 + cut.index(message.len()));
        message.extend(tail);
        if let Ok(answer) = respond(held.iter().copied().skip(3), &message) {
            let _ = reconciler.step(&answer);
        }
        let _ = reconciler.step(&message);
    }
}
