//! Benches whose devices were enrolled before the relay's database was filled by hand, at their smallest: they run
//! to their end and print figures. What the figures are is no test's matter.

#![expect(clippy::unwrap_used, reason = "a test may fail by it")]

use std::fs;
use std::io::{BufRead as _, BufReader, Write as _};
use std::net::UdpSocket;
use std::process::{Child, Command, Stdio};

use serde_json::{Value, json};

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
fn nothing_is_lost_in_a_short_soak() {
    let words = ["--minutes", "0.05", "--rate", "40", "--devices", "5"];
    let figures = bench(&[&["soak"][..], &words].concat());
    assert_eq!(figures["nothing_lost"], true, "{figures}");
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

/// An incident that somebody filed, and an edit of it.
fn filed(document: u8, who: &str, t: i64) -> String {
    let id = format!("ca5ae37b-0a68-456f-859f-6428980000{document:02x}");
    let incident = json!({
        "uuid": id, "case_no": "SJ2026112300000001", "category": "0301", "category_name": "井盖缺损",
        "desc": "井盖断裂", "lon": 116.35, "lat": 39.9, "geo_acc": 5.0, "address": "人民路1号", "photos": [],
        "status": "reported", "priority": 2, "source": "patrol", "occurred_at": t, "created_at": t,
        "updated_at": t, "reporter_id": who, "reporter_name": "王伟", "reporter_phone": "13800000000",
        "department": "", "grid_id": "110101-007-023", "notes": []
    });
    json!({ "k": "create", "doc": id, "who": who, "t": t, "f": incident }).to_string()
}

fn edited(document: u8, who: &str, t: i64) -> String {
    let id = format!("ca5ae37b-0a68-456f-859f-6428980000{document:02x}");
    json!({ "k": "set", "doc": id, "who": who, "t": t, "f": { "status": "filed", "updated_at": t } })
        .to_string()
}

/// A folder of files by name, with the enrolled devices in it.
struct Harness(tempfile::TempDir);

impl Harness {
    fn at(&self, name: &str) -> String {
        self.0.path().join(name).to_str().unwrap().to_owned()
    }

    fn write(&self, name: &str, actions: &[String]) {
        fs::write(self.at(name), actions.join("\n")).unwrap();
    }

    fn read(&self, name: &str) -> Value {
        serde_json::from_slice(&fs::read(self.at(name)).unwrap()).unwrap()
    }

    /// A peer; in its words `@name` stands for the file of that name.
    fn peer(&self, words: &str) -> Command {
        let mut command = Command::new(env!("CARGO_BIN_EXE_gridbeat"));
        command.args(["bench", "peer", "--pool", &self.at("pool")]);
        command.args(words.split(' ').map(|word| match word.strip_prefix('@') {
            Some(name) => self.at(name),
            None => word.to_owned(),
        }));
        command
    }

    fn run(&self, words: &str) {
        let output = self.peer(words).output().unwrap();
        let said = String::from_utf8_lossy(&output.stderr);
        assert!(output.status.success(), "{words}: {said}");
    }

    fn start(&self, words: &str) -> Peer {
        let mut child = self
            .peer(words)
            .current_dir(self.0.path())
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .unwrap();
        let said = BufReader::new(child.stdout.take().unwrap());
        let mut peer = Peer(child, said);
        peer.says("ready");
        peer
    }
}

/// One side of a workload, in a process of its own.
struct Peer(Child, BufReader<std::process::ChildStdout>);

impl Peer {
    fn tell(&mut self, word: &str) {
        writeln!(self.0.stdin.as_mut().unwrap(), "{word}").unwrap();
    }

    /// Returns the next thing it says, which must be this.
    fn says(&mut self, event: &str) -> Value {
        let mut line = String::new();
        self.1.read_line(&mut line).unwrap();
        let said: Value = serde_json::from_str(&line).unwrap();
        assert_eq!(said["ev"], event, "{said}");
        said
    }
}

impl Drop for Peer {
    fn drop(&mut self) {
        // Errors mean that it has ended already.
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

/// Returns a port that nobody listens at.
fn free_port() -> u16 {
    let socket = UdpSocket::bind("127.0.0.1:0").unwrap();
    socket.local_addr().unwrap().port()
}

const HOUR: i64 = 1_795_401_600_000;

#[test]
fn the_harness_of_all_engines_gets_both_sides_to_the_same() {
    let harness = Harness(tempfile::tempdir().unwrap());
    harness.write(
        "base",
        &[
            filed(1, "officer-02", HOUR),
            edited(1, "centre-01", HOUR + 1),
        ],
    );
    harness.write(
        "own",
        &[
            filed(2, "officer-01", HOUR + 2),
            edited(1, "officer-01", HOUR + 3),
        ],
    );
    harness.write("theirs", &[edited(1, "centre-02", HOUR + 4)]);
    harness.run("base --dir @store --ops @base --state @based");
    harness.run("apply --dir @store --ops @own --state @at-relay");
    harness.run("apply --dir @store --ops @theirs --state @at-device");

    let port = free_port();
    let mut server = harness.start(&format!(
        "server --dir @store --port {port} --expect @at-relay"
    ));
    let url = format!("ws://127.0.0.1:{port}/sync");
    let mut client = harness.start(&format!(
        "client --dir @store --url {url} --held @based --expect @at-device"
    ));
    client.tell("go");
    assert_eq!(client.says("done")["waiting"], 0);
    server.says("done");
    client.tell(&format!("acked {}", harness.at("acked")));
    assert_eq!(client.says("acked")["documents"], 2);
    client.tell(&format!("state {}", harness.at("of-client")));
    client.says("state");

    let mut newcomer = harness.start(&format!(
        "client --dir @new --url {url} --first 1 --expect @of-client"
    ));
    newcomer.tell("go");
    newcomer.says("done");
    server.tell("quit");
    server.says("quit");
    harness.run("dump --dir @store --list @of-client --state @of-server");
    assert_eq!(harness.read("of-server"), harness.read("of-client"));
}

#[test]
fn the_harness_of_all_engines_lets_shifts_come_back_at_once() {
    let harness = Harness(tempfile::tempdir().unwrap());
    fs::create_dir(harness.at("shifts")).unwrap();
    harness.write("shifts/dev000.jsonl", &[filed(1, "officer-000", HOUR)]);
    harness.write("shifts/dev001.jsonl", &[filed(2, "officer-001", HOUR)]);
    let port = free_port();
    let server = harness.start(&format!("server --dir @store --port {port}"));
    let mut fan = harness.start(&format!(
        "fan --from 0 --to 2 --ops @shifts --url 127.0.0.1:{port}"
    ));
    fan.tell("go");
    assert_eq!(fan.says("done")["acknowledged"], 2);
    drop(server);
}
