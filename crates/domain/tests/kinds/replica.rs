//! A replica of one document, edited and merged by hand.

use std::collections::BTreeMap;
use std::sync::Arc;

use gridbeat_base::{ChangeHash, DeviceId, Hlc, Random, Verbs, WallTime};
use gridbeat_document::gate::{self, Incoming, Side, Verdict};
use gridbeat_document::{
    Actor, Author, Change, Document, EditError, Kind, Projection, Provenance, Stamp,
};
use serde::Serialize;

pub(crate) struct Replica {
    kind: Arc<dyn Kind>,
    document: Document,
    actor: Actor,
    device: DeviceId,
    random: Random,
    provenance: BTreeMap<ChangeHash, Provenance>,
    own: Vec<Change>,
}

impl Replica {
    pub(crate) fn new(kind: impl Kind, number: u8) -> Self {
        let kind: Arc<dyn Kind> = Arc::new(kind);
        let document = Document::genesis(&kind, kind.schema_version());
        Self {
            kind,
            document,
            actor: Actor::from_bytes([number; 16]),
            device: DeviceId::from_bytes([number; 16]),
            random: Random::from_number(u64::from(number)),
            provenance: BTreeMap::new(),
            own: Vec::new(),
        }
    }

    /// The first change this replica made: the same for replicas of one number.
    pub(crate) fn first(&self) -> Change {
        self.own[0].clone()
    }

    pub(crate) fn device(&self) -> DeviceId {
        self.device
    }

    /// Edits at a second of the day, by the device's own clock.
    pub(crate) fn edit(
        &mut self,
        second: i64,
        intent: &impl Serialize,
    ) -> Result<Change, EditError> {
        let wall = WallTime(1_780_000_000_000 + second * 1_000);
        let stamp = Stamp {
            hlc: Hlc::at(wall),
            wall,
            relay_offset_ms: None,
            device: self.device,
            fact: self.random.bytes(),
        };
        let intent = serde_json::to_vec(intent).unwrap();
        let change = self
            .document
            .edit(self.actor, &intent, &stamp, &|_| Provenance::default())?;
        self.provenance.insert(
            change.hash,
            Provenance {
                author: Some(self.device),
                received: None,
            },
        );
        self.own.push(change.clone());
        Ok(change)
    }

    /// Edits, and returns the verbs that it took.
    pub(crate) fn took(&mut self, second: i64, intent: &impl Serialize) -> Verbs {
        let unknown = |_: &_| Provenance::default();
        let before = self.document.view(&unknown);
        self.edit(second, intent).unwrap();
        gate::needed(&self.kind, &before, &self.document.view(&unknown))
    }

    /// Takes a change in through the gate, as if the relay had received it at `received`.
    pub(crate) fn take(
        &mut self,
        change: &Change,
        author: DeviceId,
        received: Option<i64>,
    ) -> Verdict {
        let received = received.map(|second| WallTime(1_780_000_000_000 + second * 1_000));
        self.provenance.insert(
            change.hash,
            Provenance {
                author: Some(author),
                received,
            },
        );
        let provenance = self.provenance.clone();
        let incoming = [Incoming {
            bytes: &change.bytes,
            author: Author::decided(author),
            received,
        }];
        let lookup = |hash: &ChangeHash| provenance.get(hash).copied().unwrap_or_default();
        gate::admit(&mut self.document, &incoming, Side::Device, &lookup).remove(0)
    }

    pub(crate) fn project(&self) -> Projection {
        let lookup = |hash: &ChangeHash| self.provenance.get(hash).copied().unwrap_or_default();
        self.kind.project(&self.document.view(&lookup))
    }

    pub(crate) fn view<T: serde::de::DeserializeOwned>(&self) -> T {
        serde_json::from_str(&self.project().body).unwrap()
    }
}
