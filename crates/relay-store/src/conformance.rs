//! What any backend must do, as assertions. Written for whoever writes one.
//!
//! Call [`run`] from a test of the backend with a function that gives an empty store each time. A
//! failed assertion names the promise that is broken. Durability itself (a power cut after the
//! answer) cannot be shown from here: a backend proves that by its own means.

mod bench;

use std::collections::{BTreeMap, BTreeSet};

use gridbeat_base::{Digest, Install, Scope, Verbs, WallTime};
use gridbeat_relay_core::{
    Answer, Batch, EntryKind, Mark, NewEntry, Rights, StoreFault, StoredEntry, Task,
};

use self::bench::{Bench, creation, device, document, edit, hash, scope, term};
use crate::Registry;

/// More than any read here takes.
const PLENTY: u64 = 1 << 20;

/// Checks every promise of [`Store`](crate::Store) and [`Registry`] on fresh stores from `open`.
///
/// # Panics
///
/// If a promise is broken.
pub fn run(open: &mut dyn FnMut() -> Box<dyn Registry>) {
    let checks: [fn(&mut Bench); 11] = [
        a_new_document_begins_the_feed_at_one,
        entries_are_dense_and_digests_add_up_over_batches,
        a_change_reaches_every_scope_of_its_document,
        a_document_takes_its_changes_along_into_a_scope,
        a_batch_on_an_outdated_version_does_nothing,
        a_batch_that_fails_in_its_last_part_does_nothing,
        reads_are_bounded_but_always_go_on,
        a_snapshot_has_every_document_once_the_open_and_newest_first,
        a_comparison_names_what_each_side_lacks,
        a_greeting_reads_rights_heads_and_digests,
        devices_are_listed_with_where_they_stand,
    ];
    for check in checks {
        check(&mut Bench { store: open() });
    }
}

fn a_new_document_begins_the_feed_at_one(bench: &mut Bench) {
    assert_eq!(
        bench.page("east", 0, PLENTY).head,
        0,
        "an unheard scope has an empty feed"
    );
    let first = bench.commit(creation(1, &["east"], &[11, 12]));
    assert_eq!(
        first,
        BTreeMap::from([(scope("east"), 1)]),
        "sequence numbers begin at 1"
    );
    let page = bench.page("east", 0, PLENTY);
    assert_eq!((page.head, page.digest), (3, term(1, 12)));
    assert!(
        matches!(&page.entries[0], StoredEntry::Attach { document: it, kind, schema_version: 3, changes }
            if *it == document(1) && kind == "note" && changes.is_empty()),
        "the attach comes first, without the changes that follow it"
    );
    for (entry, number) in page.entries[1..].iter().zip([11, 12]) {
        assert!(
            matches!(entry, StoredEntry::Change { document: it, kind, change }
                if *it == document(1) && kind == "note" && change.bytes == vec![number; 100]
                && change.author == device(1) && change.received == WallTime(7_000)),
            "a change is fed as it was committed: {entry:?}"
        );
    }
    assert!(
        bench.page("east", 3, PLENTY).entries.is_empty(),
        "nothing lies after the head"
    );
    assert!(
        bench.page("east", u64::MAX, PLENTY).entries.is_empty(),
        "or far beyond it"
    );
}

fn entries_are_dense_and_digests_add_up_over_batches(bench: &mut Bench) {
    bench.commit(creation(1, &["east"], &[11]));
    assert_eq!(
        bench.commit(creation(2, &["east"], &[21]))[&scope("east")],
        3
    );
    assert_eq!(
        bench.commit(edit(1, 1, &["east"], 11, 1, &[12, 13]))[&scope("east")],
        5
    );
    let digests: Vec<_> = (0..6)
        .map(|after| bench.page("east", after, 1).digest)
        .collect();
    let (a, b) = (term(1, 11), term(2, 21));
    assert_eq!(
        digests,
        [
            term(1, 0),
            a,
            a.plus(term(2, 0)),
            a.plus(b),
            term(1, 12).plus(b),
            term(1, 13).plus(b)
        ],
        "each entry has the digest after it"
    );
    let inventory = bench.inventory("east");
    assert_eq!((inventory.seq, inventory.digest), (6, term(1, 13).plus(b)));
    assert_eq!(
        inventory.items,
        [
            (document(1), term(1, 13).with_receipts(3 * 7_000)),
            (document(2), b.with_receipts(7_000))
        ],
        "an inventory counts the times of receipt"
    );
    let stored = bench
        .load(&[1], &[1], PLENTY)
        .remove(0)
        .expect("it was committed");
    assert_eq!(
        (stored.version, stored.log_bytes, stored.kind.as_str()),
        (2, 300, "note")
    );
    assert_eq!(
        (stored.heads, stored.cache),
        (vec![hash(13)], Some(vec![13; 50]))
    );
    let hashes: Vec<_> = stored.log.iter().map(|change| change.hash).collect();
    assert_eq!(
        hashes,
        [hash(11), hash(12), hash(13)],
        "the log keeps the order of acceptance"
    );
}

fn a_snapshot_has_every_document_once_the_open_and_newest_first(bench: &mut Bench) {
    for number in 1..=6 {
        let mut batch = creation(number, &["east"], &[10 * number, 10 * number + 1]);
        for write in batch.documents.values_mut() {
            let state = write.state.as_mut().expect("a creation has a state");
            state.record.is_open = number % 2 == 0;
        }
        bench.commit(batch);
    }
    bench.commit(creation(7, &["west"], &[70]));
    for bytes_max in [1, 700, PLENTY] {
        let (mut after, mut order) = (None, Vec::new());
        loop {
            let page = bench.snapshot("east", after, bytes_max);
            assert_eq!(page.seq, 18, "a page says of which moment it is");
            for whole in &page.documents {
                let bytes = whole.changes.iter().map(|change| change.bytes[0] % 10);
                assert!(bytes.eq([0, 1]), "all changes come, in their order");
                assert_eq!((whole.kind.as_str(), whole.schema_version), ("note", 3));
            }
            order.extend(page.documents.iter().map(|whole| whole.document));
            if page.last {
                break;
            }
            assert!(
                !page.documents.is_empty(),
                "each page brings the next one nearer"
            );
            after = Some(page.mark);
        }
        let expected = [6, 4, 2, 5, 3, 1].map(document);
        assert_eq!(order, expected, "the open first, and the newest");
    }
    let nothing = bench.snapshot("nowhere", None, PLENTY);
    assert!(nothing.last && nothing.documents.is_empty());
    let beyond = bench.snapshot("east", Some(u64::MAX), PLENTY);
    assert_eq!(beyond.documents.len(), 3, "any mark can be read on from");
}

fn a_change_reaches_every_scope_of_its_document(bench: &mut Bench) {
    bench.commit(creation(1, &["east", "west"], &[11]));
    bench.commit(creation(2, &["west"], &[21]));
    let first = bench.commit(edit(1, 1, &["east", "west"], 11, 1, &[12]));
    assert_eq!(
        first,
        BTreeMap::from([(scope("east"), 3), (scope("west"), 5)])
    );
    assert_eq!(bench.page("east", 0, PLENTY).digest, term(1, 12));
    assert_eq!(
        bench.page("west", 0, PLENTY).digest,
        term(1, 12).plus(term(2, 21))
    );
    let stored = bench
        .load(&[1], &[], PLENTY)
        .remove(0)
        .expect("it was committed");
    assert_eq!(
        stored.scopes,
        [scope("east"), scope("west")],
        "scopes come sorted"
    );
    assert!(
        stored.log.iter().all(|change| change.bytes.is_none()),
        "bytes only when asked for"
    );
}

fn a_document_takes_its_changes_along_into_a_scope(bench: &mut Bench) {
    bench.commit(creation(1, &["east"], &[11, 12]));
    let mut moved = edit(1, 1, &["east", "west"], 12, 2, &[]);
    let write = moved
        .documents
        .get_mut(&document(1))
        .expect("the batch is about it");
    (write.attach, write.detach, write.state) = (vec![scope("west")], vec![scope("east")], None);
    let entry = |what, delta| {
        vec![NewEntry {
            document: document(1),
            what,
            delta,
        }]
    };
    let leaves = Digest::EMPTY.minus(term(1, 12));
    moved.scopes = BTreeMap::from([
        (scope("east"), entry(EntryKind::Detach, leaves)),
        (
            scope("west"),
            entry(EntryKind::Attach { upto: 2 }, term(1, 12)),
        ),
    ]);
    bench.commit(moved);
    let west = bench.page("west", 0, PLENTY);
    assert!(
        matches!(&west.entries[..], [StoredEntry::Attach { changes, .. }]
            if changes.iter().map(|change| change.bytes[0]).eq([11, 12])),
        "{west:?}"
    );
    let east = bench.page("east", 3, PLENTY);
    assert_eq!(
        east.entries,
        [StoredEntry::Detach {
            document: document(1)
        }]
    );
    assert_eq!((east.digest, west.digest), (Digest::EMPTY, term(1, 12)));
    assert!(bench.inventory("east").items.is_empty());
    let item = term(1, 12).with_receipts(2 * 7_000);
    assert_eq!(bench.inventory("west").items, [(document(1), item)]);
    let stored = bench
        .load(&[1], &[], PLENTY)
        .remove(0)
        .expect("it is somewhere else");
    assert_eq!((stored.scopes, stored.version), (vec![scope("west")], 2));
    assert_eq!(stored.left, [scope("east")], "where it was taken out");
    assert_eq!(stored.heads, [hash(12)], "moving changes nothing in it");
}

fn a_batch_on_an_outdated_version_does_nothing(bench: &mut Bench) {
    bench.commit(creation(1, &["east"], &[11]));
    bench.commit(edit(1, 1, &["east"], 11, 1, &[12]));
    for outdated in [
        edit(1, 1, &["east"], 11, 1, &[13]),
        edit(1, 3, &["east"], 12, 2, &[13]),
        creation(1, &["east"], &[13]),
        edit(9, 1, &["east"], 0, 0, &[91]),
    ] {
        let mut both = creation(2, &["east"], &[21]);
        both.documents.extend(outdated.documents);
        let task = Task::Commit(Box::new(both));
        assert_eq!(bench.store.run(&task), Err(StoreFault::Contended));
    }
    assert_eq!(
        bench.page("east", 0, PLENTY).head,
        3,
        "nothing of it was done"
    );
    assert_eq!(bench.load(&[2, 9], &[], PLENTY), [None, None]);
}

fn a_batch_that_fails_in_its_last_part_does_nothing(bench: &mut Bench) {
    bench.commit(creation(1, &["east"], &[11]));
    // The same change a second time: what makes the relay idempotent whatever its memory says.
    let twice = edit(1, 1, &["east"], 11, 1, &[12, 11]);
    let mut whole = creation(0, &["east"], &[1]);
    whole.documents.extend(twice.documents);
    let task = Task::Commit(Box::new(whole));
    assert!(
        bench.store.run(&task).is_err(),
        "a change is logged once for ever"
    );
    assert_eq!(bench.page("east", 0, PLENTY).head, 2);
    assert_eq!(bench.load(&[0], &[], PLENTY), [None]);
    assert_eq!(
        bench.commit(edit(1, 1, &["east"], 11, 1, &[12]))[&scope("east")],
        3,
        "sequence numbers have no gap after a failure"
    );
}

fn reads_are_bounded_but_always_go_on(bench: &mut Bench) {
    for number in 1..=4 {
        bench.commit(creation(number, &["east"], &[10 * number]));
    }
    assert_eq!(
        bench.page("east", 0, 1).entries.len(),
        1,
        "one entry however little may be read"
    );
    let some = bench.page("east", 0, 400);
    assert!(
        (2..8).contains(&some.entries.len()),
        "{}",
        some.entries.len()
    );
    assert_eq!(some.head, 8, "the head is the scope's, not the page's");
    let last = some.entries.len() as u64;
    assert_eq!(
        bench.page("east", last - 1, 1).digest,
        some.digest,
        "the digest is the page's"
    );
    assert_eq!(bench.load(&[1, 2, 3], &[], 1).len(), 1);
    assert_eq!(
        bench.load(&[7, 8, 1, 2], &[], 300).len(),
        3,
        "what is missing costs nothing"
    );
    let asked: [(u8, &[u8]); 3] = [(1, &[]), (2, &[]), (3, &[])];
    assert_eq!(bench.compare("east", &asked, 1).documents.len(), 1);
    assert_eq!(bench.compare("east", &asked, PLENTY).documents.len(), 3);
}

fn a_comparison_names_what_each_side_lacks(bench: &mut Bench) {
    bench.commit(creation(1, &["east"], &[11, 12]));
    bench.commit(creation(2, &["west"], &[21]));
    let compared = bench.compare("east", &[(1, &[99, 11, 98]), (2, &[21]), (3, &[])], PLENTY);
    assert_eq!((compared.seq, compared.digest), (3, term(1, 12)));
    let held = compared.documents[0]
        .1
        .as_ref()
        .expect("it is in the scope");
    assert_eq!((held.kind.as_str(), held.schema_version), ("note", 3));
    assert_eq!(
        (&held.heads, &held.lacks),
        (&vec![hash(12)], &vec![hash(98), hash(99)])
    );
    assert!(held.changes.iter().map(|change| change.bytes[0]).eq([12]));
    assert_eq!(
        compared.documents[1],
        (document(2), None),
        "a document of another scope"
    );
    assert_eq!(
        compared.documents[2],
        (document(3), None),
        "a document of no scope"
    );
    assert_eq!(
        bench.compare("none", &[(1, &[])], PLENTY).documents,
        [(document(1), None)]
    );
}

fn a_greeting_reads_rights_heads_and_digests(bench: &mut Bench) {
    bench.commit(creation(1, &["east"], &[11]));
    bench.commit(creation(2, &["west"], &[21]));
    assert_eq!(bench.greet(&[]).rights, Rights::Unknown);
    let verbs = BTreeMap::from([(scope("west"), Verbs::WORK), (scope("north"), Verbs::READ)]);
    let given = |scope: &Scope| (scope.clone(), verbs[scope].into());
    let grants = verbs.keys().map(given).collect();
    bench
        .store
        .add_device(device(1), "Bike 1", &grants, WallTime(1))
        .expect("it is enrolled");
    let version = |answer| {
        let Answer::Rights { version, rights } = answer else {
            panic!("rights are answered by rights");
        };
        (version, rights)
    };
    let devices = vec![device(1), device(2)];
    let ask = |unless| Task::Rights {
        devices: devices.clone(),
        unless,
    };
    let (before, rights) = version(bench.run(ask(None)));
    let rights = rights.expect("they were asked for");
    assert_eq!(rights[&device(1)], Rights::Granted(verbs.clone()));
    assert_eq!(rights[&device(2)], Rights::Unknown);
    assert_eq!(
        version(bench.run(ask(Some(before)))),
        (before, None),
        "nothing has changed"
    );

    let greeting = bench.greet(&[("east", 1), ("west", 9), ("south", 1)]);
    assert_eq!(greeting.rights, Rights::Granted(verbs));
    let found: Vec<_> = greeting
        .scopes
        .iter()
        .map(|it| (it.scope.as_str(), it.head, it.digest_at_cursor))
        .collect();
    let expected = [
        ("east", 2, Some(term(1, 0))),
        ("west", 2, None),
        ("south", 0, None),
        ("north", 0, Some(Digest::EMPTY)),
    ];
    assert_eq!(
        found, expected,
        "the named ones in order, then the other granted ones"
    );
    assert_eq!(
        bench.greet(&[("west", 2)]).scopes[0].digest_at_cursor,
        Some(term(2, 21))
    );

    assert!(
        bench
            .store
            .revoke(device(1), WallTime(2))
            .expect("it is revoked")
    );
    assert!(
        !bench
            .store
            .revoke(device(1), WallTime(3))
            .expect("it was already")
    );
    assert_eq!(bench.greet(&[]).rights, Rights::Revoked);
    let (after, rights) = version(bench.run(ask(Some(before))));
    assert_ne!(before, after, "every change of rights has a version");
    assert_eq!(
        rights.expect("they have changed")[&device(1)],
        Rights::Revoked
    );
}

fn devices_are_listed_with_where_they_stand(bench: &mut Bench) {
    bench.commit(creation(1, &["east"], &[11]));
    for number in [2, 1] {
        let grants = BTreeMap::from([(scope("east"), Verbs::WORK.into())]);
        bench
            .store
            .add_device(device(number), "Bike", &grants, WallTime(5))
            .expect("it is enrolled");
    }
    let mark = |seen, seq| Mark {
        device: device(1),
        install: Install::new([4; 16]),
        others: BTreeSet::new(),
        seen: WallTime(seen),
        clock_offset_ms: -20,
        cursors: BTreeMap::from([(scope("east"), seq), (scope("nowhere"), 1)]),
    };
    bench.run(Task::Marks(vec![mark(10, 1)]));
    bench.commit(Batch {
        marks: vec![mark(20, 2)],
        ..Batch::default()
    });
    let rows = bench.store.devices().expect("they are listed");
    assert_eq!(
        rows.iter().map(|row| row.device).collect::<Vec<_>>(),
        [device(1), device(2)]
    );
    assert_eq!(
        rows[0].seen,
        Some((WallTime(20), Install::new([4; 16]), -20))
    );
    assert_eq!(rows[0].cursors, BTreeMap::from([(scope("east"), (2, 2))]));
    assert_eq!((rows[1].seen, rows[1].cursors.len()), (None, 0));
    assert_eq!(
        (rows[0].name.as_str(), rows[0].added, rows[0].revoked),
        ("Bike", WallTime(5), None)
    );
}
