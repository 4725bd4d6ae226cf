//! `gridbeat demo`: a day of patrol over bad links, with kills, and every copy compared at the end.
//!
//! - `plan`: who does what, and when, from a day and a seed
//! - `photo`: the photos of every third report
//! - `people`: what they do in answer to what they see
//! - `world`, `child`: the relay, the devices and the links, as processes
//! - `shift`: the loop that plays it; `chronicle`: what happened; `progress`: what a person sees
//! - `relay_side`, `compare`: what everyone holds at the end, and whether it is right
//! - `figures`, `table`: the JSON and the table

mod child;
mod chronicle;
mod compare;
mod figures;
mod people;
mod photo;
mod plan;
mod progress;
mod relay_side;
mod shift;
pub(crate) mod table;
mod world;

use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use anyhow::Context as _;
use tokio::sync::mpsc;

use crate::args::DemoArgs;
use crate::device::protocol::Print;
use crate::input::{Day, FileArgs, SyntheticOptions};
use crate::output::{Ending, print};

pub(crate) use chronicle::{Chronicle, DeviceLog};
#[cfg(test)]
pub(crate) use compare::BlobsHeld;
#[cfg(test)]
pub(crate) use compare::Shown;
pub(crate) use compare::{Findings, RelaySide};
pub(crate) use figures::{Figures, Percentiles};
pub(crate) use plan::{Plan, report_intent};

use compare::Side;
use figures::About;
use progress::Progress;
use shift::Shift;
use world::{Wanted, World};

/// Everything a report shows.
#[derive(Debug)]
pub(crate) struct Story<'a> {
    /// The day.
    pub(crate) day: &'a Day,
    /// Who did what.
    pub(crate) plan: &'a Plan,
    /// What happened.
    pub(crate) chronicle: &'a Chronicle,
    /// What the relay holds.
    pub(crate) relay: &'a RelaySide,
    /// What was found.
    pub(crate) findings: &'a Findings,
    /// The figures.
    pub(crate) figures: &'a Figures,
    /// The files that were read, in words.
    pub(crate) sources: Vec<String>,
}

/// Runs the demo. [`Ending::Failed`] if a promise did not hold.
pub(crate) fn run(args: &DemoArgs) -> anyhow::Result<Ending> {
    let began = Instant::now();
    let progress = Progress::new(args.quiet);
    progress.stage("the day is read");
    let day = Day::from_files(&files(args), args.seed)?;
    let plan = Plan::new(&day, args.officers, args.incidents_max, args.seed);
    let (folder, kept) = folder(args)?;
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .worker_threads(2)
        .enable_all()
        .build()?;
    let played = runtime.block_on(play(&folder, &day, &plan, args.seed, progress));
    let played = match played {
        Ok(played) => played,
        Err(error) => {
            // What failed is in the logs: they must outlive us.
            let folder = kept.map_or(folder, tempfile::TempDir::keep);
            return Err(error.context(format!("logs are in {}", folder.display())));
        }
    };
    let (chronicle, relay, findings) = played;
    let about = About {
        seed: args.seed,
        input: &day.name,
        scopes: plan.scopes.len(),
        seconds: began.elapsed().as_secs_f64(),
    };
    let figures = Figures::of(about, &chronicle, &findings);
    let story = Story {
        day: &day,
        plan: &plan,
        chronicle: &chronicle,
        relay: &relay,
        findings: &findings,
        figures: &figures,
        sources: sources(args),
    };
    tell(args, &story)?;
    if figures.ok {
        return Ok(Ending::Good);
    }
    if let Some(kept) = kept {
        let folder = kept.keep();
        tracing::error!(folder = %folder.display(), "a promise did not hold: all files are kept");
    }
    Ok(Ending::Failed)
}

fn files(args: &DemoArgs) -> FileArgs {
    FileArgs {
        incidents: args.incidents.clone(),
        day: args.day,
        map: args.map.clone(),
        areas: args.areas.clone(),
        tracks: args.tracks.clone(),
        links: args.links.clone(),
        wanted: SyntheticOptions {
            devices: args.officers,
            run: args.seconds,
            ..SyntheticOptions::default()
        },
    }
}

/// Chooses where everything is: where the user says, or where it goes away by itself.
fn folder(args: &DemoArgs) -> anyhow::Result<(PathBuf, Option<tempfile::TempDir>)> {
    match &args.keep {
        Some(folder) => {
            let is_used = folder.join("relay").exists();
            if is_used {
                let words = format!(
                    "{} holds a demo already: name another folder",
                    folder.display()
                );
                return Err(Ending::input(&words));
            }
            std::fs::create_dir_all(folder)?;
            Ok((folder.canonicalize()?, None))
        }
        None => {
            let folder = tempfile::Builder::new()
                .prefix("gridbeat-demo-")
                .tempdir()?;
            Ok((folder.path().to_owned(), Some(folder)))
        }
    }
}

async fn play(
    folder: &Path,
    day: &Day,
    plan: &Plan,
    seed: u64,
    progress: Progress,
) -> anyhow::Result<(Chronicle, RelaySide, Findings)> {
    progress.stage("the relay and its devices are set up");
    let names = plan
        .officers
        .iter()
        .map(|officer| officer.name.as_str())
        .chain([people::CENTRE]);
    let wanted: Vec<Wanted> = names
        .enumerate()
        .map(|(device, name)| Wanted {
            name: name.to_owned(),
            scopes: plan.scopes_of(device),
        })
        .collect();
    let links = day
        .links
        .iter()
        .take(plan.officers.len())
        .map(|link| link.name.as_str());
    let links: Vec<&str> = links.chain(["30 ms wire"]).collect();
    let chronicle = Chronicle {
        devices: wanted
            .iter()
            .zip(links)
            .map(|(device, link)| DeviceLog::new(&device.name, link))
            .collect(),
        ..Chronicle::default()
    };
    let (sender, from_children) = mpsc::unbounded_channel();
    progress.stage("every device enrols by a code of its own");
    let world = World::set_up(folder, &wanted, sender).await?;
    let mut shift = Shift::new(plan, day, seed, world, from_children, chronicle, progress);
    let is_in_sync = shift.play().await?;
    let prints = shift.collect().await?;
    shift.world.end_relay().await?;
    let relay = relay_side::read(&shift.world.relay_config())?;
    let chronicle = std::mem::take(&mut shift.chronicle);
    let sides: Vec<Side> = chronicle
        .devices
        .iter()
        .enumerate()
        .map(|(device, log)| Side {
            name: log.name.clone(),
            print: prints.get(&device).cloned().unwrap_or_else(Print::default),
            saved: log.saved.clone(),
            acknowledged: log.acknowledged.clone(),
        })
        .collect();
    let mut findings = compare::compare(&sides, &relay);
    if !is_in_sync {
        findings.tell(format!(
            "not everyone came in sync within {} s",
            shift::SYNC_MAX.as_secs()
        ));
    }
    for fault in &chronicle.faults {
        findings.tell(fault.clone());
    }
    Ok((chronicle, relay, findings))
}

fn tell(args: &DemoArgs, story: &Story<'_>) -> anyhow::Result<()> {
    let to_stdout = args.json.as_deref() == Some(Path::new("-"));
    if !args.quiet && !to_stdout {
        print(&table::of(story))?;
    }
    for what in &story.findings.told {
        tracing::error!("{what}");
    }
    if let Some(path) = &args.json {
        let json = serde_json::to_string(story.figures)?;
        if to_stdout {
            print(&json)?;
        } else {
            let written = std::fs::write(path, json + "\n");
            written.with_context(|| format!("{} could not be written", path.display()))?;
        }
    }
    if let Some(path) = &args.report {
        let written = std::fs::write(path, crate::report::page(story));
        written.with_context(|| format!("{} could not be written", path.display()))?;
    }
    Ok(())
}

fn sources(args: &DemoArgs) -> Vec<String> {
    let named = [
        ("requests", &args.incidents),
        ("areas", &args.areas),
        ("tracks", &args.tracks),
        ("links", &args.links),
    ];
    let name = |path: &PathBuf| {
        path.file_name()
            .unwrap_or_default()
            .to_string_lossy()
            .into_owned()
    };
    let given = named
        .iter()
        .filter_map(|(what, path)| path.as_ref().map(|path| format!("{what}: {}", name(path))));
    given.collect()
}

/// Writes a span as seconds with a digit, for people.
pub(crate) fn seconds(span: Duration) -> String {
    format!("{:.1}", span.as_secs_f64())
}
