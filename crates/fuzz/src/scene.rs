//! One document that honest devices wrote, and changes built on it from an input's bytes.
//!
//! Random bytes fail at a change's checksum, and nearly all mutants of a real change at its dependencies. So the
//! checksum is always made right, and the head too if the input says so.

use std::sync::Arc;

use gridbeat_base::{ChangeHash, DeviceId, Hlc, Position, WallTime};
use gridbeat_document::{Actor, Change, Document, EditError, Kind, Provenance, Stamp};
use gridbeat_domain::{IncidentIntent, Severity, Step, kinds};
use sha2::{Digest as _, Sha256};

use crate::input::Input;
use crate::world::report;

/// The first bytes of a change chunk, before its checksum.
const MAGIC: [u8; 4] = [0x85, 0x6f, 0x4a, 0x83];

/// Bytes of magic, checksum and chunk type.
const HEAD_BYTES: usize = 9;

/// The hostile device, and the actor it writes under.
pub(crate) const HOSTILE: u8 = 7;

/// An input that is a change's bytes as they are.
pub(crate) const RAW: u8 = 0;
/// An input that is a change's body; the checksum is made.
pub(crate) const BODY: u8 = 1;
/// An input that is what follows a change's first op; all before is made, as it would be next.
pub(crate) const TAIL: u8 = 2;

/// A document, and what is next in it.
pub(crate) struct Scene {
    pub(crate) kind: Arc<dyn Kind>,
    /// The document with a report, two notes and a rating of it.
    pub(crate) document: Document,
    /// What a colleague adds at the same time.
    pub(crate) honest: Change,
    /// What the hostile device would add, were it honest.
    pub(crate) others: Vec<Change>,
    deps: Vec<ChangeHash>,
    start_op: Vec<u8>,
}

impl Scene {
    pub(crate) fn new() -> Self {
        let kind = Arc::clone(kinds().find("incident").expect("the domain has incidents"));
        let mut document = Document::genesis(&kind, kind.schema_version());
        edit(&mut document, 1, 0, &report("井盖缺失"));
        edit(&mut document, 1, 1, &step("已到场"));
        edit(&mut document, 2, 2, &step("已围挡"));
        edit(&mut document, 1, 3, &rate(Severity::Serious));
        let deps = document.heads();
        let honest = edit(&mut document.clone(), 3, 4, &step("已补"));
        let steps = Step::ALL.iter().map(|step| take(*step));
        let intents = [
            step("再次到场"),
            step(&"长".repeat(300)),
            rate(Severity::Urgent),
            describe("井盖缺失，已设警示牌"),
            describe("缺"),
            IncidentIntent::Locate {
                address: Some("中山路12号".into()),
                position: Position::from_degrees(29.96, 121.7).ok(),
            },
        ];
        // Not every step may be taken now.
        let others: Vec<_> = intents
            .into_iter()
            .chain(steps)
            .filter_map(|intent| attempt(&mut document.clone(), HOSTILE, 5, &intent).ok())
            .collect();
        let body = body_of(&others[0].bytes);
        // Behind the dependencies and the actor stand two short numbers: its place, and its first op.
        let numbers = &body[1 + 32 * deps.len() + 1 + 16 + 1..];
        let start_op = numbers[..number_length(numbers)].to_vec();
        Self {
            kind,
            document,
            honest,
            others,
            deps,
            start_op,
        }
    }

    /// Makes the change that an input stands for.
    pub(crate) fn change(&self, input: &mut Input<'_>) -> Vec<u8> {
        match input.byte() % 3 {
            RAW => input.rest.to_vec(),
            BODY => sealed(input.rest),
            _ => sealed(&[&self.head(), input.rest].concat()),
        }
    }

    /// What stands before a change's time, as the hostile device's next change would have it.
    fn head(&self) -> Vec<u8> {
        let mut head = vec![self.deps.len() as u8];
        self.deps.iter().for_each(|dep| head.extend(dep.bytes()));
        head.push(16);
        head.extend([HOSTILE; 16]);
        head.push(1);
        head.extend(&self.start_op);
        head
    }

    /// Turns a change of the scene into inputs: all of it, its body, and what follows its first op.
    pub(crate) fn inputs(&self, bytes: &[u8]) -> [Vec<u8>; 3] {
        let body = body_of(bytes);
        let tail = &body[self.head().len().min(body.len())..];
        [
            [&[RAW], bytes].concat(),
            [&[BODY], body].concat(),
            [&[TAIL], tail].concat(),
        ]
    }
}

/// Puts a change's head before its body.
pub(crate) fn sealed(body: &[u8]) -> Vec<u8> {
    let mut hashed = vec![1];
    let mut length = body.len();
    while length > 0x7f {
        hashed.push((length & 0x7f) as u8 | 0x80);
        length >>= 7;
    }
    hashed.push(length as u8);
    hashed.extend(body);
    let hash = Sha256::digest(&hashed);
    [&MAGIC[..], &hash[..4], &hashed].concat()
}

/// Returns what a change's checksum and length are about.
pub(crate) fn body_of(bytes: &[u8]) -> &[u8] {
    let rest = &bytes[HEAD_BYTES..];
    &rest[number_length(rest)..]
}

fn number_length(bytes: &[u8]) -> usize {
    let more = bytes.iter().take_while(|byte| **byte & 0x80 != 0).count();
    (more + 1).min(bytes.len())
}

/// Lets a device save an intent.
pub(crate) fn edit(
    document: &mut Document,
    device: u8,
    minute: i64,
    intent: &IncidentIntent,
) -> Change {
    attempt(document, device, minute, intent).expect("the intents fit the document")
}

fn attempt(
    document: &mut Document,
    device: u8,
    minute: i64,
    intent: &IncidentIntent,
) -> Result<Change, EditError> {
    let wall = WallTime(1_790_000_000_000 + minute * 60_000);
    let stamp = Stamp {
        hlc: Hlc::at(wall),
        wall,
        relay_offset_ms: None,
        device: DeviceId::from_bytes([device; 16]),
        fact: [device.wrapping_mul(16).wrapping_add(minute as u8); 16],
    };
    let intent = serde_json::to_vec(intent).expect("an intent is plain data");
    document.edit(Actor::from_bytes([device; 16]), &intent, &stamp, &nobody)
}

pub(crate) fn nobody(_: &ChangeHash) -> Provenance {
    Provenance::default()
}

pub(crate) fn step(note: &str) -> IncidentIntent {
    IncidentIntent::Step {
        step: Step::Note,
        note: note.into(),
        unit: None,
        by: "赵巡查".into(),
        gps: None,
    }
}

/// Takes a step of the flow.
fn take(step: Step) -> IncidentIntent {
    IncidentIntent::Step {
        step,
        note: String::new(),
        unit: Some("一中队".into()),
        by: "赵巡查".into(),
        gps: None,
    }
}

fn describe(description: &str) -> IncidentIntent {
    IncidentIntent::Describe {
        description: description.into(),
    }
}

const fn rate(severity: Severity) -> IncidentIntent {
    IncidentIntent::Rate { severity }
}
