//! A relay among hostile devices, and a device under a hostile relay: real sessions, bent by an input.
//!
//! An input is a list of steps: who does what, and how the bytes under way are bent. Whatever happens, the
//! honest end keeps what it promises.

use std::time::Duration;

use gridbeat_sync_protocol::{Entry, Frame, decode, encode};

use crate::input::Input;
use crate::scene::{body_of, sealed};
use crate::world::World;

/// Most steps of one input.
const STEPS_MAX: usize = 40;

/// The devices of the first target: two hostile ones, and one whose link nobody touches.
const HOSTILE: usize = 2;

/// The honest device.
const HONEST: usize = 2;

/// What a step does, by its number.
pub(crate) const LINK: u8 = 0;
pub(crate) const UNLINK: u8 = 1;
pub(crate) const REPORT: u8 = 2;
pub(crate) const NOTE: u8 = 3;
pub(crate) const UP: u8 = 4;
pub(crate) const DOWN: u8 = 5;
pub(crate) const BENT: u8 = 6;
pub(crate) const ANYTHING: u8 = 7;
pub(crate) const AGAIN: u8 = 8;
pub(crate) const FORGED: u8 = 9;
pub(crate) const PASS: u8 = 10;

/// How many kinds of steps there are.
const STEPS: u8 = 11;

/// Lets two hostile devices say anything: the third one's work is accepted all the same, and in sync.
pub(crate) fn relay(bytes: &[u8]) {
    let mut world = World::new(3);
    let mut input = Input::new(bytes);
    for _ in 0..STEPS_MAX {
        if input.rest.is_empty() {
            break;
        }
        let step = input.byte();
        let place = usize::from(input.byte()) % HOSTILE;
        match step % STEPS {
            LINK => world.link(place),
            UNLINK => world.unlink(place),
            REPORT => drop(world.report(place)),
            NOTE => drop(world.note(place, usize::from(input.byte()))),
            UP => drop(world.carry_up(place, &mut |bytes| bytes)),
            DOWN => drop(world.carry_down(place, &mut |bytes| bytes)),
            BENT => {
                let (changes, mut first) = (input.piece(), true);
                world.carry_up(place, &mut |frame| bend(frame, changes, &mut first));
            }
            FORGED => {
                let changes = input.piece();
                world.carry_up(place, &mut |frame| forge(&frame, changes));
            }
            ANYTHING => world.say(place, input.piece()),
            AGAIN => {
                let number = input.number() % world.heard.len().max(1);
                let frame = bent_again(&world, number, input.piece());
                world.say(place, &frame);
            }
            _ => world.pass(Duration::from_secs(u64::from(input.byte()))),
        }
    }
    assert!(world.report(HONEST), "an honest device may always save");
    assert!(world.note(HONEST, 0));
    world.link(HONEST);
    world.settle(HONEST);
    assert_eq!(world.waiting(HONEST), 0, "an honest device's work is taken");
    assert!(world.is_in_sync(HONEST));
    assert!(world.shows_all(HONEST));
}

/// Lets a relay say anything to a device: its file stays whole, and it never stops saving on its own account.
pub(crate) fn device(bytes: &[u8]) {
    let mut world = World::new(2);
    let mut input = Input::new(bytes);
    for _ in 0..STEPS_MAX {
        if input.rest.is_empty() {
            break;
        }
        // The other device is honest: what the relay has to say comes from it.
        let step = input.byte();
        let place = usize::from(input.byte()) % 2;
        match step % STEPS {
            LINK => world.link(place),
            UNLINK => world.unlink(place),
            REPORT => drop(world.report(place)),
            NOTE => drop(world.note(place, usize::from(input.byte()))),
            UP => drop(world.carry_up(place, &mut |bytes| bytes)),
            DOWN => drop(world.carry_down(place, &mut |bytes| bytes)),
            BENT => {
                let (changes, mut first) = (input.piece(), true);
                world.carry_down(0, &mut |frame| bend(frame, changes, &mut first));
            }
            FORGED => {
                let changes = input.piece();
                world.carry_down(0, &mut |frame| forge(&frame, changes));
            }
            ANYTHING => world.tell(0, input.piece()),
            AGAIN => {
                let number = input.number() % world.heard.len().max(1);
                let frame = bent_again(&world, number, input.piece());
                world.tell(0, &frame);
            }
            _ => world.pass(Duration::from_secs(u64::from(input.byte()))),
        }
    }
    // It may have been told that it has no right here; a file that is hurt is another thing.
    world.report(0);
    world.note(0, 0);
    let waiting = world.waiting(0);
    world.reopen(0);
    assert_eq!(
        world.waiting(0),
        waiting,
        "what was saved waits after a restart"
    );
}

/// Bends the first frame of a step: each change is a place and what stands there then.
fn bend(mut frame: Vec<u8>, changes: &[u8], first: &mut bool) -> Vec<u8> {
    if std::mem::replace(first, false) {
        bend_places(&mut frame, changes);
    }
    frame
}

fn bend_places(bytes: &mut [u8], changes: &[u8]) {
    for change in changes.chunks_exact(3) {
        let place = usize::from(u16::from_be_bytes([change[0], change[1]]));
        let length = bytes.len().max(1);
        if let Some(byte) = bytes.get_mut(place % length) {
            *byte = change[2];
        }
    }
}

/// Bends the first change that a frame carries, and makes its checksum right: compression hides it from [`bend`].
fn forge(frame: &[u8], changes: &[u8]) -> Vec<u8> {
    let Ok(mut decoded) = decode(frame) else {
        return frame.to_vec();
    };
    if let Some(bytes) = first_change(&mut decoded) {
        let mut body = body_of(bytes).to_vec();
        bend_places(&mut body, changes);
        *bytes = sealed(&body);
    }
    encode(&decoded)
}

fn first_change(frame: &mut Frame) -> Option<&mut Vec<u8>> {
    match frame {
        Frame::Push(push) => {
            let mut changes = push.documents.iter_mut().flat_map(|it| &mut it.changes);
            changes.next().map(|change| &mut change.bytes)
        }
        Frame::Feed(feed) => feed.entries.iter_mut().find_map(|entry| match entry {
            Entry::Attach { changes, .. } => changes.first_mut().map(|it| &mut it.bytes),
            Entry::Change { change, .. } => Some(&mut change.bytes),
            Entry::Detach { .. } | Entry::Own { .. } => None,
        }),
        Frame::Compared(compared) => {
            let held = compared.documents.iter_mut();
            let mut changes = held
                .filter_map(|it| it.held.as_mut())
                .flat_map(|it| &mut it.changes);
            changes.next().map(|change| &mut change.bytes)
        }
        Frame::Snapshot(snapshot) => {
            let mut changes = snapshot.documents.iter_mut().flat_map(|it| &mut it.changes);
            changes.next().map(|change| &mut change.bytes)
        }
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
        | Frame::Bring(_) => None,
    }
}

fn bent_again(world: &World, number: usize, changes: &[u8]) -> Vec<u8> {
    let frame = world.heard.get(number).cloned().unwrap_or_default();
    bend(frame, changes, &mut true)
}
