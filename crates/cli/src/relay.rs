//! `gridbeat relay`: run a relay, or make one.
//!
//! What is written into a relay's database it takes up, running or not: it looks rights up anew
//! within seconds. Not here: serving (`gridbeat-relay`), what records mean (`gridbeat-domain`).

use std::net::SocketAddr;
use std::path::{Path, PathBuf};

use anyhow::Context as _;
use gridbeat_base::{Scope, Verbs, WallTime};
use gridbeat_link::{Clock, random_from_system};
use gridbeat_relay::{Authority, ConfigError, Invite, Operator, RelayConfig};
use gridbeat_relay_store::{SqliteStore, StoreOptions};
use serde_json::json;

use crate::args::{Hand, RelayArgs, RelayVerb};
use crate::office::act;
use crate::output::{Ending, print, print_json};
use crate::recovery;
use crate::signals::told_to_end;

/// The folder of a relay's files, beside its configuration.
const DATA: &str = "relay-data";

/// Does what the verb says.
pub(crate) fn run(args: RelayArgs) -> anyhow::Result<Ending> {
    match args.verb {
        RelayVerb::Backup { hand, to, output } => recovery::run_backup(&hand, &to, output),
        RelayVerb::Stable { hand, as_of } => recovery::run_stable(&hand, &as_of),
        RelayVerb::Restore { hand, from, yes } => recovery::run_restore(&hand, &from, yes),
        RelayVerb::Recovered { place, output } => {
            recovery::run_recovered(&read(&place.config)?, output)
        }
        RelayVerb::Run { place, json } => serve(&place.config, json),
        RelayVerb::Init {
            place,
            listen,
            admin,
        } => {
            init(&place.config, listen, admin)?;
            print(&format!(
                "made {}; start it with gridbeat relay run",
                place.config.display()
            ))?;
            print(&format!(
                "the key of its root is in {}: move that folder off this machine, and keep it; the relay \
                 does not need it, gridbeat relay renew-issuer does within two years",
                read(&place.config)?.root().display()
            ))?;
            Ok(Ending::Good)
        }
        RelayVerb::RenewIssuer { hand, root } => renew_issuer(&hand, root),
        RelayVerb::PrepareRoot { hand, root } => prepare_root(&hand, root),
        RelayVerb::PromoteRoot { hand, root, yes } => promote_root(&hand, root, yes),
    }
}

fn serve(path: &Path, as_json: bool) -> anyhow::Result<Ending> {
    let config = read(path)?;
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .worker_threads(2)
        .enable_all()
        .build()?;
    let is_drained = runtime.block_on(async {
        let relay = gridbeat_relay::start(config, gridbeat_domain::kinds()).await?;
        let (quic, admin) = (relay.addr(), relay.admin_addr());
        if as_json {
            print_json(&json!({"event": "listening", "quic": quic, "admin": admin}))?;
        } else {
            print(&format!(
                "listening on {quic}; health and metrics on http://{admin}"
            ))?;
        }
        told_to_end().await;
        anyhow::Ok(relay.stop().await)
    })?;
    // Devices that were not told in time find out by themselves: nothing acknowledged is at risk.
    tracing::info!(is_drained, "the relay has stopped");
    Ok(Ending::Good)
}

/// Makes a relay: its configuration, authority and database, in the configuration's folder.
pub(crate) fn init(path: &Path, listen: SocketAddr, admin: SocketAddr) -> anyhow::Result<()> {
    if path.exists() {
        return Err(Ending::input(&format!(
            "{} is there already",
            path.display()
        )));
    }
    let folder = path
        .parent()
        .filter(|folder| !folder.as_os_str().is_empty());
    let folder = folder.unwrap_or_else(|| Path::new("."));
    std::fs::create_dir_all(folder)?;
    let data = folder.canonicalize()?.join(DATA);
    let mut keys = toml::Table::new();
    keys.insert("listen".to_owned(), listen.to_string().into());
    keys.insert("admin".to_owned(), admin.to_string().into());
    keys.insert(
        "data".to_owned(),
        data.to_string_lossy().into_owned().into(),
    );
    std::fs::write(path, keys.to_string())
        .with_context(|| format!("{} could not be written", path.display()))?;
    Operator::open(&read(path)?)?;
    Ok(())
}

/// Opens a relay's files for somebody who acts on its root; returns the root's folder too.
fn with_root(hand: &Hand, root: Option<PathBuf>) -> anyhow::Result<(Operator, PathBuf)> {
    let config = read(&hand.place.config)?;
    Ok((act(hand)?, root.unwrap_or_else(|| config.root())))
}

/// Makes another issuing certificate.
fn renew_issuer(hand: &Hand, root: Option<PathBuf>) -> anyhow::Result<Ending> {
    let (mut operator, root) = with_root(hand, root)?;
    let ends = operator.renew_issuer(&root)?;
    print(&format!(
        "the relay has another issuing certificate, until {}: restart it, and devices notice nothing",
        iso(ends)
    ))?;
    Ok(Ending::Good)
}

/// Makes the root that comes after the present one.
fn prepare_root(hand: &Hand, root: Option<PathBuf>) -> anyhow::Result<Ending> {
    let (mut operator, root) = with_root(hand, root)?;
    if !operator.prepare_root(&root)? {
        return Err(Ending::input(
            "the next root was prepared before: gridbeat relay promote-root puts it in the place of the present one",
        ));
    }
    print(&format!(
        "the next root lies in {}: put the folder back where it is safe, copies too, and restart the relay. From then \
         on every device that enrols or renews is told of it; when all have, gridbeat relay promote-root puts \
         it in the place of the present one",
        root.display()
    ))?;
    Ok(Ending::Good)
}

/// Puts the prepared root in the place of the present one.
fn promote_root(hand: &Hand, root: Option<PathBuf>, yes: bool) -> anyhow::Result<Ending> {
    if !yes {
        return Err(Ending::input(
            "every device that has neither enrolled nor renewed since gridbeat relay prepare-root and the restart \
             behind it would be locked out and have to enrol anew; to do it, say --yes",
        ));
    }
    let (mut operator, root) = with_root(hand, root)?;
    operator.promote_root(&root)?;
    print(
        "the next root is the present one, and vouches for another issuing certificate: restart the relay",
    )?;
    Ok(Ending::Good)
}

/// Asks a device in that may work in scopes, without an operator's look; returns the line it enrols by.
pub(crate) fn invite(
    path: &Path,
    name: &str,
    scopes: &[Scope],
    relay: &str,
) -> anyhow::Result<String> {
    let grants = scopes.iter().cloned();
    let invite = Invite {
        name: name.to_owned(),
        grants: grants.map(|scope| (scope, Verbs::WORK.into())).collect(),
        relay: relay.to_owned(),
        auto_approve: true,
    };
    let (invitation, _) = Operator::open(&read(path)?)?.invite(&invite)?;
    Ok(invitation.to_text())
}

/// Writes a time for people.
pub(crate) fn iso(at: WallTime) -> String {
    jiff::Timestamp::from_millisecond(at.millis())
        .map_or_else(|_| at.millis().to_string(), |at| at.to_string())
}

/// Opens the database of the relay with that configuration.
pub(crate) fn open_store(path: &Path) -> anyhow::Result<SqliteStore> {
    let config = read(path)?;
    let mut random = random_from_system();
    let receipts = Authority::open(&config.authority())?.receipts(&mut random)?;
    let options = StoreOptions {
        receipts: Some((receipts, Clock::start().now().wall)),
        ..StoreOptions::default()
    };
    Ok(SqliteStore::open(&config.database(), options, &mut random)?)
}

/// Reads a relay's configuration.
pub(crate) fn read(path: &Path) -> anyhow::Result<RelayConfig> {
    RelayConfig::read(path).map_err(|error| {
        if matches!(error, ConfigError::Unreadable { .. }) {
            return error.into();
        }
        Ending::input(&error.to_string())
    })
}
