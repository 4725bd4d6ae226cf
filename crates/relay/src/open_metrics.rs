//! A text of metrics in the OpenMetrics format, version 1.0.
//!
//! Not here: which metrics there are (`admin`).

use std::fmt::{Display, Write as _};

/// The media type of the text.
pub(crate) const CONTENT_TYPE: &str = "application/openmetrics-text; version=1.0.0; charset=utf-8";

/// A text in the making. Families must not be repeated.
#[derive(Debug, Default)]
pub(crate) struct OpenMetrics {
    text: String,
}

impl OpenMetrics {
    /// Adds a number that only rises; `name` without the ending `_total`.
    pub(crate) fn counter(&mut self, name: &str, help: &str, value: u64) {
        self.head(name, "counter", help);
        self.sample(&format!("{name}_total"), &[], value);
    }

    /// Adds numbers that only rise, told apart by one label.
    pub(crate) fn counters(&mut self, name: &str, help: &str, label: &str, values: &[(&str, u64)]) {
        self.head(name, "counter", help);
        for (of, value) in values {
            self.sample(&format!("{name}_total"), &[(label, of)], value);
        }
    }

    /// Adds a number that rises and falls.
    pub(crate) fn gauge(&mut self, name: &str, help: &str, value: impl Display) {
        self.head(name, "gauge", help);
        self.sample(name, &[], value);
    }

    /// Adds facts that never change while the process runs.
    pub(crate) fn info(&mut self, name: &str, help: &str, labels: &[(&str, &str)]) {
        self.head(name, "info", help);
        self.sample(&format!("{name}_info"), labels, 1);
    }

    /// Ends the text.
    pub(crate) fn finish(mut self) -> String {
        self.text.push_str("# EOF\n");
        self.text
    }

    fn head(&mut self, name: &str, kind: &str, help: &str) {
        let _ = writeln!(self.text, "# TYPE {name} {kind}");
        let _ = writeln!(self.text, "# HELP {name} {}", escape(help));
    }

    fn sample(&mut self, name: &str, labels: &[(&str, &str)], value: impl Display) {
        self.text.push_str(name);
        if !labels.is_empty() {
            let labels: Vec<String> = labels
                .iter()
                .map(|(label, value)| format!("{label}=\"{}\"", escape(value)))
                .collect();
            let _ = write!(self.text, "{{{}}}", labels.join(","));
        }
        let _ = writeln!(self.text, " {value}");
    }
}

fn escape(text: &str) -> String {
    text.replace('\\', "\\\\")
        .replace('\n', "\\n")
        .replace('"', "\\\"")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_text_has_types_totals_and_an_end() {
        let mut metrics = OpenMetrics::default();
        metrics.info("gridbeat_relay", "the \"program\"", &[("version", "1\n2")]);
        metrics.counter("gridbeat_changes_accepted", "changes made durable", 7);
        metrics.counters(
            "gridbeat_bytes",
            "bytes",
            "direction",
            &[("in", 1), ("out", 2)],
        );
        metrics.gauge("gridbeat_connections", "open connections", 3);
        assert_eq!(
            metrics.finish(),
            "# TYPE gridbeat_relay info\n\
             # HELP gridbeat_relay the \\\"program\\\"\n\
             gridbeat_relay_info{version=\"1\\n2\"} 1\n\
             # TYPE gridbeat_changes_accepted counter\n\
             # HELP gridbeat_changes_accepted changes made durable\n\
             gridbeat_changes_accepted_total 7\n\
             # TYPE gridbeat_bytes counter\n\
             # HELP gridbeat_bytes bytes\n\
             gridbeat_bytes_total{direction=\"in\"} 1\n\
             gridbeat_bytes_total{direction=\"out\"} 2\n\
             # TYPE gridbeat_connections gauge\n\
             # HELP gridbeat_connections open connections\n\
             gridbeat_connections 3\n\
             # EOF\n"
        );
    }
}
