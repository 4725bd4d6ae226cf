//! The audit: is a library of ours in an advisory database that lies beside the repository?
//!
//! Uses cargo-deny, which the licences are checked with anyway, on a copy of the database: it wants
//! one that it fetched itself. See decision 3.

use std::fs;
use std::path::Path;

use anyhow::Context as _;

use crate::checks::{Outcome, whole};
use crate::workshop::Workshop;

/// Where a copy of the advisory database may lie; without one the audit is left to those who have.
const DATABASE: &str = "../shared/advisory-db";

/// What cargo-deny calls its clone of the public database.
const CLONE: &str = "advisory-db-3157b0e258782691";

/// Checks the libraries in `Cargo.lock` against the database.
pub(crate) fn check(workshop: &Workshop) -> anyhow::Result<Outcome> {
    let database = workshop.root().join(DATABASE);
    if !database.is_dir() {
        return Ok(Outcome::Skipped("there is no ../shared/advisory-db"));
    }
    if !workshop.has_cargo_command("deny") {
        return Ok(Outcome::Skipped("cargo-deny is not installed"));
    }
    let folder = workshop.target()?.join("advisories");
    let clone = folder.join(CLONE);
    if clone.exists() {
        fs::remove_dir_all(&clone)?;
    }
    copy(&database, &clone)
        .with_context(|| format!("could not copy the database to {}", clone.display()))?;
    // The time of this file is when the clone was last fetched; nothing else of git is looked at.
    fs::create_dir_all(clone.join(".git"))?;
    fs::write(clone.join(".git/FETCH_HEAD"), "")?;
    let configuration = folder.join("deny.toml");
    // Whether a version was withdrawn is in the registry's index only, which is not asked here.
    let text = format!("[advisories]\ndb-path = {folder:?}\nyanked = \"allow\"\n");
    fs::write(&configuration, text)?;
    let mut command = workshop.cargo(&["deny", "--offline", "--config"]);
    whole(command.arg(&configuration).args(["check", "advisories"]))
}

/// Copies a folder with everything in it.
fn copy(from: &Path, to: &Path) -> anyhow::Result<()> {
    fs::create_dir_all(to)?;
    for entry in fs::read_dir(from)? {
        let entry = entry?;
        let target = to.join(entry.file_name());
        if entry.file_type()?.is_dir() {
            copy(&entry.path(), &target)?;
        } else {
            fs::write(&target, fs::read(entry.path())?)?;
        }
    }
    Ok(())
}
