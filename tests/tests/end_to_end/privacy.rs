//! No name, text, place, photo or key reaches what a shift of real devices and a real relay writes anywhere: the
//! log of every crate and library down to TRACE, the page of metrics, errors, standard output.
//!
//! The shift runs in a process of its own, this test binary again, because a log is a process's. Not here: what
//! values print as, one by one (`crate::privacy`).

use std::io::{Read as _, Write as _};
use std::net::{SocketAddr, TcpStream};
use std::process::Command;

use gridbeat_base::{DeviceId, DocumentId, Position};
use gridbeat_device::{
    Config, DATABASE_KEY_BYTES, DatabaseKey, Device, KeySource, Query, Whereabouts, make_key_file,
    read_key_file,
};
use gridbeat_domain::{Catalogue, CategoryKind, IncidentIntent, Severity, Step};
use tempfile::TempDir;

use super::world::{RelayAtHome, config, converge, in_sync, scope, state, within};

/// Has the shift's process work, and says whether it is to leak something.
const VARIABLE: &str = "GRIDBEAT_PRIVATE_SHIFT";

const TEST: &str = "end_to_end::privacy::a_shift_is_worked_if_it_is_asked_for";

/// Names, what an officer wrote, an address, a photo's name, the name of the device.
const WORDS: &[&str] = &[
    "欧阳询之",
    "Ouyang-Xun",
    "红色三轮车挡住消防通道",
    "胜利路甲七十七号",
    "IMG_20260412_ouyang.jpg",
    "王警官",
];

/// The digits of the place, as degrees and as the whole numbers they are stored as.
const PLACE: &[&str] = &["29.9518", "299518", "121.7172", "1217172"];

const LATITUDE_DEG: f64 = 29.951_843_7;
const LONGITUDE_DEG: f64 = 121.717_265_9;

/// The key of the first device's file.
const KEY: [u8; DATABASE_KEY_BYTES] = *b"the key of a file in that shift.";

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_shift_is_worked_if_it_is_asked_for() {
    let Some(asked) = std::env::var_os(VARIABLE) else {
        return;
    };
    let log = tracing_subscriber::fmt()
        .with_max_level(tracing::Level::TRACE)
        .with_ansi(false)
        .with_writer(std::io::stderr);
    log.init();
    if asked == "leak" {
        tracing::trace!(by = WORDS[0], "planted");
    }
    shift().await;
    tracing::info!("the shift is over");
}

fn step(step: Step, note: &str) -> Vec<u8> {
    let intent = IncidentIntent::Step {
        step,
        note: note.into(),
        unit: Some(WORDS[0].into()),
        by: WORDS[1].into(),
        gps: None,
    };
    serde_json::to_vec(&intent).unwrap()
}

fn report() -> Vec<u8> {
    let catalogue = Catalogue::national();
    let intent = IncidentIntent::Report {
        category: catalogue
            .find(CategoryKind::Matter, "01001")
            .unwrap()
            .clone(),
        description: WORDS[2].into(),
        address: WORDS[3].into(),
        position: Position::from_degrees(LATITUDE_DEG, LONGITUDE_DEG).ok(),
        severity: Severity::Serious,
        by: WORDS[0].into(),
        gps: None,
    };
    serde_json::to_vec(&intent).unwrap()
}

/// Writes what an app or an operator might log: all that a device and the relay hand out.
async fn print(device: &Device, relay: &RelayAtHome) {
    let records = device.query(Query::default()).await.unwrap();
    for record in &records {
        eprintln!("{record:?}");
        eprintln!("{:?}", device.history(record.document).await.unwrap());
    }
    eprintln!("{device:?} {:?}", device.sync_state());
    eprintln!("{:?}", device.link_report());
    eprintln!("{:?}", device.refused().await.unwrap());
    eprintln!("{:?}", device.scopes().await.unwrap());
    eprintln!("{:?}", relay.handle());
    eprintln!("{:?}", relay.handle().counters().await.unwrap());
    eprintln!("{}", metrics(relay.handle().admin_addr()));
}

/// Reads the page of metrics.
fn metrics(admin: SocketAddr) -> String {
    let mut page = TcpStream::connect(admin).unwrap();
    page.write_all(b"GET /metrics HTTP/1.1\r\nhost: relay\r\nconnection: close\r\n\r\n")
        .unwrap();
    let mut text = String::new();
    page.read_to_string(&mut text).unwrap();
    assert!(text.contains("gridbeat_relay"), "{text}");
    text
}

/// Writes what an error prints as, for people and for whoever unwraps it.
fn print_error(error: &(dyn std::error::Error + 'static)) {
    eprintln!("{error} {error:?}");
    let mut source = error.source();
    while let Some(error) = source {
        eprintln!("{error} {error:?}");
        source = error.source();
    }
}

fn encrypted(dir: &TempDir, bundle: gridbeat_device::DeviceBundle) -> Config {
    let mut config = config(dir.path(), bundle);
    config.key = KeySource::Asked(Box::new(|| Ok(DatabaseKey::take(&mut KEY.clone()))));
    eprintln!("{config:?} {:?}", config.key);
    config
}

/// Two officers at one relay: reports, notes, a refusal, a lost relay, errors, a wipe.
async fn shift() {
    let dir = TempDir::new().unwrap();
    let mut relay = RelayAtHome::start().await;
    let addr = relay.addr();
    let bundle = relay.enrol(addr).await;
    eprintln!("{bundle:?}");
    let first = Device::open(encrypted(&dir, bundle.clone())).await.unwrap();
    in_sync(&first).await;
    let second = relay.device(dir.path(), addr).await;
    let second_id = second.id();

    let saved = first.create("incident", &scope(), report()).await.unwrap();
    first
        .put_blob(format!("Exif {}", WORDS[4]).into_bytes())
        .await
        .unwrap();
    converge(&[&first, &second], 1).await;
    second
        .edit(saved.document, step(Step::Note, WORDS[2]))
        .await
        .unwrap();
    first
        .edit(saved.document, step(Step::Accept, WORDS[2]))
        .await
        .unwrap();
    converge(&[&first, &second], 1).await;
    refusal(&relay, [&first, &second], saved.document).await;
    positions(&relay, &first, &second).await;
    print(&first, &relay).await;
    print(&second, &relay).await;
    errors(&first, &dir).await;

    // The relay goes and comes back; one device is thrown out.
    assert!(relay.stop().await);
    relay.start_again().await;
    in_sync(&first).await;
    assert!(relay.handle().revoke(second_id).await.unwrap());
    state(&second, "a problem", |state| {
        matches!(state, gridbeat_device::SyncState::Problem { .. })
    })
    .await;
    eprintln!("{:?}", second.sync_state());
    second.close().await;
    first
        .wipe(vec![dir.path().join("device.key")])
        .await
        .unwrap();
    // Where the device was there is nothing now that its key opens.
    assert!(!dir.path().join("device.key").exists());
    relay.stop().await;
}

/// One tells where he is, and the other looks.
async fn positions(relay: &RelayAtHome, teller: &Device, looker: &Device) {
    looker.watch_positions(true).await.unwrap();
    let mut changes = looker.position_changes();
    let whereabouts = Whereabouts {
        position: Position::from_degrees(LATITUDE_DEG, LONGITUDE_DEG).unwrap(),
        accuracy_dm: 48,
        speed_cm_s: None,
        heading_deg: None,
        battery_percent: None,
        receiver_time: None,
    };
    eprintln!("{whereabouts:?}");
    teller.share_position(whereabouts).await.unwrap();
    let seen = async {
        while looker.positions().await.unwrap().is_empty() {
            changes.changed().await.unwrap();
        }
    };
    within("a position", seen).await;
    eprintln!("{:?}", looker.positions().await.unwrap());
    eprintln!("{:?}", relay.handle().positions().await.unwrap());
}

/// Each text is short enough, both merged are not.
async fn refusal(relay: &RelayAtHome, devices: [&Device; 2], document: DocumentId) {
    let before = relay.handle().counters().await.unwrap().changes_refused;
    let mut letters = 'a'..;
    while relay.handle().counters().await.unwrap().changes_refused == before {
        let letter = letters.next().expect("the alphabet is long").to_string();
        let edits = devices.map(|device| {
            let description = WORDS[2].to_owned() + &letter.repeat(880);
            let intent = IncidentIntent::Describe { description };
            device.edit(document, serde_json::to_vec(&intent).unwrap())
        });
        for edit in edits {
            // What is too long already on the device is an error like others.
            if let Err(error) = edit.await {
                print_error(&error);
                return;
            }
        }
        for device in devices {
            in_sync(device).await;
        }
    }
}

async fn errors(device: &Device, dir: &TempDir) {
    let none = DocumentId::from_bytes([0; 16]);
    let unknown = device.edit(none, step(Step::Note, WORDS[2])).await;
    print_error(&unknown.unwrap_err());
    let nonsense = format!("{{\"do\":\"{}\",\"by\":\"{}\"}}", WORDS[2], WORDS[0]);
    let unread = device
        .create("incident", &scope(), nonsense.into_bytes())
        .await;
    print_error(&unread.unwrap_err());
    let stranger = device.create(WORDS[0], &scope(), report()).await;
    // The name of a kind is the app's own word and is told.
    drop(stranger.unwrap_err());

    let path = dir.path().join("other.gridbeat");
    let key_file = dir.path().join("device.key");
    let key = make_key_file(&key_file).unwrap();
    let device_id = DeviceId::from_bytes([3; 16]);
    let install = gridbeat_base::Install::from_bytes([3; 16]);
    let open = |key: KeySource| {
        let mut config = Config::alone(path.clone(), device_id, install, gridbeat_domain::kinds());
        config.key = key;
        Device::open(config)
    };
    open(KeySource::Key(key)).await.unwrap().close().await;
    let key = DatabaseKey::take(&mut KEY.clone());
    print_error(&open(KeySource::Key(key)).await.unwrap_err());
    print_error(&open(KeySource::None).await.unwrap_err());
    let key = read_key_file(&key_file).unwrap().unwrap();
    eprintln!("{key:?}");
    let refused = KeySource::Asked(Box::new(|| Err(std::io::Error::other("locked"))));
    print_error(&open(refused).await.unwrap_err());
}

/// Runs the shift; returns all it wrote.
fn run(how: &str) -> String {
    let mut command = Command::new(std::env::current_exe().unwrap());
    command
        .args(["--exact", TEST, "--nocapture", "--test-threads=1"])
        .env(VARIABLE, how)
        .env("RUST_BACKTRACE", "full");
    let output = tests::output(&mut command).unwrap();
    let mut text = String::from_utf8_lossy(&output.stderr).into_owned();
    text.push_str(&String::from_utf8_lossy(&output.stdout));
    assert!(output.status.success(), "{}", tail(&text));
    text
}

fn tail(text: &str) -> String {
    let lines: Vec<_> = text.lines().rev().take(40).collect();
    lines.into_iter().rev().collect::<Vec<_>>().join("\n")
}

/// Returns what of the planted is in a text, as itself, as bytes that `{:?}` makes of it, or in hex.
fn leaks(text: &str) -> Vec<String> {
    let hex = |bytes: &[u8]| -> String { bytes.iter().map(|it| format!("{it:02x}")).collect() };
    let mut forms = Vec::new();
    for word in WORDS.iter().chain(PLACE) {
        forms.push((*word).to_owned());
        forms.push(word.escape_unicode().to_string());
    }
    for bytes in WORDS.iter().map(|it| it.as_bytes()).chain([&KEY[..]]) {
        forms.push(format!("{bytes:?}").trim_matches(['[', ']']).to_owned());
        forms.push(hex(bytes));
        forms.push(bytes.escape_ascii().to_string());
    }
    let lower = text.to_lowercase();
    let found = |form: &String| text.contains(form) || lower.contains(&form.to_lowercase());
    let leaking = forms.into_iter().filter(found);
    leaking
        .map(|form| {
            let line = text.lines().find(|line| line.contains(&form));
            format!("{form}: {}", line.unwrap_or_default())
        })
        .collect()
}

#[test]
fn nothing_planted_is_in_anything_that_a_shift_of_real_programs_writes() {
    let text = run("quiet");
    assert!(text.contains("the shift is over"), "{}", tail(&text));
    for target in ["quinn", "gridbeat_device", "gridbeat_relay"] {
        assert!(text.contains(target), "{target} logged nothing");
    }
    assert_eq!(leaks(&text), [""; 0]);
    assert!(
        text.lines().count() > 1_000,
        "{} lines",
        text.lines().count()
    );
}

#[test]
fn a_planted_leak_is_found() {
    let leaks = leaks(&run("leak"));
    assert!(
        leaks.iter().any(|leak| leak.starts_with(WORDS[0])),
        "{leaks:?}"
    );
}
