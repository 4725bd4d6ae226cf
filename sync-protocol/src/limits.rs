//! Every limit of the protocol, each with its reason (`PROTOCOL.md`, 7).
//!
//! Sizes that bound memory are counted as *weight*: the bytes of the changes plus a fixed sum for
//! each change, document and entry, which is never less than what they take on the wire unpacked.
//! So what is within its weight always fits its frame, whether or not it can be compressed.

use core::time::Duration;

/// Longest wait for the other end's greeting: three round trips on the slowest mobile link that is
/// still usable (2.5 s each), rounded up.
pub const GREETING_TIMEOUT: Duration = Duration::from_secs(8);

/// Largest frame, in bytes, but for those that carry whole documents down
/// ([`DOCUMENT_FRAME_BYTES_MAX`]). Four of the largest changes; half a minute at 64 kbit/s.
pub const FRAME_BYTES_MAX: usize = 256 * 1024;

/// Largest [`crate::Feed`] or [`crate::Compared`] frame, in bytes: an entry may bring a whole document,
/// which is 1 MiB or 5,000 changes at most, and must fit however badly it compresses.
pub const DOCUMENT_FRAME_BYTES_MAX: usize = 2 * 1024 * 1024;

/// Largest body a pack may unpack to, in bytes; checked before anything is allocated. Twice the
/// largest frame, so that an honest pack is never near it and a bomb gains little.
pub const PACK_UNPACKED_BYTES_MAX: usize = 4 * 1024 * 1024;

/// Largest raw change, in bytes. A note of 20 characters makes 250; the longest text a person types on
/// a phone makes a few thousand.
pub const CHANGE_BYTES_MAX: usize = 64 * 1024;

/// Weight a change adds to its bytes: its author, time and place in the frame (at most 39 bytes on
/// the wire), rounded up to what it takes in memory.
pub const CHANGE_WEIGHT: usize = 64;

/// Weight of a document or an entry without its changes: id, kind's name and version (at most 60
/// bytes on the wire), rounded up likewise.
pub const ENTRY_WEIGHT: usize = 96;

/// Weight a push should have when there is more to send: about 10 KiB packed, so that progress is durable every
/// second or so even at 64 kbit/s. A shift of 400 changes takes a fifth fewer bytes than in pushes of 16 KiB, and 2 %
/// more than in pushes of 64 KiB.
pub const PUSH_TARGET_BYTES: usize = 48 * 1024;

/// Largest weight of a push: what surely fits [`FRAME_BYTES_MAX`] beside the frame's head.
pub const PUSH_WEIGHT_MAX: usize = FRAME_BYTES_MAX - FRAME_HEAD_BYTES;

/// Weight of pushes that may be out without an acknowledgement before another is sent: packed, what
/// a link of 5 Mbit/s carries in a round trip of 200 ms. Bounds what a relay holds for one session.
pub const PUSH_WINDOW_BYTES: usize = 256 * 1024;

/// Part of [`PUSH_WINDOW_BYTES`] that only urgent pushes may use: a call for help never waits for a
/// backlog of logs to be acknowledged.
pub const PUSH_RESERVE_BYTES: usize = 32 * 1024;

/// How far the number of a push may lie ahead of the oldest push without an acknowledgement. Eight
/// windows of pushes at their target weight, so that one lost packet does not stop the others.
pub const PUSHES_OUT_MAX: u64 = 128;

/// Part of [`PUSHES_OUT_MAX`] that only urgent pushes may use.
pub const PUSHES_RESERVE: u64 = 16;

/// Most documents in a push; each has at least one change. No honest push has more: so many of the smallest
/// changes reach [`PUSH_TARGET_BYTES`]. The gate takes half a millisecond for each, and whatever comes meanwhile
/// waits that long.
pub const PUSH_DOCUMENTS_MAX: usize = 64;

/// Most changes in a push: so many refusals, each with a reason of the greatest length, still fit
/// the frame that acknowledges it.
pub const PUSH_CHANGES_MAX: usize = 200;

/// Weight a feed frame should have when there is more to send: small enough that an interrupted
/// download goes on where it stopped, large enough to compress well.
pub const FEED_TARGET_BYTES: usize = 64 * 1024;

/// Largest weight of a feed frame: what surely fits [`DOCUMENT_FRAME_BYTES_MAX`].
pub const FEED_WEIGHT_MAX: usize = DOCUMENT_FRAME_BYTES_MAX - FRAME_HEAD_BYTES;

/// Weight of feed frames that may be out without an [`crate::Applied`] before another is sent:
/// packed, what a link of 8 Mbit/s carries in 250 ms (a round trip and the commit). Bounds what a
/// device holds while it waits for a lost packet.
pub const FEED_WINDOW_BYTES: usize = 512 * 1024;

/// Most entries in a feed frame: twice what [`FEED_TARGET_BYTES`] of the smallest changes would make.
pub const FEED_ENTRIES_MAX: usize = 1_000;

/// Most documents in a snapshot frame: of the smallest, with one change each, so many have about
/// [`FEED_WINDOW_BYTES`].
pub const SNAPSHOT_DOCUMENTS_MAX: usize = 1_000;

/// Most changes in a frame that carries whole documents: the largest document has 5,000.
pub const DOCUMENT_FRAME_CHANGES_MAX: usize = 10_000;

/// Most scopes in a greeting: a command centre's desk that holds every grid of a district.
pub const SCOPES_MAX: usize = 1_024;

/// Longest name of a kind, in bytes; see `Kind::name`.
pub const KIND_BYTES_MAX: usize = 32;

/// Longest code of a [`crate::Reason`], in bytes.
pub const REASON_CODE_BYTES_MAX: usize = 64;

/// Longest text of a [`crate::Reason`] in one language, in bytes: two lines on a phone.
pub const REASON_TEXT_BYTES_MAX: usize = 512;

/// Largest message of range reconciliation, in bytes: the control stream also carries
/// acknowledgements, which must not wait behind it for more than 4 s at 64 kbit/s.
pub const RECONCILE_BYTES_MAX: usize = 32 * 1024;

/// Most messages of one reconciliation. 1,000 of the largest name 7 million documents.
pub const RECONCILE_ROUNDS_MAX: u32 = 1_000;

/// Most documents in one [`crate::Compare`]: with 20 changes each about 128 KiB of hashes; the answer
/// is about 1 MB if the device has none of them.
pub const COMPARE_DOCUMENTS_MAX: usize = 200;

/// Most changes named in one [`crate::Compare`]: their hashes fill three quarters of the frame. The
/// largest document has 5,000.
pub const COMPARE_CHANGES_MAX: usize = 6_000;

/// Most columns that a change may have to be taken apart. Automerge's have 14 at most.
pub const SHAPE_COLUMNS_MAX: usize = 32;

/// Largest statement of a removal, in bytes: twice what the longest scope and the largest numbers take.
pub const REMOVAL_BYTES_MAX: usize = 512;

/// Largest blob, in bytes: the largest photo of a phone (12 MB) twice over, or half an hour of speech. Bounds how long
/// a relay's writer is held up when it makes one whole, and what one is hashed for at a time.
pub const BLOB_BYTES_MAX: u64 = 32 * 1024 * 1024;

/// Largest slice, in bytes: a chunk ([`crate::CHUNK_BYTES`]) and 64 bytes for each of the 11 steps from the root of the
/// largest blob.
pub const SLICE_BYTES_MAX: usize = 16 * 1024 + 11 * 64;

/// Most blobs on offer in a session: several large ones under way and the small ones that overtake them. Bounds
/// what the relay remembers, 256 bytes and a bit a chunk each.
pub const OFFERS_OPEN_MAX: usize = 16;

/// Most parts that a device may have sent and not heard of: those of sixteen small blobs, so that a shift's tracks take one
/// round trip; 256 KiB of whole chunks, which a relay holds for one session at most. Ours has at most 64 KiB out, and less
/// on a slow link.
pub const PARTS_OUT_MAX: usize = 16;

/// Most chunks that a device may have asked for and not got: 128 KiB, as much again because a relay sends them at once.
pub const PARTS_ASKED_MAX: u32 = 8;

/// Most sightings in a frame that answers who asked to watch: some 25 KB. A district has more officers, and they
/// take several.
pub const SIGHTINGS_MAX: usize = 256;

/// Most sightings in a datagram: each has at most 89 bytes, and what fits any path is 1,150 or so.
pub const SIGHTINGS_MOVED_MAX: usize = 12;

/// How long it takes until a position that was not followed by another is stale: a minute is what a phone that stands
/// still lets pass between two, and some of them are lost.
pub const POSITION_STALE: Duration = Duration::from_secs(600);

/// How long the last position of a device is kept for those who dispatch: a long shift, so that somebody who does not
/// come back is looked for where he was.
pub const POSITION_KEPT: Duration = Duration::from_secs(12 * 3_600);

/// How long it is kept for others of the scope, who want to know who is near.
pub const POSITION_KEPT_COARSE: Duration = Duration::from_secs(1_800);

/// Largest request to enrol or to renew, in bytes, from somebody nobody knows: what the fields take (204),
/// and as much again for those of later versions.
pub const ENROL_REQUEST_BYTES_MAX: usize = 512;

/// Largest answer to one, in bytes: five of the largest certificates and the rest, rounded up.
pub const ENROL_ANSWER_BYTES_MAX: usize = 16 * 1024;

/// Longest certificate (X.509, DER) in an answer, in bytes. Ours have 300 to 500; one with an RSA key of
/// 4,096 bits has 1,500.
pub const CERTIFICATE_BYTES_MAX: usize = 2_048;

/// Most certificates a device must show: its own and two between it and what the relay trusts.
pub const CERTIFICATES_MAX: usize = 3;

/// Most roots a relay is known by: the present and the next.
pub const PINS_MAX: usize = 2;

/// Longest name in a relay's certificate, in bytes: the longest of DNS.
pub const SERVER_NAME_BYTES_MAX: usize = 253;

/// Longest name a device gives itself, in bytes: one line of a list.
pub const DEVICE_NAME_BYTES_MAX: usize = 64;

/// Longest text of an invitation, in bytes: its QR code then has at most 57 modules a side (version 10,
/// with 15 % of it in excess), which every phone's camera reads from a screen.
pub const INVITATION_BYTES_MAX: usize = 300;

/// Longest address and server name of a relay together, in bytes: what [`INVITATION_BYTES_MAX`] leaves
/// beside two pins, the code and the check.
pub const INVITATION_NAMES_BYTES_MAX: usize = 88;

/// Bytes of a frame beside its pack, at most: a scope's name, numbers, a digest. Rounded up.
const FRAME_HEAD_BYTES: usize = 1024;
