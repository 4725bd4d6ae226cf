//! Counts the operations of a change before anything expands them.
//!
//! Columns are run-length encoded: a few bytes can name billions of rows, and decoding them costs
//! memory for each. So the runs are summed first. Column ids and encodings are Automerge's; a
//! column it does not write is an error here.

use crate::ParseError;
use crate::chunk::Reader;

/// How the values of a column are spelled.
#[derive(Clone, Copy, Debug)]
enum Spelling {
    /// Run-length encoded unsigned numbers.
    Unsigned,
    /// Run-length encoded signed differences.
    Signed,
    /// Run-length encoded strings.
    Text,
    /// Lengths of alternating runs of no and yes.
    Boolean,
    /// Bytes without rows of their own.
    Raw,
}

/// What a column's rows stand for.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
enum Rows {
    /// One for each operation.
    Operations,
    /// One for each operation, saying how many it replaces.
    ReplacedCounts,
    /// One for each operation that is replaced.
    Replaced,
}

/// Returns what a column is, by Automerge's specification of it (id and type).
const fn column(spec: u64) -> Option<(Spelling, Rows)> {
    Some(match spec {
        0x01 | 0x02 | 0x11 | 0x42 | 0x56 => (Spelling::Unsigned, Rows::Operations),
        0x13 => (Spelling::Signed, Rows::Operations),
        0x15 | 0xa5 => (Spelling::Text, Rows::Operations),
        0x34 | 0x94 => (Spelling::Boolean, Rows::Operations),
        0x57 => (Spelling::Raw, Rows::Operations),
        0x70 => (Spelling::Unsigned, Rows::ReplacedCounts),
        0x71 => (Spelling::Unsigned, Rows::Replaced),
        0x73 => (Spelling::Signed, Rows::Replaced),
        _ => return None,
    })
}

/// What the columns of a change name, at most.
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq)]
pub(super) struct Counted {
    /// Operations.
    pub(super) rows: u64,
    /// Earlier operations that these replace.
    pub(super) replaced: u64,
}

/// Sums the runs of every column, without expanding any.
pub(super) fn count(columns: &[(u64, &[u8])]) -> Result<Counted, ParseError> {
    let mut counted = Counted::default();
    if !columns.is_sorted_by(|one, next| one.0 < next.0) {
        return Err(ParseError::BadColumn);
    }
    for (spec, bytes) in columns {
        let (spelling, rows) = column(*spec).ok_or(ParseError::BadColumn)?;
        let (count, sum) = runs(bytes, spelling)?;
        match rows {
            Rows::Operations => counted.rows = counted.rows.max(count),
            Rows::ReplacedCounts => {
                counted.rows = counted.rows.max(count);
                counted.replaced = counted.replaced.max(sum);
            }
            Rows::Replaced => counted.replaced = counted.replaced.max(count),
        }
    }
    Ok(counted)
}

/// Returns how many values a column names, and the sum of unsigned ones; neither overflows.
fn runs(bytes: &[u8], spelling: Spelling) -> Result<(u64, u64), ParseError> {
    let mut reader = Reader { rest: bytes };
    let (mut count, mut sum) = (0_u64, 0_u64);
    while !reader.rest.is_empty() {
        match spelling {
            Spelling::Raw => return Ok((0, 0)),
            Spelling::Boolean => count = count.saturating_add(reader.unsigned()?),
            Spelling::Unsigned | Spelling::Signed | Spelling::Text => {
                let run = reader.signed()?;
                let length = run.unsigned_abs();
                // Nulls have a count and no value; a run has one value; literals one each.
                let (rows, values, times) = match run {
                    0 => (reader.unsigned()?, 0, 0),
                    1.. => (length, 1, length),
                    ..0 => (length, length, 1),
                };
                count = count.saturating_add(rows);
                for _ in 0..values {
                    let value = match spelling {
                        Spelling::Unsigned => reader.unsigned()?,
                        Spelling::Signed => reader.signed().map(|_| 0)?,
                        Spelling::Text => reader.prefixed().map(|_| 0)?,
                        Spelling::Boolean | Spelling::Raw => 0,
                    };
                    sum = sum.saturating_add(value.saturating_mul(times));
                }
            }
        }
    }
    Ok((count, sum))
}
