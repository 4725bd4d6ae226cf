//! Ten thousand random edits of one row of a relay's file: a byte of a cell, a row deleted, two rows
//! exchanged. Each must be found, and the first finding must name the row.

use std::path::Path;
use std::sync::atomic::{AtomicU64, Ordering};

use gridbeat_base::Random;
use gridbeat_relay_store::{Archive, COVERED};
use rusqlite::types::Value;
use rusqlite::{Connection, params_from_iter};

use super::a_days_work;

/// How many edits are made.
const EDITS: u64 = 10_000;

/// A table, its key and its columns, and its rows as they were.
struct Table {
    name: &'static str,
    covered: &'static [&'static str],
    key: Vec<String>,
    columns: Vec<String>,
    rows: Vec<Vec<Value>>,
}

/// An edit that was made: in words, and the keys of the rows it touched.
struct Edit {
    words: String,
    rows: Vec<String>,
}

impl Table {
    fn read(db: &Connection, name: &'static str, covered: &'static [&'static str]) -> Self {
        let mut find = db.prepare(&format!("PRAGMA table_info({name})")).unwrap();
        let columns: Vec<(String, bool)> = find
            .query_map([], |row| Ok((row.get(1)?, row.get::<_, i64>(5)? > 0)))
            .unwrap()
            .collect::<rusqlite::Result<_>>()
            .unwrap();
        let mut find = db.prepare(&format!("SELECT * FROM {name}")).unwrap();
        let rows = find
            .query_map([], |row| (0..columns.len()).map(|at| row.get(at)).collect())
            .unwrap()
            .collect::<rusqlite::Result<_>>()
            .unwrap();
        let key = columns.iter().filter(|(_, is_key)| *is_key);
        Self {
            name,
            covered,
            key: key.map(|(name, _)| name.clone()).collect(),
            columns: columns.iter().map(|(name, _)| name.clone()).collect(),
            rows,
        }
    }

    fn place(&self, column: &str) -> usize {
        self.columns.iter().position(|it| it == column).unwrap()
    }

    /// A row's key as findings write it.
    fn key_of(&self, row: &[Value]) -> String {
        let part = |name: &String| match &row[self.place(name)] {
            Value::Integer(number) => format!("{name}={number}"),
            Value::Blob(bytes) => {
                let digits: String = bytes.iter().map(|byte| format!("{byte:02x}")).collect();
                format!("{name}={digits}")
            }
            other @ (Value::Null | Value::Real(_) | Value::Text(_)) => panic!("{other:?}"),
        };
        self.key.iter().map(part).collect::<Vec<_>>().join(" ")
    }

    fn delete(&self, db: &Connection, row: &[Value]) -> rusqlite::Result<()> {
        let wanted: Vec<String> = self.key.iter().map(|name| format!("{name} = ?")).collect();
        let sql = format!("DELETE FROM {} WHERE {}", self.name, wanted.join(" AND "));
        let key = self.key.iter().map(|name| &row[self.place(name)]);
        let gone = db.prepare_cached(&sql)?.execute(params_from_iter(key))?;
        assert_eq!(gone, 1, "{sql}");
        Ok(())
    }

    fn insert(&self, db: &Connection, row: &[Value]) -> rusqlite::Result<()> {
        let places: Vec<String> = self
            .columns
            .iter()
            .zip(row)
            .map(|(_, value)| match value {
                // Bytes that need not be text, where a text must stand.
                Value::Text(_) => "CAST(? AS TEXT)".to_owned(),
                Value::Null | Value::Integer(_) | Value::Real(_) | Value::Blob(_) => "?".to_owned(),
            })
            .collect();
        let sql = format!("INSERT INTO {} VALUES ({})", self.name, places.join(", "));
        db.prepare_cached(&sql)?.execute(params_from_iter(row))?;
        Ok(())
    }

    /// Puts everything back as it was.
    fn restore(&self, db: &Connection) {
        db.execute(&format!("DELETE FROM {}", self.name), [])
            .unwrap();
        for row in &self.rows {
            self.insert(db, row).unwrap();
        }
    }

    /// Edits one row, or two; `None` if what was drawn cannot be, or is no edit.
    fn edit(&self, db: &Connection, random: &mut Random) -> Option<Edit> {
        let draw = |random: &mut Random, count: usize| {
            usize::try_from(random.below(count as u64)).unwrap()
        };
        let row = &self.rows[draw(random, self.rows.len())];
        let key = self.key_of(row);
        match random.below(10) {
            0 | 1 => {
                self.delete(db, row).unwrap();
                Some(Edit {
                    words: format!("deleted {} {key}", self.name),
                    rows: vec![key],
                })
            }
            2 | 3 => {
                let other = &self.rows[draw(random, self.rows.len())];
                let (mut one, mut two) = (row.clone(), other.clone());
                for (at, name) in self.columns.iter().enumerate() {
                    if !self.key.contains(name) {
                        std::mem::swap(&mut one[at], &mut two[at]);
                    }
                }
                if one == *row {
                    return None;
                }
                self.delete(db, row).unwrap();
                self.delete(db, other).unwrap();
                self.insert(db, &one).unwrap();
                self.insert(db, &two).unwrap();
                let rows = vec![key, self.key_of(other)];
                Some(Edit {
                    words: format!("exchanged {} {rows:?}", self.name),
                    rows,
                })
            }
            _ => {
                let column = self.covered[draw(random, self.covered.len())];
                let mut edited = row.clone();
                let cell = &mut edited[self.place(column)];
                let flip = 1 + u8::try_from(random.below(255)).unwrap();
                match cell {
                    Value::Blob(bytes) => {
                        let at = draw(random, bytes.len());
                        bytes[at] ^= flip;
                    }
                    Value::Text(text) => {
                        let at = draw(random, text.chars().count());
                        let mut letters: Vec<char> = text.chars().collect();
                        letters[at] = char::from(flip | 1);
                        *text = letters.into_iter().collect();
                    }
                    Value::Integer(number) => {
                        *number ^= i64::from(flip) << (8 * random.below(8));
                    }
                    Value::Null | Value::Real(_) => panic!("{column} of {}", self.name),
                }
                if edited == *row {
                    return None;
                }
                self.delete(db, row).unwrap();
                let rows = vec![key.clone(), self.key_of(&edited)];
                // A key that is taken, or a check of the table's.
                self.insert(db, &edited).ok()?;
                Some(Edit {
                    words: format!("edited {column} of {} {key}", self.name),
                    rows,
                })
            }
        }
    }
}

/// Makes edits until so many are made by all threads together; says of which nothing, or something else,
/// was found first.
fn make_edits(file: &Path, seed: u64, made: &AtomicU64) -> Vec<String> {
    let db = Connection::open(file).unwrap();
    db.execute_batch("PRAGMA synchronous = OFF; PRAGMA journal_mode = MEMORY")
        .unwrap();
    let triggers: Vec<String> = db
        .prepare("SELECT name FROM sqlite_schema WHERE type = 'trigger'")
        .unwrap()
        .query_map([], |row| row.get(0))
        .unwrap()
        .collect::<rusqlite::Result<_>>()
        .unwrap();
    for name in triggers {
        db.execute(&format!("DROP TRIGGER {name}"), []).unwrap();
    }
    let tables: Vec<Table> = COVERED
        .iter()
        .map(|(name, columns)| Table::read(&db, name, columns))
        .collect();
    let archive = || Archive::open(file).unwrap().verify();
    assert!(archive().unwrap().is_sound(), "nothing was edited yet");
    let mut random = Random::from_number(seed);
    let mut missed = Vec::new();
    while made.load(Ordering::Relaxed) < EDITS {
        let table = &tables[usize::try_from(random.below(tables.len() as u64)).unwrap()];
        if let Some(Edit { words, rows }) = table.edit(&db, &mut random) {
            made.fetch_add(1, Ordering::Relaxed);
            let report = archive().unwrap();
            match report.findings.first() {
                None => missed.push(format!("{words}: nothing was found")),
                Some(found) if found.table != table.name || !rows.contains(&found.row) => {
                    missed.push(format!("{words}: found {found}"));
                }
                Some(_) => {}
            }
        }
        table.restore(&db);
    }
    assert!(archive().unwrap().is_sound(), "everything was put back");
    missed
}

#[test]
fn ten_thousand_edits_of_one_row_are_all_found_and_named() {
    let mut world = a_days_work();
    let made = AtomicU64::new(0);
    let mut copies = Vec::new();
    world.restart_relay(|file| {
        for seed in 1..=2_u64 {
            let copy = file.with_extension(format!("copy-{seed}"));
            std::fs::copy(file, &copy).unwrap();
            copies.push((seed, copy));
        }
    });
    let missed: Vec<String> = std::thread::scope(|scope| {
        let jobs: Vec<_> = copies
            .iter()
            .map(|(seed, copy)| scope.spawn(|| make_edits(copy, *seed, &made)))
            .collect();
        jobs.into_iter()
            .flat_map(|job| job.join().unwrap())
            .collect()
    });
    assert!(made.into_inner() >= EDITS);
    let first = &missed[..missed.len().min(20)];
    assert!(missed.is_empty(), "{} of {EDITS}: {first:#?}", missed.len());
}
