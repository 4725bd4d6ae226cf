//! `gridbeat version`: what this program is made of, as far as it matters between programs.

use serde_json::json;

use crate::args::VersionArgs;
use crate::output::{Ending, print, print_json};

/// Prints the versions.
pub(crate) fn run(args: VersionArgs) -> anyhow::Result<Ending> {
    let program = env!("CARGO_PKG_VERSION");
    let protocol = String::from_utf8_lossy(gridbeat_sync_protocol::ALPN).into_owned();
    let sqlite = rusqlite::version();
    if args.json {
        print_json(&json!({"gridbeat": program, "protocol": protocol, "sqlite": sqlite}))?;
    } else {
        print(&format!(
            "gridbeat {program} (protocol {protocol}, SQLite {sqlite})"
        ))?;
    }
    Ok(Ending::Good)
}
