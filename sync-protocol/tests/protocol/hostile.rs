//! Whatever a peer sends, a session neither panics nor goes beyond its bounds: it goes on, or ends in
//! words.
//!
//! Frames are made of few scopes, documents and numbers, and of the extremes, so that they often come
//! close to making sense. Our own side answers what it must, as its caller would.

use gridbeat_base::{Lane, Verbs, WallTime};
use gridbeat_sync_protocol::{
    Ack, Applied, BlobNonce, ChunkSet, Close, Compare, CompareDocument, Compared, ComparedDocument,
    DeviceOutput, Entry, Feed, Frame, Get, Gone, Grant, Here, Offer, OfferAnswer, PackForm, Part,
    Push, Reconcile, RelayOutput, ScopeGreeting, Verdict, Watch, Welcome, Withheld,
};
use proptest::collection::vec;
use proptest::option;
use proptest::prelude::*;

use crate::blobs::{bring, get, kept, offer, offered, part, prove, wanted};
use crate::positions::{fix, positions};
use crate::support::*;

fn scopes() -> impl Strategy<Value = &'static str> {
    prop_oneof![4 => Just("a"), 1 => Just("b"), 1 => Just("c")]
}

fn numbers() -> impl Strategy<Value = u64> {
    prop_oneof![8 => 0..24u64, 1 => Just(u64::MAX), 1 => Just(u64::MAX - 1)]
}

fn entries() -> impl Strategy<Value = Entry> {
    prop_oneof![
        4 => (0..4u8).prop_map(change_entry),
        2 => numbers().prop_map(|count| Entry::Own { count }),
        1 => (0..4u8).prop_map(|n| Entry::Detach { document: document(n) }),
    ]
}

fn feeds() -> impl Strategy<Value = Frame> {
    (scopes(), numbers(), numbers(), vec(entries(), 0..4)).prop_map(
        |(name, first, head, entries)| {
            Frame::Feed(Feed {
                head: head.saturating_mul(4),
                ..feed(name, first, entries)
            })
        },
    )
}

fn welcomes() -> impl Strategy<Value = Frame> {
    let grants = prop_oneof![Just(Grant::None), Just(Grant::Read), Just(Grant::Write)];
    let greetings = (scopes(), grants, numbers(), any::<bool>());
    let greetings = greetings.prop_map(|(name, grant, head, digest_agrees)| ScopeGreeting {
        scope: scope(name),
        grant,
        head,
        digest_agrees,
        verbs: (head % 3 > 0).then(|| Verbs::known(head)),
        snapshot: (head % 3 > 1).then_some(head),
    });
    (0..4u16, 8..10u8, vec(greetings, 0..3)).prop_map(|(version, life, scopes)| {
        Frame::Welcome(Welcome {
            version,
            incarnation: incarnation(life),
            ..welcome(scopes)
        })
    })
}

fn acks() -> impl Strategy<Value = Frame> {
    let verdicts = prop_oneof![Just(Verdict::Accepted), Just(Verdict::Known)];
    let (attached, verdicts) = (vec(any::<bool>(), 0..3), vec(verdicts, 0..3));
    (numbers(), option::of(numbers()), attached, verdicts).prop_map(
        |(number, first_seq, attached, verdicts)| {
            Frame::Ack(Ack {
                number,
                received: WallTime(0),
                first_seq,
                attached,
                verdicts,
            })
        },
    )
}

fn reconciles() -> impl Strategy<Value = Frame> {
    (scopes(), numbers()).prop_map(|(name, seq)| {
        Frame::Reconcile(Reconcile {
            scope: scope(name),
            seq,
            message: vec![1],
        })
    })
}

fn compareds() -> impl Strategy<Value = Frame> {
    (scopes(), numbers(), vec(0..4u8, 0..3), any::<bool>()).prop_map(|(name, seq, asked, last)| {
        let unknown = asked.into_iter().map(|n| ComparedDocument {
            document: document(n),
            held: None,
        });
        Frame::Compared(Compared {
            form: PackForm::Whole,
            scope: scope(name),
            seq,
            digest: digest(1),
            documents: unknown.collect(),
            last,
        })
    })
}

fn compares() -> impl Strategy<Value = Frame> {
    (scopes(), vec(0..4u8, 0..3), any::<bool>()).prop_map(|(name, asked, last)| {
        let asked = asked.into_iter().map(|n| CompareDocument {
            document: document(n),
            changes: vec![],
        });
        Frame::Compare(Compare {
            scope: scope(name),
            documents: asked.collect(),
            last,
        })
    })
}

fn pushes() -> impl Strategy<Value = Frame> {
    let documents = vec((0..4u8, 0..70_000usize), 0..3);
    (numbers(), numbers(), scopes(), documents).prop_map(|(number, after, name, documents)| {
        let documents = documents
            .into_iter()
            .map(|(n, bytes)| push_document(n, bytes));
        Frame::Push(Push {
            form: PackForm::Whole,
            number,
            after: if after < number { after } else { 0 },
            scope: scope(name),
            documents: documents.collect(),
            seal: None,
        })
    })
}

fn applieds() -> impl Strategy<Value = Frame> {
    (scopes(), numbers()).prop_map(|(name, seq)| {
        Frame::Applied(Applied {
            scope: scope(name),
            seq,
        })
    })
}

fn from_relays() -> impl Strategy<Value = Frame> {
    prop_oneof![
        8 => feeds(),
        3 => acks(),
        3 => reconciles(),
        3 => compareds(),
        4 => blobs_down(),
        1 => prop_oneof![Just(Frame::Positions(positions(2))), Just(Frame::Moved(positions(1)))],
        1 => welcomes(),
        1 => prop_oneof![Just(notice(Some("b"))), Just(notice(Some("c"))), Just(notice(None))],
        1 => Just(Frame::Close(close())),
    ]
}

/// Frames about one blob of three chunks, some of which make sense.
fn blobs_up() -> impl Strategy<Value = Frame> {
    let documents = || (1..3u8).prop_map(document);
    prop_oneof![
        documents().prop_map(|document| Frame::Offer(Offer {
            document,
            ..offer()
        })),
        parts(),
        parts(),
        (numbers(), any::<bool>()).prop_map(|(after, is_other)| {
            let mut brought = bring(after, b"a thumbnail");
            if is_other {
                brought.bytes.push(0);
            }
            Frame::Bring(brought)
        }),
        any::<bool>().prop_map(|is_good| prove([u8::from(is_good); 32])),
        (documents(), 0..3u32, 0..10u32).prop_map(|(document, first, count)| Frame::Get(Get {
            document,
            ..get(first, count)
        })),
    ]
}

fn blobs_down() -> impl Strategy<Value = Frame> {
    prop_oneof![
        vec(0..3u32, 0..3).prop_map(|chunks| offered(wanted(&chunks))),
        Just(offered(OfferAnswer::Complete)),
        Just(offered(OfferAnswer::Prove(BlobNonce::from_bytes([1; 32])))),
        (0..3u32, any::<bool>()).prop_map(|(chunk, is_complete)| kept(chunk, is_complete)),
        parts(),
        Just(Frame::Withheld(Withheld {
            hash: offer().hash,
            reason: reason("no"),
        })),
    ]
}

/// Parts of which one in four has another's number.
fn parts() -> impl Strategy<Value = Frame> {
    (0..3u32, 0..4u32).prop_map(|(of, apart)| {
        let part = part(of);
        let chunk = if apart == 0 { (of + 1) % 3 } else { of };
        Frame::Part(Part { chunk, ..part })
    })
}

fn positions_up() -> impl Strategy<Value = Frame> {
    prop_oneof![
        numbers().prop_map(|number| Frame::Here(Here {
            number,
            age_ms: number,
            fix: fix(),
        })),
        numbers().prop_map(|number| Frame::Gone(Gone { number })),
        any::<bool>().prop_map(|is_wanted| Frame::Watch(Watch { is_wanted })),
    ]
}

fn from_devices() -> impl Strategy<Value = Frame> {
    prop_oneof![
        6 => pushes(),
        4 => applieds(),
        4 => reconciles(),
        4 => compares(),
        2 => (1..3u8).prop_map(removed_of),
        6 => blobs_up(),
        2 => positions_up(),
        1 => Just(Frame::Hello(hello(&[("a", 10)]))),
        1 => Just(Frame::Close(close())),
    ]
}

fn last_words(output: &DeviceOutput) -> Option<&Close> {
    if let DeviceOutput::Send {
        frame: Frame::Close(close),
        ..
    } = output
    {
        Some(close)
    } else {
        None
    }
}

/// What the last outputs must be when a session has ended.
fn ends_in_words(outputs: &[Option<&Close>]) {
    assert!(
        matches!(outputs, [.., Some(_), None] | [None]),
        "{outputs:?}"
    );
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 2_000, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn no_relay_harms_a_device(
        early in vec(from_relays(), 0..3),
        late in vec((from_relays(), any::<bool>()), 0..24),
        has_welcome in any::<bool>(),
    ) {
        let mut session = greeting_device(hello(&[("a", 10), ("b", 0)]));
        session.push(Lane::Record, &scope("a"), vec![push_document(1, 9)]).unwrap();
        let scopes = vec![greeting("a", 10), greeting("b", 10)];
        let welcome = has_welcome.then(|| Frame::Welcome(welcome(scopes)));
        let early = early.into_iter().chain(welcome).map(|frame| (frame, false));
        let mut last_fed = None;
        for (frame, act) in early.chain(late) {
            let result = give(&mut session, frame);
            let outputs = device_outputs(&mut session);
            for output in &outputs {
                if let DeviceOutput::Feed(feed) = output {
                    last_fed = feed.last_seq().map(|seq| (feed.scope.clone(), seq));
                }
            }
            if matches!(outputs.last(), Some(DeviceOutput::Closed(_))) {
                let words: Vec<_> = outputs.iter().map(last_words).collect();
                if result.is_err() {
                    ends_in_words(&words);
                }
                prop_assert!(give(&mut session, Frame::Close(close())).is_ok());
                prop_assert_eq!(session.poll_output(), None);
                break;
            }
            prop_assert!(result.is_ok());
            if act {
                // What the caller may do at any time, whatever comes of it.
                let _ = session.reconcile(&scope("a"), vec![1]);
                let asked = CompareDocument { document: document(1), changes: vec![] };
                let _ = session.compare(&scope("a"), vec![asked], false);
                let _ = session.compare(&scope("a"), vec![], true);
                let _ = session.push(Lane::Log, &scope("a"), vec![push_document(2, 9)]);
            }
            if let Some((scope, seq)) = &last_fed {
                let _ = session.applied(scope, *seq);
            }
        }
    }

    #[test]
    fn no_device_harms_a_relay(
        early in vec(from_devices(), 0..3),
        late in vec(from_devices(), 0..32),
        apart in any::<bool>(),
    ) {
        let mut session = new_relay();
        let early = early.into_iter().chain([Frame::Hello(hello(&[("a", 10)]))]);
        let mut head = 12;
        for frame in early.chain(late) {
            let result = send(&mut session, frame);
            let mut over = false;
            while let Some(output) = session.poll_output() {
                over |= matches!(output, RelayOutput::Closed(_));
                match output {
                    RelayOutput::Greeted(_) => {
                        let mut scopes = vec![greeting("a", head), greeting("b", 3)];
                        scopes[0].digest_agrees = !apart;
                        let _ = session.welcome(incarnation(9), WallTime(0), scopes);
                    }
                    RelayOutput::Pushed { number, documents, .. } => {
                        let ack = Ack {
                            number,
                            received: WallTime(0),
                            first_seq: Some(head + 1),
                            attached: vec![false; documents.len()],
                            verdicts: vec![Verdict::Accepted; documents.len()],
                        };
                        head += documents.len() as u64;
                        if number % 3 > 0 {
                            let _ = session.acknowledge(ack);
                        }
                    }
                    RelayOutput::Reconcile { scope, .. } => {
                        let _ = session.reconcile(&scope, head, vec![2]);
                    }
                    RelayOutput::Compare(compare) => {
                        let unknown = compare.documents.iter().map(|asked| ComparedDocument {
                            document: asked.document,
                            held: None,
                        });
                        let _ = session.compared(Compared { form: PackForm::Whole,
                            scope: compare.scope,
                            seq: head,
                            digest: digest(1),
                            documents: unknown.collect(),
                            last: compare.last,
                        });
                    }
                    RelayOutput::Removed(proof) => {
                        let _ = session.noted(proof.hash);
                    }
                    RelayOutput::Offered(offer) => {
                        let answer = match offer.document == document(1) {
                            true => OfferAnswer::Wanted(ChunkSet::of_size(offer.size_bytes)),
                            false => OfferAnswer::Prove(BlobNonce::from_bytes([1; 32])),
                        };
                        let _ = session.offered(offer.hash, answer);
                    }
                    RelayOutput::Brought { offer, .. } => {
                        let _ = session.offered(offer.hash, OfferAnswer::Complete);
                    }
                    RelayOutput::Proved { offer, .. } => {
                        let _ = session.offered(offer.hash, OfferAnswer::Refused(reason("no")));
                    }
                    RelayOutput::Part { offer, chunk, .. } => {
                        let is_last = session.is_last_chunk(&offer.hash);
                        let _ = session.kept(offer.hash, chunk, is_last);
                    }
                    RelayOutput::Get(get) => {
                        let _ = session.withhold(get.hash, reason("no"));
                    }
                    RelayOutput::Watch(watch) => {
                        let _ = session.positions(positions(usize::from(watch.is_wanted)));
                    }
                    RelayOutput::Send { .. }
                    | RelayOutput::Here(_)
                    | RelayOutput::Gone(_)
                    | RelayOutput::Applied { .. }
                    | RelayOutput::Taken { .. }
                    | RelayOutput::Closed(_) => {}
                }
            }
            if over {
                prop_assert!(send(&mut session, Frame::Close(close())).is_ok());
                prop_assert_eq!(session.poll_output(), None);
                break;
            }
            prop_assert!(result.is_ok());
            if let Some(fed) = session.fed(&scope("a")) {
                let count = head.saturating_sub(fed).min(3);
                let entries = (0..count).map(|_| change_entry(1)).collect();
                let _ = session.feed(Lane::Record, feed("a", fed + 1, entries));
            }
        }
    }
}
