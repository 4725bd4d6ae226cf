//! The comparison at the end: is everything that was promised there, and equal everywhere?
//!
//! Pure: it is given what each device and the relay hold, what was saved and what was acknowledged.
//! Every device is compared with the relay, and with every device it shares a scope with.

use std::collections::{BTreeMap, BTreeSet};

use gridbeat_base::{ChangeHash, DeviceId, DocumentId, Position, Scope};
use serde_json::Value;

use crate::device::protocol::{DocumentPrint, Print, Saved};

/// How many differences are told in words; all are counted.
const TOLD_MAX: usize = 40;

/// The kind that is counted as an incident.
const INCIDENT: &str = "incident";

/// One side of the comparison.
#[derive(Clone, Debug)]
pub(crate) struct Side {
    /// Whose it is, in words.
    pub(crate) name: String,
    /// What it holds.
    pub(crate) print: Print,
    /// What it saved; nothing for the relay.
    pub(crate) saved: BTreeSet<Saved>,
    /// What of that was acknowledged.
    pub(crate) acknowledged: BTreeSet<Saved>,
}

/// One change in the relay's feeds.
#[derive(Clone, Debug, Eq, PartialEq)]
pub(crate) struct Link {
    /// The change.
    pub(crate) change: ChangeHash,
    /// Its author.
    pub(crate) author: DeviceId,
    /// What it follows.
    pub(crate) deps: Vec<ChangeHash>,
}

/// The relay's side: what it holds, and every change of every document.
#[derive(Clone, Debug)]
pub(crate) struct RelaySide {
    /// What it holds.
    pub(crate) print: Print,
    /// Every change of every document, each after what it follows.
    pub(crate) changes: BTreeMap<DocumentId, Vec<Link>>,
    /// Every record.
    pub(crate) records: BTreeMap<DocumentId, Shown>,
    /// Photos and tracks.
    pub(crate) blobs: BlobsHeld,
}

/// Photos and tracks at the relay; one counts for each record that refers to it.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct BlobsHeld {
    /// How many records refer to.
    pub(crate) referred_to: u64,
    /// Those that are there as a whole.
    pub(crate) received: u64,
    /// Those that are not what their name says.
    pub(crate) damaged: u64,
}

/// A record as the relay shows it.
#[derive(Clone, Debug)]
pub(crate) struct Shown {
    /// Its kind.
    pub(crate) kind: String,
    /// Its state.
    pub(crate) status: String,
    /// Whether work is still to be done.
    pub(crate) is_open: bool,
    /// Where it is.
    pub(crate) position: Option<Position>,
    /// The scopes it is in.
    pub(crate) scopes: Vec<Scope>,
    /// The kind's own view of it.
    pub(crate) body: Value,
}

/// An open conflict, for the report.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Conflict {
    /// The document.
    pub(crate) document: DocumentId,
    /// The field.
    pub(crate) field: String,
    /// Each value, with the device that wrote it.
    pub(crate) values: Vec<(Value, Option<DeviceId>)>,
}

/// What was found.
#[derive(Clone, Debug, Default)]
pub(crate) struct Findings {
    /// Acknowledged changes the relay lacks, and saved ones their device lacks.
    pub(crate) changes_lost: u64,
    /// Copies that differ in a digest, heads or values.
    pub(crate) mismatches: u64,
    /// Changes of which another in the same document knew nothing, nor they of it.
    pub(crate) concurrent_edits: u64,
    /// Fields with more than one value.
    pub(crate) conflicts: Vec<Conflict>,
    /// How many incidents the relay holds.
    pub(crate) incidents: u64,
    /// How many pairs of copies were compared.
    pub(crate) pairs: u64,
    /// What became of photos and tracks.
    pub(crate) blobs: BlobsHeld,
    /// What is wrong, in words; the first of them.
    pub(crate) told: Vec<String>,
}

impl Findings {
    /// Tells whether every promise held.
    pub(crate) fn is_good(&self) -> bool {
        self.changes_lost == 0 && self.mismatches == 0 && self.told.is_empty()
    }

    /// Takes in the conflicts of a relay's records, and nothing else.
    #[cfg(test)]
    pub(crate) fn with_conflicts_of(mut self, relay: &RelaySide) -> Self {
        self.conflicts = conflicts(&relay.records);
        self
    }

    /// Notes something that went wrong.
    pub(crate) fn tell(&mut self, what: String) {
        if self.told.len() < TOLD_MAX {
            self.told.push(what);
        }
    }

    fn lost(&mut self, what: String) {
        self.changes_lost += 1;
        self.tell(what);
    }

    fn differs(&mut self, what: String) {
        self.mismatches += 1;
        self.tell(what);
    }
}

/// Compares everything.
pub(crate) fn compare(devices: &[Side], relay: &RelaySide) -> Findings {
    let mut findings = Findings {
        blobs: relay.blobs,
        ..Findings::default()
    };
    let BlobsHeld {
        referred_to,
        received,
        damaged,
    } = relay.blobs;
    if received < referred_to || damaged > 0 {
        findings.tell(format!(
            "of {referred_to} photos and tracks the relay has {received}, {damaged} of them damaged"
        ));
    }
    let known: BTreeSet<Saved> = relay
        .changes
        .iter()
        .flat_map(|(document, links)| {
            links.iter().map(move |link| Saved {
                document: *document,
                change: link.change,
            })
        })
        .collect();
    let relays = by_document(&relay.print);
    let views: Vec<_> = devices
        .iter()
        .map(|side| by_document(&side.print))
        .collect();
    for (side, view) in devices.iter().zip(&views) {
        nothing_lost(side, view, &known, &mut findings);
        with_relay(side, view, relay, &relays, &mut findings);
    }
    for (number, (one, mine)) in devices.iter().zip(&views).enumerate() {
        for (other, theirs) in devices.iter().zip(&views).skip(number + 1) {
            with_each_other(one, mine, other, theirs, &mut findings);
        }
    }
    findings.concurrent_edits = relay.changes.values().map(|links| concurrent(links)).sum();
    findings.conflicts = conflicts(&relay.records);
    findings.incidents = relay
        .records
        .values()
        .filter(|record| record.kind == INCIDENT)
        .count() as u64;
    findings
}

fn by_document(print: &Print) -> BTreeMap<DocumentId, &DocumentPrint> {
    print
        .documents
        .iter()
        .map(|document| (document.document, document))
        .collect()
}

fn nothing_lost(
    side: &Side,
    view: &BTreeMap<DocumentId, &DocumentPrint>,
    at_relay: &BTreeSet<Saved>,
    findings: &mut Findings,
) {
    for saved in &side.saved {
        let held = view.get(&saved.document);
        if held.is_none_or(|document| document.changes.binary_search(&saved.change).is_err()) {
            let Saved { document, change } = saved;
            findings.lost(format!(
                "{}: saved change {change} of {document} is gone",
                side.name
            ));
        }
        if !side.acknowledged.contains(saved) {
            let Saved { document, change } = saved;
            findings.tell(format!(
                "{}: change {change} of {document} was never acknowledged",
                side.name
            ));
        }
    }
    for saved in side.acknowledged.difference(at_relay) {
        let Saved { document, change } = saved;
        findings.lost(format!(
            "relay: change {change} of {document}, acknowledged to {}, is gone",
            side.name
        ));
    }
    if side.print.refused > 0 {
        findings.tell(format!(
            "{}: the relay refused {} changes",
            side.name, side.print.refused
        ));
    }
}

fn with_relay(
    side: &Side,
    view: &BTreeMap<DocumentId, &DocumentPrint>,
    relay: &RelaySide,
    relays: &BTreeMap<DocumentId, &DocumentPrint>,
    findings: &mut Findings,
) {
    findings.pairs += 1;
    for scope in &side.print.scopes {
        let there = relay
            .print
            .scopes
            .iter()
            .find(|other| other.scope == scope.scope);
        let (cursor, digest) = there.map_or((0, None), |there| (there.cursor, Some(&there.digest)));
        let is_equal = match digest {
            Some(digest) => cursor == scope.cursor && *digest == scope.digest,
            // The relay makes a scope with its first entry.
            None => scope.documents == 0,
        };
        if !is_equal {
            findings.differs(format!(
                "{}: scope {} stands at {} with {}, the relay at {cursor} with {}",
                side.name,
                scope.scope,
                scope.cursor,
                scope.digest,
                digest.map_or("nothing", String::as_str)
            ));
        }
    }
    for (document, mine) in view {
        match relays.get(document) {
            Some(theirs) => same(&side.name, "relay", mine, theirs, findings),
            None => findings.differs(format!(
                "{}: document {document} is not at the relay",
                side.name
            )),
        }
    }
    let held: BTreeSet<&Scope> = side.print.scopes.iter().map(|scope| &scope.scope).collect();
    for (document, record) in &relay.records {
        if record.scopes.iter().any(|scope| held.contains(scope)) && !view.contains_key(document) {
            findings.differs(format!(
                "{}: document {document} is at the relay alone",
                side.name
            ));
        }
    }
}

fn with_each_other(
    one: &Side,
    mine: &BTreeMap<DocumentId, &DocumentPrint>,
    other: &Side,
    theirs: &BTreeMap<DocumentId, &DocumentPrint>,
    findings: &mut Findings,
) {
    let mut shared = false;
    for scope in &one.print.scopes {
        let Some(there) = other
            .print
            .scopes
            .iter()
            .find(|there| there.scope == scope.scope)
        else {
            continue;
        };
        shared = true;
        if there != scope {
            findings.differs(format!(
                "{} and {} differ in scope {}: {} and {}",
                one.name, other.name, scope.scope, scope.digest, there.digest
            ));
        }
    }
    findings.pairs += u64::from(shared);
    for (document, here) in mine {
        if let Some(there) = theirs.get(document) {
            same(&one.name, &other.name, here, there, findings);
        }
    }
}

fn same(one: &str, other: &str, a: &DocumentPrint, b: &DocumentPrint, findings: &mut Findings) {
    let document = a.document;
    if a.heads != b.heads {
        findings.differs(format!(
            "{one} and {other} have different heads of {document}"
        ));
    } else if a.value != b.value {
        findings.differs(format!(
            "{one} and {other} show different values of {document}"
        ));
    }
}

/// Counts the changes of a document that some other author's change neither follows nor precedes.
fn concurrent(links: &[Link]) -> u64 {
    let number: BTreeMap<ChangeHash, usize> = links
        .iter()
        .enumerate()
        .map(|(index, link)| (link.change, index))
        .collect();
    // For each change, those it follows; changes come after what they follow.
    let mut before: Vec<BTreeSet<usize>> = Vec::with_capacity(links.len());
    for link in links {
        let mut mine = BTreeSet::new();
        for dep in link.deps.iter().filter_map(|dep| number.get(dep)) {
            mine.insert(*dep);
            if let Some(theirs) = before.get(*dep) {
                mine.extend(theirs.iter().copied());
            }
        }
        before.push(mine);
    }
    let is_concurrent = |a: usize| {
        (0..links.len()).any(|b| {
            a != b
                && links[a].author != links[b].author
                && !before[a].contains(&b)
                && !before[b].contains(&a)
        })
    };
    (0..links.len()).filter(|a| is_concurrent(*a)).count() as u64
}

fn conflicts(records: &BTreeMap<DocumentId, Shown>) -> Vec<Conflict> {
    let mut found = Vec::new();
    for (document, record) in records {
        for conflict in record.body["conflicts"].as_array().into_iter().flatten() {
            let values = conflict["values"].as_array().into_iter().flatten();
            let device = |value: &Value| value["device"].as_str().and_then(|id| id.parse().ok());
            found.push(Conflict {
                document: *document,
                field: conflict["field"].as_str().unwrap_or_default().to_owned(),
                values: values
                    .map(|value| (value["value"].clone(), device(value)))
                    .collect(),
            });
        }
    }
    found
}

#[cfg(test)]
mod tests {
    use gridbeat_base::BlobHash;

    use super::*;
    use crate::device::protocol::ScopePrint;

    const DOCUMENT: DocumentId = DocumentId::from_bytes([7; 16]);

    const fn hash(number: u8) -> ChangeHash {
        ChangeHash::new([number; 32])
    }

    const fn saved(number: u8) -> Saved {
        Saved {
            document: DOCUMENT,
            change: hash(number),
        }
    }

    fn print(changes: &[u8], digest: &str, value: u8) -> Print {
        Print {
            scopes: vec![ScopePrint {
                scope: Scope::new("a").unwrap(),
                cursor: 3,
                digest: digest.into(),
                documents: 1,
            }],
            documents: vec![DocumentPrint {
                document: DOCUMENT,
                heads: changes.last().map(|last| hash(*last)).into_iter().collect(),
                value: BlobHash::new([value; 32]),
                changes: changes.iter().map(|change| hash(*change)).collect(),
            }],
            refused: 0,
            blobs_waiting: 0,
        }
    }

    fn side(name: &str, print: Print) -> Side {
        Side {
            name: name.into(),
            print,
            saved: BTreeSet::from([saved(1)]),
            acknowledged: BTreeSet::from([saved(1)]),
        }
    }

    fn link(change: u8, author: u8, deps: &[u8]) -> Link {
        Link {
            change: hash(change),
            author: DeviceId::from_bytes([author; 16]),
            deps: deps.iter().map(|dep| hash(*dep)).collect(),
        }
    }

    fn relay(changes: &[u8]) -> RelaySide {
        RelaySide {
            print: print(changes, "d", 1),
            changes: BTreeMap::from([(
                DOCUMENT,
                changes.iter().map(|c| link(*c, 1, &[])).collect(),
            )]),
            records: BTreeMap::from([(DOCUMENT, shown())]),
            blobs: BlobsHeld::default(),
        }
    }

    fn shown() -> Shown {
        Shown {
            kind: INCIDENT.into(),
            status: "reported".into(),
            is_open: true,
            position: None,
            scopes: vec![Scope::new("a").unwrap()],
            body: serde_json::json!({"conflicts": [{"field": "severity", "values": [
                {"value": "minor", "device": null, "time_s": 1}, {"value": "urgent", "device": null, "time_s": 1},
            ]}]}),
        }
    }

    #[test]
    fn a_photo_that_did_not_come_is_told() {
        let mut relay = relay(&[1]);
        relay.blobs.referred_to = 3;
        relay.blobs.received = 3;
        let sides = [side("01", print(&[1], "d", 1))];
        assert!(compare(&sides, &relay).is_good());
        relay.blobs.received = 2;
        assert!(!compare(&sides, &relay).is_good());
    }

    #[test]
    fn equal_copies_are_good() {
        let devices = [
            side("01", print(&[1, 2], "d", 1)),
            side("02", print(&[1, 2], "d", 1)),
        ];
        let findings = compare(&devices, &relay(&[1, 2]));
        assert!(findings.is_good(), "{:?}", findings.told);
        assert_eq!((findings.pairs, findings.incidents), (3, 1));
        assert_eq!(findings.conflicts[0].values.len(), 2);
    }

    #[test]
    fn what_was_acknowledged_and_is_gone_is_found() {
        let findings = compare(&[side("01", print(&[1], "d", 1))], &relay(&[2]));
        assert!(findings.changes_lost == 1 && findings.told[0].contains("is gone"));
    }

    #[test]
    fn what_was_saved_and_is_gone_is_found() {
        let findings = compare(&[side("01", print(&[2], "d", 1))], &relay(&[1, 2]));
        assert!(findings.changes_lost == 1 && findings.told[0].starts_with("01: saved"));
    }

    #[test]
    fn digests_heads_and_values_that_differ_are_found() {
        for other in [
            print(&[1, 2], "e", 1),
            print(&[1, 2, 3], "d", 1),
            print(&[1, 2], "d", 2),
        ] {
            let devices = [side("01", other), side("02", print(&[1, 2], "d", 1))];
            let findings = compare(&devices, &relay(&[1, 2]));
            assert_eq!(findings.mismatches, 2, "with the relay and with each other");
        }
    }

    #[test]
    fn changes_that_knew_nothing_of_each_other_are_counted() {
        // 1 by a; 2 by b and 3 by c, both after 1; 4 by a after both.
        let forked = [
            link(1, 1, &[]),
            link(2, 2, &[1]),
            link(3, 3, &[1]),
            link(4, 1, &[2, 3]),
        ];
        assert_eq!(concurrent(&forked), 2);
        let straight = [link(1, 1, &[]), link(2, 2, &[1]), link(3, 1, &[2])];
        assert_eq!(concurrent(&straight), 0);
    }
}
