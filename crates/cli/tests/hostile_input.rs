//! Whatever bytes are handed over as input, the readers answer: with what they could use, or with one
//! error that names the file. They never panic, and they never invent a request.
//!
//! Valid samples are bent at seeded places. Replay: the failing seed is in the message. And nothing of a stranger's
//! changes is printed.

use std::fs;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::Path;
use std::process::Command;

use gridbeat_base::Random;
use gridbeat_cli::input::{
    Areas, CityMap, Rejects, place_requests, read_incidents, read_links, read_trips,
};

const INCIDENTS: &str = "\
CASE_ENQUIRY_ID,OPEN_DT,TARGET_DT,CLOSED_DT,CLOSURE_REASON,CASE_TITLE,SUBJECT,REASON,TYPE,QUEUE,Location,neighborhood,LATITUDE,LONGITUDE
1,01/20/2015 09:00:00 AM,01/21/2015 08:30:00 AM,01/20/2015 11:00:00 AM,\"Done, all\",PRINTED,PWD,Lights,Street Light Outages,PWDx,\"1 High St\",Roxbury,42.305,-71.095
2,01/20/2015 10:00:00 AM,,,,,,,Catchbasin,,,,42.325,-71.095
3,11/01/2015 01:30:00 AM,,,,,,,Pick up Dead Animal,,,Mattapan,42.3594,-71.0587
";
const AREAS: &str = r#"{"type":"FeatureCollection","features":[
{"type":"Feature","properties":{"name":"Roxbury","code":25},"geometry":{"type":"Polygon","coordinates":[[[-71.1,42.3],[-71.09,42.3],[-71.09,42.32],[-71.1,42.32],[-71.1,42.3]]]}},
{"type":"Feature","properties":{"name":"Mattapan"},"geometry":{"type":"MultiPolygon","coordinates":[[[[-71.08,42.3],[-71.07,42.3],[-71.07,42.32],[-71.08,42.3]]]]}}]}"#;
const TRACKS: &str = "\
trip,rider,bike,time,lon,lat
1,1,9,2020-10-01T09:00:00,-72.60,42.30
1,1,9,2020-10-01T09:00:25,-72.60,42.3001
1,1,9,2020-10-01T19:00:25,-72.60,42.3001
2,1,9,2020-10-01T09:00:35Z,-72.60,42.3002
2,1,9,2020-10-01T09:01:06Z,-72.60,42.3003
";
const LINK: &str = r#"[{"duration_ms": 1001, "bandwidth_kbps": 1805, "latency_ms": 100},
{"duration_ms": 1039, "bandwidth_kbps": 0, "latency_ms": 100}]"#;
const MAP: &str = include_str!("../../../examples/maps/boston-311.toml");

/// How many bent samples each reader gets: a second or two in all.
const ROUNDS: u64 = 400;

/// Changes one to six places: a byte, a run left out, a run said twice, the rest cut off.
fn bent(sample: &str, random: &mut Random) -> Vec<u8> {
    let mut bytes = sample.as_bytes().to_vec();
    for _ in 0..=random.below(5) {
        if bytes.is_empty() {
            break;
        }
        let place = |random: &mut Random, end: usize| random.below(end as u64) as usize;
        let at = place(random, bytes.len());
        let run = at..(at + place(random, 20)).min(bytes.len());
        match random.below(6) {
            0 => bytes[at] = random.number() as u8,
            1 => bytes[at] = b"0123456789-.,\"[]{}\n:eE"[place(random, 22)],
            2 => drop(bytes.drain(run)),
            3 => {
                let again = bytes[run].to_vec();
                bytes.splice(at..at, again);
            }
            4 => bytes.splice(at..at, *b"99999999999").for_each(drop),
            _ => bytes.truncate(at),
        }
    }
    bytes
}

fn check(name: &str, sample: &str, read: impl Fn(&Path, &mut Random)) {
    let folder = tempfile::tempdir().expect("the temporary folder is ours");
    let path = folder.path().join(name);
    for seed in 0..ROUNDS {
        let mut random = Random::from_number(seed);
        fs::write(&path, bent(sample, &mut random)).expect("the temporary folder is ours");
        let calm = catch_unwind(AssertUnwindSafe(|| read(&path, &mut random)));
        assert!(calm.is_ok(), "{name}: seed {seed}");
    }
}

#[test]
fn bent_requests_are_read_or_refused() {
    let map = CityMap::boston();
    check("requests.csv", INCIDENTS, |path, _| {
        match read_incidents(path, &map, None) {
            Ok(incidents) => {
                assert!(incidents.requests.len() as u64 <= incidents.rows_read);
                assert!(
                    incidents
                        .requests
                        .is_sorted_by_key(|request| request.opened)
                );
            }
            Err(error) => assert!(error.to_string().contains("requests.csv")),
        }
    });
}

#[test]
fn bent_areas_are_read_or_refused() {
    let map = CityMap::boston();
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("requests.csv");
    fs::write(&path, INCIDENTS).unwrap();
    let requests = read_incidents(&path, &map, None).unwrap().requests;
    check("areas.geojson", AREAS, |path, random| {
        let mut rejects = Rejects::default();
        let Ok(areas) = Areas::read(path, &mut rejects) else {
            return;
        };
        place_requests(&mut requests.clone(), &areas, &map, &mut rejects);
        for area in areas.all() {
            area.random_point(random);
            area.inner_point();
        }
    });
}

#[test]
fn bent_tracks_are_read_or_refused() {
    check("tracks.csv", TRACKS, |path, _| {
        for trip in read_trips(path)
            .map(|trips| trips.trips)
            .unwrap_or_default()
        {
            assert!(trip.points().is_sorted_by(|a, b| a.time < b.time));
        }
    });
}

#[test]
fn bent_links_are_read_or_refused() {
    check("link.json", LINK, |path, _| {
        let _ = read_links(path);
    });
    let mut tar = tar::Builder::new(Vec::new());
    let mut header = tar::Header::new_gnu();
    header.set_size(LINK.len() as u64);
    tar.append_data(&mut header, "a.json", LINK.as_bytes())
        .unwrap();
    let tar = String::from_utf8(tar.into_inner().unwrap()).unwrap();
    check("links.tar", &tar, |path, _| {
        let _ = read_links(path);
    });
}

#[test]
fn bent_mappings_are_read_or_refused() {
    check("map.toml", MAP, |path, _| {
        if let Err(error) = CityMap::read(path) {
            assert!(error.to_string().contains("map.toml"));
        }
    });
}

#[test]
fn what_a_strangers_change_makes_automerge_say_is_printed_nowhere() {
    // Seeds whose device that turned has forged changes that Automerge panics on, and that it logs.
    for seed in ["572", "116"] {
        let output = Command::new(env!("CARGO_BIN_EXE_gridbeat"))
            .args(["sim", "--seeds", "1", "--first", seed])
            .output()
            .unwrap();
        let said = String::from_utf8_lossy(&output.stderr);
        assert!(output.status.success() && said.is_empty(), "{said}");
    }
}
