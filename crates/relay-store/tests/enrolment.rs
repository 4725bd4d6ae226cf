//! Enrolment against a model: whatever operators, devices and strangers do, in whatever order and at
//! whatever time, a code lets one key in, as one device, with what the invitation grants.

#![expect(
    clippy::unwrap_used,
    reason = "a test that cannot set up fails by that"
)]

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use gridbeat_base::{DeviceId, Install, Random, Scope, Verbs, WallTime};
use gridbeat_relay_store::{
    Approval, FINGERPRINT_TRIES_MAX, Granted, INVITATION_LIFETIME, InvitationRow, LEASE_GRACE,
    LeaseRow, REQUEST_LIFETIME, Registry as _, Renewal, SqliteStore, Standing, StoreOptions,
};
use gridbeat_sync_protocol::{EnrolCode, Fingerprint, Redeem, Signer};

const NOW: WallTime = WallTime(1_790_000_000_000);

struct Place {
    dir: tempfile::TempDir,
    store: SqliteStore,
    random: Random,
    now: WallTime,
}

impl Place {
    fn new(seed: u64) -> Self {
        let dir = tempfile::tempdir().unwrap();
        let mut random = Random::from_number(seed);
        let path = dir.path().join("relay.db");
        let store = SqliteStore::open(&path, StoreOptions::default(), &mut random).unwrap();
        Self {
            dir,
            store,
            random,
            now: NOW,
        }
    }

    fn invite(&mut self, auto_approve: bool) -> (EnrolCode, InvitationRow) {
        let code = EnrolCode::from_bytes(self.random.bytes());
        let row = self
            .store
            .invite(code, "tablet", &grants(), auto_approve, self.now);
        (code, row.unwrap())
    }

    fn redeem(&mut self, code: EnrolCode, key: u8) -> Option<Standing> {
        let redeem = Redeem::new(code, &signer(key), Install::new([key; 16]), "model");
        let device = DeviceId::mint(self.now, &mut self.random);
        self.store
            .redeem(&redeem, "192.0.2.1", device, self.now)
            .unwrap()
    }

    fn approve(&mut self, id: u64, fingerprint: Option<Fingerprint>) -> Approval {
        let device = DeviceId::mint(self.now, &mut self.random);
        self.store
            .approve(id, fingerprint, device, self.now)
            .unwrap()
    }

    fn wait(&mut self, time: Duration) {
        self.now = self.now.plus(time);
    }
}

fn signer(n: u8) -> Signer {
    Signer::from_seed(&[n; 32])
}

fn fingerprint(n: u8) -> Fingerprint {
    Fingerprint::of(&signer(n).public_key())
}

fn grants() -> BTreeMap<Scope, Granted> {
    let granted = |role: &str, verbs| Granted {
        role: role.to_owned(),
        verbs,
    };
    BTreeMap::from([
        (Scope::new("east").unwrap(), granted("leader", Verbs::WORK)),
        (Scope::new("west").unwrap(), granted("", Verbs::READ)),
    ])
}

#[test]
fn a_device_is_enrolled_with_what_its_invitation_grants() {
    let mut place = Place::new(1);
    let (code, row) = place.invite(false);
    assert_eq!(row.standing(place.now), Standing::Open);
    assert_eq!(place.redeem(code, 1), Some(Standing::Waiting));
    assert_eq!(
        place.redeem(code, 1),
        Some(Standing::Waiting),
        "asked again"
    );
    assert_eq!(
        place.store.devices().unwrap(),
        [],
        "nobody is in before it is approved"
    );
    let Approval::Approved(device) = place.approve(row.id, Some(fingerprint(1))) else {
        panic!("the one that asks")
    };
    assert_eq!(place.redeem(code, 1), Some(Standing::Approved(device)));
    let devices = place.store.devices().unwrap();
    assert_eq!(
        (devices[0].device, devices[0].name.as_str()),
        (device, "tablet")
    );
    assert_eq!(devices[0].grants, grants());
    assert_eq!(devices.len(), 1);
}

#[test]
fn a_code_that_is_not_good_is_answered_alike_whatever_it_is() {
    let mut place = Place::new(1);
    let (spent, _) = place.invite(false);
    assert_eq!(place.redeem(spent, 1), Some(Standing::Waiting));
    let (cancelled, row) = place.invite(false);
    assert_eq!(
        place.store.withdraw(row.id, place.now).unwrap(),
        Some(Standing::Open)
    );
    let never = EnrolCode::from_bytes([7; 16]);
    for code in [spent, cancelled, never] {
        assert_eq!(place.redeem(code, 2), None);
    }
    let (old, _) = place.invite(true);
    place.wait(INVITATION_LIFETIME);
    assert_eq!(place.redeem(old, 2), None);
    place.wait(REQUEST_LIFETIME);
    assert_eq!(place.redeem(spent, 1), None, "nobody approved it in time");
    let strangers = place.store.invitations(10).unwrap();
    let strangers: Vec<u64> = strangers.iter().map(|row| row.strangers).collect();
    assert_eq!(
        strangers,
        [0, 0, 1],
        "the operator sees that somebody else has a spent code"
    );
}

#[test]
fn of_two_that_show_one_code_one_wins() {
    for auto_approve in [false, true] {
        let mut place = Place::new(1);
        let (code, row) = place.invite(auto_approve);
        // Both have looked before either has written.
        let first = place.redeem(code, 1);
        assert!(first.is_some());
        assert_eq!(place.redeem(code, 2), None);
        assert_eq!(place.redeem(code, 1), first);
        let path = place.dir.path().join("relay.db");
        let mut random = Random::from_number(2);
        let mut other = SqliteStore::open(&path, StoreOptions::default(), &mut random).unwrap();
        let redeem = Redeem::new(code, &signer(3), Install::new([3; 16]), "");
        let device = DeviceId::mint(place.now, &mut random);
        let answer = other
            .redeem(&redeem, "192.0.2.3", device, place.now)
            .unwrap();
        assert_eq!(answer, None, "another process neither");
        let row = place.store.invitations(1).unwrap().remove(0).id == row.id;
        assert!(row);
    }
}

#[test]
fn guesses_at_the_fingerprint_run_out() {
    let mut place = Place::new(1);
    let (code, row) = place.invite(false);
    place.redeem(code, 1);
    for left in (0..FINGERPRINT_TRIES_MAX).rev() {
        let approval = place.approve(row.id, Some(fingerprint(2)));
        assert_eq!(approval, Approval::OtherFingerprint { tries_left: left });
    }
    let approval = place.approve(row.id, Some(fingerprint(1)));
    assert_eq!(approval, Approval::NotWaiting(Standing::Refused));
    assert_eq!(place.redeem(code, 1), Some(Standing::Refused));
    assert_eq!(
        place.redeem(code, 2),
        None,
        "only the one that asked is told"
    );
    assert_eq!(place.store.devices().unwrap(), []);
}

#[test]
fn no_code_lies_in_the_database_in_clear() {
    let mut place = Place::new(1);
    let (code, _) = place.invite(false);
    place.redeem(code, 1);
    for file in std::fs::read_dir(place.dir.path()).unwrap() {
        let bytes = std::fs::read(file.unwrap().path()).unwrap();
        let found = bytes.windows(16).any(|window| window == code.reveal());
        assert!(!found);
    }
}

#[test]
fn a_lease_is_kept_with_its_key_and_renewed_for_that_key_alone() {
    let mut place = Place::new(1);
    let (code, _) = place.invite(true);
    let Some(Standing::Approved(device)) = place.redeem(code, 1) else {
        panic!("let in at once")
    };
    let (mine, other) = (signer(1).public_key(), signer(2).public_key());
    let none = place.store.renewal(device, &mine, place.now).unwrap();
    assert_eq!(none, Renewal::Unknown, "nothing was issued yet");
    let lease = LeaseRow {
        device,
        key: mine,
        certificate: vec![1, 2, 3],
        issued: place.now,
        renew_after: place.now.plus(Duration::from_secs(100)),
        not_after: place.now.plus(Duration::from_secs(300)),
    };
    place.store.put_lease(&lease).unwrap();
    let renewal = |place: &Place, key| place.store.renewal(device, key, place.now).unwrap();
    assert_eq!(renewal(&place, &mine), Renewal::Present(Box::new(lease)));
    assert_eq!(renewal(&place, &other), Renewal::OtherKey);
    place.wait(LEASE_GRACE);
    assert_eq!(renewal(&place, &mine), Renewal::Due);
    place.store.revoke(device, place.now).unwrap();
    assert_eq!(renewal(&place, &mine), Renewal::Revoked);
}

/// What the model knows of one code.
struct Known {
    code: EnrolCode,
    id: u64,
    auto_approve: bool,
    made: WallTime,
    is_withdrawn: bool,
    winner: Option<u8>,
    device: Option<DeviceId>,
}

#[test]
fn no_order_of_events_enrols_two_devices_by_one_code_or_grants_more() {
    for seed in 0..25 {
        let mut place = Place::new(seed);
        let mut known: Vec<Known> = Vec::new();
        for _ in 0..60 {
            step(&mut place, &mut known);
            check(&place, &known, seed);
        }
    }
}

fn step(place: &mut Place, known: &mut Vec<Known>) {
    let (what, key) = (
        place.random.below(12),
        u8::try_from(place.random.below(3)).unwrap(),
    );
    if known.is_empty() || what == 0 {
        let auto_approve = place.random.chance(300);
        let (code, row) = place.invite(auto_approve);
        return known.push(Known {
            code,
            id: row.id,
            auto_approve,
            made: place.now,
            is_withdrawn: false,
            winner: None,
            device: None,
        });
    }
    let most = u64::try_from(known.len()).unwrap();
    let at = usize::try_from(place.random.below(most)).unwrap();
    match what {
        1..=5 => redeem(place, &mut known[at], key),
        6 | 7 => {
            let given = place.random.chance(700).then(|| fingerprint(key));
            let approval = place.approve(known[at].id, given);
            if let Approval::Approved(device) = approval {
                let one = &mut known[at];
                assert!(one.device.is_none() && !one.is_withdrawn);
                assert!(given.is_none() || one.winner == Some(key), "as compared");
                one.device = Some(device);
            }
        }
        8 => {
            let standing = place.store.withdraw(known[at].id, place.now).unwrap();
            if matches!(standing, Some(Standing::Open | Standing::Waiting)) {
                known[at].is_withdrawn = true;
            }
        }
        9 => assert_eq!(place.redeem(EnrolCode::from_bytes([key; 16]), key), None),
        10 => place.wait(Duration::from_secs(60)),
        _ => place.wait(Duration::from_secs(600)),
    }
}

fn redeem(place: &mut Place, one: &mut Known, key: u8) {
    let answer = place.redeem(one.code, key);
    let is_first = one.winner.is_none();
    let in_time = place.now < one.made.plus(INVITATION_LIFETIME);
    match answer {
        None => {
            let is_good = is_first && in_time && !one.is_withdrawn;
            assert!(!is_good, "a good code");
        }
        Some(standing) => {
            assert!(is_first || one.winner == Some(key), "another's code");
            assert!(
                !is_first || in_time && !one.is_withdrawn,
                "a code that is not good"
            );
            one.winner = Some(key);
            if let Standing::Approved(device) = standing {
                assert!(
                    one.auto_approve || one.device.is_some(),
                    "nobody approved it"
                );
                assert!(
                    one.device.is_none_or(|known| known == device),
                    "a second device"
                );
                one.device = Some(device);
            }
        }
    }
}

fn check(place: &Place, known: &[Known], seed: u64) {
    let enrolled: BTreeSet<DeviceId> = known.iter().filter_map(|one| one.device).collect();
    let devices = place.store.devices().unwrap();
    let table: BTreeSet<DeviceId> = devices.iter().map(|row| row.device).collect();
    assert_eq!(table, enrolled, "seed {seed}");
    assert!(
        devices.iter().all(|row| row.grants == grants()),
        "seed {seed}"
    );
}
