//! A relay from start to stop.
//!
//! A process may run several, each on files and ports of its own; `cli` runs one, tests and
//! `embedded_relay` others. Stopping drains: no more pushes are taken, what is under way is committed
//! and acknowledged, and every device is told to come back. Not here: signals (`cli`).

use std::fmt;
use std::io;
use std::net::{SocketAddr, TcpListener};
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;
use std::time::Duration;

use gridbeat_base::{DeviceId, DocumentId, Incarnation, Remedy, Scope, WallTime};
use gridbeat_document::Kinds;
use gridbeat_link::{
    Clock, EndpointKey, RelayTls, TlsError, Traffic, TrafficCounts, random_from_system, relay_tls,
};
use gridbeat_relay_core as core;
use gridbeat_relay_core::{Counters, PlaceError, StoreFault};
use gridbeat_relay_store::{
    Approval, DeviceRow, InvitationRow, LEASE_GRACE, SqliteStore, StoreOptions,
};
use gridbeat_sync_protocol::{Fingerprint, Invitation, Sighting};
use quinn::{Endpoint, VarInt};
use tokio::sync::{broadcast, mpsc, oneshot, watch};
use tokio::task::JoinHandle;

use crate::admin::{Admin, days_until, serve};
use crate::applicants::Applicants;
use crate::authority::Authority;
use crate::brain::{Brain, INPUTS_HELD, Input};
use crate::certificates::{AuthorityError, DAY_S};
use crate::config::{RelayConfig, WrongValue};
use crate::enrol::Enrolments;
use crate::listener::{Listener, server_config};
use crate::lock::DataLock;
use crate::operator::{self, Invite, OperatorError, revoke};
use crate::sockets::listen;
use crate::storage::{OnAnswer, Storage};

/// Commits held for a watching console that is behind; the oldest are dropped for it.
const COMMITS_HELD: usize = 256;

/// Positions held for a watching console that is behind: of a thousand devices, ten seconds.
const SIGHTINGS_HELD: usize = 1_024;

/// How long a relay that starts waits for another on its files to end: one that was dropped closes them at once, and
/// a process that was just started holds copies of them for a moment.
const LOCK_PATIENCE: Duration = Duration::from_secs(3);

/// How long devices are given to confirm that they were told.
const FAREWELL: Duration = Duration::from_secs(1);

/// How long connections are given to be gone: three times QUIC's probe timeout (RFC 9000, 10.2) before
/// a round trip was measured, and twice that.
const CLOSING: Duration = Duration::from_secs(3);

/// A relay that runs. It stops when it is told to, or at once and without ceremony when this is dropped.
pub struct RelayHandle {
    addr: SocketAddr,
    admin_addr: SocketAddr,
    incarnation: Incarnation,
    authority: Arc<Authority>,
    endpoint: Endpoint,
    tunnels: JoinHandle<()>,
    inputs: mpsc::Sender<Input>,
    committed: broadcast::Sender<Vec<DocumentId>>,
    sighted: broadcast::Sender<Sighting>,
    traffic: Arc<Traffic>,
    is_draining: Arc<AtomicBool>,
    drain: Duration,
    ended: Option<oneshot::Receiver<()>>,
    /// Dropping it ends the admin pages.
    admin: Option<(watch::Sender<()>, JoinHandle<()>)>,
}

impl fmt::Debug for RelayHandle {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("RelayHandle")
            .field("addr", &self.addr)
            .field("admin_addr", &self.admin_addr)
            .finish_non_exhaustive()
    }
}

/// Starts a relay that knows `kinds`.
///
/// Must be called within a tokio runtime, on which its connections then work.
///
/// # Errors
///
/// [`StartError`]; nothing is then running.
pub async fn start(config: RelayConfig, kinds: Kinds) -> Result<RelayHandle, StartError> {
    config.check()?;
    let lock = lock(&config.data).await?;
    let clock = Clock::start();
    let started = clock.now().wall;
    let Files {
        authority,
        tls,
        key,
        store,
    } = Files::open(&config, &kinds, started)?;
    let (endpoint, devices) = listen(config.listen, &key, &tls)?;
    let admin_failed = admin_failed(config.admin);
    let admin_listener = listen_admin(config.admin).map_err(admin_failed)?;
    let incarnation = store.incarnation();
    let committed = broadcast::Sender::new(COMMITS_HELD);
    let sighted = broadcast::Sender::new(SIGHTINGS_HELD);
    let fault = watch::Sender::new(None);
    let (inputs, queue) = mpsc::channel(INPUTS_HELD);
    let ended = run_brain(
        core_of(&config, kinds, incarnation),
        store,
        (inputs.clone(), queue),
        (clock, lock),
        (committed.clone(), sighted.clone(), fault.clone()),
    )?;
    let enrolments = Enrolments::new(Arc::clone(&authority), config.lease());
    let listener = Listener {
        config: Arc::new(server_config(&tls)),
        socket: Arc::clone(&devices.socket),
        tls,
        traffic: Arc::default(),
        counts: Arc::default(),
        applicants: Applicants::new(enrolments, inputs.clone()),
        inputs: inputs.clone(),
        connections_max: config.connections_max,
    };
    let (traffic, counts) = (Arc::clone(&listener.traffic), Arc::clone(&listener.counts));
    let (addr, tunnels) = devices.let_in(listener, endpoint.clone());
    let is_draining = Arc::<AtomicBool>::default();
    let pages = Admin {
        inputs: inputs.clone(),
        traffic: Arc::clone(&traffic),
        counts,
        fault: fault.subscribe(),
        is_draining: Arc::clone(&is_draining),
        started,
        issuer_ends: authority.issuer_ends(),
    };
    let (admin, until) = watch::channel(());
    tokio::spawn(watch_issuer(Arc::clone(&authority), clock, until.clone()));
    let (admin_addr, admin_task) = serve(admin_listener, pages, until).map_err(admin_failed)?;
    tracing::info!(%addr, %admin_addr, %incarnation, "the relay listens");
    Ok(RelayHandle {
        addr,
        admin_addr,
        incarnation,
        authority,
        endpoint,
        tunnels,
        inputs,
        committed,
        sighted,
        traffic,
        is_draining,
        drain: config.drain(),
        ended: Some(ended),
        admin: Some((admin, admin_task)),
    })
}

/// Makes the brain of a relay with this configuration.
fn core_of(config: &RelayConfig, kinds: Kinds, incarnation: Incarnation) -> core::Relay {
    let core_config = core::Config {
        new_documents_per_hour_max: Some(config.new_documents_per_hour_max),
        ..core::Config::default()
    };
    core::Relay::new(core_config, kinds, incarnation)
}

/// Warns once a day when the issuing certificate nears its end, until the other end of `until` is dropped.
async fn watch_issuer(authority: Arc<Authority>, clock: Clock, mut until: watch::Receiver<()>) {
    let mut days = tokio::time::interval(Duration::from_secs(DAY_S));
    loop {
        tokio::select! {
            _ = until.changed() => return,
            _ = days.tick() => {
                let now = clock.now().wall;
                if authority.is_issuer_due(now) {
                    let days_left = days_until(authority.issuer_ends(), now);
                    tracing::warn!(
                        days_left,
                        "the issuing certificate nears its end, and with it every device's access: \
                         gridbeat relay renew-issuer"
                    );
                }
            }
        }
    }
}

/// What lies in a relay's directory.
struct Files {
    authority: Arc<Authority>,
    tls: RelayTls,
    key: EndpointKey,
    store: SqliteStore,
}

impl Files {
    fn open(config: &RelayConfig, kinds: &Kinds, now: WallTime) -> Result<Self, StartError> {
        let mut random = random_from_system();
        std::fs::create_dir_all(&config.data).map_err(StartError::Data)?;
        let authority = Authority::open_or_create(
            &config.authority(),
            &config.root(),
            &config.server_name,
            now,
            &mut random,
        )?;
        let identity = authority.relay_identity(now, &mut random)?;
        let options = StoreOptions {
            receipts: Some((identity.receipts, now)),
            ..StoreOptions::default()
        };
        let mut store = SqliteStore::open(&config.database(), options, &mut random)?;
        store.list_references(kinds).map_err(StartError::Blobs)?;
        Ok(Self {
            tls: relay_tls(
                authority.issuers(),
                &authority.roots()[0],
                identity.certificates,
                identity.key,
                LEASE_GRACE,
            )?,
            authority: Arc::new(authority),
            key: identity.endpoint,
            store,
        })
    }
}

impl RelayHandle {
    /// Returns the address it listens at, UDP and TCP.
    pub const fn addr(&self) -> SocketAddr {
        self.addr
    }

    /// Returns the TCP address of its admin pages.
    pub const fn admin_addr(&self) -> SocketAddr {
        self.admin_addr
    }

    /// Returns the id of this life of its database.
    pub const fn incarnation(&self) -> Incarnation {
        self.incarnation
    }

    /// Returns what it has done since it started.
    ///
    /// # Errors
    ///
    /// [`OperatorError::Stopped`].
    pub async fn counters(&self) -> Result<Counters, OperatorError> {
        self.ask(Input::Counters).await
    }

    /// Returns the frames it carried, and their bytes.
    pub fn traffic(&self) -> TrafficCounts {
        self.traffic.counts()
    }

    /// Watches commits: the documents each has changed. A watcher that is far behind misses the oldest.
    pub fn committed(&self) -> broadcast::Receiver<Vec<DocumentId>> {
        self.committed.subscribe()
    }

    /// Returns where the devices that tell it are, exactly, in order of their ids: the last fix of each, not older than
    /// [`POSITION_KEPT`](gridbeat_sync_protocol::limits::POSITION_KEPT). Whoever shows them shows their age.
    ///
    /// # Errors
    ///
    /// [`OperatorError::Stopped`].
    pub async fn positions(&self) -> Result<Vec<Sighting>, OperatorError> {
        self.ask(Input::Positions).await
    }

    /// Watches where devices are: each fix as it comes, and each word that one tells no more. A watcher that is far behind
    /// misses the oldest.
    pub fn sighted(&self) -> broadcast::Receiver<Sighting> {
        self.sighted.subscribe()
    }

    /// Asks a device in; returns the invitation, which is shown once and kept nowhere, and the row it left.
    ///
    /// # Errors
    ///
    /// [`OperatorError`]; nothing is then kept.
    pub async fn invite(
        &self,
        invite: Invite,
    ) -> Result<(Invitation, InvitationRow), OperatorError> {
        let authority = Arc::clone(&self.authority);
        self.work(move |store| operator::invite(store, &authority, &invite))
            .await
    }

    /// Lets in the device that waits by an invitation, if it has that fingerprint where one is given.
    ///
    /// # Errors
    ///
    /// [`OperatorError`]; it then waits as before.
    pub async fn approve(
        &self,
        id: u64,
        fingerprint: Option<Fingerprint>,
    ) -> Result<Approval, OperatorError> {
        self.work(move |store| operator::approve(store, id, fingerprint))
            .await
    }

    /// Takes all rights from a device, and ends its sessions. Returns whether it had any.
    ///
    /// # Errors
    ///
    /// [`OperatorError`]; the device is then as it was.
    pub async fn revoke(&self, device: DeviceId) -> Result<bool, OperatorError> {
        let was_enrolled = self.work(move |store| revoke(store, device)).await?;
        self.tell(Input::RightsChanged).await?;
        Ok(was_enrolled)
    }

    /// Lists the devices in its table.
    ///
    /// # Errors
    ///
    /// [`OperatorError`].
    pub async fn devices(&self) -> Result<Vec<DeviceRow>, OperatorError> {
        self.work(|store| Ok(gridbeat_relay_store::Registry::devices(store)?))
            .await
    }

    /// Puts a document into a scope, or takes it out; returns whether that changed anything.
    ///
    /// # Errors
    ///
    /// [`PlaceError`], within [`OperatorError`].
    pub async fn place(
        &self,
        document: DocumentId,
        scope: Scope,
        attach: bool,
    ) -> Result<bool, OperatorError> {
        let placed: Result<bool, PlaceError> = self
            .ask(|done| Input::Place {
                document,
                scope,
                attach,
                done,
            })
            .await?;
        Ok(placed?)
    }

    /// Stops: takes no more pushes, commits and acknowledges what is under way, tells every device to
    /// come back, and closes the files. Returns whether all that was done in time
    /// ([`RelayConfig::drain_s`]); what was acknowledged is safe either way.
    pub async fn stop(mut self) -> bool {
        self.is_draining.store(true, Ordering::Relaxed);
        let Some(mut ended) = self.ended.take() else {
            unreachable!("taken here alone, and this is the end of the handle")
        };
        let drained = async {
            self.inputs.send(Input::Drain).await.ok()?;
            (&mut ended).await.ok()
        };
        let drained = tokio::time::timeout(self.drain, drained).await;
        let is_drained = matches!(drained, Ok(Some(())));
        if !is_drained {
            tracing::warn!("not drained in time; devices will find out by themselves");
            if self.inputs.send(Input::Stop).await.is_ok() {
                let _ = ended.await;
            }
        }
        // Those who were told are closing already, and confirm it if their link is there. What is left
        // is closed now, so that the address is free when this returns.
        let _ = tokio::time::timeout(FAREWELL, self.endpoint.wait_idle()).await;
        self.endpoint.close(VarInt::from_u32(0), b"");
        let _ = tokio::time::timeout(CLOSING, self.endpoint.wait_idle()).await;
        self.tunnels.abort();
        let _ = (&mut self.tunnels).await;
        if let Some((admin, task)) = self.admin.take() {
            drop(admin);
            let _ = task.await;
        }
        is_drained
    }

    async fn work<T: Send + 'static>(
        &self,
        work: impl FnOnce(&mut SqliteStore) -> Result<T, OperatorError> + Send + 'static,
    ) -> Result<T, OperatorError> {
        self.ask(|done| {
            Input::Work(Box::new(move |store| {
                // Whoever asked may have gone.
                let _ = done.send(work(store));
            }))
        })
        .await?
    }

    async fn ask<T>(
        &self,
        input: impl FnOnce(oneshot::Sender<T>) -> Input,
    ) -> Result<T, OperatorError> {
        let (done, answer) = oneshot::channel();
        self.tell(input(done)).await?;
        answer.await.map_err(|_| OperatorError::Stopped)
    }

    async fn tell(&self, input: Input) -> Result<(), OperatorError> {
        let told = self.inputs.send(input).await;
        told.map_err(|_| OperatorError::Stopped)
    }
}

impl Drop for RelayHandle {
    fn drop(&mut self) {
        self.endpoint.close(VarInt::from_u32(0), b"");
        self.tunnels.abort();
        // If there is no room for it, the brain ends with the last of its inputs.
        let _ = self.inputs.try_send(Input::Stop);
    }
}

type Watches = (
    broadcast::Sender<Vec<DocumentId>>,
    broadcast::Sender<Sighting>,
    watch::Sender<Option<StoreFault>>,
);

/// Starts the brain's thread and storage's; returns what tells of their end.
fn run_brain(
    relay: core::Relay,
    store: SqliteStore,
    (inputs, queue): (mpsc::Sender<Input>, mpsc::Receiver<Input>),
    (clock, lock): (Clock, DataLock),
    (committed, sighted, fault): Watches,
) -> Result<oneshot::Receiver<()>, StartError> {
    let reader = store.reader()?;
    let on_answer = || -> OnAnswer {
        let inputs = inputs.clone();
        Box::new(move |task, result| {
            // The brain is gone only when the relay stops, and then nobody waits for answers.
            let _ = inputs.blocking_send(Input::Answer(task, result));
        })
    };
    let storage =
        Storage::start(store, reader, [on_answer(), on_answer()]).map_err(StartError::Thread)?;
    let (end, ended) = oneshot::channel();
    // Only its timer is used: the thread waits for inputs and deadlines.
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_time()
        .build()
        .map_err(StartError::Thread)?;
    thread::Builder::new()
        .name("gridbeat-brain".to_owned())
        .spawn(move || {
            let brain = Brain::new(relay, storage, clock, (committed, sighted), fault);
            let storage = runtime.block_on(brain.run(queue));
            storage.end();
            drop(lock);
            let _ = end.send(());
        })
        .map_err(StartError::Thread)?;
    Ok(ended)
}

fn admin_failed(addr: SocketAddr) -> impl Fn(io::Error) -> StartError + Copy {
    move |source| StartError::Admin { addr, source }
}

fn listen_admin(addr: SocketAddr) -> io::Result<TcpListener> {
    let listener = TcpListener::bind(addr)?;
    listener.set_nonblocking(true)?;
    Ok(listener)
}

/// Takes the lock on a relay's files; waits for one that is just ending.
async fn lock(data: &Path) -> Result<DataLock, StartError> {
    std::fs::create_dir_all(data).map_err(StartError::Data)?;
    let until = tokio::time::Instant::now() + LOCK_PATIENCE;
    loop {
        if let Some(lock) = DataLock::take(data).map_err(StartError::Data)? {
            return Ok(lock);
        }
        if tokio::time::Instant::now() >= until {
            return Err(StartError::Running);
        }
        tokio::time::sleep(LOCK_PATIENCE / 100).await;
    }
}

/// Why a relay did not start.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum StartError {
    /// A value of the configuration cannot be.
    #[error("the configuration is wrong")]
    Config(#[from] WrongValue),
    /// The directory of its files cannot be made.
    #[error("the data directory cannot be used")]
    Data(#[source] io::Error),
    /// Another relay runs on these files, or its database is being replaced.
    #[error("another relay runs on these files")]
    Running,
    /// Its certificate authority cannot be used.
    #[error("the certificate authority cannot be used")]
    Authority(#[from] AuthorityError),
    /// Its certificate is not good.
    #[error("the relay's certificate is not good")]
    Tls(#[from] TlsError),
    /// Its database cannot be used.
    #[error("the database cannot be used")]
    Store(#[from] gridbeat_relay_store::OpenError),
    /// What its documents refer to could not be listed, as it is once for a database of an earlier version.
    #[error("the photos and files that records refer to cannot be listed")]
    Blobs(#[source] StoreFault),
    /// It cannot listen for devices.
    #[error("cannot listen for devices at {addr}, UDP and TCP")]
    Listen {
        /// The address.
        addr: SocketAddr,
        /// What the system said.
        source: io::Error,
    },
    /// It cannot listen for operators.
    #[error("cannot serve the admin pages at {addr}")]
    Admin {
        /// The address.
        addr: SocketAddr,
        /// What the system said.
        source: io::Error,
    },
    /// The operating system gave no thread.
    #[error("no thread for the relay")]
    Thread(#[source] io::Error),
}

impl StartError {
    /// Returns what the caller should do about this error.
    pub const fn remedy(&self) -> Remedy {
        match self {
            Self::Config(_)
            | Self::Data(_)
            | Self::Running
            | Self::Tls(_)
            | Self::Listen { .. }
            | Self::Admin { .. } => Remedy::FixSetup,
            Self::Authority(source) => source.remedy(),
            Self::Store(source) => source.remedy(),
            Self::Blobs(source) => source.remedy(),
            Self::Thread(_) => Remedy::RetryHere,
        }
    }
}
