//! A copy of a relay's database while it runs, and one put in its place after a loss.
//!
//! A copy that is durable moves the relay's *stable mark*: the time up to which everything received is known to
//! be in a backup. Devices are told it, and keep what they sent until it has passed. The mark never claims what
//! a clock that was set back would make false (see `lives`). Not here: when to copy, and where to (operators).

use std::fs::{self, File};
use std::io;
use std::path::{Path, PathBuf};

use gridbeat_base::{Incarnation, Random, Remedy, WallTime};
use gridbeat_relay_core::StoreFault;
use gridbeat_sync_protocol::Signer;
use rusqlite::{Connection, OpenFlags};

use crate::error::fault;
use crate::operation::Act;
use crate::sqlite::{is_ours_or_empty, settle};
use crate::{By, OpenError, SqliteStore, StoreOptions, lives, schema};

/// The endings of what lies beside a database and belongs to it.
const COMPANIONS: [&str; 4] = ["", "-wal", "-shm", ".incarnation"];

/// A copy that was made.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Backup {
    /// The life of the database that was copied.
    pub incarnation: Incarnation,
    /// How many changes are in it.
    pub changes: u64,
    /// Its size.
    pub size_bytes: u64,
    /// Everything received up to then is in it; `None` if nothing was received yet.
    pub stable: Option<WallTime>,
}

/// A copy that was put in place.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Restored {
    /// The new life of the database.
    pub incarnation: Incarnation,
    /// How many changes are in it.
    pub changes: u64,
    /// The latest receipt in it; `None` if it has none.
    pub received: Option<WallTime>,
    /// Where what was there before lies now; empty if nothing was.
    pub aside: Vec<PathBuf>,
}

impl SqliteStore {
    /// Copies the database to `to`, as of one moment, while others write to it; makes the copy durable and opens
    /// it to see that it is whole. Then the stable mark moves to it, and the copy is put on record: it is not in itself.
    ///
    /// # Errors
    ///
    /// [`BackupError`]; no file is left at `to` that was not there.
    pub fn backup(&mut self, to: &Path, now: WallTime) -> Result<Backup, BackupError> {
        // Takes the name, so that nobody else does meanwhile.
        let taken = fs::OpenOptions::new().write(true).create_new(true).open(to);
        taken.map_err(|source| {
            if source.kind() == io::ErrorKind::AlreadyExists {
                let path = to.to_owned();
                BackupError::Exists { path }
            } else {
                BackupError::File(source)
            }
        })?;
        let part = beside(to, ".part");
        let made = copy(self, &part).and_then(|found| {
            sync(&part)?;
            fs::rename(&part, to)?;
            sync_folder(to)?;
            Ok(found)
        });
        if made.is_err() {
            // What is left of it says by its name and size that it is no copy.
            let _ = fs::remove_file(&part);
            let _ = fs::remove_file(to);
        }
        let found = made?;
        let act = Act {
            verb: "relay backup",
            subject: named(to),
            details: format!("changes={} size={}", found.changes, found.size_bytes),
        };
        self.operate(now, |tx| {
            if let Some(stable) = found.stable {
                lives::raise_stable(tx, stable)?;
            }
            Ok(((), Some(act)))
        })?;
        Ok(found)
    }

    /// Moves the stable mark by an operator's word: everything received up to `as_of` is on a standby, or in a
    /// backup made by other means. Returns the mark, which never goes back by this and never beyond what was
    /// received. The operator's word is put on record.
    ///
    /// # Errors
    ///
    /// [`StoreFault`].
    pub fn set_stable(
        &mut self,
        as_of: WallTime,
        now: WallTime,
    ) -> Result<Option<WallTime>, StoreFault> {
        self.operate(now, |tx| {
            let stable = lives::raise_stable(tx, as_of)?;
            let act = Act {
                verb: "relay stable",
                subject: format!("as_of={}", as_of.millis()),
                details: stable.map_or_else(String::new, |at| format!("stable={}", at.millis())),
            };
            Ok((stable, Some(act)))
        })
    }

    /// Puts a copy in the place of a database, which nobody may have open: what is there is moved aside, and
    /// another life begins, in which it is put on record who did so and why. `receipts` is who signs the relay's.
    ///
    /// # Errors
    ///
    /// [`BackupError`]; what was there is then where it was, or where the error says.
    pub fn restore(
        from: &Path,
        to: &Path,
        (by, receipts): (By, Option<Signer>),
        now: WallTime,
        random: &mut Random,
    ) -> Result<Restored, BackupError> {
        look(from)?;
        let part = beside(to, ".restoring");
        fs::copy(from, &part)?;
        sync(&part)?;
        look(&part)?;
        let mut aside = Vec::new();
        for ending in COMPANIONS {
            let (old, kept) = (
                beside(to, ending),
                beside(to, &format!(".replaced-{}{ending}", now.millis())),
            );
            if old.exists() {
                fs::rename(&old, &kept)?;
                aside.push(kept);
            }
        }
        fs::rename(&part, to)?;
        sync_folder(to)?;
        let options = StoreOptions {
            now: Some(now),
            receipts: receipts.map(|signer| (signer, now)),
            ..StoreOptions::default()
        };
        let mut store = Self::open(to, options, random)?;
        store.act_as(by);
        let found = count(store.connection())?;
        let act = Act {
            verb: "relay restore",
            subject: named(from),
            details: format!("life={} changes={}", store.incarnation(), found.changes),
        };
        store.operate(now, |tx| {
            // It was made from a backup, so all that is in it is in one.
            lives::restored(tx, found.stable)?;
            Ok(((), Some(act)))
        })?;
        Ok(Restored {
            incarnation: store.incarnation(),
            changes: found.changes,
            received: found.stable,
            aside,
        })
    }
}

/// Copies the whole database into a new file, in one read.
fn copy(store: &SqliteStore, to: &Path) -> Result<Backup, BackupError> {
    if to.exists() {
        // An earlier one that did not come to its end.
        fs::remove_file(to)?;
    }
    let name = to.to_str().ok_or_else(|| BackupError::Name {
        path: to.to_owned(),
    })?;
    store
        .connection()
        .execute("VACUUM INTO ?1", [name])
        .map_err(fault)?;
    look(to)
}

/// Opens a copy and sees whether it is whole.
fn look(path: &Path) -> Result<Backup, BackupError> {
    let foreign = || OpenError::Foreign {
        path: path.to_owned(),
    };
    if !path.is_file() || fs::metadata(path)?.len() == 0 || !is_ours_or_empty(path)? {
        return Err(foreign().into());
    }
    let flags = OpenFlags::SQLITE_OPEN_READ_ONLY | OpenFlags::SQLITE_OPEN_NO_MUTEX;
    let connection = Connection::open_with_flags(path, flags).map_err(fault)?;
    settle(&connection).map_err(fault)?;
    let version: i32 = connection
        .query_row("PRAGMA user_version", [], |row| row.get(0))
        .map_err(fault)?;
    if version > schema::newest() {
        return Err(OpenError::Newer {
            path: path.to_owned(),
            version,
        }
        .into());
    }
    let found: String = connection
        .query_row("PRAGMA quick_check(1)", [], |row| row.get(0))
        .map_err(fault)?;
    if found != "ok" {
        return Err(StoreFault::Damaged { detail: found }.into());
    }
    Ok(Backup {
        size_bytes: fs::metadata(path)?.len(),
        ..count(&connection)?
    })
}

fn count(connection: &Connection) -> Result<Backup, StoreFault> {
    let (incarnation, changes, received): ([u8; 16], i64, Option<i64>) = connection
        .query_row(
            "SELECT incarnation, (SELECT sum(changes) FROM document), (SELECT max(received) FROM change)
             FROM meta",
            [],
            |row| Ok((row.get(0)?, row.get::<_, Option<i64>>(1)?.unwrap_or(0), row.get(2)?)),
        )
        .map_err(fault)?;
    Ok(Backup {
        incarnation: Incarnation::new(incarnation),
        changes: crate::value::from_sql(changes)?,
        size_bytes: 0,
        stable: received.map(WallTime),
    })
}

/// A file by its name, for the operators' log: where it lay is the machine's affair.
fn named(path: &Path) -> String {
    let name = path.file_name().unwrap_or(path.as_os_str());
    name.to_string_lossy().into_owned()
}

fn beside(path: &Path, ending: &str) -> PathBuf {
    let mut path = path.as_os_str().to_owned();
    path.push(ending);
    path.into()
}

fn sync(path: &Path) -> io::Result<()> {
    File::open(path)?.sync_all()
}

fn sync_folder(of: &Path) -> io::Result<()> {
    let folder = of.parent().filter(|folder| !folder.as_os_str().is_empty());
    sync(folder.unwrap_or_else(|| Path::new(".")))
}

/// Why a copy was not made or not put in place.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum BackupError {
    /// There is a file of that name. No copy is ever overwritten.
    #[error("{} is there already", path.display())]
    Exists {
        /// The file.
        path: PathBuf,
    },
    /// The name cannot be told to the database: it is not UTF-8.
    #[error("{} is not a name the database can be told", path.display())]
    Name {
        /// The file.
        path: PathBuf,
    },
    /// It is not a relay's database, or not one that can be opened.
    #[error(transparent)]
    Open(#[from] OpenError),
    /// The database failed, or the copy is damaged.
    #[error(transparent)]
    Fault(#[from] StoreFault),
    /// A file could not be copied, moved or made durable.
    #[error("the file could not be written")]
    File(#[from] io::Error),
}

impl BackupError {
    /// Returns what the caller should do about this error.
    pub fn remedy(&self) -> Remedy {
        match self {
            Self::Exists { .. } | Self::Name { .. } => Remedy::FixInput,
            Self::Open(source) => source.remedy(),
            Self::Fault(source) => source.remedy(),
            Self::File(source) if source.kind() == io::ErrorKind::StorageFull => Remedy::FreeSpace,
            Self::File(_) => Remedy::FixSetup,
        }
    }
}
