//! Benches whose devices were enrolled before the relay's database was filled by hand, at their smallest: they run
//! to their end and print figures. What the figures are is no test's matter.

#![expect(clippy::unwrap_used, reason = "a test may fail by it")]

use std::process::Command;

use serde_json::Value;

/// Runs a bench, and returns what it prints.
fn bench(words: &[&str]) -> Value {
    let output = Command::new(env!("CARGO_BIN_EXE_gridbeat"))
        .args(["bench", "--json"])
        .args(words)
        .output()
        .unwrap();
    let said = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{said}");
    serde_json::from_slice(&output.stdout).unwrap()
}

#[test]
fn a_shift_that_comes_back_from_a_tunnel_is_taken_in() {
    let figures = bench(&["fan-in", "--devices", "2", "--incidents", "2"]);
    assert_eq!(figures["changes"], 4);
}

#[test]
fn a_device_that_holds_what_the_relay_holds_is_in_sync_again() {
    let words = ["--documents", "70", "--changed", "1", "--rtt-ms", "1"];
    let figures = bench(&[&["reconnect"][..], &words].concat());
    assert_eq!(figures["sessions"].as_array().unwrap().len(), 3);
}

#[test]
fn a_device_that_moves_to_an_area_that_shares_most_fetches_the_difference() {
    // More than one author may push without haste, so that none may hold up another.
    let figures = bench(&["move", "--documents", "2000", "--differing", "100"]);
    let bytes = |of: &str| figures[of]["down_bytes"].as_u64().unwrap();
    assert!(bytes("moved") * 3 < bytes("from_nothing"), "{figures}");
}
