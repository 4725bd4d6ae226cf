//! Changes that no honest device makes, out of honest ones: every sort with a right checksum, unless the
//! checksum itself is the matter.
//!
//! The head of a change is taken apart and put together anew; what follows it is kept, or bent in a few bytes.
//! Not here: changes built from their operations, each of which has its own test in `document`.

use gridbeat_base::{ChangeHash, DeviceId, Random};
use sha2::{Digest as _, Sha256};

/// The first bytes of a change's chunk, before its checksum.
const MAGIC: [u8; 4] = [0x85, 0x6f, 0x4a, 0x83];

/// Bytes of magic, checksum and chunk type.
const HEAD_BYTES: usize = 9;

/// 66 bytes that name ten million operations: decoded they take 4 GB.
const OP_BOMB: [u8; 66] = [
    0x85, 0x6f, 0x4a, 0x83, 0x5c, 0x9a, 0x21, 0x8c, 0x01, 0x38, 0x00, 0x04, 0x65, 0x76, 0x69, 0x6c,
    0x01, 0x01, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0x00, 0x00, 0x00, 0x05, 0x15,
    0x06, 0x34, 0x04, 0x42, 0x05, 0x56, 0x05, 0x70, 0x05, 0x80, 0xad, 0xe2, 0x04, 0x01, 0x6b, 0x80,
    0xad, 0xe2, 0x04, 0x80, 0xad, 0xe2, 0x04, 0x01, 0x80, 0xad, 0xe2, 0x04, 0x00, 0x80, 0xad, 0xe2,
    0x04, 0x00,
];

/// Bytes of the largest forged change: over what the gate takes.
const HUGE_BYTES: usize = 65 * 1024;

/// Numbers far ahead of any honest one, and the last there are.
const FAR: [u64; 3] = [100, u32::MAX as u64, u64::MAX];

/// The last second that 64 bits hold.
const LAST_TIME: [u8; 10] = [0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0];

/// What is wrong with a forged change.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(crate) enum Forgery {
    /// A few bytes behind its head are others.
    Mutant,
    /// The same, and its head is the next honest one of its author.
    MutantInPlace,
    /// Its number in its actor's row is far ahead, or the last there is.
    Number,
    /// Its first operation is far ahead, too low, or the last there is.
    FirstOperation,
    /// It was made at a time that no clock tells.
    Time,
    /// It depends on what nobody has.
    Orphan,
    /// It names its dependencies twice, or in another order.
    Dependencies,
    /// It is the next of a colleague's actor.
    ActorOfAnother,
    /// It is the first of an actor that a colleague writes under elsewhere.
    ActorSquatted,
    /// It says that a colleague did it.
    NameOfAnother,
    /// It is a colleague's of another document.
    Moved,
    /// It names ten million operations in 66 bytes.
    Bomb,
    /// It is larger than any change may be.
    Huge,
    /// Its checksum is another's.
    Checksum,
    /// It is a whole document's chunk, or a compressed one.
    Chunk,
    /// It is no change at all.
    Noise,
}

impl Forgery {
    pub(crate) const ALL: [Self; 16] = [
        Self::Mutant,
        Self::MutantInPlace,
        Self::Number,
        Self::FirstOperation,
        Self::Time,
        Self::Orphan,
        Self::Dependencies,
        Self::ActorOfAnother,
        Self::ActorSquatted,
        Self::NameOfAnother,
        Self::Moved,
        Self::Bomb,
        Self::Huge,
        Self::Checksum,
        Self::Chunk,
        Self::Noise,
    ];

    /// Tells whether it may be a change that an honest device could have made: bytes that happen to be others
    /// are another note, and an actor is anybody's until somebody writes under it.
    pub(crate) const fn may_be_admitted(self) -> bool {
        matches!(
            self,
            Self::Mutant | Self::MutantInPlace | Self::ActorSquatted | Self::Moved
        )
    }
}

/// What a forger has at hand.
#[derive(Debug)]
pub(crate) struct Material<'a> {
    /// An honest change of its own, the newest of a document.
    pub(crate) own: &'a [u8],
    /// Colleagues' changes of this document that came to it.
    pub(crate) colleagues: &'a [Vec<u8>],
    /// A colleague's change of another document.
    pub(crate) elsewhere: Option<&'a [u8]>,
    /// The forger, and a colleague.
    pub(crate) device: DeviceId,
    pub(crate) colleague: DeviceId,
}

/// The head of a change, up to its time; what follows is left as it is.
#[derive(Clone, Debug)]
struct Head<'a> {
    deps: Vec<[u8; 32]>,
    actor: Vec<u8>,
    number: u64,
    first_op: u64,
    time: Vec<u8>,
    rest: &'a [u8],
}

/// Makes a change of a sort; `None` if there is nothing to make it of.
pub(crate) fn forge(
    sort: Forgery,
    material: &Material<'_>,
    random: &mut Random,
) -> Option<Vec<u8>> {
    match sort {
        Forgery::Moved => material.elsewhere.map(<[u8]>::to_vec),
        Forgery::Bomb => Some(OP_BOMB.to_vec()),
        Forgery::Noise => {
            let length = random.below(200);
            Some((0..length).map(|_| random.bytes::<1>()[0]).collect())
        }
        Forgery::Mutant
        | Forgery::MutantInPlace
        | Forgery::Number
        | Forgery::FirstOperation
        | Forgery::Time
        | Forgery::Orphan
        | Forgery::Dependencies
        | Forgery::ActorOfAnother
        | Forgery::ActorSquatted
        | Forgery::NameOfAnother
        | Forgery::Huge
        | Forgery::Checksum
        | Forgery::Chunk => {
            let mut head = Head::read(material.own)?;
            // An actor of its own, so that the honest work goes on beside it.
            (head.actor, head.number) = (random.bytes::<16>().to_vec(), 1);
            head.bend(sort, material, random)?;
            Some(head.into_change(sort, material, random))
        }
    }
}

/// Makes one to three bytes of a change others, from a place on.
fn bend(bytes: &mut [u8], from: usize, random: &mut Random) {
    let count = bytes.len().saturating_sub(from).max(1) as u64;
    for _ in 0..=random.below(3) {
        let place = from + usize::try_from(random.below(count)).unwrap_or(0);
        let Some(byte) = bytes.get_mut(place) else {
            continue;
        };
        // Small steps and single bits are what a parser's corners are made of.
        *byte = match random.below(3) {
            0 => byte.wrapping_add(1),
            1 => *byte ^ (1 << random.below(8)),
            _ => random.bytes::<1>()[0],
        };
    }
}

impl<'a> Head<'a> {
    fn read(change: &'a [u8]) -> Option<Self> {
        let mut rest = change.get(HEAD_BYTES..)?;
        number(&mut rest)?;
        let count = number(&mut rest)?;
        let mut deps = Vec::new();
        for _ in 0..count {
            deps.push(*take(&mut rest, 32)?.first_chunk()?);
        }
        let length = usize::try_from(number(&mut rest)?).ok()?;
        let actor = take(&mut rest, length)?.to_vec();
        let (seq, first_op) = (number(&mut rest)?, number(&mut rest)?);
        let more = rest.iter().take_while(|byte| **byte & 0x80 != 0).count();
        let time = take(&mut rest, more + 1)?.to_vec();
        Some(Self {
            deps,
            actor,
            number: seq,
            first_op,
            time,
            rest,
        })
    }

    /// Bends what a sort bends of a head.
    fn bend(&mut self, sort: Forgery, material: &Material<'_>, random: &mut Random) -> Option<()> {
        let draw = |random: &mut Random, from: &[u64]| {
            let place = usize::try_from(random.below(from.len() as u64)).unwrap_or(0);
            from[place]
        };
        let first = self.first_op;
        match sort {
            Forgery::Number => self.number = draw(random, &FAR),
            Forgery::FirstOperation => {
                let near = [0, 1, first.saturating_sub(1), first + 99];
                self.first_op = draw(random, &[&near[..], &FAR].concat());
            }
            Forgery::Time => self.time = LAST_TIME.to_vec(),
            Forgery::Orphan => self.deps = vec![random.bytes()],
            Forgery::Dependencies => self.deps.push(*self.deps.first()?),
            Forgery::ActorOfAnother => {
                let theirs = material.colleagues.iter().filter_map(|it| Head::read(it));
                let last = theirs.max_by_key(|it| it.number)?;
                (self.actor, self.number) = (last.actor, last.number + 1);
            }
            Forgery::ActorSquatted => self.actor = Head::read(material.elsewhere?)?.actor,
            Forgery::Mutant
            | Forgery::MutantInPlace
            | Forgery::NameOfAnother
            | Forgery::Moved
            | Forgery::Bomb
            | Forgery::Huge
            | Forgery::Checksum
            | Forgery::Chunk
            | Forgery::Noise => {}
        }
        Some(())
    }

    /// Puts a change together, with what a sort bends behind its head.
    fn into_change(self, sort: Forgery, material: &Material<'_>, random: &mut Random) -> Vec<u8> {
        let mut body = self.body();
        let tail = body.len() - self.rest.len();
        match sort {
            Forgery::Mutant => bend(&mut body, 40, random),
            Forgery::MutantInPlace => bend(&mut body, tail, random),
            Forgery::NameOfAnother => {
                let own = material.device.bytes();
                let mut places = body.windows(own.len());
                if let Some(place) = places.position(|it| it == own) {
                    let name = material.colleague.bytes();
                    body[place..place + own.len()].copy_from_slice(name);
                } else {
                    // Nobody is named in it, so it is as good as noise.
                    body.clear();
                }
            }
            Forgery::Huge => body.resize(HUGE_BYTES, 0),
            Forgery::Chunk => return sealed_as([0, 2, 3][usize::from(random.chance(500))], &body),
            Forgery::Checksum => {
                let mut change = sealed(&body);
                change[MAGIC.len()] ^= 1;
                return change;
            }
            Forgery::Number
            | Forgery::FirstOperation
            | Forgery::Time
            | Forgery::Orphan
            | Forgery::Dependencies
            | Forgery::ActorOfAnother
            | Forgery::ActorSquatted
            | Forgery::Moved
            | Forgery::Bomb
            | Forgery::Noise => {}
        }
        sealed(&body)
    }

    fn body(&self) -> Vec<u8> {
        let mut body = Vec::new();
        put(&mut body, self.deps.len() as u64);
        self.deps.iter().for_each(|dep| body.extend(dep));
        put(&mut body, self.actor.len() as u64);
        body.extend(&self.actor);
        put(&mut body, self.number);
        put(&mut body, self.first_op);
        body.extend(&self.time);
        body.extend(self.rest);
        body
    }
}

/// Names a change by its bytes, whatever they are.
pub(crate) fn name(change: &[u8]) -> ChangeHash {
    let named = change.get(MAGIC.len() + 4..).unwrap_or_default();
    ChangeHash::new(Sha256::digest(named).into())
}

fn sealed(body: &[u8]) -> Vec<u8> {
    sealed_as(1, body)
}

fn sealed_as(kind: u8, body: &[u8]) -> Vec<u8> {
    let mut hashed = vec![kind];
    put(&mut hashed, body.len() as u64);
    hashed.extend(body);
    let hash = Sha256::digest(&hashed);
    [&MAGIC[..], &hash[..4], &hashed].concat()
}

fn take<'a>(rest: &mut &'a [u8], count: usize) -> Option<&'a [u8]> {
    let (taken, left) = rest.split_at_checked(count)?;
    *rest = left;
    Some(taken)
}

/// Reads an unsigned LEB128 number.
fn number(rest: &mut &[u8]) -> Option<u64> {
    let (mut value, mut shift) = (0_u64, 0);
    loop {
        let byte = take(rest, 1)?[0];
        value |= u64::from(byte & 0x7f).checked_shl(shift)?;
        if byte & 0x80 == 0 {
            return Some(value);
        }
        shift += 7;
    }
}

fn put(out: &mut Vec<u8>, mut number: u64) {
    while number > 0x7f {
        out.push((number & 0x7f) as u8 | 0x80);
        number >>= 7;
    }
    out.push(number as u8);
}
