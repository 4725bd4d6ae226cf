//! What the relay has done since it started, as plain numbers for metrics.

/// Counts since the start; all but `sessions` only rise.
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq)]
pub struct Counters {
    /// Sessions that are open.
    pub sessions: u64,
    /// Sessions that were ever opened.
    pub sessions_opened: u64,
    /// Sessions that ended because the device broke the protocol.
    pub sessions_misbehaved: u64,
    /// Sessions that were refused because the device is unknown or revoked.
    pub sessions_denied: u64,
    /// Sessions that were refused because their devices broke the protocol again and again.
    pub sessions_suspended: u64,
    /// Sessions in which a revoked device handed over what it had.
    pub sessions_surrendering: u64,
    /// Statements of removal that are durable.
    pub removals: u64,
    /// Times that two sessions of one device came from different installations.
    pub clones_suspected: u64,
    /// Pushes that came.
    pub pushes: u64,
    /// Changes accepted and durable.
    pub changes_accepted: u64,
    /// Of these, changes that another device than their author brought.
    pub changes_recovered: u64,
    /// Changes that were already there.
    pub changes_known: u64,
    /// Changes that depend on something the relay lacks.
    pub changes_incomplete: u64,
    /// Changes that were refused.
    pub changes_refused: u64,
    /// Saved documents that did not load and were made again from their logs.
    pub documents_rebuilt: u64,
    /// Commits that became durable.
    pub commits: u64,
    /// Changes of the largest one.
    pub commit_changes_most: u64,
    /// Commits that were tried again because another write came in between.
    pub commits_contended: u64,
    /// Tasks that the store failed at.
    pub store_faults: u64,
    /// Feed entries sent, own ones included.
    pub feed_entries: u64,
    /// Bytes of changes in them.
    pub feed_bytes: u64,
    /// Reads of feeds, each for all sessions at one position.
    pub feed_reads: u64,
    /// Frames of snapshots sent.
    pub snapshot_frames: u64,
    /// Chunks of blobs that became durable.
    pub chunks_kept: u64,
    /// Blobs that became whole and durable.
    pub blobs_received: u64,
    /// Blobs that were here and were proven to be a device's too.
    pub blobs_proven: u64,
    /// Chunks of blobs sent to devices.
    pub chunks_given: u64,
    /// Times that a device told where it is.
    pub positions: u64,
    /// Reconciliations that devices began.
    pub reconciliations: u64,
    /// Greetings that named another digest than the relay has at the same cursor, in the same life
    /// of the database. Each is a bug somewhere, repaired by a reconciliation.
    pub digest_mismatches: u64,
}
