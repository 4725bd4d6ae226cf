//! The golden frames in `vectors/`: what was once on the wire stays readable, and is made the same.
//!
//! One file a frame, with the version that brought it, in hexadecimal digits; lines that begin with `#` are words. Files are
//! added, never edited: a failure here means that the wire has changed, and needs a new version. What each says lies beside
//! it as JSON, and what becomes of its mutants in `mutants.txt`: the decoder in `tests/decoder`, which was written from the
//! document alone, must find the same.
//!
//! long because each frame's value is spelled out here.

use std::collections::BTreeSet;
use std::fs;
use std::path::{Path, PathBuf};

use gridbeat_base::{
    BlobHash, ChangeHash, DeviceId, DocumentId, Hlc, Incarnation, Install, Random, Scope, Verbs,
    WallTime,
};
use gridbeat_sync_protocol::{
    Ack, Applied, BatchMark, BatchStamp, BatchStatement, BlobNonce, BlobTree, ChunkSet, Compare,
    CompareDocument, Compared, ComparedDocument, Entry, Feed, FeedChange, Fix, Frame, Get, Gone,
    Grant, Held, Hello, Here, Item, Kept, Noted, Notice, Offer, OfferAnswer, Offered, PackForm,
    Part, Positions, Possession, Prove, Push, PushChange, PushDocument, Reconcile, Reconciler,
    RemovalHash, RemovalProof, RemovalStatement, Removed, ScopeGreeting, Seen, Sighting, Signer,
    Snapshot, SnapshotDocument, SnapshotMark, Taken, Verdict, Versions, Watch, Welcome, Withheld,
    blob_hash, decode, encode,
};
use serde_json::Value;
use sha2::{Digest as _, Sha256};

use crate::meaning;
use crate::support::{close, digest, feed, greeting, hello, reason, scope, welcome};

/// A change as Automerge makes it. The others here are only bytes, which no frame's reader minds.
const CHANGE: &str = "856f4a83eef8c2ca0173015a63155b5579cf7ebab9ab058676ebfa92eb763ce7b07e0131635b218f1cf41b\
    10070707070707070707070707070707070110acf9c4d50600011001010101010101010101010101010101\
    08150a34014202560257017002710273027f087365766572697479017f017f14037f017f017f0f";

/// Bytes that zstd does not make smaller, so that it is not called on.
pub(crate) fn bytes<const N: usize>(n: u8) -> [u8; N] {
    Random::from_number(u64::from(n)).bytes()
}

fn device(n: u8) -> DeviceId {
    DeviceId::from_bytes(bytes(n))
}

fn document(n: u8) -> DocumentId {
    DocumentId::from_bytes(bytes(100 + n))
}

fn hash(n: u8) -> ChangeHash {
    ChangeHash::new(bytes(n))
}

fn change(bytes: &[u8]) -> FeedChange {
    FeedChange {
        bytes: bytes.to_vec(),
        author: device(4),
        received: WallTime(1_790_000_000_000),
    }
}

/// A chunk of the form that is taken apart, of one actor's: what it depends on, its number, its first op, the actor it
/// names besides, a key and a text.
fn chunk(
    deps: &[[u8; 32]],
    (seq, start_op): (u8, u8),
    other: Option<[u8; 16]>,
    key: &str,
    text: &str,
) -> (Vec<u8>, [u8; 32]) {
    let byte = |count: usize| u8::try_from(count).unwrap();
    let mut body = vec![byte(deps.len())];
    body.extend(deps.as_flattened());
    body.push(16);
    body.extend(bytes::<16>(40));
    // The number, the first op, a time in 2026, no message.
    body.extend([seq, start_op, 0x80, 0xf4, 0xc5, 0xd5, 0x06, 0]);
    body.push(u8::from(other.is_some()));
    if let Some(other) = other {
        body.push(16);
        body.extend(other);
    }
    body.extend([
        3,
        0x15,
        byte(1 + key.len()),
        0x42,
        2,
        0x57,
        byte(text.len()),
    ]);
    body.push(0x7f);
    body.extend([key.as_bytes(), &[1, 1], text.as_bytes()].concat());
    let mut hashed = vec![1, byte(body.len() & 0x7f)];
    if body.len() > 0x7f {
        hashed = vec![1, hashed[1] | 0x80, byte(body.len() >> 7)];
    }
    hashed.extend(body);
    let hash: [u8; 32] = Sha256::digest(&hashed).into();
    let mut chunk = vec![0x85, 0x6f, 0x4a, 0x83];
    chunk.extend_from_slice(&hash[..4]);
    chunk.extend(hashed);
    (chunk, hash)
}

fn apart_vectors() -> Vec<(&'static str, Frame)> {
    let id = "0123456789abcdef0123456789abcdef";
    let (first, hash) = chunk(&[bytes(41)], (1, 12), None, "address", "井盖破损");
    let (second, _) = chunk(&[hash, bytes(42)], (2, 15), Some(bytes(43)), id, "note");
    let push = |documents| {
        Frame::Push(Push {
            form: PackForm::Apart,
            number: 3,
            after: 1,
            scope: scope("330211001"),
            documents,
            seal: None,
        })
    };
    let entries = vec![Entry::Change {
        document: document(1),
        change: change(&second),
    }];
    let held = Held {
        kind: "incident".to_owned(),
        schema_version: 1,
        heads: vec![],
        lacks: vec![],
        changes: vec![change(&first), change(&second)],
    };
    let compared = Compared {
        form: PackForm::Apart,
        scope: scope("a"),
        seq: 41,
        digest: digest(1),
        documents: vec![ComparedDocument {
            document: document(1),
            held: Some(held),
        }],
        last: true,
    };
    let feed = Feed {
        form: PackForm::Apart,
        ..feed("a", 600, entries)
    };
    // The last change is none of Automerge's, and travels whole.
    let mixed = vec![
        push_document(1, &[&first, &second]),
        push_document(2, &[&[5]]),
    ];
    let many: Vec<_> = (0..20)
        .map(|n| chunk(&[], (1, n), None, "note", "many").0)
        .collect();
    let many: Vec<_> = many.iter().map(Vec::as_slice).collect();
    vec![
        ("push-apart.v3", push(mixed)),
        ("push-apart-zstd.v3", push(vec![push_document(1, &many)])),
        ("feed-apart.v3", Frame::Feed(feed)),
        ("compared-apart.v3", Frame::Compared(compared)),
    ]
}

fn snapshot_vectors() -> Vec<(&'static str, Frame)> {
    let (first, hash) = chunk(&[], (1, 2), None, "address", "井盖破损");
    let (second, _) = chunk(&[hash], (2, 5), None, "note", "note");
    let whole = |n, changes: &[&[u8]]| SnapshotDocument {
        document: document(n),
        kind: "incident".to_owned(),
        schema_version: 2,
        changes: changes.iter().map(|bytes| change(bytes)).collect(),
    };
    let snapshot = |documents, last| {
        Frame::Snapshot(Snapshot {
            form: PackForm::Apart,
            scope: scope("330211001"),
            number: 2,
            seq: 300,
            digest: digest(8),
            mark: 9_876_543_210,
            last,
            documents,
        })
    };
    let mut returning = hello(&[("330211001", 0)]);
    returning.versions = Versions {
        newest: 3,
        oldest: 1,
    };
    returning.scopes[0].snapshot = Some(SnapshotMark {
        as_of: 299,
        mark: 9_876_543_210,
    });
    let mut announced = with_verbs(vec![greeting("330211001", 300)]);
    announced[0].snapshot = Some(299);
    let documents = vec![whole(1, &[&first, &second]), whole(2, &[])];
    let taken = Taken {
        scope: scope("330211001"),
        number: 2,
    };
    vec![
        ("hello-snapshot.v3", Frame::Hello(returning)),
        ("welcome-snapshot.v3", Frame::Welcome(welcome(announced))),
        ("snapshot.v3", snapshot(documents, false)),
        ("snapshot-last.v3", snapshot(vec![], true)),
        ("taken.v3", Frame::Taken(taken)),
    ]
}

fn push_document(n: u8, changes: &[&[u8]]) -> PushDocument {
    let changes = changes.iter().map(|bytes| PushChange {
        bytes: bytes.to_vec(),
        recovered_from: None,
    });
    PushDocument {
        document: document(n),
        kind: "incident".to_owned(),
        schema_version: 1,
        changes: changes.collect(),
    }
}

fn folder() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("vectors")
}

pub(crate) fn read(name: &str) -> Vec<u8> {
    let path = folder().join(file_of(name, "hex"));
    let text = fs::read_to_string(&path).unwrap_or_else(|error| panic!("{path:?}: {error}"));
    let lines = text.lines().filter(|line| !line.starts_with('#'));
    from_hex(&lines.collect::<String>())
}

/// What the file beside a vector says that it says.
pub(crate) fn said(name: &str) -> Value {
    let path = folder().join(file_of(name, "json"));
    let text = fs::read_to_string(&path).unwrap_or_else(|error| panic!("{path:?}: {error}"));
    serde_json::from_str(&text).unwrap_or_else(|error| panic!("{path:?}: {error}"))
}

fn from_hex(digits: &str) -> Vec<u8> {
    let byte = |pair: &[u8]| u8::from_str_radix(std::str::from_utf8(pair).unwrap(), 16).unwrap();
    digits.as_bytes().chunks(2).map(byte).collect()
}

/// A file of a vector. Without a version in its name it is of the first.
fn file_of(name: &str, extension: &str) -> String {
    let version = if name.contains(".v") { "" } else { ".v1" };
    format!("{name}{version}.{extension}")
}

/// Every change of one byte of `bytes`: of each of its bits, and to some that mean something in CBOR.
pub(crate) fn mutants(bytes: &[u8]) -> impl Iterator<Item = Vec<u8>> {
    bytes.iter().enumerate().flat_map(move |(place, byte)| {
        let flipped = (0..8).map(|bit| *byte ^ (1 << bit));
        flipped.chain([0x00, 0x9f, 0xf6, 0xff]).map(move |byte| {
            let mut mutant = bytes.to_vec();
            mutant[place] = byte;
            mutant
        })
    })
}

/// The line of a vector in `mutants.txt`: how many of its mutants are read and refused, and a hash over
/// what the former say.
pub(crate) fn fate_of_mutants(name: &str, meaning: impl Fn(&[u8]) -> Option<Value>) -> String {
    let (mut read_count, mut refused_count, mut hash) = (0, 0, Sha256::new());
    for mutant in mutants(&read(name)) {
        if let Some(meaning) = meaning(&mutant) {
            read_count += 1;
            hash.update(format!("{meaning}\n"));
        } else {
            refused_count += 1;
            hash.update("refused\n");
        }
    }
    let digits: String = hash.finalize()[..8]
        .iter()
        .map(|byte| format!("{byte:02x}"))
        .collect();
    format!(
        "{} {read_count} {refused_count} {digits}",
        file_of(name, "hex")
    )
}

/// Fails unless `mutants.txt` has this line.
pub(crate) fn assert_known_fate(line: &str) {
    let known = include_str!("mutants.txt");
    assert!(known.lines().any(|known| known == line), "{line}");
}

/// A welcome of version 2 with the relay's stable mark.
fn stable(scopes: Vec<ScopeGreeting>) -> Welcome {
    Welcome {
        version: 2,
        stable: Some(WallTime(1_789_999_000_000)),
        ..welcome(scopes)
    }
}

fn hello_vectors() -> Vec<(&'static str, Frame)> {
    let mut first = hello(&[]);
    first.incarnation = None;
    first.versions = Versions {
        newest: 1,
        oldest: 1,
    };
    let mut zhenhai = hello(&[("330211001", 123_456), ("招宝山街道", 0)]);
    zhenhai.versions = Versions {
        newest: 3,
        oldest: 1,
    };
    let mut greetings = vec![greeting("330211001", 123_460), greeting("招宝山街道", 0)];
    greetings[0].digest_agrees = false;
    greetings[1].grant = Grant::Read;
    greetings.push(greeting("squad:7", 1));
    greetings[2].grant = Grant::None;
    vec![
        ("hello-first", Frame::Hello(Hello { ..first })),
        ("hello", Frame::Hello(zhenhai)),
        ("welcome", Frame::Welcome(welcome(greetings.clone()))),
        (
            "welcome-verbs",
            Frame::Welcome(welcome(with_verbs(greetings.clone()))),
        ),
        ("welcome-stable.v2", Frame::Welcome(stable(greetings))),
        ("close", Frame::Close(close())),
    ]
}

fn with_verbs(mut greetings: Vec<ScopeGreeting>) -> Vec<ScopeGreeting> {
    let verbs = [Verbs::WORK, Verbs::READ, Verbs::NONE];
    for (greeting, verbs) in greetings.iter_mut().zip(verbs) {
        greeting.verbs = Some(verbs);
    }
    greetings
}

fn push_vectors() -> Vec<(&'static str, Frame)> {
    let push = |documents| {
        Frame::Push(Push {
            form: PackForm::Whole,
            number: 3,
            after: 1,
            scope: scope("330211001"),
            documents,
            seal: None,
        })
    };
    let sealed = |previous, change: &[u8]| {
        let documents = vec![push_document(1, &[change])];
        let stamp = BatchStamp {
            number: 12,
            clock: Hlc::at(WallTime(1_790_000_000_000)),
            wall: WallTime(1_789_999_999_000),
            previous,
        };
        let (device, install, scope) = (device(1), Install::new(bytes(2)), scope("330211001"));
        let batch = BatchStatement::of_push(device, install, stamp, &scope, &documents);
        Frame::Push(Push {
            form: PackForm::Whole,
            number: 1,
            after: 0,
            scope,
            documents,
            seal: Some(batch.seal(&Signer::from_seed(&bytes(3))).0),
        })
    };
    let mut recovered = push_document(1, &[&[1, 2], &[3]]);
    recovered.changes[1].recovered_from = Some(device(5));
    vec![
        (
            "push",
            push(vec![
                push_document(1, &[&[1, 2, 3, 4]]),
                push_document(2, &[&[5], &[6]]),
            ]),
        ),
        ("push-recovered", push(vec![recovered])),
        (
            "push-signed",
            sealed(Some(BatchMark::from_bytes(bytes(4))), &[1, 2, 3, 4]),
        ),
        ("push-signed-first", sealed(None, &[1, 2, 3, 4])),
        ("push-signed-zstd", sealed(None, &from_hex(CHANGE))),
        ("push-zstd", push(vec![push_document(1, &[&[7; 400]])])),
    ]
}

fn ack_vectors() -> Vec<(&'static str, Frame)> {
    let ack = |first_seq, attached: &[bool], verdicts: Vec<Verdict>| {
        Frame::Ack(Ack {
            number: 3,
            received: WallTime(1_790_000_001_000),
            first_seq,
            attached: attached.to_vec(),
            verdicts,
        })
    };
    let every_verdict = vec![
        Verdict::Accepted,
        Verdict::Accepted,
        Verdict::Known,
        Verdict::Incomplete,
        Verdict::Refused(reason("kind_unknown")),
        Verdict::Refused(reason("kind_unknown")),
        Verdict::Accepted,
    ];
    vec![
        ("ack", ack(Some(124), &[true], vec![Verdict::Accepted])),
        (
            "ack-verdicts",
            ack(Some(124), &[false, true, true], every_verdict),
        ),
        ("ack-known", ack(None, &[false], vec![Verdict::Known])),
    ]
}

fn feed_vectors() -> Vec<(&'static str, Frame)> {
    let earlier = FeedChange {
        received: WallTime(1_789_999_999_000),
        author: device(6),
        ..change(&[1, 2, 3])
    };
    let attach = |n, changes| Entry::Attach {
        document: document(n),
        kind: "incident".to_owned(),
        schema_version: 2,
        changes,
    };
    let short = |n: u8| Entry::Change {
        document: document(n),
        change: change(&[n; 5]),
    };
    let every_entry = vec![
        attach(1, vec![]),
        short(1),
        Entry::Own { count: 300 },
        attach(2, vec![earlier, change(&[4])]),
        Entry::Detach {
            document: document(1),
        },
        short(2),
    ];
    let applied = Applied {
        scope: scope("a"),
        seq: 1_305,
    };
    vec![
        ("feed", Frame::Feed(feed("a", 600, every_entry))),
        ("feed-zstd", Frame::Feed(feed("a", 600, vec![short(1); 40]))),
        ("applied", Frame::Applied(applied)),
    ]
}

/// The first message over so many documents. All bytes of a document's id and of its term are its number, from 0.
///
/// Into which ranges it cuts them is the library's choice: if a release of it chooses otherwise, the bytes stand here.
fn first_message(count: u8) -> Vec<u8> {
    let items = (0..count).map(|n| Item {
        document: DocumentId::from_bytes([n; 16]),
        digest: digest(n),
    });
    Reconciler::initiate(items).1
}

fn repair_vectors() -> Vec<(&'static str, Frame)> {
    let reconcile = |seq, message| {
        Frame::Reconcile(Reconcile {
            scope: scope("a"),
            seq,
            message,
        })
    };
    let nothing = vec![0x61, 0, 0, 2, 0];
    let compare = |documents, last| {
        Frame::Compare(Compare {
            scope: scope("a"),
            documents,
            last,
        })
    };
    let asked = |n, changes| CompareDocument {
        document: document(n),
        changes,
    };
    let found = ComparedDocument {
        document: document(1),
        held: Some(Held {
            kind: "incident".to_owned(),
            schema_version: 1,
            heads: vec![hash(1)],
            lacks: vec![hash(2)],
            changes: vec![change(&[7, 7])],
        }),
    };
    let unknown = ComparedDocument {
        document: document(2),
        held: None,
    };
    let compared = Compared {
        form: PackForm::Whole,
        scope: scope("a"),
        seq: 41,
        digest: digest(1),
        documents: vec![found, unknown],
        last: true,
    };
    let documents = vec![asked(1, vec![hash(1), hash(2)]), asked(2, vec![])];
    vec![
        ("reconcile-ask", reconcile(0, nothing.clone())),
        ("reconcile-answer", reconcile(40, nothing)),
        ("reconcile-few", reconcile(0, first_message(3))),
        ("reconcile-many", reconcile(0, first_message(100))),
        ("compare", compare(documents, true)),
        ("compare-nothing", compare(vec![], true)),
        ("compared", Frame::Compared(compared)),
    ]
}

fn removal(scope: Option<Scope>) -> RemovalStatement {
    RemovalStatement {
        device: device(1),
        install: Install::new(bytes(2)),
        incarnation: scope.is_some().then(|| Incarnation::new(bytes(3))),
        seq: if scope.is_some() { 123_456 } else { 0 },
        scope,
        digest: digest(9),
        documents: 5_000,
        removed: 4_711,
        kept: 2,
        at: WallTime(1_790_000_000_000),
    }
}

fn leave_vectors() -> Vec<(&'static str, Frame)> {
    let notice = |scope, seq| {
        Frame::Notice(Notice {
            scope,
            seq,
            deadline: WallTime(1_791_209_600_000),
        })
    };
    let signer = Signer::from_seed(&bytes(3));
    let here = removal(Some(scope("330211001"))).to_bytes();
    let hash = RemovalHash::of(&here);
    let removed = |statement, signer| Frame::Removed(Removed::new(statement, signer));
    vec![
        ("notice.v2", notice(Some(scope("330211001")), 123_456)),
        ("notice-everything.v2", notice(None, 0)),
        ("removed.v2", removed(here, Some(&signer))),
        (
            "removed-everything.v2",
            removed(removal(None).to_bytes(), None),
        ),
        ("noted.v2", Frame::Noted(Noted { removal: hash })),
    ]
}

fn blob_vectors() -> Vec<(&'static str, Frame)> {
    let hash = BlobHash::from_bytes(bytes(40));
    let answer = |answer| Frame::Offered(Offered { hash, answer });
    let mut kept = ChunkSet::empty(306);
    for chunk in (0..12).chain(13..14) {
        kept.insert(chunk);
    }
    let offer = Offer {
        document: document(1),
        hash,
        size_bytes: 5_000_000,
    };
    let photo: Vec<u8> = b"photo".to_vec();
    let nonce = BlobNonce::from_bytes(bytes(42));
    let proof = Possession::of(&nonce, &photo[..]).unwrap();
    let whole = blob_hash(&photo);
    let tree = BlobTree::of(whole, 5, &photo[..]).unwrap();
    let part = Part {
        hash: whole,
        size_bytes: 5,
        chunk: 0,
        slice: tree.slice(0, &photo).unwrap(),
    };
    let word = |is_complete| Kept {
        hash,
        chunk: 305,
        is_complete,
    };
    let get = Get {
        document: document(1),
        hash,
        first: 12,
        count: 8,
    };
    let withheld = Withheld {
        hash,
        reason: reason("blob_not_here"),
    };
    vec![
        ("offer.v4", Frame::Offer(offer)),
        ("offered-wanted.v4", answer(OfferAnswer::Wanted(kept))),
        ("offered-complete.v4", answer(OfferAnswer::Complete)),
        ("offered-prove.v4", answer(OfferAnswer::Prove(nonce))),
        (
            "offered-refused.v4",
            answer(OfferAnswer::Refused(reason("blob_not_attached"))),
        ),
        ("prove.v4", Frame::Prove(Prove { hash: whole, proof })),
        ("kept.v4", Frame::Kept(word(false))),
        ("kept-complete.v4", Frame::Kept(word(true))),
        ("get.v4", Frame::Get(get)),
        ("part.v4", Frame::Part(part)),
        ("part-of-many.v4", Frame::Part(crate::blobs::part(2))),
        ("withheld.v4", Frame::Withheld(withheld)),
    ]
}

fn position_vectors() -> Vec<(&'static str, Frame)> {
    use crate::blobs::bring;
    use crate::positions::{fix, positions, sighting};
    let bare = Fix {
        receiver_time: None,
        speed_cm_s: None,
        heading_deg: None,
        battery_percent: None,
        waiting: None,
        ..fix()
    };
    let here = |number, age_ms, fix| {
        Frame::Here(Here {
            number,
            age_ms,
            fix,
        })
    };
    let coarse = Sighting {
        seen: Some(Seen {
            is_exact: false,
            fix: bare,
        }),
        ..sighting(true)
    };
    let several = Positions {
        sightings: vec![coarse, sighting(false)],
        ..positions(0)
    };
    vec![
        ("here.v5", here(1, 250, fix())),
        ("here-bare.v5", here(70_000, 0, bare)),
        ("gone.v5", Frame::Gone(Gone { number: 3 })),
        ("watch.v5", Frame::Watch(Watch { is_wanted: true })),
        ("positions.v5", Frame::Positions(several)),
        ("moved.v5", Frame::Moved(positions(1))),
        ("bring.v5", Frame::Bring(bring(3, b"GBT1 and so on"))),
    ]
}

fn vectors() -> Vec<(&'static str, Frame)> {
    [
        hello_vectors(),
        push_vectors(),
        ack_vectors(),
        feed_vectors(),
        repair_vectors(),
        leave_vectors(),
        apart_vectors(),
        snapshot_vectors(),
        blob_vectors(),
        position_vectors(),
    ]
    .concat()
}

#[test]
fn golden_frames_are_read_as_ever() {
    for (name, frame) in vectors() {
        assert_eq!(decode(&read(name)), Ok(frame), "{name}");
    }
}

#[test]
fn golden_frames_are_made_as_ever() {
    // Other than what zstd makes: another release of it may compress better.
    for (name, frame) in vectors() {
        if !name.contains("-zstd") {
            assert_eq!(encode(&frame), read(name), "{name}");
        }
    }
}

#[test]
fn golden_frames_say_what_is_written_beside_them() {
    for (name, frame) in vectors() {
        assert_eq!(meaning::of_frame(&frame), said(name), "{name}");
    }
}

#[test]
fn mutants_of_golden_frames_are_read_and_refused_as_the_document_says() {
    // What zstd refuses differs by its release.
    for (name, _) in vectors() {
        if !name.contains("-zstd") {
            let meaning = |bytes: &[u8]| decode(bytes).ok().map(|frame| meaning::of_frame(&frame));
            assert_known_fate(&fate_of_mutants(name, meaning));
        }
    }
}

#[test]
fn every_golden_frame_is_checked() {
    let frames = vectors().into_iter().map(|(name, _)| name);
    let names: BTreeSet<String> = frames
        .chain(crate::enrol::vector_names())
        .flat_map(|name| ["hex", "json"].map(|extension| file_of(name, extension)))
        .collect();
    let files: BTreeSet<String> = fs::read_dir(folder())
        .unwrap()
        .map(|file| file.unwrap().file_name().into_string().unwrap())
        .collect();
    assert_eq!(files, names);
}

#[test]
fn no_change_of_one_byte_in_a_golden_frame_does_harm() {
    for (name, _) in vectors() {
        for mutant in mutants(&read(name)) {
            if let Ok(frame) = decode(&mutant) {
                assert_eq!(decode(&encode(&frame)), Ok(frame), "{name} {mutant:02x?}");
            }
        }
    }
}

#[test]
fn the_signature_of_a_golden_frame_is_good() {
    let Frame::Push(push) = decode(&read("push-signed")).unwrap() else {
        panic!("a push is read as a push");
    };
    let seal = push.seal.unwrap();
    let install = Install::new(bytes(2));
    let (scope, documents) = (&push.scope, &push.documents);
    let batch = BatchStatement::of_push(device(1), install, seal.stamp, scope, documents);
    let key = Signer::from_seed(&bytes(3)).public_key();
    assert!(batch.prove(Some((key, seal.signature))).is_some());
}

#[test]
fn the_removal_of_a_golden_frame_is_what_its_device_signed() {
    let Frame::Removed(removed) = decode(&read("removed.v2")).unwrap() else {
        panic!("a removal is read as a removal");
    };
    let key = Signer::from_seed(&bytes(3)).public_key();
    let signed = removed.signature.map(|signature| (key, signature));
    let proof = RemovalProof::of_bytes(removed.statement, signed).unwrap();
    assert_eq!(proof.statement, removal(Some(scope("330211001"))));
}

#[test]
fn what_automerge_makes_is_taken_apart() {
    let sent = |form| {
        encode(&Frame::Push(Push {
            form,
            number: 1,
            after: 0,
            scope: scope("a"),
            documents: vec![push_document(1, &[&from_hex(CHANGE)])],
            seal: None,
        }))
    };
    let has_chunk = |frame: &[u8]| frame.windows(4).any(|at| at == &from_hex(CHANGE)[..4]);
    assert!(has_chunk(&sent(PackForm::Whole)));
    assert!(!has_chunk(&sent(PackForm::Apart)));
    assert_eq!(
        decode(&sent(PackForm::Apart)).map(|frame| meaning::of_frame(&frame)),
        decode(&sent(PackForm::Whole)).map(|frame| meaning::of_frame(&frame)),
    );
}
