//! The device as an app holds it: save, ask, watch, and know where synchronisation stands.
//!
//! Every call works without a network. A save is durable when its call returns; the link, if there
//! is one, carries it on by itself. The methods are asynchronous because the file is on a thread of its
//! own; they never wait for the relay, but for [`Device::sync_once`].
//!
//! long because it is all that an app holds, each call with its errors.

use std::fs::File;
use std::path::PathBuf;
use std::sync::{Arc, Mutex, PoisonError};
use std::thread;
use std::time::{Duration, Instant};

use gridbeat_base::{BlobHash, ChangeHash, DeviceId, DocumentId, Scope};
use gridbeat_device_core as core;
use gridbeat_device_core::{
    Attachment, BlobsWaiting, Counters, Draft, DraftError, HistoryEntry, KeptState, Leave, Opening,
    OutboxState, Query, ReadError, Record, RefusedIntent, SaveError, Saved, ScopeState, SeenDevice,
    StorageError, SyncState, Uploads, Whereabouts, WipeError,
};
use gridbeat_document::{Kinds, View};
use gridbeat_link::{Clock, device_tls, random_from_system};
use tokio::sync::{broadcast, mpsc, oneshot, watch};
use tokio::task::JoinHandle;

use crate::dialer::Dialer;
use crate::owner::{Call, Input, Order, Owner};
#[cfg(feature = "photos")]
use crate::photo::{Photo, PhotoBlobs, PhotoSaveError, PhotoTaken};
use crate::shared::{Shared, waiting};
use crate::{
    CallError, Config, KeySource, LinkNews, LinkPolicy, LinkReport, OpenError, SyncReport, Watch,
};

/// Events of the link held for the owner of the file, at most: while it is behind nothing is read, and
/// the relay is held back.
const INPUTS_HELD: usize = 64;

/// A device's records and its link. Cheap to clone; the device stops when the last clone is dropped.
#[derive(Clone, Debug)]
pub struct Device {
    inner: Arc<Inner>,
}

#[derive(Debug)]
struct Inner {
    device: DeviceId,
    path: PathBuf,
    calls: Mutex<Option<mpsc::UnboundedSender<Call>>>,
    orders: mpsc::UnboundedSender<Order>,
    policy: LinkPolicy,
    shared: Arc<Shared>,
    opening: Opening,
    ends: Mutex<Ends>,
}

/// What is waited for at the end.
#[derive(Debug, Default)]
struct Ends {
    owner: Option<oneshot::Receiver<()>>,
    dialer: Option<JoinHandle<()>>,
}

impl Device {
    /// Opens the device's file, or makes it, and begins to keep a link if it is to have one.
    ///
    /// Must be called within a tokio runtime, on which the link then works.
    ///
    /// # Errors
    ///
    /// [`OpenError`]; the file is then as it was.
    pub async fn open(config: Config) -> Result<Self, OpenError> {
        let Config {
            path,
            device,
            install,
            key,
            kinds,
            bundle,
            bundle_file,
            link: policy,
            uploads,
            file_size_max_bytes,
            before_commit,
        } = config;
        let link = match bundle {
            Some(bundle) if bundle.device != device => {
                return Err(OpenError::OtherDevice {
                    bundle: bundle.device,
                    device,
                });
            }
            Some(bundle) => Some((device_tls(&bundle)?, bundle)),
            None => None,
        };
        let mut core_config = core::Config::new(device, install);
        if let Some((_, bundle)) = &link {
            core_config.signer = bundle.signer().map_err(gridbeat_link::TlsError::from)?;
        }
        core_config.uploads = uploads;
        core_config.file_size_max_bytes = file_size_max_bytes;
        core_config.before_commit = before_commit;

        let clock = Clock::start();
        let (orders, orders_of_link) = mpsc::unbounded_channel();
        let (inputs, inputs_of_owner) = mpsc::channel(INPUTS_HELD);
        let (calls, calls_of_owner) = mpsc::unbounded_channel();
        let job = Job {
            path: path.clone(),
            key,
            config: core_config,
            kinds,
            clock,
            orders: orders.clone(),
            calls: calls_of_owner,
            inputs: inputs_of_owner,
            // Held by the owner too, so that a device without a link does not look like one that ends.
            _inputs: inputs.clone(),
        };
        let (shared, opening, ended) = job.start().await?;
        let dialer = link.map(|(tls, bundle)| {
            let channels = (inputs, orders_of_link);
            let shared = Arc::clone(&shared);
            let bundle = (bundle, bundle_file);
            tokio::spawn(Dialer::new(bundle, tls, policy, clock, shared, channels).run())
        });
        Ok(Self {
            inner: Arc::new(Inner {
                device,
                path,
                calls: Mutex::new(Some(calls)),
                orders,
                policy,
                shared,
                opening,
                ends: Mutex::new(Ends {
                    owner: Some(ended),
                    dialer,
                }),
            }),
        })
    }

    /// Returns the device's id.
    pub fn id(&self) -> DeviceId {
        self.inner.device
    }

    /// Returns what was found when the file was opened.
    pub fn opening(&self) -> Opening {
        self.inner.opening
    }

    /// Makes a document of a kind in a scope, by a first intent in the kind's encoding. It is durable
    /// on this device when this returns.
    ///
    /// # Errors
    ///
    /// [`SaveError`]: nothing was saved.
    pub async fn create(
        &self,
        kind: &str,
        scope: &Scope,
        intent: Vec<u8>,
    ) -> Result<Saved, CallError<SaveError>> {
        let (kind, scope) = (kind.to_owned(), scope.clone());
        self.call(move |owner| {
            let now = owner.now();
            owner.core.create(now, &kind, &scope, &intent)
        })
        .await
    }

    /// Makes a document that has an id already: a record taken over from another system, which must not be
    /// taken over twice. Whoever gives ids out sees to it that no two records have one.
    ///
    /// # Errors
    ///
    /// [`SaveError`]: nothing was saved; [`SaveError::DocumentExists`] if it was taken over before.
    pub async fn create_as(
        &self,
        document: DocumentId,
        kind: &str,
        scope: &Scope,
        intent: Vec<u8>,
    ) -> Result<Saved, CallError<SaveError>> {
        let (kind, scope) = (kind.to_owned(), scope.clone());
        self.call(move |owner| {
            let now = owner.now();
            owner.core.create_as(now, document, &kind, &scope, &intent)
        })
        .await
    }

    /// Edits a document by an intent in its kind's encoding. It is durable on this device when this
    /// returns.
    ///
    /// # Errors
    ///
    /// [`SaveError`]: nothing was saved.
    pub async fn edit(
        &self,
        document: DocumentId,
        intent: Vec<u8>,
    ) -> Result<Saved, CallError<SaveError>> {
        self.call(move |owner| {
            let now = owner.now();
            owner.core.edit(now, document, &intent)
        })
        .await
    }

    /// Lists the records that answer a query.
    ///
    /// # Errors
    ///
    /// [`ReadError`].
    pub async fn query(&self, query: Query) -> Result<Vec<Record>, CallError<ReadError>> {
        self.call(move |owner| owner.core.query(&query)).await
    }

    /// Watches a query: gives its records now, and again whenever they have become others.
    pub fn watch(&self, query: Query) -> Watch {
        Watch::new(self.clone(), query, self.inner.shared.changed.subscribe())
    }

    /// Returns one record; `None` if the device holds no such document.
    ///
    /// # Errors
    ///
    /// [`ReadError`].
    pub async fn record(
        &self,
        document: DocumentId,
    ) -> Result<Option<Record>, CallError<ReadError>> {
        self.call(move |owner| owner.core.record(document)).await
    }

    /// Returns a document's whole content, conflicts included.
    ///
    /// # Errors
    ///
    /// [`ReadError`].
    pub async fn view(&self, document: DocumentId) -> Result<View, CallError<ReadError>> {
        self.call(move |owner| owner.core.view(document)).await
    }

    /// Returns every change of a document, in an order in which each follows what it depends on.
    ///
    /// # Errors
    ///
    /// [`ReadError`].
    pub async fn history(
        &self,
        document: DocumentId,
    ) -> Result<Vec<HistoryEntry>, CallError<ReadError>> {
        self.call(move |owner| owner.core.history(document)).await
    }

    /// Lists what the relay did not accept and nobody has seen to, the oldest first.
    ///
    /// # Errors
    ///
    /// [`ReadError`].
    pub async fn refused(&self) -> Result<Vec<RefusedIntent>, CallError<ReadError>> {
        self.call(|owner| owner.core.refused()).await
    }

    /// Lists what the relay did not accept once and was dropped or corrected since, the oldest first.
    ///
    /// # Errors
    ///
    /// [`ReadError`].
    pub async fn refused_history(&self) -> Result<Vec<RefusedIntent>, CallError<ReadError>> {
        self.call(|owner| owner.core.refused_history()).await
    }

    /// Saves a corrected intent in place of one that was not accepted, which is then marked as replaced. A record
    /// that ended because its beginning was refused begins by it.
    ///
    /// # Errors
    ///
    /// [`SaveError`]: nothing was saved, and the refused one is to be seen to as before.
    pub async fn correct_refused(
        &self,
        id: i64,
        intent: Vec<u8>,
    ) -> Result<Saved, CallError<SaveError>> {
        self.call(move |owner| {
            let now = owner.now();
            owner.core.correct_refused(now, id, &intent)
        })
        .await
    }

    /// Drops something the relay did not accept, once a person has seen to it; says whether it was there. It
    /// stays in the history.
    ///
    /// # Errors
    ///
    /// [`SaveError`].
    pub async fn drop_refused(&self, id: i64) -> Result<bool, CallError<SaveError>> {
        self.call(move |owner| {
            let now = owner.now();
            owner.core.drop_refused(now, id)
        })
        .await
    }

    /// Says what is kept aside of documents that have left, for a relay that may lose it.
    ///
    /// # Errors
    ///
    /// [`ReadError`].
    pub async fn kept(&self) -> Result<KeptState, CallError<ReadError>> {
        self.call(|owner| owner.core.kept()).await
    }

    /// Lists the scopes the device holds, by name.
    ///
    /// # Errors
    ///
    /// Only that the device was closed.
    pub async fn scopes(&self) -> Result<Vec<ScopeState>, CallError<ReadError>> {
        self.call(|owner| Ok(owner.core.scopes())).await
    }

    /// Says what waits for the relay.
    ///
    /// # Errors
    ///
    /// [`ReadError`].
    pub async fn outbox(&self) -> Result<OutboxState, CallError<ReadError>> {
        self.call(|owner| owner.core.outbox()).await
    }

    /// Keeps a blob (a photo, a track segment) and returns its hash. It is sent once a document refers to it that the
    /// relay has.
    ///
    /// # Errors
    ///
    /// [`SaveError`].
    pub async fn put_blob(&self, bytes: Vec<u8>) -> Result<BlobHash, CallError<SaveError>> {
        self.call(move |owner| {
            let now = owner.now();
            owner.core.put_blob(now, &bytes)
        })
        .await
    }

    /// Keeps the bytes of a file as a blob, as [`Self::put_blob`] does, without ever having them in memory.
    ///
    /// # Errors
    ///
    /// [`SaveError`]: nothing of it is kept.
    pub async fn put_blob_file(&self, file: PathBuf) -> Result<BlobHash, CallError<SaveError>> {
        self.call(move |owner| {
            let now = owner.now();
            let bytes = File::open(file).map_err(SaveError::BlobUnreadable)?;
            owner.core.put_blob_from(now, bytes)
        })
        .await
    }

    /// Takes a photo into a record: makes its preview and its thumbnail, and saves the three with the edit that refers to
    /// them, all or nothing. `intent` makes the edit, in the kind's encoding, from their names. The thumbnail is sent first,
    /// the original last.
    ///
    /// # Errors
    ///
    /// [`PhotoSaveError`]: nothing was saved.
    #[cfg(feature = "photos")]
    pub async fn take_photo(
        &self,
        document: DocumentId,
        original: Vec<u8>,
        intent: impl FnOnce(&PhotoBlobs) -> Vec<u8> + Send + 'static,
    ) -> Result<PhotoTaken, CallError<PhotoSaveError>> {
        // Away from the file's thread, which others wait for.
        let made = tokio::task::spawn_blocking(move || Photo::of(original)).await;
        let photo = made.map_err(|_| CallError::Closed)?;
        let photo = photo.map_err(PhotoSaveError::from)?;
        self.call(move |owner| {
            let now = owner.now();
            // In this order: of those of a size the last is sent first.
            let parts = [&photo.original, &photo.preview, &photo.thumbnail];
            let (saved, [original, preview, thumbnail]) = owner.core.edit_with_blobs(
                now,
                document,
                parts.map(Vec::as_slice),
                |[original, preview, thumbnail]| {
                    intent(&PhotoBlobs {
                        original,
                        preview,
                        thumbnail,
                    })
                },
            )?;
            let blobs = PhotoBlobs {
                original,
                preview,
                thumbnail,
            };
            Ok(PhotoTaken { saved, blobs })
        })
        .await
    }

    /// Returns a blob that is here as a whole; `None` if there is none of this hash.
    ///
    /// # Errors
    ///
    /// [`ReadError`].
    pub async fn get_blob(&self, hash: BlobHash) -> Result<Option<Vec<u8>>, CallError<ReadError>> {
        self.call(move |owner| owner.core.get_blob(hash)).await
    }

    /// Asks for a blob that a document here refers to: it is fetched as soon as the relay gives it. Says whether the
    /// document refers to it.
    ///
    /// # Errors
    ///
    /// [`SaveError`].
    pub async fn want_blob(
        &self,
        document: DocumentId,
        hash: BlobHash,
    ) -> Result<bool, CallError<SaveError>> {
        self.call(move |owner| {
            let now = owner.now();
            owner.core.want_blob(now, document, hash)
        })
        .await
    }

    /// Lists the blobs that a document refers to and how far each is, in order of their hashes.
    ///
    /// # Errors
    ///
    /// [`ReadError`].
    pub async fn attachments(
        &self,
        document: DocumentId,
    ) -> Result<Vec<Attachment>, CallError<ReadError>> {
        self.call(move |owner| owner.core.attachments(document))
            .await
    }

    /// Says how many attachments wait for the relay, and how many bytes of them.
    ///
    /// # Errors
    ///
    /// [`ReadError`].
    pub async fn blobs_waiting(&self) -> Result<BlobsWaiting, CallError<ReadError>> {
        self.call(|owner| owner.core.blobs_waiting()).await
    }

    /// Says which photos and other blobs go up, from now on and until the device is closed: all, none of the large ones while the
    /// network costs, or none. Records go up in any case. [`Self::blobs_waiting`] says what is held back.
    ///
    /// # Errors
    ///
    /// Only that the device was closed.
    pub async fn set_uploads(&self, uploads: Uploads) -> Result<(), CallError<ReadError>> {
        self.call(move |owner| {
            let now = owner.now();
            owner.core.set_uploads(now, uploads);
            Ok(())
        })
        .await
    }

    /// Lists the blobs that were put here, that no document refers to any more, and that the relay never had, each with
    /// its size. They stay until [`Self::drop_blob`].
    ///
    /// # Errors
    ///
    /// [`ReadError`].
    pub async fn blobs_left(&self) -> Result<Vec<(BlobHash, u64)>, CallError<ReadError>> {
        self.call(|owner| owner.core.blobs_left()).await
    }

    /// Drops a blob to which no document refers; says whether there was one.
    ///
    /// # Errors
    ///
    /// [`SaveError`].
    pub async fn drop_blob(&self, hash: BlobHash) -> Result<bool, CallError<SaveError>> {
        self.call(move |owner| owner.core.drop_blob(hash)).await
    }

    /// Keeps what is begun and not saved as a record yet (a track segment that grows, half a report) under a name of the
    /// app's own, in the place of what was there. It is durable on this device when this returns, and is sent nowhere.
    ///
    /// # Errors
    ///
    /// [`DraftError`]; what was there is as it was.
    pub async fn save_draft(
        &self,
        name: &str,
        bytes: Vec<u8>,
    ) -> Result<(), CallError<DraftError>> {
        let name = name.to_owned();
        self.call(move |owner| {
            let now = owner.now();
            owner.core.save_draft(now, &name, &bytes)
        })
        .await
    }

    /// Returns the bytes of a draft; `None` if there is none of this name.
    ///
    /// # Errors
    ///
    /// [`ReadError`].
    pub async fn draft(&self, name: &str) -> Result<Option<Vec<u8>>, CallError<ReadError>> {
        let name = name.to_owned();
        self.call(move |owner| owner.core.draft(&name)).await
    }

    /// Lists the drafts, in order of their names: what is to be gone on with after a kill.
    ///
    /// # Errors
    ///
    /// [`ReadError`].
    pub async fn drafts(&self) -> Result<Vec<Draft>, CallError<ReadError>> {
        self.call(|owner| owner.core.drafts()).await
    }

    /// Drops a draft, once what it was for is saved; says whether there was one.
    ///
    /// # Errors
    ///
    /// [`DraftError`].
    pub async fn drop_draft(&self, name: &str) -> Result<bool, CallError<DraftError>> {
        let name = name.to_owned();
        self.call(move |owner| owner.core.drop_draft(&name)).await
    }

    /// Returns every document with its heads, own unsent changes included, in order of id: two devices
    /// that hold the same give the same.
    ///
    /// # Errors
    ///
    /// [`ReadError`].
    pub async fn fingerprint(
        &self,
    ) -> Result<Vec<(DocumentId, Vec<ChangeHash>)>, CallError<ReadError>> {
        self.call(|owner| owner.core.fingerprint()).await
    }

    /// Returns how often something rare happened since the file was opened.
    ///
    /// # Errors
    ///
    /// Only that the device was closed.
    pub async fn counters(&self) -> Result<Counters, CallError<ReadError>> {
        self.call(|owner| Ok(owner.core.counters())).await
    }

    /// Brings SQLite's log into the file and empties it: for quiet moments.
    ///
    /// # Errors
    ///
    /// [`StorageError`]; nothing is lost by it.
    pub async fn checkpoint(&self) -> Result<(), CallError<StorageError>> {
        self.call(|owner| owner.core.checkpoint()).await
    }

    /// Limits the size of the file, or takes the limit off.
    ///
    /// # Errors
    ///
    /// [`StorageError`].
    pub async fn set_file_size_max(
        &self,
        bytes: Option<u64>,
    ) -> Result<(), CallError<StorageError>> {
        self.call(move |owner| owner.core.set_file_size_max(bytes))
            .await
    }

    /// Says where synchronisation stands.
    pub fn sync_state(&self) -> SyncState {
        self.inner.shared.state.borrow().clone()
    }

    /// Watches where synchronisation stands.
    pub fn watch_sync_state(&self) -> watch::Receiver<SyncState> {
        self.inner.shared.state.subscribe()
    }

    /// Listens to what happens on the link, from here on. A listener that is far behind misses the oldest.
    pub fn link_news(&self) -> broadcast::Receiver<LinkNews> {
        self.inner.shared.news.subscribe()
    }

    /// Listens to which documents change, one list a commit, from here on. A listener that is far behind
    /// misses the oldest and is told so; most apps want [`Self::watch`].
    pub fn changes(&self) -> broadcast::Receiver<Vec<DocumentId>> {
        self.inner.shared.documents_changed.subscribe()
    }

    /// Listens to blobs that are further on their way, from here on: the documents that refer to them.
    pub fn blob_changes(&self) -> broadcast::Receiver<Vec<DocumentId>> {
        self.inner.shared.blobs_changed.subscribe()
    }

    /// Listens to which scopes are left, from here on: the relay's notice, and when their records are gone.
    /// [`Leave::Acknowledged`] is the end of a device that was revoked: [`Self::wipe`] it then.
    pub fn leaving(&self) -> broadcast::Receiver<Leave> {
        self.inner.shared.leaving.subscribe()
    }

    /// Tells where this device is, to those that may know: in a datagram now if there is a link, else the newest when
    /// there is one. Call it with every fix while its officer is on duty, and let him see that it is told.
    ///
    /// # Errors
    ///
    /// Only that the device was closed.
    pub async fn share_position(
        &self,
        whereabouts: Whereabouts,
    ) -> Result<(), CallError<ReadError>> {
        self.call(move |owner| {
            let now = owner.now();
            owner.core.share_position(now, whereabouts);
            Ok(())
        })
        .await
    }

    /// Tells nobody any more where this device is: the relay forgets where it was. To be called when duty ends, and when
    /// the app starts off duty.
    ///
    /// # Errors
    ///
    /// Only that the device was closed.
    pub async fn hide_position(&self) -> Result<(), CallError<ReadError>> {
        self.call(|owner| {
            let now = owner.now();
            owner.core.hide_position(now);
            Ok(())
        })
        .await
    }

    /// Begins to be told where others are, or ends it and forgets them: it costs bytes, so only while somebody looks.
    ///
    /// # Errors
    ///
    /// Only that the device was closed.
    pub async fn watch_positions(&self, is_wanted: bool) -> Result<(), CallError<ReadError>> {
        self.call(move |owner| {
            let now = owner.now();
            owner.core.watch_positions(now, is_wanted);
            Ok(())
        })
        .await
    }

    /// Returns where others were last, with the age of each: in order of their ids, and nobody while this device does not
    /// watch.
    ///
    /// # Errors
    ///
    /// Only that the device was closed.
    pub async fn positions(&self) -> Result<Vec<SeenDevice>, CallError<ReadError>> {
        self.call(|owner| {
            let now = owner.now();
            Ok(owner.core.positions(now))
        })
        .await
    }

    /// Listens to others moving: it changes whenever [`Self::positions`] may be different.
    pub fn position_changes(&self) -> watch::Receiver<u64> {
        self.inner.shared.positions.subscribe()
    }

    /// Returns figures of the link.
    pub fn link_report(&self) -> LinkReport {
        self.inner.shared.report()
    }

    /// Tells the device that the network is another one: it moves its connection to a fresh socket, or
    /// dials at once. Call it whenever the platform says so; too often does no harm. Under the network's name,
    /// such as the one of a Wi-Fi, it is remembered for half an hour that no UDP gets through there.
    pub fn network_changed(&self, network: Option<&str>) {
        self.order(Order::NetworkChanged(network.map(str::to_owned)));
    }

    /// Synchronises with the relay until both hold the same and blobs have gone both ways, but for those that are held back, something needs a
    /// person, or `deadline` is over; the most urgent goes first, and what is done is done. Makes a link for that
    /// time if the device has none.
    pub async fn sync_once(&self, deadline: Duration) -> SyncReport {
        let began = Instant::now();
        let before = self.link_report().acknowledged_changes;
        let mut states = self.watch_sync_state();
        states.mark_unchanged();
        self.order(Order::Want(true));
        self.order(Order::Hurry);
        let mut core = self.inner.shared.core.subscribe();
        let settled = async {
            loop {
                let is_in_sync = matches!(*states.borrow_and_update(), SyncState::InSync { .. });
                if is_in_sync && !core.borrow_and_update().awaits_blobs {
                    return;
                }
                let changed = tokio::select! {
                    changed = core.changed() => changed,
                    changed = states.changed() => changed,
                };
                if changed.is_err() || matches!(*states.borrow(), SyncState::Problem { .. }) {
                    return;
                }
            }
        };
        // Too late is an answer like any other: the report says how far it got.
        let _ = tokio::time::timeout(deadline, settled).await;
        if self.inner.policy == LinkPolicy::OnRequest {
            self.order(Order::Want(false));
        }
        let state = self.sync_state();
        let waiting = self
            .outbox()
            .await
            .map_or_else(|_| waiting(&state), |outbox| outbox.changes);
        let blobs = self.blobs_waiting().await.unwrap_or_default();
        SyncReport {
            is_in_sync: matches!(state, SyncState::InSync { .. }),
            state,
            acknowledged_changes: self.link_report().acknowledged_changes - before,
            waiting,
            blobs_waiting: blobs.blobs,
            blobs_held: blobs.held,
            took: began.elapsed(),
        }
    }

    /// Closes the connection and the file, and waits until that is done. Calls on other clones fail from
    /// here on.
    pub async fn close(self) {
        let calls = lock(&self.inner.calls).take();
        drop(calls);
        let Ends { owner, dialer } = std::mem::take(&mut *lock(&self.inner.ends));
        if let Some(owner) = owner {
            // An error means that it has ended already.
            let _ = owner.await;
        }
        self.order(Order::Stop);
        if let Some(dialer) = dialer {
            let _ = dialer.await;
        }
    }

    /// Closes the device and takes its data off the disk, unsent work included: first `secrets` (the files of
    /// keys) in their order, then the database. Without its key what is left of an encrypted file is noise.
    ///
    /// A key in the system's key store is the app's to destroy, before.
    ///
    /// # Errors
    ///
    /// [`WipeError`]; call [`wipe`](crate::wipe) again then, until it is done.
    pub async fn wipe(self, secrets: Vec<PathBuf>) -> Result<(), WipeError> {
        let path = self.inner.path.clone();
        self.close().await;
        let wiping = tokio::task::spawn_blocking(move || {
            let secrets: Vec<_> = secrets.iter().map(PathBuf::as_path).collect();
            core::wipe(&path, &secrets)
        });
        wiping.await.map_err(std::io::Error::from)?
    }

    fn order(&self, order: Order) {
        // A device without a link has nobody to take orders.
        let _ = self.inner.orders.send(order);
    }

    async fn call<T, E>(
        &self,
        job: impl FnOnce(&mut Owner) -> Result<T, E> + Send + 'static,
    ) -> Result<T, CallError<E>>
    where
        T: Send + 'static,
        E: Send + 'static,
    {
        let (answer, answered) = oneshot::channel();
        let call: Call = Box::new(move |owner| {
            let result = job(owner);
            // What follows from it is known before the caller goes on: the state of synchronisation.
            owner.pump();
            // Whoever called may have lost interest.
            let _ = answer.send(result);
        });
        let sent = match &*lock(&self.inner.calls) {
            Some(calls) => calls.send(call).is_ok(),
            None => false,
        };
        if !sent {
            return Err(CallError::Closed);
        }
        match answered.await {
            Ok(result) => Ok(result?),
            Err(_) => Err(CallError::Closed),
        }
    }
}

/// What the file's thread is started with.
struct Job {
    path: PathBuf,
    key: KeySource,
    config: core::Config,
    kinds: Kinds,
    clock: Clock,
    orders: mpsc::UnboundedSender<Order>,
    calls: mpsc::UnboundedReceiver<Call>,
    inputs: mpsc::Receiver<Input>,
    _inputs: mpsc::Sender<Input>,
}

type Started = (Arc<Shared>, Opening, oneshot::Receiver<()>);

impl Job {
    /// Starts the thread; returns when the file is open. What is returned last tells of its end.
    async fn start(self) -> Result<Started, OpenError> {
        let (ready, opened) = oneshot::channel();
        let (end, ended) = oneshot::channel();
        thread::Builder::new()
            .name("gridbeat-device".to_owned())
            .spawn(move || {
                self.run(ready);
                let _ = end.send(());
            })?;
        let (shared, opening) = opened.await.map_err(|_| OpenError::Stopped)??;
        Ok((shared, opening, ended))
    }

    fn run(mut self, ready: oneshot::Sender<Result<(Arc<Shared>, Opening), OpenError>>) {
        // Only its timer is used: the thread waits for calls, for the link and for deadlines.
        let runtime = tokio::runtime::Builder::new_current_thread()
            .enable_time()
            .build();
        let runtime = match runtime {
            Ok(runtime) => runtime,
            Err(error) => return drop(ready.send(Err(error.into()))),
        };
        let random = random_from_system();
        self.config.key = match self.key {
            KeySource::None => None,
            KeySource::Key(key) => Some(key),
            KeySource::Asked(ask) => match ask() {
                Ok(key) => Some(key),
                Err(error) => return drop(ready.send(Err(OpenError::Key(error)))),
            },
        };
        let now = self.clock.now();
        let core = match core::Device::open(&self.path, self.config, self.kinds, random, now) {
            Ok(core) => core,
            Err(error) => return drop(ready.send(Err(error.into()))),
        };
        let shared = Shared::new(core.sync_state().clone());
        let opening = core.opening();
        let owner = Owner::new(core, self.clock, Arc::clone(&shared), self.orders);
        if ready.send(Ok((shared, opening))).is_ok() {
            runtime.block_on(owner.run(self.calls, self.inputs));
        }
    }
}

fn lock<T>(mutex: &Mutex<T>) -> std::sync::MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
