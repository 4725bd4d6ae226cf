//! The device table in SQLite: who is enrolled, what each may do, and who has not synced.

use std::collections::BTreeMap;

use gridbeat_base::{DeviceId, Install, Scope, Verbs, WallTime};
use gridbeat_relay_core::StoreFault;
use rusqlite::{OptionalExtension as _, Transaction, params};

use crate::error::fault;
use crate::operation::Act;
use crate::value::{from_sql, scope, verbs};
use crate::{CloneRow, Registry, SqliteStore, leaving};

/// What a device is granted in one scope.
#[derive(Clone, Debug, Default, Eq, PartialEq)]
pub struct Granted {
    /// The role it has there, for people; empty if it has none. Only the verbs decide.
    pub role: String,
    /// What it may do there; none withdraws the grant.
    pub verbs: Verbs,
}

impl Granted {
    /// Returns the grant in a scope as the operators' log has it.
    pub(crate) fn in_words(&self, scope: &Scope) -> String {
        format!("scope={scope} role={} verbs={}", self.role, self.verbs)
    }
}

/// A grant without a role.
impl From<Verbs> for Granted {
    fn from(verbs: Verbs) -> Self {
        Self {
            verbs,
            ..Self::default()
        }
    }
}

/// One enrolled device as an operator sees it.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct DeviceRow {
    /// The device.
    pub device: DeviceId,
    /// The name the operator gave it.
    pub name: String,
    /// When it was enrolled.
    pub added: WallTime,
    /// When its rights were taken, if they were.
    pub revoked: Option<WallTime>,
    /// What it may do.
    pub grants: BTreeMap<Scope, Granted>,
    /// When it was last heard, by which installation, and how wrong its clock was then (the
    /// relay's minus the device's, in milliseconds); `None` if never.
    pub seen: Option<(WallTime, Install, i64)>,
    /// Pairs of installations it was heard from, if it was copied or replaced.
    pub clones: Vec<CloneRow>,
    /// For each scope where that is known: the last entry it has applied, and the feed's last one.
    pub cursors: BTreeMap<Scope, (u64, u64)>,
}

impl Registry for SqliteStore {
    fn add_device(
        &mut self,
        device: DeviceId,
        name: &str,
        grants: &BTreeMap<Scope, Granted>,
        now: WallTime,
    ) -> Result<(), StoreFault> {
        self.operate(now, |tx| {
            put_device(tx, device, name, grants, now).map_err(fault)?;
            raise_rights_version(tx, now)?;
            let given = grants
                .iter()
                .map(|(scope, it)| format!(" {}", it.in_words(scope)));
            let act = Act {
                verb: "device add",
                subject: device.to_string(),
                details: format!("name={name}{}", given.collect::<String>()),
            };
            Ok(((), Some(act)))
        })
    }

    fn revoke(&mut self, device: DeviceId, now: WallTime) -> Result<bool, StoreFault> {
        self.operate(now, |tx| {
            let was_enrolled = take_rights(tx, device, now)?;
            let act = was_enrolled.then(|| Act {
                verb: "device revoke",
                subject: device.to_string(),
                details: String::new(),
            });
            Ok((was_enrolled, act))
        })
    }

    fn wipe(&mut self, device: DeviceId, now: WallTime) -> Result<bool, StoreFault> {
        self.operate(now, |tx| {
            let is_known = tx
                .prepare_cached("SELECT 1 FROM device WHERE device = ?1")
                .and_then(|mut find| find.exists(params![device.bytes()]))
                .map_err(fault)?;
            if !is_known {
                return Ok((false, None));
            }
            let revoked = if take_rights(tx, device, now)? {
                "now"
            } else {
                "before"
            };
            let act = Act {
                verb: "device wipe",
                subject: device.to_string(),
                details: format!("revoked={revoked}"),
            };
            Ok((true, Some(act)))
        })
    }

    fn rename(&mut self, device: DeviceId, name: &str, now: WallTime) -> Result<bool, StoreFault> {
        self.operate(now, |tx| {
            let before: Option<String> = tx
                .query_row(
                    "SELECT name FROM device WHERE device = ?1",
                    params![device.bytes()],
                    |row| row.get(0),
                )
                .optional()
                .map_err(fault)?;
            let Some(before) = before else {
                return Ok((false, None));
            };
            tx.execute(
                "UPDATE device SET name = ?2 WHERE device = ?1",
                params![device.bytes(), name],
            )
            .map_err(fault)?;
            let act = (before != name).then(|| Act {
                verb: "device rename",
                subject: device.to_string(),
                details: format!("from={before} to={name}"),
            });
            Ok((true, act))
        })
    }

    fn grant(
        &mut self,
        device: DeviceId,
        scope: &Scope,
        granted: &Granted,
        now: WallTime,
    ) -> Result<bool, StoreFault> {
        self.operate(now, |tx| {
            let before = granted_in(tx, device, scope)?;
            let is_gone = before.verbs.is_empty() && granted.verbs.is_empty();
            if before == *granted || is_gone || !is_enrolled(tx, device)? {
                return Ok((false, None));
            }
            put_grant(tx, device, scope, granted).map_err(fault)?;
            raise_rights_version(tx, now)?;
            let (verb, now) = if granted.verbs.is_empty() {
                ("grant remove", &before)
            } else {
                ("grant add", granted)
            };
            let act = Act {
                verb,
                subject: device.to_string(),
                details: now.in_words(scope),
            };
            Ok((true, Some(act)))
        })
    }

    fn move_grant(
        &mut self,
        device: DeviceId,
        from: &Scope,
        to: &Scope,
        now: WallTime,
    ) -> Result<bool, StoreFault> {
        self.operate(now, |tx| {
            let held = granted_in(tx, device, from)?;
            if from == to || held.verbs.is_empty() || !is_enrolled(tx, device)? {
                return Ok((false, None));
            }
            put_grant(tx, device, from, &Granted::default()).map_err(fault)?;
            put_grant(tx, device, to, &held).map_err(fault)?;
            raise_rights_version(tx, now)?;
            let act = Act {
                verb: "device move",
                subject: device.to_string(),
                details: format!("from={from} {}", held.in_words(to)),
            };
            Ok((true, Some(act)))
        })
    }

    fn devices(&self) -> Result<Vec<DeviceRow>, StoreFault> {
        let mut statement = self
            .connection()
            .prepare_cached(
                "SELECT d.device, d.name, d.added, d.revoked, m.seen, m.install, m.clock_offset_ms
                 FROM device d LEFT JOIN mark m ON m.device = d.device ORDER BY d.device",
            )
            .map_err(fault)?;
        let mut rows = statement.query([]).map_err(fault)?;
        let mut devices = Vec::new();
        while let Some(row) = rows.next().map_err(fault)? {
            let row = device_row(row).map_err(fault)?;
            devices.push(row);
        }
        for row in &mut devices {
            row.grants = self.grants(row.device)?;
            row.cursors = self.cursors(row.device)?;
            row.clones = self.clones(Some(row.device))?;
        }
        Ok(devices)
    }
}

/// Takes all rights from a device; says whether it had not lost them before.
fn take_rights(tx: &Transaction<'_>, device: DeviceId, now: WallTime) -> Result<bool, StoreFault> {
    let revoked = tx
        .execute(
            "UPDATE device SET revoked = ?2 WHERE device = ?1 AND revoked IS NULL",
            params![device.bytes(), now.millis()],
        )
        .map_err(fault)?;
    raise_rights_version(tx, now)?;
    Ok(revoked > 0)
}

impl SqliteStore {
    fn grants(&self, device: DeviceId) -> Result<BTreeMap<Scope, Granted>, StoreFault> {
        let mut find = self
            .connection()
            .prepare_cached(
                "SELECT scope, role, verbs FROM device_grant WHERE device = ?1 AND verbs > 0",
            )
            .map_err(fault)?;
        let mut rows = find.query(params![device.bytes()]).map_err(fault)?;
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

    fn cursors(&self, device: DeviceId) -> Result<BTreeMap<Scope, (u64, u64)>, StoreFault> {
        let mut statement = self
            .connection()
            .prepare_cached(
                "SELECT s.name, c.seq, s.head FROM device_cursor c JOIN scope s ON s.id = c.scope
                 WHERE c.device = ?1",
            )
            .map_err(fault)?;
        let mut rows = statement.query(params![device.bytes()]).map_err(fault)?;
        let mut cursors = BTreeMap::new();
        while let Some(row) = rows.next().map_err(fault)? {
            let name: String = row.get(0).map_err(fault)?;
            let seq = from_sql(row.get(1).map_err(fault)?)?;
            let head = from_sql(row.get(2).map_err(fault)?)?;
            cursors.insert(scope(&name)?, (seq, head));
        }
        Ok(cursors)
    }
}

pub(crate) fn put_device(
    tx: &Transaction<'_>,
    device: DeviceId,
    name: &str,
    grants: &BTreeMap<Scope, Granted>,
    now: WallTime,
) -> rusqlite::Result<()> {
    tx.execute(
        "INSERT INTO device VALUES (?1, ?2, ?3, NULL)
         ON CONFLICT DO UPDATE SET name = ?2, revoked = NULL",
        params![device.bytes(), name, now.millis()],
    )?;
    tx.execute(
        "UPDATE device_grant SET verbs = 0 WHERE device = ?1",
        params![device.bytes()],
    )?;
    for (scope, granted) in grants {
        put_grant(tx, device, scope, granted)?;
    }
    Ok(())
}

/// Returns whether a device is enrolled, and not revoked.
fn is_enrolled(tx: &Transaction<'_>, device: DeviceId) -> Result<bool, StoreFault> {
    tx.prepare_cached("SELECT EXISTS (SELECT 1 FROM device WHERE device = ?1 AND revoked IS NULL)")
        .and_then(|mut find| find.query_row(params![device.bytes()], |row| row.get(0)))
        .map_err(fault)
}

/// Returns what a device is granted in a scope; no verbs if nothing.
fn granted_in(
    tx: &Transaction<'_>,
    device: DeviceId,
    scope: &Scope,
) -> Result<Granted, StoreFault> {
    let found: Option<(String, u8)> = tx
        .prepare_cached(
            "SELECT role, verbs FROM device_grant WHERE device = ?1 AND scope = ?2 AND verbs > 0",
        )
        .and_then(|mut find| {
            find.query_row(params![device.bytes(), scope.as_str()], |row| {
                Ok((row.get(0)?, row.get(1)?))
            })
            .optional()
        })
        .map_err(fault)?;
    found.map_or_else(
        || Ok(Granted::default()),
        |(role, bits)| {
            let verbs = verbs(bits)?;
            Ok(Granted { role, verbs })
        },
    )
}

/// Grants a device something in a scope, in place of what it had there.
fn put_grant(
    tx: &Transaction<'_>,
    device: DeviceId,
    scope: &Scope,
    granted: &Granted,
) -> rusqlite::Result<()> {
    tx.prepare_cached(
        "INSERT INTO device_grant VALUES (?1, ?2, ?3, ?4, ?4)
         ON CONFLICT DO UPDATE SET role = ?3, verbs = ?4, held = held | ?4",
    )?
    .execute(params![
        device.bytes(),
        scope.as_str(),
        granted.role,
        granted.verbs.bits()
    ])?;
    Ok(())
}

pub(crate) fn raise_rights_version(tx: &Transaction<'_>, now: WallTime) -> Result<(), StoreFault> {
    tx.execute("UPDATE meta SET rights_version = rights_version + 1", [])
        .map_err(fault)?;
    leaving::stamp(tx, now)
}

fn device_row(row: &rusqlite::Row<'_>) -> rusqlite::Result<DeviceRow> {
    let seen: Option<i64> = row.get(4)?;
    Ok(DeviceRow {
        device: DeviceId::from_bytes(row.get(0)?),
        name: row.get(1)?,
        added: WallTime(row.get(2)?),
        revoked: row.get::<_, Option<i64>>(3)?.map(WallTime),
        grants: BTreeMap::new(),
        seen: match seen {
            Some(at) => Some((WallTime(at), Install::from_bytes(row.get(5)?), row.get(6)?)),
            None => None,
        },
        clones: Vec::new(),
        cursors: BTreeMap::new(),
    })
}
