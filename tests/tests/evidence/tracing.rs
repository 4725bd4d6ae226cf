//! One incident, told from a relay's file: who did what, when by which clock, and whom it reached.

use std::process::Command;

use gridbeat_domain::{IncidentIntent, Step};
use serde_json::Value;
use tests::{gridbeat, output};

use crate::pump::{World, step};

use super::other_scope;

/// A history of three devices: a report, a step with a satellite's time, a note on top of both, and a
/// place in a second scope.
fn a_small_history() -> (World, String) {
    let mut world = World::new(3);
    let first = world.report(0, "井盖破损");
    world.sync_all();
    let gps = world.now(1).wall;
    let IncidentIntent::Step {
        step,
        note,
        unit,
        by,
        ..
    } = step(Step::Note, "已通知养护单位")
    else {
        unreachable!("a step is a step");
    };
    let arrived = IncidentIntent::Step {
        step,
        note,
        unit,
        by,
        gps: Some(gps),
    };
    world.edit(1, first.document, &arrived);
    world.settle();
    world.place(first.document, &other_scope());
    world.note(2, first.document, "现场已围挡");
    world.sync_all();
    (world, first.document.to_string())
}

fn trace(world: &mut World, document: &str, more: &[&str]) -> (i32, String) {
    let mut told = None;
    world.restart_relay(|file| {
        let mut command = Command::new(gridbeat());
        command
            .args(["audit", "trace", document, "--db"])
            .arg(file)
            .args(more);
        told = Some(output(&mut command).unwrap());
    });
    let told = told.unwrap();
    let text = String::from_utf8(told.stdout).unwrap();
    (told.status.code().unwrap(), text)
}

/// What is told, with `…` where hashes and ids stand that are drawn.
fn masked(text: &str, record: &str) -> String {
    let is_hash = |word: &str| word.len() == 64 && word.bytes().all(|it| it.is_ascii_hexdigit());
    let mask = |word: &str| {
        if is_hash(word) {
            "…".to_owned()
        } else {
            word.to_owned()
        }
    };
    let lines = text.lines().map(|line| {
        let words: Vec<String> = line.split(' ').map(mask).collect();
        words.join(" ")
    });
    lines.collect::<Vec<_>>().join("\n").replace(record, "…")
}

const TOLD: &str = "\
incident …: 3 changes
evidence: everything is as it was written
device 车 01010101-0101-0101-0101-010101010101: 01010101-0101-0101-0101-010101010101, last heard of 2026-09-21T14:13:22.28Z
device 车 02020202-0202-0202-0202-020202020202: 02020202-0202-0202-0202-020202020202, last heard of 2026-09-21T14:13:22.42Z
device 车 03030303-0303-0303-0303-030303030303: 03030303-0303-0303-0303-030303030303, last heard of 2026-09-21T14:13:22.52Z
entered 招宝山 2026-09-21T14:13:21.5Z, entry 1
entered 蛟川 2026-09-21T14:13:22.16Z, entry 1
1 … by 车 01010101-0101-0101-0101-010101010101
    did: 上报, 赵巡查; device's clock 2026-09-21T14:13:21.38Z, satellite's not known
    did: 描述：“井盖破损”
    did: 类别：part/01001 供水井盖
    did: 位置：29.9500000, 121.7100000
    did: 严重程度：一般
    received: 2026-09-21T14:13:21.5Z, from 车 01010101-0101-0101-0101-010101010101, batch 1 signed, receipt 5
    known to: 车 02020202-0202-0202-0202-020202020202, who wrote change 2 on it, pushed 2026-09-21T14:13:22Z by its clock, received 2026-09-21T14:13:22.02Z
    known to: 车 03030303-0303-0303-0303-030303030303, who wrote change 3 on it, pushed 2026-09-21T14:13:22.5Z by its clock, received 2026-09-21T14:13:22.54Z
2 … by 车 02020202-0202-0202-0202-020202020202
    did: 备注：“已通知养护单位”, 赵巡查; device's clock 2026-09-21T14:13:22Z, satellite's 2026-09-21T14:13:21.98Z
    received: 2026-09-21T14:13:22.02Z, from 车 02020202-0202-0202-0202-020202020202, batch 1 signed, receipt 6
    known to: 车 03030303-0303-0303-0303-030303030303, who wrote change 3 on it, pushed 2026-09-21T14:13:22.5Z by its clock, received 2026-09-21T14:13:22.54Z
    known to: 车 01010101-0101-0101-0101-010101010101, by 2026-09-21T14:13:22.28Z at the latest
3 … by 车 03030303-0303-0303-0303-030303030303
    did: 备注：“现场已围挡”, 赵巡查; device's clock 2026-09-21T14:13:22.18Z, satellite's not known
    received: 2026-09-21T14:13:22.54Z, from 车 03030303-0303-0303-0303-030303030303, batch 2 signed, receipt 8
not known: when a device that wrote nothing after it received a change, and who looked at it; the relay keeps how far each device is, and when it last said so";

#[test]
fn a_record_is_traced_to_who_did_and_who_knew() {
    let (mut world, document) = a_small_history();
    let (code, text) = trace(&mut world, &document, &["--lang", "zh"]);
    assert_eq!((code, masked(&text, &document).as_str()), (0, TOLD));
    let (code, text) = trace(&mut world, &document, &["-o", "json"]);
    let told: Value = serde_json::from_str(&text).unwrap();
    assert_eq!((code, &told["sound"]), (0, &Value::Bool(true)));
    assert_eq!(told["changes"][1]["did"][0]["en"], "note: “已通知养护单位”");
    let unknown = "01a0c450-0000-7000-8000-000000000000";
    assert_eq!(trace(&mut world, unknown, &[]).0, 3);
}

#[test]
fn a_trace_of_evidence_that_was_changed_says_so() {
    let (mut world, document) = a_small_history();
    world.restart_relay(|file| {
        let file = rusqlite::Connection::open(file).unwrap();
        let sql = "DROP TRIGGER change_stays; UPDATE change SET received = received - 60000";
        file.execute_batch(sql).unwrap();
    });
    let (code, text) = trace(&mut world, &document, &[]);
    assert_eq!(code, 1);
    assert!(text.contains("evidence: WRONG"), "{text}");
}
