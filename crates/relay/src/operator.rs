//! An operator's verbs on the relay's files: invite, approve, revoke, rename, grant, move, list.
//!
//! They work while the relay runs, in its process or another: a running relay looks at its table of
//! devices every few seconds. Not here: the command line (`cli`).

use std::collections::BTreeMap;
use std::path::Path;
use std::time::Duration;

use gridbeat_base::{DeviceId, Incarnation, Remedy, Scope, WallTime};
use gridbeat_link::{Clock, random_from_system};
use gridbeat_relay_core::{PlaceError, StoreFault};
use gridbeat_relay_store::{
    Approval, BackupError, BlobCheck, BlobsCleared, By, DeviceRow, Granted, InvitationRow,
    OpenError, Registry as _, RemovalRow, SqliteStore, Standing, StoreOptions,
};
use gridbeat_sync_protocol::{EnrolCode, Fingerprint, Invitation, InvitationError, Pin};

use crate::authority::Authority;
use crate::certificates::AuthorityError;
use crate::config::RelayConfig;

/// A device to be asked in.
#[derive(Clone, Debug)]
pub struct Invite {
    /// A name for operators: whose it will be.
    pub name: String,
    /// What it will be granted, and nothing more.
    pub grants: BTreeMap<Scope, Granted>,
    /// How it reaches the relay: `host:port`.
    pub relay: String,
    /// Whether the first who shows the invitation is let in without an operator's look.
    pub auto_approve: bool,
}

/// A relay's files in an operator's hands.
#[derive(Debug)]
pub struct Operator {
    store: SqliteStore,
    authority: Authority,
}

impl Operator {
    /// Opens the files of the relay that `config` describes; makes them if they are not there.
    ///
    /// # Errors
    ///
    /// [`OperatorError`].
    pub fn open(config: &RelayConfig) -> Result<Self, OperatorError> {
        std::fs::create_dir_all(&config.data).map_err(AuthorityError::File)?;
        let now = wall();
        let mut random = random_from_system();
        let authority = Authority::open_or_create(
            &config.authority(),
            &config.root(),
            &config.server_name,
            now,
            &mut random,
        )?;
        // What operators do is receipted by the relay's key too.
        let options = StoreOptions {
            receipts: Some((authority.receipts(&mut random)?, now)),
            ..StoreOptions::default()
        };
        let store = SqliteStore::open(&config.database(), options, &mut random)?;
        Ok(Self { store, authority })
    }

    /// Asks a device in; returns the invitation, which is shown once and kept nowhere, and the row it left.
    ///
    /// # Errors
    ///
    /// [`OperatorError`]; nothing is then kept.
    pub fn invite(
        &mut self,
        invite: &Invite,
    ) -> Result<(Invitation, InvitationRow), OperatorError> {
        self::invite(&mut self.store, &self.authority, invite)
    }

    /// Reads every blob and compares it with its name, and looks what refers to what.
    ///
    /// # Errors
    ///
    /// [`OperatorError`].
    pub fn check_blobs(&self) -> Result<BlobCheck, OperatorError> {
        Ok(self.store.check_blobs()?)
    }

    /// Clears away blobs to which no document refers and uploads that stand still, if both have not moved for so long;
    /// with `is_trial` only counts them.
    ///
    /// # Errors
    ///
    /// [`OperatorError`]; nothing is then cleared away.
    pub fn clear_blobs(
        &mut self,
        unmoved: Duration,
        is_trial: bool,
    ) -> Result<BlobsCleared, OperatorError> {
        let now = wall();
        let unmoved = i64::try_from(unmoved.as_millis()).unwrap_or(i64::MAX);
        let before = WallTime(now.millis().saturating_sub(unmoved));
        Ok(self.store.clear_blobs(before, now, is_trial)?)
    }

    /// Lists the invitations, the latest first, at most `most`.
    ///
    /// # Errors
    ///
    /// [`OperatorError`].
    pub fn invitations(&self, most: usize) -> Result<Vec<InvitationRow>, OperatorError> {
        Ok(self.store.invitations(most)?)
    }

    /// Takes an invitation back, or refuses the request that waits by it. Returns where it stood; `None` if
    /// there is none.
    ///
    /// # Errors
    ///
    /// [`OperatorError`]; it is then as it was.
    pub fn withdraw(&mut self, id: u64) -> Result<Option<Standing>, OperatorError> {
        Ok(self.store.withdraw(id, wall())?)
    }

    /// Lets in the device that waits by an invitation, if it has that fingerprint where one is given. A
    /// running relay tells it within seconds.
    ///
    /// # Errors
    ///
    /// [`OperatorError`]; it then waits as before.
    pub fn approve(
        &mut self,
        id: u64,
        fingerprint: Option<Fingerprint>,
    ) -> Result<Approval, OperatorError> {
        approve(&mut self.store, id, fingerprint)
    }

    /// Takes all rights from a device; a running relay ends its sessions within seconds. Returns whether
    /// it had any.
    ///
    /// # Errors
    ///
    /// [`OperatorError`]; the device is then as it was.
    pub fn revoke(&mut self, device: DeviceId) -> Result<bool, OperatorError> {
        revoke(&mut self.store, device)
    }

    /// Orders a device to hand over what it has and to wipe itself, which it does when it next calls: it is
    /// revoked if it is not yet. Returns whether it is known.
    ///
    /// # Errors
    ///
    /// [`OperatorError`]; the device is then as it was.
    pub fn wipe(&mut self, device: DeviceId) -> Result<bool, OperatorError> {
        Ok(self.store.wipe(device, wall())?)
    }

    /// Lists what a device has stated that it removed, the latest first.
    ///
    /// # Errors
    ///
    /// [`OperatorError`].
    pub fn removals(&self, device: DeviceId) -> Result<Vec<RemovalRow>, OperatorError> {
        Ok(self.store.removals(device)?)
    }

    /// Says who acts from here on, and why, for the operators' log.
    pub fn act_as(&mut self, by: By) {
        self.store.act_as(by);
    }

    /// Gives a device another name. Returns whether it is known.
    ///
    /// # Errors
    ///
    /// [`OperatorError`]; the device is then as it was.
    pub fn rename(&mut self, device: DeviceId, name: &str) -> Result<bool, OperatorError> {
        Ok(self.store.rename(device, name, wall())?)
    }

    /// Grants a device something in a scope, in place of what it had there; no verbs withdraw what it had.
    /// Returns whether that changed anything.
    ///
    /// # Errors
    ///
    /// [`OperatorError`]; the device is then as it was.
    pub fn grant(
        &mut self,
        device: DeviceId,
        scope: &Scope,
        granted: &Granted,
    ) -> Result<bool, OperatorError> {
        Ok(self.store.grant(device, scope, granted, wall())?)
    }

    /// Moves what a device is granted in one scope to another. Returns whether it had anything in the first.
    ///
    /// # Errors
    ///
    /// [`OperatorError`]; the device is then as it was.
    pub fn move_grant(
        &mut self,
        device: DeviceId,
        from: &Scope,
        to: &Scope,
    ) -> Result<bool, OperatorError> {
        Ok(self.store.move_grant(device, from, to, wall())?)
    }

    /// Lists the devices in the table, and where each stands.
    ///
    /// # Errors
    ///
    /// [`OperatorError`].
    pub fn devices(&self) -> Result<Vec<DeviceRow>, OperatorError> {
        Ok(self.store.devices()?)
    }

    /// Begins another life of the database, after a backup was restored: every device compares what it
    /// holds. The relay must not be running.
    ///
    /// # Errors
    ///
    /// [`OperatorError`].
    pub fn new_incarnation(&mut self) -> Result<Incarnation, OperatorError> {
        let now = Clock::start().now().wall;
        Ok(self.store.new_incarnation(now, &mut random_from_system())?)
    }

    /// Makes another issuing key by the root in a folder; a running relay takes it up when it is started again.
    /// Returns when its certificate ends.
    ///
    /// # Errors
    ///
    /// [`OperatorError`].
    pub fn renew_issuer(&mut self, root: &Path) -> Result<WallTime, OperatorError> {
        let now = wall();
        self.authority
            .renew_issuer(root, now, &mut random_from_system())?;
        let ends = self.authority.issuer_ends();
        let details = format!("until={}", ends.millis());
        self.store
            .put_on_record(now, "relay renew-issuer", "issuer", &details)?;
        Ok(ends)
    }

    /// Makes the root that comes after the present one, in the folder of that: from its next start the relay tells
    /// it to whoever enrols or renews. Returns whether there was none yet.
    ///
    /// # Errors
    ///
    /// [`OperatorError`].
    pub fn prepare_root(&mut self, root: &Path) -> Result<bool, OperatorError> {
        let now = wall();
        let is_new = self
            .authority
            .prepare_next_root(root, now, &mut random_from_system())?;
        if is_new {
            let next = self.authority.pins().pop();
            self.root_on_record("relay prepare-root", next, now)?;
        }
        Ok(is_new)
    }

    /// Makes the prepared root the present one, and another issuing key by it. Devices that were not told of it are
    /// locked out from the relay's next start on.
    ///
    /// # Errors
    ///
    /// [`OperatorError`].
    pub fn promote_root(&mut self, root: &Path) -> Result<(), OperatorError> {
        let now = wall();
        self.authority
            .promote_next_root(root, now, &mut random_from_system())?;
        let present = self.authority.pins().pop();
        Ok(self.root_on_record("relay promote-root", present, now)?)
    }

    fn root_on_record(
        &mut self,
        verb: &'static str,
        root: Option<Pin>,
        now: WallTime,
    ) -> Result<(), StoreFault> {
        let root = root.map(|pin| pin.to_string()).unwrap_or_default();
        self.store.put_on_record(now, verb, &root, "")
    }
}

pub(crate) fn invite(
    store: &mut SqliteStore,
    authority: &Authority,
    invite: &Invite,
) -> Result<(Invitation, InvitationRow), OperatorError> {
    let code = EnrolCode::from_bytes(random_from_system().bytes());
    let (name, pins) = (authority.server_name(), authority.pins());
    let invitation = Invitation::new(&invite.relay, name, &pins, code)?;
    let row = store.invite(
        code,
        &invite.name,
        &invite.grants,
        invite.auto_approve,
        wall(),
    )?;
    Ok((invitation, row))
}

pub(crate) fn approve(
    store: &mut SqliteStore,
    id: u64,
    fingerprint: Option<Fingerprint>,
) -> Result<Approval, OperatorError> {
    let now = wall();
    let device = DeviceId::mint(now, &mut random_from_system());
    Ok(store.approve(id, fingerprint, device, now)?)
}

/// The time by this machine's clock.
fn wall() -> WallTime {
    Clock::start().now().wall
}

pub(crate) fn revoke(store: &mut SqliteStore, device: DeviceId) -> Result<bool, OperatorError> {
    Ok(store.revoke(device, wall())?)
}

/// Why an operator's verb was not carried out.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum OperatorError {
    /// The certificate authority cannot be used.
    #[error("the certificate authority cannot be used")]
    Authority(#[from] AuthorityError),
    /// No invitation can be made for these names.
    #[error("the invitation cannot be made")]
    Invitation(#[from] InvitationError),
    /// The database cannot be opened.
    #[error("the database cannot be used")]
    Store(#[from] OpenError),
    /// The database failed.
    #[error("the database failed")]
    Fault(#[from] StoreFault),
    /// A backup was not made, or not put in place.
    #[error("the backup cannot be used")]
    Backup(#[from] BackupError),
    /// A relay runs on these files.
    #[error("a relay runs on these files: stop it first")]
    Running,
    /// The lock on the relay's files cannot be used.
    #[error("the lock on the relay's files cannot be used")]
    Lock(#[source] std::io::Error),
    /// The document was not placed.
    #[error("the document was not placed")]
    Place(#[from] PlaceError),
    /// The relay has stopped.
    #[error("the relay has stopped")]
    Stopped,
}

impl OperatorError {
    /// Returns what the caller should do about this error.
    pub fn remedy(&self) -> Remedy {
        match self {
            Self::Authority(source) => source.remedy(),
            Self::Invitation(source) => source.remedy(),
            Self::Store(source) => source.remedy(),
            Self::Fault(source) => source.remedy(),
            Self::Place(source) => source.remedy(),
            Self::Backup(source) => source.remedy(),
            Self::Running | Self::Lock(_) => Remedy::FixSetup,
            Self::Stopped => Remedy::FixSetup,
        }
    }
}
