//! Anybody where a relay enrols devices: no certificate without a code that was given out, for another key than the
//! first that came with it, or for longer than a lease; and whoever guesses is soon not listened to.
//!
//! An input is steps: requests of any bytes, right ones that were bent on the way, operators who invite, approve and
//! refuse, and time that passes or jumps back. Each answer is held against the [`ledger`](crate::ledger).

use std::collections::BTreeMap;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use std::sync::Arc;
use std::time::Duration;

use gridbeat_base::{DeviceId, Install, Random, Scope, Verbs, WallTime};
use gridbeat_link::{Identified, device_of_certificate, key_of_certificate};
use gridbeat_relay::{Authority, EnrolmentDesk};
use gridbeat_relay_store::{Approval, Granted, Registry as _, SqliteStore, StoreOptions};
use gridbeat_sync_protocol::{
    EnrolAnswer, EnrolCode, EnrolRefusal, EnrolRequest, Fingerprint, FrameReader, Issued,
    PublicKey, Redeem, Signer, write_prefixed,
};
use rustls::pki_types::CertificateDer;
use tempfile::TempDir;

use crate::input::Input;
use crate::ledger::{Due, Ledger};
use crate::world::folder;

/// A request of any bytes: from where, how the stream is cut, the stream.
pub(crate) const ANYTHING: u8 = 0;
/// A request to be enrolled: from where, by which code and key, under which name, and what is bent.
pub(crate) const REDEEM: u8 = 1;
/// A request to renew: from where, showing whose certificate and which key, and what is bent.
pub(crate) const RENEW: u8 = 2;
/// An operator invites: 1 to let the first who comes in.
pub(crate) const INVITE: u8 = 3;
/// An operator approves: which invitation, by which fingerprint.
pub(crate) const APPROVE: u8 = 4;
/// An operator takes an invitation back: which.
pub(crate) const WITHDRAW: u8 = 5;
/// An operator takes a device's rights: whose.
pub(crate) const REVOKE: u8 = 6;
/// Time passes, or is set back: how many of what.
pub(crate) const PASS: u8 = 7;
/// How many kinds of steps there are.
const STEPS: u8 = 8;

/// Most steps of one input: more than it takes to be listened to no more.
const STEPS_MAX: usize = 24;

/// Longest request that is read, and its length before it (`PROTOCOL.md`, 10.2).
const STREAM_MAX: usize = 4 + 512;

/// Longest answer (`PROTOCOL.md`, 10.2).
const ANSWER_MAX: usize = 16 * 1024;

const START: WallTime = WallTime(1_790_000_000_000);
const LEASE: Duration = Duration::from_secs(21 * 86_400);

/// What may pass in one step: a second, a minute, an hour, a day.
const UNITS: [Duration; 4] = [
    Duration::from_secs(1),
    Duration::from_secs(60),
    Duration::from_secs(3_600),
    Duration::from_secs(86_400),
];

/// How far the clock gets from where it began: the authority's issuing key has not ended by then.
const YEAR_MS: i64 = 365 * 86_400_000;

thread_local! {
    static PLACE: Place = Place::new();
}

/// A relay's authority, which inputs share, and a folder for databases, one for each.
struct Place {
    authority: Arc<Authority>,
    folder: TempDir,
}

/// One input's relay, and what may be answered there.
struct Desk<'p> {
    place: &'p Place,
    desk: EnrolmentDesk,
    // Made when it is first needed: most inputs are no requests.
    store: Option<SqliteStore>,
    ledger: Ledger,
    now: WallTime,
}

pub(crate) fn enrolment(bytes: &[u8]) {
    run(bytes);
}

/// Runs an input; returns what was answered and done.
fn run(bytes: &[u8]) -> Ledger {
    PLACE.with(|place| {
        let mut desk = Desk::new(place);
        let mut input = Input::new(bytes);
        for _ in 0..STEPS_MAX {
            desk.step(&mut input);
            if input.rest.is_empty() {
                break;
            }
        }
        desk.check_devices();
        desk.ledger
    })
}

impl Place {
    fn new() -> Self {
        let folder = folder();
        let (authority, root) = (folder.path().join("authority"), folder.path().join("root"));
        let mut random = Random::from_number(1);
        let made =
            Authority::open_or_create(&authority, &root, "relay.gridbeat", START, &mut random);
        Self {
            authority: Arc::new(made.expect("an empty folder takes an authority")),
            folder,
        }
    }

    fn open_store(&self) -> SqliteStore {
        let folder = self.folder.path().join("data");
        // There is none before the first.
        let _ = std::fs::remove_dir_all(&folder);
        std::fs::create_dir(&folder).expect("there is room for a folder");
        let mut random = Random::from_number(2);
        SqliteStore::open(
            &folder.join("relay.db"),
            StoreOptions::default(),
            &mut random,
        )
        .expect("an empty folder takes a store")
    }
}

impl<'p> Desk<'p> {
    fn new(place: &'p Place) -> Self {
        Self {
            place,
            desk: EnrolmentDesk::new(Arc::clone(&place.authority), LEASE),
            store: None,
            ledger: Ledger::default(),
            now: START,
        }
    }

    fn store(&mut self) -> &mut SqliteStore {
        let place = self.place;
        self.store.get_or_insert_with(|| place.open_store())
    }

    fn step(&mut self, input: &mut Input<'_>) {
        match input.byte() % STEPS {
            ANYTHING => {
                let (from, cut) = (input.byte(), usize::from(input.byte()) + 1);
                self.hear(from, cut, input.piece(), None);
            }
            REDEEM => {
                let from = input.byte();
                let (code, key) = (code(input.byte().into()), input.byte());
                let name = String::from_utf8_lossy(input.piece()).into_owned();
                let redeem = Redeem::new(code, &signer(key), Install::new([key; 16]), &name);
                let request = EnrolRequest::Redeem(Box::new(redeem));
                self.hear(from, usize::MAX, &bent(&request, input), None);
            }
            RENEW => {
                let from = input.byte();
                let holder = self.holder(input.byte(), input.byte());
                self.hear(from, usize::MAX, &bent(&EnrolRequest::Renew, input), holder);
            }
            INVITE => self.invite(input.byte() & 1 == 1),
            APPROVE => {
                let (which, how) = (input.byte(), input.byte());
                self.approve(which.into(), how);
            }
            WITHDRAW => self.withdraw(input.byte().into()),
            REVOKE => self.revoke(input.byte().into()),
            _ => {
                let (count, unit) = (input.byte(), input.byte());
                self.pass(count, unit);
            }
        }
    }

    /// Reads a stream as the relay reads it, and has the request in it answered.
    fn hear(&mut self, from: u8, cut: usize, stream: &[u8], holder: Option<(DeviceId, PublicKey)>) {
        let mut reader = FrameReader::for_enrol_request();
        let mut taken = 0;
        for piece in stream.chunks(cut) {
            reader.handle(piece);
            taken += piece.len();
            let Ok(frame) = reader.poll_frame() else {
                return;
            };
            let Some(frame) = frame else {
                assert!(taken < STREAM_MAX, "{taken} bytes are held of a request");
                continue;
            };
            if let Ok(request) = EnrolRequest::decode(frame) {
                let again = EnrolRequest::decode(&request.encode());
                assert_eq!(again.as_ref(), Ok(&request));
                self.ask(&request, from, holder);
            }
            return;
        }
    }

    /// Has a request answered, and holds the answer against the ledger.
    fn ask(&mut self, request: &EnrolRequest, from: u8, holder: Option<(DeviceId, PublicKey)>) {
        let now = self.now;
        let (due, key) = match request {
            EnrolRequest::Redeem(redeem) => {
                let due = self.ledger.redeem(redeem, place_of(from), now);
                (due, Some(redeem.request.key))
            }
            EnrolRequest::Renew => {
                let due = self.ledger.renew(holder, place_of(from), now);
                (due, holder.map(|(_, key)| key))
            }
        };
        self.store();
        let store = self.store.as_mut().expect("it was just opened");
        let holder = holder.map(|(device, key)| Identified {
            device,
            key: Some(key),
        });
        let answer = self.desk.answer(store, request, holder, address(from), now);
        let bytes = answer.encode();
        assert!(bytes.len() <= ANSWER_MAX);
        assert_eq!(EnrolAnswer::decode(&bytes).as_ref(), Ok(&answer));
        match (due, &answer, key) {
            (Due::Waiting, EnrolAnswer::Waiting { fingerprint, .. }, Some(key)) => {
                assert_eq!(*fingerprint, Fingerprint::of(&key));
            }
            (Due::Issued(place), EnrolAnswer::Issued(issued), Some(key)) => {
                let device = self.ledger.invited[place].device();
                self.check_issued(issued, device, &key);
                self.ledger.issued(Some(place), key, issued);
            }
            (Due::Renewed(device), EnrolAnswer::Issued(issued), Some(key)) => {
                self.check_issued(issued, Some(device), &key);
                self.ledger.issued(None, key, issued);
            }
            (Due::Refused(refusal), EnrolAnswer::Refused { reason, .. }, _) => {
                assert_eq!(EnrolRefusal::of(reason), Some(refusal));
            }
            (due, answer, _) => panic!("{answer:?} in the place of {due:?}"),
        }
    }

    /// Checks that a certificate is its device's, for its key, and no longer good than a lease; and the one it has
    /// already as long as that need not be renewed.
    fn check_issued(&self, issued: &Issued, device: Option<DeviceId>, key: &PublicKey) {
        match device {
            Some(device) => assert_eq!(issued.device, device),
            None => assert!(!self.ledger.leases.contains_key(&issued.device)),
        }
        let certificate = CertificateDer::from(issued.certificates[0].clone());
        assert_eq!(device_of_certificate(&certificate), Ok(issued.device));
        assert_eq!(key_of_certificate(&certificate), Ok(Some(*key)));
        let before = self.ledger.leases.get(&issued.device);
        match before.map(|(_, lease)| lease) {
            Some(lease) if self.now < lease.renew_after => assert_eq!(issued, lease),
            Some(_) | None => {
                assert_eq!(issued.issued, self.now);
                assert!(issued.not_after <= self.now.plus(LEASE));
            }
        }
    }

    fn invite(&mut self, auto_approve: bool) {
        let code = code(self.ledger.invited.len());
        let now = self.now;
        let row = self
            .store()
            .invite(code, "平板", &grants(), auto_approve, now)
            .expect("the store works");
        self.ledger.invite(row.id, code, auto_approve, now);
    }

    fn approve(&mut self, which: usize, how: u8) {
        let Some(place) = self.invitation(which) else {
            return;
        };
        let (now, invited) = (self.now, &self.ledger.invited[place]);
        let (id, taken) = (invited.id, invited.taken);
        let given = match how % 3 {
            0 => None,
            1 => taken.map(|(key, _)| Fingerprint::of(&key)),
            _ => Some(Fingerprint::of(&signer(how).public_key())),
        };
        let device = DeviceId::from_bytes([place as u8; 16]);
        let approval = self.store().approve(id, given, device, now);
        match approval.expect("the store works") {
            Approval::Approved(approved) => {
                assert_eq!(approved, device);
                assert!(
                    given
                        .is_none_or(|it| taken.is_some_and(|(key, _)| Fingerprint::of(&key) == it))
                );
                assert!(self.ledger.approve(place, device, now), "nobody waits");
            }
            Approval::OtherFingerprint { tries_left: 0 } => self.ledger.refuse(place),
            Approval::OtherFingerprint { .. } => {}
            Approval::NotWaiting(_) => {
                assert!(!self.ledger.approve(place, device, now), "somebody waits");
            }
            Approval::Unknown => panic!("an invitation is gone"),
        }
    }

    fn withdraw(&mut self, which: usize) {
        if let Some(place) = self.invitation(which) {
            let (now, id) = (self.now, self.ledger.invited[place].id);
            self.store().withdraw(id, now).expect("the store works");
            self.ledger.withdraw(place, now);
        }
    }

    fn revoke(&mut self, which: usize) {
        let devices: Vec<_> = self.ledger.leases.keys().copied().collect();
        if let Some(device) = devices.get(which % devices.len().max(1)).copied() {
            let now = self.now;
            self.store().revoke(device, now).expect("the store works");
            self.ledger.revoke(device);
        }
    }

    fn pass(&mut self, count: u8, unit: u8) {
        let by = UNITS[usize::from(unit) % UNITS.len()] * count.into();
        let by_ms = i64::try_from(by.as_millis()).expect("it is a year at most");
        let is_back = unit & 0x80 != 0;
        let at = self.now.0 + if is_back { -by_ms } else { by_ms };
        self.now = WallTime(at.clamp(START.0 - YEAR_MS, START.0 + YEAR_MS));
    }

    fn invitation(&self, which: usize) -> Option<usize> {
        let count = self.ledger.invited.len();
        (count > 0).then(|| which % count)
    }

    /// Names whoever shows a certificate: nobody, a device that has one, or one that never had.
    fn holder(&self, which: u8, key: u8) -> Option<(DeviceId, PublicKey)> {
        let mut leases = self.ledger.leases.iter();
        let own = which & 0x80 != 0;
        match usize::from(which & 0x7f) {
            0 => None,
            place => Some(match leases.nth(place - 1) {
                Some((device, (owner, _))) if own => (*device, *owner),
                Some((device, _)) => (*device, signer(key).public_key()),
                None => (DeviceId::from_bytes([which; 16]), signer(key).public_key()),
            }),
        }
    }

    /// Checks that there are as many devices as were approved, each with what its invitation grants and no more.
    fn check_devices(&self) {
        let Some(store) = &self.store else {
            return;
        };
        let devices = store.devices().expect("the store works");
        let approved = self.ledger.invited.iter().filter(|it| it.is_approved());
        assert_eq!(devices.len(), approved.count());
        for row in devices {
            assert_eq!(row.grants, grants());
            assert_eq!(row.revoked.is_some(), self.ledger.is_revoked(row.device));
            let lease = store.lease(row.device).expect("the store works");
            let known = self.ledger.leases.get(&row.device);
            assert_eq!(
                lease.map(|it| (it.key, it.certificate)),
                known.map(|(key, issued)| (*key, issued.certificates[0].clone()))
            );
        }
    }
}

/// Puts a request into a stream, and writes over it what an input says: where, and which byte.
fn bent(request: &EnrolRequest, input: &mut Input<'_>) -> Vec<u8> {
    let mut bytes = request.encode();
    for bend in input.piece().chunks_exact(2) {
        let place = usize::from(bend[0]) % bytes.len();
        bytes[place] = bend[1];
    }
    let mut stream = Vec::new();
    write_prefixed(&bytes, &mut stream);
    stream
}

/// The codes of invitations, in their order: so that an input of any bytes may hold one.
const fn code(number: usize) -> EnrolCode {
    EnrolCode::from_bytes([number as u8; 16])
}

fn signer(number: u8) -> Signer {
    Signer::from_seed(&[number; 32])
}

fn grants() -> BTreeMap<Scope, Granted> {
    let scope = Scope::new("招宝山").expect("a place is a scope");
    BTreeMap::from([(scope, Verbs::WORK.into())])
}

/// An address by a number: sixteen hosts, or sixteen networks of eight hosts each.
fn address(number: u8) -> IpAddr {
    let (place, host) = (number & 0x0f, number >> 4 & 7);
    let v4 = Ipv4Addr::new(192, 0, 2, place);
    match number >> 7 {
        1 => Ipv6Addr::new(0x2001, 0xdb8, 0, place.into(), 0, 0, 0, host.into()).into(),
        _ if host & 1 == 1 => v4.to_ipv6_mapped().into(),
        _ => v4.into(),
    }
}

/// What counts as one address.
fn place_of(number: u8) -> u16 {
    u16::from(number & 0x8f)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn whoever_comes_first_is_let_in_and_whoever_guesses_is_not_listened_to() {
        let ask = [REDEEM, 1, 0, 7, 0, 0, 0, 0];
        let ledger = run(&[&[INVITE, 1][..], &ask].concat());
        let keys: Vec<_> = ledger.leases.values().map(|(key, _)| *key).collect();
        assert_eq!(keys, [signer(7).public_key()]);
        let guess = [REDEEM, 1, 9, 7, 0, 0, 0, 0];
        let ledger = run(&[&guess.repeat(10)[..], &[INVITE, 1], &ask].concat());
        assert_eq!(ledger.invited.len(), 1);
        assert!(ledger.invited[0].taken.is_none());
    }
}
