//! A relay's database in which somebody wrote: verifying it never panics, and never calls it sound if a row that
//! the report speaks for is another.
//!
//! An input is edits of cells, rows deleted and rows exchanged, or bytes of the file itself.

use std::fs;
use std::path::PathBuf;

use gridbeat_relay_store::{Archive, COVERED};
use rusqlite::types::Value;
use rusqlite::{Connection, params_from_iter};
use tempfile::TempDir;

use crate::input::Input;
use crate::world::World;

/// An input that edits rows.
pub(crate) const ROWS: u8 = 0;
/// An input that edits bytes of the file.
pub(crate) const FILE: u8 = 1;

/// What a step does with a row, by its number.
pub(crate) const DELETE: u8 = 0;
pub(crate) const SWAP: u8 = 1;
pub(crate) const CUT: u8 = 2;
pub(crate) const WRITE: u8 = 3;
/// How many kinds of edits there are.
const EDITS: u8 = 4;

/// Most edits of one input.
const EDITS_MAX: usize = 8;

thread_local! {
    static CASE: Case = Case::new();
}

/// A table's covered columns, and its rows.
type Table = (&'static str, &'static [&'static str], Vec<Vec<Value>>);

/// A sound database, and where a bent copy of it lies.
struct Case {
    image: Vec<u8>,
    rows: Vec<Table>,
    path: PathBuf,
    _folder: TempDir,
}

pub(crate) fn evidence(bytes: &[u8]) {
    CASE.with(|case| case.run(&mut Input::new(bytes)));
}

impl Case {
    fn new() -> Self {
        let mut world = World::signed(2);
        for place in [0, 1] {
            world.report(place);
            world.settle(place);
        }
        world.note(0, 0);
        world.settle(0);
        let folder = world.into_folder();
        let source = folder.path().join("relay.db");
        let path = folder.path().join("bent.db");
        // Without triggers, in one file, and small pages: whoever means to write gets to that by himself.
        let connection = Connection::open(&source).expect("the relay closed it");
        let triggers: Vec<String> = connection
            .prepare("SELECT name FROM sqlite_schema WHERE type = 'trigger'")
            .and_then(|mut find| find.query_map([], |row| row.get(0))?.collect())
            .expect("every database has a schema");
        for name in triggers {
            let drop = connection.execute_batch(&format!("DROP TRIGGER {name}"));
            drop.expect("it was listed");
        }
        connection
            .execute_batch("PRAGMA journal_mode = DELETE; PRAGMA page_size = 512; VACUUM")
            .expect("a whole database is written anew");
        drop(connection);
        let image = fs::read(&source).expect("it was written");
        fs::write(&path, &image).expect("there is room");
        let rows = read_all(&path).expect("a sound database is read");
        let case = Self {
            image,
            rows,
            path,
            _folder: folder,
        };
        assert_eq!(case.is_sound(), Some(true), "nobody wrote in it yet");
        case
    }

    fn run(&self, input: &mut Input<'_>) {
        let mode = input.byte() % 2;
        let mut image = self.image.clone();
        if mode == FILE {
            for _ in 0..EDITS_MAX {
                let place = input.number() * 256 + usize::from(input.byte());
                let length = image.len();
                image[place % length] = input.byte();
                if input.rest.is_empty() {
                    break;
                }
            }
        }
        fs::write(&self.path, &image).expect("there is room");
        if mode == ROWS {
            self.edit(input);
        }
        if self.is_sound() == Some(true) {
            let rows = read_all(&self.path);
            let same = rows.is_some_and(|rows| rows == self.rows);
            assert!(same, "what somebody wrote in is called sound");
        }
    }

    /// Returns what verifying says; `None` if it cannot be verified at all.
    fn is_sound(&self) -> Option<bool> {
        let archive = Archive::open(&self.path).ok()?;
        let report = archive.verify().ok()?;
        Some(report.is_sound())
    }

    fn edit(&self, input: &mut Input<'_>) {
        let db = Connection::open(&self.path).expect("it was just written");
        let fast = "PRAGMA synchronous = OFF; PRAGMA journal_mode = OFF";
        db.execute_batch(fast)
            .expect("it may be written without care");
        for _ in 0..EDITS_MAX {
            let what = input.byte() % EDITS;
            let (table, columns, rows) = &self.rows[usize::from(input.byte()) % self.rows.len()];
            let row = usize::from(input.byte()) % rows.len().max(1);
            let column = columns[usize::from(input.byte()) % columns.len()];
            // What the table does not take is no edit; the next one is tried.
            let _ = match what {
                DELETE => execute(
                    &db,
                    &format!("DELETE FROM {table} WHERE {}", at(table, row)),
                    [],
                ),
                SWAP => {
                    let other = usize::from(input.byte()) % rows.len().max(1);
                    let (here, there) = (at(table, row), at(table, other));
                    let value = format!("(SELECT {column} FROM {table} WHERE {there})");
                    execute(
                        &db,
                        &format!("UPDATE {table} SET {column} = {value} WHERE {here}"),
                        [],
                    )
                }
                CUT => {
                    let length = input.number();
                    let value = format!("substr({column}, 1, {length})");
                    execute(
                        &db,
                        &format!(
                            "UPDATE {table} SET {column} = {value} WHERE {}",
                            at(table, row)
                        ),
                        [],
                    )
                }
                _ => {
                    let place = columns.iter().position(|it| *it == column).unwrap_or(0);
                    let Some(value) = rows.get(row).map(|row| row[place].clone()) else {
                        continue;
                    };
                    let value = written(value, input);
                    execute(
                        &db,
                        &format!("UPDATE {table} SET {column} = ? WHERE {}", at(table, row)),
                        [value],
                    )
                }
            };
            if input.rest.is_empty() {
                break;
            }
        }
    }
}

/// Names a row by its place, for tables with a row id and without.
fn at(table: &str, row: usize) -> String {
    let key = match table {
        "receipt" | "chain" | "batch" | "scope" | "document" | "operation" => "id",
        "device_key" => "(device, key)",
        "change" => "(document, n)",
        _ => "(scope, seq)",
    };
    let columns = key.trim_matches(['(', ')']);
    format!("{key} = (SELECT {columns} FROM {table} ORDER BY {columns} LIMIT 1 OFFSET {row})")
}

/// Bends a value by an input.
fn written(value: Value, input: &mut Input<'_>) -> Value {
    match value {
        Value::Blob(mut bytes) => {
            let place = input.number() % bytes.len().max(1);
            let byte = input.byte();
            if let Some(it) = bytes.get_mut(place) {
                *it = byte;
            } else {
                bytes.push(byte);
            }
            Value::Blob(bytes)
        }
        Value::Integer(number) => {
            let bytes = input.take(8);
            let other = bytes
                .iter()
                .fold(0_i64, |sum, byte| (sum << 8) | i64::from(*byte));
            Value::Integer(if bytes.len() < 2 {
                number.wrapping_add(other)
            } else {
                other
            })
        }
        Value::Text(_) => Value::Text(String::from_utf8_lossy(input.piece()).into_owned()),
        Value::Null | Value::Real(_) => Value::Null,
    }
}

fn execute<const N: usize>(
    db: &Connection,
    sql: &str,
    values: [Value; N],
) -> rusqlite::Result<usize> {
    db.prepare_cached(sql)?.execute(params_from_iter(values))
}

/// Reads every covered column of every covered table, in the order of the tables' keys.
fn read_all(path: &PathBuf) -> Option<Vec<Table>> {
    let db = Connection::open(path).ok()?;
    let tables = COVERED.iter().map(|(table, columns)| {
        let order: Vec<String> = (1..=columns.len()).map(|place| place.to_string()).collect();
        let sql = format!(
            "SELECT {} FROM {table} ORDER BY {}",
            columns.join(", "),
            order.join(", ")
        );
        let mut find = db.prepare(&sql).ok()?;
        let rows = find.query_map([], |row| (0..columns.len()).map(|at| row.get(at)).collect());
        let rows: rusqlite::Result<Vec<Vec<Value>>> = rows.ok()?.collect();
        Some((*table, *columns, rows.ok()?))
    });
    tables.collect()
}
