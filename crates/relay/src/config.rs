//! The relay's configuration: one TOML file, read once and checked whole.
//!
//! Every key may be left out. An unknown key is an error, because a misspelt one would have no
//! effect and nobody would notice. Errors name file, line and key. Not here: flags and environment
//! (`cli`), which change fields before [`RelayConfig::check`].

use std::fs;
use std::io;
use std::net::{Ipv4Addr, Ipv6Addr, SocketAddr};
use std::path::{Path, PathBuf};
use std::time::Duration;

use gridbeat_base::Remedy;
use serde::Deserialize;

use crate::authority::{LEASE_DAYS_DEFAULT, LEASE_DAYS_MAX, LEASE_DAYS_MIN};
use crate::certificates::DAY_S;

/// The port devices reach the relay at if nothing else is said; unassigned by IANA.
const DEFAULT_PORT: u16 = 4747;

/// The port of the admin pages, next to it.
const DEFAULT_ADMIN_PORT: u16 = 4748;

/// Longest drain that makes sense: supervisors kill after 90 s.
const DRAIN_S_MAX: u64 = 80;

/// The configuration of a relay.
#[derive(Clone, Debug, Eq, PartialEq, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct RelayConfig {
    /// The address devices reach it at: UDP, and TCP for those whose network lets no UDP through. Default:
    /// `[::]:4747`, every address of the machine.
    pub listen: SocketAddr,
    /// The TCP address of `/livez`, `/readyz` and `/metrics`; on the loopback only, since they answer
    /// anybody. Default: `127.0.0.1:4748`.
    pub admin: SocketAddr,
    /// The directory of its files: the database and the authority. Default: `gridbeat-relay` in the
    /// working directory.
    pub data: PathBuf,
    /// The name in its certificate, which devices look for; need not be a host name. Default:
    /// `relay.gridbeat`. Fixed when the authority is made.
    pub server_name: String,
    /// Most connections at a time; a device beyond them is turned away and tries again. Each takes
    /// some 30 KB when idle. Default: 10,000.
    pub connections_max: usize,
    /// Most records one device may begin in an hour; more are refused. A day's requests of a city fit, and
    /// what a device can fill the disk with stays some 20 MB an hour. Default: 10,000.
    pub new_documents_per_hour_max: u32,
    /// How long a relay that was asked to stop waits for its devices, in seconds; at most 80.
    /// Default: 5.
    pub drain_s: u64,
    /// How long a device's certificate is good, in days; 14 to 30. It is renewed at a third of that.
    /// Default: 21.
    pub lease_days: u64,
}

impl Default for RelayConfig {
    fn default() -> Self {
        Self {
            listen: SocketAddr::new(Ipv6Addr::UNSPECIFIED.into(), DEFAULT_PORT),
            admin: SocketAddr::new(Ipv4Addr::LOCALHOST.into(), DEFAULT_ADMIN_PORT),
            data: PathBuf::from("gridbeat-relay"),
            server_name: "relay.gridbeat".to_owned(),
            connections_max: 10_000,
            new_documents_per_hour_max: 10_000,
            drain_s: 5,
            lease_days: LEASE_DAYS_DEFAULT,
        }
    }
}

impl RelayConfig {
    /// Reads and checks a configuration file.
    ///
    /// # Errors
    ///
    /// When it cannot be read, is not TOML, has an unknown key or a value that cannot be.
    pub fn read(path: &Path) -> Result<Self, ConfigError> {
        let text = fs::read_to_string(path).map_err(|source| ConfigError::Unreadable {
            file: path.to_owned(),
            source,
        })?;
        Self::from_toml(&text, path)
    }

    /// Reads and checks the text of a configuration file; `file` is only named in errors.
    ///
    /// # Errors
    ///
    /// As [`Self::read`], but for reading.
    pub fn from_toml(text: &str, file: &Path) -> Result<Self, ConfigError> {
        let config: Self = toml::from_str(text).map_err(|error| {
            let at = error.span().map_or(0, |span| span.start);
            let line = line_at(text, at);
            ConfigError::Syntax {
                file: file.to_owned(),
                line,
                words: error.message().to_owned(),
                text: text.lines().nth(line - 1).unwrap_or("").trim().to_owned(),
            }
        })?;
        config.check().map_err(|wrong| ConfigError::Value {
            file: file.to_owned(),
            line: line_of_key(text, wrong.key),
            wrong,
        })?;
        Ok(config)
    }

    /// Checks what a type cannot.
    ///
    /// # Errors
    ///
    /// The first value that cannot be.
    pub fn check(&self) -> Result<(), WrongValue> {
        let wrong = |key, words| Err(WrongValue { key, words });
        if !self.admin.ip().is_loopback() {
            return wrong(
                "admin",
                "must be a loopback address, since it answers anybody",
            );
        }
        if self.server_name.is_empty() {
            return wrong("server_name", "must not be empty");
        }
        if self.connections_max == 0 {
            return wrong("connections_max", "must be at least 1");
        }
        if self.new_documents_per_hour_max == 0 {
            return wrong("new_documents_per_hour_max", "must be at least 1");
        }
        if self.drain_s > DRAIN_S_MAX {
            return wrong("drain_s", "must be at most 80: supervisors kill after 90 s");
        }
        if !(LEASE_DAYS_MIN..=LEASE_DAYS_MAX).contains(&self.lease_days) {
            return wrong("lease_days", "must be 14 to 30");
        }
        Ok(())
    }

    /// Returns the path of the database.
    pub fn database(&self) -> PathBuf {
        self.data.join("relay.db")
    }

    /// Returns the directory of the certificate authority.
    pub fn authority(&self) -> PathBuf {
        self.data.join("authority")
    }

    /// Returns the folder of the root's key, unless it was moved elsewhere: nothing but renewing the
    /// issuing key and changing the root needs it.
    pub fn root(&self) -> PathBuf {
        self.data.join("root")
    }

    pub(crate) const fn lease(&self) -> Duration {
        Duration::from_secs(self.lease_days * DAY_S)
    }

    pub(crate) const fn drain(&self) -> Duration {
        Duration::from_secs(self.drain_s)
    }
}

fn line_at(text: &str, at: usize) -> usize {
    let before = text.get(..at).unwrap_or(text);
    1 + before.matches('\n').count()
}

/// The line that sets `key`, or 0 if none does.
fn line_of_key(text: &str, key: &str) -> usize {
    let sets = |line: &str| {
        line.split_once('=')
            .is_some_and(|(name, _)| name.trim().trim_matches('"') == key)
    };
    text.lines().position(sets).map_or(0, |index| index + 1)
}

/// A value that cannot be.
#[derive(Clone, Copy, Debug, Eq, PartialEq, thiserror::Error)]
#[error("`{key}` {words}")]
pub struct WrongValue {
    /// The key.
    pub key: &'static str,
    /// What is wrong with its value.
    pub words: &'static str,
}

/// Why a configuration is of no use.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum ConfigError {
    /// The file cannot be read.
    #[error("{} cannot be read", file.display())]
    Unreadable {
        /// The file.
        file: PathBuf,
        /// What the system said.
        source: io::Error,
    },
    /// Not TOML, an unknown key, or a value of another type.
    #[error("{}, line {line}: {words} (in `{text}`)", file.display())]
    Syntax {
        /// The file.
        file: PathBuf,
        /// The line, from 1.
        line: usize,
        /// What is wrong.
        words: String,
        /// The line's text.
        text: String,
    },
    /// A value that cannot be.
    #[error("{}, line {line}: {wrong}", file.display())]
    Value {
        /// The file.
        file: PathBuf,
        /// The line, from 1; 0 if the value is the default.
        line: usize,
        /// The value.
        wrong: WrongValue,
    },
}

impl ConfigError {
    /// Returns what the caller should do about this error.
    pub const fn remedy(&self) -> Remedy {
        match self {
            Self::Unreadable { .. } | Self::Syntax { .. } | Self::Value { .. } => Remedy::FixSetup,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn error(text: &str) -> String {
        RelayConfig::from_toml(text, Path::new("relay.toml"))
            .unwrap_err()
            .to_string()
    }

    #[test]
    fn an_empty_file_is_the_default() {
        let config = RelayConfig::from_toml("", Path::new("relay.toml")).unwrap();
        assert_eq!(config, RelayConfig::default());
        assert_eq!(config.database(), Path::new("gridbeat-relay/relay.db"));
    }

    #[test]
    fn an_unknown_key_is_named_with_file_and_line() {
        let error = error("listen = \"0.0.0.0:1\"\n\nlisen = \"typo\"\n");
        assert!(
            error.starts_with("relay.toml, line 3: unknown field `lisen`"),
            "{error}"
        );
    }

    #[test]
    fn a_value_of_the_wrong_kind_is_named_with_file_line_and_key() {
        let error = error("# comment\nconnections_max = \"many\"\n");
        assert!(error.starts_with("relay.toml, line 2:"), "{error}");
        assert!(error.contains("connections_max"), "{error}");
    }

    #[test]
    fn a_value_that_cannot_be_is_named_with_file_line_and_key() {
        for (text, expected) in [
            (
                "\nadmin = \"0.0.0.0:1\"",
                "relay.toml, line 2: `admin` must be a loopback",
            ),
            (
                "server_name = \"\"",
                "relay.toml, line 1: `server_name` must not be empty",
            ),
            (
                "connections_max = 0",
                "relay.toml, line 1: `connections_max` must be",
            ),
            (
                "drain_s = 81",
                "relay.toml, line 1: `drain_s` must be at most 80",
            ),
            (
                "lease_days = 31",
                "relay.toml, line 1: `lease_days` must be 14 to 30",
            ),
        ] {
            let error = error(text);
            assert!(error.starts_with(expected), "{error}");
        }
    }
}
