//! The whole matrix: each role in each relation to a record does each thing, and the relay answers as the table
//! says. The table has every cell; a cell without an expectation fails, and so does an expectation without a cell.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use gridbeat_base::{DeviceId, DocumentId, Scope, Verbs};
use gridbeat_document::Change;
use gridbeat_domain::{PatrolIntent, ROLES, Role, Step, Transport};
use gridbeat_relay_store::{LeaseRow, Renewal};
use gridbeat_sync_protocol::{Entry, Frame, Signer};

use super::door::Door;
use super::office::{Draft, Office, device, scope};
use crate::pump::{report, step};

const TABLE: &str = include_str!("matrix.txt");

/// What a device may try, in the order of the table's columns.
const ACTIONS: [&str; 11] = [
    "read",
    "report",
    "edit",
    "note",
    "check",
    "dispatch",
    "close",
    "start",
    "log",
    "administer",
    "renew",
];

/// How a device stands to a record, in the order of the table's lines.
const RELATIONS: [&str; 9] = [
    "own",
    "other",
    "both",
    "both_other",
    "astray",
    "none",
    "revoked",
    "unknown",
    "expired",
];

type Cells = BTreeMap<(String, String, String), String>;

/// Reads the table: what is expected of each cell.
fn expected() -> Cells {
    let mut lines = TABLE
        .lines()
        .filter(|line| !line.starts_with('#') && !line.is_empty());
    let columns: Vec<&str> = lines.next().unwrap().split_whitespace().collect();
    assert_eq!(columns[..2], ["role", "relation"]);
    let mut cells = Cells::new();
    for line in lines {
        let words: Vec<&str> = line.split_whitespace().collect();
        assert_eq!(words.len(), columns.len(), "a cell is missing: {line}");
        for (action, answer) in columns.iter().zip(&words).skip(2) {
            let cell = (words[0].into(), words[1].into(), (*action).into());
            let twice = cells.insert(cell, (*answer).into());
            assert_eq!(twice, None, "{} {} is there twice", words[0], words[1]);
        }
    }
    cells
}

/// The records of one placement: one for each state that an action starts from.
struct Records {
    reported: Draft,
    to_check: Draft,
    checked: Draft,
    patrol: Draft,
    rules: Draft,
}

fn json(intent: &impl serde::Serialize) -> Vec<u8> {
    serde_json::to_vec(intent).unwrap()
}

fn start() -> Vec<u8> {
    let (shift, by) = ("早班".to_owned(), "赵巡查".to_owned());
    let transport = Transport::Bicycle;
    json(&PatrolIntent::Start {
        shift,
        transport,
        by,
    })
}

fn patrol_note() -> Vec<u8> {
    let (text, by) = ("一切正常".to_owned(), "赵巡查".to_owned());
    json(&PatrolIntent::Note {
        text,
        position: None,
        by,
    })
}

impl Records {
    /// Has the office make records in a scope, and puts them into more.
    fn make(office: &mut Office, first: u64, scopes: &[&Scope]) -> Self {
        let clerk = device(0);
        let steps = [step(Step::SelfHandle, ""), step(Step::PassCheck, "")];
        let incident = |number: u64, steps: &[_]| {
            let mut draft = Draft::new(number, "incident");
            draft.edit(clerk, 10 * number, &json(&report("井盖破损", "王", None)));
            for (at, step) in (1..).zip(steps) {
                draft.edit(clerk, 10 * number + at, &json(step));
            }
            draft
        };
        let mut patrol = Draft::new(first + 3, "patrol");
        patrol.edit(clerk, 10 * (first + 3), &start());
        let mut rules = Draft::new(first + 4, "rulebook");
        rules.edit(clerk, 10 * (first + 4), "安静".as_bytes());
        let records = Self {
            reported: incident(first, &[]),
            to_check: incident(first + 1, &steps[..1]),
            checked: incident(first + 2, &steps),
            patrol,
            rules,
        };
        let session = office.connect(clerk);
        for draft in records.all() {
            for change in &draft.changes {
                let answer = office.push(session, scopes[0], draft, change);
                assert_eq!(answer.as_deref(), Some("accepted"));
            }
            for scope in &scopes[1..] {
                office.place(draft.id, scope, true);
            }
        }
        records
    }

    fn all(&self) -> [&Draft; 5] {
        [
            &self.reported,
            &self.to_check,
            &self.checked,
            &self.patrol,
            &self.rules,
        ]
    }
}

/// Asks for another certificate, of a relay that has issued one to whoever it knows; says in the table's words what
/// came of it.
fn renewed(office: &mut Office, id: DeviceId, is_known: bool) -> String {
    let (key, now) = (Signer::from_seed(&[7; 32]).public_key(), office.now.wall);
    if is_known {
        let lease = LeaseRow {
            device: id,
            key,
            certificate: Vec::new(),
            issued: now,
            renew_after: now,
            not_after: now.plus(Duration::from_hours(1)),
        };
        office.store.put_lease(&lease).unwrap();
    }
    let word = match office.store.renewal(id, &key, now).unwrap() {
        Renewal::Due => "ok",
        Renewal::Revoked => "revoked",
        Renewal::Unknown => "unknown",
        Renewal::Present(_) | Renewal::OtherKey | Renewal::TooLate => panic!("its lease is due"),
    };
    word.to_owned()
}

/// Does one thing as one device, and says in the table's words what came of it.
fn attempt(
    office: &mut Office,
    session: gridbeat_relay_core::SessionId,
    records: &Records,
    (pushed_in, fed_in): (&Scope, &Scope),
    (number, action): (u64, &str),
) -> String {
    if let Some(code) = &office.lines[&session].closed {
        return in_words(code);
    }
    let (draft, intent) = match action {
        "read" => {
            let got = received(office, session, fed_in);
            let wanted: BTreeSet<_> = records.all().iter().map(|draft| draft.id).collect();
            assert!(got.is_subset(&wanted) || got.is_superset(&wanted));
            let all = wanted.is_subset(&got);
            return if all { "ok" } else { "-" }.to_owned();
        }
        "report" => (
            Draft::new(1_000_000 + number, "incident"),
            json(&report("路面积水", "赵", None)),
        ),
        "start" => (Draft::new(1_000_000 + number, "patrol"), start()),
        "edit" => (
            records.reported.copy(),
            json(&gridbeat_domain::IncidentIntent::Describe {
                description: "井盖缺失".to_owned(),
            }),
        ),
        "note" => (records.reported.copy(), json(&step(Step::Note, "已到场"))),
        "check" => (
            records.to_check.copy(),
            json(&step(Step::PassCheck, "已修复")),
        ),
        "dispatch" => (records.reported.copy(), json(&step(Step::Accept, ""))),
        "close" => (records.checked.copy(), json(&step(Step::Close, ""))),
        "log" => (records.patrol.copy(), patrol_note()),
        "administer" => (records.rules.copy(), "禁停".as_bytes().to_vec()),
        other => panic!("no action {other}"),
    };
    let mut draft = draft;
    let by = office.device_of(session);
    let change: Change = draft.edit(by, number, &intent);
    let answer = office.push(session, pushed_in, &draft, &change);
    in_words(&answer.unwrap())
}

/// Returns the documents fed to a session in a scope.
fn received(
    office: &Office,
    session: gridbeat_relay_core::SessionId,
    scope: &Scope,
) -> BTreeSet<DocumentId> {
    let mut documents = BTreeSet::new();
    for frame in office.lines[&session].frames() {
        if let Frame::Feed(feed) = frame
            && feed.scope == *scope
        {
            documents.extend(feed.entries.iter().filter_map(|entry| match entry {
                Entry::Attach { document, .. } => Some(*document),
                Entry::Change { .. } | Entry::Detach { .. } | Entry::Own { .. } => None,
            }));
        }
    }
    documents
}

fn in_words(answer: &str) -> String {
    let word = match answer {
        "accepted" => "ok",
        "scope_not_granted" => "area",
        "document_not_in_scope" => "absent",
        "device_revoked" => "revoked",
        "device_unknown" => "unknown",
        code if code.ends_with("_not_granted") => "verb",
        other => other,
    };
    word.to_owned()
}

/// Asks the relay about every cell.
async fn asked() -> Cells {
    let door = Door::open().await;
    let (own, other) = (scope("招宝山"), scope("蛟川"));
    let mut office = Office::new();
    office.enrol(device(0), &[(&own, Verbs::ALL), (&other, Verbs::ALL)]);
    let in_own = Records::make(&mut office, 1, &[&own]);
    let in_other = Records::make(&mut office, 11, &[&other]);
    let in_both = Records::make(&mut office, 21, &[&own, &other]);
    let mut cells = Cells::new();
    let mut number = 10_000;
    for role in ROLES {
        for relation in RELATIONS {
            number += 100;
            let id = device(number);
            if relation == "expired" {
                let (session, renewal) = door.tries_expired(role.verbs).await;
                for action in ACTIONS {
                    let answer = if action == "renew" {
                        &renewal
                    } else {
                        &session
                    };
                    let cell = (role.id.into(), relation.into(), action.into());
                    cells.insert(cell, answer.clone());
                }
                continue;
            }
            enrol(&mut office, id, role, relation, &own);
            let (records, pushed_in, fed_in) = match relation {
                "own" | "none" | "revoked" | "unknown" => (&in_own, &own, &own),
                "other" => (&in_other, &other, &other),
                "both" => (&in_both, &own, &own),
                "both_other" => (&in_both, &other, &other),
                "astray" => (&in_other, &own, &other),
                other => panic!("no relation {other}"),
            };
            let session = office.connect(id);
            for (at, action) in (0..).zip(ACTIONS) {
                let places = (pushed_in, fed_in);
                let done = (number + at, action);
                let answer = if action == "renew" {
                    renewed(&mut office, id, relation != "unknown")
                } else {
                    attempt(&mut office, session, records, places, done)
                };
                let cell = (role.id.into(), relation.into(), action.into());
                cells.insert(cell, answer);
            }
            office.relay.disconnected(office.now, session);
            office.work();
        }
    }
    cells
}

fn enrol(office: &mut Office, id: DeviceId, role: &Role, relation: &str, own: &Scope) {
    match relation {
        "unknown" => {}
        "none" => office.enrol(id, &[]),
        _ => office.enrol(id, &[(own, role.verbs)]),
    }
    if relation == "revoked" {
        use gridbeat_relay_store::Registry as _;
        assert!(office.store.revoke(id, office.now.wall).unwrap());
    }
}

#[tokio::test]
async fn every_role_in_every_relation_may_do_what_the_table_says_and_nothing_else() {
    let (expected, asked) = (expected(), asked().await);
    let wrong: Vec<String> = asked
        .iter()
        .filter(|(cell, answer)| expected.get(*cell) != Some(*answer))
        .map(|(cell, answer)| format!("{cell:?}: {answer}, expected {:?}", expected.get(cell)))
        .collect();
    assert!(wrong.is_empty(), "{} cells: {wrong:#?}", wrong.len());
    let extra: Vec<_> = expected
        .keys()
        .filter(|it| !asked.contains_key(*it))
        .collect();
    assert!(
        extra.is_empty(),
        "expected of nothing that there is: {extra:?}"
    );
    assert_eq!(asked.len(), ROLES.len() * RELATIONS.len() * ACTIONS.len());
}
