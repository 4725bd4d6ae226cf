//! What an operator does at the command line: devices, grants, and the log of it all, by the program itself.

#![expect(clippy::unwrap_used, reason = "a test may fail by it")]

use std::path::Path;
use std::process::{Command, Output};

use gridbeat_base::{DeviceId, Random, Scope, Verbs, WallTime};
use gridbeat_domain::Role;
use gridbeat_relay::{Authority, By, Granted, RelayConfig};
use gridbeat_relay_store::{Registry as _, SqliteStore, StoreOptions};
use serde_json::Value;
use tempfile::TempDir;

/// A relay's files, with one device in them.
struct Files(TempDir);

impl Files {
    fn new() -> Self {
        let files = Self(TempDir::new().unwrap());
        assert_eq!(files.run(&["relay", "init"]), (0, String::new()));
        let (relay, mut random) = (files.relay(), Random::from_number(1));
        let authority = Authority::open(&relay.authority()).unwrap();
        let options = StoreOptions {
            receipts: Some((authority.receipts(&mut random).unwrap(), WallTime(1))),
            ..StoreOptions::default()
        };
        let mut store = SqliteStore::open(&relay.database(), options, &mut random).unwrap();
        store.act_as(By::new("王调度", "新车上路").unwrap());
        let role = Role::find("collector").unwrap();
        let granted = Granted {
            role: role.id.to_owned(),
            verbs: role.verbs,
        };
        let grants = [(Scope::new("招宝山").unwrap(), granted)].into();
        store
            .add_device(device(), "一号车", &grants, WallTime(1))
            .unwrap();
        files
    }

    fn config(&self) -> String {
        self.0.path().join("relay.toml").display().to_string()
    }

    fn relay(&self) -> RelayConfig {
        RelayConfig::read(Path::new(&self.config())).unwrap()
    }

    fn output(&self, words: &[&str]) -> Output {
        Command::new(env!("CARGO_BIN_EXE_gridbeat"))
            .args(words)
            .args(["--config", &self.config()])
            .output()
            .unwrap()
    }

    /// Runs the program; returns its code and what it said on standard error.
    fn run(&self, words: &[&str]) -> (i32, String) {
        let output = self.output(words);
        let said = String::from_utf8(output.stderr).unwrap();
        (output.status.code().unwrap(), said)
    }

    /// As the operator Wang, for a reason.
    fn act(&self, words: &[&str]) -> (i32, String) {
        self.run(&[words, &["--as", "王调度", "--why", "换岗"]].concat())
    }

    fn json(&self, words: &[&str]) -> Value {
        let output = self.output(&[words, &["-o", "json"]].concat());
        assert!(output.status.success(), "{output:?}");
        serde_json::from_slice(&output.stdout).unwrap()
    }

    /// Reads the operators' log: of each entry who, what and why.
    fn log(&self) -> Vec<(String, String, String)> {
        let db = self.relay().database().display().to_string();
        let output = Command::new(env!("CARGO_BIN_EXE_gridbeat"))
            .args(["audit", "log", "--db", &db, "-o", "json"])
            .output()
            .unwrap();
        let text = |value: &Value| value.as_str().unwrap().to_owned();
        let lines = String::from_utf8(output.stdout).unwrap();
        let entries = lines.lines().map(|line| {
            let entry: Value = serde_json::from_str(line).unwrap();
            (
                text(&entry["who"]),
                text(&entry["verb"]),
                text(&entry["why"]),
            )
        });
        entries.collect()
    }

    /// Verifies the whole of the relay's evidence.
    fn verify(&self) {
        let db = self.relay().database().display().to_string();
        let verified = Command::new(env!("CARGO_BIN_EXE_gridbeat"))
            .args(["audit", "verify", "--db", &db])
            .output()
            .unwrap();
        assert!(verified.status.success(), "{verified:?}");
    }
}

fn device() -> DeviceId {
    DeviceId::from_bytes([1; 16])
}

#[test]
fn an_operator_sees_to_a_device_and_all_of_it_is_on_record_and_verifies() {
    let files = Files::new();
    let id = device().to_string();
    assert_eq!(files.act(&["device", "rename", &id, "二号车"]).0, 0);
    let (code, said) = files.act(&["device", "move", &id, "--from", "招宝山", "--to", "蛟川"]);
    assert_eq!(code, 3);
    assert!(said.contains("--yes") && said.contains("二号车"), "{said}");
    let moved = [
        "device",
        "move",
        &id,
        "--from",
        "招宝山",
        "--to",
        "蛟川",
        "--yes",
    ];
    assert_eq!(files.act(&moved), (0, String::new()));
    let add = [
        "grant",
        "add",
        &id,
        "--scope",
        "骆驼",
        "--role",
        "shift_leader",
    ];
    assert_eq!(files.act(&add), (0, String::new()));

    let list = files.json(&["device", "list"]);
    assert_eq!(list[0]["name"], "二号车");
    let collector = Role::find("collector").unwrap().verbs;
    let words =
        |verbs: Verbs| -> Vec<Value> { verbs.iter().map(|verb| Value::from(verb.id())).collect() };
    let shown = files.json(&["device", "show", &id]);
    assert_eq!(shown["grants"]["蛟川"]["role"], "collector");
    assert_eq!(
        shown["grants"]["蛟川"]["verbs"],
        Value::from(words(collector))
    );
    assert_eq!(shown["grants"]["招宝山"], Value::Null);
    let grants = files.json(&["grant", "list", "--scope", "骆驼"]);
    assert_eq!(grants[0]["role"], "shift_leader");

    let remove = ["grant", "remove", &id, "--scope", "骆驼"];
    assert_eq!(files.act(&remove).0, 3);
    assert_eq!(files.act(&[&remove[..], &["--yes"]].concat()).0, 0);
    assert_eq!(files.act(&["device", "revoke", &id]).0, 3);
    assert_eq!(files.act(&["device", "revoke", &id, "--yes"]).0, 0);
    assert!(files.json(&["device", "show", &id])["revoked_ms"].is_i64());

    let log = files.log();
    let verbs: Vec<&str> = log.iter().map(|(_, verb, _)| verb.as_str()).collect();
    let done = [
        "device add",
        "device rename",
        "device move",
        "grant add",
        "grant remove",
        "device revoke",
    ];
    assert_eq!(verbs, done);
    assert!(log.iter().all(|(who, ..)| who == "王调度"));
    assert!(log[1..].iter().all(|(.., why)| why == "换岗"));
    files.verify();
}

#[test]
fn copies_of_a_relay_and_its_roots_are_seen_to_with_who_and_why() {
    let files = Files::new();
    let copy = files.0.path().join("monday.db").display().to_string();
    assert_eq!(files.act(&["relay", "backup", "--to", &copy]).0, 0);
    let last = files.log().pop().unwrap();
    assert_eq!(
        (last.0.as_str(), last.1.as_str()),
        ("王调度", "relay backup")
    );

    let restore = ["relay", "restore", "--from", &copy];
    let (code, said) = files.act(&restore);
    assert!(code != 0 && said.contains("--yes"), "{said}");
    assert_eq!(files.act(&[&restore[..], &["--yes"]].concat()).0, 0);
    assert_eq!(files.act(&["relay", "renew-issuer"]).0, 0);
    let (code, said) = files.act(&["relay", "promote-root", "--yes"]);
    assert!(code != 0 && said.contains("prepare-root"), "{said}");
    let pins = |files: &Files| Authority::open(&files.relay().authority()).unwrap().pins();
    let before = pins(&files);
    assert_eq!(files.act(&["relay", "prepare-root"]).0, 0);
    let both = pins(&files);
    assert_eq!((both.len(), both[0]), (2, before[0]));
    let (code, said) = files.act(&["relay", "prepare-root"]);
    assert!(code == 3 && said.contains("before"), "{said}");
    let (code, said) = files.act(&["relay", "promote-root"]);
    assert!(code == 3 && said.contains("locked out"), "{said}");
    assert_eq!(pins(&files), both);
    assert_eq!(files.act(&["relay", "promote-root", "--yes"]).0, 0);
    assert_eq!(pins(&files), both[1..]);

    let log = files.log();
    let verbs: Vec<&str> = log.iter().map(|(_, verb, _)| verb.as_str()).collect();
    let done = [
        "device add",
        // The copy was made before the copy was on record.
        "relay restore",
        "relay renew-issuer",
        "relay prepare-root",
        "relay promote-root",
    ];
    assert_eq!(verbs, done);
    let mut acts = log[1..].iter();
    assert!(acts.all(|(who, _, why)| who == "王调度" && why == "换岗"));
    files.verify();
}

#[test]
fn a_device_is_ordered_to_wipe_itself_by_a_yes_alone_and_the_order_is_on_record() {
    let files = Files::new();
    let id = device().to_string();
    let (code, said) = files.act(&["device", "wipe", &id]);
    assert_eq!(code, 3);
    assert!(said.contains("--yes") && said.contains("一号车"), "{said}");
    assert_eq!(files.log().len(), 1, "only the enrolment");
    let shown = files.json(&["device", "show", &id]);
    assert_eq!(shown["revoked_ms"], Value::Null);

    let wipe = [
        "device",
        "wipe",
        &id,
        "--yes",
        "--as",
        "王调度",
        "--why",
        "手机丢失",
    ];
    let output = files.output(&wipe);
    assert!(output.status.success(), "{output:?}");
    let said = String::from_utf8(output.stdout).unwrap();
    assert!(
        said.contains(&format!("gridbeat device show {id}")),
        "{said}"
    );
    let shown = files.json(&["device", "show", &id]);
    assert!(shown["revoked_ms"].is_i64());
    assert_eq!(
        shown["removals"],
        Value::Array(Vec::new()),
        "it has not called"
    );

    // Whoever was revoked before may be ordered to as well.
    assert_eq!(files.run(&wipe).0, 0);
    let log = files.log();
    let orders: Vec<_> = log.iter().skip(1).collect();
    let order = (
        "王调度".to_owned(),
        "device wipe".to_owned(),
        "手机丢失".to_owned(),
    );
    assert_eq!(orders, [&order, &order]);
}

#[test]
fn what_an_operator_gets_wrong_is_said_and_nothing_is_done() {
    let files = Files::new();
    let id = device().to_string();
    let nobody = DeviceId::from_bytes([9; 16]).to_string();
    let cases: [(&[&str], i32, &str); 9] = [
        (
            &["device", "revoke", &nobody, "--yes"],
            3,
            "there is no device",
        ),
        (
            &["device", "wipe", &nobody, "--yes"],
            3,
            "there is no device",
        ),
        (&["device", "show", &nobody], 3, "there is no device"),
        (&["device", "approve", "9"], 3, "there is no invitation 9"),
        (&["device", "rename", &id, "\u{7}"], 3, "control characters"),
        (
            &["grant", "add", &id, "--scope", "骆驼", "--role", "king"],
            3,
            "the roles are",
        ),
        (
            &["grant", "add", &id, "--scope", "骆驼", "--verbs", "write"],
            2,
            "the verbs are",
        ),
        (&["grant", "add", &id, "--scope", "骆驼"], 2, "--role"),
        (
            &["grant", "remove", &id, "--scope", "骆驼", "--yes"],
            3,
            "granted nothing",
        ),
    ];
    for (words, code, said) in cases {
        let is_read = words[1] == "show";
        let (ended, words_said) = if is_read {
            files.run(words)
        } else {
            files.act(words)
        };
        assert_eq!(ended, code, "{words:?}: {words_said}");
        assert!(words_said.contains(said), "{words:?}: {words_said}");
    }
    assert_eq!(files.log().len(), 1, "only the enrolment");
    // Who says no name is called by his account.
    assert_eq!(files.run(&["device", "revoke", &id, "--yes"]).0, 0);
    let log = files.log();
    assert!(log[1].0 != "王调度" && !log[1].0.is_empty(), "{log:?}");
}
