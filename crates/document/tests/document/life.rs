//! A document is made, edited, read, saved and rebuilt, the same on every device.

use crate::support::{Replica, VERSION, first, sheet, unknown, value};
use gridbeat_document::{
    Change, Document, EditError, LoadError, Problem, Value, advance_heads, genesis_hash,
};
use serde_json::json;

#[test]
fn two_devices_begin_a_document_with_the_same_change() {
    let (one, other) = (Replica::new(1), Replica::new(2));
    assert_eq!(one.document.heads(), [genesis_hash(&sheet(), VERSION)]);
    assert_eq!(one.document.heads(), other.document.heads());
    assert_eq!(
        genesis_hash(&sheet(), VERSION).to_string(),
        "d6807a27eb99f1962d4aaa382e08f3122acd2f336799b033eee5e5f729683b73",
        "the genesis of a kind and version never changes"
    );
}

#[test]
fn an_edit_becomes_one_change_that_reads_back() {
    let mut replica = Replica::new(1);
    let change = replica.edit(first());
    let view = replica.view();
    assert_eq!(view.text(&["fields", "title"]), "井盖缺失");
    assert_eq!(view.text(&["text"]), "中山路与和平路口");
    assert_eq!(view.entries(&["facts"]).count(), 1);
    assert_eq!(value(&view, &["count"]), &Value::Counter(0));
    let title = view.field(&["fields", "title"]).unwrap();
    assert_eq!(title.origin.change, change.hash);
    assert_eq!(title.origin.time_s, 1_001);
    assert_eq!(replica.document.heads(), [change.hash]);
    assert_eq!(Change::parse(&change.bytes), Ok(change));
}

#[test]
fn a_document_comes_back_from_its_save_and_from_its_log() {
    let mut replica = Replica::new(1);
    replica.edit(first());
    for n in 0..10 {
        replica.edit(json!({"append": "。好的", "count": n + 1, "push": n}));
    }
    let mut loaded = Document::load(&sheet(), VERSION, &replica.document.save()).unwrap();
    let log = replica
        .log
        .iter()
        .rev()
        .map(|(change, _)| &change.bytes[..]);
    let rebuilt = Document::rebuild(&sheet(), VERSION, log).unwrap();
    assert_eq!(loaded.heads(), replica.document.heads());
    assert_eq!(rebuilt.heads(), replica.document.heads());
    assert_eq!(loaded.view(&unknown), replica.view());
    assert_eq!(rebuilt.view(&unknown), replica.view());
    // The actor goes on where it was.
    let stamp = replica.stamp();
    let change = loaded
        .edit(replica.actor, br#"{"append":"!"}"#, &stamp, &unknown)
        .unwrap();
    assert_eq!(change.deps, replica.document.heads());
    let mut heads = replica.document.heads();
    advance_heads(&mut heads, &change);
    assert_eq!(heads, loaded.heads());
}

#[test]
fn an_edit_that_changes_nothing_makes_no_change() {
    let mut replica = Replica::new(1);
    replica.edit(json!({"field": ["a", "b"], "text": "甲"}));
    let heads = replica.document.heads();
    for same in [
        json!({"field": ["a", "b"]}),
        json!({"text": "甲"}),
        json!({"delete": "nothing"}),
        json!({"count": 0}),
        json!({}),
    ] {
        assert_eq!(
            replica.try_edit(&same),
            Err(EditError::NothingToDo),
            "{same}"
        );
    }
    assert_eq!(replica.document.heads(), heads);
}

#[test]
fn a_failed_edit_leaves_the_document_as_it_was() {
    let mut replica = Replica::new(1);
    let before = replica.view();
    assert!(matches!(
        replica.try_edit(&json!({"forbidden": 1})),
        Err(EditError::Intent(_))
    ));
    for (path, problem) in [
        ("facts", Problem::Container),
        ("count", Problem::Container),
        ("text/a", Problem::NotA("map")),
        ("nowhere/a", Problem::NotA("map")),
    ] {
        let failed = replica.try_edit(&json!({"field": ["x", "y"], "path": path}));
        let path = path.to_owned();
        assert_eq!(failed, Err(EditError::Path { path, problem }));
    }
    assert!(matches!(
        replica.try_edit(&json!({"text": "长".repeat(2_001)})),
        Err(EditError::TooManyOperations { ops: 2_001 })
    ));
    assert!(matches!(
        replica.try_edit(&json!({"field": ["x", "y".repeat(70_000)]})),
        Err(EditError::TooBig { .. })
    ));
    assert_eq!(replica.view(), before);
    assert_eq!(replica.document.heads(), [genesis_hash(&sheet(), VERSION)]);
    assert_eq!(
        replica.edit(first()).deps,
        [genesis_hash(&sheet(), VERSION)]
    );
}

#[test]
fn a_large_change_stays_uncompressed() {
    let mut replica = Replica::new(1);
    let change = replica.edit(json!({"field": ["x", "y".repeat(10_000)]}));
    assert_eq!(change.bytes[8], 1, "chunk type");
    assert!(change.bytes.len() > 10_000);
}

#[test]
fn damaged_bytes_do_not_load() {
    let mut replica = Replica::new(1);
    let change = replica.edit(first());
    let later = replica.edit(json!({"append": "!"}));
    let saved = replica.document.save();
    for cut in 0..saved.len() {
        assert!(
            Document::load(&sheet(), VERSION, &saved[..cut]).is_err(),
            "{cut}"
        );
    }
    assert_eq!(
        Document::load(&sheet(), 2, &saved).unwrap_err(),
        LoadError::OtherKind
    );
    assert_eq!(
        Document::rebuild(&sheet(), VERSION, [&later.bytes[..]]).unwrap_err(),
        LoadError::Incomplete {
            missing: vec![change.hash]
        }
    );
    assert_eq!(
        Document::rebuild(&sheet(), VERSION, [&change.bytes[1..]]).unwrap_err(),
        LoadError::Damaged
    );
}

#[test]
fn concurrent_values_are_all_kept_in_one_order() {
    let (mut one, mut other) = (Replica::new(1), Replica::new(2));
    one.edit(json!({"field": ["colour", "red"], "prepend": "甲"}));
    other.edit(json!({"field": ["colour", "blue"], "append": "乙"}));
    let (from_one, from_other) = (one.log.clone(), other.log.clone());
    one.receive(&from_other);
    other.receive(&from_one);
    assert_eq!(one.document.heads().len(), 2);
    assert_eq!(one.document.heads(), other.document.heads());
    assert_eq!(one.view(), other.view());
    let view = one.view();
    let colour = view.field(&["fields", "colour"]).unwrap();
    assert_eq!(
        colour.value,
        Value::Str("blue".into()),
        "the greater actor's"
    );
    let (lost, origin) = &colour.conflicts[0];
    assert_eq!(lost, &Value::Str("red".into()));
    assert_eq!(origin.change, from_one[0].0.hash);
    assert_eq!(view.text(&["text"]).chars().count(), 2);
    one.edit(json!({"field": ["colour", "blue"]}));
    let view = one.view();
    assert!(
        view.field(&["fields", "colour"])
            .unwrap()
            .conflicts
            .is_empty()
    );
}
