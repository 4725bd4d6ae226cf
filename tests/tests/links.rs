//! Every link that an officer meets: what is saved on it, in its worst moments too, comes to everybody, and nothing is lost.
//!
//! A real relay and real devices over a link of the forwarder, for each of its named links and each [`Transport`]. Logs
//! and planned hand-overs pass in fast motion, so that a tunnel takes seconds; rates, delays and losses are as they are.
//! What each took is printed and no test's matter: `cargo test --workspace --test main links -- --nocapture`. Not here:
//! outages of before the logs' (`end_to_end::outages`), photos (`photos`).

use std::collections::BTreeSet;
use std::fmt::{self, Write as _};
use std::net::SocketAddr;
use std::panic::resume_unwind;

use gridbeat_badlink::{Forwarder, Handover, LinkChanges, OUTAGE_UNDER_KBPS, Profile};
use gridbeat_base::{ChangeHash, DocumentId};
use gridbeat_device::{Device, LinkReport, Path};
use rusqlite::{Connection, OpenFlags};
use serde_json::json;
use tokio::task::JoinSet;

use crate::end_to_end::world::{RelayAtHome, converge, report, scope, within};

/// Each named link that is not a mere wire, and how many times faster its log passes.
const LINKS: [(&str, u32); 10] = [
    ("slow", 1),
    ("lossy", 1),
    ("flap", 8),
    ("street", 1),
    ("tunnel", 30),
    ("handover", 30),
    ("hostile-wifi", 1),
    ("edge", 1),
    ("ghent", 4),
    ("oslo", 6),
];

/// Bad moments in which everybody saves.
const MOMENTS: usize = 3;

/// Reports that each device saves in one.
const REPORTS: usize = 3;

/// Datagrams taken by a link that carries none, before the device is somewhere else.
const SWALLOWED: u64 = 16;

/// What devices reach the relay by.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
enum Transport {
    /// QUIC, in datagrams.
    Quic,
    /// The same inside a WebSocket: no UDP gets through.
    WebSocket,
}

impl Transport {
    const ALL: [Self; 2] = [Self::Quic, Self::WebSocket];

    /// Starts a link that has nothing bad about it yet.
    async fn link(self, relay: SocketAddr) -> Forwarder {
        let listen = "127.0.0.1:0".parse().unwrap();
        match self {
            Self::Quic => Forwarder::udp(listen, relay, Profile::lan()).await.unwrap(),
            Self::WebSocket => Forwarder::tcp(listen, relay, Profile::lan()).await.unwrap(),
        }
    }

    /// Tells whether it gets through at all.
    fn crosses(self, profile: &Profile) -> bool {
        match self {
            Self::Quic => profile.carries_datagrams(),
            Self::WebSocket => true,
        }
    }
}

#[tokio::test]
async fn what_is_saved_on_any_link_comes_to_everybody() {
    let mut rides = JoinSet::new();
    for transport in Transport::ALL {
        for (name, times) in LINKS {
            let profile = Profile::named(name).unwrap().hastened(times);
            rides.spawn(async move { ride(name, &profile, transport).await });
        }
    }
    let mut table = format!("{:<14}{}\n", "link", Ridden::HEAD);
    while let Some(ended) = rides.join_next().await {
        // The message of a failed ride has been printed, and names its link.
        let ridden = ended.unwrap_or_else(|error| resume_unwind(error.into_panic()));
        writeln!(table, "{ridden}").unwrap();
    }
    println!("{table}");
}

#[test]
fn no_named_link_is_forgotten() {
    let wires = ["lan", "rtt100", "rtt400"];
    let mut ridden: Vec<_> = LINKS.iter().map(|(name, _)| *name).chain(wires).collect();
    let mut named = Profile::NAMES.to_vec();
    ridden.sort_unstable();
    named.sort_unstable();
    assert_eq!(ridden, named);
}

/// What one link took.
struct Ridden {
    name: &'static str,
    transport: Transport,
    records: usize,
    up_bytes: u64,
    down_bytes: u64,
    dropped: u64,
    handovers: u64,
    seconds: f64,
    /// Of the device on the move, whom nobody tells that the network is back.
    report: LinkReport,
}

impl Ridden {
    const HEAD: &'static str =
        "transport    records     up B   down B  dropped  hand-overs  dials  rivals  asks  seconds";
}

impl fmt::Display for Ridden {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let transport = format!("{:?}", self.transport);
        write!(
            f,
            "{:<14}{transport:<11}{:>9}{:>9}{:>9}{:>9}{:>12}{:>7}{:>8}{:>6}{:>9.1}",
            self.name,
            self.records,
            self.up_bytes,
            self.down_bytes,
            self.dropped,
            self.handovers,
            self.report.dials,
            self.report.rivals,
            self.report.asks,
            self.seconds,
        )
    }
}

/// Two devices share the bad link, one sits beside the relay; everybody saves in every bad moment.
async fn ride(name: &'static str, profile: &Profile, transport: Transport) -> Ridden {
    let relay = RelayAtHome::start().await;
    let dir = tempfile::tempdir().unwrap();
    let link = transport.link(relay.addr()).await;
    let moving = relay.device(dir.path(), link.local_addr()).await;
    let told = relay.device(dir.path(), link.local_addr()).await;
    let inside = relay.device(dir.path(), relay.addr()).await;
    let mut saved = Saved::default();
    let shared = saved.report(&inside, "known to all").await;
    let devices = [&moving, &told, &inside];
    converge(&devices, 1).await;

    link.set_profile(profile);
    let mut moments = Moments::of(&link, profile);
    for moment in 0..MOMENTS {
        moments.bad(&link).await;
        for (number, device) in devices.iter().enumerate() {
            for report in 0..REPORTS {
                let words = format!("{name} {moment}.{number}.{report}");
                saved.report(device, &words).await;
            }
            saved
                .note(device, shared, &format!("{name} {moment}"))
                .await;
        }
        if moments.over().await {
            told.network_changed(None);
        }
    }
    if !transport.crosses(profile) {
        let swallowed = link.stats_when(|stats| stats.up.dropped_loss >= SWALLOWED);
        within(&format!("{name} to take what is sent"), swallowed).await;
        for device in [&moving, &told] {
            let waits = device.outbox().await.unwrap().changes;
            assert_eq!(waits, (MOMENTS * (REPORTS + 1)) as u64, "{name}");
        }
        link.set_profile(&Profile::lan());
        told.network_changed(None);
    }
    for device in devices {
        knows(device, shared, MOMENTS * devices.len() + 1).await;
    }
    converge(&devices, saved.reports).await;

    saved.are_at(&relay, name);
    for device in devices {
        assert!(device.refused().await.unwrap().is_empty(), "{name}");
    }
    let path = match transport {
        Transport::Quic => Path::Udp,
        Transport::WebSocket => Path::WebSocket,
    };
    assert_eq!(moving.link_report().path, Some(path), "{name}");
    let (stats, seconds) = (link.stats(), link.elapsed().as_secs_f64());
    Ridden {
        name,
        transport,
        records: saved.reports,
        up_bytes: stats.up.delivered_bytes,
        down_bytes: stats.down.delivered_bytes,
        dropped: stats.up.dropped() + stats.down.dropped(),
        handovers: stats.handovers,
        seconds,
        report: moving.link_report(),
    }
}

/// The bad moments of a link, one after the other.
enum Moments {
    /// The link goes and comes back.
    Outages(LinkChanges),
    /// The relay sees another port from one moment to the other.
    Handovers(u64),
    /// All the time is bad alike.
    Always,
}

impl Moments {
    fn of(link: &Forwarder, profile: &Profile) -> Self {
        if !profile.log.outages(OUTAGE_UNDER_KBPS).is_empty() {
            Self::Outages(link.changes())
        } else if profile.handover == Handover::Never {
            Self::Always
        } else {
            Self::Handovers(link.stats().handovers)
        }
    }

    /// Waits for the next one.
    async fn bad(&mut self, link: &Forwarder) {
        match self {
            Self::Outages(changes) => went(changes, false).await,
            Self::Handovers(before) => {
                *before += 1;
                let next = link.stats_when(|stats| stats.handovers >= *before);
                within("a hand-over", next).await;
            }
            Self::Always => {}
        }
    }

    /// Waits until it is over, if it ever is; says whether a system would tell its apps so.
    async fn over(&mut self) -> bool {
        match self {
            Self::Outages(changes) => {
                went(changes, true).await;
                true
            }
            Self::Handovers(_) => true,
            Self::Always => false,
        }
    }
}

/// Waits until a device has so many changes of a document.
async fn knows(device: &Device, document: DocumentId, count: usize) {
    let mut changes = device.changes();
    let told = async {
        while device.history(document).await.unwrap().len() < count {
            // Whoever is far behind looks again.
            let _ = changes.recv().await;
        }
    };
    within(&format!("{count} changes of a record"), told).await;
}

async fn went(changes: &mut LinkChanges, up: bool) {
    let change = async { while changes.next().await.unwrap().up != up {} };
    within("the link to change", change).await;
}

/// What was seen saved.
#[derive(Default)]
struct Saved {
    changes: BTreeSet<ChangeHash>,
    reports: usize,
}

impl Saved {
    async fn report(&mut self, device: &Device, words: &str) -> DocumentId {
        let scope = scope();
        let saved = device.create("incident", &scope, report(words));
        let saved = saved.await.unwrap();
        self.changes.insert(saved.change);
        self.reports += 1;
        saved.document
    }

    async fn note(&mut self, device: &Device, document: DocumentId, words: &str) {
        let intent = json!({ "do": "step", "step": "note", "note": words, "by": "王警官" });
        let saved = device.edit(document, intent.to_string().into_bytes());
        self.changes.insert(saved.await.unwrap().change);
    }

    /// Holds the relay's database to it, as plain SQL reads it.
    fn are_at(&self, relay: &RelayAtHome, name: &str) {
        let flags = OpenFlags::SQLITE_OPEN_READ_ONLY;
        let database = Connection::open_with_flags(relay.config().database(), flags).unwrap();
        let mut all = database.prepare("SELECT hash FROM change").unwrap();
        let held = all.query_map([], |row| row.get(0).map(ChangeHash::from_bytes));
        let held: BTreeSet<_> = held.unwrap().collect::<Result<_, _>>().unwrap();
        assert_eq!(self.changes, held, "{name}");
    }
}
