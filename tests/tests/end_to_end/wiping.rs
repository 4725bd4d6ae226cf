//! A device that is ordered to wipe itself: it hands over, signs, and then its file and its keys are gone.

use std::io::{BufRead as _, BufReader, Write as _};
use std::path::Path;
use std::process::{Command, Stdio};

use serde_json::Value;
use tempfile::TempDir;

use super::world::{RelayAtHome, within};

/// A device's folder, and a relay's configuration as its operator has it.
struct Desk {
    dir: TempDir,
    device: String,
}

impl Desk {
    async fn new(relay: &RelayAtHome) -> Self {
        let dir = tempfile::tempdir().unwrap();
        let bundle = relay.enrol(relay.addr()).await;
        bundle.write(&dir.path().join("bundle.json")).unwrap();
        let config = format!("data = {:?}\n", relay.folder());
        std::fs::write(dir.path().join("relay.toml"), config).unwrap();
        let device = bundle.device.to_string();
        let desk = Self { dir, device };
        assert_eq!(desk.here(&["sync"]).await.0, 0);
        desk
    }

    fn path(&self, file: &str) -> std::path::PathBuf {
        self.dir.path().join(file)
    }

    /// Does something with the device's own file; returns the program's code and what it said.
    async fn here(&self, words: &[&str]) -> (i32, String) {
        let mut command = Command::new(tests::gridbeat());
        command.args(["device", "--dir"]).arg(self.dir.path());
        command.args(words);
        run(command).await
    }

    /// Runs the device by a program that never closes its standard input.
    async fn by_a_program(&self) -> (i32, String) {
        let mut command = Command::new("sh");
        let script = r#"mkfifo "$FIFO" && exec "$0" "$@" 0<>"$FIFO""#;
        command.args(["-c", script]).arg(tests::gridbeat());
        command.args(["device", "--stdio", "--dir"]);
        command.arg(self.dir.path()).env("FIFO", self.path("stdin"));
        run(command).await
    }

    /// Does something with the device at the relay.
    async fn at_the_relay(&self, verb: &str, words: &[&str]) -> (i32, String) {
        let mut command = Command::new(tests::gridbeat());
        command.args(["device", verb, &self.device]).args(words);
        command.arg("--config").arg(self.path("relay.toml"));
        run(command).await
    }

    async fn show(&self) -> Value {
        let (code, said) = self.at_the_relay("show", &["-o", "json"]).await;
        assert_eq!(code, 0, "{said}");
        serde_json::from_str(&said).unwrap()
    }
}

async fn run(mut command: Command) -> (i32, String) {
    let done = tokio::task::spawn_blocking(move || tests::output(&mut command));
    let output = within("a program's end", done).await.unwrap().unwrap();
    let said = [output.stdout, output.stderr].concat();
    (
        output.status.code().unwrap(),
        String::from_utf8(said).unwrap(),
    )
}

fn is_there(path: &Path) -> bool {
    path.try_exists().unwrap()
}

#[tokio::test]
async fn a_device_that_is_to_be_wiped_hands_over_and_signs_and_then_its_keys_and_its_file_are_gone()
{
    for by_a_program in [false, true] {
        let relay = RelayAtHome::start().await;
        let desk = Desk::new(&relay).await;
        let report = [
            "report",
            "--category",
            "matter/01001",
            "--description",
            "井盖缺失",
            "--by",
            "王警官",
        ];
        assert_eq!(desk.here(&report).await.0, 0);
        let (code, said) = desk.at_the_relay("wipe", &[]).await;
        assert!(code == 3 && said.contains("--yes"), "{said}");
        let order = ["--yes", "--as", "王调度", "--why", "手机丢失"];
        let (code, said) = desk.at_the_relay("wipe", &order).await;
        assert!(code == 0 && said.contains("device show"), "{said}");
        // It has not called yet: nothing is signed, and its file opens.
        assert_eq!(desk.show().await["removals"], Value::Array(Vec::new()));
        assert_eq!(desk.here(&["status"]).await.0, 0);
        let stolen = std::fs::read(desk.path("device.db")).unwrap();

        let (code, said) = if by_a_program {
            desk.by_a_program().await
        } else {
            desk.here(&["sync"]).await
        };
        assert_eq!(code, 0, "{said}");
        assert!(said.contains("均已销毁"), "{said}");
        assert!(said.contains("its keys are destroyed"), "{said}");

        for gone in ["device.key", "bundle.json", "device.db", "device.db-wal"] {
            assert!(!is_there(&desk.path(gone)), "{gone}");
        }
        std::fs::write(desk.path("device.db"), stolen).unwrap();
        assert_eq!(
            gridbeat_device::is_encrypted(&desk.path("device.db")).unwrap(),
            Some(true)
        );
        assert_ne!(desk.here(&["records"]).await.0, 0);

        let shown = desk.show().await;
        let stated = shown["removals"].as_array().unwrap();
        let mut whole = stated.iter().filter(|it| it["scope"].is_null());
        assert!(whole.next().unwrap()["received_ms"].is_i64(), "{shown}");
        assert!(shown["revoked_ms"].is_i64());
        assert_eq!(relay.handle().counters().await.unwrap().changes_accepted, 0);
        let (code, said) = desk.at_the_relay("wipe", &order).await;
        assert!(code == 3 && said.contains("has wiped itself"), "{said}");
        let mut list = Command::new(tests::gridbeat());
        list.args(["quarantine", "list", "--config"])
            .arg(desk.path("relay.toml"));
        let (code, said) = run(list).await;
        assert!(code == 0 && said.contains(&desk.device), "{said}");
    }
}

/// A record that ends because its beginning was refused ends nothing else.
#[tokio::test]
async fn a_program_goes_on_when_a_record_was_not_accepted() {
    let relay = RelayAtHome::start_with(1).await;
    let desk = Desk::new(&relay).await;
    let mut command = Command::new(tests::gridbeat());
    command.args(["device", "--stdio", "--dir"]);
    command.arg(desk.dir.path());
    let scope = super::world::scope();
    let intent = String::from_utf8(super::world::report("井盖缺失")).unwrap();
    let create =
        format!(r#"{{"do":"create","kind":"incident","scope":"{scope}","intent":{intent}}}"#);
    let refused = within(
        "the device's answer",
        tokio::task::spawn_blocking(move || {
            let mut program = command
                .stdin(Stdio::piped())
                .stdout(Stdio::piped())
                .spawn()
                .unwrap();
            let mut stdin = program.stdin.take().unwrap();
            writeln!(stdin, "{create}\n{create}").unwrap();
            let lines = BufReader::new(program.stdout.take().unwrap()).lines();
            let mut saved = 0;
            for line in lines {
                let line: Value = serde_json::from_str(&line.unwrap()).unwrap();
                saved += usize::from(line["ok"]["change"].is_string());
                if saved == 2 && line["state"] == "in_sync" {
                    writeln!(stdin, r#"{{"do":"refused","id":7}}"#).unwrap();
                }
                if line["id"] == 7 {
                    writeln!(stdin, r#"{{"do":"quit"}}"#).unwrap();
                    assert!(program.wait().unwrap().success());
                    return line["ok"].as_array().unwrap().len();
                }
            }
            panic!("it ended: {:?}", program.wait());
        }),
    );
    assert_eq!(refused.await.unwrap(), 1);
}
