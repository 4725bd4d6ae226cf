//! Who depends on whom, as `docs/architecture.md` draws it and `cargo metadata` sees it.

use std::collections::{BTreeMap, BTreeSet};
use std::process::Command;

use serde_json::Value;
use tests::cargo;

use super::report;
use super::tree::read;

/// What each crate builds on. It may name these, what these build on, and `base`.
const ARROWS: &[(&str, &[&str])] = &[
    ("base", &[]),
    ("badlink", &[]),
    ("document", &["base"]),
    ("domain", &["document"]),
    ("sync-protocol", &["base"]),
    ("device-core", &["document", "sync-protocol"]),
    ("link", &["sync-protocol"]),
    ("device", &["device-core", "link"]),
    ("relay-core", &["document", "sync-protocol"]),
    ("relay-store", &["relay-core"]),
    ("relay", &["relay-core", "relay-store", "link"]),
    (
        "sim",
        &["device-core", "relay-core", "relay-store", "domain"],
    ),
    ("fuzz", &["device-core", "relay", "domain"]),
    ("xtask", &[]),
];

/// The ends of all arrows: nothing builds on them, and they may name any crate.
const FREE: &[&str] = &["cli", "examples", "tests"];

/// Crates without clock, dice, threads and I/O, so that the simulator can run what ships.
const PURE: &[&str] = &["base", "document", "domain", "sync-protocol", "relay-core"];

/// What a pure crate may not reach, however indirectly.
const IMPURE: &[&str] = &[
    "async-std",
    "axum",
    "hyper",
    "libsqlite3-sys",
    "mio",
    "quinn",
    "quinn-proto",
    "quinn-udp",
    "rusqlite",
    "rustls",
    "smol",
    "socket2",
    "sqlx",
    "tokio",
];

/// Paths that every pure crate's `clippy.toml` must ban.
const BANNED_IN_PURE: &[&str] = &[
    "std::time::Instant::now",
    "std::time::SystemTime::now",
    "uuid::Uuid::new_v4",
    "uuid::Uuid::now_v7",
    "std::collections::HashMap",
    "std::collections::HashSet",
];

#[test]
fn crates_depend_only_along_the_arrows() {
    let metadata = metadata(&["--no-deps"]);
    let members = packages(&metadata);
    let table: BTreeMap<&str, &[&str]> = ARROWS.iter().copied().collect();
    let mut complaints = Vec::new();
    for (name, package) in &members {
        if FREE.contains(name) {
            continue;
        }
        if !table.contains_key(name) {
            complaints.push(format!(
                "the crate `{name}` has no arrows: add it to ARROWS in {} and to docs/architecture.md",
                file!()
            ));
            continue;
        }
        let allowed = reachable(name, &table);
        let named = dependencies(package).filter(|dependency| members.contains_key(dependency));
        for dependency in named.filter(|dependency| !allowed.contains(dependency)) {
            complaints.push(format!(
                "`{name}` may not depend on `{dependency}` (not even in its tests): move what needs \
                 both to a crate that may name both, or a test to tests/"
            ));
        }
    }
    report(
        "the arrows of docs/architecture.md, section 2:",
        &complaints,
    );
}

#[test]
fn pure_crates_reach_no_runtime_no_socket_and_no_database() {
    let host = host();
    let metadata = metadata(&["--filter-platform", &host]);
    let names: BTreeMap<&str, &str> = array(&metadata["packages"])
        .map(|package| (text(&package["id"]), text(&package["name"])))
        .collect();
    let edges: BTreeMap<&str, Vec<&str>> = array(&metadata["resolve"]["nodes"])
        .map(|node| (text(&node["id"]), normal_edges(node)))
        .collect();
    let mut complaints = Vec::new();
    for pure in PURE {
        let package = package_name(pure);
        let Some((root, _)) = names.iter().find(|(_, name)| **name == package) else {
            complaints.push(format!(
                "there is no package `{package}`: correct PURE in {}",
                file!()
            ));
            continue;
        };
        // Each reached package remembers who led there, to tell the contributor the way.
        let mut led_by = BTreeMap::from([(*root, *root)]);
        let mut open = vec![*root];
        while let Some(id) = open.pop() {
            if IMPURE.contains(&names[id]) {
                let way = way_to(id, &led_by, &names);
                complaints.push(format!(
                    "`{pure}` is pure but reaches `{}` by {way}: hand the result in instead, or use \
                     it in a shell",
                    names[id]
                ));
                continue;
            }
            for next in &edges[id] {
                if !led_by.contains_key(next) {
                    led_by.insert(next, id);
                    open.push(next);
                }
            }
        }
    }
    report("pure crates do no I/O:", &complaints);
}

#[test]
fn only_document_names_automerge() {
    let metadata = metadata(&["--no-deps"]);
    let complaints: Vec<String> = packages(&metadata)
        .into_iter()
        .filter(|(name, package)| {
            *name != "document" && dependencies(package).any(|other| other == "automerge")
        })
        .map(|(name, _)| {
            format!("`{name}` depends on automerge: use what `document` offers, or add it there")
        })
        .collect();
    report("Automerge has one door:", &complaints);
}

#[test]
fn pure_crates_repeat_the_root_rules_of_clippy_and_ban_clocks_and_random_order() {
    // Clippy reads the nearest clippy.toml only, so a crate's own file replaces the root's.
    let root = read("clippy.toml");
    let mut complaints = Vec::new();
    for pure in PURE {
        let folder = if *pure == "sync-protocol" {
            ""
        } else {
            "crates/"
        };
        let path = format!("{folder}{pure}/clippy.toml");
        let own = read(&path);
        let rules = root
            .lines()
            .filter(|line| !line.trim_start().starts_with('#'));
        for rule in rules.filter(|rule| !own.contains(*rule)) {
            complaints.push(format!(
                "{path} lacks the root's rule `{rule}`: copy it there"
            ));
        }
        for banned in BANNED_IN_PURE
            .iter()
            .filter(|banned| !own.contains(**banned))
        {
            complaints.push(format!(
                "{path} does not ban `{banned}`: copy the entry from another pure crate"
            ));
        }
    }
    report("clippy.toml of the pure crates:", &complaints);
}

/// What `name` may depend on: everything at the end of a chain of arrows, and `base`.
fn reachable<'a>(name: &'a str, table: &BTreeMap<&'a str, &'a [&'a str]>) -> BTreeSet<&'a str> {
    let mut reached = BTreeSet::new();
    let mut open = vec![name];
    while let Some(next) = open.pop() {
        for builds_on in table[next] {
            if reached.insert(*builds_on) {
                open.push(builds_on);
            }
        }
    }
    if !table[name].is_empty() {
        reached.insert("base");
    }
    reached
}

/// Asks cargo for the packages; offline, because a test needs nothing that its build did not.
fn metadata(arguments: &[&str]) -> Value {
    let output = cargo()
        .args(["metadata", "--format-version", "1", "--offline"])
        .args(arguments)
        .output()
        .unwrap();
    assert!(
        output.status.success(),
        "cargo metadata failed: {}",
        String::from_utf8_lossy(&output.stderr)
    );
    serde_json::from_slice(&output.stdout).unwrap()
}

/// The platform this toolchain builds for, so that libraries of other platforms are left out.
fn host() -> String {
    let rustc = std::env::var_os("RUSTC").unwrap_or_else(|| "rustc".into());
    let output = Command::new(rustc).arg("-vV").output().unwrap();
    let text = String::from_utf8(output.stdout).unwrap();
    let host = text.lines().find_map(|line| line.strip_prefix("host: "));
    host.unwrap().to_owned()
}

/// The packages of the workspace by their short names.
fn packages(metadata: &Value) -> BTreeMap<&str, &Value> {
    array(&metadata["packages"])
        .map(|package| (short(text(&package["name"])), package))
        .collect()
}

/// The short names of everything a package names in its Cargo.toml, in any section.
fn dependencies(package: &Value) -> impl Iterator<Item = &str> {
    array(&package["dependencies"]).map(|dependency| short(text(&dependency["name"])))
}

/// The packages a node of the resolved graph uses when it runs: no build scripts, no tests.
fn normal_edges(node: &Value) -> Vec<&str> {
    array(&node["deps"])
        .filter(|dependency| array(&dependency["dep_kinds"]).any(|kind| kind["kind"].is_null()))
        .map(|dependency| text(&dependency["pkg"]))
        .collect()
}

/// The chain of packages that leads to `id`, in words.
fn way_to(id: &str, led_by: &BTreeMap<&str, &str>, names: &BTreeMap<&str, &str>) -> String {
    let mut way = vec![names[id]];
    let mut at = id;
    while led_by[at] != at {
        at = led_by[at];
        way.push(names[at]);
    }
    way.reverse();
    way.join(" → ")
}

fn short(name: &str) -> &str {
    name.strip_prefix("gridbeat-").unwrap_or(name)
}

fn package_name(short: &str) -> String {
    format!("gridbeat-{short}")
}

fn array(value: &Value) -> impl Iterator<Item = &Value> {
    value.as_array().unwrap().iter()
}

fn text(value: &Value) -> &str {
    value.as_str().unwrap()
}
