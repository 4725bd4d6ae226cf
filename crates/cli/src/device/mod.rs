//! `gridbeat device`: one device as a program, for scripts and for people at a terminal.
//!
//! A device lives in a folder: its file `device.db` and the key of it, the bundle that reaches its relay and
//! the id of its installation. With `--stdio` it runs and speaks JSON lines; without, each verb opens the file,
//! does one thing and closes it. What an operator does with a relay's devices is in `office`.

mod enrol;
mod key;
mod not_accepted;
mod positions;
pub(crate) mod protocol;
mod stdio;
mod wiping;

use std::path::{Path, PathBuf};
use std::time::Duration;

use anyhow::{Context as _, bail};
use gridbeat_base::{DocumentId, Scope};
use gridbeat_device::{
    Config, Device, DeviceBundle, LinkPolicy, Near, Order, QUERY_LIMIT, Query, Record, SyncState,
    install_from_file,
};
use serde_json::{Value, json};

use crate::args::{AnyDeviceVerb, DeviceArgs, DeviceVerb, ListArgs, ReportArgs};
use crate::office;
use crate::output::{Ending, print, print_json};
pub(crate) use stdio::value_of;

use protocol::{QueryLine, RecordLine, StateLine};

/// The device's file in its folder.
const FILE: &str = "device.db";

/// The bundle in a device's folder, if none is named.
const BUNDLE: &str = "bundle.json";

/// The installation's id in a device's folder.
const INSTALL: &str = "install";

/// Runs the verb.
pub(crate) fn run(args: DeviceArgs) -> anyhow::Result<Ending> {
    let verb = match args.verb {
        None => None,
        Some(AnyDeviceVerb::Here(verb)) => Some(verb),
        Some(AnyDeviceVerb::Office(verb)) => return office::device(verb),
    };
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()?;
    let done = runtime.block_on(async {
        let (dir, bundle, key_file) = (args.dir, args.bundle, args.key_file);
        // In the order in which a wipe destroys them: without the first, the file is noise.
        let secrets = vec![
            key_file.clone().unwrap_or_else(|| dir.join(key::KEY)),
            bundle.clone().unwrap_or_else(|| dir.join(BUNDLE)),
        ];
        if args.stdio && verb.is_some() {
            return Err(Ending::usage(
                "--stdio takes its requests from standard input: name no verb",
            ));
        }
        if args.stdio {
            let device = open(&dir, bundle, key_file, LinkPolicy::Always).await?;
            return stdio::run(device, secrets).await;
        }
        let Some(verb) = verb else {
            return Err(Ending::usage(
                "say what to do, or --stdio: see gridbeat device --help",
            ));
        };
        if matches!(verb, DeviceVerb::Encrypt) {
            let key_file = key_file.unwrap_or_else(|| dir.join(key::KEY));
            return key::encrypt_file(&dir.join(FILE), &key_file);
        }
        if let DeviceVerb::Enrol(args) = verb {
            let bundle = bundle.unwrap_or_else(|| dir.join(BUNDLE));
            return enrol::run(&dir, &bundle, args).await;
        }
        if let DeviceVerb::Sync { seconds, json } = verb {
            let device = open(&dir, bundle, key_file, LinkPolicy::Always).await?;
            return sync(device, Duration::from_secs(seconds), json, secrets).await;
        }
        let device = open(&dir, bundle, key_file, LinkPolicy::OnRequest).await?;
        let done = one_shot(&device, verb).await;
        device.close().await;
        done
    });
    // A read of standard input that nobody answers any more keeps no device from its end.
    runtime.shutdown_background();
    done
}

/// Opens the device in a folder.
pub(crate) async fn open(
    dir: &Path,
    bundle: Option<PathBuf>,
    key_file: Option<PathBuf>,
    link: LinkPolicy,
) -> anyhow::Result<Device> {
    let file = bundle.unwrap_or_else(|| dir.join(BUNDLE));
    let bundle = DeviceBundle::read(&file).with_context(|| {
        format!(
            "{}: ask the relay's operator for an invitation, and run gridbeat device enrol",
            file.display()
        )
    })?;
    let install = install_from_file(&dir.join(INSTALL))
        .with_context(|| format!("{}: no id of this installation", dir.display()))?;
    let mut config = Config::new(dir.join(FILE), bundle, install, gridbeat_domain::kinds());
    config.bundle_file = Some(file);
    config.link = link;
    config.key = key::find(
        &config.path,
        &key_file.unwrap_or_else(|| dir.join(key::KEY)),
    )?;
    let device = Device::open(config).await;
    device.with_context(|| format!("{} could not be opened", dir.join(FILE).display()))
}

async fn one_shot(device: &Device, verb: DeviceVerb) -> anyhow::Result<Ending> {
    match verb {
        DeviceVerb::Enrol(_) => unreachable!("done before there is a device"),
        DeviceVerb::Report(args) => report(device, args).await,
        DeviceVerb::Records(args) => list(device, args).await,
        DeviceVerb::Record { document, json } => show(device, document, json).await,
        DeviceVerb::Status { json } => status(device, json).await,
        DeviceVerb::NotAccepted { verb } => not_accepted::run(device, verb).await,
        // One works on the file itself, before anybody opens it; the other may be the device's end.
        DeviceVerb::Encrypt | DeviceVerb::Sync { .. } => Ok(Ending::Good),
    }
}

/// Meets the relay. A device that was revoked meanwhile, and has signed for it, ends with this.
async fn sync(
    device: Device,
    deadline: Duration,
    json: bool,
    secrets: Vec<PathBuf>,
) -> anyhow::Result<Ending> {
    let mut leaving = device.leaving();
    let report = device.sync_once(deadline).await;
    if wiping::comes(&device, &mut leaving, report.is_in_sync).await {
        let words = wiping::wipe(device, secrets).await?;
        if json {
            print_json(&json!({"wiped": words}))?;
        } else {
            print(&format!("{} / {}", words.zh, words.en))?;
        }
        return Ok(Ending::Good);
    }
    device.close().await;
    let state = state_line(&report.state, report.waiting);
    if json {
        print_json(&json!({
            "in_sync": report.is_in_sync, "state": state.state, "words": state.words,
            "waiting": report.waiting, "acknowledged": report.acknowledged_changes,
            "took_ms": u64::try_from(report.took.as_millis()).unwrap_or(u64::MAX),
        }))?;
    } else {
        print(&state.words)?;
    }
    Ok(if report.is_in_sync {
        Ending::Good
    } else {
        Ending::NotInTime
    })
}

async fn report(device: &Device, args: ReportArgs) -> anyhow::Result<Ending> {
    let scope = match args.scope {
        Some(scope) => scope,
        None => only_scope(device).await?,
    };
    let catalogue = gridbeat_domain::Catalogue::national();
    let category = catalogue
        .iter()
        .find(|category| category.key() == args.category);
    let Some(category) = category else {
        return Err(Ending::input(&format!(
            "there is no category {:?}; a category is written matter/06010",
            args.category
        )));
    };
    let intent = json!({
        "do": "report", "category": category, "description": args.description,
        "address": args.address, "position": args.at, "by": args.by,
    });
    let saved = device
        .create("incident", &scope, intent.to_string().into_bytes())
        .await?;
    if args.json {
        print_json(&protocol::Saved {
            document: saved.document,
            change: saved.change,
        })?;
    } else {
        print(&format!("saved {}", saved.document))?;
    }
    Ok(Ending::Good)
}

/// Returns the one scope a device has.
pub(crate) async fn only_scope(device: &Device) -> anyhow::Result<Scope> {
    let mut scopes = device.scopes().await?;
    match (scopes.pop(), scopes.is_empty()) {
        (Some(only), true) => Ok(only.scope),
        (None, _) => bail!(
            "this device knows no scope yet: let it meet its relay once (gridbeat device sync)"
        ),
        (Some(_), false) => Err(Ending::usage(
            "the device has several scopes: name one with --scope",
        )),
    }
}

async fn list(device: &Device, args: ListArgs) -> anyhow::Result<Ending> {
    let line = QueryLine {
        kind: args.kind,
        open: args.open.then_some(true),
        status: args.status,
        scope: args.scope,
        text: args.text,
        near: args.near,
        within_m: args.within_m,
        needs_attention: args.needs_attention,
        limit: Some(args.limit),
        ..QueryLine::default()
    };
    let records = device.query(query(line)).await?;
    if args.json {
        let lines: Vec<RecordLine> = records.into_iter().map(record_line).collect();
        print_json(&lines)?;
        return Ok(Ending::Good);
    }
    for record in records {
        print(&one_line(&record))?;
    }
    Ok(Ending::Good)
}

fn one_line(record: &Record) -> String {
    let body: Value = serde_json::from_str(&record.body).unwrap_or_default();
    let text = body["description"]
        .as_str()
        .or_else(|| body["shift"].as_str())
        .unwrap_or_default();
    let first: String = text.chars().take(48).collect();
    let mark = if record.attention > 0 { "!" } else { " " };
    let distance = record
        .distance_m
        .map_or(String::new(), |metres| format!("{metres:>7.0} m "));
    format!(
        "{}{mark} {:<16} {:<14} {distance}{first}",
        record.document, record.status, record.category
    )
}

async fn show(device: &Device, document: DocumentId, json: bool) -> anyhow::Result<Ending> {
    let Some(record) = device.record(document).await? else {
        return Err(Ending::input(&format!(
            "the device holds no document {document}"
        )));
    };
    let line = record_line(record);
    if json {
        print_json(&line)?;
    } else {
        print(&serde_json::to_string_pretty(&line)?)?;
    }
    Ok(Ending::Good)
}

async fn status(device: &Device, json: bool) -> anyhow::Result<Ending> {
    let outbox = device.outbox().await?;
    let scopes = device.scopes().await?;
    let state = state_line(&device.sync_state(), outbox.changes);
    if json {
        let scopes: Vec<Value> = scopes
            .iter()
            .map(|scope| {
                json!({
                    "scope": scope.scope, "cursor": scope.cursor,
                    "digest": scope.digest.to_string(), "documents": scope.documents,
                })
            })
            .collect();
        print_json(&json!({
            "device": device.id(), "state": state.state, "words": state.words,
            "waiting": outbox.changes, "waiting_bytes": outbox.bytes,
            "oldest_ms": outbox.oldest, "scopes": scopes,
        }))?;
        return Ok(Ending::Good);
    }
    print(&format!("device {}", device.id()))?;
    print(&format!(
        "{} changes wait for the relay ({} bytes)",
        outbox.changes, outbox.bytes
    ))?;
    for scope in scopes {
        let (name, documents, cursor) = (&scope.scope, scope.documents, scope.cursor);
        print(&format!(
            "  {name}: {documents} documents, feed applied up to {cursor}"
        ))?;
    }
    Ok(Ending::Good)
}

/// Makes a query of its JSON form.
fn query(line: QueryLine) -> Query {
    let near = line.near.map(|position| Near {
        position,
        within_m: line.within_m,
    });
    Query {
        kind: line.kind,
        is_open: line.open,
        status: line.status,
        category: line.category,
        scope: line.scope,
        text: line.text,
        near,
        needs_attention: line.needs_attention,
        order: if near.is_some() {
            Order::NearestFirst
        } else {
            Order::NewestFirst
        },
        limit: line.limit.unwrap_or(QUERY_LIMIT),
        after: line.after,
    }
}

/// Makes the JSON form of a record.
fn record_line(record: Record) -> RecordLine {
    let delivery = match record.delivery {
        gridbeat_device::Delivery::OnDevice => "on_device",
        gridbeat_device::Delivery::Sent => "sent",
        gridbeat_device::Delivery::Received { .. } => "received",
    };
    RecordLine {
        document: record.document,
        kind: record.kind,
        scopes: record.scopes,
        status: record.status,
        open: record.is_open,
        category: record.category,
        position: record.position,
        occurred_ms: record.occurred,
        attention: record.attention,
        delivery: delivery.to_owned(),
        distance_m: record.distance_m,
        body: serde_json::from_str(&record.body).unwrap_or_default(),
    }
}

/// Says where synchronisation stands, for programs and people. `else_waiting` counts where the state
/// itself does not.
fn state_line(state: &SyncState, else_waiting: u64) -> StateLine {
    let (name, waiting, words) = match state {
        SyncState::Offline { waiting } => {
            ("offline", *waiting, format!("offline; {waiting} waiting"))
        }
        SyncState::Connecting { waiting } => (
            "connecting",
            *waiting,
            format!("connecting; {waiting} waiting"),
        ),
        SyncState::Sending { waiting } => ("sending", *waiting, format!("sending {waiting}")),
        SyncState::Receiving { behind } => ("receiving", 0, format!("receiving; {behind} behind")),
        SyncState::InSync { .. } => ("in_sync", 0, "in sync".to_owned()),
        SyncState::Problem { what, remedy } => (
            "problem",
            else_waiting,
            format!("problem: {what} ({remedy:?})"),
        ),
    };
    StateLine {
        state: name.to_owned(),
        waiting,
        words,
    }
}
