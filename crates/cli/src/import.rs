//! `gridbeat import`: reads a city's file of requests, accounts for every row, saves them if asked.

use gridbeat_base::Scope;
use gridbeat_device::LinkPolicy;
use serde_json::json;

use crate::args::ImportArgs;
use crate::device;
use crate::input::{CityMap, Incidents, Input, read_incidents};
use crate::output::{Ending, print, print_json};

/// Reads the file, tells what is in it, and saves what is to be saved.
pub(crate) fn run(args: &ImportArgs) -> anyhow::Result<Ending> {
    let map = match &args.map {
        Some(path) => CityMap::read(path)?,
        None => CityMap::boston(),
    };
    let incidents = read_incidents(&args.incidents, &map, args.day)?;
    let saved = match &args.into {
        Some(_) => Some(save(args, &incidents)?),
        None => None,
    };
    tell(args, &incidents, saved)?;
    Ok(Ending::Good)
}

fn save(args: &ImportArgs, incidents: &Incidents) -> anyhow::Result<u64> {
    let Some(dir) = &args.into else {
        return Ok(0);
    };
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()?;
    runtime.block_on(async {
        let device = device::open(dir, None, None, LinkPolicy::OnRequest).await?;
        let scope: Scope = match &args.scope {
            Some(scope) => scope.clone(),
            None => device::only_scope(&device).await?,
        };
        let mut saved = 0;
        for request in &incidents.requests {
            let intent = crate::demo::report_intent(request, &args.by);
            device
                .create("incident", &scope, intent.to_string().into_bytes())
                .await?;
            saved += 1;
        }
        device.close().await;
        Ok(saved)
    })
}

fn tell(args: &ImportArgs, incidents: &Incidents, saved: Option<u64>) -> anyhow::Result<()> {
    let requests = &incidents.requests;
    let count = |of: fn(&crate::input::Request) -> bool| requests.iter().filter(|r| of(r)).count();
    let with_position = count(|request| request.position.is_some());
    let closed = count(|request| request.closed.is_some());
    let dropped = incidents.rejects.dropped(Input::Incidents);
    if args.json {
        return print_json(&json!({
            "rows": incidents.rows_read, "rows_of_other_days": incidents.rows_of_other_days,
            "requests": requests.len(), "with_position": with_position, "closed": closed,
            "dropped": dropped, "rejects": incidents.rejects, "saved": saved,
        }));
    }
    print(&format!(
        "{} rows: {} requests ({with_position} with a position, {closed} closed), {} of other days, {dropped} dropped",
        incidents.rows_read,
        requests.len(),
        incidents.rows_of_other_days,
    ))?;
    if !incidents.rejects.is_empty() {
        print(incidents.rejects.to_string().trim_end())?;
    }
    if let Some(saved) = saved {
        print(&format!("{saved} saved as reports"))?;
    }
    Ok(())
}
