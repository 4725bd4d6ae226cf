//! What the owner of the file, the link and the app's handle know in common.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use gridbeat_base::{DocumentId, Remedy};
use gridbeat_device_core::{Leave, SyncProblem, SyncState};
use gridbeat_link::Traffic;
use gridbeat_sync_protocol::Reason;
use quinn::Connection;
use tokio::sync::{broadcast, watch};

use crate::{LinkNews, LinkReport};

/// News held for a reader that is behind; the oldest are dropped for it.
const NEWS_HELD: usize = 256;

/// Counters and states that several tasks write.
#[derive(Debug)]
pub(crate) struct Shared {
    /// Where the core stands.
    pub(crate) core: watch::Sender<CoreState>,
    /// Where it stands, as a person is told: the core does not see why no link comes about.
    pub(crate) state: watch::Sender<SyncState>,
    /// Counts commits that changed documents.
    pub(crate) changed: watch::Sender<u64>,
    pub(crate) news: broadcast::Sender<LinkNews>,
    /// Tells which documents a commit changed.
    pub(crate) documents_changed: broadcast::Sender<Vec<DocumentId>>,
    /// Tells of which documents blobs are further on their way.
    pub(crate) blobs_changed: broadcast::Sender<Vec<DocumentId>>,
    /// Counts the times that others were elsewhere than before.
    pub(crate) positions: watch::Sender<u64>,
    /// Tells of scopes that are left.
    pub(crate) leaving: broadcast::Sender<Leave>,
    pub(crate) traffic: Arc<Traffic>,
    figures: Mutex<Figures>,
}

#[derive(Debug, Default)]
struct Figures {
    report: LinkReport,
    connection: Option<Connection>,
    /// Why no link comes about, if it is not for lack of an answer.
    fault: Option<Reason>,
}

impl Shared {
    pub(crate) fn new(state: SyncState) -> Arc<Self> {
        Arc::new(Self {
            core: watch::Sender::new(CoreState {
                sync: state.clone(),
                awaits_blobs: false,
            }),
            state: watch::Sender::new(state),
            changed: watch::Sender::new(0),
            news: broadcast::Sender::new(NEWS_HELD),
            documents_changed: broadcast::Sender::new(NEWS_HELD),
            positions: watch::Sender::new(0),
            leaving: broadcast::Sender::new(NEWS_HELD),
            blobs_changed: broadcast::Sender::new(NEWS_HELD),
            traffic: Arc::default(),
            figures: Mutex::default(),
        })
    }

    /// Makes a state of the core known.
    pub(crate) fn set_state(&self, state: SyncState) {
        self.core.send_modify(|core| core.sync = state);
        self.publish();
    }

    /// Notes whether the relay is to say something about a blob.
    pub(crate) fn set_awaits_blobs(&self, awaits: bool) {
        self.core.send_if_modified(|core| {
            let differs = core.awaits_blobs != awaits;
            core.awaits_blobs = awaits;
            differs
        });
    }

    /// Makes known why no link comes about, or that nothing is in its way any more.
    pub(crate) fn set_fault(&self, fault: Option<Reason>) {
        self.figures().fault = fault;
        self.publish();
    }

    fn publish(&self) {
        let core = self.core.borrow().sync.clone();
        let fault = self.figures().fault.clone();
        let state = match (core, fault) {
            (SyncState::Offline { .. }, Some(reason)) => {
                let what = SyncProblem::TurnedAway(reason);
                SyncState::Problem {
                    remedy: Remedy::FixSetup,
                    what,
                }
            }
            (core, _) => core,
        };
        self.state.send_if_modified(|shown| {
            let differs = *shown != state;
            *shown = state;
            differs
        });
    }

    pub(crate) fn tell(&self, news: LinkNews) {
        // Nobody need listen.
        let _ = self.news.send(news);
    }

    /// Changes the figures.
    pub(crate) fn count(&self, change: impl FnOnce(&mut LinkReport)) {
        change(&mut self.figures().report);
    }

    /// Notes the connection that is used from here on; the figures of the one before are kept.
    pub(crate) fn set_connection(&self, connection: Option<Connection>) {
        let mut figures = self.figures();
        if let Some(before) = figures.connection.take() {
            add_udp(&mut figures.report, &before);
        }
        figures.connection = connection;
    }

    pub(crate) fn report(&self) -> LinkReport {
        let figures = self.figures();
        let mut report = figures.report;
        report.payload = self.traffic.counts();
        if let Some(connection) = &figures.connection {
            add_udp(&mut report, connection);
            report.is_up = connection.close_reason().is_none();
            report.round_trip = Some(connection.rtt());
        }
        report
    }

    fn figures(&self) -> MutexGuard<'_, Figures> {
        self.figures.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

fn add_udp(report: &mut LinkReport, connection: &Connection) {
    let stats = connection.stats();
    report.udp_sent_bytes += stats.udp_tx.bytes;
    report.udp_received_bytes += stats.udp_rx.bytes;
}

/// Where the core stands.
#[derive(Clone, Debug)]
pub(crate) struct CoreState {
    pub(crate) sync: SyncState,
    /// Whether the relay is to say something about a blob.
    pub(crate) awaits_blobs: bool,
}

/// Returns whether the device expects something of the relay in this state.
pub(crate) const fn expects(state: &CoreState) -> bool {
    if state.awaits_blobs {
        return true;
    }
    match state.sync {
        SyncState::Connecting { .. } | SyncState::Sending { .. } | SyncState::Receiving { .. } => {
            true
        }
        SyncState::Offline { .. } | SyncState::InSync { .. } | SyncState::Problem { .. } => false,
    }
}

/// Returns how many changes wait in this state, as far as it tells.
pub(crate) const fn waiting(state: &SyncState) -> u64 {
    match state {
        SyncState::Offline { waiting }
        | SyncState::Connecting { waiting }
        | SyncState::Sending { waiting } => *waiting,
        SyncState::Receiving { .. } | SyncState::InSync { .. } | SyncState::Problem { .. } => 0,
    }
}
