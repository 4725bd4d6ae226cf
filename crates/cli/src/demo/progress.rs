//! What a person sees while the demo runs: a bar and a line, on a terminal only.

use std::io::IsTerminal as _;
use std::time::Duration;

use indicatif::{ProgressBar, ProgressDrawTarget, ProgressStyle};

use super::chronicle::Chronicle;

/// The bar, or nothing.
#[derive(Debug)]
pub(crate) struct Progress(ProgressBar);

impl Progress {
    /// Makes one; nothing is shown if it is to be quiet, or nobody looks.
    pub(crate) fn new(is_quiet: bool) -> Self {
        let bar = ProgressBar::new(1_000);
        if is_quiet || !std::io::stderr().is_terminal() {
            bar.set_draw_target(ProgressDrawTarget::hidden());
        }
        let style = ProgressStyle::with_template("{spinner} {prefix:<46} {bar:24} {msg}")
            .expect("the template is a constant");
        bar.set_style(style);
        Self(bar)
    }

    /// Says what goes on.
    pub(crate) fn stage(&self, what: &str) {
        self.0.set_prefix(what.to_owned());
        self.0.tick();
    }

    /// Shows how far it is.
    pub(crate) fn show(&self, elapsed: Duration, run: Duration, chronicle: &Chronicle) {
        let devices = &chronicle.devices;
        let part = elapsed.as_millis() * 1_000 / run.as_millis().max(1);
        self.0
            .set_position(u64::try_from(part).unwrap_or(1_000).min(1_000));
        let down = devices
            .iter()
            .filter(|log| log.link_changes.last().is_some_and(|(_, up)| !up))
            .count();
        let relay = match chronicle.relay_down.last() {
            Some((_, None)) => " · relay killed",
            Some((_, Some(_))) | None => "",
        };
        self.0.set_message(format!(
            "{} saved · {} acknowledged · {} waiting · {down} links down{relay}",
            devices.iter().map(|log| log.saved.len()).sum::<usize>(),
            devices
                .iter()
                .map(|log| log.acknowledged.len())
                .sum::<usize>(),
            devices
                .iter()
                .map(super::chronicle::DeviceLog::depth)
                .sum::<u64>(),
        ));
        self.0.tick();
    }

    /// Takes the bar away.
    pub(crate) fn finish(&self) {
        self.0.finish_and_clear();
    }
}
