//! Database files as a crash, a backup or a clone leaves them.
//!
//! A file lives in a folder of its own, one folder a generation. A crash copies the database and
//! its write-ahead log as they lie, and the next life opens the copy: exactly what a killed process
//! leaves, without SQLite's tidy closing. Not here: lost or reordered unsynced writes, which need a
//! file system of their own; the process tests kill at every fsync instead.

use std::fs;
use std::io::Write as _;
use std::path::{Path, PathBuf};

use gridbeat_base::Random;

/// Bytes of a frame of the write-ahead log: a page and its head (SQLite's file format, 4.2).
const FRAME_BYTES: u64 = 4_096 + 24;

/// The folders of one database, generation after generation.
#[derive(Debug)]
pub(crate) struct Files {
    root: PathBuf,
    name: &'static str,
    generation: u64,
}

impl Files {
    /// Begins with an empty folder below `root`.
    pub(crate) fn new(root: PathBuf, name: &'static str) -> Self {
        let files = Self {
            root,
            name,
            generation: 0,
        };
        fs::create_dir_all(files.folder(0)).expect("the simulator's folder can be made");
        files
    }

    /// Returns where the living database is.
    pub(crate) fn path(&self) -> PathBuf {
        self.folder(self.generation).join(self.name)
    }

    /// Copies the living database as it lies into a new generation and makes that the living one.
    ///
    /// Call it before the connection is dropped. With `torn`, the write-ahead log of the copy ends
    /// in bytes of a frame that was never finished.
    pub(crate) fn crash(&mut self, torn: Option<&mut Random>) {
        let old = self.path();
        self.generation += 1;
        self.copy_from(&old);
        // A relay's, which tells a crash from a restored backup: it is in no backup.
        copy_if_there(
            &side_file(&old, ".incarnation"),
            &side_file(&self.path(), ".incarnation"),
        );
        let log = side_file(&self.path(), "-wal");
        if let (Some(random), true) = (torn, log.exists()) {
            let length = usize::try_from(1 + random.below(4_000)).unwrap_or(1);
            let garbage: Vec<u8> = (0..length).map(|_| random.bytes::<1>()[0]).collect();
            let mut file = fs::OpenOptions::new()
                .append(true)
                .open(log)
                .expect("the log was copied");
            file.write_all(&garbage)
                .expect("the simulator's disk has room");
        }
    }

    /// Cuts the end off the write-ahead log, as if the last frame had still been under way: what a log that ends
    /// with a commit loses by it is that commit, and nothing before.
    pub(crate) fn tear(&self, random: &mut Random) {
        let log = side_file(&self.path(), "-wal");
        if let Ok(file) = fs::OpenOptions::new().write(true).open(log) {
            let length = file.metadata().map_or(0, |it| it.len());
            let kept = length.saturating_sub(1 + random.below(FRAME_BYTES - 1));
            file.set_len(kept).expect("a file can be cut");
        }
    }

    /// Copies the living database aside, and returns where: a backup, or a clone's beginning.
    pub(crate) fn copy_aside(&self, name: &str) -> PathBuf {
        let folder = self.root.join(name);
        fs::create_dir_all(&folder).expect("the simulator's folder can be made");
        let copy = folder.join(self.name);
        copy_database(&self.path(), &copy);
        copy
    }

    /// Makes a copy that was put aside the living database.
    pub(crate) fn restore(&mut self, copy: &Path) {
        self.generation += 1;
        self.copy_from(copy);
    }

    /// Removes the folders of earlier generations, whose connections are gone.
    pub(crate) fn tidy(&self) {
        for generation in 0..self.generation {
            // An earlier call may have removed it.
            let _ = fs::remove_dir_all(self.folder(generation));
        }
    }

    fn folder(&self, generation: u64) -> PathBuf {
        self.root.join(format!("{generation}"))
    }

    fn copy_from(&self, source: &Path) {
        fs::create_dir_all(self.folder(self.generation))
            .expect("the simulator's folder can be made");
        copy_database(source, &self.path());
    }
}

fn copy_database(from: &Path, to: &Path) {
    for suffix in ["", "-wal"] {
        copy_if_there(&side_file(from, suffix), &side_file(to, suffix));
    }
}

fn copy_if_there(from: &Path, to: &Path) {
    if from.exists() {
        fs::copy(from, to).expect("the simulator's disk has room");
    }
}

fn side_file(path: &Path, suffix: &str) -> PathBuf {
    let mut name = path.as_os_str().to_owned();
    name.push(suffix);
    name.into()
}
