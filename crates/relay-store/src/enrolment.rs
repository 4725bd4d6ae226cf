//! Invitations, requests and leases in SQLite. Each verb is one transaction.
//!
//! Codes lie here as hashes. What may become of a row is decided in `invitation`.

use std::collections::BTreeMap;

use gridbeat_base::{DeviceId, Install, Scope, WallTime};
use gridbeat_relay_core::StoreFault;
use gridbeat_sync_protocol::{EnrolCode, Fingerprint, PublicKey, Redeem};
use rusqlite::{Connection, OptionalExtension as _, Row, Transaction, params};

use crate::error::{damaged, fault};
use crate::invitation::{
    FINGERPRINT_TRIES_MAX, INVITATION_LIFETIME, InvitationRow, LeaseRow, Renewal, RequestRow,
    STRANGERS_MAX, Standing, Turn,
};
use crate::operation::Act;
use crate::registry::{put_device, raise_rights_version};
use crate::value::{clamp_to_sql, from_sql, scope, to_sql, verbs};
use crate::{Granted, SqliteStore};

/// What an operator's approval came to.
#[derive(Clone, Debug, Eq, PartialEq)]
pub enum Approval {
    /// The device is in the table, with the invitation's name and grants.
    Approved(DeviceId),
    /// The fingerprint is another; so many tries are left.
    OtherFingerprint {
        /// How many.
        tries_left: u64,
    },
    /// It does not wait for approval.
    NotWaiting(Standing),
    /// There is no such invitation.
    Unknown,
}

const COLUMNS: &str = "id, name, auto_approve, created, expires, cancelled, strangers, \
    key, install, said, source, requested, tries, approved, refused, device";

impl SqliteStore {
    /// Keeps an invitation whose code is `code`, of which only the hash is kept.
    ///
    /// # Errors
    ///
    /// [`StoreFault`]; nothing is then kept.
    pub fn invite(
        &mut self,
        code: EnrolCode,
        name: &str,
        grants: &BTreeMap<Scope, Granted>,
        auto_approve: bool,
        now: WallTime,
    ) -> Result<InvitationRow, StoreFault> {
        let expires = now.plus(INVITATION_LIFETIME);
        self.operate(now, |tx| {
            tx.execute(
                "INSERT INTO invitation (code, name, auto_approve, created, expires)
                 VALUES (?1, ?2, ?3, ?4, ?5)",
                params![
                    code.hash(),
                    name,
                    auto_approve,
                    now.millis(),
                    expires.millis()
                ],
            )
            .map_err(fault)?;
            let id = tx.last_insert_rowid();
            let mut insert = tx
                .prepare_cached("INSERT INTO invitation_grant VALUES (?1, ?2, ?3, ?4)")
                .map_err(fault)?;
            for (scope, granted) in grants {
                insert
                    .execute(params![
                        id,
                        scope.as_str(),
                        granted.role,
                        granted.verbs.bits()
                    ])
                    .map_err(fault)?;
            }
            let row = find(tx, "id = ?1", &id)?;
            let row = row.ok_or_else(|| damaged("an invitation is gone"))?;
            let given = grants
                .iter()
                .map(|(scope, it)| format!(" {}", it.in_words(scope)));
            let details = format!(
                "name={name} auto_approve={auto_approve}{}",
                given.collect::<String>()
            );
            let act = act("enrol create", row.id, details);
            Ok((row, Some(act)))
        })
    }

    /// Lists the invitations, the latest first, at most `most`.
    ///
    /// # Errors
    ///
    /// [`StoreFault`].
    pub fn invitations(&self, most: usize) -> Result<Vec<InvitationRow>, StoreFault> {
        let mut ids = self
            .connection()
            .prepare_cached("SELECT id FROM invitation ORDER BY id DESC LIMIT ?1")
            .map_err(fault)?;
        let ids = ids
            .query_map(params![i64::try_from(most).unwrap_or(i64::MAX)], |row| {
                row.get(0)
            })
            .and_then(Iterator::collect::<rusqlite::Result<Vec<i64>>>)
            .map_err(fault)?;
        let rows = ids.iter().map(|id| {
            let row = find(self.connection(), "id = ?1", id)?;
            row.ok_or_else(|| damaged("an invitation is gone"))
        });
        rows.collect()
    }

    /// Takes an invitation back, or refuses the request that waits by it. Returns where it stood if it
    /// could be; `None` if there is none.
    ///
    /// # Errors
    ///
    /// [`StoreFault`]; nothing is then changed.
    pub fn withdraw(&mut self, id: u64, now: WallTime) -> Result<Option<Standing>, StoreFault> {
        self.operate(now, |tx| {
            let Some(row) = find(tx, "id = ?1", &clamp_to_sql(id))? else {
                return Ok((None, None));
            };
            let standing = row.standing(now);
            let column = match standing {
                Standing::Open => "cancelled",
                Standing::Waiting => "refused",
                Standing::Expired
                | Standing::Cancelled
                | Standing::Lapsed
                | Standing::Refused
                | Standing::Approved(_)
                | Standing::Enrolled(_) => return Ok((Some(standing), None)),
            };
            set(tx, row.id, column, now)?;
            let act = act("enrol cancel", row.id, format!("was={}", standing.id()));
            Ok((Some(standing), Some(act)))
        })
    }

    /// Does what a request to be enrolled comes to; `None` if its code is not good. `device` is the id it
    /// gets if it is let in at once.
    ///
    /// # Errors
    ///
    /// [`StoreFault`]; nothing is then changed.
    pub fn redeem(
        &mut self,
        redeem: &Redeem,
        from: &str,
        device: DeviceId,
        now: WallTime,
    ) -> Result<Option<Standing>, StoreFault> {
        let key = &redeem.request.key;
        let code = redeem.code.hash();
        // The common answers, to those who wait, cost no commit.
        let seen = find(self.connection(), "code = ?1", &code)?;
        match seen.map(|row| row.turn(key, now)) {
            None => return Ok(None),
            Some(Turn::As(standing)) => return Ok(Some(standing)),
            Some(Turn::Take | Turn::NotGood) => {}
        }
        self.operate(now, |tx| {
            let Some(row) = find(tx, "code = ?1", &code)? else {
                return Ok((None, None));
            };
            match row.turn(key, now) {
                Turn::As(standing) => Ok((Some(standing), None)),
                Turn::NotGood => count_stranger(tx, &row, key).map(|()| (None, None)),
                Turn::Take => {
                    take(tx, row.id, redeem, from, now)?;
                    if row.auto_approve {
                        let act = approve(tx, &row, device, now, "auto")?;
                        return Ok((Some(Standing::Approved(device)), Some(act)));
                    }
                    Ok((Some(Standing::Waiting), None))
                }
            }
        })
    }

    /// Lets the request of an invitation in as `device`, if it waits and, where one is given, has that
    /// fingerprint.
    ///
    /// # Errors
    ///
    /// [`StoreFault`]; nothing is then changed.
    pub fn approve(
        &mut self,
        id: u64,
        fingerprint: Option<Fingerprint>,
        device: DeviceId,
        now: WallTime,
    ) -> Result<Approval, StoreFault> {
        self.operate(now, |tx| {
            let Some(row) = find(tx, "id = ?1", &clamp_to_sql(id))? else {
                return Ok((Approval::Unknown, None));
            };
            let standing = row.standing(now);
            let (Standing::Waiting, Some(request)) = (standing, &row.request) else {
                return Ok((Approval::NotWaiting(standing), None));
            };
            if fingerprint.is_some_and(|given| given != request.fingerprint()) {
                tx.execute(
                    "UPDATE invitation SET tries = tries + 1 WHERE id = ?1",
                    params![to_sql(row.id)],
                )
                .map_err(fault)?;
                let tries_left = FINGERPRINT_TRIES_MAX.saturating_sub(request.tries + 1);
                if tries_left == 0 {
                    set(tx, row.id, "refused", now)?;
                }
                let details = format!("another fingerprint, tries_left={tries_left}");
                let act = act("enrol approve", row.id, details);
                return Ok((Approval::OtherFingerprint { tries_left }, Some(act)));
            }
            let how = match fingerprint {
                Some(_) => "compared",
                None => "unseen",
            };
            let act = approve(tx, &row, device, now, how)?;
            Ok((Approval::Approved(device), Some(act)))
        })
    }

    /// Decides what a device gets that asks for another lease by `key`.
    ///
    /// # Errors
    ///
    /// [`StoreFault`].
    pub fn renewal(
        &self,
        device: DeviceId,
        key: &PublicKey,
        now: WallTime,
    ) -> Result<Renewal, StoreFault> {
        let latest = self.lease(device)?;
        Ok(Renewal::of(self.is_revoked(device)?, latest, key, now))
    }

    /// Returns whether a device's rights were taken; `None` if it is not in the table.
    ///
    /// # Errors
    ///
    /// [`StoreFault`].
    pub fn is_revoked(&self, device: DeviceId) -> Result<Option<bool>, StoreFault> {
        self.connection()
            .prepare_cached("SELECT revoked IS NOT NULL FROM device WHERE device = ?1")
            .and_then(|mut find| {
                find.query_row(params![device.bytes()], |row| row.get(0))
                    .optional()
            })
            .map_err(fault)
    }

    /// Returns a device's latest lease.
    ///
    /// # Errors
    ///
    /// [`StoreFault`].
    pub fn lease(&self, device: DeviceId) -> Result<Option<LeaseRow>, StoreFault> {
        latest_lease(self.connection(), device)
    }

    /// Keeps a lease that was issued.
    ///
    /// # Errors
    ///
    /// [`StoreFault`]; it is then not kept, and must not be handed out.
    pub fn put_lease(&mut self, lease: &LeaseRow) -> Result<(), StoreFault> {
        self.write(|tx| {
            tx.execute(
                "INSERT INTO lease (device, key, certificate, issued, renew_after, not_after)
                 VALUES (?1, ?2, ?3, ?4, ?5, ?6)",
                params![
                    lease.device.bytes(),
                    lease.key.bytes(),
                    lease.certificate,
                    lease.issued.millis(),
                    lease.renew_after.millis(),
                    lease.not_after.millis()
                ],
            )
            .map(|_| ())
            .map_err(fault)
        })
    }
}

/// Reads a device's latest lease.
pub(crate) fn latest_lease(
    connection: &Connection,
    device: DeviceId,
) -> Result<Option<LeaseRow>, StoreFault> {
    let row = connection
        .prepare_cached(
            "SELECT key, certificate, issued, renew_after, not_after FROM lease
             WHERE device = ?1 ORDER BY id DESC LIMIT 1",
        )
        .and_then(|mut find| {
            find.query_row(params![device.bytes()], |row| {
                Ok((
                    row.get(0)?,
                    row.get(1)?,
                    row.get(2)?,
                    row.get(3)?,
                    row.get(4)?,
                ))
            })
            .optional()
        })
        .map_err(fault)?;
    row.map(|(key, certificate, issued, renew_after, not_after)| {
        Ok(LeaseRow {
            device,
            key: public_key(&key)?,
            certificate,
            issued: WallTime(issued),
            renew_after: WallTime(renew_after),
            not_after: WallTime(not_after),
        })
    })
    .transpose()
}

fn take(
    tx: &Transaction<'_>,
    id: u64,
    redeem: &Redeem,
    from: &str,
    now: WallTime,
) -> Result<(), StoreFault> {
    tx.execute(
        "UPDATE invitation SET key = ?2, install = ?3, said = ?4, source = ?5, requested = ?6
         WHERE id = ?1 AND key IS NULL",
        params![
            to_sql(id),
            redeem.request.key.bytes(),
            redeem.install.bytes(),
            redeem.name,
            from,
            now.millis()
        ],
    )
    .map(|_| ())
    .map_err(fault)
}

/// Puts the device into the table, with what the invitation grants; says how its fingerprint was seen.
fn approve(
    tx: &Transaction<'_>,
    row: &InvitationRow,
    device: DeviceId,
    now: WallTime,
    fingerprint: &str,
) -> Result<Act, StoreFault> {
    put_device(tx, device, &row.name, &row.grants, now).map_err(fault)?;
    raise_rights_version(tx, now)?;
    tx.execute(
        "UPDATE invitation SET approved = ?2, device = ?3 WHERE id = ?1",
        params![to_sql(row.id), now.millis(), device.bytes()],
    )
    .map_err(fault)?;
    let details = format!("device={device} fingerprint={fingerprint}");
    Ok(act("enrol approve", row.id, details))
}

/// What was done to an invitation, for the operators' log.
fn act(verb: &'static str, id: u64, details: String) -> Act {
    Act {
        verb,
        subject: format!("invitation {id}"),
        details,
    }
}

/// Counts a request of another key, as long as that says anything.
fn count_stranger(
    tx: &Transaction<'_>,
    row: &InvitationRow,
    key: &PublicKey,
) -> Result<(), StoreFault> {
    let is_another = row.request.as_ref().is_some_and(|one| one.key != *key);
    if is_another && row.strangers < STRANGERS_MAX {
        tx.execute(
            "UPDATE invitation SET strangers = strangers + 1 WHERE id = ?1",
            params![to_sql(row.id)],
        )
        .map_err(fault)?;
    }
    Ok(())
}

fn set(tx: &Transaction<'_>, id: u64, column: &str, now: WallTime) -> Result<(), StoreFault> {
    let set = match column {
        "cancelled" => "UPDATE invitation SET cancelled = ?2 WHERE id = ?1",
        _ => "UPDATE invitation SET refused = ?2 WHERE id = ?1",
    };
    tx.execute(set, params![to_sql(id), now.millis()])
        .map(|_| ())
        .map_err(fault)
}

/// Reads the invitation that the condition holds for.
fn find(
    connection: &Connection,
    condition: &str,
    value: &dyn rusqlite::ToSql,
) -> Result<Option<InvitationRow>, StoreFault> {
    let select = format!("SELECT {COLUMNS} FROM invitation WHERE {condition}");
    let row = connection
        .prepare_cached(&select)
        .and_then(|mut find| find.query_row([value], raw).optional())
        .map_err(fault)?;
    let Some(raw) = row else {
        return Ok(None);
    };
    let grants = grants(connection, raw.id)?;
    raw.row(grants).map(Some)
}

fn grants(connection: &Connection, id: i64) -> Result<BTreeMap<Scope, Granted>, StoreFault> {
    let mut find = connection
        .prepare_cached("SELECT scope, role, verbs FROM invitation_grant WHERE invitation = ?1")
        .map_err(fault)?;
    let mut rows = find.query(params![id]).map_err(fault)?;
    let mut grants = BTreeMap::new();
    while let Some(row) = rows.next().map_err(fault)? {
        let name: String = row.get(0).map_err(fault)?;
        let granted = Granted {
            role: row.get(1).map_err(fault)?,
            verbs: verbs(row.get(2).map_err(fault)?)?,
        };
        grants.insert(scope(&name)?, granted);
    }
    Ok(grants)
}

/// One row of `invitation`.
struct Raw {
    id: i64,
    name: String,
    auto_approve: bool,
    created: i64,
    expires: i64,
    cancelled: Option<i64>,
    strangers: i64,
    key: Option<[u8; 32]>,
    install: Option<[u8; 16]>,
    said: Option<String>,
    source: Option<String>,
    requested: Option<i64>,
    tries: i64,
    approved: Option<i64>,
    refused: Option<i64>,
    device: Option<[u8; 16]>,
}

fn raw(row: &Row<'_>) -> rusqlite::Result<Raw> {
    Ok(Raw {
        id: row.get(0)?,
        name: row.get(1)?,
        auto_approve: row.get(2)?,
        created: row.get(3)?,
        expires: row.get(4)?,
        cancelled: row.get(5)?,
        strangers: row.get(6)?,
        key: row.get(7)?,
        install: row.get(8)?,
        said: row.get(9)?,
        source: row.get(10)?,
        requested: row.get(11)?,
        tries: row.get(12)?,
        approved: row.get(13)?,
        refused: row.get(14)?,
        device: row.get(15)?,
    })
}

impl Raw {
    fn row(self, grants: BTreeMap<Scope, Granted>) -> Result<InvitationRow, StoreFault> {
        let request = match (self.key, self.install, self.requested) {
            (Some(key), Some(install), Some(requested)) => Some(RequestRow {
                key: public_key(&key)?,
                install: Install::from_bytes(install),
                said: self.said.unwrap_or_default(),
                from: self.source.unwrap_or_default(),
                requested: WallTime(requested),
                tries: from_sql(self.tries)?,
                approved: self
                    .approved
                    .zip(self.device)
                    .map(|(at, device)| (WallTime(at), DeviceId::from_bytes(device))),
                refused: self.refused.map(WallTime),
            }),
            (None, None, None) => None,
            _ => return Err(damaged("a request is not whole")),
        };
        Ok(InvitationRow {
            id: from_sql(self.id)?,
            name: self.name,
            grants,
            auto_approve: self.auto_approve,
            created: WallTime(self.created),
            expires: WallTime(self.expires),
            cancelled: self.cancelled.map(WallTime),
            request,
            strangers: from_sql(self.strangers)?,
        })
    }
}

fn public_key(bytes: &[u8; 32]) -> Result<PublicKey, StoreFault> {
    PublicKey::from_bytes(bytes).ok_or_else(|| damaged("a device's key is none"))
}
