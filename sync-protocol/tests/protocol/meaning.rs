//! What a message says, in the words of `PROTOCOL.md`, as JSON: compared with `vectors/*.json`.
//!
//! The decoder in `tests/decoder`, which was written from the document alone, must read the same. Ids, hashes and bytes
//! are hexadecimal digits; runs are spelled out; times of receipt are whole, not differences.

use gridbeat_base::WallTime;
use gridbeat_sync_protocol::{
    Ack, BatchStamp, Compare, Compared, EnrolAnswer, EnrolRequest, Entry, FeedChange, Fix, Frame,
    Grant, Hello, Issued, OfferAnswer, Positions, Push, Reason, RemovalStatement, Removed, SUITE,
    Seen, Snapshot, Verdict, Welcome,
};
use serde_json::{Value, json};

fn hex(bytes: impl AsRef<[u8]>) -> String {
    let digits = bytes.as_ref().iter().map(|byte| format!("{byte:02x}"));
    digits.collect()
}

fn list<T>(of: &[T], meaning: impl Fn(&T) -> Value) -> Value {
    of.iter().map(meaning).collect()
}

/// What a frame says.
pub(crate) fn of_frame(frame: &Frame) -> Value {
    match frame {
        Frame::Hello(hello) => of_hello(hello),
        Frame::Welcome(welcome) => of_welcome(welcome),
        Frame::Push(push) => of_push(push),
        Frame::Ack(ack) => of_ack(ack),
        Frame::Feed(feed) => json!({
            "frame": "feed",
            "scope": feed.scope.as_str(),
            "first": feed.first_seq,
            "digest": hex(feed.digest.bytes()),
            "head": feed.head,
            "entries": list(&feed.entries, of_entry),
        }),
        Frame::Applied(applied) => {
            json!({"frame": "applied", "scope": applied.scope.as_str(), "seq": applied.seq})
        }
        Frame::Reconcile(reconcile) => json!({
            "frame": "reconcile",
            "scope": reconcile.scope.as_str(),
            "seq": reconcile.seq,
            "message": hex(&reconcile.message),
        }),
        Frame::Compare(compare) => of_compare(compare),
        Frame::Compared(compared) => of_compared(compared),
        Frame::Close(close) => json!({
            "frame": "close",
            "reason": of_reason(&close.reason),
            "retry_after_s": close.retry_after_s,
        }),
        Frame::Notice(notice) => json!({
            "frame": "notice",
            "scope": notice.scope.as_ref().map(|scope| scope.as_str()),
            "seq": notice.seq,
            "deadline": notice.deadline.millis(),
        }),
        Frame::Removed(removed) => of_removed(removed),
        Frame::Noted(noted) => json!({"frame": "noted", "removal": hex(noted.removal.bytes())}),
        Frame::Snapshot(snapshot) => of_snapshot(snapshot),
        Frame::Taken(taken) => {
            json!({"frame": "taken", "scope": taken.scope.as_str(), "number": taken.number})
        }
        Frame::Offer(_)
        | Frame::Offered(_)
        | Frame::Prove(_)
        | Frame::Kept(_)
        | Frame::Get(_)
        | Frame::Part(_)
        | Frame::Withheld(_) => of_blob_frame(frame),
        Frame::Here(here) => json!({
            "frame": "here",
            "number": here.number,
            "age": here.age_ms,
            "fix": of_fix(&here.fix),
        }),
        Frame::Gone(gone) => json!({"frame": "gone", "number": gone.number}),
        Frame::Watch(watch) => json!({"frame": "watch", "wanted": watch.is_wanted}),
        Frame::Positions(positions) => of_positions("positions", positions),
        Frame::Moved(positions) => of_positions("moved", positions),
        Frame::Bring(bring) => json!({
            "frame": "bring",
            "document": hex(bring.document.bytes()),
            "blob": hex(bring.hash.bytes()),
            "after": bring.after,
            "bytes": hex(&bring.bytes),
        }),
    }
}

#[expect(clippy::wildcard_enum_match_arm, reason = "the caller has the others")]
fn of_blob_frame(frame: &Frame) -> Value {
    match frame {
        Frame::Offer(offer) => json!({
            "frame": "offer",
            "document": hex(offer.document.bytes()),
            "blob": hex(offer.hash.bytes()),
            "size": offer.size_bytes,
        }),
        Frame::Offered(offered) => json!({
            "frame": "offered",
            "blob": hex(offered.hash.bytes()),
            "answer": of_offer_answer(&offered.answer),
        }),
        Frame::Prove(prove) => json!({
            "frame": "prove",
            "blob": hex(prove.hash.bytes()),
            "proof": hex(prove.proof.bytes()),
        }),
        Frame::Kept(kept) => json!({
            "frame": "kept",
            "blob": hex(kept.hash.bytes()),
            "chunk": kept.chunk,
            "complete": kept.is_complete,
        }),
        Frame::Get(get) => json!({
            "frame": "get",
            "document": hex(get.document.bytes()),
            "blob": hex(get.hash.bytes()),
            "first": get.first,
            "count": get.count,
        }),
        Frame::Part(part) => json!({
            "frame": "part",
            "blob": hex(part.hash.bytes()),
            "size": part.size_bytes,
            "chunk": part.chunk,
            "slice": hex(&part.slice),
        }),
        Frame::Withheld(withheld) => json!({
            "frame": "withheld",
            "blob": hex(withheld.hash.bytes()),
            "reason": of_reason(&withheld.reason),
        }),
        _ => unreachable!("not of blobs"),
    }
}

fn of_fix(fix: &Fix) -> Value {
    json!({
        "device_time": fix.device_time.millis(),
        "receiver_time": fix.receiver_time.map(WallTime::millis),
        "latitude": fix.position.latitude_e7(),
        "longitude": fix.position.longitude_e7(),
        "accuracy": fix.accuracy_dm,
        "speed": fix.speed_cm_s,
        "heading": fix.heading_deg,
        "battery": fix.battery_percent,
        "waiting": fix.waiting,
    })
}

fn of_positions(frame: &str, positions: &Positions) -> Value {
    let of_seen = |seen: &Seen| json!({"exact": seen.is_exact, "fix": of_fix(&seen.fix)});
    json!({
        "frame": frame,
        "now": positions.now.millis(),
        "sightings": list(&positions.sightings, |sighting| json!({
            "device": hex(sighting.device.bytes()),
            "taken": sighting.taken.millis(),
            "seen": sighting.seen.as_ref().map(of_seen),
        })),
    })
}

fn of_offer_answer(answer: &OfferAnswer) -> Value {
    match answer {
        OfferAnswer::Wanted(kept) => json!({
            "answer": "wanted",
            "kept": (0..kept.count()).map(|chunk| kept.contains(chunk)).collect::<Vec<_>>(),
        }),
        OfferAnswer::Complete => json!({"answer": "complete"}),
        OfferAnswer::Prove(nonce) => json!({"answer": "prove", "nonce": hex(nonce.bytes())}),
        OfferAnswer::Refused(reason) => json!({"answer": "refused", "reason": of_reason(reason)}),
    }
}

fn of_hello(hello: &Hello) -> Value {
    json!({
        "frame": "hello",
        "newest": hello.versions.newest,
        "oldest": hello.versions.oldest,
        "device": hex(hello.device.bytes()),
        "install": hex(hello.install.bytes()),
        "incarnation": hello.incarnation.map(|incarnation| hex(incarnation.bytes())),
        "clock": hello.clock.bits(),
        "scopes": list(&hello.scopes, |mark| {
            let mut meaning = json!({
                "scope": mark.scope.as_str(),
                "cursor": mark.cursor,
                "digest": hex(mark.digest.bytes()),
                "documents": mark.documents,
            });
            if let Some(at) = mark.snapshot {
                meaning["snapshot"] = json!({"as_of": at.as_of, "mark": at.mark});
            }
            meaning
        }),
    })
}

fn of_welcome(welcome: &Welcome) -> Value {
    let grant = |grant| match grant {
        Grant::None => "none",
        Grant::Read => "read",
        Grant::Write => "write",
    };
    json!({
        "frame": "welcome",
        "version": welcome.version,
        "incarnation": hex(welcome.incarnation.bytes()),
        "time": welcome.time.millis(),
        "scopes": list(&welcome.scopes, |greeting| {
            let mut meaning = json!({
                "scope": greeting.scope.as_str(),
                "grant": grant(greeting.grant),
                "digest_agrees": greeting.digest_agrees,
                "head": greeting.head,
                "verbs": greeting.verbs.map(|verbs| verbs.bits()),
            });
            if let Some(as_of) = greeting.snapshot {
                meaning["snapshot"] = as_of.into();
            }
            meaning
        }),
        "stable": welcome.stable.map(|time| time.millis()),
    })
}

fn of_push(push: &Push) -> Value {
    let stamp = |stamp: &BatchStamp| {
        json!({
            "suite": SUITE,
            "batch": stamp.number,
            "clock": stamp.clock.bits(),
            "wall": stamp.wall.millis(),
            "previous": stamp.previous.map(|mark| hex(mark.bytes())),
        })
    };
    let seal = push.seal.as_ref().map(|seal| {
        let mut meaning = stamp(&seal.stamp);
        meaning["signature"] = hex(seal.signature.bytes()).into();
        meaning
    });
    json!({
        "frame": "push",
        "number": push.number,
        "after": push.after,
        "scope": push.scope.as_str(),
        "documents": list(&push.documents, |document| json!({
            "document": hex(document.document.bytes()),
            "kind": document.kind,
            "schema": document.schema_version,
            "changes": list(&document.changes, |change| json!({
                "hash": hex(change.hash().bytes()),
                "chunk": hex(&change.bytes),
                "author": change.recovered_from.map(|device| hex(device.bytes())),
            })),
        })),
        "seal": seal,
    })
}

fn of_ack(ack: &Ack) -> Value {
    json!({
        "frame": "ack",
        "number": ack.number,
        "received": ack.received.millis(),
        "first": ack.first_seq,
        "attached": ack.attached,
        "verdicts": list(&ack.verdicts, |verdict| match verdict {
            Verdict::Accepted => json!({"verdict": "accepted"}),
            Verdict::Known => json!({"verdict": "known"}),
            Verdict::Incomplete => json!({"verdict": "incomplete"}),
            Verdict::Refused(reason) => json!({"verdict": "refused", "reason": of_reason(reason)}),
        }),
    })
}

fn of_reason(reason: &Reason) -> Value {
    json!({"code": reason.code, "en": reason.en, "zh": reason.zh})
}

fn of_change(change: &FeedChange) -> Value {
    json!({
        "author": hex(change.author.bytes()),
        "received": change.received.millis(),
        "chunk": hex(&change.bytes),
    })
}

fn of_entry(entry: &Entry) -> Value {
    match entry {
        Entry::Change { document, change } => json!({
            "entry": "change",
            "document": hex(document.bytes()),
            "change": of_change(change),
        }),
        Entry::Attach {
            document,
            kind,
            schema_version,
            changes,
        } => json!({
            "entry": "enters",
            "document": hex(document.bytes()),
            "kind": kind,
            "schema": schema_version,
            "changes": list(changes, of_change),
        }),
        Entry::Detach { document } => {
            json!({"entry": "leaves", "document": hex(document.bytes())})
        }
        Entry::Own { count } => json!({"entry": "own", "count": count}),
    }
}

fn of_compare(compare: &Compare) -> Value {
    json!({
        "frame": "compare",
        "scope": compare.scope.as_str(),
        "last": compare.last,
        "documents": list(&compare.documents, |document| json!({
            "document": hex(document.document.bytes()),
            "changes": list(&document.changes, |hash| hex(hash.bytes()).into()),
        })),
    })
}

fn of_compared(compared: &Compared) -> Value {
    json!({
        "frame": "compared",
        "scope": compared.scope.as_str(),
        "seq": compared.seq,
        "digest": hex(compared.digest.bytes()),
        "last": compared.last,
        "documents": list(&compared.documents, |document| json!({
            "document": hex(document.document.bytes()),
            "held": document.held.as_ref().map(|held| json!({
                "kind": held.kind,
                "schema": held.schema_version,
                "heads": list(&held.heads, |hash| hex(hash.bytes()).into()),
                "lacks": list(&held.lacks, |hash| hex(hash.bytes()).into()),
                "changes": list(&held.changes, of_change),
            })),
        })),
    })
}

fn of_snapshot(snapshot: &Snapshot) -> Value {
    json!({
        "frame": "snapshot",
        "scope": snapshot.scope.as_str(),
        "number": snapshot.number,
        "seq": snapshot.seq,
        "digest": hex(snapshot.digest.bytes()),
        "mark": snapshot.mark,
        "last": snapshot.last,
        "documents": list(&snapshot.documents, |whole| json!({
            "document": hex(whole.document.bytes()),
            "kind": whole.kind,
            "schema": whole.schema_version,
            "changes": list(&whole.changes, of_change),
        })),
    })
}

fn of_removed(removed: &Removed) -> Value {
    // What cannot be read is a matter of the session, not of the frame (4.13).
    let statement = RemovalStatement::from_bytes(&removed.statement).ok();
    json!({
        "frame": "removed",
        "removal": hex(&removed.statement),
        "signature": removed.signature.map(|signature| hex(signature.bytes())),
        "states": statement.map(|statement| json!({
            "suite": SUITE,
            "device": hex(statement.device.bytes()),
            "install": hex(statement.install.bytes()),
            "scope": statement.scope.as_ref().map(|scope| scope.as_str()),
            "incarnation": statement.incarnation.map(|incarnation| hex(incarnation.bytes())),
            "seq": statement.seq,
            "digest": hex(statement.digest.bytes()),
            "documents": statement.documents,
            "removed": statement.removed,
            "kept": statement.kept,
            "at": statement.at.millis(),
        })),
    })
}

/// What a request to enrol says.
pub(crate) fn of_request(request: &EnrolRequest) -> Value {
    match request {
        EnrolRequest::Redeem(redeem) => json!({
            "request": "redeem",
            "code": hex(redeem.code.reveal()),
            "key_request": {
                "suite": SUITE,
                "key": hex(redeem.request.key.bytes()),
                "signature": hex(redeem.request.signature.bytes()),
            },
            "install": hex(redeem.install.bytes()),
            "name": redeem.name,
        }),
        EnrolRequest::Renew => json!({"request": "renew"}),
    }
}

/// What an answer to one says.
pub(crate) fn of_answer(answer: &EnrolAnswer) -> Value {
    match answer {
        EnrolAnswer::Waiting {
            fingerprint,
            retry_after_s,
        } => {
            let digits = fingerprint.to_string().replace(' ', "");
            json!({
                "answer": "waiting",
                "fingerprint": digits.parse::<u32>().unwrap(),
                "retry_after_s": retry_after_s,
            })
        }
        EnrolAnswer::Issued(issued) => of_issued(issued),
        EnrolAnswer::Refused {
            reason,
            retry_after_s,
        } => json!({
            "answer": "refused",
            "reason": of_reason(reason),
            "retry_after_s": retry_after_s,
        }),
    }
}

fn of_issued(issued: &Issued) -> Value {
    json!({
        "answer": "issued",
        "device": hex(issued.device.bytes()),
        "server_name": issued.server_name,
        "pins": list(&issued.pins, |der| hex(der).into()),
        "certificates": list(&issued.certificates, |der| hex(der).into()),
        "issued": issued.issued.millis(),
        "renew_after": issued.renew_after.millis(),
        "not_after": issued.not_after.millis(),
    })
}
