//! How urgent a piece of data is on the link.

use minicbor::{Decode, Encode};
use serde::{Deserialize, Serialize};

/// The order in which waiting data gets the link: a lower lane goes first, strictly.
///
/// Source: the engine's rules, section 3. A kind of document names the lane its changes travel in.
#[derive(
    Clone, Copy, Debug, Eq, Hash, Ord, PartialEq, PartialOrd, Serialize, Deserialize, Encode, Decode,
)]
#[serde(rename_all = "snake_case")]
#[cbor(index_only)]
pub enum Lane {
    /// Greetings, acknowledgements, notices: what keeps the session going.
    #[n(0)]
    Control,
    /// Calls for help; before every record.
    #[n(1)]
    Urgent,
    /// Records that others wait for.
    #[n(2)]
    Record,
    /// Logs that are kept for later.
    #[n(3)]
    Log,
    /// Thumbnails and tracks.
    #[n(4)]
    Preview,
    /// Originals of photos.
    #[n(5)]
    Original,
}
