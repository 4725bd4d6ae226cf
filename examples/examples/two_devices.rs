//! Two officers and one incident: each works without a network, then both hold the same.
//!
//! One sees that a manhole cover is broken and rates it; the other, at the same time, rates it otherwise
//! and adds a note. Nothing is overwritten: the notes of both are there, and the two ratings are shown
//! side by side until someone settles them.
//!
//! `cargo run -p examples --example two_devices`
#![expect(clippy::print_stdout, reason = "an example speaks to a person")]

use anyhow::Context as _;
use examples::Town;
use gridbeat_base::{DocumentId, Position, Scope};
use gridbeat_device_core::Query;
use gridbeat_domain::{Catalogue, CategoryKind, IncidentIntent, IncidentView, Severity, Step};

#[expect(clippy::too_many_lines, reason = "an example reads from top to bottom")]
fn main() -> anyhow::Result<()> {
    let township = Scope::new("招宝山街道")?;
    let mut town = Town::new(gridbeat_domain::kinds())?;
    let zhao = town.enrol("赵巡查", &[&township])?;
    let qian = town.enrol("钱巡查", &[&township])?;

    // The first officer reports, and both sync once.
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
    let now = town.now();
    let saved =
        town.device(zhao)
            .create(now, "incident", &township, &serde_json::to_vec(&report)?)?;
    for officer in [zhao, qian] {
        town.sync(officer)?;
        town.cut(officer);
    }

    // Without a network, both go on.
    let rate = |severity| IncidentIntent::Rate { severity };
    let note = |by: &str, note: &str| IncidentIntent::Step {
        step: Step::Note,
        note: note.into(),
        unit: None,
        by: by.into(),
        gps: None,
    };
    edit(&mut town, zhao, saved.document, &rate(Severity::Serious))?;
    edit(
        &mut town,
        zhao,
        saved.document,
        &note("赵巡查", "已设警示牌"),
    )?;
    edit(&mut town, qian, saved.document, &rate(Severity::Urgent))?;
    edit(
        &mut town,
        qian,
        saved.document,
        &note("钱巡查", "已通知水务公司"),
    )?;
    println!("Offline: {:?}", town.device(zhao).sync_state());

    town.link(zhao)?;
    town.link(qian)?;
    town.carry()?;
    town.ensure_in_sync()?;

    let at_zhao = shown(&mut town, zhao, saved.document)?;
    assert_eq!(at_zhao, shown(&mut town, qian, saved.document)?);
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
    assert_eq!(town.device(qian).query(&attention)?.len(), 1);
    println!(
        "Both hold {} steps, and two ratings to settle:",
        at_zhao.steps.len()
    );
    for value in &conflict.values {
        println!("  {}", value.value);
    }

    // Whoever decides, settles it for everybody.
    edit(&mut town, qian, saved.document, &rate(Severity::Urgent))?;
    town.carry()?;
    town.ensure_in_sync()?;
    let settled = shown(&mut town, zhao, saved.document)?;
    assert!(settled.conflicts.is_empty());
    assert_eq!(settled.severity, Severity::Urgent);
    println!(
        "Settled: {:?}. {:?}",
        settled.severity,
        town.device(zhao).sync_state()
    );
    Ok(())
}

fn edit(
    town: &mut Town,
    officer: usize,
    document: DocumentId,
    intent: &IncidentIntent,
) -> anyhow::Result<()> {
    let now = town.now();
    let intent = serde_json::to_vec(intent)?;
    town.device(officer).edit(now, document, &intent)?;
    Ok(())
}

fn shown(town: &mut Town, officer: usize, document: DocumentId) -> anyhow::Result<IncidentView> {
    let record = town.device(officer).record(document)?;
    Ok(serde_json::from_str(&record.context("it is there")?.body)?)
}
