//! The small file beside the database that tells a restored database from the one that was left.
//!
//! A database that was put back from a backup lacks what devices were told is durable. They offer
//! it again when they meet a new incarnation, so the relay must notice that it was restored. The
//! database carries a random token, its lineage, and counts its commits; the file beside it,
//! `<database>.incarnation`, holds the same token and the count after each commit. When the file
//! is missing, names another token, or has seen more commits than the database has, the database
//! is not the one that was left: a new incarnation and a new lineage begin.
//!
//! So never put this file into a backup, or delete it after restoring one. It is written without
//! waiting for the disk: after a power cut its count may be too low, which at worst hides that a
//! backup as new as the count was put back, and never calls a healthy database restored.

use std::fs::{File, OpenOptions};
use std::io::{self, Read as _, Seek as _, SeekFrom, Write as _};
use std::path::{Path, PathBuf};

/// What the file begins with: its own format, in case there is ever another.
const HEAD: &str = "gridbeat relay 1";

/// The file's length: head, 32 digits of the token, 20 of the count, two spaces and a newline.
/// Always the same, so that writing it again needs no space on a full disk.
const LENGTH: usize = HEAD.len() + 1 + 32 + 1 + 20 + 1;

/// The random token of a database's line of commits.
pub(crate) type Lineage = [u8; 16];

/// What the file says.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(crate) struct Seen {
    /// The token.
    pub(crate) lineage: Lineage,
    /// How many commits the database had at least.
    pub(crate) commits: u64,
}

/// The file beside a database, kept open.
#[derive(Debug)]
pub(crate) struct SideFile {
    file: File,
    lineage: Lineage,
}

impl SideFile {
    /// Returns the place of the file beside a database.
    pub(crate) fn path(database: &Path) -> PathBuf {
        let mut path = database.as_os_str().to_owned();
        path.push(".incarnation");
        path.into()
    }

    /// Reads what the file beside a database says; `None` if it is missing or says nothing.
    pub(crate) fn read(database: &Path) -> io::Result<Option<Seen>> {
        let mut text = String::new();
        match File::open(Self::path(database)) {
            // A longer file is not one of ours; reading it to its end is not needed to see that.
            Ok(file) => match file.take(LENGTH as u64 + 1).read_to_string(&mut text) {
                Ok(_) => Ok(parse(&text)),
                Err(error) if error.kind() == io::ErrorKind::InvalidData => Ok(None),
                Err(error) => Err(error),
            },
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
            Err(error) => Err(error),
        }
    }

    /// Writes the file beside a database and makes it durable.
    pub(crate) fn begin(database: &Path, seen: Seen) -> io::Result<Self> {
        let file = OpenOptions::new()
            .write(true)
            .create(true)
            .truncate(false)
            .open(Self::path(database))?;
        let mut side = Self {
            file,
            lineage: seen.lineage,
        };
        side.note(seen.commits)?;
        side.file.set_len(LENGTH as u64)?;
        side.file.sync_all()?;
        Ok(side)
    }

    /// Notes that the database has come to this many commits. Does not wait for the disk.
    pub(crate) fn note(&mut self, commits: u64) -> io::Result<()> {
        let lineage = u128::from_be_bytes(self.lineage);
        let line = format!("{HEAD} {lineage:032x} {commits:020}\n");
        self.file.seek(SeekFrom::Start(0))?;
        self.file.write_all(line.as_bytes())
    }
}

fn parse(text: &str) -> Option<Seen> {
    if text.len() != LENGTH {
        return None;
    }
    let mut words = text.strip_prefix(HEAD)?.split_ascii_whitespace();
    let lineage = u128::from_str_radix(words.next()?, 16).ok()?;
    let commits = words.next()?.parse().ok()?;
    Some(Seen {
        lineage: lineage.to_be_bytes(),
        commits,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_file_reads_back_what_was_noted_last() {
        let folder = tempfile::tempdir().unwrap();
        let database = folder.path().join("relay.db");
        assert_eq!(SideFile::read(&database).unwrap(), None);
        let lineage = [7; 16];
        let mut side = SideFile::begin(
            &database,
            Seen {
                lineage,
                commits: 3,
            },
        )
        .unwrap();
        side.note(u64::MAX).unwrap();
        assert_eq!(
            SideFile::read(&database).unwrap(),
            Some(Seen {
                lineage,
                commits: u64::MAX
            })
        );
    }

    #[test]
    fn a_torn_or_foreign_file_says_nothing() {
        let folder = tempfile::tempdir().unwrap();
        let database = folder.path().join("relay.db");
        let long = "x".repeat(1000);
        for bad in ["", "gridbeat relay 1 ", "\u{fffd}", long.as_str()] {
            std::fs::write(SideFile::path(&database), bad).unwrap();
            assert_eq!(SideFile::read(&database).unwrap(), None, "{bad}");
        }
        std::fs::write(SideFile::path(&database), [0xff; LENGTH]).unwrap();
        assert_eq!(SideFile::read(&database).unwrap(), None);
    }
}
