//! The operators' log: who did what at the relay, to what, and why. Only ever added to.
//!
//! Each entry is written in the transaction of what it tells of, and so is the relay's receipt for it, which
//! names its hash: an entry that is edited, added or taken away later is found (`audit`). Not here: who may
//! call himself what; that is the machine's and the console's to know.

use gridbeat_base::{Remedy, WallTime};
use gridbeat_relay_core::StoreFault;
use gridbeat_sync_protocol::Signer;
use minicbor::Encoder;
use rusqlite::{Connection, Transaction, params};
use sha2::{Digest as _, Sha256};

use crate::error::fault;
use crate::value::{from_sql, to_sql};
use crate::{SqliteReader, SqliteStore, evidence};

/// Longest name of an operator, in bytes: that of an account, or a person's with a service number.
pub const WHO_BYTES_MAX: usize = 64;

/// Longest reason, in bytes: a paragraph of Chinese.
pub const WHY_BYTES_MAX: usize = 1024;

/// What the bytes of every entry begin with, so that its hash is one of nothing else.
const CONTEXT: &[u8] = b"gridbeat operation\0";

/// Who acts at the relay, and why.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct By {
    // Invariant: as `By::new` checks.
    who: String,
    why: String,
}

/// The program itself, for no reason that a person gave.
impl Default for By {
    fn default() -> Self {
        Self {
            who: "relay".to_owned(),
            why: String::new(),
        }
    }
}

impl By {
    /// Returns the name of who acts.
    pub fn who(&self) -> &str {
        &self.who
    }

    /// Names who acts as somebody else has checked.
    pub(crate) fn given(who: &str, why: &str) -> Self {
        Self {
            who: who.to_owned(),
            why: why.to_owned(),
        }
    }

    /// Names who acts, and why; the reason may be empty.
    ///
    /// # Errors
    ///
    /// [`ByError`].
    pub fn new(who: &str, why: &str) -> Result<Self, ByError> {
        let has_controls = |text: &str| text.chars().any(char::is_control);
        if who.trim().is_empty() || who.len() > WHO_BYTES_MAX || has_controls(who) {
            return Err(ByError::Who);
        }
        if why.len() > WHY_BYTES_MAX || has_controls(why) {
            return Err(ByError::Why);
        }
        Ok(Self {
            who: who.to_owned(),
            why: why.to_owned(),
        })
    }
}

/// Why somebody cannot be named in the log.
#[derive(Clone, Copy, Debug, Eq, PartialEq, thiserror::Error)]
#[non_exhaustive]
pub enum ByError {
    /// The name is empty, too long, or has control characters.
    #[error("an operator's name has 1 to {WHO_BYTES_MAX} bytes and no control characters")]
    Who,
    /// The reason is too long, or has control characters.
    #[error("a reason has at most {WHY_BYTES_MAX} bytes and no control characters")]
    Why,
}

impl ByError {
    /// Returns what the caller should do about this error.
    pub const fn remedy(&self) -> Remedy {
        Remedy::FixInput
    }
}

/// One entry of the operators' log.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Operation {
    /// Its number; the first is 1.
    pub number: u64,
    /// When, by the relay's clock.
    pub at: WallTime,
    /// Who.
    pub who: String,
    /// What was done: `device revoke`, `grant add` …
    pub verb: String,
    /// To what: a device, a document, a scope.
    pub subject: String,
    /// Why, as the operator put it; may be empty.
    pub why: String,
    /// What exactly, as words `key=value`; may be empty.
    pub details: String,
}

impl Operation {
    /// Returns the SHA-256 that the entry's receipt names.
    pub(crate) fn hash(&self) -> [u8; 32] {
        let mut out = Encoder::new(CONTEXT.to_vec());
        let texts = [
            &self.who,
            &self.verb,
            &self.subject,
            &self.why,
            &self.details,
        ];
        out.array(7)
            .and_then(|out| out.u64(self.number))
            .and_then(|out| out.i64(self.at.millis()))
            .and_then(|out| texts.into_iter().try_fold(out, |out, text| out.str(text)))
            .expect("memory takes every byte");
        Sha256::digest(out.into_writer()).into()
    }
}

/// What was done, for [`log`].
#[derive(Clone, Debug)]
pub(crate) struct Act {
    pub(crate) verb: &'static str,
    pub(crate) subject: String,
    pub(crate) details: String,
}

/// Puts on record what an operator does in this transaction. Every operator's write calls it.
pub(crate) fn log(
    tx: &Transaction<'_>,
    signer: Option<&Signer>,
    by: &By,
    at: WallTime,
    act: Act,
) -> Result<(), StoreFault> {
    let last: i64 = tx
        .query_row("SELECT coalesce(max(id), 0) FROM operation", [], |row| {
            row.get(0)
        })
        .map_err(fault)?;
    let operation = Operation {
        number: from_sql(last)? + 1,
        at,
        who: by.who.clone(),
        verb: act.verb.to_owned(),
        subject: act.subject,
        why: by.why.clone(),
        details: act.details,
    };
    tx.prepare_cached("INSERT INTO operation VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7)")
        .and_then(|mut insert| {
            insert.execute(params![
                to_sql(operation.number),
                at.millis(),
                operation.who,
                operation.verb,
                operation.subject,
                operation.why,
                operation.details
            ])
        })
        .map_err(fault)?;
    evidence::operated(tx, signer, at, operation.number, operation.hash())
}

/// Reads the log in its order: what comes after entry `after`, at most `limit` entries.
pub(crate) fn read(
    connection: &Connection,
    after: u64,
    limit: u64,
) -> Result<Vec<Operation>, StoreFault> {
    let mut find = connection
        .prepare_cached(
            "SELECT id, at, who, verb, subject, why, details FROM operation
             WHERE id > ?1 ORDER BY id LIMIT ?2",
        )
        .map_err(fault)?;
    let rows = find
        .query_map(params![to_sql(after), to_sql(limit)], |row| {
            Ok(Operation {
                number: row.get::<_, i64>(0)?.cast_unsigned(),
                at: WallTime(row.get(1)?),
                who: row.get(2)?,
                verb: row.get(3)?,
                subject: row.get(4)?,
                why: row.get(5)?,
                details: row.get(6)?,
            })
        })
        .map_err(fault)?;
    rows.collect::<rusqlite::Result<_>>().map_err(fault)
}

impl SqliteStore {
    /// Says who acts from here on, and why, until somebody else does. Before the first call it is the program
    /// itself.
    pub fn act_as(&mut self, by: By) {
        self.by = by;
    }

    /// Puts on record what an operator did with the relay's keys, which are no part of the database.
    ///
    /// # Errors
    ///
    /// [`StoreFault`].
    pub fn put_on_record(
        &mut self,
        at: WallTime,
        verb: &'static str,
        subject: &str,
        details: &str,
    ) -> Result<(), StoreFault> {
        let (subject, details) = (subject.to_owned(), details.to_owned());
        let act = Act {
            verb,
            subject,
            details,
        };
        self.operate(at, |_| Ok(((), Some(act))))
    }

    /// Does an operator's work and puts it on record, both or neither. Nothing is put on record of work that
    /// changed nothing: `work` then returns no act.
    pub(crate) fn operate<T>(
        &mut self,
        at: WallTime,
        work: impl FnOnce(&Transaction<'_>) -> Result<(T, Option<Act>), StoreFault>,
    ) -> Result<T, StoreFault> {
        let by = self.by.clone();
        let signer = self.signer();
        self.write(|tx| {
            let (done, act) = work(tx)?;
            if let Some(act) = act {
                log(tx, signer.as_ref(), &by, at, act)?;
            }
            Ok(done)
        })
    }
}

macro_rules! operations {
    ($($name:ident),*) => {$(
        impl $name {
            /// Reads the operators' log in its order: what comes after entry `after`, at most `limit` entries.
            ///
            /// # Errors
            ///
            /// [`StoreFault`].
            pub fn operations(&self, after: u64, limit: u64) -> Result<Vec<Operation>, StoreFault> {
                read(self.connection(), after, limit)
            }
        }
    )*};
}

operations!(SqliteStore, SqliteReader);

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn whoever_acts_has_a_name_that_can_be_read() {
        assert!(By::new("王调度", "手机丢失").is_ok());
        assert!(By::new("root", "").is_ok());
        for bad in ["", "  ", "a\nb", &"x".repeat(65)] {
            assert_eq!(By::new(bad, ""), Err(ByError::Who), "{bad:?}");
        }
        for bad in ["\u{7}", &"x".repeat(1025)] {
            assert_eq!(By::new("root", bad), Err(ByError::Why));
        }
    }

    #[test]
    fn entries_that_differ_anywhere_have_different_hashes() {
        let one = Operation {
            number: 1,
            at: WallTime(5),
            who: "a".into(),
            verb: "device revoke".into(),
            subject: "b".into(),
            why: String::new(),
            details: String::new(),
        };
        let others = [
            Operation {
                number: 2,
                ..one.clone()
            },
            Operation {
                at: WallTime(6),
                ..one.clone()
            },
            Operation {
                who: "ab".into(),
                subject: String::new(),
                ..one.clone()
            },
            Operation {
                why: "c".into(),
                ..one.clone()
            },
            Operation {
                details: "c".into(),
                ..one.clone()
            },
        ];
        for other in others {
            assert_ne!(one.hash(), other.hash(), "{other:?}");
        }
    }
}
