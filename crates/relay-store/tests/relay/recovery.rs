//! A copy made while the relay works, its return after a loss, and copies of devices.

use std::path::Path;
use std::time::Duration;

use gridbeat_base::{DocumentId, Install, WallTime};
use gridbeat_relay_core::Config;
use gridbeat_relay_store::{BackupError, By, Restored, SqliteStore, StoreOptions};
use gridbeat_sync_protocol::Verdict;

use crate::device::{Device, document};
use crate::world::{World, device, scope};

fn id(number: u8) -> DocumentId {
    DocumentId::from_bytes([number; 16])
}

/// Lets the relay lose its disk, and puts a copy in its place.
fn restore(world: &mut World, from: &Path) -> Restored {
    let other = world.path().with_file_name("other.db");
    world.store = SqliteStore::open(&other, StoreOptions::default(), &mut world.random).unwrap();
    let (path, now) = (world.path(), world.now.wall);
    let by = (By::new("王调度", "硬盘坏了").unwrap(), None);
    let restored = SqliteStore::restore(from, &path, by, now, &mut world.random).unwrap();
    world.restart();
    restored
}

#[test]
fn a_backup_is_made_while_the_relay_works_and_devices_are_told() {
    let mut world = World::new();
    let east = scope("east");
    let mut author = Device::enrolled(&mut world, 1, &[&east]);
    author.connect(&mut world);
    assert_eq!(author.welcome.as_ref().unwrap().stable, None);
    let change = author.edit(id(1), "text=saved");
    author.push(&mut world, &east, id(1), std::slice::from_ref(&change));
    let received = world.now.wall;
    world.now.wall = world.now.wall.plus(Duration::from_secs(60));
    let to = world.path().with_extension("backup");
    let made = world.store.backup(&to, world.now.wall).unwrap();
    assert_eq!((made.changes, made.stable), (1, Some(received)));
    assert_eq!(made.incarnation, world.store.incarnation());
    let later = author.edit(id(1), "text=later");
    author.push(&mut world, &east, id(1), &[later]);
    author.disconnect(&mut world);
    author.connect(&mut world);
    assert_eq!(author.welcome.as_ref().unwrap().stable, Some(received));

    let again = world.store.backup(&to, world.now.wall);
    assert!(
        matches!(again, Err(BackupError::Exists { .. })),
        "{again:?}"
    );
    let names = std::fs::read_dir(to.parent().unwrap()).unwrap();
    let mut names = names.map(|it| it.unwrap().file_name().into_string().unwrap());
    assert!(
        names.all(|name| !name.ends_with(".part")),
        "nothing is left over"
    );
    let copy = SqliteStore::open(&to, StoreOptions::default(), &mut world.random).unwrap();
    assert!(copy.contains(id(1), &change.hash).unwrap());
    assert_eq!(copy.scopes().unwrap()[0].head, 2);
}

#[test]
fn the_mark_moves_by_an_operators_word_but_not_beyond_what_was_received() {
    let mut world = World::new();
    assert_eq!(
        world.store.set_stable(WallTime(5), world.now.wall).unwrap(),
        None
    );
    let east = scope("east");
    let mut author = Device::enrolled(&mut world, 1, &[&east]);
    author.connect(&mut world);
    let change = author.edit(id(1), "text=x");
    author.push(&mut world, &east, id(1), &[change]);
    let received = world.now.wall;
    let ahead = received.plus(Duration::from_hours(1));
    assert_eq!(
        world.store.set_stable(WallTime(5), world.now.wall).unwrap(),
        Some(WallTime(5))
    );
    assert_eq!(
        world.store.set_stable(ahead, world.now.wall).unwrap(),
        Some(received)
    );
    assert_eq!(
        world.store.set_stable(WallTime(5), world.now.wall).unwrap(),
        Some(received)
    );
}

#[test]
fn copies_marks_and_returns_are_in_the_operators_log_with_who_and_why() {
    let mut world = World::new();
    let east = scope("east");
    let mut author = Device::enrolled(&mut world, 1, &[&east]);
    author.connect(&mut world);
    let change = author.edit(id(1), "text=x");
    author.push(&mut world, &east, id(1), &[change]);
    let to = world.path().with_file_name("monday.backup");
    world.store.act_as(By::new("李值班", "每周").unwrap());
    let made = world.store.backup(&to, world.now.wall).unwrap();
    let again = world.store.backup(&to, world.now.wall);
    assert!(again.is_err(), "and is not on record");
    world.store.set_stable(WallTime(5), world.now.wall).unwrap();
    let entries = |world: &World| -> Vec<(String, String, String)> {
        let all = world.store.operations(0, 100).unwrap().into_iter();
        let relay = all.filter(|it| it.verb.starts_with("relay "));
        relay.map(|it| (it.who, it.verb, it.why)).collect()
    };
    let weekly = |verb: &str| ("李值班".to_owned(), verb.to_owned(), "每周".to_owned());
    assert_eq!(
        entries(&world),
        [weekly("relay backup"), weekly("relay stable")]
    );
    let log = world.store.operations(0, 100).unwrap();
    let backup = log.iter().find(|it| it.verb == "relay backup").unwrap();
    assert_eq!(backup.subject, "monday.backup");
    let size = made.size_bytes;
    assert_eq!(backup.details, format!("changes=1 size={size}"));

    // The copy was made before that was on record; what is on record then is the return.
    let done = restore(&mut world, &to);
    let why = "硬盘坏了".to_owned();
    assert_eq!(
        entries(&world),
        [("王调度".to_owned(), "relay restore".to_owned(), why)]
    );
    let log = world.store.operations(0, 100).unwrap();
    let life = done.incarnation;
    let last = log.last().unwrap();
    assert_eq!(last.details, format!("life={life} changes=1"));
    assert_eq!(last.subject, "monday.backup");
}

#[test]
fn a_clock_that_is_set_back_takes_the_mark_back() {
    let mut world = World::new();
    let east = scope("east");
    let mut author = Device::enrolled(&mut world, 1, &[&east]);
    author.connect(&mut world);
    let change = author.edit(id(1), "text=x");
    author.push(&mut world, &east, id(1), &[change]);
    let to = world.path().with_extension("backup");
    world.store.backup(&to, world.now.wall).unwrap();
    world.now.wall = WallTime(world.now.wall.millis() - 3_600_000);
    let change = author.edit(id(1), "text=in no backup");
    author.push(&mut world, &east, id(1), &[change]);
    let stable = world.store.stable().unwrap().unwrap();
    assert!(stable < world.now.wall, "{stable:?}");
}

#[test]
fn a_restored_relay_says_what_came_back_from_whom_and_who_has_not_called() {
    let mut world = World::new();
    let east = scope("east");
    let mut author = Device::enrolled(&mut world, 1, &[&east]);
    let mut reader = Device::enrolled(&mut world, 2, &[&east]);
    author.connect(&mut world);
    reader.connect(&mut world);
    let before = author.edit(id(1), "text=before");
    author.push(&mut world, &east, id(1), &[before]);
    let backup = world.path().with_extension("backup");
    world.store.backup(&backup, world.now.wall).unwrap();
    let first = world.store.incarnation();
    let lost = author.edit(id(1), "text=after");
    author.push(&mut world, &east, id(1), std::slice::from_ref(&lost));
    reader.take(&mut world);

    world.now.wall = world.now.wall.plus(Duration::from_hours(2));
    let done = restore(&mut world, &backup);
    assert_eq!(
        (done.changes, world.store.incarnation()),
        (1, done.incarnation)
    );
    assert_ne!(done.incarnation, first);
    assert!(
        done.aside.iter().all(|aside| aside.exists()),
        "nothing is deleted"
    );
    let mut kept = done.aside.iter().map(|it| it.to_str().unwrap());
    assert!(
        kept.any(|name| name.contains(".replaced-")),
        "{:?}",
        done.aside
    );
    assert!(!world.store.contains(id(1), &lost.hash).unwrap());
    let (life, lives_before) = world.store.life().unwrap();
    assert_eq!((life.began, lives_before), (Some(world.now.wall), 1));
    assert_eq!(
        world.store.stable().unwrap(),
        done.received,
        "the backup has it"
    );
    assert!(world.store.brought_back().unwrap().is_empty());

    reader.connect(&mut world);
    reader.reconcile(&mut world, &east);
    assert!(world.store.contains(id(1), &lost.hash).unwrap());
    let brought = world.store.brought_back().unwrap();
    let back = &brought[&(device(2), device(1))];
    assert_eq!((back.changes, brought.len()), (1, 1));
    assert_eq!(back.documents.iter().copied().collect::<Vec<_>>(), [id(1)]);
    assert_eq!(back.scopes.iter().cloned().collect::<Vec<_>>(), [east]);
}

#[test]
fn what_is_no_backup_is_not_put_in_place_of_anything() {
    let mut world = World::new();
    let path = world.path();
    let foreign = path.with_extension("foreign");
    std::fs::write(&foreign, "words").unwrap();
    let before = world.store.incarnation();
    for from in [&foreign, &path.with_extension("missing")] {
        let by = (By::default(), None);
        let done = SqliteStore::restore(from, &path, by, WallTime(1), &mut world.random);
        assert!(done.is_err(), "{from:?}");
    }
    world.restart();
    assert_eq!(world.store.incarnation(), before);
}

#[test]
fn a_copy_of_a_device_is_on_record_with_both_installations() {
    let mut world = World::new();
    let east = scope("east");
    let mut original = Device::enrolled(&mut world, 1, &[&east]);
    let mut copy = Device::new(1, &[&east]);
    copy.install = Install::new([77; 16]);
    original.connect(&mut world);
    let marks = Config::default().marks_every;
    world.wait(marks);
    assert!(world.store.clones(None).unwrap().is_empty());
    original.disconnect(&mut world);
    // At its first call, before anybody types.
    copy.connect(&mut world);
    world.wait(marks);
    let found = world.store.clones(None).unwrap();
    assert_eq!(found.len(), 1);
    assert_eq!(
        (found[0].one, found[0].other),
        (original.install, copy.install)
    );
    assert_eq!((found[0].device, found[0].times), (device(1), 1));
    // Both within one mark: the original, then the copy again.
    original.connect(&mut world);
    copy.disconnect(&mut world);
    copy.connect(&mut world);
    world.wait(marks);
    let found = world.store.clones(Some(device(1))).unwrap();
    assert_eq!((found.len(), found[0].times), (1, 2));
    assert!(found[0].last > found[0].first);
    assert!(world.store.clones(Some(device(2))).unwrap().is_empty());
    // Both go on.
    let change = original.edit(id(1), "text=x");
    let acked = original.push(&mut world, &east, id(1), &[change]);
    assert_eq!(acked.verdicts, [Verdict::Accepted]);
}

#[test]
fn a_change_its_own_device_offers_again_counts_as_brought_back() {
    let mut world = World::new();
    let east = scope("east");
    let mut author = Device::enrolled(&mut world, 1, &[&east]);
    author.connect(&mut world);
    let change = author.edit(id(1), "text=kept aside");
    let push = document(id(1), "note", &[change], Some(device(1)));
    author.send_push(&mut world, &east, vec![push]);
    world.pump();
    author.take(&mut world);
    assert_eq!(author.acks[0].verdicts, [Verdict::Accepted]);
    let brought = world.store.brought_back().unwrap();
    assert_eq!(brought[&(device(1), device(1))].changes, 1);
}
