//! How the program speaks: lines on standard output, and the code it ends with.

use std::fmt;
use std::io::{self, Write as _};
use std::process::ExitCode;

use serde::Serialize;

/// How a run of the program ended. The codes are part of its interface: `gridbeat help`.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(crate) enum Ending {
    /// 0: done.
    Good,
    /// 1: a promise did not hold, or something failed.
    Failed,
    /// 2: the command line is wrong (clap's own code).
    Usage,
    /// 3: a file or value that was handed in is wrong.
    BadInput,
    /// 4: it was not done within the time given; trying again may help.
    NotInTime,
}

/// The codes, as the help tells them.
pub(crate) const EXIT_CODES: &str = "\
Exit codes:
  0  done
  1  a promise did not hold (demo, sim, audit), or something failed; the reason is on standard error
  2  the command line is wrong
  3  a file or value that was handed in is wrong; it is named
  4  not done within the time given (device sync); trying again may help

Environment:
  GRIDBEAT_LOG  what to log on standard error, as --log: error, warn, info, gridbeat_relay=debug …";

/// An error that knows its code.
#[derive(Debug)]
pub(crate) struct Coded {
    ending: Ending,
    words: String,
}

impl fmt::Display for Coded {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.words)
    }
}

impl std::error::Error for Coded {}

impl Ending {
    /// Makes an error about the command line.
    pub(crate) fn usage(words: &str) -> anyhow::Error {
        Coded {
            ending: Self::Usage,
            words: words.to_owned(),
        }
        .into()
    }

    /// Makes an error about something handed in.
    pub(crate) fn input(words: &str) -> anyhow::Error {
        Coded {
            ending: Self::BadInput,
            words: words.to_owned(),
        }
        .into()
    }

    /// Returns the code of an error.
    pub(crate) fn of(error: &anyhow::Error) -> Self {
        let is_input = |cause: &(dyn std::error::Error + 'static)| {
            cause.is::<crate::input::InputError>() || cause.is::<crate::input::DayError>()
        };
        if let Some(coded) = error.downcast_ref::<Coded>() {
            return coded.ending;
        }
        if error.chain().any(is_input) {
            Self::BadInput
        } else {
            Self::Failed
        }
    }
}

impl From<Ending> for ExitCode {
    fn from(ending: Ending) -> Self {
        Self::from(match ending {
            Ending::Good => 0,
            Ending::Failed => 1,
            Ending::Usage => 2,
            Ending::BadInput => 3,
            Ending::NotInTime => 4,
        })
    }
}

/// Prints a line for people. A reader that has gone away is not an error.
pub(crate) fn print(line: &str) -> io::Result<()> {
    match writeln!(io::stdout().lock(), "{line}") {
        Err(error) if error.kind() != io::ErrorKind::BrokenPipe => Err(error),
        Ok(()) | Err(_) => Ok(()),
    }
}

/// Prints one line of JSON for programs.
pub(crate) fn print_json<T: Serialize>(value: &T) -> anyhow::Result<()> {
    Ok(print(&serde_json::to_string(value)?)?)
}
