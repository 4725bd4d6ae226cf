//! Changes that stop, damage or divert the merge library, each well formed and with a right checksum.
//!
//! The cases are those measured against Automerge 0.12.0: it panics on some, takes others in and can never
//! load the document again, lets some win every conflict, and works for seconds on a few bytes. Each is built
//! from its operations, as a hostile device can, and offered between two honest changes: it alone is refused,
//! by a rule of its own.

use std::thread;

use automerge::ExpandedChange;
use gridbeat_base::{ChangeHash, DeviceId};
use gridbeat_document::{
    Author, CHANGE_OPS_MAX, Change, Document, Incoming, MISSING_NAMED_MAX, Outline, ParseError,
    Rule, Side, Verdict, gate,
};
use serde_json::{Value as Json, json};
use sha2::{Digest as _, Sha256};

use crate::forge::Forged;
use crate::gate::refused;
use crate::support::{Replica, VERSION, device, first, offer, sheet, unknown};

/// The hostile device's actor.
const ACTOR: &str = "03030303030303030303030303030303";

/// Half of what a phone gives a thread.
const STACK_BYTES: usize = 512 * 1024;

/// 66 bytes that name ten million operations: decoded they take 4 GB.
const OP_BOMB: &str = concat!(
    "856f4a835c9a218c013800046576696c0101ffffffffffffffffff000000051506340442055605700580ade204016b",
    "80ade20480ade2040180ade2040080ade20400"
);

/// A document that honest devices wrote, and what is next in it.
struct Scene {
    honest: Replica,
    genesis_actor: String,
    next_op: u64,
}

impl Scene {
    fn new() -> Self {
        let mut honest = Replica::new(1);
        let genesis = honest.document.change(&honest.document.heads()[0]).unwrap();
        honest.edit(first());
        honest.edit(json!({"push": 1}));
        honest.edit(json!({"push": 2}));
        let last = &honest.log.last().unwrap().0;
        let last = automerge::Change::from_bytes(last.bytes.clone()).unwrap();
        Self {
            genesis_actor: hex(&genesis.bytes[12..28]),
            next_op: last.max_op() + 1,
            honest,
        }
    }

    /// Names a container by the place of its making in the genesis.
    fn container(&self, place: u64) -> String {
        format!("{place}@{}", self.genesis_actor)
    }

    /// Makes a change of the hostile device's, as it would be next, then bent by `bend`.
    fn forged(&self, operations: Json, bend: impl FnOnce(&mut Json)) -> Vec<u8> {
        let deps: Vec<_> = self
            .honest
            .document
            .heads()
            .iter()
            .map(|it| hex(it.bytes()))
            .collect();
        let mut change = json!({
            "actor": ACTOR, "seq": 1, "startOp": self.next_op, "time": 1_780_000_000,
            "message": null, "deps": deps, "ops": operations,
        });
        bend(&mut change);
        let expanded: ExpandedChange = serde_json::from_value(change).unwrap();
        automerge::Change::from(expanded).raw_bytes().to_vec()
    }

    /// Offers it between two honest changes, to a relay and to a device, and holds the gate to refusing it alone.
    fn check(&self, what: &str, bytes: &[u8], expected: &Rule) {
        let mut author = Replica::new(1);
        author.receive(&self.honest.log);
        author.actor = gridbeat_document::Actor::from_bytes([9; 16]);
        let before = author.edit(json!({"append": "，已围挡"}));
        let after = author.edit(json!({"field": ["title", "井盖已补"]}));
        for side in [Side::Device, Side::Relay] {
            let mut document = Document::genesis(&sheet(), VERSION);
            offer(&mut document, &self.honest.log, side);
            let incoming = [
                from(&before, device(1)),
                Incoming {
                    bytes,
                    author: Author::decided(device(3)),
                    received: None,
                },
                from(&after, device(1)),
            ];
            let verdicts = gate::admit(&mut document, &incoming, side, &unknown);
            assert_eq!(refused(&verdicts[1]), expected, "{what}");
            assert_eq!(verdicts[0], Verdict::Admitted(before.clone()), "{what}");
            assert_eq!(verdicts[2], Verdict::Admitted(after.clone()), "{what}");
            // It left no trace: the document saves, loads and reads as the honest ones alone make it.
            let saved = document.save();
            let loaded = Document::load(&sheet(), VERSION, &saved).unwrap();
            assert_eq!(loaded.heads(), author.document.heads(), "{what}");
            assert_eq!(loaded.view(&unknown), author.view(), "{what}");
        }
    }
}

fn from(change: &Change, author: DeviceId) -> Incoming<'_> {
    Incoming {
        bytes: &change.bytes,
        author: Author::decided(author),
        received: None,
    }
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

fn bytes_of(hex: &str) -> Vec<u8> {
    let digits: Vec<_> = hex.chars().filter(char::is_ascii_hexdigit).collect();
    let byte = |pair: &[char]| u8::from_str_radix(&pair.iter().collect::<String>(), 16).unwrap();
    digits.chunks(2).map(byte).collect()
}

fn set(object: &str, key: &str) -> Json {
    json!({"action": "set", "obj": object, "key": key, "value": 1, "pred": []})
}

#[test]
fn what_panics_the_library_is_refused() {
    let scene = Scene::new();
    let (text, list) = (scene.container(5), scene.container(6));
    let nobody = format!("4@{}", "07".repeat(16));
    let own = format!("{}@{ACTOR}", scene.next_op);
    let later = format!("{}@{ACTOR}", scene.next_op + 7);
    let insert = |object: &str, after: &str| json!([{"action": "set", "obj": object, "elemId": after, "insert": true, "value": "x", "pred": []}]);
    let fields = scene.container(1);
    let replaces = |what: &str| json!([{"action": "set", "obj": fields, "key": "x", "value": 1, "pred": [what]}]);
    let cases = [
        (
            "an object that is not there",
            json!([set(&nobody, "x")]),
            Rule::ForbiddenOperation,
        ),
        (
            "an object of its own to come",
            json!([set(&later, "x")]),
            Rule::ForbiddenOperation,
        ),
        (
            "an unknown actor",
            replaces(&nobody),
            Rule::UnknownReference,
        ),
        (
            "after an element that is not there",
            insert(&text, &nobody),
            Rule::UnknownReference,
        ),
        (
            "after its own element to come",
            insert(&list, &later),
            Rule::UnknownReference,
        ),
        ("replacing itself", replaces(&own), Rule::UnknownReference),
    ];
    for (what, operations, rule) in cases {
        scene.check(what, &scene.forged(operations, |_| ()), &rule);
    }
    let numbers = [100, u64::from(u32::MAX), i64::MAX as u64];
    for number in numbers {
        let bytes = scene.forged(json!([set(&fields, "x")]), |change| {
            change["seq"] = number.into()
        });
        scene.check("a number far ahead", &bytes, &Rule::WrongSequence);
    }
}

#[test]
fn what_makes_a_document_unloadable_is_refused() {
    let scene = Scene::new();
    let (fields, text, list) = (scene.container(1), scene.container(5), scene.container(6));
    let put = || json!([set(&fields, "x")]);
    for (what, object) in [("a key in a text", &text), ("a key in a list", &list)] {
        let bytes = scene.forged(json!([set(object, "x")]), |_| ());
        scene.check(what, &bytes, &Rule::ForbiddenOperation);
    }
    let absent = format!("3@{}", "01".repeat(16));
    let operations =
        json!([{"action": "set", "obj": fields, "key": "x", "value": 1, "pred": [absent]}]);
    scene.check(
        "replacing what is not there",
        &scene.forged(operations, |_| ()),
        &Rule::UnknownReference,
    );
    for start in [1, scene.next_op - 1] {
        let bytes = scene.forged(put(), |change| change["startOp"] = start.into());
        scene.check("operations that begin too low", &bytes, &Rule::WrongStart);
    }
}

#[test]
fn what_stops_or_wins_every_later_edit_is_refused() {
    let scene = Scene::new();
    let fields = scene.container(1);
    for ahead in [100, u64::from(u32::MAX) - 1, u64::from(u32::MAX)] {
        let bytes = scene.forged(json!([set(&fields, "x")]), |change| {
            change["startOp"] = ahead.into()
        });
        scene.check("operations that begin far ahead", &bytes, &Rule::WrongStart);
    }
}

#[test]
fn what_means_nothing_is_refused_where_the_library_takes_it_in_silence() {
    let scene = Scene::new();
    let (fields, counter) = (scene.container(1), scene.container(7));
    let insert = json!([{"action": "set", "obj": "_root", "elemId": "_head", "insert": true, "value": 1, "pred": []}]);
    scene.check(
        "an element in the root",
        &scene.forged(insert, |_| ()),
        &Rule::ForbiddenOperation,
    );
    let add = |object: &str, key: &str, pred: &str, by: i64| json!([{"action": "inc", "obj": object, "key": key, "value": by, "pred": [pred]}]);
    let title = format!("8@{}", "01".repeat(16));
    let bytes = scene.forged(add(&fields, "title", &title, 1), |_| ());
    scene.check("counting up a text", &bytes, &Rule::ForbiddenOperation);
    let bytes = scene.forged(add("_root", "count", &counter, i64::MAX), |_| ());
    scene.check(
        "counting up beyond the end",
        &bytes,
        &Rule::ForbiddenOperation,
    );
}

#[test]
fn a_time_that_no_clock_tells_is_refused_and_no_clock_is() {
    let scene = Scene::new();
    let operations = json!([set(&scene.container(1), "x")]);
    for time in [i64::MAX, i64::MIN, i64::MAX / 1_000 + 1] {
        let bytes = scene.forged(operations.clone(), |change| change["time"] = time.into());
        scene.check("a time beyond all clocks", &bytes, &Rule::TimeOutOfRange);
    }
    let mut document = Document::genesis(&sheet(), VERSION);
    for (number, wall) in [(4, i64::MAX), (5, i64::MIN), (6, 0)] {
        let mut author = Replica::new(number);
        author.time = wall.saturating_sub(1_000);
        author.edit(first());
        let verdicts = offer(&mut document, &author.log, Side::Device);
        assert!(matches!(verdicts[0], Verdict::Admitted(_)), "{verdicts:?}");
    }
    let loaded = Document::load(&sheet(), VERSION, &document.save()).unwrap();
    assert_eq!(loaded.view(&unknown), document.view(&unknown));
}

#[test]
fn a_number_at_the_end_of_all_numbers_is_refused() {
    let scene = Scene::new();
    for number in [0, u64::MAX] {
        let mut forged = Forged::put(&scene.honest, "x");
        (forged.seq, forged.start_op) = (number, scene.next_op);
        forged = forged.column(0x01, &[1, 1]).column(0x02, &[1, 1]);
        forged.others = vec![bytes_of(&scene.genesis_actor)];
        scene.check("no number", &forged.bytes(), &Rule::WrongSequence);
    }
}

#[test]
fn a_restored_backup_that_counts_from_an_old_number_is_refused_beside_honest_work() {
    let mut phone = Replica::new(1);
    phone.edit(first());
    let mut backup = Replica::new(1);
    backup.receive(&phone.log);
    let next = phone.edit(json!({"push": 1}));
    // The backup goes on under the same actor, as no device of ours does.
    backup.time = phone.time;
    let twin = backup.edit(json!({"push": 2}));
    let follower = backup.edit(json!({"push": 3}));
    let mut colleague = Replica::new(2);
    colleague.receive(&phone.log);
    let honest = colleague.edit(json!({"field": ["title", "已补"]}));
    for side in [Side::Device, Side::Relay] {
        let mut document = Document::genesis(&sheet(), VERSION);
        offer(&mut document, &phone.log[..1], side);
        let incoming = [
            from(&next, device(1)),
            from(&twin, device(1)),
            from(&follower, device(1)),
            from(&honest, device(2)),
        ];
        let verdicts = gate::admit(&mut document, &incoming, side, &unknown);
        assert_eq!(verdicts[0], Verdict::Admitted(next.clone()));
        assert_eq!(refused(&verdicts[1]), &Rule::WrongSequence);
        assert!(
            matches!(&verdicts[2], Verdict::Incomplete { missing, .. } if *missing == [twin.hash]),
            "{verdicts:?}"
        );
        assert_eq!(verdicts[3], Verdict::Admitted(honest.clone()));
        let loaded = Document::load(&sheet(), VERSION, &document.save()).unwrap();
        assert_eq!(loaded.view(&unknown), document.view(&unknown));
    }
}

#[test]
fn orphans_without_end_are_named_incomplete_and_none_is_kept() {
    const ORPHANS: u32 = 20_000;
    let scene = Scene::new();
    let mut document = Document::genesis(&sheet(), VERSION);
    offer(&mut document, &scene.honest.log, Side::Device);
    let before = document.save();
    let orphans: Vec<_> = (0..ORPHANS).map(|it| orphan(&scene, it, None)).collect();
    let incoming: Vec<_> = orphans.iter().map(|bytes| hostile(bytes)).collect();
    let verdicts = gate::admit(&mut document, &incoming, Side::Device, &unknown);
    let waits = |verdict: &Verdict| matches!(verdict, Verdict::Incomplete { missing, .. } if missing.len() == 1);
    assert!(verdicts.iter().all(waits));
    assert_eq!(document.save(), before);
}

#[test]
fn orphans_that_each_wait_for_more_name_a_bounded_number() {
    const ORPHANS: u32 = 2_000;
    let scene = Scene::new();
    let mut document = Document::genesis(&sheet(), VERSION);
    offer(&mut document, &scene.honest.log, Side::Relay);
    let mut orphans: Vec<Vec<u8>> = Vec::new();
    for number in 0..ORPHANS {
        let last = orphans.last().map(|last| Change::parse(last).unwrap().hash);
        orphans.push(orphan(&scene, number, last));
    }
    let incoming: Vec<_> = orphans.iter().map(|bytes| hostile(bytes)).collect();
    let verdicts = gate::admit(&mut document, &incoming, Side::Relay, &unknown);
    for verdict in verdicts {
        let Verdict::Incomplete { missing, .. } = verdict else {
            panic!("{verdict:?}");
        };
        assert!((1..=MISSING_NAMED_MAX).contains(&missing.len()));
    }
}

/// Makes a change that waits for one that nobody has, and maybe for another orphan.
fn orphan(scene: &Scene, number: u32, after: Option<ChangeHash>) -> Vec<u8> {
    let mut forged = Forged::put(&scene.honest, "x");
    forged = forged.column(0x01, &[1, 1]).column(0x02, &[1, 1]);
    forged.others = vec![bytes_of(&scene.genesis_actor)];
    let unknown = Sha256::digest(number.to_be_bytes()).to_vec();
    forged.deps = vec![unknown];
    forged.deps.extend(after.map(|hash| hash.bytes().to_vec()));
    forged.deps.sort();
    forged.bytes()
}

fn hostile(bytes: &[u8]) -> Incoming<'_> {
    Incoming {
        bytes,
        author: Author::decided(device(3)),
        received: None,
    }
}

#[test]
fn a_few_bytes_that_name_millions_of_operations_are_refused_before_they_are_decoded() {
    let bomb = bytes_of(OP_BOMB);
    assert_eq!(bomb.len(), 66, "as it was measured");
    let larger = with_rows(&bomb, 130_000_000);
    assert_eq!(larger.len(), bomb.len());
    let largest = with_rows(&bomb, u32::MAX);
    let scene = Scene::new();
    for bytes in [bomb, larger, largest] {
        scene.check("rows by the million", &bytes, &Rule::OperationCount);
    }
}

#[test]
fn what_a_quarantined_change_says_of_itself_is_read_without_decoding_it() {
    let told = Outline::read(&with_rows(&bytes_of(OP_BOMB), 130_000_000)).unwrap();
    assert_eq!(told.operations, Some(130_000_000));
    assert!(Outline::read(b"not a change").is_err());
    let scene = Scene::new();
    let honest = &scene.honest.log[0].0;
    let told = Outline::read(&honest.bytes).unwrap();
    assert_eq!((told.hash, told.seq), (honest.hash, 1));
    assert_eq!((told.actor.len(), told.has_extras), (16, false));
    assert!(told.operations.is_some_and(|count| count > 0));
}

#[test]
fn what_is_compressed_is_never_unpacked() {
    let scene = Scene::new();
    let mut author = Replica::new(3);
    author.receive(&scene.honest.log);
    let long = author.edit(json!({"field": ["x", "y".repeat(10_000)]}));
    let mut change = automerge::Change::from_bytes(long.bytes).unwrap();
    let compressed = change.bytes().to_vec();
    assert!(compressed.len() < 1_000, "the library compresses it");
    scene.check(
        "a compressed change",
        &compressed,
        &Rule::NotAChange(ParseError::NotAChange),
    );
}

#[test]
fn containers_in_containers_are_refused_however_deep_on_a_small_stack() {
    // A phone's threads have 1 MiB; Automerge alone overflows that at 200 levels.
    let check = || {
        let scene = Scene::new();
        for depth in [1, 17, 100, CHANGE_OPS_MAX as u64] {
            let mut operations = Vec::new();
            let mut inside = scene.container(1);
            for level in 0..depth {
                operations
                    .push(json!({"action": "makeMap", "obj": inside, "key": "x", "pred": []}));
                inside = format!("{}@{ACTOR}", scene.next_op + level);
            }
            let bytes = scene.forged(operations.into(), |_| ());
            scene.check("maps in maps", &bytes, &Rule::ForbiddenOperation);
        }
    };
    let thread = thread::Builder::new().stack_size(STACK_BYTES).spawn(check);
    thread.unwrap().join().unwrap();
}

/// Makes a bomb name another number of rows, with the checksum that belongs to it.
fn with_rows(bomb: &[u8], rows: u32) -> Vec<u8> {
    let ten_million = [0x80, 0xad, 0xe2, 0x04];
    let mut number = Vec::new();
    let mut rest = rows;
    while rest > 0x7f {
        number.push((rest & 0x7f) as u8 | 0x80);
        rest >>= 7;
    }
    number.push(rest as u8);
    let mut body = Vec::new();
    let mut at = 10;
    let (columns, longer) = (5, number.len() as u8 - 4);
    while at < bomb.len() {
        if bomb[at..].starts_with(&ten_million) {
            body.extend(&number);
            at += ten_million.len();
        } else {
            body.push(bomb[at]);
            at += 1;
        }
    }
    // The lengths of its columns stand behind their number; each holds one number of rows.
    let lengths = body
        .windows(3)
        .position(|it| it == [columns, 0x15, 6])
        .unwrap()
        + 1;
    for column in 0..usize::from(columns) {
        body[lengths + 2 * column + 1] += longer;
    }
    sealed(&body)
}

/// Puts a change's head before its body.
fn sealed(body: &[u8]) -> Vec<u8> {
    let mut hashed = vec![1];
    let mut length = body.len();
    while length > 0x7f {
        hashed.push((length & 0x7f) as u8 | 0x80);
        length >>= 7;
    }
    hashed.push(length as u8);
    hashed.extend(body);
    let hash = Sha256::digest(&hashed);
    [&[0x85, 0x6f, 0x4a, 0x83][..], &hash[..4], &hashed].concat()
}
