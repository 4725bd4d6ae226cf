//! The inputs to begin with: real changes, real sessions, golden frames. The same on every machine.

use gridbeat_base::Install;
use gridbeat_sync_protocol::{
    EnrolCode, EnrolRequest, Frame, PackForm, Redeem, Signer, decode, write_prefixed,
};

use crate::enrolment::{
    ANYTHING as ANY_REQUEST, APPROVE, INVITE, PASS as WAIT, REDEEM, RENEW, REVOKE, WITHDRAW,
};
use crate::evidence::{CUT, DELETE, FILE, ROWS, SWAP, WRITE};
use crate::link::{AGAIN, ANYTHING, BENT, DOWN, FORGED, LINK, NOTE, PASS, REPORT, UNLINK, UP};
use crate::scene::Scene;
use crate::world::World;

/// How a stored pack begins, and a compressed one; of changes that are taken apart, the second byte is 2 more.
const STORED_PACK: [u8; 2] = [0x82, 0x00];
const ZSTD_PACK: [u8; 2] = [0x83, 0x01];

/// 66 bytes that name ten million operations.
const OP_BOMB: [u8; 66] = [
    0x85, 0x6f, 0x4a, 0x83, 0x5c, 0x9a, 0x21, 0x8c, 0x01, 0x38, 0x00, 0x04, 0x65, 0x76, 0x69, 0x6c,
    0x01, 0x01, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0x00, 0x00, 0x00, 0x05, 0x15,
    0x06, 0x34, 0x04, 0x42, 0x05, 0x56, 0x05, 0x70, 0x05, 0x80, 0xad, 0xe2, 0x04, 0x01, 0x6b, 0x80,
    0xad, 0xe2, 0x04, 0x80, 0xad, 0xe2, 0x04, 0x01, 0x80, 0xad, 0xe2, 0x04, 0x00, 0x80, 0xad, 0xe2,
    0x04, 0x00,
];

/// Makes the first inputs of every target: its name, and the input. `golden` are frames of the wire's tests.
pub fn seeds(golden: &[Vec<u8>]) -> Vec<(&'static str, Vec<u8>)> {
    let mut seeds = Vec::new();
    let frames = session();
    for frame in golden.iter().chain(&frames) {
        seeds.push(("frame", frame.clone()));
        if let Some(pack) = pack_input(frame) {
            seeds.push(("pack", pack));
        }
    }
    let scene = Scene::new();
    let bomb = OP_BOMB.to_vec();
    let changes = scene.others.iter().map(|change| &change.bytes);
    for bytes in changes.chain([&bomb]) {
        let [raw, body, tail] = scene.inputs(bytes);
        seeds.push(("count", raw.clone()));
        seeds.push(("count", body.clone()));
        for target in ["gate", "merge"] {
            seeds.extend([&raw, &body, &tail].map(|input| (target, input.clone())));
        }
    }
    for steps in stories(&frames) {
        seeds.push(("relay", steps.clone()));
        seeds.push(("device", steps));
    }
    seeds.extend(edits().into_iter().map(|edit| ("evidence", edit)));
    seeds.extend(applications().into_iter().map(|it| ("enrolment", it)));
    seeds.extend(crate::track::segments().into_iter().map(|it| ("track", it)));
    seeds
}

/// Lists what people do who want to be enrolled, who only say so, and operators.
fn applications() -> Vec<Vec<u8>> {
    let redeem = |code, key, bends: &[u8]| {
        let begin = [REDEEM, 1, code, key, 0, 5, b'p', b'h', b'o', b'n', b'e', 0];
        [&begin[..], &[bends.len() as u8], bends].concat()
    };
    let renew = |holder, key| vec![RENEW, 1, holder, key, 0, 0];
    let ask = redeem(0, 1, &[]);
    let guess = redeem(9, 1, &[]);
    let by_hand: &[u8] = &[INVITE, 0];
    let at_once: &[u8] = &[INVITE, 1];
    let mut stories = vec![
        [at_once, &ask, &ask, &redeem(0, 2, &[])].concat(),
        [by_hand, &ask, &[APPROVE, 0, 0], &ask, &renew(0x81, 0)].concat(),
        [by_hand, &ask, &[APPROVE, 0, 1, WAIT, 1, 2], &ask].concat(),
        [
            by_hand,
            &ask,
            &[APPROVE, 0, 2, APPROVE, 0, 2, APPROVE, 0, 2],
            &ask,
        ]
        .concat(),
        [by_hand, &[WITHDRAW, 0], &ask].concat(),
        [by_hand, &ask, &[WITHDRAW, 0], &ask].concat(),
        [by_hand, &ask, &[WAIT, 60, 1], &ask, &[APPROVE, 0, 0]].concat(),
        [at_once, &[WAIT, 15, 1], &ask].concat(),
        [at_once, &[WAIT, 1, 0x83], &ask, &[WAIT, 2, 3], &ask].concat(),
        [
            at_once,
            &ask,
            &[WAIT, 8, 3],
            &renew(0x81, 0),
            &renew(1, 7),
            &renew(2, 7),
        ]
        .concat(),
        [at_once, &ask, &[WAIT, 200, 3, WAIT, 1, 3], &renew(0x81, 0)].concat(),
        [
            at_once,
            &ask,
            &[REVOKE, 0],
            &ask,
            &renew(0x81, 0),
            &renew(0, 0),
        ]
        .concat(),
        [&guess.repeat(11)[..], at_once, &ask, &[WAIT, 15, 1], &ask].concat(),
    ];
    // Kind, code, suite, key, signature, installation, name.
    for place in [1, 4, 22, 25, 60, 93, 140, 160, 165] {
        stories.push([at_once, &redeem(0, 1, &[place, 0x41]), &ask].concat());
    }
    let code = EnrolCode::from_bytes([0; 16]);
    let redeem = Redeem::new(
        code,
        &Signer::from_seed(&[1; 32]),
        Install::new([1; 16]),
        "",
    );
    for request in [EnrolRequest::Redeem(Box::new(redeem)), EnrolRequest::Renew] {
        let mut stream = Vec::new();
        write_prefixed(&request.encode(), &mut stream);
        for cut in [0, 6, 255] {
            let length = (stream.len() as u16).to_be_bytes();
            stories.push([at_once, &[ANY_REQUEST, 0x81, cut], &length, &stream].concat());
        }
    }
    stories.push(vec![ANY_REQUEST, 2, 0, 0, 5, 0, 0, 2, 1, 0x81]);
    stories
}

/// Lists edits of a relay's database: each kind in each table, and bytes of the file.
fn edits() -> Vec<Vec<u8>> {
    let mut edits = vec![
        vec![FILE, 0, 9, 7, 1],
        vec![FILE, 0, 20, 0, 0xff, 0, 31, 8, 4],
    ];
    for table in 0..8 {
        edits.push(vec![ROWS, DELETE, table, 0, 0]);
        edits.push(vec![ROWS, SWAP, table, 0, 1, 1]);
        edits.push(vec![ROWS, CUT, table, 1, 2, 0, 9]);
        edits.push(vec![ROWS, WRITE, table, 1, 2, 0, 5, 0x41]);
    }
    edits
}

/// Returns the frames of two devices that work beside each other.
fn session() -> Vec<Vec<u8>> {
    let mut world = World::new(2);
    world.report(0);
    world.settle(0);
    world.note(0, 0);
    world.settle(0);
    world.settle(1);
    world.link(1);
    world.settle(1);
    let mut frames = std::mem::take(&mut world.heard);
    frames.sort();
    frames.dedup();
    frames
}

/// Takes a pack's body out of a frame that carries one, as an input of the target `pack`.
fn pack_input(frame: &[u8]) -> Option<Vec<u8>> {
    let (mode, form) = match decode(frame).ok()? {
        Frame::Push(push) => (0, push.form),
        Frame::Feed(feed) => (1, feed.form),
        Frame::Compared(compared) => (2, compared.form),
        Frame::Snapshot(snapshot) => (0x20, snapshot.form),
        Frame::Hello(_)
        | Frame::Welcome(_)
        | Frame::Ack(_)
        | Frame::Applied(_)
        | Frame::Reconcile(_)
        | Frame::Compare(_)
        | Frame::Close(_)
        | Frame::Notice(_)
        | Frame::Removed(_)
        | Frame::Noted(_)
        | Frame::Taken(_)
        | Frame::Offer(_)
        | Frame::Offered(_)
        | Frame::Prove(_)
        | Frame::Kept(_)
        | Frame::Get(_)
        | Frame::Part(_)
        | Frame::Withheld(_)
        | Frame::Here(_)
        | Frame::Gone(_)
        | Frame::Watch(_)
        | Frame::Positions(_)
        | Frame::Moved(_)
        | Frame::Bring(_) => return None,
    };
    // A target's mode names the frame by the rest of three, or by a bit.
    let (mode, apart) = match form {
        PackForm::Whole => (mode, 0),
        PackForm::Apart if mode == 0x20 => (0x60, 2),
        PackForm::Apart => (0x40 + (mode + 2) % 3, 2),
    };
    // A pack is the last field of each: its format, for a compressed one its size, then its bytes.
    (0..frame.len()).find_map(|at| {
        match [*frame.get(at)?, frame.get(at + 1)?.checked_sub(apart)?] {
            STORED_PACK => Some([&[mode], bytes_to_end(&frame[at + 2..])?].concat()),
            ZSTD_PACK => {
                let (declared, rest) = number(&frame[at + 2..])?;
                let packed = bytes_to_end(rest)?;
                Some([&[mode | 0x80], &declared.to_be_bytes()[..], packed].concat())
            }
            _ => None,
        }
    })
}

/// Reads a byte string that ends where the frame ends.
fn bytes_to_end(field: &[u8]) -> Option<&[u8]> {
    let mut head = field.get(..field.len().min(3))?.to_vec();
    *head.first_mut()? = head[0].checked_sub(0x40)?;
    let (length, after) = number(&head)?;
    let bytes = &field[head.len() - after.len()..];
    (bytes.len() == usize::from(length)).then_some(bytes)
}

/// Reads a short number, and returns what follows it.
fn number(field: &[u8]) -> Option<(u16, &[u8])> {
    match *field {
        [value @ 0..=0x17, ref rest @ ..] => Some((value.into(), rest)),
        [0x18, value, ref rest @ ..] => Some((value.into(), rest)),
        [0x19, high, low, ref rest @ ..] => Some((u16::from_be_bytes([high, low]), rest)),
        _ => None,
    }
}

/// Lists steps that make sense, and bend what is under way in a few places.
fn stories(frames: &[Vec<u8>]) -> Vec<Vec<u8>> {
    let piece = |bytes: &[u8]| [&(bytes.len() as u16).to_be_bytes()[..], bytes].concat();
    let bent = |step: u8, place: u16, byte: u8| {
        let [high, low] = place.to_be_bytes();
        [&[step, 0][..], &piece(&[high, low, byte])].concat()
    };
    let begin = [LINK, 0, UP, 0, DOWN, 0, REPORT, 0];
    let other = [REPORT, 1, LINK, 1, UP, 1, DOWN, 1, NOTE, 1, 0, UP, 1];
    let mut stories = vec![
        [&begin[..], &[UP, 0, DOWN, 0, NOTE, 0, 0, UP, 0, DOWN, 0]].concat(),
        [
            &other[..],
            &begin,
            &[UP, 0, DOWN, 0, UNLINK, 0, LINK, 0, UP, 0, DOWN, 0],
        ]
        .concat(),
        [&begin[..], &other, &[PASS, 0, 60, DOWN, 0, DOWN, 1]].concat(),
        [
            &begin[..],
            &other,
            &[AGAIN, 0, 0, 3, 0, 0, AGAIN, 0, 0, 5, 0, 0],
        ]
        .concat(),
    ];
    for place in [0_u16, 7, 40, 60, 75, 90] {
        stories.push([&begin[..], &bent(FORGED, place, 0x7f), &[DOWN, 0]].concat());
        stories.push([&begin[..], &other, &bent(FORGED, place, 3), &[UP, 0]].concat());
        stories.push([&begin[..], &other, &bent(BENT, place, 0), &[UP, 0]].concat());
    }
    for frame in frames.iter().filter(|frame| frame.len() < 400) {
        let anything = [&[ANYTHING, 0][..], &piece(frame)].concat();
        stories.push([&begin[..], &anything, &[UP, 0, DOWN, 0]].concat());
    }
    stories
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::TARGETS;

    #[test]
    fn every_target_has_inputs_to_begin_with_and_keeps_its_promise_on_them() {
        let seeds = seeds(&[]);
        for target in TARGETS {
            let own: Vec<_> = seeds
                .iter()
                .filter(|(name, _)| *name == target.name)
                .collect();
            assert!(own.len() >= 5, "{}: {} inputs", target.name, own.len());
            own.iter().for_each(|(_, input)| (target.run)(input));
        }
    }
}
