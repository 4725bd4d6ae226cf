//! The bytes of every frame: made here and read here, and nowhere else.
//!
//! A frame is one CBOR array: the number of its kind, then its fields by position. What carries changes is a
//! pack (`pack`), whose content is made in `body`. Reading is bounded in every dimension and never
//! panics, whatever the bytes. Rules: `PROTOCOL.md`, 2, 4 and 5.
//!
//! long because each kind of frame is written and read side by side, and they share how fields are read.

use gridbeat_base::{
    DeviceId, Digest, DocumentId, Hlc, Incarnation, Install, Scope, Verbs, WallTime,
};

use crate::limits::{
    COMPARE_CHANGES_MAX, COMPARE_DOCUMENTS_MAX, DOCUMENT_FRAME_BYTES_MAX, FRAME_BYTES_MAX,
    PUSH_CHANGES_MAX, PUSH_DOCUMENTS_MAX, REASON_CODE_BYTES_MAX, REASON_TEXT_BYTES_MAX,
    RECONCILE_BYTES_MAX, SCOPES_MAX, SIGHTINGS_MAX, SIGHTINGS_MOVED_MAX,
};
use crate::wire::{Reader, Writer, check_count, number};
use crate::{
    Ack, Applied, Close, Compare, CompareDocument, Compared, DecodeError, Feed, Frame, FrameKind,
    Gone, Grant, Hello, Noted, Push, Reason, Reconcile, RemovalHash, ScopeGreeting, ScopeMark,
    Snapshot, SnapshotMark, Taken, Verdict, Versions, Watch, Welcome, batch, blob_frame, body,
    leave, pack, position_frame,
};

/// Kinds of verdicts on the wire. A run of accepted changes is a bare number.
const KNOWN: u64 = 1;
const INCOMPLETE: u64 = 2;
const REFUSED: u64 = 3;

/// Makes the bytes of a frame.
///
/// Texts of a [`Reason`] beyond their limit are cut at a character. Everything else must be within the
/// limits of `PROTOCOL.md`, 7, which the sessions see to.
///
/// # Panics
///
/// If a pack's content is beyond [`crate::limits::PACK_UNPACKED_BYTES_MAX`].
pub fn encode(frame: &Frame) -> Vec<u8> {
    let mut out = Writer::new();
    let kind = number_of(frame.kind());
    match frame {
        Frame::Hello(hello) => write_hello(out.array(8).uint(kind), hello),
        Frame::Welcome(welcome) => {
            let marked = usize::from(welcome.stable.is_some());
            write_welcome(out.array(5 + marked).uint(kind), welcome);
        }
        Frame::Push(push) => {
            let sealed = usize::from(push.seal.is_some());
            write_push(out.array(5 + sealed).uint(kind), push);
        }
        Frame::Ack(ack) => write_ack(out.array(6).uint(kind), ack),
        Frame::Feed(feed) => {
            out.array(6).uint(kind).text(feed.scope.as_str());
            out.uint(feed.first_seq).bytes(&feed.digest.bytes());
            out.uint(feed.head);
            let body = body::write_feed(&feed.entries, feed.form);
            pack::write(&mut out, feed.form, &body);
        }
        Frame::Applied(it) => write_done(out.array(3).uint(kind), &it.scope, it.seq),
        Frame::Reconcile(reconcile) => {
            out.array(4).uint(kind).text(reconcile.scope.as_str());
            out.uint(reconcile.seq).bytes(&reconcile.message);
        }
        Frame::Compare(compare) => {
            out.array(4).uint(kind).text(compare.scope.as_str());
            out.bool(compare.last);
            out.list(&compare.documents, |out, document| {
                out.array(2).bytes(document.document.bytes());
                body::write_hashes(out, &document.changes);
            });
        }
        Frame::Compared(compared) => {
            out.array(6).uint(kind).text(compared.scope.as_str());
            out.uint(compared.seq).bytes(&compared.digest.bytes());
            out.bool(compared.last);
            let body = body::write_compared(&compared.documents, compared.form);
            pack::write(&mut out, compared.form, &body);
        }
        Frame::Close(close) => {
            out.array(3).uint(kind);
            write_reason(&mut out, &close.reason);
            out.uint(u64::from(close.retry_after_s));
        }
        Frame::Notice(notice) => leave::write_notice(out.array(4).uint(kind), notice),
        Frame::Removed(removed) => leave::write_removed(out.array(3).uint(kind), removed),
        Frame::Noted(noted) => leave::write_noted(out.array(2).uint(kind), noted),
        Frame::Snapshot(snapshot) => write_snapshot(out.array(8).uint(kind), snapshot),
        Frame::Taken(it) => write_done(out.array(3).uint(kind), &it.scope, it.number),
        Frame::Offer(offer) => blob_frame::write_offer(out.array(4).uint(kind), offer),
        Frame::Offered(offered) => blob_frame::write_offered(out.array(3).uint(kind), offered),
        Frame::Prove(prove) => blob_frame::write_prove(out.array(3).uint(kind), prove),
        Frame::Kept(kept) => blob_frame::write_kept(out.array(4).uint(kind), kept),
        Frame::Get(get) => blob_frame::write_get(out.array(5).uint(kind), get),
        Frame::Part(part) => blob_frame::write_part(out.array(5).uint(kind), part),
        Frame::Withheld(withheld) => blob_frame::write_withheld(out.array(3).uint(kind), withheld),
        Frame::Here(here) => position_frame::write_here(out.array(4).uint(kind), here),
        Frame::Gone(gone) => {
            out.array(2).uint(kind).uint(gone.number);
        }
        Frame::Watch(watch) => {
            out.array(2).uint(kind).bool(watch.is_wanted);
        }
        Frame::Positions(positions) | Frame::Moved(positions) => {
            position_frame::write_positions(out.array(3).uint(kind), positions);
        }
        Frame::Bring(bring) => blob_frame::write_bring(out.array(5).uint(kind), bring),
    }
    out.into_bytes()
}

/// Reads the bytes of one frame, which may be anybody's.
///
/// # Errors
///
/// [`DecodeError`] if the bytes are not one whole frame within the limits.
pub fn decode(bytes: &[u8]) -> Result<Frame, DecodeError> {
    check_size(bytes.len(), DOCUMENT_FRAME_BYTES_MAX)?;
    let mut from = Reader::new(bytes);
    let frame = from.variant_of(|from, kind, after| {
        let kind = kind_of(kind).ok_or(DecodeError::UnknownFrame { kind })?;
        check_size(bytes.len(), bytes_max(kind))?;
        Ok(match kind {
            FrameKind::Hello => (7, Frame::Hello(read_hello(from)?)),
            FrameKind::Welcome => {
                let welcome = read_welcome(from, after >= 5)?;
                (after.clamp(4, 5), Frame::Welcome(welcome))
            }
            FrameKind::Push => (after.clamp(4, 5), Frame::Push(read_push(from, after >= 5)?)),
            FrameKind::Ack => (5, Frame::Ack(read_ack(from)?)),
            FrameKind::Feed => (5, Frame::Feed(read_feed(from)?)),
            FrameKind::Applied => (2, Frame::Applied(read_applied(from)?)),
            FrameKind::Reconcile => (3, Frame::Reconcile(read_reconcile(from)?)),
            FrameKind::Compare => (3, Frame::Compare(read_compare(from)?)),
            FrameKind::Compared => (5, Frame::Compared(read_compared(from)?)),
            FrameKind::Close => (2, Frame::Close(read_close(from)?)),
            FrameKind::Notice => (3, Frame::Notice(leave::read_notice(from)?)),
            FrameKind::Removed => (2, Frame::Removed(leave::read_removed(from)?)),
            FrameKind::Noted => {
                let removal = RemovalHash::from_bytes(from.fixed()?);
                (1, Frame::Noted(Noted { removal }))
            }
            FrameKind::Snapshot => (7, Frame::Snapshot(read_snapshot(from)?)),
            FrameKind::Taken => (2, Frame::Taken(read_taken(from)?)),
            FrameKind::Offer => (3, Frame::Offer(blob_frame::read_offer(from)?)),
            FrameKind::Offered => (2, Frame::Offered(blob_frame::read_offered(from)?)),
            FrameKind::Prove => (2, Frame::Prove(blob_frame::read_prove(from)?)),
            FrameKind::Kept => (3, Frame::Kept(blob_frame::read_kept(from)?)),
            FrameKind::Get => (4, Frame::Get(blob_frame::read_get(from)?)),
            FrameKind::Part => (4, Frame::Part(blob_frame::read_part(from)?)),
            FrameKind::Withheld => (2, Frame::Withheld(blob_frame::read_withheld(from)?)),
            FrameKind::Here => (3, Frame::Here(position_frame::read_here(from)?)),
            FrameKind::Gone => {
                let number = from.uint()?;
                (1, Frame::Gone(Gone { number }))
            }
            FrameKind::Watch => {
                let is_wanted = from.bool()?;
                (1, Frame::Watch(Watch { is_wanted }))
            }
            FrameKind::Positions => {
                let positions = position_frame::read_positions(from, SIGHTINGS_MAX)?;
                (2, Frame::Positions(positions))
            }
            FrameKind::Moved => {
                let positions = position_frame::read_positions(from, SIGHTINGS_MOVED_MAX)?;
                (2, Frame::Moved(positions))
            }
            FrameKind::Bring => (4, Frame::Bring(blob_frame::read_bring(from)?)),
        })
    })?;
    from.end()?;
    Ok(frame)
}

/// Returns the largest size of a frame of this kind.
const fn bytes_max(kind: FrameKind) -> usize {
    match kind {
        FrameKind::Feed | FrameKind::Compared | FrameKind::Snapshot => DOCUMENT_FRAME_BYTES_MAX,
        FrameKind::Hello
        | FrameKind::Welcome
        | FrameKind::Push
        | FrameKind::Ack
        | FrameKind::Applied
        | FrameKind::Reconcile
        | FrameKind::Compare
        | FrameKind::Close
        | FrameKind::Notice
        | FrameKind::Removed
        | FrameKind::Noted
        | FrameKind::Taken
        | FrameKind::Offer
        | FrameKind::Offered
        | FrameKind::Prove
        | FrameKind::Kept
        | FrameKind::Get
        | FrameKind::Part
        | FrameKind::Withheld
        | FrameKind::Here
        | FrameKind::Gone
        | FrameKind::Watch
        | FrameKind::Positions
        | FrameKind::Moved
        | FrameKind::Bring => FRAME_BYTES_MAX,
    }
}

const fn check_size(bytes: usize, max: usize) -> Result<(), DecodeError> {
    if bytes > max {
        return Err(DecodeError::FrameTooLarge { bytes, max });
    }
    Ok(())
}

const fn number_of(kind: FrameKind) -> u64 {
    match kind {
        FrameKind::Hello => 0,
        FrameKind::Welcome => 1,
        FrameKind::Push => 2,
        FrameKind::Ack => 3,
        FrameKind::Feed => 4,
        FrameKind::Applied => 5,
        FrameKind::Reconcile => 6,
        FrameKind::Compare => 7,
        FrameKind::Compared => 8,
        FrameKind::Close => 9,
        FrameKind::Notice => 10,
        FrameKind::Removed => 11,
        FrameKind::Noted => 12,
        FrameKind::Snapshot => 13,
        FrameKind::Taken => 14,
        FrameKind::Offer => 15,
        FrameKind::Offered => 16,
        FrameKind::Prove => 17,
        FrameKind::Kept => 18,
        FrameKind::Get => 19,
        FrameKind::Part => 20,
        FrameKind::Withheld => 21,
        FrameKind::Here => 22,
        FrameKind::Gone => 23,
        FrameKind::Watch => 24,
        FrameKind::Positions => 25,
        FrameKind::Moved => 26,
        FrameKind::Bring => 27,
    }
}

const fn kind_of(number: u64) -> Option<FrameKind> {
    Some(match number {
        0 => FrameKind::Hello,
        1 => FrameKind::Welcome,
        2 => FrameKind::Push,
        3 => FrameKind::Ack,
        4 => FrameKind::Feed,
        5 => FrameKind::Applied,
        6 => FrameKind::Reconcile,
        7 => FrameKind::Compare,
        8 => FrameKind::Compared,
        9 => FrameKind::Close,
        10 => FrameKind::Notice,
        11 => FrameKind::Removed,
        12 => FrameKind::Noted,
        13 => FrameKind::Snapshot,
        14 => FrameKind::Taken,
        15 => FrameKind::Offer,
        16 => FrameKind::Offered,
        17 => FrameKind::Prove,
        18 => FrameKind::Kept,
        19 => FrameKind::Get,
        20 => FrameKind::Part,
        21 => FrameKind::Withheld,
        22 => FrameKind::Here,
        23 => FrameKind::Gone,
        24 => FrameKind::Watch,
        25 => FrameKind::Positions,
        26 => FrameKind::Moved,
        27 => FrameKind::Bring,
        _ => return None,
    })
}

/// Writes how far something of a scope was done.
fn write_done(out: &mut Writer, scope: &Scope, up_to: u64) {
    out.text(scope.as_str()).uint(up_to);
}

fn write_hello(out: &mut Writer, hello: &Hello) {
    out.uint(u64::from(hello.versions.newest));
    out.uint(u64::from(hello.versions.oldest));
    out.bytes(hello.device.bytes()).bytes(hello.install.bytes());
    match &hello.incarnation {
        Some(incarnation) => out.bytes(incarnation.bytes()),
        None => out.null(),
    };
    out.uint(hello.clock.bits());
    out.list(&hello.scopes, |out, mark| {
        out.array(4 + usize::from(mark.snapshot.is_some()));
        out.text(mark.scope.as_str()).uint(mark.cursor);
        out.bytes(&mark.digest.bytes()).uint(mark.documents);
        if let Some(snapshot) = mark.snapshot {
            out.array(2).uint(snapshot.as_of).uint(snapshot.mark);
        }
    });
}

fn read_hello(from: &mut Reader<'_>) -> Result<Hello, DecodeError> {
    Ok(Hello {
        versions: Versions {
            newest: from.u16()?,
            oldest: from.u16()?,
        },
        device: DeviceId::from_bytes(from.fixed()?),
        install: Install::from_bytes(from.fixed()?),
        incarnation: from.optional(|from| from.fixed().map(Incarnation::from_bytes))?,
        clock: Hlc::from_bits(from.uint()?),
        scopes: from.list("scopes", SCOPES_MAX, |from| {
            from.counted(|from, count| {
                let mark = ScopeMark {
                    scope: from.scope()?,
                    cursor: from.uint()?,
                    digest: Digest::from_bytes(from.fixed()?),
                    documents: from.uint()?,
                    snapshot: match count > 4 {
                        true => Some(read_snapshot_mark(from)?),
                        false => None,
                    },
                };
                Ok((4 + u64::from(mark.snapshot.is_some()), mark))
            })
        })?,
    })
}

fn read_snapshot_mark(from: &mut Reader<'_>) -> Result<SnapshotMark, DecodeError> {
    from.record(2, |from| {
        Ok(SnapshotMark {
            as_of: from.uint()?,
            mark: from.uint()?,
        })
    })
}

fn write_welcome(out: &mut Writer, welcome: &Welcome) {
    out.uint(u64::from(welcome.version));
    out.bytes(welcome.incarnation.bytes()).int(welcome.time.0);
    out.list(&welcome.scopes, |out, scope| {
        // PROTOCOL 2.4: the grant and the agreement of digests share a number.
        let grant = match scope.grant {
            Grant::None => 0,
            Grant::Read => 2,
            Grant::Write => 4,
        };
        let verbs = scope.verbs.map(|verbs| (verbs, scope.snapshot));
        let more = verbs.map_or(0, |(_, snapshot)| 1 + usize::from(snapshot.is_some()));
        out.array(3 + more).text(scope.scope.as_str());
        out.uint(grant + u64::from(scope.digest_agrees))
            .uint(scope.head);
        if let Some((verbs, snapshot)) = verbs {
            out.uint(u64::from(verbs.bits()));
            if let Some(as_of) = snapshot {
                out.uint(as_of);
            }
        }
    });
    if let Some(stable) = welcome.stable {
        out.int(stable.0);
    }
}

fn read_welcome(from: &mut Reader<'_>, has_mark: bool) -> Result<Welcome, DecodeError> {
    Ok(Welcome {
        version: from.u16()?,
        incarnation: Incarnation::from_bytes(from.fixed()?),
        time: WallTime(from.int()?),
        scopes: from.list("scopes", SCOPES_MAX, |from| {
            from.counted(|from, count| {
                let scope = from.scope()?;
                let state = from.uint()?;
                let greeting = ScopeGreeting {
                    scope,
                    grant: match state {
                        0 | 1 => Grant::None,
                        2 | 3 => Grant::Read,
                        4 | 5 => Grant::Write,
                        _ => return Err(from.malformed()),
                    },
                    head: from.uint()?,
                    digest_agrees: state % 2 == 1,
                    verbs: match count > 3 {
                        true => Some(Verbs::known(from.uint()?)),
                        false => None,
                    },
                    snapshot: match count > 4 {
                        true => Some(from.uint()?),
                        false => None,
                    },
                };
                Ok((count.clamp(3, 5), greeting))
            })
        })?,
        stable: match has_mark {
            true => from.optional(|from| from.int().map(WallTime))?,
            false => None,
        },
    })
}

fn read_push(from: &mut Reader<'_>, may_be_sealed: bool) -> Result<Push, DecodeError> {
    let (number, after, scope) = (from.uint()?, from.uint()?, from.scope()?);
    let (form, body) = pack::read(from)?;
    Ok(Push {
        number,
        after,
        scope,
        documents: body::read_push(&body, form)?,
        form,
        seal: match may_be_sealed {
            true => from.optional(batch::read_seal)?,
            false => None,
        },
    })
}

fn write_push(out: &mut Writer, push: &Push) {
    out.uint(push.number).uint(push.after);
    out.text(push.scope.as_str());
    let body = body::write_push(&push.documents, push.form);
    pack::write(out, push.form, &body);
    if let Some(seal) = &push.seal {
        batch::write_seal(out, seal);
    }
}

fn write_ack(out: &mut Writer, ack: &Ack) {
    out.uint(ack.number).int(ack.received.0);
    match ack.first_seq {
        Some(seq) => out.uint(seq),
        None => out.null(),
    };
    let attached: Vec<usize> = attached_runs(&ack.attached);
    out.list(&attached, |out, run| {
        out.uint(number(*run));
    });
    let runs: Vec<&[Verdict]> = ack.verdicts.chunk_by(|a, b| a == b).collect();
    out.list(&runs, |out, run| {
        let count = number(run.len());
        match &run[0] {
            Verdict::Accepted => out.uint(count),
            Verdict::Known => out.array(2).uint(KNOWN).uint(count),
            Verdict::Incomplete => out.array(2).uint(INCOMPLETE).uint(count),
            Verdict::Refused(reason) => {
                out.array(3).uint(REFUSED).uint(count);
                write_reason(out, reason);
                out
            }
        };
    });
}

/// Returns the lengths of the runs of documents that were not attached and that were, in turn.
fn attached_runs(attached: &[bool]) -> Vec<usize> {
    let mut runs: Vec<usize> = attached
        .chunk_by(|a, b| a == b)
        .map(<[bool]>::len)
        .collect();
    if attached.first() == Some(&true) {
        runs.insert(0, 0);
    }
    runs
}

fn read_ack(from: &mut Reader<'_>) -> Result<Ack, DecodeError> {
    Ok(Ack {
        number: from.uint()?,
        received: WallTime(from.int()?),
        first_seq: from.optional(Reader::uint)?,
        attached: read_attached(from)?,
        verdicts: read_verdicts(from)?,
    })
}

fn read_attached(from: &mut Reader<'_>) -> Result<Vec<bool>, DecodeError> {
    let runs = from.list("runs of documents", PUSH_DOCUMENTS_MAX + 1, Reader::uint)?;
    let mut attached = Vec::new();
    for (place, run) in runs.into_iter().enumerate() {
        extend(
            &mut attached,
            "documents",
            run,
            PUSH_DOCUMENTS_MAX,
            &(place % 2 == 1),
        )?;
    }
    Ok(attached)
}

fn read_verdicts(from: &mut Reader<'_>) -> Result<Vec<Verdict>, DecodeError> {
    let runs = from.list("runs of verdicts", PUSH_CHANGES_MAX, |from| {
        if from.is_number() {
            return Ok((from.uint()?, Verdict::Accepted));
        }
        from.variant(|from, kind| {
            let count = from.uint()?;
            Ok(match kind {
                KNOWN => (1, (count, Verdict::Known)),
                INCOMPLETE => (1, (count, Verdict::Incomplete)),
                REFUSED => (2, (count, Verdict::Refused(read_reason(from)?))),
                // PROTOCOL 2.3: a verdict the reader does not know cannot be skipped.
                _ => return Err(DecodeError::UnknownVerdict { kind }),
            })
        })
    })?;
    let mut verdicts = Vec::new();
    for (count, verdict) in runs {
        extend(&mut verdicts, "verdicts", count, PUSH_CHANGES_MAX, &verdict)?;
    }
    Ok(verdicts)
}

/// Adds a run of equal values, if there are not too many then.
fn extend<T: Clone>(
    values: &mut Vec<T>,
    part: &'static str,
    run: u64,
    max: usize,
    value: &T,
) -> Result<(), DecodeError> {
    let run = usize::try_from(run).unwrap_or(usize::MAX);
    let count = values.len().saturating_add(run);
    check_count(part, count, max)?;
    values.resize(count, value.clone());
    Ok(())
}

fn read_feed(from: &mut Reader<'_>) -> Result<Feed, DecodeError> {
    let (scope, first_seq) = (from.scope()?, from.uint()?);
    let (digest, head) = (Digest::from_bytes(from.fixed()?), from.uint()?);
    let (form, body) = pack::read(from)?;
    Ok(Feed {
        scope,
        first_seq,
        digest,
        head,
        entries: body::read_feed(&body, form)?,
        form,
    })
}

fn read_applied(from: &mut Reader<'_>) -> Result<Applied, DecodeError> {
    Ok(Applied {
        scope: from.scope()?,
        seq: from.uint()?,
    })
}

fn read_reconcile(from: &mut Reader<'_>) -> Result<Reconcile, DecodeError> {
    let (scope, seq, message) = (from.scope()?, from.uint()?, from.bytes()?);
    check_count(
        "bytes of a reconciliation",
        message.len(),
        RECONCILE_BYTES_MAX,
    )?;
    Ok(Reconcile {
        scope,
        seq,
        message: message.to_vec(),
    })
}

fn read_compare(from: &mut Reader<'_>) -> Result<Compare, DecodeError> {
    let mut left = COMPARE_CHANGES_MAX;
    Ok(Compare {
        scope: from.scope()?,
        last: from.bool()?,
        documents: from.list("documents of a comparison", COMPARE_DOCUMENTS_MAX, |from| {
            from.record(2, |from| {
                let document = DocumentId::from_bytes(from.fixed()?);
                let changes = body::read_hashes(from, left)?;
                left -= changes.len();
                Ok(CompareDocument { document, changes })
            })
        })?,
    })
}

fn read_compared(from: &mut Reader<'_>) -> Result<Compared, DecodeError> {
    let (scope, seq) = (from.scope()?, from.uint()?);
    let (digest, last) = (Digest::from_bytes(from.fixed()?), from.bool()?);
    let (form, body) = pack::read(from)?;
    Ok(Compared {
        scope,
        seq,
        digest,
        last,
        documents: body::read_compared(&body, form)?,
        form,
    })
}

fn write_snapshot(out: &mut Writer, snapshot: &Snapshot) {
    out.text(snapshot.scope.as_str()).uint(snapshot.number);
    out.uint(snapshot.seq).bytes(&snapshot.digest.bytes());
    out.uint(snapshot.mark).bool(snapshot.last);
    let body = body::write_snapshot(&snapshot.documents, snapshot.form);
    pack::write(out, snapshot.form, &body);
}

fn read_snapshot(from: &mut Reader<'_>) -> Result<Snapshot, DecodeError> {
    let (scope, number, seq) = (from.scope()?, from.uint()?, from.uint()?);
    let digest = Digest::from_bytes(from.fixed()?);
    let (mark, last) = (from.uint()?, from.bool()?);
    let (form, body) = pack::read(from)?;
    Ok(Snapshot {
        scope,
        number,
        seq,
        digest,
        mark,
        last,
        documents: body::read_snapshot(&body, form)?,
        form,
    })
}

fn read_taken(from: &mut Reader<'_>) -> Result<Taken, DecodeError> {
    Ok(Taken {
        scope: from.scope()?,
        number: from.uint()?,
    })
}

fn read_close(from: &mut Reader<'_>) -> Result<Close, DecodeError> {
    Ok(Close {
        reason: read_reason(from)?,
        retry_after_s: from.u32()?,
    })
}

pub(crate) fn write_reason(out: &mut Writer, reason: &Reason) {
    out.array(3).text(cut(&reason.code, REASON_CODE_BYTES_MAX));
    out.text(cut(&reason.en, REASON_TEXT_BYTES_MAX));
    out.text(cut(&reason.zh, REASON_TEXT_BYTES_MAX));
}

pub(crate) fn read_reason(from: &mut Reader<'_>) -> Result<Reason, DecodeError> {
    from.record(3, |from| {
        Ok(Reason {
            code: from
                .text("bytes of a code", REASON_CODE_BYTES_MAX)?
                .to_owned(),
            en: from
                .text("bytes of a reason", REASON_TEXT_BYTES_MAX)?
                .to_owned(),
            zh: from
                .text("bytes of a reason", REASON_TEXT_BYTES_MAX)?
                .to_owned(),
        })
    })
}

/// Returns as much of a text as fits, in whole characters.
fn cut(text: &str, bytes_max: usize) -> &str {
    &text[..text.floor_char_boundary(bytes_max)]
}
