//! What a relay may be told, and the sizes it works in.

use std::time::Duration;

/// Most changes of one admission cycle. At about 1 ms a change the gate is done within a third of a
/// second, so no session waits longer for another's backlog; one durable commit for so many costs
/// little for each.
pub(crate) const CYCLE_CHANGES_MAX: usize = 256;

/// Most bytes of changes of one admission cycle.
pub(crate) const CYCLE_BYTES_MAX: usize = 1024 * 1024;

/// Most stored bytes read for one admission cycle. Loaded documents take several times this, and
/// the relay's memory has to stay within 64 MB.
pub(crate) const LOAD_BYTES_MAX: u64 = 2 * 1024 * 1024;

/// Most placements made in one admission cycle.
pub(crate) const CYCLE_PLACES_MAX: usize = 64;

/// Most bytes of changes that a document's log may have together: with the protocol's weight for
/// each, a whole document then fits one frame.
pub(crate) const LOG_BYTES_MAX: u64 = 1024 * 1024;

/// Most bytes read to answer a comparison at once; the rest follows in further frames.
pub(crate) const COMPARE_BYTES_MAX: u64 = 256 * 1024;

/// Most bytes read for the first page of a snapshot: at 1 Mbit/s, packed, on the device's screen in 0.15 s.
pub(crate) const SNAPSHOT_FIRST_BYTES_MAX: u64 = 64 * 1024;

/// Most bytes that one session may leave in the quarantine; what is refused beyond is put on record
/// without its bytes, which the device has.
pub(crate) const QUARANTINE_BYTES_MAX: usize = 1024 * 1024;

/// Most chunks of blobs made durable at once: 512 KiB, which a commit writes within a few milliseconds. A batch of changes
/// waits for no more than that.
pub(crate) const KEEP_CHUNKS_MAX: usize = 32;

/// How long after a grant ended what was saved in its scope is still judged by it: as long as the shortest
/// certificate lease. A device that was out of reach for longer cannot come in without being looked at.
pub const LEAVE_WINDOW: Duration = Duration::from_secs(14 * 86_400);

/// How often an admission cycle is tried anew when other writers come in between.
pub(crate) const CONTENDED_MAX: u32 = 8;

/// What a relay may be told.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Config {
    /// How often the rights of the devices in session are looked up again. Default 4 s, so that a
    /// revoked device is out within 5.
    pub rights_refresh: Duration,
    /// How long it may take until operators see where a device stands. Default 30 s.
    pub marks_every: Duration,
    /// How long devices should stay away when the relay shuts down. Default 2 s.
    pub retry_after_drain: Duration,
    /// How long devices should stay away when the store failed. Default 10 s.
    pub retry_after_fault: Duration,
    /// How long devices should stay away when the store is full. Default 60 s: somebody has to
    /// free space.
    pub retry_after_full: Duration,
    /// How many documents one device may begin in an hour; more are refused. Default none: no limit.
    pub new_documents_per_hour_max: Option<u32>,
    /// How many entries the feed of a scope has at least that comes as a snapshot to a device that has nothing of it.
    /// Default 256: fewer come as fast by the feed.
    pub snapshot_entries_min: u64,
    /// How many bytes of changes a page of a snapshot has at most, but for one document. Default 256 KiB: packed, 0.4 s
    /// at 1 Mbit/s; pages of 64 KiB take 20 % more on the wire, of 1 MiB 8 % less.
    pub snapshot_bytes: u64,
}

impl Default for Config {
    fn default() -> Self {
        Self {
            rights_refresh: Duration::from_secs(4),
            marks_every: Duration::from_secs(30),
            retry_after_drain: Duration::from_secs(2),
            retry_after_fault: Duration::from_secs(10),
            retry_after_full: Duration::from_secs(60),
            new_documents_per_hour_max: None,
            snapshot_entries_min: 256,
            snapshot_bytes: 256 * 1024,
        }
    }
}
