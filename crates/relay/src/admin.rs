//! The pages for supervisors and operators: `/livez`, `/readyz`, `/metrics`, `/quarantine`,
//! `/clones`.
//!
//! On a loopback address only, without a password: they tell nothing of what is in documents or who persons
//! are; of refused changes their ids, sizes and rules. Not here: how metrics are written (`open_metrics`), what the brain counts (`gridbeat-relay-core`).

use std::io;
use std::net::{SocketAddr, TcpListener};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use axum::Router;
use axum::extract::{Path, RawQuery, State};
use axum::http::StatusCode;
use axum::http::header::CONTENT_TYPE;
use axum::response::{IntoResponse, Response};
use axum::routing::get;
use gridbeat_base::WallTime;
use gridbeat_link::{Clock, Traffic};
use gridbeat_relay_core::{Counters, StoreFault};
use gridbeat_relay_store::SqliteStore;
use serde::Serialize;
use tokio::sync::{mpsc, oneshot, watch};
use tokio::task::JoinHandle;

use crate::brain::Input;
use crate::certificates::DAY_S;
use crate::clones::CloneLine;
use crate::listener::ListenerCounts;
use crate::open_metrics::{self, OpenMetrics};
use crate::quarantine::{PAGE, QuarantineDetail, QuarantineLine, filter_of};
use crate::storage::StoreWork;

/// How long the brain may take to answer before it counts as stuck: ten of its longest rounds.
const BRAIN_PATIENCE: Duration = Duration::from_secs(3);

/// What the pages look at.
#[derive(Clone, Debug)]
pub(crate) struct Admin {
    pub(crate) inputs: mpsc::Sender<Input>,
    pub(crate) traffic: Arc<Traffic>,
    pub(crate) counts: Arc<ListenerCounts>,
    pub(crate) fault: watch::Receiver<Option<StoreFault>>,
    pub(crate) is_draining: Arc<AtomicBool>,
    pub(crate) started: WallTime,
    pub(crate) issuer_ends: WallTime,
}

/// Whole days until a moment; 0 when it has passed.
pub(crate) fn days_until(end: WallTime, now: WallTime) -> u64 {
    let left_ms = end.millis().saturating_sub(now.millis());
    u64::try_from(left_ms).unwrap_or(0) / (DAY_S * 1_000)
}

/// Serves the pages until the other end of `until` is dropped.
pub(crate) fn serve(
    listener: TcpListener,
    admin: Admin,
    mut until: watch::Receiver<()>,
) -> io::Result<(SocketAddr, JoinHandle<()>)> {
    let addr = listener.local_addr()?;
    let listener = tokio::net::TcpListener::from_std(listener)?;
    let pages = Router::new()
        .route("/livez", get(livez))
        .route("/readyz", get(readyz))
        .route("/metrics", get(metrics))
        .route("/clones", get(clones))
        .route("/quarantine", get(quarantine_list))
        .route("/quarantine/{id}", get(quarantine_show))
        .with_state(admin);
    let task = tokio::spawn(async move {
        let end = async move {
            // Nothing is ever sent: the other end's dropping is the word.
            let _ = until.changed().await;
        };
        let served = axum::serve(listener, pages)
            .with_graceful_shutdown(end)
            .await;
        if let Err(error) = served {
            tracing::error!(%error, "the admin pages ended");
        }
    });
    Ok((addr, task))
}

/// The process is there and answers.
async fn livez() -> &'static str {
    "alive\n"
}

/// The relay can do its work; or else why not, a line a reason.
async fn readyz(State(admin): State<Admin>) -> Response {
    let mut reasons = Vec::new();
    if admin.is_draining.load(Ordering::Relaxed) {
        reasons.push("draining: the relay is shutting down".to_owned());
    } else if admin.counters().await.is_none() {
        reasons.push("stuck: the relay's brain does not answer".to_owned());
    }
    if let Some(fault) = &*admin.fault.borrow() {
        reasons.push(format!("storage: {fault}"));
    }
    if reasons.is_empty() {
        "ready\n".into_response()
    } else {
        let reasons = reasons.join("\n") + "\n";
        (StatusCode::SERVICE_UNAVAILABLE, reasons).into_response()
    }
}

async fn metrics(State(admin): State<Admin>) -> Response {
    let mut text = OpenMetrics::default();
    admin.write_process(&mut text);
    admin.write_connections(&mut text);
    if let Some(counters) = admin.counters().await {
        write_sessions(&mut text, &counters);
        write_changes(&mut text, &counters);
        write_blobs(&mut text, &counters);
    }
    ([(CONTENT_TYPE, open_metrics::CONTENT_TYPE)], text.finish()).into_response()
}

/// The devices that were heard from two installations.
async fn clones(State(admin): State<Admin>) -> Response {
    let rows = admin.read(|store| Ok(store.clones(None)?.iter().map(CloneLine::from).collect()));
    let rows: Result<Vec<CloneLine>, String> = rows.await;
    answer(rows.map(Some))
}

/// The quarantine, the latest first: 200 a page. The query names a device, a document, a rule, the last number
/// of the page before; `all` also lists what was discarded.
async fn quarantine_list(State(admin): State<Admin>, RawQuery(query): RawQuery) -> Response {
    let filter = match filter_of(&query.unwrap_or_default()) {
        Ok(filter) => filter,
        Err(wrong) => return (StatusCode::BAD_REQUEST, wrong).into_response(),
    };
    let rows = admin.read(move |store| QuarantineLine::list(store, &filter, PAGE));
    answer(rows.await.map(Some))
}

/// One refused change.
async fn quarantine_show(State(admin): State<Admin>, Path(id): Path<String>) -> Response {
    let Ok(id) = id.parse() else {
        return (StatusCode::NOT_FOUND, "no such number\n").into_response();
    };
    let shown = admin.read(move |store| QuarantineDetail::read(store, id));
    answer(shown.await)
}

/// What was read, as JSON; or why it was not.
fn answer<T: Serialize>(read: Result<Option<T>, String>) -> Response {
    let text = match read {
        Ok(Some(found)) => serde_json::to_string(&found).map_err(|error| error.to_string()),
        Ok(None) => return (StatusCode::NOT_FOUND, "no such number\n").into_response(),
        Err(error) => Err(error),
    };
    match text {
        Ok(text) => ([(CONTENT_TYPE, "application/json")], text + "\n").into_response(),
        Err(error) => (StatusCode::SERVICE_UNAVAILABLE, error + "\n").into_response(),
    }
}

impl Admin {
    /// Reads in the database, between the relay's own writes; else says why it cannot.
    async fn read<T: Send + 'static>(
        &self,
        work: impl FnOnce(&SqliteStore) -> Result<T, StoreFault> + Send + 'static,
    ) -> Result<T, String> {
        let (done, answer) = oneshot::channel();
        let work: StoreWork = Box::new(move |store| {
            // Whoever asked may have lost patience.
            let _ = done.send(work(store));
        });
        let answer = async {
            self.inputs.send(Input::Work(work)).await.ok()?;
            answer.await.ok()
        };
        match tokio::time::timeout(BRAIN_PATIENCE, answer).await {
            Ok(Some(read)) => read.map_err(|fault| fault.to_string()),
            Ok(None) | Err(_) => Err("the relay does not answer".to_owned()),
        }
    }

    async fn counters(&self) -> Option<Counters> {
        let (wanted, counters) = oneshot::channel();
        let counters = async {
            self.inputs.send(Input::Counters(wanted)).await.ok()?;
            counters.await.ok()
        };
        tokio::time::timeout(BRAIN_PATIENCE, counters).await.ok()?
    }

    #[expect(
        clippy::cast_precision_loss,
        reason = "a time in milliseconds fits a float for 285,000 years"
    )]
    fn write_process(&self, text: &mut OpenMetrics) {
        let version = env!("CARGO_PKG_VERSION");
        text.info("gridbeat_relay", "the program", &[("version", version)]);
        let started_s = self.started.millis() as f64 / 1000.0;
        text.gauge(
            "process_start_time_seconds",
            "when the relay started, since 1970",
            started_s,
        );
        text.gauge(
            "gridbeat_relay_issuer_days_left",
            "whole days until the issuing certificate ends, and with it every device's access",
            days_until(self.issuer_ends, Clock::start().now().wall),
        );
        if let Some(memory) = Memory::read() {
            text.gauge(
                "process_resident_memory_bytes",
                "memory in use",
                memory.resident_bytes,
            );
            text.gauge(
                "gridbeat_relay_resident_memory_peak_bytes",
                "the most memory that was in use",
                memory.peak_bytes,
            );
        }
    }

    fn write_connections(&self, text: &mut OpenMetrics) {
        let (counts, traffic) = (&self.counts, self.traffic.counts());
        text.gauge(
            "gridbeat_relay_connections",
            "connections open or in handshake",
            counts.connections.load(Ordering::Relaxed),
        );
        text.gauge(
            "gridbeat_relay_tcp_connections",
            "devices that come over TCP, because their network lets no UDP through",
            counts.tunnels.load(Ordering::Relaxed),
        );
        let of = |count: &std::sync::atomic::AtomicU64| count.load(Ordering::Relaxed);
        text.counters(
            "gridbeat_relay_handshakes",
            "connections by how they began",
            "kind",
            &[
                ("resumed", of(&counts.resumed)),
                ("full", of(&counts.full)),
                ("unidentified", of(&counts.unidentified)),
                ("turned_away", of(&counts.turned_away)),
            ],
        );
        text.counters(
            "gridbeat_relay_payload_bytes",
            "bytes of frames inside QUIC",
            "direction",
            &[
                ("received", traffic.received_bytes),
                ("sent", traffic.sent_bytes),
            ],
        );
        text.counters(
            "gridbeat_relay_frames",
            "frames",
            "direction",
            &[
                ("received", traffic.received_frames),
                ("sent", traffic.sent_frames),
            ],
        );
    }
}

fn write_sessions(text: &mut OpenMetrics, counters: &Counters) {
    text.gauge(
        "gridbeat_relay_sessions",
        "sessions that are open",
        counters.sessions,
    );
    text.counter(
        "gridbeat_relay_sessions_opened",
        "sessions that were opened",
        counters.sessions_opened,
    );
    text.counters(
        "gridbeat_relay_sessions_refused",
        "sessions that were ended by the relay",
        "reason",
        &[
            ("denied", counters.sessions_denied),
            ("suspended", counters.sessions_suspended),
            ("misbehaved", counters.sessions_misbehaved),
        ],
    );
    text.counter(
        "gridbeat_relay_clones_suspected",
        "times that two installations of one device met",
        counters.clones_suspected,
    );
    text.counter(
        "gridbeat_relay_positions",
        "times that a device told where it is",
        counters.positions,
    );
    text.counter(
        "gridbeat_relay_reconciliations",
        "reconciliations that devices began",
        counters.reconciliations,
    );
    text.counter(
        "gridbeat_relay_digest_mismatches",
        "greetings with another digest at the same cursor: each is a bug somewhere, and repaired",
        counters.digest_mismatches,
    );
}

fn write_changes(text: &mut OpenMetrics, counters: &Counters) {
    text.counter("gridbeat_relay_pushes", "pushes that came", counters.pushes);
    text.counters(
        "gridbeat_relay_changes",
        "changes that came, by what became of them",
        "verdict",
        &[
            ("accepted", counters.changes_accepted),
            ("known", counters.changes_known),
            ("incomplete", counters.changes_incomplete),
            ("refused", counters.changes_refused),
        ],
    );
    text.counter(
        "gridbeat_relay_changes_recovered",
        "changes accepted that another device than their author brought",
        counters.changes_recovered,
    );
    text.counter(
        "gridbeat_relay_commits",
        "commits that became durable",
        counters.commits,
    );
    text.gauge(
        "gridbeat_relay_commit_changes_most",
        "changes of the largest commit",
        counters.commit_changes_most,
    );
    text.counter(
        "gridbeat_relay_commits_contended",
        "commits tried again because another write came in between",
        counters.commits_contended,
    );
    text.counter(
        "gridbeat_relay_store_faults",
        "tasks that the store failed at",
        counters.store_faults,
    );
    text.counter(
        "gridbeat_relay_feed_entries",
        "feed entries sent",
        counters.feed_entries,
    );
    text.counter(
        "gridbeat_relay_feed_bytes",
        "bytes of changes in feed entries sent",
        counters.feed_bytes,
    );
    text.counter(
        "gridbeat_relay_feed_reads",
        "reads of feeds, each for all sessions at one position",
        counters.feed_reads,
    );
    text.counter(
        "gridbeat_relay_snapshot_frames",
        "frames of snapshots sent",
        counters.snapshot_frames,
    );
    text.counter(
        "gridbeat_relay_documents_rebuilt",
        "saved documents made again from their logs",
        counters.documents_rebuilt,
    );
}

fn write_blobs(text: &mut OpenMetrics, counters: &Counters) {
    text.counter(
        "gridbeat_relay_blob_chunks_kept",
        "chunks of photos and files that became durable",
        counters.chunks_kept,
    );
    text.counter(
        "gridbeat_relay_blobs_received",
        "photos and files that became whole and durable",
        counters.blobs_received,
    );
    text.counter(
        "gridbeat_relay_blobs_proven",
        "photos and files that were here and that a device proved to have too",
        counters.blobs_proven,
    );
    text.counter(
        "gridbeat_relay_blob_chunks_given",
        "chunks of photos and files sent to devices",
        counters.chunks_given,
    );
}

/// The process's memory, where the system tells (Linux).
struct Memory {
    resident_bytes: u64,
    peak_bytes: u64,
}

impl Memory {
    fn read() -> Option<Self> {
        let status = std::fs::read_to_string("/proc/self/status").ok()?;
        let bytes = |key: &str| -> Option<u64> {
            let line = status.lines().find(|line| line.starts_with(key))?;
            let kib: u64 = line.split_whitespace().nth(1)?.parse().ok()?;
            Some(kib * 1024)
        };
        Some(Self {
            resident_bytes: bytes("VmRSS:")?,
            peak_bytes: bytes("VmHWM:")?,
        })
    }
}
