//! Version skew: devices, or the relay, whose program speaks an older version of the protocol.
//!
//! Such a program is played by the present one in a session of the older version: the greeting says no newer one, and
//! what readers of that version skip is taken out of the answers. Both ends must settle on it, and may then say
//! nothing that came later (`steps`). Some are updated when the storm is over, as phones and servers are.

use core::time::Duration;

use gridbeat_sync_protocol::{Frame, VERSION_NEWEST, VERSION_OLDEST};

use crate::world::World;

/// In 1,000 seeds that may have it, in how many versions are mixed: a quarter of all.
const MIXED_PER_MILLE: u64 = 360;

impl World {
    /// Draws who speaks an older version. If the relay does, no session has a newer one.
    pub(crate) fn draw_versions(&mut self) {
        if !self.options.faults.old_versions || !self.random.chance(MIXED_PER_MILLE) {
            return;
        }
        let is_relay = self.random.chance(250);
        let older: Vec<u16> = (VERSION_OLDEST..VERSION_NEWEST).collect();
        for node in &mut self.nodes {
            if is_relay || self.random.chance(500) {
                node.speaks =
                    older[usize::try_from(self.random.below(older.len() as u64)).unwrap_or(0)];
            }
        }
    }

    /// When the storm is over, some programs are updated, which starts them anew.
    pub(crate) fn update_program(&mut self, node: usize) {
        if self.nodes[node].speaks < VERSION_NEWEST && self.random.chance(500) {
            self.crash_device(node, Duration::from_secs(1));
            self.nodes[node].speaks = VERSION_NEWEST;
        }
    }

    /// Returns a frame as an older program sends it.
    pub(crate) fn as_spoken(&mut self, node: usize, frame: &Frame) -> Frame {
        let mut frame = frame.clone();
        let speaks = self.nodes[node].speaks;
        if let Frame::Hello(hello) = &mut frame
            && speaks < hello.versions.newest
        {
            hello.versions.newest = speaks;
            self.tally.old_greetings += 1;
        }
        frame
    }

    /// Takes out of a frame what an older program skips.
    pub(crate) fn as_read(&self, node: usize, frame: &mut Frame) {
        if let Frame::Welcome(welcome) = frame
            && self.nodes[node].speaks == VERSION_OLDEST
        {
            welcome.stable = None;
        }
    }
}
