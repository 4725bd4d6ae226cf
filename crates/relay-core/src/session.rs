//! What the relay holds of one session: bounded by the protocol's windows, whatever is stored.

use std::collections::{BTreeMap, BTreeSet, VecDeque};

use gridbeat_base::{ChangeHash, DeviceId, DocumentId, Install, Monotonic, Scope};
use gridbeat_sync_protocol::{BatchProof, PublicKey, PushDocument, RelaySession, ScopeMark};

use crate::Rights;
use crate::config::QUARANTINE_BYTES_MAX;
use crate::snapshot::Snapping;

/// Names one session of a relay. The shell gives it out, never twice.
#[derive(Clone, Copy, Debug, Eq, Ord, PartialEq, PartialOrd)]
pub struct SessionId(pub u64);

/// One session.
#[derive(Debug)]
pub(crate) struct Session {
    pub(crate) device: DeviceId,
    /// The signing key in the device's certificate.
    pub(crate) key: Option<PublicKey>,
    pub(crate) protocol: RelaySession,
    /// The installation that greeted.
    pub(crate) install: Option<Install>,
    /// The relay's clock minus the device's when it greeted, in milliseconds.
    pub(crate) clock_offset_ms: i64,
    /// What the device may do, as it was told in the welcome; `None` before.
    pub(crate) rights: Option<Rights>,
    /// What it said of its scopes, until it is welcomed.
    pub(crate) greeted: Option<Vec<ScopeMark>>,
    /// Whether its cursors are from another life of the database, or of another one.
    pub(crate) recovers: bool,
    /// Whether it is a revoked device's, which hands over what it has and is given nothing.
    pub(crate) surrenders: bool,
    /// How many changes it may still hand over.
    pub(crate) handed_over_left: u64,
    /// Pushes that wait for an admission cycle, in the order they are to be handled.
    pub(crate) pending: VecDeque<PendingPush>,
    /// How many bytes it may still leave in the quarantine.
    pub(crate) quarantine_left: usize,
    /// Messages of range reconciliation that wait for an inventory.
    pub(crate) messages: BTreeMap<Scope, Vec<u8>>,
    /// The scopes that come as a snapshot, until all of it is sent.
    pub(crate) snapping: BTreeMap<Scope, Snapping>,
    /// The scopes under reconciliation.
    pub(crate) reconciling: BTreeSet<Scope>,
    /// The scopes that were reconciled to the end in this session.
    pub(crate) reconciled: BTreeSet<Scope>,
    /// Comparisons that are not answered completely.
    pub(crate) comparing: BTreeMap<Scope, Comparing>,
    /// Whether it is told where other devices are.
    pub(crate) watches: bool,
}

/// A comparison that is not answered completely.
#[derive(Debug)]
pub(crate) struct Comparing {
    /// The documents that are still to be answered, with what the device holds of each.
    pub(crate) documents: Vec<(DocumentId, Vec<ChangeHash>)>,
    /// Whether it is the last one of the reconciliation.
    pub(crate) last: bool,
}

/// A push that waits for an admission cycle.
#[derive(Debug)]
pub(crate) struct PendingPush {
    pub(crate) number: u64,
    pub(crate) scope: Scope,
    pub(crate) documents: Vec<PushDocument>,
    pub(crate) proof: BatchProof,
}

impl PendingPush {
    /// Returns how many changes it brings.
    pub(crate) fn changes(&self) -> usize {
        self.documents.iter().map(|it| it.changes.len()).sum()
    }

    /// Returns how many bytes its changes have.
    pub(crate) fn bytes(&self) -> usize {
        let changes = self.documents.iter().flat_map(|it| &it.changes);
        changes.map(|change| change.bytes.len()).sum()
    }
}

impl Session {
    pub(crate) fn new(now: Monotonic, device: DeviceId, key: Option<PublicKey>) -> Self {
        Self {
            device,
            key,
            protocol: RelaySession::new(now, device, key),
            install: None,
            clock_offset_ms: 0,
            rights: None,
            greeted: None,
            recovers: false,
            surrenders: false,
            handed_over_left: 0,
            pending: VecDeque::new(),
            quarantine_left: QUARANTINE_BYTES_MAX,
            messages: BTreeMap::new(),
            snapping: BTreeMap::new(),
            reconciling: BTreeSet::new(),
            reconciled: BTreeSet::new(),
            comparing: BTreeMap::new(),
            watches: false,
        }
    }

    /// Returns whether it may put documents back that a restored relay does not know in a scope: once it was told by
    /// a comparison what the relay lacks there, which nobody who says an old session again gets to; or if it
    /// cannot be told, because it is leaving the scope.
    pub(crate) fn may_bring_back(&self, scope: &Scope) -> bool {
        let is_fed =
            matches!(&self.rights, Some(Rights::Granted(scopes)) if scopes.contains_key(scope));
        self.recovers && (self.reconciled.contains(scope) || !is_fed)
    }

    /// Returns the scopes it is fed.
    pub(crate) fn scopes(&self) -> Vec<Scope> {
        match &self.rights {
            Some(Rights::Granted(scopes)) => scopes.keys().cloned().collect(),
            Some(Rights::Unknown | Rights::Revoked) | None => Vec::new(),
        }
    }
}
