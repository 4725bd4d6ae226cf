//! `gridbeat enrol`: ask a device in, see who came, let it in or not.
//!
//! Works on the relay's database, running or not. Not here: what the device does (`device`), what is decided
//! (`gridbeat-relay-store`).

use std::io::IsTerminal as _;
use std::path::Path;

use anyhow::Context as _;
use gridbeat_base::{Scope, WallTime};
use gridbeat_link::Clock;
use gridbeat_relay::{Approval, InvitationRow, Invite, Operator, Standing};
use serde_json::{Value, json};

use crate::args::{ApproveArgs, CreateArgs, EnrolmentArgs, EnrolmentVerb, Form};
use crate::office::{act, granted, open};
use crate::output::{Ending, print, print_json};
use crate::qr::Qr;
use crate::relay::iso;

/// How many invitations are listed: those of the last weeks, where a screen ends.
const LISTED: usize = 100;

/// Does what the verb says.
pub(crate) fn run(args: EnrolmentArgs) -> anyhow::Result<Ending> {
    match args.verb {
        EnrolmentVerb::Create(create) => make(&create),
        EnrolmentVerb::List { place, output } => list(&open(&place)?, output),
        EnrolmentVerb::Cancel { hand, id } => cancel(&mut act(&hand)?, id),
        EnrolmentVerb::Approve(args) => approve(&args),
    }
}

fn make(args: &CreateArgs) -> anyhow::Result<Ending> {
    let granted = granted(args.role.as_deref(), args.verbs)?;
    let grants = args
        .scope
        .iter()
        .map(|scope| (scope.clone(), granted.clone()));
    let invite = Invite {
        name: args.name.clone(),
        grants: grants.collect(),
        relay: args.relay.clone(),
        auto_approve: args.auto_approve,
    };
    let (invitation, row) = act(&args.hand)?.invite(&invite)?;
    let text = invitation.to_text();
    let qr = Qr::of(&text).context("the QR code could not be made")?;
    if let Some(path) = &args.png {
        write(path, &qr.to_png()?)?;
    }
    if let Some(path) = &args.svg {
        write(path, qr.to_svg().as_bytes())?;
    }
    if args.output == Form::Json {
        let mut said = row_json(&row);
        said["invitation"] = text.into();
        print_json(&said)?;
        return Ok(Ending::Good);
    }
    if std::io::stdout().is_terminal() {
        print(&qr.to_terminal())?;
    }
    print(&text)?;
    print(&format!(
        "invitation {}, for {}: good once, until {}",
        row.id,
        row.name,
        iso(row.expires)
    ))?;
    print(&if row.auto_approve {
        "whoever shows it first is enrolled: hand it to nobody else".to_owned()
    } else {
        format!(
            "when the device shows its six digits: gridbeat enrol approve {} --fingerprint DIGITS",
            row.id
        )
    })?;
    Ok(Ending::Good)
}

/// Writes a drawing of the code, for its owner alone: whoever sees it may come first.
fn write(path: &Path, bytes: &[u8]) -> anyhow::Result<()> {
    let written = gridbeat_link::write_private(path, bytes);
    written.with_context(|| format!("{} could not be written", path.display()))
}

fn list(operator: &Operator, output: Form) -> anyhow::Result<Ending> {
    let rows = operator.invitations(LISTED)?;
    if output == Form::Json {
        print_json(&rows.iter().map(row_json).collect::<Vec<_>>())?;
        return Ok(Ending::Good);
    }
    for row in rows {
        print(&line(&row, now()))?;
    }
    Ok(Ending::Good)
}

fn line(row: &InvitationRow, now: WallTime) -> String {
    let scopes: Vec<&str> = row.grants.keys().map(Scope::as_str).collect();
    let mut line = format!(
        "{}  {}  {}  {}",
        row.id,
        row.standing(now).id(),
        row.name,
        scopes.join(", ")
    );
    if let Some(request) = &row.request {
        line += &format!(
            "  {}  {} from {}, {}",
            request.fingerprint(),
            request.said.escape_debug(),
            request.from,
            iso(request.requested)
        );
    }
    if row.strangers > 0 {
        line += &format!("  {} others came with the same code", row.strangers);
    }
    line
}

fn row_json(row: &InvitationRow) -> Value {
    let grants: serde_json::Map<String, Value> = row
        .grants
        .iter()
        .map(|(scope, held)| {
            let grant = json!({"role": held.role, "verbs": held.verbs.to_string()});
            (scope.as_str().to_owned(), grant)
        })
        .collect();
    let standing = row.standing(now());
    let device = match standing {
        Standing::Approved(device) | Standing::Enrolled(device) => Some(device),
        Standing::Open
        | Standing::Expired
        | Standing::Cancelled
        | Standing::Waiting
        | Standing::Lapsed
        | Standing::Refused => None,
    };
    let request = row.request.as_ref().map(|request| {
        json!({
            "fingerprint": request.fingerprint().to_string(), "said": request.said,
            "from": request.from, "requested_ms": request.requested,
        })
    });
    json!({
        "id": row.id, "standing": standing.id(), "name": row.name, "grants": grants,
        "auto_approve": row.auto_approve, "created_ms": row.created, "expires_ms": row.expires,
        "request": request, "strangers": row.strangers, "device": device,
    })
}

fn cancel(operator: &mut Operator, id: u64) -> anyhow::Result<Ending> {
    let words = match operator.withdraw(id)? {
        Some(Standing::Open) => format!("invitation {id} is withdrawn"),
        Some(Standing::Waiting) => format!("the request of invitation {id} is refused"),
        Some(standing) => {
            return Err(Ending::input(&format!(
                "invitation {id} is {}: there is nothing to take back",
                standing.id()
            )));
        }
        None => return Err(unknown(id)),
    };
    print(&words)?;
    Ok(Ending::Good)
}

/// Lets in whoever waits by an invitation.
pub(crate) fn approve(args: &ApproveArgs) -> anyhow::Result<Ending> {
    let id = args.id;
    match act(&args.hand)?.approve(id, args.fingerprint)? {
        Approval::Approved(device) => {
            print(&format!("device {device} is enrolled"))?;
            Ok(Ending::Good)
        }
        Approval::OtherFingerprint { tries_left: 0 } => Err(Ending::input(&format!(
            "another fingerprint again: the request of invitation {id} is refused as a stranger's"
        ))),
        Approval::OtherFingerprint { tries_left } => Err(Ending::input(&format!(
            "the device that asks by invitation {id} has another fingerprint; compare again \
             ({tries_left} tries left), or refuse it: gridbeat enrol cancel {id}"
        ))),
        Approval::NotWaiting(standing) => Err(Ending::input(&format!(
            "invitation {id} is {}: no request waits by it",
            standing.id()
        ))),
        Approval::Unknown => Err(unknown(id)),
    }
}

fn unknown(id: u64) -> anyhow::Error {
    Ending::input(&format!("there is no invitation {id}"))
}

fn now() -> WallTime {
    Clock::start().now().wall
}
