//! One device of a soak: its link, its officer, and what he does all day.
//!
//! He reports incidents and takes them through their steps to the end, checks in on his patrol, and edits what others of
//! his area have open. Only so many incidents of his are open at a time, as in real life. Each change that he saw saved is
//! written down in a file, not in memory, which is measured.

use std::fs::File;
use std::io::{BufWriter, Write as _};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use anyhow::Context as _;
use gridbeat_badlink::{Forwarder, Handover, LinkLog, Profile, Stats, Synthetic, Way};
use gridbeat_base::{DocumentId, Random, Scope};
use gridbeat_device::{Device, DeviceBundle, LinkPolicy, Query, Saved};
use serde_json::{Value, json};

use crate::bench::field::{RelayProcess, connect, in_sync};
use crate::bench::stock::{KIND, report};

/// Bytes of a change's hash.
pub(super) const HASH_BYTES: usize = 32;

/// Incidents of one officer that are open at a time.
const OPEN_MAX: usize = 10;

/// Check-ins of one patrol: as many as there are points on a round.
const CHECK_INS: u32 = 40;

/// How many of a colleague's open incidents he looks through for one to edit.
const LOOKED_AT: usize = 20;

/// From a report to its end.
const STEPS: [&str; 9] = [
    "accept",
    "file",
    "dispatch",
    "start_handling",
    "handle",
    "feedback",
    "send_check",
    "pass_check",
    "close",
];

/// How long a device stays open: a minute and up to three more.
const OPEN_S: (u64, u64) = (60, 180);

/// How long it then stays closed: a second and up to nine more.
const CLOSED_MS: (u64, u64) = (1_000, 9_000);

/// How long the log of a link is before it starts again.
const LOG_LENGTH: Duration = Duration::from_mins(20);

/// How far apart hand-overs are, and by how much more for each further device.
const HANDOVER_EVERY: (Duration, Duration) = (Duration::from_secs(40), Duration::from_secs(1));

/// One device and its officer.
#[derive(Debug)]
pub(super) struct Officer {
    file: PathBuf,
    bundle: DeviceBundle,
    scope: Scope,
    link: Forwarder,
    /// The system tells the device when the network is back; else it has to find out.
    is_told: bool,
    device: Option<Device>,
    random: Random,
    /// His open incidents, with how many steps each has taken.
    open: Vec<(DocumentId, usize)>,
    patrol: Option<(DocumentId, u32)>,
    ledger: (PathBuf, BufWriter<File>),
    /// How often the device was opened again.
    pub(super) reopened: u64,
    /// Connections that it tried.
    pub(super) dials: u64,
}

impl Officer {
    /// Has a device enrol and come in sync before its link turns bad.
    pub(super) async fn enrol(
        relay: &mut RelayProcess,
        folder: &Path,
        scope: Scope,
        bad: &Profile,
        mut random: Random,
    ) -> anyhow::Result<Self> {
        let here = "127.0.0.1:0".parse()?;
        let link = Forwarder::udp(here, relay.addr(), Profile::lan()).await?;
        let mut bundle = relay.enrol(&scope).await?;
        bundle.relay = link.local_addr().to_string();
        let ledger = folder.join(format!("{}.saved", bundle.device));
        let saved = BufWriter::new(File::create(&ledger)?);
        let mut officer = Self {
            file: folder.join(format!("{}.db", bundle.device)),
            bundle,
            scope,
            link,
            is_told: random.chance(500),
            device: None,
            random,
            open: Vec::new(),
            patrol: None,
            ledger: (ledger, saved),
            reopened: 0,
            dials: 0,
        };
        officer.open().await?;
        in_sync(officer.device()?).await?;
        officer.link.set_profile(bad);
        Ok(officer)
    }

    /// Saves a change at each beat until the time is over; closes the device now and then, and opens it again.
    pub(super) async fn work(
        mut self,
        pace: Duration,
        until: Instant,
        all: Arc<AtomicU64>,
    ) -> anyhow::Result<Self> {
        let mut ups_and_downs = self.link.changes();
        let mut beat = tokio::time::interval(pace);
        let mut closes = Instant::now() + self.between(OPEN_S, Duration::from_secs(1));
        while Instant::now() < until {
            tokio::select! {
                _ = beat.tick() => {
                    let saved = self.act().await?;
                    self.ledger.1.write_all(saved.change.bytes())?;
                    all.fetch_add(1, Ordering::Relaxed);
                }
                Some(change) = ups_and_downs.next() => {
                    if change.up && self.is_told {
                        self.device()?.network_changed(None);
                    }
                }
            }
            if Instant::now() >= closes {
                self.close().await;
                let away = self.between(CLOSED_MS, Duration::from_millis(1));
                tokio::time::sleep(away).await;
                self.open().await?;
                self.reopened += 1;
                closes = Instant::now() + self.between(OPEN_S, Duration::from_secs(1));
            }
        }
        self.ledger.1.flush()?;
        Ok(self)
    }

    /// Makes the link good, and tells the device so.
    pub(super) fn leave_chaos(&self) {
        self.link.set_profile(&Profile::lan());
        if let Some(device) = &self.device {
            device.network_changed(None);
        }
    }

    /// Returns the device.
    pub(super) fn device(&self) -> anyhow::Result<&Device> {
        self.device.as_ref().context("the device is closed")
    }

    /// Returns the area he works in.
    pub(super) const fn scope(&self) -> &Scope {
        &self.scope
    }

    /// Returns the file of what he saw saved: hash after hash.
    pub(super) fn ledger(&self) -> PathBuf {
        self.ledger.0.clone()
    }

    /// Returns what the link counted, and how many outages it had.
    pub(super) fn link(&self) -> (Stats, u64) {
        let history = self.link.history();
        let outages = history.iter().filter(|change| !change.up).count();
        (self.link.stats(), outages as u64)
    }

    async fn open(&mut self) -> anyhow::Result<()> {
        let (file, bundle) = (self.file.clone(), self.bundle.clone());
        self.device = Some(connect(file, bundle, LinkPolicy::Always).await?);
        Ok(())
    }

    /// Closes the device, whatever is under way.
    pub(super) async fn close(&mut self) {
        if let Some(device) = self.device.take() {
            self.dials += device.link_report().dials;
            device.close().await;
        }
    }

    /// Does one thing.
    async fn act(&mut self) -> anyhow::Result<Saved> {
        match self.random.below(10) {
            0 => self.check_in().await,
            1 => match self.edit_a_colleagues().await? {
                Some(saved) => Ok(saved),
                None => self.go_on().await,
            },
            _ => self.go_on().await,
        }
    }

    /// Reports an incident, or takes one of his own a step further.
    async fn go_on(&mut self) -> anyhow::Result<Saved> {
        if self.open.len() < OPEN_MAX {
            let intent = report(&mut self.random)?;
            let saved = self.device()?.create(KIND, &self.scope, intent).await?;
            self.open.push((saved.document, 0));
            return Ok(saved);
        }
        let index = usize::try_from(self.random.below(OPEN_MAX as u64))?;
        let (document, taken) = self.open[index];
        let mut intent =
            json!({ "do": "step", "step": STEPS[taken], "note": "", "by": "骑行队员" });
        if STEPS[taken] == "dispatch" {
            intent["unit"] = "环卫所".into();
        }
        let saved = self.edit(document, &intent).await?;
        self.open[index].1 += 1;
        if taken + 1 == STEPS.len() {
            self.open.swap_remove(index);
        }
        Ok(saved)
    }

    /// Checks in on his patrol; ends it after its last point, and begins the next.
    async fn check_in(&mut self) -> anyhow::Result<Saved> {
        let Some((patrol, points)) = self.patrol else {
            let intent =
                json!({ "do": "start", "shift": "早班", "transport": "bicycle", "by": "骑行队员" });
            let intent = intent.to_string().into_bytes();
            let saved = self.device()?.create("patrol", &self.scope, intent).await?;
            self.patrol = Some((saved.document, 0));
            return Ok(saved);
        };
        let intent = if points < CHECK_INS {
            self.patrol = Some((patrol, points + 1));
            json!({ "do": "check_in", "point": format!("点位{points}"), "by": "骑行队员" })
        } else {
            self.patrol = None;
            json!({ "do": "end", "by": "骑行队员" })
        };
        self.edit(patrol, &intent).await
    }

    /// Edits an open incident of the area, often while somebody else does; `None` if there is none.
    async fn edit_a_colleagues(&mut self) -> anyhow::Result<Option<Saved>> {
        let query = Query {
            kind: Some(KIND.to_owned()),
            is_open: Some(true),
            limit: LOOKED_AT,
            ..Query::default()
        };
        let records = self.device()?.query(query).await?;
        let others = records.iter().map(|record| record.document);
        let others = others.filter(|it| self.open.iter().all(|(own, _)| own != it));
        let others: Vec<_> = others.collect();
        if others.is_empty() {
            return Ok(None);
        }
        let index = usize::try_from(self.random.below(others.len() as u64))?;
        let intent = match self.random.below(3) {
            0 => {
                let elsewhere: Value = serde_json::from_slice(&report(&mut self.random)?)?;
                json!({ "do": "locate", "position": elsewhere["position"] })
            }
            1 => {
                let number = self.random.number();
                json!({ "do": "describe", "description": format!("到场复核，情况属实，编号{number}") })
            }
            _ => json!({ "do": "step", "step": "note", "note": "邻区协助", "by": "骑行队员" }),
        };
        Ok(Some(self.edit(others[index], &intent).await?))
    }

    async fn edit(&self, document: DocumentId, intent: &Value) -> anyhow::Result<Saved> {
        let intent = intent.to_string().into_bytes();
        Ok(self.device()?.edit(document, intent).await?)
    }

    fn between(&mut self, (least, more): (u64, u64), unit: Duration) -> Duration {
        let units = least + self.random.below(more + 1);
        unit * u32::try_from(units).unwrap_or(u32::MAX)
    }
}

/// A link that is cut for seconds at a time, hands over, and loses, delays, doubles and reorders what it carries.
pub(super) fn chaos(recorded: Option<&LinkLog>, seed: u64, number: u32) -> anyhow::Result<Profile> {
    let log = match recorded {
        Some(log) => log.clone(),
        None => {
            let rough = Synthetic {
                up_mean: Duration::from_secs(20),
                ..Synthetic::rough(LOG_LENGTH)
            };
            LinkLog::synthetic(seed, &rough)?
        }
    };
    let profile = Profile::mobile(log, seed);
    let bad = |way: Way| Way {
        jitter: Duration::from_millis(60),
        loss_per_mille: 20,
        duplicate_per_mille: 5,
        reorder_per_mille: 10,
        ..way
    };
    let (every, more) = HANDOVER_EVERY;
    Ok(Profile {
        up: bad(profile.up),
        down: bad(profile.down),
        handover: Handover::Every(every + more * number),
        ..profile
    })
}
