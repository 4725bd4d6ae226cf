//! `gridbeat device list|show|approve|revoke|wipe|rename|move` and `gridbeat grant`: what an operator does with the
//! devices of a relay.
//!
//! Each works while the relay runs: it looks rights up anew within seconds. What changes anything is put on record
//! with who and why; what takes something away is done only with `--yes`, and says otherwise what it would do.
//! Not here: what the verbs mean (`gridbeat-domain`), how rights are held (`gridbeat-relay-store`).

use std::collections::BTreeMap;

use gridbeat_base::{DeviceId, Scope, Verb, Verbs, WallTime};
use gridbeat_domain::{ROLES, Role};
use gridbeat_relay::{By, CloneLine, DeviceRow, Granted, Operator, RemovalRow};
use serde_json::{Value, json};

use crate::args::{Form, GrantArgs, GrantVerb, Hand, OfficeVerb, RelayPlace};
use crate::output::{Ending, print, print_json};
use crate::quarantine::logged_in;
use crate::relay::iso;

/// Longest name of a device or of a role, in bytes: as that of a scope.
const NAME_BYTES_MAX: usize = 64;

/// Does what the verb says with a device.
pub(crate) fn device(verb: OfficeVerb) -> anyhow::Result<Ending> {
    match verb {
        OfficeVerb::List { place, output } => list(&open(&place)?.devices()?, output),
        OfficeVerb::Show {
            place,
            device,
            output,
        } => {
            let operator = open(&place)?;
            show(
                &find(&operator, device)?,
                &operator.removals(device)?,
                output,
            )
        }
        OfficeVerb::Approve(args) => crate::enrol::approve(&args),
        OfficeVerb::Revoke { hand, device, yes } => {
            let mut operator = act(&hand)?;
            let row = find(&operator, device)?;
            if row.revoked.is_some() {
                return Err(Ending::input(&format!(
                    "{} is revoked already",
                    called(&row)
                )));
            }
            ask(yes, &format!("take all rights from {}", called(&row)))?;
            operator.revoke(device)?;
            done(&format!("{} has no rights any more", called(&row)))
        }
        OfficeVerb::Wipe { hand, device, yes } => wipe(&hand, device, yes),
        OfficeVerb::Rename { hand, device, name } => {
            check_name("a device's name", &name)?;
            let mut operator = act(&hand)?;
            let row = find(&operator, device)?;
            operator.rename(device, &name)?;
            done(&format!("{} is called {name} now", called(&row)))
        }
        OfficeVerb::Move {
            hand,
            device,
            from,
            to,
            yes,
        } => {
            let mut operator = act(&hand)?;
            let row = find(&operator, device)?;
            let held = row.grants.get(&from).ok_or_else(|| {
                Ending::input(&format!("{} is granted nothing in {from}", called(&row)))
            })?;
            let what = in_words(held);
            ask(
                yes,
                &format!("move {} from {from} to {to} ({what})", called(&row)),
            )?;
            if !operator.move_grant(device, &from, &to)? {
                return Err(Ending::input(
                    "nothing was moved: the device is revoked, or is there already",
                ));
            }
            done(&format!(
                "{} is in {to} now, and not in {from}",
                called(&row)
            ))
        }
    }
}

/// Orders a device to wipe itself.
fn wipe(hand: &Hand, device: DeviceId, yes: bool) -> anyhow::Result<Ending> {
    let mut operator = act(hand)?;
    let row = find(&operator, device)?;
    let who = called(&row);
    if let Some(at) = wiped(&row, &operator.removals(device)?) {
        let at = iso(at);
        return Err(Ending::input(&format!(
            "{who} has wiped itself: its statement came {at}"
        )));
    }
    ask(
        yes,
        &format!("have {who} hand over what it has and wipe itself; no right is left to it"),
    )?;
    operator.wipe(device)?;
    done(&format!(
        "when {who} next calls, it hands over what it has into the quarantine, wipes itself and signs for \
         that; gridbeat device show {device} tells when it has"
    ))
}

/// Does what the verb says with grants.
pub(crate) fn grant(args: GrantArgs) -> anyhow::Result<Ending> {
    match args.verb {
        GrantVerb::Add {
            hand,
            device,
            scope,
            role,
            verbs,
        } => {
            let granted = granted(role.as_deref(), verbs)?;
            let mut operator = act(&hand)?;
            let row = find(&operator, device)?;
            if row.revoked.is_some() {
                return Err(Ending::input(&format!(
                    "{} is revoked: enrol it anew",
                    called(&row)
                )));
            }
            operator.grant(device, &scope, &granted)?;
            done(&format!(
                "{} may {} in {scope}",
                called(&row),
                in_words(&granted)
            ))
        }
        GrantVerb::Remove {
            hand,
            device,
            scope,
            yes,
        } => {
            let mut operator = act(&hand)?;
            let row = find(&operator, device)?;
            let held = row.grants.get(&scope).ok_or_else(|| {
                Ending::input(&format!("{} is granted nothing in {scope}", called(&row)))
            })?;
            let what = in_words(held);
            ask(
                yes,
                &format!("take from {} what it has in {scope} ({what})", called(&row)),
            )?;
            operator.grant(device, &scope, &Granted::default())?;
            done(&format!("{} has nothing in {scope} any more", called(&row)))
        }
        GrantVerb::List {
            place,
            device,
            scope,
            output,
        } => {
            let mut devices = open(&place)?.devices()?;
            devices.retain(|row| device.is_none_or(|wanted| row.device == wanted));
            list_grants(&devices, scope.as_ref(), output)
        }
        GrantVerb::Roles { output } => roles(output),
    }
}

pub(crate) fn open(place: &RelayPlace) -> anyhow::Result<Operator> {
    Ok(Operator::open(&crate::relay::read(&place.config)?)?)
}

/// Opens the relay's files for somebody who acts.
pub(crate) fn act(hand: &Hand) -> anyhow::Result<Operator> {
    let by = by(hand)?;
    let mut operator = open(&hand.place)?;
    operator.act_as(by);
    Ok(operator)
}

/// Returns who acts, and why.
pub(crate) fn by(hand: &Hand) -> anyhow::Result<By> {
    named(hand.who.clone(), &hand.why)
}

/// Returns who acts, by that name or as the system has it, and why.
pub(crate) fn named(who: Option<String>, why: &str) -> anyhow::Result<By> {
    let who = who.map_or_else(logged_in, Ok)?;
    By::new(&who, why).map_err(|error| Ending::input(&error.to_string()))
}

fn find(operator: &Operator, device: DeviceId) -> anyhow::Result<DeviceRow> {
    let row = operator
        .devices()?
        .into_iter()
        .find(|row| row.device == device);
    row.ok_or_else(|| Ending::input(&format!("there is no device {device} at this relay")))
}

/// Lets through what was confirmed; says otherwise what would be done.
fn ask(yes: bool, what: &str) -> anyhow::Result<()> {
    if yes {
        return Ok(());
    }
    Err(Ending::input(&format!(
        "this would {what}; to do it, say --yes"
    )))
}

fn done(what: &str) -> anyhow::Result<Ending> {
    print(what)?;
    Ok(Ending::Good)
}

fn check_name(what: &str, name: &str) -> anyhow::Result<()> {
    let is_fit = !name.trim().is_empty()
        && name.len() <= NAME_BYTES_MAX
        && !name.chars().any(char::is_control);
    if is_fit {
        return Ok(());
    }
    Err(Ending::input(&format!(
        "{what} has 1 to {NAME_BYTES_MAX} bytes and no control characters"
    )))
}

/// Returns what a role or verbs, or verbs under a role's name, grant.
pub(crate) fn granted(role: Option<&str>, verbs: Option<Verbs>) -> anyhow::Result<Granted> {
    let known = role.and_then(Role::find);
    let verbs = match (verbs, known, role) {
        (Some(verbs), ..) => verbs,
        (None, Some(role), _) => role.verbs,
        (None, None, Some(role)) => {
            let ids: Vec<&str> = ROLES.iter().map(|role| role.id).collect();
            return Err(Ending::input(&format!(
                "there is no role {role}: the roles are {}; one of your own needs --verbs",
                ids.join(", ")
            )));
        }
        (None, None, None) => return Err(Ending::usage("say --role ROLE, or --verbs VERBS")),
    };
    if verbs.is_empty() {
        return Err(Ending::input(
            "no verbs are no grant: to take one away, say gridbeat grant remove",
        ));
    }
    if let Some(role) = role {
        check_name("a role's name", role)?;
    }
    let role = role.unwrap_or_default().to_owned();
    Ok(Granted { role, verbs })
}

fn in_words(granted: &Granted) -> String {
    match granted.role.as_str() {
        "" => granted.verbs.to_string(),
        role => format!("{} as {role}", granted.verbs),
    }
}

fn called(row: &DeviceRow) -> String {
    format!("device {} ({})", row.device, row.name)
}

fn list(devices: &[DeviceRow], form: Form) -> anyhow::Result<Ending> {
    if form == Form::Json {
        print_json(&devices.iter().map(as_json).collect::<Vec<_>>())?;
        return Ok(Ending::Good);
    }
    for row in devices {
        let scopes: Vec<String> = row
            .grants
            .iter()
            .map(|(scope, held)| match held.role.as_str() {
                "" => scope.to_string(),
                role => format!("{scope} ({role})"),
            })
            .collect();
        let (device, name, state) = (row.device, &row.name, state(row));
        print(&format!("{device}  {name}  {state}  {}", scopes.join(", ")))?;
    }
    Ok(Ending::Good)
}

/// Returns when a device that is revoked stated that everything is gone, if it has.
fn wiped(row: &DeviceRow, removals: &[RemovalRow]) -> Option<WallTime> {
    let revoked = row.revoked?;
    let mut since = removals.iter().filter(|it| it.received >= revoked);
    let whole = since.find(|it| it.statement.scope.is_none())?;
    Some(whole.received)
}

fn show(row: &DeviceRow, removals: &[RemovalRow], form: Form) -> anyhow::Result<Ending> {
    if form == Form::Json {
        let mut shown = as_json(row);
        shown["removals"] = removals.iter().map(removal_json).collect();
        print_json(&shown)?;
        return Ok(Ending::Good);
    }
    print(&format!("device   {}", row.device))?;
    print(&format!("name     {}", row.name))?;
    print(&format!("enrolled {}", iso(row.added)))?;
    print(&format!("state    {}", state(row)))?;
    if let Some((_, install, off)) = row.seen {
        print(&format!("install  {install}"))?;
        print(&format!("clock    {off} ms behind the relay's"))?;
    }
    for (scope, held) in &row.grants {
        print(&format!("grant    {scope}: {}", in_words(held)))?;
    }
    for (scope, (at, head)) in &row.cursors {
        print(&format!("applied  {scope}: {at} of {head}"))?;
    }
    for RemovalRow {
        received,
        statement,
    } in removals
    {
        let what = statement.scope.as_ref().map_or("everything", Scope::as_str);
        let (at, removed, kept) = (iso(*received), statement.removed, statement.kept);
        print(&format!(
            "removed  {what}: {removed} documents, {kept} changes kept; stated {at}"
        ))?;
    }
    Ok(Ending::Good)
}

fn removal_json(row: &RemovalRow) -> Value {
    let statement = &row.statement;
    json!({
        "received_ms": row.received, "scope": statement.scope, "install": statement.install.to_string(),
        "documents": statement.documents, "removed": statement.removed, "kept": statement.kept,
        "at_ms": statement.at,
    })
}

fn state(row: &DeviceRow) -> String {
    let cursors = row.cursors.values();
    let behind: u64 = cursors.map(|(at, head)| head.saturating_sub(*at)).sum();
    match (row.revoked, row.seen) {
        (Some(at), _) => format!("revoked {}", iso(at)),
        (None, None) => "never seen".to_owned(),
        (None, Some((at, _, _))) => format!("seen {}, {behind} behind", iso(at)),
    }
}

fn as_json(row: &DeviceRow) -> Value {
    let grant = |held: &Granted| json!({"role": held.role, "verbs": words(held.verbs)});
    let grants: BTreeMap<&str, Value> = row
        .grants
        .iter()
        .map(|(scope, held)| (scope.as_str(), grant(held)))
        .collect();
    let cursors: BTreeMap<&str, Value> = row
        .cursors
        .iter()
        .map(|(scope, (at, head))| (scope.as_str(), json!({"cursor": at, "head": head})))
        .collect();
    json!({
        "device": row.device, "name": row.name, "added_ms": row.added, "revoked_ms": row.revoked,
        "grants": grants, "cursors": cursors,
        "clones": row.clones.iter().map(CloneLine::from).collect::<Vec<_>>(),
        "seen_ms": row.seen.map(|(at, _, _)| at),
        "install": row.seen.map(|(_, install, _)| install.to_string()),
        "clock_off_ms": row.seen.map(|(_, _, off)| off),
    })
}

fn words(verbs: Verbs) -> Vec<&'static str> {
    verbs.iter().map(Verb::id).collect()
}

fn list_grants(devices: &[DeviceRow], scope: Option<&Scope>, form: Form) -> anyhow::Result<Ending> {
    let mut rows = Vec::new();
    for row in devices {
        let grants = row.grants.iter();
        for (granted_in, held) in grants.filter(|(it, _)| scope.is_none_or(|scope| *it == scope)) {
            rows.push(json!({
                "device": row.device, "name": row.name, "revoked": row.revoked.is_some(),
                "scope": granted_in, "role": held.role, "verbs": words(held.verbs),
            }));
            if form == Form::Text {
                let revoked = if row.revoked.is_some() {
                    "  revoked"
                } else {
                    ""
                };
                let (device, name, what) = (row.device, &row.name, in_words(held));
                print(&format!("{device}  {name}  {granted_in}  {what}{revoked}"))?;
            }
        }
    }
    if form == Form::Json {
        print_json(&rows)?;
    }
    Ok(Ending::Good)
}

fn roles(form: Form) -> anyhow::Result<Ending> {
    if form == Form::Json {
        let role = |role: &Role| json!({"role": role.id, "en": role.en, "zh": role.zh, "verbs": words(role.verbs)});
        print_json(&ROLES.iter().map(role).collect::<Vec<_>>())?;
        return Ok(Ending::Good);
    }
    for role in ROLES {
        print(&format!(
            "{}  {}  {}  {}",
            role.id, role.en, role.zh, role.verbs
        ))?;
    }
    Ok(Ending::Good)
}
