//! What the gate lets in, what it refuses, and that it harms nothing by refusing.

use gridbeat_base::{ChangeHash, DeviceId, Verb, Verbs, WallTime};
use gridbeat_document::{
    Author, CHANGE_BYTES_MAX, Document, Incoming, ParseError, Provenance, Rule, Side, Verdict,
    gate, genesis_hash,
};
use serde_json::json;

use crate::forge::Forged;
use crate::support::{Replica, VERSION, device, first, offer, sheet, unknown};

pub(crate) fn refused(verdict: &Verdict) -> &Rule {
    match verdict {
        Verdict::Refused { rule, .. } => rule,
        Verdict::Admitted(_) | Verdict::Known(_) | Verdict::Incomplete { .. } => {
            panic!("{verdict:?}")
        }
    }
}

fn admit_bytes(document: &mut Document, bytes: &[u8], author: DeviceId) -> Verdict {
    let author = Author::decided(author);
    let incoming = [Incoming {
        bytes,
        author,
        received: None,
    }];
    gate::admit(document, &incoming, Side::Device, &unknown).remove(0)
}

#[test]
fn changes_in_any_order_enter_and_a_second_offer_changes_nothing() {
    let mut author = Replica::new(1);
    author.edit(first());
    for n in 0..6 {
        author.edit(json!({"append": n.to_string()}));
    }
    let mut reversed = author.log.clone();
    reversed.reverse();
    reversed.push(reversed[3].clone());
    let mut document = Document::genesis(&sheet(), VERSION);
    let verdicts = offer(&mut document, &reversed, Side::Device);
    for (verdict, (change, _)) in verdicts.iter().zip(&reversed[..7]) {
        assert_eq!(verdict, &Verdict::Admitted(change.clone()));
    }
    assert_eq!(verdicts[7], Verdict::Known(reversed[3].0.hash));
    assert_eq!(document.heads(), author.document.heads());
    assert_eq!(document.view(&unknown), author.view());
    for verdict in offer(&mut document, &reversed, Side::Device) {
        assert!(matches!(verdict, Verdict::Known(_)));
    }
    assert_eq!(document.view(&unknown), author.view());
}

#[test]
fn a_change_whose_dependencies_are_unknown_waits_for_them_by_name() {
    let mut author = Replica::new(1);
    let lost = author.edit(first());
    let (second, third) = (
        author.edit(json!({"append": "a"})),
        author.edit(json!({"append": "b"})),
    );
    let mut document = Document::genesis(&sheet(), VERSION);
    let verdicts = offer(&mut document, &author.log[1..], Side::Device);
    for (verdict, change) in verdicts.iter().zip([&second, &third]) {
        let waits = Verdict::Incomplete {
            hash: change.hash,
            missing: vec![lost.hash],
        };
        assert_eq!(verdict, &waits);
    }
    assert_eq!(document.heads(), [genesis_hash(&sheet(), VERSION)]);
}

#[test]
fn the_kind_decides_and_only_its_victim_is_refused() {
    let (mut honest, mut bad) = (Replica::new(1), Replica::new(2));
    honest.edit(first());
    honest.edit(json!({"append": "!"}));
    bad.edit(json!({"append": "fine"}));
    let closed = bad.edit(json!({"field": ["bad", "x"]}));
    let after = bad.edit(json!({"append": "on top"}));
    let mut offered = honest.log.clone();
    offered.extend(bad.log.clone());
    let mut document = Document::genesis(&sheet(), VERSION);
    let verdicts = offer(&mut document, &offered, Side::Device);
    for verdict in &verdicts[..3] {
        assert!(matches!(verdict, Verdict::Admitted(_)), "{verdict:?}");
    }
    assert_eq!(refused(&verdicts[3]).code(), "bad_is_closed");
    assert_eq!(refused(&verdicts[3]).words().en, "no");
    let waits = Verdict::Incomplete {
        hash: after.hash,
        missing: vec![closed.hash],
    };
    assert_eq!(verdicts[4], waits);
    assert!(!document.contains(&closed.hash));
    // What comes down was decided by the relay.
    let mut device = Document::genesis(&sheet(), VERSION);
    for verdict in offer(&mut device, &offered, Side::Relay) {
        assert!(matches!(verdict, Verdict::Admitted(_)), "{verdict:?}");
    }
}

#[test]
fn how_the_gate_read_the_document_knows_the_receipt_of_all_that_it_let_in() {
    let (mut honest, mut bad) = (Replica::new(1), Replica::new(2));
    honest.edit(first());
    bad.edit(json!({"append": "fine"}));
    bad.edit(json!({"field": ["bad", "x"]}));
    let offered: Vec<_> = honest.log.iter().chain(&bad.log).cloned().collect();
    let received = Some(WallTime(7_000_000));
    let known = |hash: &ChangeHash| {
        let known = offered.iter().find(|(change, _)| change.hash == *hash);
        let known = known.map(|(_, author)| Provenance {
            author: Some(*author),
            received,
        });
        known.unwrap_or_default()
    };
    let incoming: Vec<_> = offered
        .iter()
        .map(|(change, author)| Incoming {
            bytes: &change.bytes,
            author: Author::decided(*author),
            received,
        })
        .collect();
    let mut document = Document::genesis(&sheet(), VERSION);
    let verdicts = gate::admit(&mut document, &incoming, Side::Device, &unknown);
    // What is let in enters in more than one step, since one change is refused.
    assert!(matches!(verdicts[1], Verdict::Admitted(_)));
    assert_eq!(refused(&verdicts[2]).code(), "bad_is_closed");
    assert_eq!(document.take_admitted(), Some(document.view(&known)));
}

#[test]
fn a_panic_in_a_kind_is_contained_and_refuses_one_change() {
    let mut author = Replica::new(1);
    author.edit(first());
    author.edit(json!({"field": ["boom", "boom"]}));
    let mut document = Document::genesis(&sheet(), VERSION);
    let verdicts = offer(&mut document, &author.log, Side::Device);
    assert!(matches!(verdicts[0], Verdict::Admitted(_)));
    assert_eq!(refused(&verdicts[1]), &Rule::Breaks);
    assert_eq!(document.heads(), [author.log[0].0.hash]);
}

#[test]
fn a_forged_next_number_is_refused() {
    let mut author = Replica::new(1);
    author.edit(first());
    let mut document = Document::genesis(&sheet(), VERSION);
    offer(&mut document, &author.log, Side::Device);
    // Another device takes the actor, and writes its next number.
    let mut thief = Replica::new(1);
    thief.receive(&author.log);
    let forged = thief.edit(json!({"append": "forged"}));
    let owner = |hash: &ChangeHash| Provenance {
        author: (*hash == author.log[0].0.hash).then(|| device(1)),
        received: None,
    };
    let incoming = [Incoming {
        bytes: &forged.bytes,
        author: Author::decided(device(2)),
        received: None,
    }];
    let verdicts = gate::admit(&mut document, &incoming, Side::Device, &owner);
    assert_eq!(refused(&verdicts[0]), &Rule::ActorOfAnother);
    let honest = author.edit(json!({"append": "honest"}));
    let verdict = admit_bytes(&mut document, &honest.bytes, device(1));
    assert_eq!(verdict, Verdict::Admitted(honest));
    // The same number twice, by the same device: a cloned file.
    assert_eq!(
        refused(&admit_bytes(&mut document, &forged.bytes, device(1))),
        &Rule::WrongSequence
    );
}

#[test]
fn an_author_does_what_his_verbs_allow_and_no_change_hides_in_another() {
    let mut author = Replica::new(1);
    author.edit(first());
    author.edit(json!({"append": "a"}));
    let offer_with = |verbs: &[Verb]| {
        let verbs = Verbs::of(verbs);
        let device = device(1);
        let incoming: Vec<_> = author
            .log
            .iter()
            .map(|(change, _)| Incoming {
                bytes: &change.bytes,
                author: Author { device, verbs },
                received: None,
            })
            .collect();
        let mut document = Document::genesis(&sheet(), VERSION);
        gate::admit(&mut document, &incoming, Side::Device, &unknown)
    };
    let admitted = |verdict: &Verdict| matches!(verdict, Verdict::Admitted(_));
    let begun = offer_with(&[Verb::Report]);
    assert!(admitted(&begun[0]));
    assert_eq!(refused(&begun[1]), &Rule::NotGranted(Verb::Edit));
    let edited = offer_with(&[Verb::Edit]);
    assert_eq!(refused(&edited[0]), &Rule::NotGranted(Verb::Report));
    assert!(matches!(edited[1], Verdict::Incomplete { .. }));
    let both = offer_with(&[Verb::Report, Verb::Edit]);
    assert!(both.iter().all(admitted), "{both:?}");
    for verb in Verb::ALL {
        let rule = Rule::NotGranted(verb);
        assert_eq!(rule.code(), format!("{verb}_not_granted"));
        assert!(!rule.words().en.is_empty() && !rule.words().zh.is_empty());
    }
}

#[test]
fn a_change_may_not_build_on_what_it_does_not_depend_on() {
    let (mut one, mut other) = (Replica::new(1), Replica::new(3));
    let seen = one.edit(json!({"field": ["free", "1"]}));
    let unseen = other.edit(json!({"field": ["free", "2"]}));
    let genesis = one.document.change(&seen.deps[0]).unwrap();
    // It replaces the second device's value, but names only the first's change as its base.
    let mut forged = Forged::put(&one, "free")
        .column(0x01, &[0x7f, 2])
        .column(0x02, &[0x7f, 1])
        .column(0x70, &[0x7f, 1])
        .column(0x71, &[0x7f, 1])
        .column(0x73, &[0x7f, 8]);
    forged.others = vec![vec![3; 16], genesis.bytes[12..28].to_vec()];
    assert!(forged.others.is_sorted());
    forged.actor = vec![4; 16];
    forged.start_op = 9;
    let mut document = Document::genesis(&sheet(), VERSION);
    let offered = [(seen, device(1)), (unseen, device(3))];
    offer(&mut document, &offered, Side::Device);
    let verdict = admit_bytes(&mut document, &forged.bytes(), device(4));
    assert_eq!(refused(&verdict), &Rule::UnknownReference);
    forged.deps = document
        .heads()
        .iter()
        .map(|head| head.bytes().to_vec())
        .collect();
    let verdict = admit_bytes(&mut document, &forged.bytes(), device(4));
    assert!(matches!(verdict, Verdict::Admitted(_)), "{verdict:?}");
}

#[test]
fn a_second_first_change_of_an_actor_is_refused() {
    let (mut one, mut clone) = (Replica::new(1), Replica::new(1));
    let (kept, other) = (one.edit(first()), clone.edit(json!({"text": "x"})));
    let mut document = Document::genesis(&sheet(), VERSION);
    let offered = [(kept.clone(), device(1)), (other, device(1))];
    let verdicts = offer(&mut document, &offered, Side::Device);
    assert_eq!(verdicts[0], Verdict::Admitted(kept));
    assert_eq!(refused(&verdicts[1]), &Rule::WrongSequence);
}

#[test]
fn only_one_whole_uncompressed_chunk_is_a_change() {
    let mut author = Replica::new(1);
    let change = author.edit(json!({"field": ["x", "y".repeat(1_000)]}));
    let mut document = Document::genesis(&sheet(), VERSION);
    let check = |document: &mut Document, bytes: &[u8], error: ParseError| {
        let verdict = admit_bytes(document, bytes, device(1));
        assert_eq!(refused(&verdict), &Rule::NotAChange(error));
    };
    let bytes = &change.bytes;
    check(&mut document, &[], ParseError::Truncated);
    check(&mut document, b"hello world", ParseError::NotAChunk);
    check(
        &mut document,
        &author.document.save(),
        ParseError::NotAChange,
    );
    check(
        &mut document,
        &[&bytes[..], b"x"].concat(),
        ParseError::WrongLength,
    );
    check(
        &mut document,
        &bytes[..bytes.len() - 1],
        ParseError::WrongLength,
    );
    let mut flipped = bytes.clone();
    *flipped.last_mut().unwrap() ^= 1;
    check(&mut document, &flipped, ParseError::BadChecksum);
    let big = vec![0; CHANGE_BYTES_MAX + 1];
    assert_eq!(
        refused(&admit_bytes(&mut document, &big, device(1))),
        &Rule::TooBig
    );
    assert_eq!(document.heads(), [genesis_hash(&sheet(), VERSION)]);
}

#[test]
fn the_genesis_change_is_known_and_never_taken() {
    let mut document = Document::genesis(&sheet(), VERSION);
    let mut other = Document::genesis(&sheet(), 2);
    let hash = genesis_hash(&sheet(), VERSION);
    let genesis = document.change(&hash).unwrap();
    let verdict = admit_bytes(&mut document, &genesis.bytes, device(1));
    assert_eq!(verdict, Verdict::Known(hash));
    let verdict = admit_bytes(&mut other, &genesis.bytes, device(1));
    assert_eq!(refused(&verdict), &Rule::BadDependencies);
}

#[test]
fn every_rule_has_a_code_of_its_own_and_words() {
    let rules = [
        Rule::TooBig,
        Rule::NotAChange(ParseError::Truncated),
        Rule::OperationCount,
        Rule::Extras,
        Rule::Undecodable,
        Rule::TimeOutOfRange,
        Rule::BadActor,
        Rule::ActorOfAnother,
        Rule::BadDependencies,
        Rule::WrongSequence,
        Rule::WrongStart,
        Rule::UnknownReference,
        Rule::ForbiddenOperation,
        Rule::DocumentFull,
        Rule::Breaks,
    ];
    let codes: std::collections::BTreeSet<_> = rules.iter().map(Rule::code).collect();
    assert_eq!(codes.len(), rules.len());
    for rule in &rules {
        assert!(!rule.words().en.is_empty() && !rule.words().zh.is_empty());
    }
}

fn check_forged(cases: &[(Forged, Rule)]) {
    for (number, (forged, rule)) in cases.iter().enumerate() {
        let mut document = Document::genesis(&sheet(), VERSION);
        let heads = document.heads();
        let verdict = admit_bytes(&mut document, &forged.bytes(), device(3));
        assert_eq!(refused(&verdict), rule, "case {number}");
        assert_eq!(document.heads(), heads);
    }
}

#[test]
fn a_forged_header_is_refused_by_the_rule_it_breaks() {
    let base = Replica::new(1);
    let head = base.document.heads()[0];
    let genesis = base.document.change(&head).unwrap();
    let genesis_actor = genesis.bytes[12..28].to_vec();
    let change = |change: &dyn Fn(&mut Forged)| {
        let mut forged = Forged::put(&base, "free");
        change(&mut forged);
        forged
    };
    let again = head.bytes().to_vec();
    check_forged(&[
        (change(&|it| it.message = b"hi"), Rule::Extras),
        (change(&|it| it.extra = b"x"), Rule::Extras),
        (change(&|it| it.actor = vec![3; 15]), Rule::BadActor),
        (
            change(&|it| it.actor = genesis_actor.clone()),
            Rule::BadActor,
        ),
        (change(&|it| it.deps.clear()), Rule::BadDependencies),
        (
            change(&|it| it.deps.push(again.clone())),
            Rule::BadDependencies,
        ),
        (change(&|it| it.seq = 2), Rule::WrongSequence),
        (change(&|it| it.seq = 0), Rule::WrongSequence),
        (change(&|it| it.start_op = 9), Rule::WrongStart),
        (
            change(&|it| it.start_op = u64::from(u32::MAX)),
            Rule::WrongStart,
        ),
        (change(&|it| it.start_op = u64::MAX), Rule::WrongStart),
        (change(&|it| it.columns.clear()), Rule::OperationCount),
    ]);
    let mut document = Document::genesis(&sheet(), VERSION);
    let sound = change(&|_| ()).bytes();
    let honest = admit_bytes(&mut document, &sound, device(3));
    assert!(matches!(honest, Verdict::Admitted(_)), "{honest:?}");
}

#[test]
fn forged_operations_are_refused_by_the_rule_they_break() {
    let base = Replica::new(1);
    let put = |key| Forged::put(&base, key);
    let column = |spec, bytes: &[u8]| put("free").column(spec, bytes);
    let replaces = |counter| {
        let one = column(0x70, &[0x7f, 1]).column(0x71, &[0x7f, 0]);
        one.column(0x73, &[0x7f, counter])
    };
    let million_rows = [0xc0, 0x84, 0x3d, 1];
    check_forged(&[
        (column(0x42, &million_rows), Rule::OperationCount),
        (column(0x34, &[0xc0, 0x84, 0x3d]), Rule::OperationCount),
        (
            column(0x70, &[0x7f, 0xc0, 0x84, 0x3d]),
            Rule::OperationCount,
        ),
        (column(0x71, &[0xc0, 0x84, 0x3d, 0]), Rule::OperationCount),
        (column(0x13, &[0, 0xc0, 0x84, 0x3d]), Rule::OperationCount),
        (column(0x62, &[0x7f, 1]), Rule::Undecodable),
        (column(0x42, &[0x7f]), Rule::Undecodable),
        (column(0x42, &[0x7f, 99]), Rule::Undecodable),
        // A map, a list and a text; a counter; a value of an unknown type; not a number.
        (column(0x42, &[0x7f, 0]), Rule::ForbiddenOperation),
        (column(0x42, &[0x7f, 2]), Rule::ForbiddenOperation),
        (column(0x42, &[0x7f, 4]), Rule::ForbiddenOperation),
        (column(0x56, &[0x7f, 0x18]), Rule::ForbiddenOperation),
        (column(0x56, &[0x7f, 0x1f]), Rule::ForbiddenOperation),
        (
            column(0x56, &[0x7f, 0x85, 1]).column(0x57, &f64::NAN.to_le_bytes()),
            Rule::ForbiddenOperation,
        ),
        (put("facts"), Rule::ForbiddenOperation),
        (put("count"), Rule::ForbiddenOperation),
        // It replaces an op of its own actor that is not there, and one of its own to come.
        (replaces(5), Rule::UnknownReference),
        (replaces(8), Rule::UnknownReference),
        (
            put("facts").column(0x42, &[0x7f, 3]),
            Rule::ForbiddenOperation,
        ),
    ]);
}
