//! Any frame that may be sent, for property tests.

use gridbeat_base::{
    BlobHash, ChangeHash, DeviceId, Digest, DocumentId, Hlc, Incarnation, Install, Position, Scope,
    Verbs, WallTime,
};
use gridbeat_sync_protocol::{
    Ack, Applied, BatchMark, BatchStamp, BlobNonce, Bring, ChunkSet, Close, Compare,
    CompareDocument, Compared, ComparedDocument, Entry, Feed, FeedChange, Fix, Frame, Get, Gone,
    Grant, Held, Hello, Here, Kept, Noted, Notice, Offer, OfferAnswer, Offered, PackForm, Part,
    Positions, Possession, Prove, Push, PushChange, PushDocument, Reason, Reconcile, RemovalHash,
    Removed, ScopeGreeting, ScopeMark, Seal, Seen, Sighting, Signature, Snapshot, SnapshotDocument,
    SnapshotMark, Taken, Verdict, Versions, Watch, Welcome, Withheld,
};
use proptest::collection::vec;
use proptest::option;
use proptest::prelude::*;

pub(crate) fn frames() -> BoxedStrategy<Frame> {
    prop_oneof![
        hellos(),
        welcomes(),
        pushes(),
        acks(),
        feeds(),
        (scopes(), any::<u64>()).prop_map(|(scope, seq)| Frame::Applied(Applied { scope, seq })),
        reconciles(),
        compares(),
        compareds(),
        (reasons(), any::<u32>()).prop_map(|(reason, retry_after_s)| Frame::Close(Close {
            reason,
            retry_after_s
        })),
        (option::of(scopes()), any::<u64>(), times()).prop_map(|(scope, seq, deadline)| {
            Frame::Notice(Notice {
                scope,
                seq,
                deadline,
            })
        }),
        (vec(any::<u8>(), 0..=512), option::of(signatures())).prop_map(|(statement, signature)| {
            Frame::Removed(Removed {
                statement,
                signature,
            })
        }),
        any::<[u8; 32]>().prop_map(|hash| Frame::Noted(Noted {
            removal: RemovalHash::from_bytes(hash)
        })),
        snapshots(),
        (scopes(), any::<u64>()).prop_map(|(scope, number)| Frame::Taken(Taken { scope, number })),
        blobs(),
        position_frames(),
    ]
    .boxed()
}

fn snapshots() -> impl Strategy<Value = Frame> {
    let whole = (documents(), kinds(), any::<u16>(), vec(changes(), 0..4));
    let whole = whole.prop_map(
        |(document, kind, schema_version, changes)| SnapshotDocument {
            document,
            kind,
            schema_version,
            changes,
        },
    );
    let numbers = (any::<[u64; 3]>(), digests(), any::<bool>());
    (scopes(), numbers, vec(whole, 0..5), forms()).prop_map(
        |(scope, ([number, seq, mark], digest, last), documents, form)| {
            Frame::Snapshot(Snapshot {
                scope,
                number,
                seq,
                digest,
                mark,
                last,
                documents,
                form,
            })
        },
    )
}

fn forms() -> impl Strategy<Value = PackForm> {
    prop_oneof![Just(PackForm::Whole), Just(PackForm::Apart)]
}

fn blobs() -> impl Strategy<Value = Frame> {
    let hash = || any::<[u8; 32]>().prop_map(BlobHash::new);
    let chunks = vec(any::<bool>(), 1..40).prop_map(|bits| {
        let mut set = ChunkSet::empty(bits.len() as u32);
        for (chunk, _) in (0..).zip(&bits).filter(|(_, is_in)| **is_in) {
            set.insert(chunk);
        }
        set
    });
    let answers = prop_oneof![
        3 => chunks.prop_map(OfferAnswer::Wanted),
        1 => Just(OfferAnswer::Complete),
        1 => any::<[u8; 32]>().prop_map(|nonce| OfferAnswer::Prove(BlobNonce::from_bytes(nonce))),
        1 => reasons().prop_map(OfferAnswer::Refused),
    ];
    prop_oneof![
        (documents(), hash(), any::<u64>()).prop_map(|(document, hash, size_bytes)| {
            Frame::Offer(Offer {
                document,
                hash,
                size_bytes,
            })
        }),
        (hash(), answers).prop_map(|(hash, answer)| Frame::Offered(Offered { hash, answer })),
        (hash(), any::<[u8; 32]>()).prop_map(|(hash, proof)| Frame::Prove(Prove {
            hash,
            proof: Possession::from_bytes(proof),
        })),
        (hash(), any::<u32>(), any::<bool>()).prop_map(|(hash, chunk, is_complete)| {
            Frame::Kept(Kept {
                hash,
                chunk,
                is_complete,
            })
        }),
        (documents(), hash(), any::<[u32; 2]>()).prop_map(|(document, hash, [first, count])| {
            Frame::Get(Get {
                document,
                hash,
                first,
                count,
            })
        }),
        (hash(), any::<u64>(), any::<u32>(), vec(any::<u8>(), 0..400)).prop_map(
            |(hash, size_bytes, chunk, slice)| Frame::Part(Part {
                hash,
                size_bytes,
                chunk,
                slice,
            })
        ),
        (hash(), reasons()).prop_map(|(hash, reason)| Frame::Withheld(Withheld { hash, reason })),
    ]
}

fn position_frames() -> impl Strategy<Value = Frame> {
    let positions = |max| {
        (times(), vec(sightings(), 0..max))
            .prop_map(|(now, sightings)| Positions { now, sightings })
    };
    prop_oneof![
        (any::<u64>(), any::<u64>(), fixes()).prop_map(|(number, age_ms, fix)| Frame::Here(Here {
            number,
            age_ms,
            fix
        })),
        any::<u64>().prop_map(|number| Frame::Gone(Gone { number })),
        any::<bool>().prop_map(|is_wanted| Frame::Watch(Watch { is_wanted })),
        positions(20).prop_map(Frame::Positions),
        positions(12).prop_map(Frame::Moved),
        (
            documents(),
            any::<[u8; 32]>(),
            any::<u64>(),
            vec(any::<u8>(), 0..=600)
        )
            .prop_map(|(document, hash, after, bytes)| Frame::Bring(Bring {
                document,
                hash: BlobHash::new(hash),
                after,
                bytes,
            })),
    ]
}

fn sightings() -> impl Strategy<Value = Sighting> {
    let seen = (any::<bool>(), fixes()).prop_map(|(is_exact, fix)| Seen { is_exact, fix });
    (devices(), times(), option::of(seen)).prop_map(|(device, taken, seen)| Sighting {
        device,
        taken,
        seen,
    })
}

fn fixes() -> impl Strategy<Value = Fix> {
    let place = (
        -900_000_000..=900_000_000_i32,
        -1_800_000_000..=1_800_000_000_i32,
        any::<u32>(),
    );
    let motion = (option::of(any::<u32>()), option::of(0..360_u16));
    let rest = (option::of(0..=100_u8), option::of(any::<u64>()));
    (times(), option::of(times()), place, motion, rest).prop_map(
        |(device_time, receiver_time, place, (speed_cm_s, heading_deg), (battery, waiting))| Fix {
            device_time,
            receiver_time,
            position: Position::from_e7(place.0, place.1).unwrap(),
            accuracy_dm: place.2,
            speed_cm_s,
            heading_deg,
            battery_percent: battery,
            waiting,
        },
    )
}

fn scopes() -> impl Strategy<Value = Scope> {
    "[a-z0-9甲乙:/-]{1,20}".prop_map(|name| Scope::new(&name).unwrap())
}

/// Few different ids, so that tables have something to share.
fn documents() -> impl Strategy<Value = DocumentId> {
    prop_oneof![(0..4u8).prop_map(|n| [n; 16]), any::<[u8; 16]>()].prop_map(DocumentId::from_bytes)
}

fn devices() -> impl Strategy<Value = DeviceId> {
    prop_oneof![(0..4u8).prop_map(|n| [n; 16]), any::<[u8; 16]>()].prop_map(DeviceId::from_bytes)
}

fn hashes() -> impl Strategy<Value = Vec<ChangeHash>> {
    vec(any::<[u8; 32]>().prop_map(ChangeHash::new), 0..5)
}

fn digests() -> impl Strategy<Value = Digest> {
    any::<[u8; 16]>().prop_map(Digest::from_bytes)
}

fn times() -> impl Strategy<Value = WallTime> {
    prop_oneof![1_790_000_000_000..1_790_000_100_000i64, any::<i64>()].prop_map(WallTime)
}

fn kinds() -> impl Strategy<Value = String> {
    prop_oneof![Just("incident".to_owned()), "[a-z]{1,32}"]
}

/// Bytes like a change's: some compress, some do not.
fn raw_changes() -> impl Strategy<Value = Vec<u8>> {
    prop_oneof![
        vec(any::<u8>(), 0..300),
        (any::<u8>(), 0..2_000usize).prop_map(|(byte, count)| vec![byte; count]),
    ]
}

fn changes() -> impl Strategy<Value = FeedChange> {
    (raw_changes(), devices(), times()).prop_map(|(bytes, author, received)| FeedChange {
        bytes,
        author,
        received,
    })
}

fn reasons() -> impl Strategy<Value = Reason> {
    ("[a-z_]{0,64}", "[ -~]{0,512}", "[一-龥]{0,170}").prop_map(|(code, en, zh)| Reason {
        code,
        en,
        zh,
    })
}

fn hellos() -> impl Strategy<Value = Frame> {
    let marks = (scopes(), any::<u64>(), digests(), any::<u64>());
    let marks = marks.prop_map(|(scope, cursor, digest, documents)| ScopeMark {
        scope,
        cursor,
        digest,
        documents,
        snapshot: (documents % 3 == 0).then_some(SnapshotMark {
            as_of: cursor,
            mark: documents,
        }),
    });
    (
        any::<[u16; 2]>(),
        devices(),
        any::<[u8; 16]>(),
        option::of(any::<[u8; 16]>()),
        any::<u64>(),
        vec(marks, 0..6),
    )
        .prop_map(|(versions, device, install, incarnation, clock, scopes)| {
            Frame::Hello(Hello {
                versions: Versions {
                    newest: versions[0],
                    oldest: versions[1],
                },
                device,
                install: Install::new(install),
                incarnation: incarnation.map(Incarnation::new),
                clock: Hlc::from_bits(clock),
                scopes,
            })
        })
}

fn welcomes() -> impl Strategy<Value = Frame> {
    let grants = prop_oneof![Just(Grant::None), Just(Grant::Read), Just(Grant::Write)];
    let greetings = (scopes(), grants, any::<u64>(), any::<bool>());
    let greetings = greetings.prop_map(|(scope, grant, head, digest_agrees)| ScopeGreeting {
        scope,
        grant,
        head,
        digest_agrees,
        verbs: (head % 3 > 0).then(|| Verbs::known(head)),
        snapshot: (head % 3 > 1).then_some(head),
    });
    (
        any::<u16>(),
        any::<[u8; 16]>(),
        times(),
        vec(greetings, 0..6),
        option::of(times()),
    )
        .prop_map(|(version, incarnation, time, scopes, stable)| {
            Frame::Welcome(Welcome {
                version,
                incarnation: Incarnation::new(incarnation),
                time,
                scopes,
                stable,
            })
        })
}

fn pushes() -> impl Strategy<Value = Frame> {
    let change = (raw_changes(), option::of(devices()));
    let change = change.prop_map(|(bytes, recovered_from)| PushChange {
        bytes,
        recovered_from,
    });
    let pushed = (documents(), kinds(), any::<u16>(), vec(change, 0..5));
    let pushed = pushed.prop_map(|(document, kind, schema_version, changes)| PushDocument {
        document,
        kind,
        schema_version,
        changes,
    });
    let pushed = vec(pushed, 0..6);
    (
        any::<[u64; 2]>(),
        scopes(),
        pushed,
        option::of(seals()),
        forms(),
    )
        .prop_map(|(numbers, scope, documents, seal, form)| {
            Frame::Push(Push {
                form,
                number: numbers[0],
                after: numbers[1],
                scope,
                documents,
                seal,
            })
        })
}

fn signatures() -> impl Strategy<Value = Signature> {
    any::<[u8; 32]>().prop_map(|half| {
        let whole = [half, half].concat().try_into();
        Signature::from_bytes(whole.unwrap())
    })
}

fn seals() -> impl Strategy<Value = Seal> {
    let previous = option::of(any::<[u8; 20]>().prop_map(BatchMark::from_bytes));
    (any::<[u64; 2]>(), times(), previous, signatures()).prop_map(
        |([number, clock], wall, previous, signature)| Seal {
            stamp: BatchStamp {
                number,
                clock: Hlc::from_bits(clock),
                wall,
                previous,
            },
            signature,
        },
    )
}

fn acks() -> impl Strategy<Value = Frame> {
    let verdicts = prop_oneof![
        4 => Just(Verdict::Accepted),
        2 => Just(Verdict::Known),
        1 => Just(Verdict::Incomplete),
        1 => reasons().prop_map(Verdict::Refused),
    ];
    let (attached, verdicts) = (vec(any::<bool>(), 0..12), vec(verdicts, 0..12));
    (
        any::<u64>(),
        times(),
        option::of(any::<u64>()),
        attached,
        verdicts,
    )
        .prop_map(|(number, received, first_seq, attached, verdicts)| {
            Frame::Ack(Ack {
                number,
                received,
                first_seq,
                attached,
                verdicts,
            })
        })
}

fn entries() -> impl Strategy<Value = Entry> {
    let attach = (documents(), kinds(), any::<u16>(), vec(changes(), 0..4));
    prop_oneof![
        4 => (documents(), changes()).prop_map(|(document, change)| Entry::Change { document, change }),
        2 => attach.prop_map(|(document, kind, schema_version, changes)| Entry::Attach {
            document,
            kind,
            schema_version,
            changes,
        }),
        1 => documents().prop_map(|document| Entry::Detach { document }),
        1 => any::<u64>().prop_map(|count| Entry::Own { count }),
    ]
}

fn feeds() -> impl Strategy<Value = Frame> {
    let entries = vec(entries(), 0..8);
    (scopes(), any::<[u64; 2]>(), digests(), entries, forms()).prop_map(
        |(scope, numbers, digest, entries, form)| {
            Frame::Feed(Feed {
                form,
                scope,
                first_seq: numbers[0],
                digest,
                head: numbers[1],
                entries,
            })
        },
    )
}

fn reconciles() -> impl Strategy<Value = Frame> {
    (scopes(), any::<u64>(), vec(any::<u8>(), 0..400)).prop_map(|(scope, seq, message)| {
        Frame::Reconcile(Reconcile {
            scope,
            seq,
            message,
        })
    })
}

fn compares() -> impl Strategy<Value = Frame> {
    let held = (documents(), hashes());
    let held = held.prop_map(|(document, changes)| CompareDocument { document, changes });
    (scopes(), vec(held, 0..6), any::<bool>()).prop_map(|(scope, documents, last)| {
        Frame::Compare(Compare {
            scope,
            documents,
            last,
        })
    })
}

fn compareds() -> impl Strategy<Value = Frame> {
    let held = (
        kinds(),
        any::<u16>(),
        hashes(),
        hashes(),
        vec(changes(), 0..4),
    );
    let held = held.prop_map(|(kind, schema_version, heads, lacks, changes)| Held {
        kind,
        schema_version,
        heads,
        lacks,
        changes,
    });
    let answers = (documents(), option::of(held));
    let answers = answers.prop_map(|(document, held)| ComparedDocument { document, held });
    (
        scopes(),
        any::<u64>(),
        digests(),
        vec(answers, 0..5),
        any::<bool>(),
        forms(),
    )
        .prop_map(|(scope, seq, digest, documents, last, form)| {
            Frame::Compared(Compared {
                form,
                scope,
                seq,
                digest,
                documents,
                last,
            })
        })
}
