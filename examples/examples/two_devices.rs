//! Two officers and one incident: each works without a network, then both hold the same.
//!
//! One sees that a manhole cover is broken and rates it; the other, at the same time, rates it otherwise
//! and adds a note. Nothing is overwritten: the notes of both are there, and the two ratings are shown
//! side by side until someone settles them. This is what an app embeds: devices with a file each, and a
//! relay that they reach over QUIC, here on the loopback.
//!
//! `cargo run -p examples --example two_devices`
#![expect(clippy::print_stdout, reason = "an example speaks to a person")]

use std::path::Path;
use std::time::Duration;

use anyhow::{Context as _, ensure};
use gridbeat_base::{DocumentId, Position, Scope, Verbs};
use gridbeat_device::{Config, Device, Enrolment, LinkPolicy, Query, SyncState, install_from_file};
use gridbeat_domain::{
    Catalogue, CategoryKind, IncidentIntent, IncidentView, Severity, Step, kinds,
};
use gridbeat_relay::{Invite, RelayConfig, RelayHandle};

#[tokio::main]
#[expect(clippy::too_many_lines, reason = "an example reads from top to bottom")]
async fn main() -> anyhow::Result<()> {
    let folder = tempfile::tempdir()?;
    let township = Scope::new("招宝山街道")?;
    let config = RelayConfig {
        listen: "127.0.0.1:0".parse()?,
        admin: "127.0.0.1:0".parse()?,
        data: folder.path().join("relay"),
        ..RelayConfig::default()
    };
    let relay = gridbeat_relay::start(config, kinds()).await?;
    let zhao = open(&relay, folder.path(), "赵巡查", &township).await?;
    let qian = open(&relay, folder.path(), "钱巡查", &township).await?;

    // The first officer reports, and both sync once. Between two syncs there is no network.
    let catalogue = Catalogue::national();
    let cover = catalogue.find(CategoryKind::Part, "01001");
    let report = IncidentIntent::Report {
        category: cover.context("the catalogue has manhole covers")?.clone(),
        description: "井盖破损，已塌陷一角".into(),
        address: "南大街12号".into(),
        position: Some(Position::from_degrees(29.951, 121.712)?),
        severity: Severity::Ordinary,
        by: "赵巡查".into(),
        gps: None,
    };
    let saved = zhao.create("incident", &township, serde_json::to_vec(&report)?);
    let incident = saved.await?.document;
    sync(&zhao).await?;
    sync(&qian).await?;

    // Both go on, each alone.
    let rate = |severity| IncidentIntent::Rate { severity };
    let note = |by: &str, note: &str| IncidentIntent::Step {
        step: Step::Note,
        note: note.into(),
        unit: None,
        by: by.into(),
        gps: None,
    };
    edit(&zhao, incident, &rate(Severity::Serious)).await?;
    edit(&zhao, incident, &note("赵巡查", "已设警示牌")).await?;
    edit(&qian, incident, &rate(Severity::Urgent)).await?;
    edit(&qian, incident, &note("钱巡查", "已通知水务公司")).await?;
    println!("Offline: {:?}", zhao.sync_state());

    // The first brings its changes, the second its own and fetches, the first fetches.
    for officer in [&zhao, &qian, &zhao] {
        sync(officer).await?;
    }
    let at_zhao = shown(&zhao, incident).await?;
    assert_eq!(at_zhao, shown(&qian, incident).await?);
    assert_eq!(zhao.fingerprint().await?, qian.fingerprint().await?);
    assert_eq!(at_zhao.steps.len(), 3, "the report and both notes");
    let conflict = at_zhao.conflicts.first().context("two ratings at once")?;
    assert_eq!(
        (conflict.field.as_str(), conflict.values.len()),
        ("severity", 2)
    );
    let attention = Query {
        needs_attention: true,
        ..Query::default()
    };
    assert_eq!(qian.query(attention).await?.len(), 1);
    println!(
        "Both hold {} steps, and two ratings to settle:",
        at_zhao.steps.len()
    );
    for value in &conflict.values {
        println!("  {}", value.value);
    }

    // Whoever decides, settles it for everybody.
    edit(&qian, incident, &rate(Severity::Urgent)).await?;
    sync(&qian).await?;
    sync(&zhao).await?;
    let settled = shown(&zhao, incident).await?;
    assert!(settled.conflicts.is_empty());
    assert_eq!(settled.severity, Severity::Urgent);
    println!("Settled: {:?}", settled.severity);

    zhao.close().await;
    qian.close().await;
    ensure!(relay.stop().await, "the relay did not drain in time");
    Ok(())
}

/// Asks a device in that may work in a scope, has it enrol by the code, opens its file, and lets it meet the
/// relay once, by which it learns what it may do.
async fn open(
    relay: &RelayHandle,
    folder: &Path,
    name: &str,
    scope: &Scope,
) -> anyhow::Result<Device> {
    // The operator's side: what is shown as a QR code, or sent as a line of text.
    let invite = Invite {
        name: name.to_owned(),
        grants: [(scope.clone(), Verbs::WORK.into())].into(),
        relay: relay.addr().to_string(),
        auto_approve: true,
    };
    let (invitation, _) = relay.invite(invite).await?;

    // The device's side: it makes its key itself, and keeps what it gets.
    let home = folder.join(name);
    std::fs::create_dir(&home)?;
    // A phone keeps it outside what its backups copy.
    let install = install_from_file(&home.join("install"))?;
    let file = home.join("bundle.json");
    let enrolment = Enrolment::begin(invitation, &file, install, "a phone")?;
    let bundle = enrolment.finish(drop).await?;
    println!("{name}: enrolled as {}", bundle.device);

    let mut config = Config::new(home.join("device.db"), bundle, install, kinds());
    config.bundle_file = Some(file);
    config.link = LinkPolicy::OnRequest;
    let device = Device::open(config).await?;
    sync(&device).await?;
    Ok(device)
}

/// Dials the relay, brings what waits, fetches what others did, and hangs up.
async fn sync(device: &Device) -> anyhow::Result<()> {
    let report = device.sync_once(Duration::from_secs(60)).await;
    ensure!(report.is_in_sync, "not in sync: {:?}", report.state);
    let is_offline = |state: &SyncState| matches!(state, SyncState::Offline { .. });
    device.watch_sync_state().wait_for(is_offline).await?;
    Ok(())
}

async fn edit(
    device: &Device,
    document: DocumentId,
    intent: &IncidentIntent,
) -> anyhow::Result<()> {
    device.edit(document, serde_json::to_vec(intent)?).await?;
    Ok(())
}

async fn shown(device: &Device, document: DocumentId) -> anyhow::Result<IncidentView> {
    let record = device.record(document).await?;
    Ok(serde_json::from_str(&record.context("it is there")?.body)?)
}
