//! What a link counts.

use crate::Direction;

/// What one direction of a link has done since its start. A packet is a datagram, or a piece of
/// a stream as it was read.
///
/// At rest, `offered` is the sum of `delivered`, all dropped and what still waits or flies.
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq)]
pub struct Traffic {
    /// Packets that came to the link.
    pub offered_packets: u64,
    /// Their payload bytes.
    pub offered_bytes: u64,
    /// Packets that left it at the other side, second copies not counted.
    pub delivered_packets: u64,
    /// Their payload bytes.
    pub delivered_bytes: u64,
    /// Datagrams dropped because the link was down, or went down before they were sent.
    pub dropped_outage: u64,
    /// Datagrams lost in the air.
    pub dropped_loss: u64,
    /// Datagrams dropped because the queue was full.
    pub dropped_queue: u64,
    /// Second copies of datagrams that were delivered.
    pub duplicated: u64,
    /// Datagrams delivered after one that had been sent later.
    pub reordered: u64,
}

impl Traffic {
    /// Returns how many packets were dropped, for any reason.
    pub fn dropped(&self) -> u64 {
        self.dropped_outage + self.dropped_loss + self.dropped_queue
    }
}

/// What a link, and the forwarder around it, has done since its start.
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq)]
pub struct Stats {
    /// From the devices to the server.
    pub up: Traffic,
    /// From the server to the devices.
    pub down: Traffic,
    /// Hand-overs carried out.
    pub handovers: u64,
    /// Clients (datagrams) and connections (streams) seen.
    pub clients: u64,
    /// Packets that left the link but that nobody took: the server was not there, or the
    /// connection was gone.
    pub undeliverable: u64,
}

impl Stats {
    /// Returns the traffic of that direction.
    pub fn traffic(&self, direction: Direction) -> &Traffic {
        match direction {
            Direction::Up => &self.up,
            Direction::Down => &self.down,
        }
    }
}
