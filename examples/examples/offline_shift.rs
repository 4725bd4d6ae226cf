//! A whole shift without a network, then one sync.
//!
//! An officer patrols by bicycle from morning to noon in a place without coverage: starts the patrol, checks
//! in, reports, takes notes, ends. Every save is durable and found at once. At the station one sync carries
//! it all, and the centre holds every record.
//!
//! `cargo run -p examples --example offline_shift`
#![expect(clippy::print_stdout, reason = "an example speaks to a person")]

use std::time::Duration;

use anyhow::Context as _;
use examples::Town;
use gridbeat_base::{Now, Position, Scope};
use gridbeat_device_core::{Delivery, Near, Order, Query, SyncState};
use gridbeat_domain::{Catalogue, IncidentIntent, PatrolIntent, PatrolView, Severity, Transport};

/// Incidents an officer meets in a shift.
const INCIDENTS: usize = 12;

/// From one incident to the next.
const BETWEEN: Duration = Duration::from_secs(15 * 60);

#[expect(clippy::too_many_lines, reason = "an example reads from top to bottom")]
fn main() -> anyhow::Result<()> {
    let cell = Scope::new("骆驼街道-07")?;
    let mut town = Town::new(gridbeat_domain::kinds())?;
    let officer = town.enrol("孙巡查", &[&cell])?;
    let centre = town.enrol("指挥中心", &[&cell])?;

    let by = "孙巡查".to_owned();
    let mut now = town.now();
    let start = PatrolIntent::Start {
        shift: "早班".into(),
        transport: Transport::Bicycle,
        by: by.clone(),
    };
    let device = town.device(officer);
    let patrol = device
        .create(now, "patrol", &cell, &serde_json::to_vec(&start)?)?
        .document;
    for (number, category) in Catalogue::national()
        .iter()
        .step_by(31)
        .take(INCIDENTS)
        .enumerate()
    {
        now = later(now, BETWEEN);
        let metres_north = number as f64 * 250.0;
        let position = Position::from_degrees(29.98 + metres_north / 111_320.0, 121.60)?;
        let report = IncidentIntent::Report {
            category: category.clone(),
            description: format!("{}，第{}处", category.zh, number + 1),
            address: String::new(),
            position: Some(position),
            severity: Severity::Ordinary,
            by: by.clone(),
            gps: Some(now.wall),
        };
        device.create(now, "incident", &cell, &serde_json::to_vec(&report)?)?;
        let check_in = PatrolIntent::CheckIn {
            point: format!("必到点{}", number + 1),
            position: Some(position),
            by: by.clone(),
            gps: Some(now.wall),
        };
        device.edit(now, patrol, &serde_json::to_vec(&check_in)?)?;
    }
    now = later(now, BETWEEN);
    device.edit(now, patrol, &serde_json::to_vec(&PatrolIntent::End { by })?)?;

    // All of it is there without a network: what is near, the nearest first; what still waits.
    let near = Query {
        kind: Some("incident".into()),
        near: Some(Near {
            position: Position::from_degrees(29.98, 121.60)?,
            within_m: Some(600.0),
        }),
        order: Order::NearestFirst,
        ..Query::default()
    };
    let nearest = device.query(&near)?;
    assert_eq!(nearest.len(), 3);
    assert!(
        nearest
            .iter()
            .all(|record| record.delivery == Delivery::OnDevice)
    );
    let waiting = device.outbox()?;
    assert_eq!(waiting.changes, 2 * INCIDENTS as u64 + 2);
    assert_eq!(
        *device.sync_state(),
        SyncState::Offline {
            waiting: waiting.changes
        }
    );
    println!(
        "Saved without a network: {} changes, {} bytes; 3 incidents within 600 m",
        waiting.changes, waiting.bytes
    );

    // At the station.
    town.link(officer)?;
    town.link(centre)?;
    let frames = town.carry()?;
    town.ensure_in_sync()?;
    let device = town.device(officer);
    let delivered = device
        .record(patrol)?
        .context("the patrol is there")?
        .delivery;
    assert!(matches!(delivered, Delivery::Received { .. }));

    let centre = town.device(centre);
    let record = centre
        .record(patrol)?
        .context("the centre has the patrol")?;
    let shown: PatrolView = serde_json::from_str(&record.body)?;
    assert_eq!(shown.check_ins.len(), INCIDENTS);
    assert!(!record.is_open, "the shift has ended");
    let incidents = Query {
        kind: Some("incident".into()),
        ..Query::default()
    };
    assert_eq!(centre.query(&incidents)?.len(), INCIDENTS);
    println!(
        "One sync of {frames} frames: the centre has {INCIDENTS} incidents and a patrol with {} check-ins",
        shown.check_ins.len()
    );
    Ok(())
}

fn later(now: Now, by: Duration) -> Now {
    Now {
        wall: now.wall.plus(by),
        monotonic: now.monotonic.plus(by),
    }
}
