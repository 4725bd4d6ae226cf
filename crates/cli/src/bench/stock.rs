//! Databases and files with many documents, made by the real cores, joined by hand.
//!
//! The relay's brain and a device's are driven in one thread without a network, so that ten thousand
//! documents take seconds: a made-up author pushes them as many at a time as a push takes, and devices take them
//! from the feed in large frames. Every change passes the gate and every commit is durable, so the
//! files are what a relay and its devices would have written.

use std::collections::{BTreeMap, VecDeque};
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context as _, bail, ensure};
use gridbeat_base::{
    DeviceId, DocumentId, Hlc, Install, Now, Position, Random, Scope, Verbs, WallTime,
};
use gridbeat_device_core as device_core;
use gridbeat_device_core::{DATABASE_KEY_BYTES, DatabaseKey, SyncState};
use gridbeat_document::{Actor, Document, Kind, Provenance, Stamp};
use gridbeat_link::{Clock, random_from_system};
use gridbeat_relay::{Authority, RelayConfig};
use gridbeat_relay_core::{Config, Output, Relay, SessionId};
use gridbeat_relay_store::{Registry as _, SqliteStore, Store as _, StoreOptions};
use gridbeat_sync_protocol::{
    Frame, Hello, PackForm, PublicKey, Push, PushChange, PushDocument, Signer, Verdict, Versions,
    encode, limits,
};
use serde_json::json;

/// Documents in a push: the most the protocol allows.
const PUSH_DOCUMENTS: u64 = limits::PUSH_DOCUMENTS_MAX as u64;

/// How long the relay rests between two authors: longer than it holds the haste of one up for another.
const REST: Duration = Duration::from_secs(60);

/// What incidents of a bench say: the lengths are those of real reports.
const DESCRIPTIONS: [&str; 5] = [
    "路面有一个坑洞，约三十厘米，雨后积水，骑车经过需要绕行",
    "人行道上堆放建筑垃圾，占道约两米，行人绕行到机动车道",
    "垃圾箱满溢，周边有散落垃圾和污水",
    "店铺占道经营，桌椅摆到盲道上，已劝导",
    "窨井盖破损下沉，夜间经过有危险，已放置警示标志",
];

/// The middle of Zhenhai, in ten-millionths of a degree, and how far incidents lie from it: some 10 km.
const MIDDLE_E7: (i64, i64) = (299_500_000, 1_217_100_000);
const SPREAD_E7: u64 = 2_000_000;

/// The installation of every device of a bench: none is ever copied.
pub(super) const INSTALL: Install = Install::new([7; 16]);

/// The name of the kind whose documents are made.
pub(super) const KIND: &str = "incident";

/// Returns the middle of where the incidents lie.
pub(super) fn middle() -> anyhow::Result<Position> {
    at(MIDDLE_E7.0, MIDDLE_E7.1)
}

/// Makes an id for a device.
pub(super) fn new_device() -> DeviceId {
    DeviceId::mint(Clock::start().now().wall, &mut random_from_system())
}

/// Makes the intent of a report, somewhere in Zhenhai.
pub(super) fn report(random: &mut Random) -> anyhow::Result<Vec<u8>> {
    let mut near = |middle: i64| -> anyhow::Result<i64> {
        Ok(middle + i64::try_from(random.below(SPREAD_E7))? - i64::try_from(SPREAD_E7 / 2)?)
    };
    let position = at(near(MIDDLE_E7.0)?, near(MIDDLE_E7.1)?)?;
    let number = random.below(1_000);
    let text = DESCRIPTIONS[usize::try_from(random.below(DESCRIPTIONS.len() as u64))?];
    let catalogue = gridbeat_domain::Catalogue::national();
    let category = catalogue.iter().next().context("the catalogue is empty")?;
    let intent = json!({
        "do": "report", "category": category, "description": text, "position": position,
        "address": format!("骆驼街道慈海南路{number}号"), "by": "骑行队员"
    });
    Ok(intent.to_string().into_bytes())
}

#[expect(
    clippy::cast_precision_loss,
    reason = "an angle in ten-millionths has 31 bits"
)]
fn at(latitude_e7: i64, longitude_e7: i64) -> anyhow::Result<Position> {
    Ok(Position::from_degrees(
        latitude_e7 as f64 / 1e7,
        longitude_e7 as f64 / 1e7,
    )?)
}

/// Returns the key of the encrypted files of a bench; `None` where this program cannot encrypt.
pub(super) fn key() -> Option<DatabaseKey> {
    let made = || DatabaseKey::take(&mut [0x6b; DATABASE_KEY_BYTES]);
    device_core::can_encrypt().then(made)
}

/// Opens a device's plain file.
pub(super) fn open_device(path: &Path, device: DeviceId) -> anyhow::Result<device_core::Device> {
    open_device_with(path, device, None)
}

/// Opens a device's file.
pub(super) fn open_device_with(
    path: &Path,
    device: DeviceId,
    key: Option<DatabaseKey>,
) -> anyhow::Result<device_core::Device> {
    let mut config = device_core::Config::new(device, INSTALL);
    config.key = key;
    let now = Clock::start().now();
    let kinds = super::kinds();
    Ok(device_core::Device::open(
        path,
        config,
        kinds,
        random_from_system(),
        now,
    )?)
}

/// What went over the link of one session.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Carried {
    /// Bytes of the device's frames.
    pub(super) up_bytes: usize,
    /// Bytes of the relay's frames.
    pub(super) down_bytes: usize,
    /// How often the device said something and waited for what the relay says to it.
    pub(super) rounds: u64,
}

/// A device that pushes what a bench makes up.
#[derive(Debug)]
pub(super) struct MadeUp {
    pub(super) device: DeviceId,
    pub(super) actor: Actor,
    session: SessionId,
    /// How many it has pushed in its session.
    pushes: u64,
}

/// A relay's database in the hands of its brain, without a network.
#[derive(Debug)]
pub(super) struct Stock {
    relay: Relay,
    store: SqliteStore,
    clock: Clock,
    /// How long the relay has rested, beyond the time that really passed.
    rested: Duration,
    /// What its wall clock shows, if not the time that really is.
    wall: Option<WallTime>,
    random: Random,
    last_session: SessionId,
}

impl Stock {
    /// Opens the database, or makes it.
    pub(super) fn open(database: &Path) -> anyhow::Result<Self> {
        Self::open_with(database, None)
    }

    /// Opens the database of a relay that has run: what is written there is receipted.
    pub(super) fn open_of(relay: &RelayConfig) -> anyhow::Result<Self> {
        let authority = Authority::open(&relay.authority())?;
        let signer = authority.receipts(&mut random_from_system())?;
        Self::open_with(&relay.database(), Some(signer))
    }

    fn open_with(database: &Path, receipts: Option<Signer>) -> anyhow::Result<Self> {
        if let Some(folder) = database.parent() {
            std::fs::create_dir_all(folder)?;
        }
        let mut random = random_from_system();
        let clock = Clock::start();
        let options = StoreOptions {
            receipts: receipts.map(|signer| (signer, clock.now().wall)),
            ..StoreOptions::default()
        };
        let store = SqliteStore::open(database, options, &mut random)?;
        Ok(Self {
            relay: Relay::new(Config::default(), super::kinds(), store.incarnation()),
            store,
            clock,
            rested: Duration::ZERO,
            wall: None,
            random,
            last_session: SessionId(0),
        })
    }

    /// Enrols a device that may write in a scope.
    pub(super) fn enrol(&mut self, device: DeviceId, scope: &Scope) -> anyhow::Result<()> {
        let grants = BTreeMap::from([(scope.clone(), Verbs::WORK.into())]);
        Ok(self
            .store
            .add_device(device, "bench", &grants, self.now().wall)?)
    }

    /// Has a made-up author report so many incidents in a scope.
    pub(super) fn fill(&mut self, scope: &Scope, documents: u64) -> anyhow::Result<()> {
        let mut author = self.author(scope)?;
        let mut made = 0;
        while made < documents {
            let count = PUSH_DOCUMENTS.min(documents - made);
            let fresh = (0..count)
                .map(|_| incident(&self.clock, &mut self.random, author.device, author.actor));
            let fresh = fresh.collect::<anyhow::Result<_>>()?;
            self.push(&mut author, scope, fresh)?;
            made += count;
        }
        self.relay.disconnected(self.now(), author.session);
        self.exchange(author.session, [])?;
        Ok(())
    }

    /// Enrols and connects a made-up author, who may write in a scope.
    pub(super) fn author(&mut self, scope: &Scope) -> anyhow::Result<MadeUp> {
        self.rest();
        let device = DeviceId::mint(self.now().wall, &mut self.random);
        self.enrol(device, scope)?;
        let session = self.connect(device, None);
        let hello = Frame::Hello(Hello {
            versions: Versions::SPOKEN,
            device,
            install: INSTALL,
            incarnation: None,
            clock: Hlc::at(self.now().wall),
            scopes: Vec::new(),
        });
        self.exchange(session, [hello])?;
        Ok(MadeUp {
            device,
            actor: Actor::mint(&mut self.random),
            session,
            pushes: 0,
        })
    }

    /// Has an author push documents, each of whose changes must be accepted.
    pub(super) fn push(
        &mut self,
        author: &mut MadeUp,
        scope: &Scope,
        documents: Vec<PushDocument>,
    ) -> anyhow::Result<()> {
        author.pushes += 1;
        let number = author.pushes;
        let push = Push {
            number,
            after: 0,
            scope: scope.clone(),
            form: PackForm::Whole,
            documents,
            seal: None,
        };
        let answers = self.exchange(author.session, [Frame::Push(push)])?;
        let is_accepted = |frame: &Frame| {
            matches!(frame, Frame::Ack(ack) if ack.number == number
                && ack.verdicts.iter().all(|verdict| *verdict == Verdict::Accepted))
        };
        let accepted = answers.iter().any(is_accepted);
        ensure!(
            accepted,
            "the relay did not take the documents of the bench"
        );
        Ok(())
    }

    /// Lets so much time pass that no author counts as hasty, whose pushes would be held up.
    pub(super) fn rest(&mut self) {
        self.rested += REST;
    }

    /// Lets it be this time by the relay's wall clock, from here on.
    pub(super) fn set_wall(&mut self, wall: WallTime) {
        self.wall = Some(wall);
    }

    /// Puts documents into another scope too.
    pub(super) fn place(&mut self, documents: &[DocumentId], scope: &Scope) -> anyhow::Result<()> {
        for document in documents {
            self.relay.place(self.now(), *document, scope.clone(), true);
        }
        self.exchange(SessionId(0), [])?;
        Ok(())
    }

    /// Lets a device that never enrolled meet the relay until both hold the same.
    pub(super) fn sync(&mut self, device: &mut device_core::Device) -> anyhow::Result<Carried> {
        self.sync_as(device, None)
    }

    /// Lets a device meet the relay, which shows the key of its certificate, until both hold the same.
    pub(super) fn sync_as(
        &mut self,
        device: &mut device_core::Device,
        key: Option<PublicKey>,
    ) -> anyhow::Result<Carried> {
        let mut carried = Carried::default();
        let session = self.connect(device.device(), key);
        device.connected(self.now())?;
        loop {
            let mut up = Vec::new();
            while let Some(output) = device.poll_output() {
                match output {
                    device_core::Output::Send { frame, .. } => up.push(frame),
                    device_core::Output::Changed { .. }
                    | device_core::Output::State(_)
                    | device_core::Output::Blobs { .. }
                    | device_core::Output::Leave(_)
                    | device_core::Output::Positions => {}
                    device_core::Output::Close(reason) => bail!("the device closed: {reason:?}"),
                }
            }
            carried.rounds += u64::from(!up.is_empty());
            carried.up_bytes += up.iter().map(|frame| encode(frame).len()).sum::<usize>();
            let down = self.exchange(session, up)?;
            carried.down_bytes += down.iter().map(|frame| encode(frame).len()).sum::<usize>();
            if down.is_empty() {
                let now = self.now();
                if device
                    .next_deadline()
                    .is_some_and(|due| due <= now.monotonic)
                {
                    device.handle_deadline(now)?;
                    continue;
                }
                break;
            }
            device.handle_frames(self.now(), down)?;
        }
        let state = device.sync_state();
        ensure!(
            matches!(state, SyncState::InSync { .. }),
            "not in sync but {state:?}"
        );
        device.disconnected(self.now());
        self.relay.disconnected(self.now(), session);
        self.exchange(session, [])?;
        Ok(carried)
    }

    fn connect(&mut self, device: DeviceId, key: Option<PublicKey>) -> SessionId {
        self.last_session = SessionId(self.last_session.0 + 1);
        self.relay
            .connected(self.now(), self.last_session, device, key);
        self.last_session
    }

    /// Hands frames of a session to the relay, does all its tasks, and returns what it sends there.
    fn exchange(
        &mut self,
        session: SessionId,
        frames: impl IntoIterator<Item = Frame>,
    ) -> anyhow::Result<Vec<Frame>> {
        for frame in frames {
            self.relay.handle_frame(self.now(), session, frame);
        }
        let mut sent = Vec::new();
        let mut tasks = VecDeque::new();
        loop {
            while let Some(output) = self.relay.poll_output() {
                match output {
                    Output::Send {
                        session: to, frame, ..
                    } if to == session => sent.push(frame),
                    Output::Run { task, work } => tasks.push_back((task, work)),
                    Output::Close { reason, .. } => bail!("the relay closed: {reason:?}"),
                    Output::StoreFailed { fault, .. } => return Err(fault.into()),
                    Output::Send { .. }
                    | Output::Committed { .. }
                    | Output::Placed { .. }
                    | Output::CloneSuspected { .. }
                    | Output::Sighted(_) => {}
                }
            }
            let Some((task, work)) = tasks.pop_front() else {
                return Ok(sent);
            };
            let answer = self.store.run(&work);
            self.relay.handle_answer(self.now(), task, answer);
        }
    }

    fn now(&self) -> Now {
        let now = self.clock.now();
        Now {
            monotonic: now.monotonic.plus(self.rested),
            wall: self.wall.unwrap_or(now.wall),
        }
    }
}

/// Makes a document with one report in it, as a device would push it.
pub(super) fn incident(
    clock: &Clock,
    random: &mut Random,
    author: DeviceId,
    actor: Actor,
) -> anyhow::Result<PushDocument> {
    let kinds = super::kinds();
    let kind = kinds.find(KIND).context("the domain has no incidents")?;
    let kind: Arc<dyn Kind> = Arc::clone(kind);
    let wall: WallTime = clock.now().wall;
    let stamp = Stamp {
        hlc: Hlc::at(wall),
        wall,
        relay_offset_ms: None,
        device: author,
        fact: random.bytes(),
    };
    let mut document = Document::genesis(&kind, kind.schema_version());
    let intent = report(random)?;
    let change = document.edit(actor, &intent, &stamp, &|_| Provenance::default())?;
    Ok(PushDocument {
        document: DocumentId::mint(wall, random),
        kind: KIND.to_owned(),
        schema_version: kind.schema_version(),
        changes: vec![PushChange {
            bytes: change.bytes,
            recovered_from: None,
        }],
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_device_takes_over_what_the_author_reported() {
        let folder = tempfile::tempdir().unwrap();
        let scope = Scope::new("bench").unwrap();
        let mut stock = Stock::open(&folder.path().join("relay.db")).unwrap();
        stock.fill(&scope, 230).unwrap();
        let id = new_device();
        stock.enrol(id, &scope).unwrap();
        let mut device = open_device(&folder.path().join("device.db"), id).unwrap();
        stock.sync(&mut device).unwrap();
        assert_eq!(device.fingerprint().unwrap().len(), 230);
    }
}
