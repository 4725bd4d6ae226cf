//! What the relay wants done.

use gridbeat_base::{DeviceId, DocumentId, Lane, Remedy, Scope};
use gridbeat_sync_protocol::{CloseReason, Frame, Sighting};

use crate::{SessionId, StoreFault, Task, TaskId};

/// What the relay wants done, in order.
#[derive(Clone, Debug, Eq, PartialEq)]
pub enum Output {
    /// Send a frame to a device.
    Send {
        /// The session.
        session: SessionId,
        /// How urgent it is.
        lane: Lane,
        /// The frame.
        frame: Frame,
    },
    /// Do a task, and hand its answer to [`Relay::handle_answer`](crate::Relay::handle_answer).
    /// Tasks that write are to be done one after the other; the others at any time and place.
    Run {
        /// The task's name.
        task: TaskId,
        /// The task.
        work: Task,
    },
    /// Send what is queued for a session, then end its connection. Nothing comes for it any more.
    Close {
        /// The session.
        session: SessionId,
        /// Why.
        reason: CloseReason,
    },
    /// These documents have changed, durably: for consoles that watch.
    Committed {
        /// The documents.
        documents: Vec<DocumentId>,
    },
    /// What became of a [`Relay::place`](crate::Relay::place).
    Placed {
        /// The document.
        document: DocumentId,
        /// The scope.
        scope: Scope,
        /// Whether it was to be put in, or taken out.
        attach: bool,
        /// Whether that changed anything.
        result: Result<bool, PlaceError>,
    },
    /// Where a device is now, or that it tells no more: for consoles that watch.
    Sighted(Sighting),
    /// Two sessions of one device come from different installations: one is a copy. Both go on.
    CloneSuspected {
        /// The device.
        device: DeviceId,
    },
    /// The store failed at a task. What it concerns was handled; this is for operators.
    StoreFailed {
        /// The task's name in one word.
        task: &'static str,
        /// What went wrong.
        fault: StoreFault,
    },
}

/// A document was not put into a scope or taken out of it.
#[derive(Clone, Debug, Eq, PartialEq, thiserror::Error)]
#[non_exhaustive]
pub enum PlaceError {
    /// There is no such document.
    #[error("there is no such document")]
    UnknownDocument,
    /// The relay is shutting down.
    #[error("the relay is shutting down")]
    Draining,
    /// The store failed.
    #[error("the store failed")]
    Store(#[from] StoreFault),
}

impl PlaceError {
    /// Returns what the caller should do about this error.
    pub const fn remedy(&self) -> Remedy {
        match self {
            Self::UnknownDocument => Remedy::FixInput,
            Self::Draining => Remedy::RetryHere,
            Self::Store(fault) => fault.remedy(),
        }
    }
}
