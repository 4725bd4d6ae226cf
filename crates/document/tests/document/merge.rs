//! Whatever is edited where, and in whatever order it arrives, all replicas end equal.

use gridbeat_document::{Document, Side, Verdict, advance_heads, genesis_hash};
use proptest::prelude::*;
use serde_json::{Value as Json, json};

use crate::support::{Replica, VERSION, offer, sheet, unknown};

/// One step of a history: a replica edits, or takes in all of another's.
#[derive(Clone, Debug)]
enum Step {
    Edit(usize, Json),
    Receive { from: usize, to: usize },
}

fn intent() -> impl Strategy<Value = Json> {
    let words = prop::sample::select(vec!["井盖", "a", "占道经营", "🚲", "e\u{301}", ""]);
    let key = prop::sample::select(vec!["a", "b"]);
    prop_oneof![
        (key.clone(), words.clone()).prop_map(|(key, word)| json!({"field": [key, word]})),
        key.prop_map(|key| json!({"delete": key})),
        words.clone().prop_map(|word| json!({"append": word})),
        words.clone().prop_map(|word| json!({"prepend": word})),
        words.clone().prop_map(|word| json!({"text": word})),
        words.prop_map(|word| json!({"fact": word})),
        (-3..9_i64).prop_map(|by| json!({"count": by})),
        (0..9_i64).prop_map(|number| json!({"push": number})),
    ]
}

fn step() -> impl Strategy<Value = Step> {
    prop_oneof![
        3 => (0..3_usize, intent()).prop_map(|(who, intent)| Step::Edit(who, intent)),
        1 => (0..3_usize, 1..3_usize).prop_map(|(from, further)| Step::Receive {
            from,
            to: (from + further) % 3,
        }),
    ]
}

fn play(steps: &[Step]) -> Vec<Replica> {
    let mut replicas: Vec<_> = (1..=3).map(Replica::new).collect();
    for step in steps {
        match step {
            // Some edits change nothing; that is an error and no change.
            Step::Edit(who, intent) => drop(replicas[*who].try_edit(intent)),
            Step::Receive { from, to } => {
                let log = replicas[*from].log.clone();
                replicas[*to].receive(&log);
            }
        }
    }
    replicas
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 64, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn replicas_that_hold_the_same_changes_are_equal(
        steps in prop::collection::vec(step(), 1..25),
        shuffle in prop::collection::vec(any::<u64>(), 25),
    ) {
        let mut replicas = play(&steps);
        let logs: Vec<_> = replicas.iter().map(|replica| replica.log.clone()).collect();
        for to in &mut replicas {
            logs.iter().for_each(|log| to.receive(log));
        }
        let mut all = replicas[0].log.clone();
        all.sort_by_key(|(change, _)| change.hash);
        all.dedup_by_key(|(change, _)| change.hash);
        // A fourth takes everything at once and in any order.
        let mut order: Vec<_> = (0..all.len()).collect();
        order.sort_by_key(|place| (shuffle[place % shuffle.len()], *place));
        let shuffled: Vec<_> = order.iter().map(|place| all[*place].clone()).collect();
        let mut fourth = Document::genesis(&sheet(), VERSION);
        for verdict in offer(&mut fourth, &shuffled, Side::Relay) {
            prop_assert!(matches!(verdict, Verdict::Admitted(_)), "{verdict:?}");
        }
        let view = fourth.view(&unknown);
        for replica in &replicas {
            prop_assert_eq!(replica.document.heads(), fourth.heads());
            prop_assert_eq!(&replica.view(), &view);
        }
        // Saved and rebuilt, it is the same, and projects the same.
        let loaded = Document::load(&sheet(), VERSION, &fourth.save()).unwrap();
        let log = shuffled.iter().map(|(change, _)| &change.bytes[..]);
        let rebuilt = Document::rebuild(&sheet(), VERSION, log).unwrap();
        for other in [&loaded, &rebuilt] {
            prop_assert_eq!(other.heads(), fourth.heads());
            let other = other.view(&unknown);
            prop_assert_eq!(sheet().project(&other), sheet().project(&view));
            prop_assert_eq!(&other, &view);
        }
        // Heads can be kept without the document, by any causal order of its changes.
        let mut heads = vec![genesis_hash(&sheet(), VERSION)];
        for (change, _) in &replicas[0].log {
            advance_heads(&mut heads, change);
        }
        prop_assert_eq!(heads, fourth.heads());
    }

    #[test]
    fn damaged_changes_never_panic_and_never_harm(
        steps in prop::collection::vec(step(), 1..8),
        at in any::<prop::sample::Index>(),
        bit in 0..8_u32,
        remake_checksum in any::<bool>(),
    ) {
        use sha2::{Digest as _, Sha256};

        let replicas = play(&steps);
        let Some((change, author)) = replicas[0].log.last() else {
            return Ok(());
        };
        let mut bytes = change.bytes.clone();
        let place = at.index(bytes.len());
        bytes[place] ^= 1 << bit;
        if remake_checksum {
            let hash = Sha256::digest(&bytes[8..]);
            bytes[4..8].copy_from_slice(&hash[..4]);
        }
        let mut damaged = change.clone();
        damaged.bytes = bytes;
        let mut document = Document::genesis(&sheet(), VERSION);
        let mut offered = replicas[0].log.clone();
        offered.insert(offered.len() - 1, (damaged, *author));
        let verdicts = offer(&mut document, &offered, Side::Device);
        let loaded = Document::load(&sheet(), VERSION, &document.save()).unwrap();
        prop_assert_eq!(loaded.view(&unknown), document.view(&unknown));
        prop_assert_eq!(verdicts.len(), offered.len());
    }
}

#[test]
fn edits_at_both_ends_of_a_text_keep_both() {
    let (mut one, mut other) = (Replica::new(1), Replica::new(2));
    one.edit(json!({"text": "井盖缺失"}));
    other.receive(&one.log);
    one.edit(json!({"text": "东路井盖缺失"}));
    other.edit(json!({"text": "井盖破损缺失。已围挡"}));
    let (from_one, from_other) = (one.log.clone(), other.log.clone());
    one.receive(&from_other);
    other.receive(&from_one);
    assert_eq!(one.view().text(&["text"]), "东路井盖破损缺失。已围挡");
    assert_eq!(one.view(), other.view());
}
