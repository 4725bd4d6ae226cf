//! `PROTOCOL.md` says what the code does: the same limits, the same codes, and every rule that is cited.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::Path;
use std::time::Duration;

use gridbeat_sync_protocol::limits::*;

fn text(path: &str) -> String {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join(path);
    fs::read_to_string(&path).unwrap_or_else(|error| panic!("{path:?}: {error}"))
}

/// The first two cells of every row whose first cell is a name in code type.
fn rows() -> BTreeMap<String, String> {
    let text = text("PROTOCOL.md");
    let rows = text.lines().filter_map(|line| {
        let mut cells = line.strip_prefix("| `")?.split(" | ");
        let name = cells.next()?.strip_suffix('`')?;
        Some((name.to_owned(), cells.next()?.trim().to_owned()))
    });
    rows.collect()
}

/// The numbers of the rules, which stand in bold where a rule begins.
fn rules() -> BTreeSet<String> {
    let text = text("PROTOCOL.md");
    let lines = text.lines();
    let numbers = lines.filter_map(|line| line.strip_prefix("**")?.split_once("**"));
    numbers.map(|(number, _)| number.to_owned()).collect()
}

fn seconds(time: Duration) -> usize {
    usize::try_from(time.as_secs()).unwrap()
}

#[test]
fn the_limits_are_the_published_ones() {
    let limits = [
        ("FRAME_BYTES_MAX", FRAME_BYTES_MAX),
        ("DOCUMENT_FRAME_BYTES_MAX", DOCUMENT_FRAME_BYTES_MAX),
        ("PACK_UNPACKED_BYTES_MAX", PACK_UNPACKED_BYTES_MAX),
        ("CHANGE_BYTES_MAX", CHANGE_BYTES_MAX),
        ("PUSH_WEIGHT_MAX", PUSH_WEIGHT_MAX),
        ("PUSH_WINDOW_BYTES", PUSH_WINDOW_BYTES),
        ("PUSHES_OUT_MAX", usize::try_from(PUSHES_OUT_MAX).unwrap()),
        ("PUSH_DOCUMENTS_MAX", PUSH_DOCUMENTS_MAX),
        ("PUSH_CHANGES_MAX", PUSH_CHANGES_MAX),
        ("FEED_WEIGHT_MAX", FEED_WEIGHT_MAX),
        ("FEED_WINDOW_BYTES", FEED_WINDOW_BYTES),
        ("FEED_ENTRIES_MAX", FEED_ENTRIES_MAX),
        ("SNAPSHOT_DOCUMENTS_MAX", SNAPSHOT_DOCUMENTS_MAX),
        ("DOCUMENT_FRAME_CHANGES_MAX", DOCUMENT_FRAME_CHANGES_MAX),
        ("SCOPES_MAX", SCOPES_MAX),
        ("SHAPE_COLUMNS_MAX", SHAPE_COLUMNS_MAX),
        ("KIND_BYTES_MAX", KIND_BYTES_MAX),
        ("REASON_CODE_BYTES_MAX", REASON_CODE_BYTES_MAX),
        ("REASON_TEXT_BYTES_MAX", REASON_TEXT_BYTES_MAX),
        ("RECONCILE_BYTES_MAX", RECONCILE_BYTES_MAX),
        (
            "RECONCILE_ROUNDS_MAX",
            usize::try_from(RECONCILE_ROUNDS_MAX).unwrap(),
        ),
        ("COMPARE_DOCUMENTS_MAX", COMPARE_DOCUMENTS_MAX),
        ("COMPARE_CHANGES_MAX", COMPARE_CHANGES_MAX),
        ("REMOVAL_BYTES_MAX", REMOVAL_BYTES_MAX),
        ("BLOB_BYTES_MAX", usize::try_from(BLOB_BYTES_MAX).unwrap()),
        ("SLICE_BYTES_MAX", SLICE_BYTES_MAX),
        ("OFFERS_OPEN_MAX", OFFERS_OPEN_MAX),
        ("PARTS_OUT_MAX", PARTS_OUT_MAX),
        ("PARTS_ASKED_MAX", usize::try_from(PARTS_ASKED_MAX).unwrap()),
        ("SIGHTINGS_MAX", SIGHTINGS_MAX),
        ("SIGHTINGS_MOVED_MAX", SIGHTINGS_MOVED_MAX),
        ("POSITION_STALE", seconds(POSITION_STALE)),
        ("POSITION_KEPT", seconds(POSITION_KEPT)),
        ("POSITION_KEPT_COARSE", seconds(POSITION_KEPT_COARSE)),
        ("ENROL_REQUEST_BYTES_MAX", ENROL_REQUEST_BYTES_MAX),
        ("ENROL_ANSWER_BYTES_MAX", ENROL_ANSWER_BYTES_MAX),
        ("CERTIFICATE_BYTES_MAX", CERTIFICATE_BYTES_MAX),
        ("CERTIFICATES_MAX", CERTIFICATES_MAX),
        ("PINS_MAX", PINS_MAX),
        ("SERVER_NAME_BYTES_MAX", SERVER_NAME_BYTES_MAX),
        ("DEVICE_NAME_BYTES_MAX", DEVICE_NAME_BYTES_MAX),
        ("INVITATION_BYTES_MAX", INVITATION_BYTES_MAX),
        ("INVITATION_NAMES_BYTES_MAX", INVITATION_NAMES_BYTES_MAX),
    ];
    let rows = rows();
    for (name, value) in limits {
        assert_eq!(rows.get(name), Some(&value.to_string()), "{name}");
    }
    let published = rows
        .keys()
        .filter(|name| name.starts_with(|first: char| first.is_uppercase()));
    assert_eq!(published.count(), limits.len());
    let weights = format!("{CHANGE_WEIGHT} (`CHANGE_WEIGHT`) {ENTRY_WEIGHT} (`ENTRY_WEIGHT`)");
    for weight in weights.split_inclusive(')') {
        assert!(text("PROTOCOL.md").contains(weight.trim()), "{weight}");
    }
}

#[test]
fn every_code_is_published_and_tested() {
    let source = text("src/misbehaved.rs");
    let after_arrow = source.lines().filter_map(|line| line.split_once("=> \""));
    let codes: BTreeSet<String> = after_arrow
        .filter_map(|(_, rest)| rest.strip_suffix("\","))
        .map(str::to_owned)
        .collect();
    let rows = rows();
    let published: BTreeSet<String> = rows
        .keys()
        .filter(|name| name.starts_with(|first: char| first.is_lowercase()))
        .cloned()
        .collect();
    assert_eq!(codes, published);
    let files = ["device_rules", "relay_rules", "blobs", "bringing"];
    let tests = files
        .map(|file| text(&format!("tests/protocol/{file}.rs")))
        .concat();
    for code in &codes {
        assert!(tests.contains(&format!("\"{code}\"")), "{code} has no test");
        assert!(
            rules().contains(&rows[code]),
            "{code} breaks no rule there is"
        );
    }
}

#[test]
fn every_rule_that_the_code_cites_exists() {
    let rules = rules();
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("src");
    let mut cited = 0;
    for file in fs::read_dir(folder).unwrap() {
        let path = file.unwrap().path();
        let source = fs::read_to_string(&path).unwrap();
        for citation in source.split("PROTOCOL ").skip(1) {
            let end = citation.find(|c: char| !c.is_ascii_digit() && c != '.');
            let rule = &citation[..end.unwrap_or(citation.len())];
            assert!(rules.contains(rule), "{path:?} cites rule {rule}");
            cited += 1;
        }
    }
    assert!(cited > 25, "{cited}");
}
