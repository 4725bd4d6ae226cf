//! The name under which one opening of a device's database writes.

use core::fmt;

use automerge::ActorId;
use gridbeat_base::Random;

/// One unbroken sequence of changes: 16 random bytes, fresh for each opening of a database.
///
/// Never stored for reuse and never derived from anything: a phone restored from a backup would
/// otherwise write two changes with one number, which Automerge cannot mend.
#[derive(Clone, Copy, Eq, Hash, Ord, PartialEq, PartialOrd)]
pub struct Actor([u8; 16]);

impl Actor {
    /// Mints an actor.
    pub fn mint(random: &mut Random) -> Self {
        Self(random.bytes())
    }

    /// Makes an actor from its 16 bytes.
    pub const fn from_bytes(bytes: [u8; 16]) -> Self {
        Self(bytes)
    }

    /// Returns the actor's 16 bytes.
    pub const fn bytes(&self) -> &[u8; 16] {
        &self.0
    }

    pub(crate) fn to_automerge(self) -> ActorId {
        ActorId::from(self.0)
    }
}

impl fmt::Debug for Actor {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for byte in &self.0[..6] {
            write!(f, "{byte:02x}")?;
        }
        f.write_str("…")
    }
}
