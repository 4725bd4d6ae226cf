//! Frames as bytes: they come back as they were, and no bytes do harm.

use gridbeat_base::{DeviceId, DocumentId, Hlc, Random, WallTime};
use gridbeat_sync_protocol::limits::{
    DOCUMENT_FRAME_BYTES_MAX, FEED_WEIGHT_MAX, FRAME_BYTES_MAX, PUSH_CHANGES_MAX,
    PUSH_DOCUMENTS_MAX, PUSH_WEIGHT_MAX,
};
use gridbeat_sync_protocol::{
    Ack, BatchMark, BatchStamp, Compared, ComparedDocument, DecodeError, Entry, Frame, Held,
    PackForm, Push, PushDocument, Reason, Seal, Signature, Verdict, decode, encode,
};
use proptest::prelude::*;
use proptest::sample::Index;

use crate::arbitrary::frames;
use crate::support::*;

proptest! {
    #![proptest_config(ProptestConfig { cases: 512, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn every_frame_comes_back_as_it_was(frame in frames()) {
        let bytes = encode(&frame);
        prop_assert_eq!(decode(&bytes), Ok(frame));
    }

    #[test]
    fn no_bytes_do_harm(bytes in proptest::collection::vec(any::<u8>(), 0..600)) {
        let _ = decode(&bytes);
    }

    #[test]
    fn no_change_to_a_frame_does_harm(
        frame in frames(),
        changes in proptest::collection::vec((any::<Index>(), any::<u8>(), 0..4u8), 1..6),
    ) {
        let mut bytes = encode(&frame);
        for (place, byte, how) in changes {
            if bytes.is_empty() {
                break;
            }
            let place = place.index(bytes.len());
            match how {
                0 => bytes[place] = byte,
                1 => bytes.insert(place, byte),
                2 => drop(bytes.remove(place)),
                _ => bytes.truncate(place),
            }
        }
        if let Ok(frame) = decode(&bytes) {
            prop_assert_eq!(decode(&encode(&frame)), Ok(frame), "what is read can be sent");
        }
    }

    #[test]
    fn a_frame_cut_short_is_refused(frame in frames(), place in any::<Index>()) {
        let bytes = encode(&frame);
        prop_assert!(decode(&bytes[..place.index(bytes.len())]).is_err());
    }

    #[test]
    fn a_frame_with_more_behind_it_is_refused(frame in frames(), byte in any::<u8>()) {
        let mut bytes = encode(&frame);
        bytes.push(byte);
        prop_assert!(decode(&bytes).is_err());
    }
}

/// Bytes that no compressor makes smaller.
fn noise(seed: u64, count: usize) -> Vec<u8> {
    let mut random = Random::from_number(seed);
    std::iter::repeat_with(|| random.bytes::<1>()[0])
        .take(count)
        .collect()
}

#[test]
fn what_is_within_its_weight_fits_its_frame_however_badly_it_compresses() {
    let bytes = noise(1, PUSH_WEIGHT_MAX);
    let mut documents: Vec<PushDocument> = Vec::new();
    for (n, bytes) in (0..=255).zip(bytes.chunks(4_000)) {
        let mut document = push_document(n, 0);
        document.kind = format!("{n:032}");
        document.changes[0].bytes = bytes.to_vec();
        document.changes[0].recovered_from = Some(device(n));
        let weight: usize = documents.iter().map(PushDocument::weight).sum();
        if weight + document.weight() <= PUSH_WEIGHT_MAX && documents.len() < PUSH_DOCUMENTS_MAX {
            documents.push(document);
        }
    }
    let push = Frame::Push(Push {
        form: PackForm::Whole,
        number: u64::MAX,
        after: u64::MAX,
        scope: scope(&"s".repeat(64)),
        documents,
        seal: Some(Seal {
            stamp: BatchStamp {
                number: u64::MAX,
                clock: Hlc::from_bits(u64::MAX),
                wall: WallTime(i64::MIN),
                previous: Some(BatchMark::from_bytes([0xff; 20])),
            },
            signature: Signature::from_bytes([0xff; 64]),
        }),
    });
    let bytes = encode(&push);
    println!("largest push: {} bytes", bytes.len());
    assert!(bytes.len() <= FRAME_BYTES_MAX);
    assert_eq!(decode(&bytes), Ok(push));

    let bytes = noise(2, FEED_WEIGHT_MAX);
    let mut entries: Vec<Entry> = Vec::new();
    let (mut weight, mut n) = (0, 0u32);
    for bytes in bytes.chunks(2_100) {
        n += 1;
        let mut id = [0; 16];
        id[..4].copy_from_slice(&n.to_be_bytes());
        let mut change = change(bytes);
        change.author = DeviceId::from_bytes(id);
        change.received = WallTime(if n % 2 == 0 { i64::MAX } else { i64::MIN });
        let entry = Entry::Attach {
            document: DocumentId::from_bytes(id),
            kind: format!("{n:032}"),
            schema_version: u16::MAX,
            changes: vec![change],
        };
        weight += entry.weight();
        if weight <= FEED_WEIGHT_MAX {
            entries.push(entry);
        }
    }
    let mut feed = feed(&"s".repeat(64), u64::MAX, entries);
    feed.head = u64::MAX;
    let bytes = encode(&Frame::Feed(feed.clone()));
    println!(
        "largest feed frame: {} bytes, {} entries",
        bytes.len(),
        feed.entries.len()
    );
    assert!(bytes.len() <= DOCUMENT_FRAME_BYTES_MAX);
    assert_eq!(decode(&bytes), Ok(Frame::Feed(feed)));
}

#[test]
fn an_acknowledgement_that_refuses_everything_at_length_fits_its_frame() {
    let refuse = |n: usize| {
        Verdict::Refused(Reason {
            code: format!("{n:064}"),
            en: format!("{n:0512}"),
            zh: format!("{n:0512}"),
        })
    };
    let ack = Frame::Ack(Ack {
        number: u64::MAX,
        received: WallTime(i64::MAX),
        first_seq: Some(u64::MAX),
        attached: (0..PUSH_DOCUMENTS_MAX).map(|n| n % 2 == 0).collect(),
        verdicts: (0..PUSH_CHANGES_MAX).map(refuse).collect(),
    });
    let bytes = encode(&ack);
    assert!(bytes.len() <= FRAME_BYTES_MAX, "{}", bytes.len());
    assert_eq!(decode(&bytes), Ok(ack));
}

#[test]
fn a_reason_too_long_is_cut_at_a_character() {
    let mut close = close();
    close.reason.zh = "因".repeat(171);
    close.reason.code = "x".repeat(65);
    let Ok(Frame::Close(read)) = decode(&encode(&Frame::Close(close))) else {
        panic!("it can be read");
    };
    assert_eq!(read.reason.zh, "因".repeat(170));
    assert_eq!(read.reason.code.len(), 64);
}

#[test]
fn frames_beyond_their_size_are_refused_before_they_are_read() {
    let large = |kind: u8, bytes: usize| {
        let mut frame = vec![0x86, kind];
        frame.resize(bytes, 0);
        decode(&frame)
    };
    let too_large = |bytes, max| Err(DecodeError::FrameTooLarge { bytes, max });
    let (small, max) = (FRAME_BYTES_MAX, DOCUMENT_FRAME_BYTES_MAX);
    assert_eq!(large(2, small + 1), too_large(small + 1, small));
    assert_eq!(large(4, max + 1), too_large(max + 1, max));
    assert!(matches!(large(4, max), Err(DecodeError::Malformed { .. })));
}

#[test]
fn counts_that_a_few_bytes_claim_are_refused_before_they_are_believed() {
    // An acknowledgement: [3, 1, 0, null, attached, verdicts].
    let ack = |attached: &[u8], verdicts: &[u8]| {
        decode(&[&[0x86, 3, 1, 0, 0xf6][..], attached, verdicts].concat())
    };
    assert!(ack(&[0x81, 1], &[0x81, 1]).is_ok());
    let billion = [0x81, 0x1a, 0x3b, 0x9a, 0xca, 0];
    let too_many = |part, max| {
        Err(DecodeError::TooMany {
            part,
            count: 1_000_000_000,
            max,
        })
    };
    let documents = too_many("documents", PUSH_DOCUMENTS_MAX);
    assert_eq!(ack(&billion, &[0x80]), documents);
    let verdicts = too_many("verdicts", PUSH_CHANGES_MAX);
    assert_eq!(ack(&[0x80], &billion), verdicts);
    // A list that claims to be long.
    assert!(matches!(
        ack(
            &[0x80],
            &[0x9b, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff]
        ),
        Err(DecodeError::TooMany { .. })
    ));
}

#[test]
fn what_a_later_version_adds_is_skipped_at_an_end_and_named_where_it_matters() {
    // [5, "a", 7] is Applied; a later version may add elements.
    let applied = decode(&[0x83, 5, 0x61, b'a', 7]).unwrap();
    let later = [
        0x85, 5, 0x61, b'a', 7, 0x82, 0xa1, 1, 0xf6, 0x40, 0x63, b'n', b'e', b'w',
    ];
    assert_eq!(decode(&later), Ok(applied));
    // Where every scope of a greeting has more: [1, 1, h'..', 0, [["a", 5, 9, more]]].
    let welcome = |scope: &[u8]| {
        let head = [&[0x85, 1, 1, 0x50][..], &[9; 16], &[0, 0x81]].concat();
        decode(&[&head, scope].concat())
    };
    let known = welcome(&[0x85, 0x61, b'a', 5, 9, 3, 7]).unwrap();
    assert_eq!(welcome(&[0x86, 0x61, b'a', 5, 9, 3, 7, 0xf5]), Ok(known));
    assert!(welcome(&[0x82, 0x61, b'a', 5]).is_err());
    assert!(
        welcome(&[0x83, 0x61, b'a', 6, 9]).is_err(),
        "a grant of a later version"
    );
    // Kinds that cannot be skipped.
    assert_eq!(
        decode(&[0x81, 0x18, 28]),
        Err(DecodeError::UnknownFrame { kind: 28 })
    );
    let verdict = [0x86, 3, 1, 0, 0xf6, 0x81, 1, 0x81, 0x82, 9, 1];
    assert_eq!(
        decode(&verdict),
        Err(DecodeError::UnknownVerdict { kind: 9 })
    );
    let answer = [&[0x83, 16, 0x58, 32][..], &[0; 32], &[0x81, 4]].concat();
    assert_eq!(
        decode(&answer),
        Err(DecodeError::UnknownOfferAnswer { kind: 4 })
    );
    let entry = [&[0x86, 4, 0x61, b'a', 1, 0x50][..], &[0; 16], &[1, 0x82, 0]].concat();
    let body = [0x84, 0x80, 0x80, 0x80, 0x81, 0x82, 9, 1];
    let entry = [&entry[..], &[0x48], &body].concat();
    assert_eq!(decode(&entry), Err(DecodeError::UnknownEntry { kind: 9 }));
}

#[test]
fn lengths_are_definite() {
    assert!(decode(&[0x9f, 5, 0x61, b'a', 7, 0xff]).is_err());
    assert!(decode(&[0x83, 5, 0x7f, 0x61, b'a', 0xff, 7]).is_err());
    assert!(decode(&[]).is_err());
}

#[test]
fn ids_that_stand_in_a_frame_often_travel_once() {
    let size = |entries: Vec<Entry>| encode(&Frame::Feed(feed("a", 1, entries))).len();
    let entry = |n: u8| Entry::Change {
        document: document(7),
        change: change(&noise(u64::from(n), 50)),
    };
    let (one, nine) = (size(vec![entry(0)]), size((0..9).map(entry).collect()));
    println!("1 entry of 50 bytes: {one} bytes; 9 of one document and author: {nine} bytes");
    assert!(nine - one <= 8 * 60, "{}", nine - one);
    // An answer without anything found costs little more than the ids asked about.
    let unknown = |n| ComparedDocument {
        document: document(n),
        held: None,
    };
    let compared = Compared {
        form: PackForm::Whole,
        scope: scope("a"),
        seq: 1,
        digest: digest(1),
        documents: (0..10).map(unknown).collect(),
        last: true,
    };
    assert!(encode(&Frame::Compared(compared.clone())).len() < 260);
    let mut found = compared;
    found.documents[0].held = Some(Held {
        kind: "incident".to_owned(),
        schema_version: 1,
        heads: vec![hash(1), hash(2)],
        lacks: vec![],
        changes: vec![change(&[1; 100])],
    });
    let bytes = encode(&Frame::Compared(found.clone()));
    assert_eq!(decode(&bytes), Ok(Frame::Compared(found)));
}
