//! Stores as a workload begins with them, and what is in one at its end.

use std::fs;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use anyhow::{Context as _, ensure};
use clap::Args;
use gridbeat_base::{Monotonic, Now, Position, WallTime};
use gridbeat_device_core::Device;
use gridbeat_domain::track::{Limits, Marks, Recorder, Segment, TrackPoint};
use serde_json::json;

use super::action::{Action, Deed, Point, SegmentOf, read};
use super::case::CASE;
use super::history::{self, History};
use super::pool::{Pool, Who};
use super::{States, device_of, read_names, relay_of, say, write_states};
use crate::bench::field::relay_config;
use crate::bench::measure::ms;
use crate::bench::stock::{Stock, open_device};

/// Whose actions are done on the officer's device; everybody else's reach the relay.
const OFFICER: &str = "officer-01";

/// What is to be there.
#[derive(Debug, Args)]
pub(super) struct BaseArgs {
    /// The actions, JSON lines.
    #[arg(long, value_name = "FILE")]
    ops: PathBuf,
    /// Where the states go.
    #[arg(long, value_name = "FILE")]
    state: PathBuf,
}

/// What is to be done.
#[derive(Debug, Args)]
pub(super) struct ApplyArgs {
    /// Files of actions, one behind the other.
    #[arg(long, value_name = "FILES", value_delimiter = ',')]
    ops: Vec<PathBuf>,
    /// Where the states of what was touched go.
    #[arg(long, value_name = "FILE")]
    state: PathBuf,
}

/// What is to be read.
#[derive(Debug, Args)]
pub(super) struct DumpArgs {
    /// The documents.
    #[arg(long, value_name = "FILE")]
    list: PathBuf,
    /// Where their states go.
    #[arg(long, value_name = "FILE")]
    state: PathBuf,
}

/// Makes both ends.
pub(super) fn base(args: &BaseArgs, dir: &Path, pool: &Pool) -> anyhow::Result<()> {
    ensure!(
        !relay_of(dir).exists(),
        "{} holds a store already",
        dir.display()
    );
    fs::create_dir_all(dir)?;
    let actions = read(&args.ops)?;
    pool.relay(&relay_of(dir))?;
    let config = relay_config(&relay_of(dir));
    let mut stock = Stock::open_of(&config)?;
    let scope = Who::Officer.scope()?;
    let mut history = History::begin(&mut stock, &scope)?;
    history.act(&actions, &config.database())?;
    let states = history.states();
    let bundle = pool.bundle(Who::Officer, "")?;
    let mut device = open_device(&device_of(dir), bundle.device)?;
    let key = bundle.signer()?.map(|signer| signer.public_key());
    stock.sync_as(&mut device, key)?;
    device.close()?;
    write_states(&args.state, &states)?;
    say(
        "based",
        &json!({ "ops": actions.len(), "documents": states.len() }),
    )
}

/// Does the officer's actions on the device, and those of others at the relay.
pub(super) fn apply(args: &ApplyArgs, dir: &Path, pool: &Pool) -> anyhow::Result<()> {
    let mut actions = Vec::new();
    for file in &args.ops {
        actions.extend(read(file)?);
    }
    let (own, others): (Vec<_>, Vec<_>) = actions
        .into_iter()
        .partition(|action| action.who == OFFICER);
    ensure!(
        own.is_empty() || others.is_empty(),
        "some of these actions are the officer's, some are others'"
    );
    let began = Instant::now();
    let states = if own.is_empty() {
        let config = relay_config(&relay_of(dir));
        let mut stock = Stock::open_of(&config)?;
        let scope = Who::Officer.scope()?;
        let mut history = History::begin(&mut stock, &scope)?;
        history.act(&others, &config.database())?;
        history.states()
    } else {
        apply_own(&own, dir, pool)?
    };
    let took = began.elapsed();
    write_states(&args.state, &states)?;
    let ops = own.len() + others.len();
    say("applied", &json!({ "ops": ops, "ms": ms(took) }))
}

fn apply_own(actions: &[Action], dir: &Path, pool: &Pool) -> anyhow::Result<States> {
    let file = device_of(dir);
    ensure!(file.exists(), "{} holds no device", dir.display());
    let bundle = pool.bundle(Who::Officer, "")?;
    let mut device = open_device(&file, bundle.device)?;
    let states = act(&mut device, Who::Officer, actions)?;
    device.close()?;
    Ok(states)
}

/// Does actions on a device, each at its own time; returns the heads of what was touched.
pub(super) fn act(device: &mut Device, who: Who, actions: &[Action]) -> anyhow::Result<States> {
    let scope = who.scope()?;
    let first = actions.first().map_or(0, |action| action.t);
    let mut touched = States::new();
    let (limits, mut track, mut last) = (Limits::default(), None, Now::default());
    for action in actions {
        let since = u64::try_from(action.t - first).unwrap_or(0);
        let now = Now {
            wall: WallTime(action.t),
            monotonic: Monotonic(Duration::from_millis(since)),
        };
        let intent = serde_json::to_vec(action)?;
        match &action.deed {
            Deed::Create { .. } | Deed::Log { .. } => {
                device.create_as(now, action.doc, CASE, &scope, &intent)?;
            }
            Deed::Track { p } => {
                let (_, recorder) = track.get_or_insert_with(|| (action, Recorder::new(limits)));
                if let Some(segment) = recorder.record(fix(p)?) {
                    keep(device, now, action, &segment)?;
                }
            }
            Deed::Set { .. } | Deed::Note { .. } | Deed::Checkin { .. } | Deed::Segment { .. } => {
                device.edit(now, action.doc, &intent)?;
            }
        }
        touched.insert(action.doc, Vec::new());
        last = now;
    }
    if let Some((action, mut recorder)) = track
        && let Some(segment) = recorder.finish()
    {
        keep(device, last, action, &segment)?;
    }
    for (document, heads) in device.fingerprint()? {
        if let Some(state) = touched.get_mut(&document) {
            *state = heads;
        }
    }
    Ok(touched)
}

/// Keeps a finished segment as a blob, and says so in its log.
fn keep(device: &mut Device, now: Now, action: &Action, segment: &Segment) -> anyhow::Result<()> {
    let s = SegmentOf {
        blob: device.put_blob(now, &segment.bytes)?,
        points: segment.points,
        from: segment.from.millis(),
        to: segment.to.millis(),
        length_m: segment.length_m,
    };
    let action = Action {
        deed: Deed::Segment { s },
        ..action.clone()
    };
    device.edit(now, action.doc, &serde_json::to_vec(&action)?)?;
    Ok(())
}

#[expect(
    clippy::cast_possible_truncation,
    clippy::cast_sign_loss,
    reason = "a bench's accuracy and speed; the conversions saturate"
)]
fn fix(point: &Point) -> anyhow::Result<TrackPoint> {
    Ok(TrackPoint {
        time: WallTime(point.t),
        position: Position::from_degrees(point.lat, point.lon)?,
        accuracy_dm: Some((point.acc * 10.0).round() as u16),
        speed_cm_s: Some((point.spd * 100.0).round() as u16),
        marks: Marks::default(),
    })
}

/// Reads states out of a relay's database.
pub(super) fn dump(args: &DumpArgs, dir: &Path) -> anyhow::Result<()> {
    let wanted = read_names(&args.list)?;
    let database = relay_config(&relay_of(dir)).database();
    let db = history::open(&database).context("the store cannot be read")?;
    let states = history::heads(&db, Some(&wanted))?;
    write_states(&args.state, &states)?;
    say("dumped", &json!({ "documents": states.len() }))
}
