//! Builders that the tests of this package share.

use gridbeat_base::{
    ChangeHash, DeviceId, Digest, DocumentId, Hlc, Incarnation, Install, Monotonic, Scope, Verbs,
    WallTime,
};
use gridbeat_sync_protocol::{
    Ack, BatchMark, BatchStamp, BatchStatement, Close, DeviceInput, DeviceOutput, DeviceSession,
    Entry, Feed, FeedChange, Frame, Grant, Hello, Notice, PackForm, Push, PushChange, PushDocument,
    Reason, RelayInput, RelayOutput, RelaySession, RemovalStatement, Removed, ScopeGreeting,
    ScopeMark, SessionError, Signer, Snapshot, SnapshotDocument, Verdict, Versions, Welcome,
};

pub(crate) const NOW: Monotonic = Monotonic(std::time::Duration::ZERO);

pub(crate) fn scope(name: &str) -> Scope {
    Scope::new(name).unwrap()
}

pub(crate) fn device(n: u8) -> DeviceId {
    DeviceId::from_bytes([n; 16])
}

pub(crate) fn document(n: u8) -> DocumentId {
    DocumentId::from_bytes([n; 16])
}

pub(crate) fn hash(n: u8) -> ChangeHash {
    ChangeHash::new([n; 32])
}

pub(crate) fn digest(n: u8) -> Digest {
    Digest::from_bytes([n; 16])
}

pub(crate) fn incarnation(n: u8) -> Incarnation {
    Incarnation::new([n; 16])
}

pub(crate) fn reason(code: &str) -> Reason {
    Reason {
        code: code.to_owned(),
        en: "because".to_owned(),
        zh: "因为".to_owned(),
    }
}

pub(crate) fn close() -> Close {
    Close {
        reason: reason("shift_over"),
        retry_after_s: 30,
    }
}

pub(crate) fn mark(name: &str, cursor: u64) -> ScopeMark {
    ScopeMark {
        scope: scope(name),
        cursor,
        digest: digest(7),
        documents: 3,
        snapshot: None,
    }
}

/// Device 1's greeting, with cursors of the relay's incarnation 9.
pub(crate) fn hello(scopes: &[(&str, u64)]) -> Hello {
    Hello {
        versions: Versions::SPOKEN,
        device: device(1),
        install: Install::new([2; 16]),
        incarnation: Some(incarnation(9)),
        clock: Hlc::at(WallTime(1_790_000_000_000)),
        scopes: scopes.iter().map(|(name, at)| mark(name, *at)).collect(),
    }
}

pub(crate) fn greeting(name: &str, head: u64) -> ScopeGreeting {
    ScopeGreeting {
        scope: scope(name),
        grant: Grant::Write,
        head,
        digest_agrees: true,
        verbs: None,
        snapshot: None,
    }
}

/// The answer of the relay's incarnation 9.
pub(crate) fn welcome(scopes: Vec<ScopeGreeting>) -> Welcome {
    Welcome {
        version: 1,
        incarnation: incarnation(9),
        time: WallTime(1_790_000_000_500),
        scopes,
        stable: None,
    }
}

pub(crate) fn change(bytes: &[u8]) -> FeedChange {
    FeedChange {
        bytes: bytes.to_vec(),
        author: device(4),
        received: WallTime(1_790_000_000_000),
    }
}

pub(crate) fn change_entry(n: u8) -> Entry {
    Entry::Change {
        document: document(n),
        change: change(&[n; 40]),
    }
}

pub(crate) fn feed(name: &str, first_seq: u64, entries: Vec<Entry>) -> Feed {
    Feed {
        form: PackForm::Whole,
        scope: scope(name),
        first_seq,
        digest: digest(8),
        head: 1_000,
        entries,
    }
}

/// A document's push with one change of so many bytes.
pub(crate) fn push_document(n: u8, bytes: usize) -> PushDocument {
    PushDocument {
        document: document(n),
        kind: "incident".to_owned(),
        schema_version: 1,
        changes: vec![PushChange {
            bytes: vec![n; bytes],
            recovered_from: None,
        }],
    }
}

/// Device 1's signing key, where it has one.
pub(crate) fn signer() -> Signer {
    Signer::from_seed(&[1; 32])
}

/// A push of device 1, signed by `signer` as its seventh batch.
pub(crate) fn sealed(signer: &Signer, number: u64, documents: Vec<PushDocument>) -> Push {
    let stamp = BatchStamp {
        number: 7,
        clock: Hlc::at(WallTime(1_790_000_000_000)),
        wall: WallTime(1_790_000_000_012),
        previous: Some(BatchMark::from_bytes([6; 20])),
    };
    let (scope, install) = (scope("a"), Install::new([2; 16]));
    let statement = BatchStatement::of_push(device(1), install, stamp, &scope, &documents);
    Push {
        form: PackForm::Whole,
        number,
        after: 0,
        scope,
        documents,
        seal: Some(statement.seal(signer).0),
    }
}

/// A notice of leaving a scope, or everything.
pub(crate) fn notice(name: Option<&str>) -> Frame {
    Frame::Notice(Notice {
        scope: name.map(scope),
        seq: 10,
        deadline: WallTime(1_790_000_000_000),
    })
}

/// A device's word that it removed scope "b", not signed.
pub(crate) fn removed_of(n: u8) -> Frame {
    let statement = RemovalStatement {
        device: device(n),
        install: Install::new([2; 16]),
        scope: Some(scope("b")),
        incarnation: Some(incarnation(9)),
        seq: 3,
        digest: digest(7),
        documents: 3,
        removed: 3,
        kept: 0,
        at: WallTime(1_790_000_000_000),
    };
    Frame::Removed(Removed::new(statement.to_bytes(), None))
}

/// As [`removed_of`], of device 1.
pub(crate) fn removed() -> Frame {
    removed_of(1)
}

/// A snapshot frame of scope "a" with one document, or none.
pub(crate) fn snapshot(number: u64, count: usize, last: bool) -> Snapshot {
    let whole = SnapshotDocument {
        document: document(1),
        kind: "incident".to_owned(),
        schema_version: 1,
        changes: vec![change(&[1; 40])],
    };
    Snapshot {
        scope: scope("a"),
        number,
        seq: 300,
        digest: digest(8),
        mark: number,
        last,
        documents: vec![whole; count],
        form: PackForm::Whole,
    }
}

/// The greeting of scope "a", which comes as a snapshot.
pub(crate) fn snapshot_greeting() -> ScopeGreeting {
    ScopeGreeting {
        verbs: Some(Verbs::WORK),
        snapshot: Some(300),
        ..greeting("a", 300)
    }
}

/// The acknowledgement of a push of one document with one change.
pub(crate) fn accepted(number: u64, first_seq: u64) -> Ack {
    Ack {
        number,
        received: WallTime(1_790_000_001_000),
        first_seq: Some(first_seq),
        attached: vec![false],
        verdicts: vec![Verdict::Accepted],
    }
}

/// A device's session that has greeted.
pub(crate) fn greeting_device(hello: Hello) -> DeviceSession {
    let mut session = DeviceSession::new();
    session.start(NOW, hello).unwrap();
    assert!(matches!(
        device_outputs(&mut session).as_slice(),
        [DeviceOutput::Send {
            frame: Frame::Hello(_),
            ..
        }]
    ));
    session
}

/// A device's session with scope "a" at cursor 10, which the relay fed up to there.
pub(crate) fn live_device() -> DeviceSession {
    let mut session = greeting_device(hello(&[("a", 10)]));
    give(
        &mut session,
        Frame::Welcome(welcome(vec![greeting("a", 10)])),
    )
    .unwrap();
    device_outputs(&mut session);
    session
}

pub(crate) fn give(session: &mut DeviceSession, frame: Frame) -> Result<(), SessionError> {
    session.handle(NOW, DeviceInput::Frame(frame))
}

pub(crate) fn device_outputs(session: &mut DeviceSession) -> Vec<DeviceOutput> {
    std::iter::from_fn(|| session.poll_output()).collect()
}

/// The relay's session with device 1, that waits for its greeting.
pub(crate) fn new_relay() -> RelaySession {
    RelaySession::new(NOW, device(1), None)
}

/// The relay's session with device 1, which has scope "a" at cursor 10.
pub(crate) fn live_relay() -> RelaySession {
    let mut session = new_relay();
    send(&mut session, Frame::Hello(hello(&[("a", 10)]))).unwrap();
    let scopes = vec![greeting("a", 10)];
    session
        .welcome(incarnation(9), WallTime(0), scopes)
        .unwrap();
    relay_outputs(&mut session);
    session
}

pub(crate) fn send(session: &mut RelaySession, frame: Frame) -> Result<(), SessionError> {
    session.handle(NOW, RelayInput::Frame(frame))
}

pub(crate) fn relay_outputs(session: &mut RelaySession) -> Vec<RelayOutput> {
    std::iter::from_fn(|| session.poll_output()).collect()
}
