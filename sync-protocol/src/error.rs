//! What can go wrong with bytes and with sessions. What peers may not do is in `misbehaved`.

use core::fmt;

use gridbeat_base::{Remedy, Scope};

use crate::{Close, DeviceMisbehaved, Reason, RelayMisbehaved, Versions};

/// How long a peer that broke the protocol should stay away, in seconds: long enough that a bug there
/// does not become a flood here, short enough that a person who repaired it need not wait.
const RETRY_AFTER_FAULT_S: u32 = 60;

/// Bytes from the peer are not a frame this program can read. Whatever they are, nothing was allocated
/// beyond the limits for them.
#[derive(Clone, Debug, Eq, PartialEq, thiserror::Error)]
#[non_exhaustive]
pub enum DecodeError {
    /// The frame, or the length announced for it, is beyond the limit for its kind.
    #[error("a frame of {bytes} bytes, where {max} are allowed")]
    FrameTooLarge {
        /// Its size.
        bytes: usize,
        /// The limit.
        max: usize,
    },
    /// Something else than the protocol's rules demand stands at a place of the frame or body.
    #[error("not what must stand at byte {at}")]
    Malformed {
        /// Where, in bytes from the start of the frame or the unpacked body.
        at: usize,
    },
    /// There is more of something than may be.
    #[error("{count} {part}, where {max} are allowed")]
    TooMany {
        /// What there is too much of.
        part: &'static str,
        /// How many.
        count: usize,
        /// The limit.
        max: usize,
    },
    /// A kind of frame of a later version.
    #[error("frame of unknown kind {kind}")]
    UnknownFrame {
        /// The number of the kind.
        kind: u64,
    },
    /// A kind of feed entry of a later version.
    #[error("feed entry of unknown kind {kind}")]
    UnknownEntry {
        /// The number of the kind.
        kind: u64,
    },
    /// A kind of verdict of a later version.
    #[error("verdict of unknown kind {kind}")]
    UnknownVerdict {
        /// The number of the kind.
        kind: u64,
    },
    /// A format of packs of a later version.
    #[error("pack of unknown format {format}")]
    UnknownPack {
        /// The number of the format.
        format: u64,
    },
    /// A suite of signatures of a later version.
    #[error("signature of unknown suite {suite}")]
    UnknownSuite {
        /// The number of the suite.
        suite: u64,
    },
    /// An answer to an offer of a later version.
    #[error("answer to an offer of unknown kind {kind}")]
    UnknownOfferAnswer {
        /// The number of the kind.
        kind: u64,
    },
    /// A pack says that it unpacks to more than is allowed.
    #[error("a pack of {bytes} bytes unpacked, where {max} are allowed")]
    PackTooLarge {
        /// What it says.
        bytes: u64,
        /// The limit.
        max: u64,
    },
    /// A pack does not unpack to what it says.
    #[error("a pack that does not unpack to what it says")]
    PackCorrupt,
    /// A stream ended within a frame.
    #[error("the stream ended within a frame")]
    Truncated,
}

impl DecodeError {
    /// Returns what the caller should do about this error.
    pub const fn remedy(&self) -> Remedy {
        match self {
            Self::Truncated => Remedy::Reconnect,
            Self::FrameTooLarge { .. }
            | Self::Malformed { .. }
            | Self::TooMany { .. }
            | Self::UnknownFrame { .. }
            | Self::UnknownEntry { .. }
            | Self::UnknownVerdict { .. }
            | Self::UnknownPack { .. }
            | Self::UnknownSuite { .. }
            | Self::UnknownOfferAnswer { .. }
            | Self::PackTooLarge { .. }
            | Self::PackCorrupt => Remedy::Report,
        }
    }

    /// Returns the words to end a session with whose peer sent this.
    pub fn close(&self) -> Close {
        fault_close("frame_unreadable", self, "收到无法识别的数据，连接已断开")
    }
}

/// Why a session ended, or would not take a call. Errors of which [`Self::ends_session`] is `false` leave
/// the session as it was.
#[derive(Clone, Debug, Eq, PartialEq, thiserror::Error)]
#[non_exhaustive]
pub enum SessionError {
    /// The window is full. Offer it again after the next acknowledgement or `Applied`.
    #[error("the session's window is full")]
    Full,
    /// What is offered is larger than one frame can be, or empty. Split it.
    #[error("a frame of weight {weight}, where 1 to {max} is allowed")]
    WrongSize {
        /// Its weight, or the count that is over the limit.
        weight: usize,
        /// The limit.
        max: usize,
    },
    /// The scope's feed does not go on here: it is not granted, under reconciliation, or elsewhere
    /// in the meantime. Ask the session where it is.
    #[error("the feed of scope {0} does not go on here")]
    OutOfPlace(Scope),
    /// The session has not begun, is not greeted yet, or has ended.
    #[error("the session is not open")]
    NotOpen,
    /// The peer did not greet within [`crate::limits::GREETING_TIMEOUT`].
    #[error("the peer did not greet in time")]
    GreetingTimedOut,
    /// No protocol version is spoken by both: one of the two programs must be updated.
    #[error("no common version of the protocol: theirs are {} to {}", .theirs.oldest, .theirs.newest)]
    NoCommonVersion {
        /// The versions the device speaks.
        theirs: Versions,
    },
    /// The relay broke the protocol: a bug there or an attack, so never retried in silence.
    #[error("the relay broke the protocol")]
    RelayMisbehaved(#[from] RelayMisbehaved),
    /// The device broke the protocol: a bug there or an attack.
    #[error("the device broke the protocol")]
    DeviceMisbehaved(#[from] DeviceMisbehaved),
}

impl SessionError {
    /// Returns whether the session is over.
    pub const fn ends_session(&self) -> bool {
        match self {
            Self::Full | Self::WrongSize { .. } | Self::OutOfPlace(_) | Self::NotOpen => false,
            Self::GreetingTimedOut
            | Self::NoCommonVersion { .. }
            | Self::RelayMisbehaved(_)
            | Self::DeviceMisbehaved(_) => true,
        }
    }

    /// Returns what the caller should do about this error.
    pub const fn remedy(&self) -> Remedy {
        match self {
            Self::Full | Self::OutOfPlace(_) => Remedy::RetryHere,
            Self::WrongSize { .. } => Remedy::FixInput,
            Self::NotOpen | Self::GreetingTimedOut => Remedy::Reconnect,
            Self::NoCommonVersion { .. } => Remedy::FixSetup,
            Self::RelayMisbehaved(_) | Self::DeviceMisbehaved(_) => Remedy::Report,
        }
    }

    /// Returns the words to end the session with.
    pub(crate) fn close(&self) -> Close {
        match self {
            Self::Full | Self::WrongSize { .. } | Self::OutOfPlace(_) | Self::NotOpen => Close {
                reason: reason("internal", self, "内部错误，连接已断开"),
                retry_after_s: 0,
            },
            Self::GreetingTimedOut => Close {
                reason: reason("greeting_timed_out", self, "对方未及时应答，连接已断开"),
                retry_after_s: 0,
            },
            Self::NoCommonVersion { .. } => {
                fault_close("no_common_version", self, "双方程序版本不兼容，请更新程序")
            }
            Self::RelayMisbehaved(fault) => {
                fault_close(fault.code(), fault, "服务端违反通信协议，连接已断开")
            }
            Self::DeviceMisbehaved(fault) => {
                fault_close(fault.code(), fault, "设备违反通信协议，连接已断开")
            }
        }
    }
}

fn reason(code: &str, en: &dyn fmt::Display, zh: &str) -> Reason {
    Reason {
        code: code.to_owned(),
        en: en.to_string(),
        zh: zh.to_owned(),
    }
}

fn fault_close(code: &str, en: &dyn fmt::Display, zh: &str) -> Close {
    Close {
        reason: reason(code, en, zh),
        retry_after_s: RETRY_AFTER_FAULT_S,
    }
}

/// How a session came to its end.
#[derive(Clone, Debug, Eq, PartialEq)]
pub enum CloseReason {
    /// The peer ended it, with these words.
    Peer(Close),
    /// We ended it, with these words.
    Ours(Close),
    /// It could not go on.
    Failed(SessionError),
}

pub(crate) const fn wrong_size(weight: usize, max: usize) -> SessionError {
    SessionError::WrongSize { weight, max }
}

/// Checks that something is there and not too much.
pub(crate) const fn check_size(weight: usize, max: usize) -> Result<(), SessionError> {
    if weight == 0 || weight > max {
        return Err(wrong_size(weight, max));
    }
    Ok(())
}
