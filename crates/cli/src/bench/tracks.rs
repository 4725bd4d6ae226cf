//! `bench tracks`: bytes and time a fix takes, over real rides.
//!
//! Each ride of the files is recorded as on a device, packed, read back and compared, and shortened for a map. The
//! picture shows one ride: its fixes, the bad ones, and the shorter line.

use std::fs;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use anyhow::{Context as _, ensure};
use clap::Args;
use gridbeat_domain::track::{
    Limits, Quality, Recorder, Segment, TrackPoint, length_m, simplified,
};
use serde_json::{Value, json};

use super::measure::rounded;
use crate::input::{Trip, read_trips};

mod draw;

/// Which rides.
#[derive(Debug, Args)]
pub(super) struct TracksArgs {
    /// The folder of CSV files of rides, plain or gzip.
    #[arg(long, value_name = "FOLDER", default_value = "../shared/data/tracks")]
    data: PathBuf,
    /// How far the shorter line may be from a fix, in metres.
    #[arg(long, value_name = "M", default_value_t = 5.0)]
    tolerance_m: f64,
    /// Where a picture of one ride goes, as SVG.
    #[arg(long, value_name = "FILE")]
    plot: Option<PathBuf>,
}

/// What a file's rides took.
#[derive(Debug, Default)]
struct Sum {
    rides: u64,
    points: u64,
    bytes: u64,
    segments: u64,
    encode: Duration,
    decode: Duration,
    shown: u64,
    length_m: f64,
    bad: u64,
    marks: Vec<(&'static str, u64)>,
}

/// Measures all files of the folder.
pub(super) fn run(args: &TracksArgs) -> anyhow::Result<Value> {
    let folder = fs::read_dir(&args.data).with_context(|| {
        format!(
            "{} holds no rides: name a folder by --data",
            args.data.display()
        )
    })?;
    let mut files: Vec<PathBuf> = folder
        .map(|entry| entry.map(|entry| entry.path()))
        .collect::<Result<_, _>>()?;
    files.sort();
    let (mut figures, mut shown) = (Vec::new(), Vec::new());
    for file in &files {
        let trips = read_trips(file)?.trips;
        figures.push(of_file(file, &trips, args.tolerance_m)?);
        if args.plot.is_some() {
            for trip in trips {
                let fixes = recorded(&trip)?.0;
                shown = worth_more(shown, fixes);
            }
        }
    }
    if let Some(file) = &args.plot {
        fs::write(file, draw::picture(&shown, args.tolerance_m))
            .with_context(|| format!("{} could not be written", file.display()))?;
    }
    Ok(json!({ "bench": "tracks", "tolerance_m": args.tolerance_m, "files": figures }))
}

/// Chooses the ride of two that shows more: one segment at most, the one with more bends.
fn worth_more(one: Vec<TrackPoint>, other: Vec<TrackPoint>) -> Vec<TrackPoint> {
    let worth = |fixes: &[TrackPoint]| {
        let is_one = fixes.len() <= Limits::default().points;
        (is_one, simplified(fixes, 20.0).len())
    };
    if worth(&other) > worth(&one) {
        other
    } else {
        one
    }
}

fn of_file(file: &Path, trips: &[Trip], tolerance_m: f64) -> anyhow::Result<Value> {
    let mut sum = Sum::default();
    for trip in trips {
        let began = Instant::now();
        let (points, segments) = recorded(trip)?;
        sum.encode += began.elapsed();
        let began = Instant::now();
        let mut back = Vec::new();
        for segment in &segments {
            back.extend(Segment::read(&segment.bytes)?);
        }
        sum.decode += began.elapsed();
        ensure!(
            back == points,
            "ride {} did not come back as it was",
            trip.name
        );
        sum.rides += 1;
        sum.points += points.len() as u64;
        sum.bytes += segments
            .iter()
            .map(|segment| segment.bytes.len() as u64)
            .sum::<u64>();
        sum.segments += segments.len() as u64;
        sum.shown += simplified(&points, tolerance_m).len() as u64;
        sum.length_m += length_m(&points);
        let quality = Quality::of(&points);
        sum.bad += quality.bad;
        sum.marks.resize(quality.counts().count(), ("", 0));
        for (all, (name, count)) in sum.marks.iter_mut().zip(quality.counts()) {
            *all = (name, all.1 + count);
        }
    }
    let share = |of: u64, all: u64| rounded(of as f64 / all.max(1) as f64);
    let nanos = |time: Duration| (time.as_nanos() as f64 / sum.points.max(1) as f64).round();
    let marks: serde_json::Map<_, _> = sum
        .marks
        .iter()
        .map(|(name, count)| ((*name).to_owned(), json!(count)))
        .collect();
    Ok(json!({
        "file": file.file_name().unwrap_or_default().to_string_lossy(),
        "rides": sum.rides, "fixes": sum.points, "segments": sum.segments, "bytes": sum.bytes,
        "bytes_a_fix": share(sum.bytes, sum.points),
        "encode_ns_a_fix": nanos(sum.encode), "decode_ns_a_fix": nanos(sum.decode),
        "shown_share": share(sum.shown, sum.points), "length_km": (sum.length_m / 1e3).round(),
        "bad": sum.bad, "marks": marks,
    }))
}

/// Records a ride; returns its fixes, marked, and the segments.
fn recorded(trip: &Trip) -> anyhow::Result<(Vec<TrackPoint>, Vec<Segment>)> {
    let mut recorder = Recorder::new(Limits::default());
    let mut segments = Vec::new();
    for fix in trip.points() {
        segments.extend(recorder.record(fix.as_fix()));
    }
    segments.extend(recorder.finish());
    let mut points = Vec::new();
    for segment in &segments {
        points.extend(Segment::read(&segment.bytes)?);
    }
    Ok((points, segments))
}
