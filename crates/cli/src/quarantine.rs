//! `gridbeat quarantine`: look into what a relay refused, and discard what was seen to.
//!
//! On the relay's database, running or not. Not here: what can be told of a refused change
//! (`gridbeat-relay`), where it lies (`gridbeat-relay-store`).

use anyhow::Context as _;
use gridbeat_base::WallTime;
use gridbeat_link::Clock;
use gridbeat_relay::{QuarantineDetail, QuarantineLine, RefusedFilter};
use gridbeat_relay_store::Discarded;

use crate::args::{Form, QuarantineVerb};
use crate::office::named;
use crate::output::{Ending, print, print_json};
use crate::relay::{iso, open_store};

/// Does what the verb says.
pub(crate) fn run(verb: QuarantineVerb) -> anyhow::Result<Ending> {
    match verb {
        QuarantineVerb::List {
            place,
            device,
            document,
            rule,
            all,
            before,
            limit,
            output,
        } => {
            let filter = RefusedFilter {
                device,
                document,
                rule,
                is_discarded: (!all).then_some(false),
                before,
            };
            let store = open_store(&place.config)?;
            list(&QuarantineLine::list(&store, &filter, limit)?, output)?;
        }
        QuarantineVerb::Show {
            place,
            number,
            output,
        } => {
            let store = open_store(&place.config)?;
            let Some(detail) = QuarantineDetail::read(&store, number)? else {
                return Err(Ending::input(&format!(
                    "the quarantine has no number {number}"
                )));
            };
            match output {
                Form::Json => print_json(&detail)?,
                Form::Text => tell(&detail)?,
            }
        }
        QuarantineVerb::Discard {
            place,
            numbers,
            why,
            by,
            yes,
        } => {
            if !yes {
                return Err(Ending::usage(
                    "the bytes are gone for good then; say --yes to discard them",
                ));
            }
            let by = named(by, &why)?;
            let how = Discarded {
                at: Clock::start().now().wall,
                by: by.who().to_owned(),
                why,
            };
            let mut store = open_store(&place.config)?;
            for number in numbers {
                if !store.discard_refused(number, &how)? {
                    return Err(Ending::input(&format!(
                        "the quarantine has no number {number} that is not discarded yet"
                    )));
                }
                print(&format!("discarded {number}"))?;
            }
        }
    }
    Ok(Ending::Good)
}

/// Returns who runs this program, as the system names them.
pub(crate) fn logged_in() -> anyhow::Result<String> {
    let user = nix::unistd::User::from_uid(nix::unistd::getuid())?;
    let user = user.context("the system does not say who you are: say --as")?;
    Ok(user.name)
}

fn list(lines: &[QuarantineLine], form: Form) -> anyhow::Result<()> {
    if form == Form::Json {
        return print_json(&lines);
    }
    for line in lines {
        let mark = if line.discarded_ms.is_some() {
            "discarded"
        } else {
            ""
        };
        print(&format!(
            "{:>6}  {}  {}  {}  {}  {} B  {mark}",
            line.id,
            iso(line.received_ms),
            line.device,
            line.document,
            line.rule,
            line.size_bytes
        ))?;
    }
    Ok(())
}

fn tell(detail: &QuarantineDetail) -> anyhow::Result<()> {
    let line = &detail.line;
    print(&format!("number    {}", line.id))?;
    print(&format!("rule      {}", line.rule))?;
    if !line.en.is_empty() {
        print(&format!("          {} / {}", line.en, line.zh))?;
    }
    print(&format!(
        "device    {}, at {}",
        line.device,
        iso(line.received_ms)
    ))?;
    print(&format!(
        "          has {} here ({} B), and {} more that there was no room for",
        detail.device_changes, detail.device_bytes, detail.device_beyond
    ))?;
    print(&format!(
        "document  {}, pushed in {}",
        line.document, line.scope
    ))?;
    match &line.change {
        Some(change) => print(&format!("change    {change}, {} B", line.size_bytes))?,
        None => print(&format!("change    none: {} B", line.size_bytes))?,
    }
    match &detail.says {
        Some(says) => {
            let count = |count: Option<u64>| {
                count.map_or_else(|| "uncountable".to_owned(), |it| it.to_string())
            };
            let made = WallTime(says.made_s.saturating_mul(1_000));
            print(&format!(
                "it says   change {} of actor {}, made {} on {} others, {} operations that replace {}{}",
                says.seq,
                says.actor,
                iso(made),
                says.dependencies,
                count(says.operations),
                count(says.replaced),
                if says.has_extras { ", and extras" } else { "" },
            ))?;
        }
        None if line.has_bytes => print("it says   nothing that can be read")?,
        None => print("it says   nothing: its bytes are not here")?,
    }
    if let (Some(at), Some(by), Some(why)) =
        (line.discarded_ms, &line.discarded_by, &line.discarded_why)
    {
        print(&format!("discarded {}, by {by}: {why}", iso(at)))?;
    }
    Ok(())
}
