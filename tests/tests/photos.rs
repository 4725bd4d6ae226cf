//! Photos that arrive: what an officer attaches comes to the relay and to whoever opens the record, chunk by chunk and
//! whatever cuts it off; and to nobody else.
//!
//! long because a photo's whole way is told here, and each turn of it can go wrong.

use std::fs;
use std::time::Duration;

use gridbeat_base::{BlobHash, DocumentId, Media, Scope};
use gridbeat_device_core::{BlobState, Output, SaveError, Uploads};
use gridbeat_domain::{IncidentIntent, PhotoRole};
use gridbeat_sync_protocol::limits::{BLOB_BYTES_MAX, PARTS_OUT_MAX};
use gridbeat_sync_protocol::{
    BLOB_NOT_ATTACHED, Bring, CHUNK_BYTES, Frame, FrameKind, OfferAnswer, blob_hash,
};
use rusqlite::Connection;

use crate::pump::{World, report, scope};

/// A photo of so many chunks, the last a short one.
fn photo(chunks: usize) -> Vec<u8> {
    let size = (chunks - 1) * CHUNK_BYTES + 100;
    let rest = (3..size).map(|at| (at / 11 % 256) as u8 ^ chunks as u8);
    [0xff, 0xd8, 0xff].into_iter().chain(rest).collect()
}

fn state(world: &World, place: usize, document: DocumentId, hash: BlobHash) -> BlobState {
    let attachments = world.seats[place].device.attachments(document).unwrap();
    let attachment = attachments.iter().find(|it| it.hash == hash);
    attachment.unwrap().state
}

/// How many of a record's photos are received, by the word of the relay, and by what it has.
fn received(world: &World, place: usize, document: DocumentId) -> (usize, usize) {
    let attachments = world.seats[place].device.attachments(document).unwrap();
    let is_received = |state| matches!(state, BlobState::Received { .. });
    let said = attachments.iter().filter(|it| is_received(it.state));
    let rows = world.store().attachments().unwrap();
    let has = rows
        .iter()
        .filter(|it| it.document == document && it.is_received);
    (said.count(), has.count())
}

#[test]
fn a_photo_comes_to_the_relay_and_to_whoever_opens_the_record() {
    let mut world = World::new(2);
    let document = world.report(0, "井盖破损").document;
    let hash = world.attach(0, document, &photo(6));
    assert_eq!(state(&world, 0, document, hash), BlobState::Here);
    world.sync(0);
    let is_here = true;
    assert_eq!(
        state(&world, 0, document, hash),
        BlobState::Received { is_here }
    );
    assert_eq!(world.parts.len(), 6);
    let row = world.store().attachments().unwrap()[0];
    assert_eq!((row.hash, row.is_received), (hash, true));
    assert_eq!(row.media, Some(Media::Jpeg));
    assert_eq!(world.relay.counters().blobs_received, 1);
    world.sync(1);
    assert_eq!(state(&world, 1, document, hash), BlobState::Elsewhere);
    assert_eq!(world.relay.counters().chunks_given, 0, "nobody opened it");
    assert!(world.open(1, document, hash));
    world.settle();
    assert_eq!(
        state(&world, 1, document, hash),
        BlobState::Received { is_here }
    );
    let device = &world.seats[1].device;
    assert_eq!(device.get_blob(hash).unwrap(), Some(photo(6)));
    let attachment = device.attachments(document).unwrap()[0];
    assert_eq!(attachment.media, Some(Media::Jpeg));
    assert_eq!(attachment.size_bytes, Some(photo(6).len() as u64));
}

#[test]
fn two_of_three_received_is_what_the_relay_has() {
    let mut world = World::new(1);
    let document = world.report(0, "占道经营").document;
    for chunks in [2, 3, 4] {
        world.attach(0, document, &photo(chunks));
    }
    world.link(0);
    let mut seen = Vec::new();
    for _ in 0..200 {
        world.carry_up(0);
        world.carry_down(0, 1);
        let (said, has) = received(&world, 0, document);
        assert!(said <= has, "{said} said and {has} there");
        seen.push(said);
    }
    seen.dedup();
    assert_eq!(seen, [0, 1, 2, 3]);
    assert_eq!(world.seats[0].device.blobs_waiting().unwrap().blobs, 0);
}

/// Sends a photo over links that are cut after so many frames each way, and counts the parts that were sent again.
fn sent_again(frames: usize, mut at_cut: impl FnMut(&mut World, usize)) -> (usize, usize) {
    const CHUNKS: usize = 20;
    let mut world = World::new(1);
    let document = world.report(0, "路面积水").document;
    let hash = world.attach(0, document, &photo(CHUNKS));
    let mut cuts = 0;
    loop {
        world.link(0);
        // The greeting and what is answered to the record take a few.
        for _ in 0..4 + frames {
            world.carry_up(0);
            world.carry_down(0, 1);
        }
        let is_received = received(&world, 0, document) == (1, 1);
        world.unlink(0);
        if is_received {
            break;
        }
        cuts += 1;
        assert!(cuts < 100, "{:?}", state(&world, 0, document, hash));
        at_cut(&mut world, cuts);
    }
    let mut distinct = world.parts.clone();
    distinct.sort_unstable();
    distinct.dedup();
    assert_eq!(distinct.len(), CHUNKS);
    (world.parts.len() - CHUNKS, cuts)
}

#[test]
fn after_a_cut_a_kill_or_a_restart_only_what_was_under_way_is_sent_again() {
    for frames in 1..6 {
        let cut = sent_again(frames, |_, _| {});
        let killed = sent_again(frames, |world, cuts| {
            if cuts % 2 == 0 {
                world.restart_device(0, |_| {});
            } else {
                world.restart_relay(|_| {});
            }
        });
        for (again, cuts) in [cut, killed] {
            assert!(cuts > 1, "{frames}");
            // All that is carried up arrives here: the relay has it, whether the device heard of it or not.
            assert_eq!(again, 0, "{frames}: {again} parts after {cuts} cuts");
        }
    }
}

#[test]
fn what_is_lost_on_the_way_is_no_more_than_the_window() {
    let mut world = World::new(1);
    let document = world.report(0, "绿地踩踏").document;
    let hash = world.attach(0, document, &photo(40));
    world.link(0);
    for _ in 0..30 {
        world.carry_up(0);
        world.carry_down(0, 1);
    }
    let BlobState::Sending { kept, .. } = state(&world, 0, document, hash) else {
        panic!("it is on its way");
    };
    // What the device says from here on is lost.
    let mut lost = 0;
    for _ in 0..10 {
        while let Some(output) = world.seats[0].device.poll_output() {
            lost += usize::from(matches!(
                output,
                Output::Send {
                    frame: Frame::Part(_),
                    ..
                }
            ));
        }
        world.carry_down(0, 1);
    }
    assert!((1..=PARTS_OUT_MAX).contains(&lost), "{lost} parts");
    let before = world.parts.len();
    world.unlink(0);
    world.sync(0);
    assert_eq!(received(&world, 0, document), (1, 1));
    let sent = world.parts.len() - before;
    assert!(sent <= 40 - kept as usize, "{sent} after {kept} were kept");
}

#[test]
fn a_record_that_is_saved_while_a_photo_goes_up_goes_first() {
    let mut world = World::new(1);
    let document = world.report(0, "共享单车乱停").document;
    world.attach(0, document, &photo(60));
    world.link(0);
    for _ in 0..30 {
        world.carry_up(0);
        world.carry_down(0, 1);
    }
    let under_way = world.seats[0].device.blobs_waiting().unwrap();
    assert!(under_way.bytes > 0);
    world.report(0, "井盖丢失，有人受伤");
    let mut sent = Vec::new();
    while let Some(output) = world.seats[0].device.poll_output() {
        if let Output::Send { lane, frame } = output {
            sent.push((lane, frame.kind()));
        }
    }
    let push = sent.iter().position(|(_, kind)| *kind == FrameKind::Push);
    let (lane, _) = sent[push.unwrap()];
    let parts = sent.iter().filter(|(_, kind)| *kind == FrameKind::Part);
    assert!(parts.clone().count() <= PARTS_OUT_MAX, "{sent:?}");
    for (of_part, _) in parts {
        assert!(lane < *of_part, "{sent:?}");
    }
}

/// A blob of so many bytes, unlike every other.
fn blob(number: u8, size: usize) -> Vec<u8> {
    let mut bytes = photo(size / CHUNK_BYTES + 2);
    bytes.truncate(size);
    bytes[3] = number;
    bytes
}

/// Takes a photo with its smaller pictures into a record, in one edit; returns original, preview, thumbnail.
fn take(world: &mut World, document: DocumentId, number: u8) -> [BlobHash; 3] {
    let now = world.now(0);
    let [original, preview, thumbnail] = [2_000_000, 120_000, 5_000].map(|size| blob(number, size));
    let device = &mut world.seats[0].device;
    let parts = [&original[..], &preview, &thumbnail];
    let taken = device.edit_with_blobs(now, document, parts, |[hash, preview, thumbnail]| {
        let photo = IncidentIntent::AddPhoto {
            hash,
            role: PhotoRole::Near,
            position: None,
            preview: Some(preview),
            thumbnail: Some(thumbnail),
        };
        serde_json::to_vec(&photo).unwrap()
    });
    taken.unwrap().1
}

/// The order in which the blobs that were sent began.
fn order(world: &World) -> Vec<BlobHash> {
    let mut order = Vec::new();
    for (hash, _) in &world.parts {
        if !order.contains(hash) {
            order.push(*hash);
        }
    }
    order
}

#[test]
fn thumbnails_go_before_previews_and_previews_before_photos() {
    let mut world = World::new(2);
    let document = world.report(0, "渣土车遗撒").document;
    let [first, second] = [1, 2].map(|number| take(&mut world, document, number));
    world.link(0);
    // Both photos are under way when a third is taken.
    while !world.parts.iter().any(|(hash, _)| *hash == first[0]) {
        world.carry_up(0);
        world.carry_down(0, 1);
    }
    let third = take(&mut world, document, 3);
    world.settle();
    let by_size = |size: usize| [second[size], first[size]];
    let expected = [by_size(2), by_size(1), by_size(0)].concat();
    assert_eq!(order(&world)[..6], expected);
    assert_eq!(order(&world)[6..], [third[2], third[1], third[0]]);
    let last = |hash| world.parts.iter().rposition(|part| part.0 == hash).unwrap();
    assert!(
        last(third[1]) < last(first[0]),
        "it does not wait for what is large"
    );
    assert_eq!(received(&world, 0, document), (9, 9));
    // What others see first comes without the photo.
    world.sync(1);
    let shown = &world.shown(1, document).photos;
    let shown = shown.iter().find(|it| it.hash == first[0]).unwrap();
    assert_eq!(
        (shown.preview, shown.thumbnail),
        (Some(first[1]), Some(first[2]))
    );
    assert!(world.open(1, document, first[2]));
    world.settle();
    let device = &world.seats[1].device;
    assert_eq!(device.get_blob(first[2]).unwrap(), Some(blob(1, 5_000)));
    assert_eq!(device.get_blob(first[0]).unwrap(), None);
}

#[test]
fn a_photo_that_its_record_does_not_take_leaves_nothing_behind() {
    let mut world = World::new(1);
    let document = world.report(0, "非法小广告").document;
    let now = world.now(0);
    let device = &mut world.seats[0].device;
    let mut names = None;
    let taken = device.edit_with_blobs(now, document, [&photo(3), b"thumbnail"], |hashes| {
        names = Some(hashes);
        b"{}".to_vec()
    });
    assert!(matches!(taken, Err(SaveError::Intent(_))), "{taken:?}");
    for hash in names.unwrap() {
        assert_eq!(device.get_blob(hash).unwrap(), None);
    }
    assert_eq!(device.attachments(document).unwrap(), []);
    let empty = device.edit_with_blobs(now, document, [&photo(3), b""], |_| Vec::new());
    assert!(
        matches!(empty, Err(SaveError::BlobSize { .. })),
        "{empty:?}"
    );
}

#[test]
fn a_photo_is_given_through_a_record_that_one_may_read_and_proven_for_any_other() {
    let elsewhere = Scope::new("蛟川").unwrap();
    let mut world = World::new(3);
    world.grant(1, &[&elsewhere]);
    world.grant(2, &[&scope(), &elsewhere]);
    let document = world.report(0, "沿街晾挂").document;
    let hash = world.attach(0, document, &photo(3));
    world.sync_all();
    assert_eq!(received(&world, 0, document), (1, 1));
    // One who has heard of it names it in a record of his own.
    let own = report("听说有照片", "钱", None);
    let own = world.create_in(1, &elsewhere, &own).document;
    world.refer(1, own, hash);
    world.settle();
    assert!(world.open(1, own, hash));
    assert!(!world.open(1, document, hash), "it is not here");
    world.settle();
    let nothing = BlobState::Fetching { held: 0, of: None };
    assert_eq!(state(&world, 1, own, hash), nothing);
    assert_eq!(world.relay.counters().chunks_given, 0);
    // One who has it, and may read both, proves it: it need not be sent.
    assert!(world.open(2, document, hash));
    world.settle();
    assert_eq!(world.relay.counters().blobs_proven, 1);
    assert_eq!(world.parts.len(), 3, "sent once, by who took it");
    // Now it is a photo of that record too.
    world.pass(Duration::from_secs(600));
    world.sync(1);
    let is_here = true;
    assert_eq!(state(&world, 1, own, hash), BlobState::Received { is_here });
}

#[test]
fn what_has_one_chunk_comes_with_its_record_in_one_round_trip() {
    let mut world = World::new(2);
    world.report(0, "井盖破损");
    world.sync_all();
    world.unlink(0);
    let document = world.report(0, "占道经营").document;
    let small = world.attach(0, document, &photo(1));
    let large = world.attach(0, document, &photo(2));
    world.link(0);
    world.carry_up(0);
    let rows = world.store().attachments().unwrap();
    let row = rows.iter().find(|it| it.hash == small).unwrap();
    assert!(row.is_received, "before the device has heard anything");
    world.carry_down(0, usize::MAX);
    let is_here = true;
    assert_eq!(
        state(&world, 0, document, small),
        BlobState::Received { is_here }
    );
    assert_eq!(state(&world, 0, document, large), BlobState::Here);
    world.settle();
    assert_eq!(received(&world, 0, document), (2, 2));
    assert_eq!(world.relay.counters().blobs_received, 2);
    // Whoever reads the record reads it, whole and verified.
    assert!(world.open(1, document, small));
    world.settle();
    let read = world.seats[1].device.get_blob(small).unwrap();
    assert_eq!(read, Some(photo(1)));
    assert!(world.store().check_blobs().unwrap().is_sound());
}

#[test]
fn what_is_brought_again_after_a_cut_is_received_once() {
    let mut world = World::new(1);
    world.report(0, "井盖破损");
    world.sync_all();
    world.unlink(0);
    let document = world.report(0, "占道经营").document;
    let hash = world.attach(0, document, &photo(1));
    for _ in 0..3 {
        world.link(0);
        world.carry_up(0);
        // The relay's word does not come back.
        world.unlink(0);
    }
    world.sync(0);
    assert_eq!(received(&world, 0, document), (1, 1));
    let check = world.store().check_blobs().unwrap();
    assert_eq!((check.whole, check.uploads), (1, 0));
    // After a session in which the relay was not heard, it is not known to take what is brought.
    assert_eq!(world.parts, [(hash, 0); 2]);
}

#[test]
fn whoever_brings_what_the_relay_has_need_not_prove_it() {
    let elsewhere = Scope::new("蛟川").unwrap();
    let mut world = World::new(2);
    world.grant(1, &[&elsewhere]);
    let document = world.report(0, "沿街晾挂").document;
    world.attach(0, document, &photo(1));
    world.sync_all();
    let own = report("同一张照片", "钱", None);
    let own = world.create_in(1, &elsewhere, &own).document;
    world.attach(1, own, &photo(1));
    world.settle();
    assert_eq!(received(&world, 1, own), (1, 1));
    assert_eq!(world.relay.counters().blobs_proven, 0);
    assert_eq!(world.store().check_blobs().unwrap().whole, 1);
}

#[test]
fn while_the_network_costs_what_a_photo_shows_goes_up_and_the_photo_waits() {
    let mut world = World::new(1);
    let document = world.report(0, "渣土车遗撒").document;
    world.sync_all();
    let now = world.now(0);
    world.seats[0].device.set_uploads(now, Uploads::NoOriginals);
    let [original, preview, thumbnail] = take(&mut world, document, 1);
    world.settle();
    assert_eq!(received(&world, 0, document), (2, 2));
    assert_eq!(order(&world), [thumbnail, preview]);
    let waiting = world.seats[0].device.blobs_waiting().unwrap();
    assert_eq!(
        (waiting.blobs, waiting.bytes, waiting.held),
        (1, 2_000_000, 1)
    );
    assert!(!world.seats[0].device.awaits_blobs(), "nobody waits for it");
    world.sync_all();
    assert_eq!(order(&world).len(), 2, "in a new session neither");
    let now = world.now(0);
    world.seats[0].device.set_uploads(now, Uploads::All);
    world.settle();
    assert_eq!(received(&world, 0, document), (3, 3));
    assert_eq!(order(&world)[2], original);
    assert_eq!(world.seats[0].device.blobs_waiting().unwrap().held, 0);
}

#[test]
fn a_photo_that_is_held_back_half_way_goes_on_where_it_was() {
    let mut world = World::new(1);
    let document = world.report(0, "渣土车遗撒").document;
    world.sync_all();
    let hash = world.attach(0, document, &photo(30));
    while world.parts.len() < 10 {
        world.carry_up(0);
        world.carry_down(0, 1);
    }
    let now = world.now(0);
    world.seats[0].device.set_uploads(now, Uploads::Nothing);
    world.settle();
    let held_at = world.parts.len();
    assert!((10..15).contains(&held_at), "{held_at}");
    // A record goes all the same, without its photo.
    let other = world.report(0, "占道经营").document;
    world.attach(0, other, &photo(1));
    world.settle();
    assert_eq!(world.seats[0].device.outbox().unwrap().changes, 0);
    assert_eq!(world.seats[0].device.blobs_waiting().unwrap().held, 2);
    let now = world.now(0);
    world.seats[0].device.set_uploads(now, Uploads::All);
    world.settle();
    assert_eq!(received(&world, 0, document), (1, 1));
    let sent = world.parts.iter().filter(|part| part.0 == hash);
    assert_eq!(sent.count(), 30, "no chunk twice");
}

#[test]
fn what_is_held_back_does_not_keep_a_device_in_a_scope_that_it_leaves() {
    let elsewhere = Scope::new("蛟川").unwrap();
    let mut world = World::new(1);
    let document = world.report(0, "噪声扰民").document;
    world.sync_all();
    let now = world.now(0);
    world.seats[0].device.set_uploads(now, Uploads::Nothing);
    let hash = world.attach(0, document, &photo(3));
    world.settle();
    assert_eq!(world.seats[0].device.blobs_waiting().unwrap().held, 1);
    world.grant(0, &[&elsewhere]);
    world.sync_all();
    let device = &world.seats[0].device;
    assert!(device.record(document).unwrap().is_none());
    let rows = world.store().attachments().unwrap();
    assert!(rows.iter().any(|it| it.hash == hash && it.is_received));
}

#[test]
fn what_is_held_back_half_way_takes_no_place_of_what_a_scope_is_owed() {
    let elsewhere = Scope::new("蛟川").unwrap();
    let mut world = World::new(1);
    world.grant(0, &[&scope(), &elsewhere]);
    world.sync_all();
    let staying = report("渣土车遗撒", "钱", None);
    let staying = world.create_in(0, &elsewhere, &staying).document;
    for chunks in [30, 31] {
        world.attach(0, staying, &photo(chunks));
    }
    while world.parts.len() < 4 {
        world.carry_up(0);
        world.carry_down(0, 1);
    }
    let now = world.now(0);
    world.seats[0].device.set_uploads(now, Uploads::NoOriginals);
    world.settle();
    // The same photo, and another: both are owed where it leaves.
    let leaving = world.report(0, "噪声扰民").document;
    let shared = world.attach(0, leaving, &photo(30));
    let own = world.attach(0, leaving, &photo(32));
    world.settle();
    world.grant(0, &[&elsewhere]);
    world.sync_all();
    assert!(world.seats[0].device.record(leaving).unwrap().is_none());
    let rows = world.store().attachments().unwrap();
    for hash in [shared, own] {
        let row = rows
            .iter()
            .find(|it| it.document == leaving && it.hash == hash);
        assert!(row.unwrap().is_received, "{hash}");
    }
    assert_eq!(world.seats[0].device.blobs_waiting().unwrap().held, 2);
}

#[test]
fn what_is_brought_for_a_record_that_one_may_not_read_is_not_kept() {
    let elsewhere = Scope::new("蛟川").unwrap();
    let mut world = World::new(2);
    world.grant(1, &[&elsewhere]);
    let document = world.report(0, "沿街晾挂").document;
    let hash = blob_hash(&photo(1));
    world.refer(0, document, hash);
    world.sync_all();
    let bytes = photo(1);
    let bring = Frame::Bring(Bring {
        document,
        hash,
        after: 0,
        bytes,
    });
    world.say(1, bring);
    let answer = world.seats[1].inbox.pop_front();
    let Some(Frame::Offered(offered)) = answer else {
        panic!("{answer:?}");
    };
    let OfferAnswer::Refused(reason) = offered.answer else {
        panic!("{offered:?}");
    };
    assert_eq!(reason.code, BLOB_NOT_ATTACHED);
    let check = world.store().check_blobs().unwrap();
    assert_eq!((check.whole, check.uploads), (0, 0));
}

#[test]
fn with_a_relay_or_a_program_of_before_photos_wait_and_records_do_not() {
    let mut world = World::new(2);
    world.newest = 3;
    world.sync_all();
    let document = world.report(0, "暴露垃圾").document;
    let hash = world.attach(0, document, &photo(2));
    world.sync_all();
    world.assert_all_in_sync();
    assert_eq!(state(&world, 0, document, hash), BlobState::Here);
    assert_eq!(world.parts, []);
    world.newest = u16::MAX;
    world.sync_all();
    assert_eq!(received(&world, 0, document), (1, 1));
}

#[test]
fn a_relay_from_a_backup_gets_a_photo_again() {
    let mut world = World::new(1);
    let document = world.report(0, "店外经营").document;
    world.sync(0);
    let before = world.relay_path().with_extension("before");
    world.restart_relay(|path| {
        fs::copy(path, &before).unwrap();
    });
    let hash = world.attach(0, document, &photo(4));
    world.sync(0);
    assert_eq!(received(&world, 0, document), (1, 1));
    world.restart_relay(|path| {
        fs::copy(&before, path).unwrap();
    });
    world.sync(0);
    // The record that refers to it was brought back; then it is asked again.
    world.pass(Duration::from_secs(60));
    world.sync(0);
    assert_eq!(received(&world, 0, document), (1, 1));
    assert_eq!(world.parts.len(), 8);
    assert!(world.store().check_blobs().unwrap().is_sound());
    assert_eq!(
        world.seats[0].device.get_blob(hash).unwrap(),
        Some(photo(4))
    );
}

#[test]
fn what_no_record_refers_to_is_cleared_away_and_nothing_else() {
    let mut world = World::new(1);
    let document = world.report(0, "乱贴广告").document;
    let kept = world.attach(0, document, &photo(2));
    let unused = world.attach(0, document, &photo(3));
    world.sync(0);
    world.unlink(0);
    let half_way = world.attach(0, document, &photo(30));
    world.link(0);
    for _ in 0..20 {
        world.carry_up(0);
        world.carry_down(0, 1);
    }
    world.restart_relay(|path| {
        let file = Connection::open(path).unwrap();
        let delete = "DELETE FROM attachment WHERE hash = ?1";
        assert_eq!(file.execute(delete, [unused.bytes()]).unwrap(), 1);
    });
    let check = world.store().check_blobs().unwrap();
    assert_eq!((check.whole, check.uploads, check.awaited), (2, 1, 1));
    assert_eq!(check.unused, [(unused, photo(3).len() as u64)]);
    let cleared = world.clear_blobs();
    assert_eq!((cleared.unused, cleared.uploads), (1, 1));
    assert!(cleared.bytes > photo(3).len() as u64);
    let check = world.store().check_blobs().unwrap();
    assert_eq!((check.whole, check.uploads), (1, 0));
    assert!(check.is_sound() && check.unused.is_empty());
    let last = world.store().operations(0, 100).unwrap();
    assert_eq!(last.last().unwrap().verb, "blob gc");
    // What was on its way goes on, from the beginning.
    world.sync(0);
    let rows = world.store().attachments().unwrap();
    let received = rows.iter().filter(|it| it.is_received);
    let mut received: Vec<BlobHash> = received.map(|it| it.hash).collect();
    let mut expected = vec![kept, half_way];
    received.sort_unstable();
    expected.sort_unstable();
    assert_eq!(received, expected);
    assert!(world.audit().findings.is_empty());
}

#[test]
fn a_damaged_photo_is_found_and_given_to_nobody() {
    let mut world = World::new(2);
    let document = world.report(0, "道路破损").document;
    let hash = world.attach(0, document, &photo(3));
    world.sync(0);
    world.restart_relay(|path| {
        let file = Connection::open(path).unwrap();
        let damage = "UPDATE blob_chunk SET bytes = zeroblob(length(bytes)) WHERE id & 2047 = 1";
        assert_eq!(file.execute(damage, []).unwrap(), 1);
    });
    let check = world.store().check_blobs().unwrap();
    assert_eq!(check.damaged, [hash]);
    assert!(!check.is_sound());
    world.sync(1);
    world.open(1, document, hash);
    world.settle();
    assert_eq!(world.seats[1].device.get_blob(hash).unwrap(), None);
    world.assert_all_in_sync_but(0);
}

#[test]
fn what_is_no_photo_by_its_size_is_not_taken() {
    let mut world = World::new(1);
    let now = world.now(0);
    let device = &mut world.seats[0].device;
    let too_large = std::io::repeat(7);
    let size = BLOB_BYTES_MAX + CHUNK_BYTES as u64;
    for (result, expected) in [
        (device.put_blob(now, &[]), 0),
        (device.put_blob_from(now, too_large), size),
    ] {
        let Err(SaveError::BlobSize { size_bytes, max }) = result else {
            panic!("{result:?}");
        };
        assert_eq!((size_bytes, max), (expected, BLOB_BYTES_MAX));
    }
    assert_eq!(device.blobs_left().unwrap(), []);
}

#[test]
fn a_photo_taken_but_never_attached_goes_after_a_week_and_no_other() {
    let mut world = World::new(1);
    let document = world.report(0, "违章搭建").document;
    let attached = world.attach(0, document, &photo(2));
    let now = world.now(0);
    let loose = world.seats[0].device.put_blob(now, &photo(3)).unwrap();
    world.restart_device(0, |_| {});
    let has = |world: &World, hash| world.seats[0].device.get_blob(hash).unwrap().is_some();
    assert!(has(&world, loose));
    world.pass(Duration::from_secs(8 * 86_400));
    world.restart_device(0, |_| {});
    assert!(!has(&world, loose));
    assert!(has(&world, attached));
}

#[test]
fn records_from_before_there_were_photos_on_the_link_have_theirs_all_the_same() {
    let mut world = World::new(1);
    let document = world.report(0, "乱堆物料").document;
    let hash = world.attach(0, document, &photo(2));
    world.newest = 3;
    world.sync(0);
    world.newest = u16::MAX;
    // As a file of the earlier format is right behind the change of its tables.
    world.restart_device(0, |path| {
        let file = Connection::open(path).unwrap();
        let forget = "DELETE FROM attachment; INSERT INTO meta VALUES ('references_due', 1)";
        file.execute_batch(forget).unwrap();
    });
    world.restart_relay(|path| {
        let file = Connection::open(path).unwrap();
        let forget = "DELETE FROM attachment; INSERT INTO unlisted SELECT id FROM document";
        file.execute_batch(forget).unwrap();
    });
    assert_eq!(state(&world, 0, document, hash), BlobState::Here);
    assert_eq!(world.store().attachments().unwrap().len(), 1);
    world.sync(0);
    assert_eq!(received(&world, 0, document), (1, 1));
}

#[test]
fn a_scope_that_is_left_is_left_once_its_photos_are_received() {
    let elsewhere = Scope::new("蛟川").unwrap();
    let mut world = World::new(1);
    let document = world.report(0, "燃气泄漏").document;
    world.sync(0);
    world.unlink(0);
    let hash = world.attach(0, document, &photo(12));
    world.grant(0, &[&elsewhere]);
    world.sync(0);
    let device = &world.seats[0].device;
    assert!(device.record(document).unwrap().is_none());
    assert_eq!(
        device.get_blob(hash).unwrap(),
        None,
        "it went with the record"
    );
    assert_eq!(device.blobs_left().unwrap(), []);
    let rows = world.store().attachments().unwrap();
    assert!(rows[0].is_received, "and the relay has it");
}

#[test]
fn what_a_relay_will_never_take_stays_until_a_person_drops_it() {
    let elsewhere = Scope::new("蛟川").unwrap();
    let mut world = World::new(1);
    world.newest = 3;
    let document = world.report(0, "噪声扰民").document;
    world.sync_all();
    let hash = world.attach(0, document, &photo(3));
    world.grant(0, &[&elsewhere]);
    world.sync_all();
    let device = &mut world.seats[0].device;
    assert!(device.record(document).unwrap().is_none());
    assert_eq!(device.get_blob(hash).unwrap(), Some(photo(3)));
    assert_eq!(
        device.blobs_left().unwrap(),
        [(hash, photo(3).len() as u64)]
    );
    assert!(device.drop_blob(hash).unwrap());
    assert_eq!(device.get_blob(hash).unwrap(), None);
    assert!(!device.drop_blob(hash).unwrap());
}
