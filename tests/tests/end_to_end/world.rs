//! A relay, devices, and what tests want of them.

use std::net::SocketAddr;
use std::path::Path;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use gridbeat_base::{DeviceId, Install, Random, Scope, Verbs, WallTime};
use gridbeat_device::{Config, Device, DeviceBundle, Enrolment, Query, SyncState};
use gridbeat_domain::{Catalogue, CategoryKind, IncidentIntent, Severity, kinds};
use gridbeat_relay::{Authority, Granted, Invite, RelayConfig, RelayHandle, start};
use gridbeat_relay_store::{LeaseRow, Registry as _, SqliteStore, StoreOptions};
use tempfile::TempDir;

/// Far longer than anything here takes, on however busy a machine: a test that waits this long
/// has failed.
pub(crate) const PATIENCE: Duration = Duration::from_secs(90);

/// Waits for an outcome.
pub(crate) async fn within<T>(what: &str, outcome: impl Future<Output = T>) -> T {
    tokio::time::timeout(PATIENCE, outcome)
        .await
        .unwrap_or_else(|_| panic!("waited in vain for {what}"))
}

const LEASE: Duration = Duration::from_secs(21 * 24 * 60 * 60);

pub(crate) fn now() -> WallTime {
    let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap();
    WallTime(0).plus(since)
}

pub(crate) fn scope() -> Scope {
    Scope::new("招宝山街道").unwrap()
}

/// A relay that can be stopped and started on its files.
pub(crate) struct RelayAtHome {
    dir: TempDir,
    listen: SocketAddr,
    relay: Option<RelayHandle>,
    /// How many records a device may begin in an hour.
    begun_max: u32,
}

impl RelayAtHome {
    pub(crate) async fn start() -> Self {
        Self::start_with(RelayConfig::default().new_documents_per_hour_max).await
    }

    /// Starts a relay that lets each device begin so many records in an hour.
    pub(crate) async fn start_with(begun_max: u32) -> Self {
        let mut home = Self {
            begun_max,
            dir: tempfile::tempdir().unwrap(),
            listen: "127.0.0.1:0".parse().unwrap(),
            relay: None,
        };
        home.start_again().await;
        home
    }

    /// Starts the relay on its files, at the address it had before.
    pub(crate) async fn start_again(&mut self) {
        let relay = start(self.config(), kinds()).await.unwrap();
        self.listen = relay.addr();
        self.relay = Some(relay);
    }

    pub(crate) fn config(&self) -> RelayConfig {
        RelayConfig {
            listen: self.listen,
            admin: "127.0.0.1:0".parse().unwrap(),
            data: self.dir.path().to_owned(),
            new_documents_per_hour_max: self.begun_max,
            ..RelayConfig::default()
        }
    }

    pub(crate) async fn stop(&mut self) -> bool {
        let is_drained = self.relay.take().unwrap().stop().await;
        // The socket goes with the endpoint's own task, which has to have its turn once more.
        tokio::spawn(async {}).await.unwrap();
        is_drained
    }

    pub(crate) fn handle(&self) -> &RelayHandle {
        self.relay.as_ref().unwrap()
    }

    /// Returns the folder of its files.
    pub(crate) fn folder(&self) -> &Path {
        self.dir.path()
    }

    pub(crate) fn addr(&self) -> SocketAddr {
        self.listen
    }

    /// Has a device enrol by a code that may work in [`scope`], to reach the relay at `via`.
    pub(crate) async fn enrol(&self, via: SocketAddr) -> DeviceBundle {
        self.enrol_for(via, Verbs::WORK).await
    }

    /// Has a device enrol that may do this in [`scope`].
    pub(crate) async fn enrol_for(&self, via: SocketAddr, verbs: Verbs) -> DeviceBundle {
        let invite = Invite {
            name: "王警官".to_owned(),
            grants: [(scope(), verbs.into())].into(),
            relay: via.to_string(),
            auto_approve: true,
        };
        let (invitation, _) = self.handle().invite(invite).await.unwrap();
        let place = tempfile::tempdir().unwrap();
        let file = place.path().join("bundle.json");
        let install = Install::from_bytes([1; 16]);
        let enrolment = Enrolment::begin(invitation, &file, install, "手机").unwrap();
        within("an enrolment", enrolment.finish(drop))
            .await
            .unwrap()
    }

    /// Gives a device that was revoked its rights again, as an operator does.
    pub(crate) fn let_in_again(&self, device: DeviceId) {
        self.grant(device, [(scope(), Verbs::WORK.into())]);
    }

    /// Gives a device these grants and no others; it stays enrolled without any.
    pub(crate) fn grant(
        &self,
        device: DeviceId,
        grants: impl IntoIterator<Item = (Scope, Granted)>,
    ) {
        let grants = grants.into_iter().collect();
        self.store()
            .add_device(device, "王警官", &grants, WallTime(0))
            .unwrap();
    }

    /// Opens its database as an operator does, running or not.
    pub(crate) fn store(&self) -> SqliteStore {
        let (config, mut random) = (self.config(), Random::from_number(1));
        let authority = Authority::open(&config.authority()).unwrap();
        let options = StoreOptions {
            receipts: Some((authority.receipts(&mut random).unwrap(), WallTime(0))),
            ..StoreOptions::default()
        };
        SqliteStore::open(&config.database(), options, &mut random).unwrap()
    }

    /// Enrols a device, opens it and waits until it is in sync: from then on it knows its scope.
    pub(crate) async fn device(&self, dir: &Path, via: SocketAddr) -> Device {
        let bundle = self.enrol(via).await;
        let device = Device::open(config(dir, bundle)).await.unwrap();
        in_sync(&device).await;
        device
    }
}

pub(crate) fn config(dir: &Path, bundle: DeviceBundle) -> Config {
    let name = format!("{}.gridbeat", bundle.device);
    let install = Install::from_bytes(*bundle.device.bytes());
    Config::new(dir.join(name), bundle, install, kinds())
}

/// A report of an incident, as an app would hand it in.
pub(crate) fn report(description: &str) -> Vec<u8> {
    let intent = IncidentIntent::Report {
        category: Catalogue::national()
            .find(CategoryKind::Matter, "01001")
            .unwrap()
            .clone(),
        description: description.to_owned(),
        address: String::new(),
        position: None,
        severity: Severity::default(),
        by: "王警官".to_owned(),
        gps: None,
    };
    serde_json::to_vec(&intent).unwrap()
}

pub(crate) async fn save(device: &Device, description: &str) {
    let scope = scope();
    let saved = device.create("incident", &scope, report(description));
    saved.await.unwrap();
}

/// Waits until the device says that nothing waits and both sides hold the same.
pub(crate) async fn in_sync(device: &Device) {
    state(device, "in sync", |state| {
        matches!(state, SyncState::InSync { .. })
    })
    .await;
}

/// Waits for a state of synchronisation.
pub(crate) async fn state(
    device: &Device,
    what: &str,
    wanted: impl FnMut(&SyncState) -> bool,
) -> SyncState {
    let mut states = device.watch_sync_state();
    let state = within(what, states.wait_for(wanted)).await;
    state.unwrap().clone()
}

/// Waits until the device lists so many records.
pub(crate) async fn lists(device: &Device, count: usize) {
    let mut watch = device.watch(Query {
        limit: 1_000,
        ..Query::default()
    });
    let listed = async { while watch.next().await.unwrap().len() != count {} };
    within(&format!("{count} records"), listed).await;
}

/// Waits until the devices are in sync, and holds them to it.
pub(crate) async fn converge(devices: &[&Device], records: usize) {
    for device in devices {
        lists(device, records).await;
        in_sync(device).await;
    }
    let first = devices[0].fingerprint().await.unwrap();
    assert_eq!(first.len(), records);
    for device in devices {
        assert_eq!(device.fingerprint().await.unwrap(), first);
        assert_eq!(device.outbox().await.unwrap().changes, 0);
        assert_eq!(device.counters().await.unwrap().digest_mismatches, 0);
    }
}

/// Gives a device what it would have if its lease had been issued so long ago.
pub(crate) fn aged(relay: &RelayAtHome, bundle: &DeviceBundle, age: Duration) -> DeviceBundle {
    let config = relay.config();
    let authority = Authority::open(&config.authority()).unwrap();
    let (device, key) = (
        bundle.device,
        bundle.signer().unwrap().unwrap().public_key(),
    );
    let age = i64::try_from(age.as_millis()).unwrap();
    let issued = WallTime(now().millis() - age);
    let mut random = Random::from_number(1);
    let lease = authority.certify(device, &key, issued, LEASE, &mut random);
    let lease = lease.unwrap();
    let mut store =
        SqliteStore::open(&config.database(), StoreOptions::default(), &mut random).unwrap();
    let row = LeaseRow {
        device,
        key,
        certificate: lease.certificate.to_vec(),
        issued: lease.issued,
        renew_after: lease.renew_after,
        not_after: lease.not_after,
    };
    store.put_lease(&row).unwrap();
    DeviceBundle {
        certificates: vec![lease.certificate],
        issued: lease.issued,
        renew_after: lease.renew_after,
        not_after: lease.not_after,
        ..bundle.clone()
    }
}
