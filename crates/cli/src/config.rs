//! The one place that reads the environment: what to log. Options beat it; files are read by who
//! owns their form (a relay's configuration by `gridbeat-relay`).

use tracing_subscriber::EnvFilter;

use crate::output::Ending;

/// The variable that says what to log.
const LOG: &str = "GRIDBEAT_LOG";

/// What is logged unless told otherwise: what is worth waking someone.
const LOG_DEFAULT: &str = "warn";

/// Sends the log to standard error, as wanted by the option, or the environment, or neither.
pub(crate) fn start_log(option: Option<&str>) -> anyhow::Result<()> {
    let wanted = match option {
        Some(wanted) => wanted.to_owned(),
        None => std::env::var(LOG).unwrap_or_else(|_| LOG_DEFAULT.to_owned()),
    };
    // Automerge logs what it finds in changes of strangers; the gate tells us what we need to know of them.
    let filter = EnvFilter::try_new(format!("automerge=off,{wanted}"))
        .map_err(|error| Ending::usage(&format!("{wanted:?} says not what to log: {error}")))?;
    tracing_subscriber::fmt()
        .with_env_filter(filter)
        .with_writer(std::io::stderr)
        .with_ansi(false)
        // A line that finds no room on a full disk is lost; to complain about it there would end the process.
        .log_internal_errors(false)
        .init();
    Ok(())
}
