//! Blobs over a session: offered, sent in verified parts, proven, asked for; and every rule of that.

use gridbeat_base::{BlobHash, Lane, WallTime};
use gridbeat_sync_protocol::limits::{
    BLOB_BYTES_MAX, OFFERS_OPEN_MAX, PARTS_ASKED_MAX, PARTS_OUT_MAX,
};
use gridbeat_sync_protocol::{
    BlobNonce, BlobTree, Bring, CHUNK_BYTES, ChunkSet, DeviceOutput, DeviceSession, Frame, Get,
    Grant, Kept, Offer, OfferAnswer, Offered, Part, Possession, Prove, RelayOutput, RelaySession,
    SessionError, VERSION_OF_BLOBS, Versions, Welcome, Withheld, blob_hash, encode,
};

use crate::support::*;

/// A blob of three chunks, the last a short one.
pub(crate) fn photo() -> Vec<u8> {
    (0..2 * CHUNK_BYTES + 100)
        .map(|at| (at % 253) as u8)
        .collect()
}

fn tree() -> BlobTree {
    let photo = photo();
    BlobTree::of(blob_hash(&photo), photo.len() as u64, &photo[..]).unwrap()
}

fn photo_hash() -> BlobHash {
    blob_hash(&photo())
}

pub(crate) fn offer() -> Offer {
    Offer {
        document: document(1),
        hash: photo_hash(),
        size_bytes: photo().len() as u64,
    }
}

pub(crate) fn part(chunk: u32) -> Part {
    let photo = photo();
    let bytes = photo.chunks(CHUNK_BYTES).nth(chunk as usize).unwrap();
    Part {
        hash: photo_hash(),
        size_bytes: photo.len() as u64,
        chunk,
        slice: tree().slice(chunk, bytes).unwrap(),
    }
}

pub(crate) fn get(first: u32, count: u32) -> Get {
    Get {
        document: document(1),
        hash: photo_hash(),
        first,
        count,
    }
}

pub(crate) fn bring(after: u64, bytes: &[u8]) -> Bring {
    Bring {
        document: document(1),
        hash: blob_hash(bytes),
        after,
        bytes: bytes.to_vec(),
    }
}

pub(crate) fn wanted(kept: &[u32]) -> OfferAnswer {
    let mut set = ChunkSet::empty(3);
    for chunk in kept {
        set.insert(*chunk);
    }
    OfferAnswer::Wanted(set)
}

pub(crate) fn offered(answer: OfferAnswer) -> Frame {
    let hash = photo_hash();
    Frame::Offered(Offered { hash, answer })
}

pub(crate) fn kept(chunk: u32, is_complete: bool) -> Frame {
    Frame::Kept(Kept {
        hash: photo_hash(),
        chunk,
        is_complete,
    })
}

pub(crate) fn prove(nonce: [u8; 32]) -> Frame {
    let proof = Possession::of(&BlobNonce::from_bytes(nonce), &photo()[..]);
    Frame::Prove(Prove {
        hash: photo_hash(),
        proof: proof.unwrap(),
    })
}

/// A device's session of a version.
pub(crate) fn device_of(version: u16) -> DeviceSession {
    let mut session = greeting_device(hello(&[("a", 10)]));
    let welcome = welcome(vec![greeting("a", 10)]);
    give(&mut session, Frame::Welcome(Welcome { version, ..welcome })).unwrap();
    device_outputs(&mut session);
    session
}

/// A device's session that has offered the photo.
fn offering() -> DeviceSession {
    let mut session = device_of(VERSION_OF_BLOBS);
    session.offer(offer()).unwrap();
    device_outputs(&mut session);
    session
}

/// A device's session that has offered the photo and got this answer.
fn answered(answer: OfferAnswer) -> DeviceSession {
    let mut session = offering();
    give(&mut session, offered(answer)).unwrap();
    device_outputs(&mut session);
    session
}

/// A device's session that has asked for chunks.
fn asking(first: u32, count: u32) -> DeviceSession {
    let mut session = device_of(VERSION_OF_BLOBS);
    session.get(get(first, count)).unwrap();
    device_outputs(&mut session);
    session
}

/// A relay's session that was offered the photo, and answered.
fn wanting(answer: OfferAnswer) -> RelaySession {
    let mut session = live_relay();
    send(&mut session, Frame::Offer(offer())).unwrap();
    session.offered(photo_hash(), answer).unwrap();
    relay_outputs(&mut session);
    session
}

/// Plays a case against the relay's end: the last frame breaks the rule with this code.
pub(crate) fn device_breaks(code: &str, mut session: RelaySession, frames: Vec<Frame>) {
    let (bad, good) = frames.split_last().unwrap();
    for frame in good {
        send(&mut session, frame.clone()).unwrap_or_else(|error| panic!("{code}: {error:?}"));
    }
    match send(&mut session, bad.clone()) {
        Err(SessionError::DeviceMisbehaved(fault)) => assert_eq!(fault.code(), code),
        other => panic!("{code}: {other:?}"),
    }
}

/// Plays a case against the device's end.
fn relay_breaks(code: &str, mut session: DeviceSession, frames: Vec<Frame>) {
    let (bad, good) = frames.split_last().unwrap();
    for frame in good {
        give(&mut session, frame.clone()).unwrap_or_else(|error| panic!("{code}: {error:?}"));
    }
    match give(&mut session, bad.clone()) {
        Err(SessionError::RelayMisbehaved(fault)) => assert_eq!(fault.code(), code),
        other => panic!("{code}: {other:?}"),
    }
}

#[test]
fn a_blob_goes_up_chunk_by_chunk_and_only_what_is_missing() {
    let mut device = answered(wanted(&[1]));
    let mut relay = wanting(wanted(&[1]));
    let mut sent = Vec::new();
    while let Some(chunk) = device.next_chunk(&photo_hash()) {
        device
            .part(Lane::Original, photo_hash(), chunk, part(chunk).slice)
            .unwrap();
        sent.push(chunk);
    }
    assert_eq!(sent, [0, 2]);
    assert_eq!(device.parts_out(), 2);
    for output in device_outputs(&mut device) {
        let DeviceOutput::Send {
            lane: Lane::Original,
            frame,
        } = output
        else {
            panic!("{output:?}");
        };
        assert!(frame.kind().has_own_stream());
        send(&mut relay, frame).unwrap();
    }
    for (n, output) in relay_outputs(&mut relay).into_iter().enumerate() {
        let RelayOutput::Part {
            offer: of,
            chunk,
            bytes,
        } = output
        else {
            panic!("{output:?}");
        };
        assert_eq!((of, chunk), (offer(), sent[n]));
        assert_eq!(
            bytes,
            photo().chunks(CHUNK_BYTES).nth(chunk as usize).unwrap()
        );
        assert_eq!(relay.is_last_chunk(&photo_hash()), n == 1);
        relay.kept(photo_hash(), chunk, n == 1).unwrap();
    }
    for output in relay_outputs(&mut relay) {
        let RelayOutput::Send { frame, .. } = output else {
            panic!("{output:?}");
        };
        give(&mut device, frame).unwrap();
    }
    let word = |chunk, is_complete| DeviceOutput::Kept {
        offer: offer(),
        chunk,
        is_complete,
    };
    assert_eq!(device_outputs(&mut device), [word(0, false), word(2, true)]);
    assert!(device.can_offer(&photo_hash()), "the offer is over");
    assert_eq!(device.parts_out(), 0);
}

#[test]
fn a_blob_that_the_relay_has_is_proven_and_not_sent() {
    let nonce = BlobNonce::from_bytes([7; 32]);
    let mut device = answered(OfferAnswer::Prove(nonce));
    let mut relay = wanting(OfferAnswer::Prove(nonce));
    assert_eq!(device.next_chunk(&photo_hash()), None);
    let proof = Possession::of(&nonce, &photo()[..]).unwrap();
    device.prove(photo_hash(), proof).unwrap();
    assert_eq!(device.prove(photo_hash(), proof), Err(SessionError::Full));
    let [DeviceOutput::Send { frame, .. }] = &device_outputs(&mut device)[..] else {
        panic!("one proof");
    };
    send(&mut relay, frame.clone()).unwrap();
    let proved = RelayOutput::Proved {
        offer: offer(),
        nonce,
        proof,
    };
    assert_eq!(relay_outputs(&mut relay), [proved]);
    relay.offered(photo_hash(), OfferAnswer::Complete).unwrap();
    give(&mut device, offered(OfferAnswer::Complete)).unwrap();
    let answer = DeviceOutput::Offered {
        offer: offer(),
        answer: OfferAnswer::Complete,
    };
    assert_eq!(device_outputs(&mut device), [answer]);
}

#[test]
fn a_blob_comes_down_by_asking_for_chunks_until_its_end() {
    let (mut device, mut relay) = (asking(1, PARTS_ASKED_MAX), live_relay());
    assert_eq!(device.get_room(&photo_hash()), 0);
    send(&mut relay, Frame::Get(get(1, PARTS_ASKED_MAX))).unwrap();
    assert_eq!(
        relay_outputs(&mut relay),
        [RelayOutput::Get(get(1, PARTS_ASKED_MAX))]
    );
    let slices = vec![part(1).slice, part(2).slice];
    let size = photo().len() as u64;
    relay
        .give(Lane::Original, photo_hash(), size, slices)
        .unwrap();
    let mut parts = relay_outputs(&mut relay);
    // On streams of their own they arrive in any order.
    parts.reverse();
    for output in parts {
        let RelayOutput::Send { frame, .. } = output else {
            panic!("{output:?}");
        };
        give(&mut device, frame).unwrap();
    }
    let came: Vec<(u32, usize, bool)> = device_outputs(&mut device)
        .into_iter()
        .map(|output| {
            let DeviceOutput::Part {
                chunk,
                bytes,
                is_last,
                ..
            } = output
            else {
                panic!("{output:?}");
            };
            (chunk, bytes.len(), is_last)
        })
        .collect();
    assert_eq!(came, [(2, 100, false), (1, CHUNK_BYTES, true)]);
    assert_eq!(device.get_room(&photo_hash()), PARTS_ASKED_MAX);
}

#[test]
fn what_is_not_given_is_said_so_and_may_be_asked_for_again() {
    let (mut device, mut relay) = (asking(0, 1), live_relay());
    send(&mut relay, Frame::Get(get(0, 1))).unwrap();
    relay
        .withhold(photo_hash(), reason("blob_not_here"))
        .unwrap();
    let withheld = Withheld {
        hash: photo_hash(),
        reason: reason("blob_not_here"),
    };
    give(&mut device, Frame::Withheld(withheld)).unwrap();
    let output = DeviceOutput::Withheld {
        get: get(0, 1),
        reason: reason("blob_not_here"),
    };
    assert_eq!(device_outputs(&mut device), [output]);
    device.get(get(0, 1)).unwrap();
    send(&mut relay, Frame::Get(get(0, 1))).unwrap();
}

#[test]
fn a_session_of_an_earlier_version_says_nothing_of_blobs() {
    let mut device = device_of(2);
    assert!(!device.speaks_of_blobs());
    assert!(!device.can_offer(&photo_hash()));
    assert_eq!(device.offer(offer()), Err(SessionError::Full));
    assert_eq!(device.get(get(0, 1)), Err(SessionError::Full));
    let word = offered(OfferAnswer::Complete);
    relay_breaks("later_version", device_of(2), vec![word]);
    relay_breaks("later_version", device_of(1), vec![Frame::Part(part(0))]);
    relay_breaks("later_version", device_of(3), vec![kept(0, false)]);
    for frame in [
        Frame::Offer(offer()),
        Frame::Get(get(0, 1)),
        Frame::Part(part(0)),
        prove([1; 32]),
    ] {
        let mut session = new_relay();
        let mut greeting_of_two = hello(&[("a", 10)]);
        greeting_of_two.versions = Versions {
            newest: 2,
            oldest: 1,
        };
        send(&mut session, Frame::Hello(greeting_of_two)).unwrap();
        let scopes = vec![greeting("a", 10)];
        session
            .welcome(incarnation(9), WallTime(0), scopes)
            .unwrap();
        assert!(!session.speaks_of_blobs());
        device_breaks("later_version", session, vec![frame]);
    }
}

#[test]
fn a_device_keeps_to_the_rules_of_offers() {
    let sized = |size_bytes| {
        Frame::Offer(Offer {
            size_bytes,
            ..offer()
        })
    };
    device_breaks("offer_content", live_relay(), vec![sized(0)]);
    device_breaks(
        "offer_content",
        live_relay(),
        vec![sized(BLOB_BYTES_MAX + 1)],
    );
    let again = Frame::Offer(Offer {
        document: document(2),
        ..offer()
    });
    device_breaks(
        "offer_repeated",
        live_relay(),
        vec![Frame::Offer(offer()), again],
    );
    let many = (0..=OFFERS_OPEN_MAX).map(|n| {
        let hash = BlobHash::new([n as u8; 32]);
        Frame::Offer(Offer { hash, ..offer() })
    });
    device_breaks("offers_too_many", live_relay(), many.collect());
    device_breaks("prove_unasked", live_relay(), vec![prove([1; 32])]);
    device_breaks("prove_unasked", wanting(wanted(&[])), vec![prove([1; 32])]);
    let twice = vec![prove([7; 32]), prove([7; 32])];
    let nonce = BlobNonce::from_bytes([7; 32]);
    device_breaks("prove_unasked", wanting(OfferAnswer::Prove(nonce)), twice);
}

#[test]
fn a_device_sends_what_is_wanted_and_what_it_is_called() {
    let one = || Frame::Part(part(1));
    device_breaks("part_unasked", live_relay(), vec![one()]);
    device_breaks(
        "part_unasked",
        live_relay(),
        vec![Frame::Offer(offer()), one()],
    );
    device_breaks("part_unasked", wanting(wanted(&[1])), vec![one()]);
    device_breaks("part_unasked", wanting(wanted(&[])), vec![one(), one()]);
    let beyond = Part {
        chunk: 3,
        ..part(1)
    };
    device_breaks(
        "part_unasked",
        wanting(wanted(&[])),
        vec![Frame::Part(beyond)],
    );
    let longer = Part {
        size_bytes: BLOB_BYTES_MAX,
        ..part(1)
    };
    device_breaks(
        "part_unasked",
        wanting(wanted(&[])),
        vec![Frame::Part(longer)],
    );
    let other = Part {
        chunk: 0,
        ..part(1)
    };
    device_breaks(
        "part_content",
        wanting(wanted(&[])),
        vec![Frame::Part(other)],
    );
}

#[test]
fn a_device_keeps_to_the_window_of_parts() {
    let blob: Vec<u8> = vec![5; (PARTS_OUT_MAX + 1) * CHUNK_BYTES];
    let (hash, size_bytes) = (blob_hash(&blob), blob.len() as u64);
    let tree = BlobTree::of(hash, size_bytes, &blob[..]).unwrap();
    let mut session = live_relay();
    let large = Offer {
        hash,
        size_bytes,
        ..offer()
    };
    send(&mut session, Frame::Offer(large)).unwrap();
    let nothing = OfferAnswer::Wanted(ChunkSet::of_size(size_bytes));
    session.offered(hash, nothing).unwrap();
    let parts = blob.chunks(CHUNK_BYTES).zip(0..).map(|(bytes, chunk)| {
        let slice = tree.slice(chunk, bytes).unwrap();
        Frame::Part(Part {
            hash,
            size_bytes,
            chunk,
            slice,
        })
    });
    device_breaks("part_over_window", session, parts.collect());
}

#[test]
fn a_device_asks_within_its_window() {
    device_breaks("get_over_window", live_relay(), vec![Frame::Get(get(0, 0))]);
    let too_many = Frame::Get(get(0, PARTS_ASKED_MAX + 1));
    device_breaks("get_over_window", live_relay(), vec![too_many]);
    let twice = vec![Frame::Get(get(0, 1)), Frame::Get(get(1, 1))];
    device_breaks("get_over_window", live_relay(), twice);
    let other = Get {
        hash: BlobHash::new([1; 32]),
        ..get(0, 1)
    };
    let both = vec![Frame::Get(get(0, PARTS_ASKED_MAX)), Frame::Get(other)];
    device_breaks("get_over_window", live_relay(), both);
    device_breaks(
        "get_over_window",
        live_relay(),
        vec![Frame::Get(get(u32::MAX, 1))],
    );
}

#[test]
fn frames_of_blobs_have_their_direction_and_their_time() {
    for frame in [offered(OfferAnswer::Complete), kept(0, false)] {
        device_breaks("not_for_relay", live_relay(), vec![frame]);
    }
    for frame in [Frame::Offer(offer()), prove([1; 32]), Frame::Get(get(0, 1))] {
        relay_breaks("not_for_device", device_of(VERSION_OF_BLOBS), vec![frame]);
    }
    let early = || greeting_device(hello(&[("a", 10)]));
    relay_breaks("not_welcomed", early(), vec![kept(0, false)]);
    relay_breaks("not_welcomed", early(), vec![Frame::Part(part(0))]);
    device_breaks("not_greeted", new_relay(), vec![Frame::Part(part(0))]);
    let greeted = vec![Frame::Hello(hello(&[("a", 10)])), Frame::Offer(offer())];
    device_breaks("too_early", new_relay(), greeted);
}

#[test]
fn a_relay_answers_offers_that_are_out() {
    let live = || device_of(VERSION_OF_BLOBS);
    let complete = || offered(OfferAnswer::Complete);
    relay_breaks("offered_unasked", live(), vec![complete()]);
    relay_breaks("offered_unasked", offering(), vec![complete(), complete()]);
    relay_breaks("offered_unasked", answered(wanted(&[])), vec![complete()]);
    let nonce = OfferAnswer::Prove(BlobNonce::from_bytes([1; 32]));
    relay_breaks("offered_unasked", answered(nonce), vec![complete()]);
    let other = offered(OfferAnswer::Wanted(ChunkSet::empty(4)));
    relay_breaks("offered_chunks", offering(), vec![other]);
    relay_breaks(
        "offered_chunks",
        offering(),
        vec![offered(wanted(&[0, 1, 2]))],
    );
}

#[test]
fn a_relay_keeps_what_was_sent_to_it() {
    let sending = || {
        let mut session = answered(wanted(&[1]));
        session
            .part(Lane::Original, photo_hash(), 0, part(0).slice)
            .unwrap();
        session
    };
    relay_breaks(
        "kept_unsent",
        device_of(VERSION_OF_BLOBS),
        vec![kept(0, false)],
    );
    relay_breaks("kept_unsent", offering(), vec![kept(0, false)]);
    relay_breaks("kept_unsent", sending(), vec![kept(2, false)]);
    relay_breaks("kept_unsent", sending(), vec![kept(1, false)]);
    relay_breaks(
        "kept_unsent",
        sending(),
        vec![kept(0, false), kept(0, false)],
    );
    relay_breaks("kept_unsent", sending(), vec![kept(0, true)]);
}

#[test]
fn a_relay_gives_what_was_asked_for() {
    relay_breaks(
        "part_unasked",
        device_of(VERSION_OF_BLOBS),
        vec![Frame::Part(part(0))],
    );
    relay_breaks("part_unasked", asking(1, 1), vec![Frame::Part(part(0))]);
    relay_breaks("part_unasked", asking(1, 1), vec![Frame::Part(part(2))]);
    let twice = vec![Frame::Part(part(0)), Frame::Part(part(0))];
    relay_breaks("part_unasked", asking(0, 2), twice);
    let other = Part {
        slice: part(0).slice,
        ..part(1)
    };
    relay_breaks("part_content", asking(1, 1), vec![Frame::Part(other)]);
    let withheld = || {
        Frame::Withheld(Withheld {
            hash: photo_hash(),
            reason: reason("no"),
        })
    };
    relay_breaks(
        "withheld_unasked",
        device_of(VERSION_OF_BLOBS),
        vec![withheld()],
    );
    relay_breaks(
        "withheld_unasked",
        asking(0, 1),
        vec![Frame::Part(part(0)), withheld()],
    );
}

#[test]
fn the_frames_between_the_parts_are_small() {
    let size = |frame: Frame| encode(&frame).len();
    assert!(size(Frame::Offer(offer())) < 64);
    assert!(size(offered(wanted(&[0, 2]))) < 48);
    assert!(size(kept(2, true)) < 40);
    assert!(size(Frame::Get(get(0, 8))) < 64);
    let beside = size(Frame::Part(part(0))) - CHUNK_BYTES;
    assert!(beside < 3 * 64, "{beside}");
    let grant = greeting("a", 10).grant;
    assert_eq!(grant, Grant::Write, "the sessions above may do everything");
}
