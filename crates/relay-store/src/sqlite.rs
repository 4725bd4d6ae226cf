//! The relay's storage in one SQLite file, without a server.
//!
//! One connection writes; [`SqliteStore::reader`] gives another for everything that only reads, so
//! that a long read on a second thread never holds up a commit. The file is in WAL mode with
//! `synchronous=FULL`: what [`Answer::Committed`] says survives a power cut.
//!
//! A restored file is noticed at the opening (see `lineage`); an operator may also say so with
//! [`SqliteStore::new_incarnation`].

use std::fmt;
use std::fs::File;
use std::io::{self, Read as _};
use std::path::{Path, PathBuf};
use std::time::Duration;

use gridbeat_base::{Incarnation, Random, WallTime};
use gridbeat_relay_core::{Answer, StoreFault, Task};
use gridbeat_sync_protocol::{BlobNonce, Signer};
use rusqlite::config::DbConfig;
use rusqlite::{Connection, OpenFlags, Transaction, TransactionBehavior, params};

use crate::error::fault;
use crate::lineage::{Seen, SideFile};
use crate::value::{from_sql, to_sql};
use crate::{By, OpenError, Store, blobs, commit, evidence, leaving, lives, read, schema};

/// SQLite's page cache for each connection. With it the relay stays under 64 MB whatever is stored.
const CACHE_KIB: i64 = 8 * 1024;

/// How long a write waits for one of another process (an operator's verb), which take milliseconds.
const BUSY_TIMEOUT: Duration = Duration::from_secs(5);

/// The WAL is cut back to this size after a checkpoint, so that one burst does not keep the disk.
const WAL_BYTES_KEPT: i64 = 16 * 1024 * 1024;

/// How many statements stay prepared: more than there are.
const STATEMENTS_KEPT: usize = 64;

/// SQLite's page size, which no file of ours changes.
const PAGE_BYTES: u64 = 4096;

/// Where SQLite's header has the application id.
const APPLICATION_ID_AT: usize = 68;

/// How a store is opened.
#[derive(Default)]
pub struct StoreOptions {
    /// The file may grow to this size; beyond it a write fails with [`StoreFault::Full`]. `None`
    /// (the default) for as far as the disk goes.
    pub file_size_max_bytes: Option<u64>,
    /// Who signs the receipts of what is committed, from when on. `None` (the default) for a store that
    /// commits nothing, or keeps no evidence; one that has kept it once asks for it ever after.
    pub receipts: Option<(Signer, WallTime)>,
    /// The time, for the record of when another life began. `None` (the default) for that of `receipts`.
    pub now: Option<WallTime>,
    /// Asked before each commit; `false` makes that commit fail as a dying disk would. `None` (the
    /// default) outside of simulations.
    pub before_commit: Option<Box<dyn FnMut() -> bool + Send>>,
}

impl fmt::Debug for StoreOptions {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("StoreOptions")
            .field("file_size_max_bytes", &self.file_size_max_bytes)
            .field("receipts", &self.receipts.is_some())
            .field("now", &self.now)
            .field("before_commit", &self.before_commit.is_some())
            .finish()
    }
}

/// The relay's storage in one SQLite file.
pub struct SqliteStore {
    connection: Connection,
    path: PathBuf,
    incarnation: Incarnation,
    // Invariant: names the lineage inside the database. `None` after it could not be written.
    side: Option<SideFile>,
    receipts: Option<(Signer, WallTime)>,
    /// Where the nonces come from under which devices prove what they hold.
    nonces: Random,
    /// Who acts.
    pub(crate) by: By,
}

impl fmt::Debug for SqliteStore {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("SqliteStore")
            .field("path", &self.path)
            .field("incarnation", &self.incarnation)
            .finish_non_exhaustive()
    }
}

impl SqliteStore {
    /// Opens a relay's file, or makes one.
    ///
    /// # Errors
    ///
    /// [`OpenError`]; the file is then as it was.
    pub fn open(
        path: &Path,
        mut options: StoreOptions,
        random: &mut Random,
    ) -> Result<Self, OpenError> {
        let receipts = options.receipts.take();
        let signed = receipts.as_ref().map(|(_, at)| *at);
        let now = options.now.or(signed);
        let unusable = |source| OpenError::Unusable {
            path: path.to_owned(),
            source,
        };
        if !is_ours_or_empty(path).map_err(unusable)? {
            return Err(OpenError::Foreign {
                path: path.to_owned(),
            });
        }
        // Read before the database: commits that another process makes meanwhile are then in both.
        let seen = SideFile::read(path).map_err(unusable)?;
        let connection = Self::connect(path, options)?;
        let mut store = Self {
            connection,
            path: path.to_owned(),
            incarnation: Incarnation::new([0; 16]),
            side: None,
            receipts,
            nonces: random.fork(),
            by: By::default(),
        };
        store.settle_incarnation(seen, now, random)?;
        store.begin_segment()?;
        Ok(store)
    }

    /// Returns the id of this life of the database.
    pub const fn incarnation(&self) -> Incarnation {
        self.incarnation
    }

    /// Begins another life of the database: every device will compare what it holds.
    ///
    /// For an operator who restored a backup together with the file beside it, which hides it.
    ///
    /// # Errors
    ///
    /// [`OpenError`]; the incarnation is then unchanged, or changes at the next opening.
    pub fn new_incarnation(
        &mut self,
        now: WallTime,
        random: &mut Random,
    ) -> Result<Incarnation, OpenError> {
        self.settle_incarnation(None, Some(now), random)?;
        self.begin_segment()?;
        Ok(self.incarnation)
    }

    /// Opens a second connection that only reads, for another thread.
    ///
    /// # Errors
    ///
    /// [`OpenError::Database`] if the database will not open again.
    pub fn reader(&self) -> Result<SqliteReader, OpenError> {
        let database = |error| OpenError::Database {
            path: self.path.clone(),
            source: fault(error),
        };
        let flags = OpenFlags::SQLITE_OPEN_READ_ONLY | OpenFlags::SQLITE_OPEN_NO_MUTEX;
        let connection = Connection::open_with_flags(&self.path, flags).map_err(database)?;
        settle(&connection).map_err(database)?;
        Ok(SqliteReader { connection })
    }

    /// Sets how far the file may grow; `None` for as far as the disk goes.
    ///
    /// # Errors
    ///
    /// [`StoreFault`] if the database does not answer.
    pub fn set_file_size_max(&mut self, bytes: Option<u64>) -> Result<(), StoreFault> {
        set_file_size_max(&self.connection, bytes).map_err(fault)
    }

    /// Reads the whole file and checks its structure.
    ///
    /// # Errors
    ///
    /// [`StoreFault::Damaged`] with what was found first.
    pub fn check(&self) -> Result<(), StoreFault> {
        let found: String = self
            .connection
            .query_row("PRAGMA quick_check(1)", [], |row| row.get(0))
            .map_err(fault)?;
        if found == "ok" {
            Ok(())
        } else {
            Err(StoreFault::Damaged { detail: found })
        }
    }

    pub(crate) const fn connection(&self) -> &Connection {
        &self.connection
    }

    /// Returns who signs receipts, if anybody does.
    pub(crate) fn signer(&self) -> Option<Signer> {
        self.receipts.as_ref().map(|(signer, _)| signer.clone())
    }

    /// Runs `work` in one write transaction and commits it, durably.
    pub(crate) fn write<T>(
        &mut self,
        work: impl FnOnce(&Transaction<'_>) -> Result<T, StoreFault>,
    ) -> Result<T, StoreFault> {
        let tx = self
            .connection
            .transaction_with_behavior(TransactionBehavior::Immediate)
            .map_err(fault)?;
        let done = work(&tx)?;
        let commits: i64 = tx
            .prepare_cached("UPDATE meta SET commits = commits + 1 RETURNING commits")
            .and_then(|mut statement| statement.query_row([], |row| row.get(0)))
            .map_err(fault)?;
        tx.commit().map_err(fault)?;
        // The commit stands whatever becomes of the note. Without a note the next opening takes the
        // file for older than it is, which is safe: a restored backup is then noticed all the same.
        if let Some(side) = &mut self.side
            && side.note(from_sql(commits)?).is_err()
        {
            self.side = None;
        }
        Ok(done)
    }

    fn connect(path: &Path, options: StoreOptions) -> Result<Connection, OpenError> {
        let database = |error| OpenError::Database {
            path: path.to_owned(),
            source: fault(error),
        };
        let flags = OpenFlags::SQLITE_OPEN_READ_WRITE
            | OpenFlags::SQLITE_OPEN_CREATE
            | OpenFlags::SQLITE_OPEN_NO_MUTEX;
        let mut connection = Connection::open_with_flags(path, flags).map_err(database)?;
        settle(&connection).map_err(database)?;
        let version: i32 = connection
            .query_row("PRAGMA user_version", [], |row| row.get(0))
            .map_err(database)?;
        if version > schema::newest() {
            return Err(OpenError::Newer {
                path: path.to_owned(),
                version,
            });
        }
        prepare_file(&mut connection).map_err(database)?;
        set_file_size_max(&connection, options.file_size_max_bytes).map_err(database)?;
        if let Some(mut allowed) = options.before_commit {
            connection
                .commit_hook(Some(move || !allowed()))
                .map_err(database)?;
        }
        Ok(connection)
    }

    /// Begins another segment of receipts if the life of the database or the key is another one.
    fn begin_segment(&mut self) -> Result<(), OpenError> {
        let Some((signer, at)) = self.receipts.clone() else {
            return Ok(());
        };
        let incarnation = self.incarnation;
        let begins = evidence::must_begin(&self.connection, incarnation, &signer).and_then(|due| {
            if due {
                self.write(|tx| evidence::begin(tx, incarnation, &signer, at))?;
            }
            Ok(())
        });
        begins.map_err(|source| OpenError::Database {
            path: self.path.clone(),
            source,
        })
    }

    /// Goes on with the incarnation inside the database, or begins another if it is not the
    /// database that `seen` speaks of.
    fn settle_incarnation(
        &mut self,
        seen: Option<Seen>,
        now: Option<WallTime>,
        random: &mut Random,
    ) -> Result<(), OpenError> {
        let path = self.path.clone();
        let database = |source| OpenError::Database {
            path: path.clone(),
            source,
        };
        let unusable = |source| OpenError::Unusable {
            path: path.clone(),
            source,
        };
        let held = read::meta(&self.connection).map_err(database)?;
        if let (Some(held), Some(seen)) = (&held, seen)
            && held.lineage == seen.lineage
            && held.commits >= seen.commits
        {
            self.incarnation = held.incarnation;
            let now = Seen {
                commits: held.commits,
                ..seen
            };
            self.side = Some(SideFile::begin(&path, now).map_err(unusable)?);
            return Ok(());
        }
        let incarnation = Incarnation::new(random.bytes());
        let lineage = random.bytes();
        let commits = held.map_or(0, |held| held.commits);
        // The file first: a crash in between leaves two that differ, and so another new
        // incarnation. The other way round it could leave two that agree by accident.
        let side = SideFile::begin(&path, Seen { lineage, commits }).map_err(unusable)?;
        self.side = None;
        let begin = |connection: &Connection| {
            let tx = connection.unchecked_transaction()?;
            tx.execute(
                "INSERT INTO meta (id, incarnation, lineage, commits, rights_version)
                 VALUES (1, ?1, ?2, ?3, 1)
                 ON CONFLICT DO UPDATE SET incarnation = ?1, lineage = ?2, was_restored = 1",
                params![incarnation.bytes(), lineage, to_sql(commits)],
            )?;
            lives::begin(&tx, incarnation, now)?;
            tx.commit()
        };
        begin(&self.connection).map_err(|error| database(fault(error)))?;
        self.side = Some(side);
        self.incarnation = incarnation;
        Ok(())
    }
}

impl Store for SqliteStore {
    fn run(&mut self, task: &Task) -> Result<Answer, StoreFault> {
        match task {
            Task::Commit(batch) => {
                let signer = self.signer();
                self.write(|tx| commit::commit(tx, batch, signer.as_ref()))
            }
            Task::Marks(marks) => {
                self.write(|tx| commit::marks(tx, marks))?;
                Ok(Answer::Marked)
            }
            Task::Keep(removal) => {
                let receipts = self.receipts.clone();
                let signer = receipts.as_ref().map(|(signer, _)| signer);
                self.write(|tx| leaving::keep(tx, signer, removal))?;
                Ok(Answer::Kept)
            }
            Task::Greet { .. }
            | Task::Rights { .. }
            | Task::Load { .. }
            | Task::ReadFeed { .. }
            | Task::ReadSnapshot { .. }
            | Task::Inventory { .. }
            | Task::Compare { .. }
            | Task::ReadChunks { .. } => read::run(&self.connection, task),
            Task::Offer { device, offer, at } => {
                let nonce = BlobNonce::from_bytes(self.nonces.bytes());
                let standing = self.write(|tx| blobs::offer(tx, *device, offer, *at, nonce))?;
                Ok(Answer::Offered(standing))
            }
            Task::KeepChunks { chunks, at } => self.write(|tx| blobs::keep_chunks(tx, chunks, *at)),
            Task::Bring { blobs, at } => {
                let kept = self.write(|tx| blobs::bring(tx, blobs, *at))?;
                Ok(Answer::Brought(kept))
            }
            Task::Prove {
                device,
                offer,
                nonce,
                proof,
                at,
            } => {
                let proof = (nonce, proof);
                let proven = self.write(|tx| blobs::prove(tx, *device, offer, proof, *at))?;
                Ok(Answer::Proven(proven))
            }
        }
    }
}

/// A second connection to a [`SqliteStore`]'s file, which does all tasks that do not write.
#[derive(Debug)]
pub struct SqliteReader {
    connection: Connection,
}

impl SqliteReader {
    pub(crate) const fn connection(&self) -> &Connection {
        &self.connection
    }
}

impl Store for SqliteReader {
    /// Does one task that does not write.
    ///
    /// # Errors
    ///
    /// [`StoreFault`]; for a task that writes, always.
    fn run(&mut self, task: &Task) -> Result<Answer, StoreFault> {
        read::run(&self.connection, task)
    }
}

/// Looks at a file's first bytes alone, so that a foreign one is not touched in any way.
pub(crate) fn is_ours_or_empty(path: &Path) -> io::Result<bool> {
    let mut head = Vec::new();
    match File::open(path) {
        Ok(file) => file.take(100).read_to_end(&mut head)?,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(true),
        Err(error) => return Err(error),
    };
    let id = head.get(APPLICATION_ID_AT..APPLICATION_ID_AT + 4);
    Ok(head.is_empty()
        || head.starts_with(b"SQLite format 3\0")
            && id == Some(&schema::APPLICATION_ID.to_be_bytes()))
}

/// Sets what is the same for every connection.
pub(crate) fn settle(connection: &Connection) -> rusqlite::Result<()> {
    connection.busy_timeout(BUSY_TIMEOUT)?;
    connection.set_prepared_statement_cache_capacity(STATEMENTS_KEPT);
    // One plan a statement: otherwise each new binding compiles it anew, a seventh of all work.
    connection.set_db_config(DbConfig::SQLITE_DBCONFIG_ENABLE_QPSG, true)?;
    connection.pragma_update(None, "cache_size", -CACHE_KIB)?;
    connection.pragma_update(None, "trusted_schema", false)?;
    connection.pragma_update(None, "cell_size_check", true)?;
    connection.pragma_update(None, "temp_store", "memory")
}

/// Marks the file as ours, sets what makes a commit durable, and brings the tables up to date.
fn prepare_file(connection: &mut Connection) -> rusqlite::Result<()> {
    let id: i32 = connection.query_row("PRAGMA application_id", [], |row| row.get(0))?;
    if id != schema::APPLICATION_ID {
        // Before WAL mode, so that the mark is in the file itself from its first page on.
        connection.pragma_update(None, "application_id", schema::APPLICATION_ID)?;
    }
    connection.pragma_update_and_check(None, "journal_mode", "wal", |_| Ok(()))?;
    connection.pragma_update(None, "synchronous", "full")?;
    connection.pragma_update_and_check(None, "journal_size_limit", WAL_BYTES_KEPT, |_| Ok(()))?;
    schema::migrate(connection)
}

fn set_file_size_max(connection: &Connection, bytes: Option<u64>) -> rusqlite::Result<()> {
    // SQLite's own highest number of pages stands for "as far as the disk goes".
    let pages = bytes.map_or(4_294_967_294, |bytes| bytes / PAGE_BYTES);
    connection.pragma_update_and_check(None, "max_page_count", to_sql(pages), |_| Ok(()))
}
