//! The datagrams that ask whether the link is back, and their answer.
//!
//! A device that waits for an acknowledgement and hears nothing sends [`Probe::Ask`]; a relay answers
//! each with [`Probe::Answer`]. The packet of either asks its receiver's QUIC layer for an
//! acknowledgement, and an acknowledgement of a late packet is what tells a sender at once that the
//! earlier ones are lost: so the question repairs the way up and the answer the way down. The bytes
//! are part of the protocol (`PROTOCOL.md`, datagrams); a device also asks when idle, to keep the
//! address binding of a NAT on its way open. Not here: when.

use bytes::Bytes;

/// What a one-byte datagram says.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Probe {
    /// Device to relay: is anybody there?
    Ask,
    /// Relay to device: yes.
    Answer,
}

const ASK: u8 = 1;
const ANSWER: u8 = 2;

impl Probe {
    /// Returns the datagram's payload.
    pub const fn bytes(self) -> Bytes {
        match self {
            Self::Ask => Bytes::from_static(&[ASK]),
            Self::Answer => Bytes::from_static(&[ANSWER]),
        }
    }

    /// Reads a datagram; `None` if it is not a probe (a datagram may be dropped, so an unknown one is).
    pub fn read(bytes: &[u8]) -> Option<Self> {
        match bytes {
            [ASK] => Some(Self::Ask),
            [ANSWER] => Some(Self::Answer),
            _ => None,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_probe_reads_back_and_other_datagrams_are_none() {
        for probe in [Probe::Ask, Probe::Answer] {
            assert_eq!(Probe::read(&probe.bytes()), Some(probe));
        }
        for other in [&b""[..], b"\x00", b"\x01\x01", b"\xff"] {
            assert_eq!(Probe::read(other), None);
        }
    }
}
