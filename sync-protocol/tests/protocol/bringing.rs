//! Blobs of one chunk over a session: brought whole, behind what refers to them; and every rule of that.

use gridbeat_base::{Lane, WallTime};
use gridbeat_sync_protocol::limits::OFFERS_OPEN_MAX;
use gridbeat_sync_protocol::{
    BlobNonce, CHUNK_BYTES, DeviceOutput, DeviceSession, Frame, Offer, OfferAnswer, Offered,
    PackForm, Push, RelayOutput, SessionError, VERSION_OF_BRINGING, Welcome, blob_hash,
};

use crate::blobs::{bring, device_breaks, device_of, photo, wanted};
use crate::support::*;

/// A device's session of a version that relays have chosen before, with a push out, and one before it of another document.
fn bringing(version: u16) -> DeviceSession {
    let mut session = DeviceSession::new();
    session.expect_version(version);
    session.start(NOW, hello(&[("a", 10)])).unwrap();
    for (document, number) in [(1, 1), (2, 2)] {
        let pushed = vec![push_document(document, 9)];
        assert_eq!(session.push(Lane::Record, &scope("a"), pushed), Ok(number));
    }
    device_outputs(&mut session);
    session
}

#[test]
fn a_blob_of_one_chunk_goes_out_behind_the_push_that_refers_to_it_and_before_any_greeting() {
    let mut device = bringing(VERSION_OF_BRINGING);
    let track = b"a track".to_vec();
    let (document_1, hash) = (document(1), blob_hash(&track));
    device
        .bring(Lane::Preview, document_1, hash, track.clone())
        .unwrap();
    let outputs = device_outputs(&mut device);
    let sent = DeviceOutput::Send {
        lane: Lane::Preview,
        frame: Frame::Bring(bring(1, &track)),
    };
    assert_eq!(outputs, [sent]);
    assert!(device.awaits_blobs() && !device.can_bring(&hash));
    let welcome = Welcome {
        version: VERSION_OF_BRINGING,
        ..welcome(vec![greeting("a", 10)])
    };
    give(&mut device, Frame::Welcome(welcome)).unwrap();
    device_outputs(&mut device);
    let answer = OfferAnswer::Complete;
    let said = Offered {
        hash,
        answer: answer.clone(),
    };
    give(&mut device, Frame::Offered(said)).unwrap();
    let offer = Offer {
        document: document_1,
        hash,
        size_bytes: 7,
    };
    assert_eq!(
        device_outputs(&mut device),
        [DeviceOutput::Offered { offer, answer }]
    );
    assert!(!device.awaits_blobs() && device.can_bring(&hash));
}

#[test]
fn nothing_is_brought_to_a_relay_that_is_not_known_to_take_it() {
    let mut device = bringing(VERSION_OF_BRINGING - 1);
    let hash = blob_hash(b"a track");
    let brought = device.bring(Lane::Preview, document(1), hash, b"a track".to_vec());
    assert_eq!(brought, Err(SessionError::Full));
    let mut device = bringing(VERSION_OF_BRINGING);
    let large = vec![7; CHUNK_BYTES + 1];
    let brought = device.bring(Lane::Preview, document(1), blob_hash(&large), large);
    let wrong_size = SessionError::WrongSize {
        weight: CHUNK_BYTES + 1,
        max: CHUNK_BYTES,
    };
    assert_eq!(brought, Err(wrong_size));
}

#[test]
fn a_blob_that_is_brought_waits_for_the_pushes_before_it() {
    let mut relay = live_relay();
    for number in [1, 2] {
        let pushed = vec![push_document(u8::try_from(number).unwrap(), 9)];
        let push = Push {
            number,
            after: 0,
            scope: scope("a"),
            documents: pushed,
            form: PackForm::Whole,
            seal: None,
        };
        send(&mut relay, Frame::Push(push)).unwrap();
    }
    relay_outputs(&mut relay);
    let track = b"a track";
    send(&mut relay, Frame::Bring(bring(2, track))).unwrap();
    assert_eq!(relay_outputs(&mut relay), []);
    relay.acknowledge(accepted(2, 12)).unwrap();
    assert_eq!(relay_outputs(&mut relay).len(), 1, "the acknowledgement");
    relay.acknowledge(accepted(1, 11)).unwrap();
    let outputs = relay_outputs(&mut relay);
    let offer = Offer {
        document: document(1),
        hash: blob_hash(track),
        size_bytes: 7,
    };
    let brought = RelayOutput::Brought {
        offer,
        bytes: track.to_vec(),
    };
    assert_eq!(outputs.last(), Some(&brought));
    relay.offered(offer.hash, OfferAnswer::Complete).unwrap();
    // It may come again, and is answered again.
    send(&mut relay, Frame::Bring(bring(0, track))).unwrap();
    assert_eq!(relay_outputs(&mut relay).last(), Some(&brought));
}

#[test]
fn a_blob_that_overtakes_the_greeting_waits_for_it() {
    let mut relay = new_relay();
    send(&mut relay, Frame::Bring(bring(0, b"a track"))).unwrap();
    assert_eq!(relay_outputs(&mut relay), []);
    send(&mut relay, Frame::Hello(hello(&[("a", 10)]))).unwrap();
    relay
        .welcome(incarnation(9), WallTime(0), vec![greeting("a", 10)])
        .unwrap();
    let outputs = relay_outputs(&mut relay);
    assert!(matches!(outputs.last(), Some(RelayOutput::Brought { .. })));
}

#[test]
fn what_is_brought_is_the_blob_once_at_a_time_and_not_too_many() {
    let mut other = bring(0, b"a track");
    other.bytes.push(0);
    device_breaks("part_content", live_relay(), vec![Frame::Bring(other)]);
    let track = Frame::Bring(bring(9, b"a track"));
    device_breaks("offer_repeated", live_relay(), vec![track.clone(), track]);
    let empty = Frame::Bring(bring(0, b""));
    device_breaks("offer_content", live_relay(), vec![empty]);
    let many = (0..=OFFERS_OPEN_MAX).map(|number| Frame::Bring(bring(9, &[number as u8])));
    device_breaks("offers_too_many", live_relay(), many.collect());
    // In a session that chose an older version, however early it came.
    let mut older = hello(&[("a", 10)]);
    older.versions.newest = VERSION_OF_BRINGING - 1;
    let mut relay = new_relay();
    send(&mut relay, Frame::Bring(bring(0, b"a track"))).unwrap();
    send(&mut relay, Frame::Hello(older)).unwrap();
    let welcomed = relay.welcome(incarnation(9), WallTime(0), vec![greeting("a", 10)]);
    match welcomed {
        Err(SessionError::DeviceMisbehaved(fault)) => assert_eq!(fault.code(), "later_version"),
        other => panic!("{other:?}"),
    }
}

#[test]
fn what_is_brought_is_answered_by_complete_or_refused() {
    for answer in [
        wanted(&[]),
        OfferAnswer::Prove(BlobNonce::from_bytes([1; 32])),
    ] {
        let mut device = device_of(VERSION_OF_BRINGING);
        let photo = photo();
        let chunk = photo[..100].to_vec();
        let hash = blob_hash(&chunk);
        device
            .bring(Lane::Preview, document(1), hash, chunk)
            .unwrap();
        let offered = Frame::Offered(Offered { hash, answer });
        match give(&mut device, offered) {
            Err(SessionError::RelayMisbehaved(fault)) => {
                assert_eq!(fault.code(), "offered_unasked");
            }
            other => panic!("{other:?}"),
        }
    }
}
