//! Real processes that are killed at any moment, and a history that is checked without the engine.
//!
//! A relay and its devices run as programs of their own. Each device saves reports as fast as it answers.
//! What it said it saved, and what it said the relay has, is written down; after a number of lines drawn from
//! a seed somebody is killed with SIGKILL, and its database, as it lies, is read by plain SQL: all that was
//! said until then must be in it. Then it is started again. At the end everything saved must have arrived.
//!
//! - `blows`: a relay struck at the n-th call that makes durable, and full disks

mod blows;

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::io::{BufRead as _, BufReader, Write as _};
use std::path::{Path, PathBuf};
use std::process::{Child, ChildStdin, Command, Stdio};
use std::sync::mpsc::{self, Receiver, Sender};
use std::time::Duration;

use anyhow::{Context as _, bail, ensure};
use gridbeat_base::Random;
use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use serde_json::{Value, json};

pub use blows::{Blow, BlowFigures, DURABLE, fill, strike};

/// How many devices there are.
const DEVICES: usize = 3;

/// Requests that a device is asked before it has answered.
const IN_FLIGHT: usize = 4;

/// Most lines between two kills.
const LINES_MAX: u64 = 100;

/// Far longer than anything here takes: a process that is silent for so long has failed.
const PATIENCE: Duration = Duration::from_secs(90);

const SCOPE: &str = "kills";

/// What was done, and what came of it.
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq)]
pub struct Figures {
    /// How often the relay was killed.
    pub relay_kills: u32,
    /// How often a device was.
    pub device_kills: u32,
    /// Changes that a device called saved.
    pub saved: usize,
    /// Changes that a device called acknowledged.
    pub acknowledged: usize,
    /// Saved ones that its database lacked after a kill or at the end.
    pub lost_saved: usize,
    /// Acknowledged ones that the relay's database lacked after a kill or at the end.
    pub lost_acknowledged: usize,
}

/// What the devices said.
#[derive(Default)]
struct History {
    /// By device: changes it called saved, and the document of each.
    saved: Vec<BTreeMap<String, String>>,
    acknowledged: BTreeSet<String>,
}

/// A line of a device, or its end.
type Said = (usize, u32, Option<String>);

struct Device {
    folder: PathBuf,
    process: Child,
    stdin: ChildStdin,
    life: u32,
    asked: usize,
}

struct World {
    program: PathBuf,
    folder: PathBuf,
    relay: Child,
    devices: Vec<Device>,
    said: Receiver<Said>,
    say: Sender<Said>,
    history: History,
    /// The devices that were in sync once, and so know their scope.
    met: BTreeSet<usize>,
    figures: Figures,
    /// How often a device answered that its disk is full; `None` if none may.
    full: Option<u32>,
}

/// Runs a relay and devices from `program`, and kills each side so often.
///
/// # Errors
///
/// If a process cannot be run, says something unexpected or falls silent. What was lost is no error here: the
/// figures tell it.
pub fn run(
    program: &Path,
    relay_kills: u32,
    device_kills: u32,
    seed: u64,
) -> anyhow::Result<Figures> {
    let folder = tempfile::tempdir()?;
    let mut world = World::start(program, folder.path())?;
    while world.met.len() < DEVICES {
        world.hear(true)?;
    }
    let mut random = Random::from_number(seed);
    let mut due = 1 + random.below(LINES_MAX);
    loop {
        let (relay, devices) = (world.figures.relay_kills, world.figures.device_kills);
        if relay >= relay_kills && devices >= device_kills {
            break;
        }
        world.hear(true)?;
        due -= 1;
        if due > 0 {
            continue;
        }
        due = 1 + random.below(LINES_MAX);
        if devices >= device_kills || (relay < relay_kills && random.chance(500)) {
            world.kill_relay()?;
        } else {
            let victim = usize::try_from(random.below(DEVICES as u64))?;
            world.kill_device(victim)?;
        }
    }
    world.finish()
}

impl World {
    fn start(program: &Path, folder: &Path) -> anyhow::Result<Self> {
        let config = folder.join("relay.toml");
        let any = "127.0.0.1:0";
        let init = ["relay", "init", "--listen", any, "--admin", any, "--config"];
        succeed(Command::new(program).args(init).arg(&config))?;
        let (relay, address) = start_relay(program, folder)?;
        // From here on it is found where it was.
        let text = fs::read_to_string(&config)?;
        fs::write(
            &config,
            text.replacen(
                &format!("listen = \"{any}\""),
                &format!("listen = \"{address}\""),
                1,
            ),
        )?;
        let (say, said) = mpsc::channel();
        let mut devices = Vec::new();
        for number in 0..DEVICES {
            let home = folder.join(format!("device-{number}"));
            fs::create_dir(&home)?;
            let create = ["--name", "victim", "--scope", SCOPE, "--role", "collector"];
            let invited = Command::new(program)
                .args(["enrol", "create", "--config"])
                .arg(&config)
                .args(create)
                .args(["--relay", &address, "--auto-approve", "--output", "json"])
                .output()?;
            let invited: Value = serde_json::from_slice(&invited.stdout)
                .context("gridbeat enrol create answered something else")?;
            let invitation = invited["invitation"].as_str().context("no invitation")?;
            succeed(
                Command::new(program)
                    .args(["device", "--dir"])
                    .arg(&home)
                    .args(["enrol", invitation]),
            )?;
            devices.push(Device::start(program, home, number, 0, say.clone())?);
        }
        Ok(Self {
            program: program.to_owned(),
            folder: folder.to_owned(),
            relay,
            devices,
            said,
            say,
            history: History {
                saved: vec![BTreeMap::new(); DEVICES],
                acknowledged: BTreeSet::new(),
            },
            met: BTreeSet::new(),
            figures: Figures::default(),
            full: None,
        })
    }

    /// Takes in one line of a device, and asks it for more if `goes_on`.
    fn hear(&mut self, goes_on: bool) -> anyhow::Result<()> {
        let (number, life, line) = self.said.recv_timeout(PATIENCE)?;
        let is_alive = self.devices[number].life == life;
        let Some(line) = line else {
            let log = fs::read_to_string(self.devices[number].folder.join("log"))?;
            let last = log.lines().last().unwrap_or_default();
            ensure!(!is_alive, "device {number} ended by itself: {last}");
            return Ok(());
        };
        let line: Value = match serde_json::from_str(&line) {
            Ok(line) => line,
            // Its last line may be half a line.
            Err(_) if !is_alive => return Ok(()),
            Err(error) => return Err(error.into()),
        };
        if let Some(fault) = line.get("error") {
            match &mut self.full {
                Some(full) if fault["remedy"] == "FreeSpace" => *full += 1,
                Some(_) | None => bail!("device {number} answered {fault}"),
            }
        }
        if let Some(saved) = line.get("ok").filter(|ok| ok["change"].is_string()) {
            let (change, document) = (text(&saved["change"])?, text(&saved["document"])?);
            if !is_alive {
                // A word of the dead: who lives now was not asked to watch for it.
                let open = json!([{ "change": &change, "document": &document }]);
                self.devices[number].ask(&json!({ "do": "watch", "changes": open }))?;
            }
            self.history.saved[number].insert(change, document);
        }
        match line["event"].as_str() {
            Some("acknowledged") => {
                for change in line["changes"].as_array().into_iter().flatten() {
                    let change = text(&change["change"])?;
                    self.history.acknowledged.insert(change);
                }
            }
            Some("state") if line["state"] == "in_sync" && is_alive && goes_on => {
                self.met.insert(number);
                let missing = IN_FLIGHT.saturating_sub(self.devices[number].asked);
                for _ in 0..missing {
                    self.devices[number].report()?;
                }
            }
            Some(_) => {}
            None if is_alive => {
                let device = &mut self.devices[number];
                device.asked = device.asked.saturating_sub(1);
                if goes_on {
                    device.report()?;
                }
            }
            None => {}
        }
        Ok(())
    }

    fn kill_relay(&mut self) -> anyhow::Result<()> {
        self.relay.kill()?;
        self.relay.wait()?;
        self.check_relay()?;
        let relay = start_relay(&self.program, &self.folder)?.0;
        self.go_on_with(relay)?;
        self.figures.relay_kills += 1;
        Ok(())
    }

    /// Goes on with another relay's process, and tells devices to dial it at once.
    fn go_on_with(&mut self, relay: Child) -> anyhow::Result<()> {
        self.relay = relay;
        let mut devices = self.devices.iter_mut();
        devices.try_for_each(|device| device.ask(&json!({ "do": "network_changed" })))
    }

    fn kill_device(&mut self, number: usize) -> anyhow::Result<()> {
        let device = &mut self.devices[number];
        device.process.kill()?;
        device.process.wait()?;
        self.check_device(number)?;
        let (home, life) = (
            self.devices[number].folder.clone(),
            self.devices[number].life + 1,
        );
        let mut device = Device::start(&self.program, home, number, life, self.say.clone())?;
        // What it saved before, and was not told of yet.
        let open = self.history.saved[number]
            .iter()
            .filter(|(change, _)| !self.history.acknowledged.contains(*change))
            .map(|(change, document)| json!({ "change": change, "document": document }));
        device.ask(&json!({ "do": "watch", "changes": open.collect::<Vec<_>>() }))?;
        self.devices[number] = device;
        self.figures.device_kills += 1;
        Ok(())
    }

    /// Lets everything arrive, ends all in order, and checks once more.
    fn finish(mut self) -> anyhow::Result<Figures> {
        while !self.has_all_arrived() {
            self.hear(false)?;
        }
        for number in 0..DEVICES {
            self.devices[number].ask(&json!({ "do": "quit" }))?;
            ensure!(self.devices[number].process.wait()?.success());
            self.check_device(number)?;
        }
        kill(
            Pid::from_raw(i32::try_from(self.relay.id())?),
            Signal::SIGTERM,
        )?;
        ensure!(self.relay.wait()?.success(), "the relay ended badly");
        self.check_relay()?;
        self.figures.saved = self.all_saved().count();
        self.figures.acknowledged = self.history.acknowledged.len();
        Ok(self.figures)
    }

    fn has_all_arrived(&self) -> bool {
        let acknowledged = &self.history.acknowledged;
        self.devices.iter().all(|device| device.asked == 0)
            && self.all_saved().all(|change| acknowledged.contains(change))
    }

    fn all_saved(&self) -> impl Iterator<Item = &String> {
        self.history.saved.iter().flat_map(BTreeMap::keys)
    }

    fn check_relay(&mut self) -> anyhow::Result<()> {
        let data = self.folder.join("relay-data");
        let held = changes(&data.join("relay.db"))?;
        let lost: Vec<&String> = self.history.acknowledged.difference(&held).collect();
        if !lost.is_empty() {
            self.keep(&data, &lost)?;
        }
        self.figures.lost_acknowledged += lost.len();
        Ok(())
    }

    /// Keeps what was found with something lost, for whoever is to find out why: it may not come again.
    fn keep(&self, data: &Path, lost: &[&String]) -> anyhow::Result<()> {
        let kept = tempfile::Builder::new()
            .prefix("kills-lost-")
            .tempdir()?
            .keep();
        for file in [
            data.join("relay.db"),
            data.join("relay.db-wal"),
            self.folder.join("log"),
        ] {
            if let (true, Some(name)) = (file.exists(), file.file_name()) {
                fs::copy(&file, kept.join(name))?;
            }
        }
        let again = changes(&data.join("relay.db"))?;
        let still = lost
            .iter()
            .filter(|change| !again.contains(**change))
            .count();
        let _ = writeln!(
            std::io::stderr(),
            "lost: {lost:?}, of them on a second look {still}; what lay there is in {}",
            kept.display()
        );
        Ok(())
    }

    fn check_device(&mut self, number: usize) -> anyhow::Result<()> {
        let held = changes(&self.devices[number].folder.join("device.db"))?;
        let saved = self.history.saved[number].keys();
        self.figures.lost_saved += saved.filter(|change| !held.contains(*change)).count();
        Ok(())
    }
}

impl Drop for World {
    fn drop(&mut self) {
        // Errors mean that it has ended already.
        let _ = self.relay.kill();
        let _ = self.relay.wait();
        for device in &mut self.devices {
            let _ = device.process.kill();
            let _ = device.process.wait();
        }
    }
}

impl Device {
    fn start(
        program: &Path,
        folder: PathBuf,
        number: usize,
        life: u32,
        say: Sender<Said>,
    ) -> anyhow::Result<Self> {
        let mut process = Command::new(program)
            .args(["device", "--stdio", "--dir"])
            .arg(&folder)
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(log(&folder)?)
            .spawn()?;
        let stdin = process.stdin.take().context("it has no standard input")?;
        let stdout = process.stdout.take().context("it has no standard output")?;
        std::thread::spawn(move || {
            for line in BufReader::new(stdout).lines().map_while(Result::ok) {
                // Nobody listens any more when the run is over.
                let _ = say.send((number, life, Some(line)));
            }
            let _ = say.send((number, life, None));
        });
        Ok(Self {
            folder,
            process,
            stdin,
            life,
            asked: 0,
        })
    }

    fn report(&mut self) -> anyhow::Result<()> {
        let catalogue = gridbeat_domain::Catalogue::national();
        let category = catalogue
            .iter()
            .next()
            .context("the catalogue is not empty")?;
        let intent = json!({
            "do": "report", "category": category, "description": "井盖缺失", "address": "",
            "position": null, "by": "王警官",
        });
        self.ask(&json!({ "do": "create", "kind": "incident", "scope": SCOPE, "intent": intent }))
    }

    fn ask(&mut self, request: &Value) -> anyhow::Result<()> {
        let mut request = request.clone();
        request["id"] = 1.into();
        self.asked += 1;
        // A device that was just killed reads no more; what it did not answer does not count.
        let _ = writeln!(self.stdin, "{request}");
        Ok(())
    }
}

/// Starts the relay, and waits until it listens; returns where.
fn start_relay(program: &Path, folder: &Path) -> anyhow::Result<(Child, String)> {
    let (process, line) = start_relay_by(Command::new(program), folder)?;
    let said: Value = serde_json::from_str(&line)
        .with_context(|| format!("the relay did not start: see {}", folder.display()))?;
    Ok((process, text(&said["quic"])?))
}

/// Starts the relay by a command that ends in its program; returns its first line, empty if it died before.
fn start_relay_by(mut command: Command, folder: &Path) -> anyhow::Result<(Child, String)> {
    let mut process = command
        .args(["relay", "run", "--json", "--config"])
        .arg(folder.join("relay.toml"))
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .stderr(log(folder)?)
        .spawn()?;
    let stdout = process.stdout.take().context("it has no standard output")?;
    let mut line = String::new();
    BufReader::new(stdout).read_line(&mut line)?;
    Ok((process, line))
}

/// Reads the names of all changes in a database as it lies, log and all: from a copy, by plain SQL.
fn changes(database: &Path) -> anyhow::Result<BTreeSet<String>> {
    let folder = tempfile::tempdir()?;
    let copy = folder.path().join("copy.db");
    for suffix in ["", "-wal"] {
        let with = |path: &Path| PathBuf::from(format!("{}{suffix}", path.display()));
        if with(database).exists() {
            fs::copy(with(database), with(&copy))?;
        }
    }
    let connection = rusqlite::Connection::open(&copy)?;
    if let Ok(key) = fs::read_to_string(database.with_file_name("device.key")) {
        let key = key.trim_end().rsplit(' ').next().unwrap_or_default();
        connection.execute_batch(&format!("PRAGMA key = \"x'{key}'\""))?;
    }
    let mut all = connection.prepare("SELECT lower(hex(hash)) FROM change")?;
    let rows = all.query_map([], |row| row.get(0))?;
    Ok(rows.collect::<Result<_, _>>()?)
}

fn succeed(command: &mut Command) -> anyhow::Result<()> {
    let output = crate::output(command)?;
    ensure!(
        output.status.success(),
        "{command:?}: {}",
        String::from_utf8_lossy(&output.stderr)
    );
    Ok(())
}

fn log(folder: &Path) -> std::io::Result<fs::File> {
    fs::File::options()
        .create(true)
        .append(true)
        .open(folder.join("log"))
}

fn text(value: &Value) -> anyhow::Result<String> {
    let text = value.as_str().context("a text was expected")?;
    Ok(text.to_owned())
}
