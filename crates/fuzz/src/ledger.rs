//! What a relay may answer to whoever wants to be enrolled: the rules of `PROTOCOL.md` 10 and of `docs/enrolment.md`,
//! written a second time and without a database.
//!
//! Knows every invitation, who came by it, and which addresses failed too often. Not here: how it is asked
//! (`enrolment`).

use std::collections::BTreeMap;
use std::time::Duration;

use gridbeat_base::{DeviceId, WallTime};
use gridbeat_relay_store::{INVITATION_LIFETIME, LEASE_GRACE, REQUEST_LIFETIME};
use gridbeat_sync_protocol::{EnrolCode, EnrolRefusal, Issued, PublicKey, Redeem};

/// Failures from one address after which it is not listened to, and for how long they count.
const FAILURES_MAX: u32 = 10;
const FAILURES_FOR: Duration = Duration::from_secs(15 * 60);

/// What must be answered.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(crate) enum Due {
    /// That a person is to look.
    Waiting,
    /// A certificate, by the invitation at this place.
    Issued(usize),
    /// What the device of this place in the list of leases has, or another.
    Renewed(DeviceId),
    /// Nothing but this.
    Refused(EnrolRefusal),
}

/// An invitation, and what became of it.
#[derive(Debug)]
pub(crate) struct Invited {
    pub(crate) id: u64,
    code: EnrolCode,
    auto_approve: bool,
    created: WallTime,
    is_cancelled: bool,
    is_refused: bool,
    /// Who came first, and when.
    pub(crate) taken: Option<(PublicKey, WallTime)>,
    /// When it was approved, and as which device as soon as that is known.
    approved: Option<(WallTime, Option<DeviceId>)>,
}

/// All that decides.
#[derive(Debug, Default)]
pub(crate) struct Ledger {
    pub(crate) invited: Vec<Invited>,
    /// The latest lease of each device.
    pub(crate) leases: BTreeMap<DeviceId, (PublicKey, Issued)>,
    /// Devices whose rights were taken.
    revoked: Vec<DeviceId>,
    failures: BTreeMap<u16, (WallTime, u32)>,
}

impl Invited {
    fn is_over(since: WallTime, now: WallTime) -> bool {
        since.plus(REQUEST_LIFETIME) <= now
    }

    /// Whether somebody came, nobody looked and it is not too late to look.
    fn waits(&self, now: WallTime) -> bool {
        let is_seen = self.approved.is_some() || self.is_refused;
        self.taken
            .is_some_and(|(_, since)| !is_seen && !Self::is_over(since, now))
    }

    pub(crate) fn device(&self) -> Option<DeviceId> {
        self.approved.and_then(|(_, device)| device)
    }

    pub(crate) const fn is_approved(&self) -> bool {
        self.approved.is_some()
    }
}

impl Ledger {
    pub(crate) fn invite(&mut self, id: u64, code: EnrolCode, auto_approve: bool, now: WallTime) {
        self.invited.push(Invited {
            id,
            code,
            auto_approve,
            created: now,
            is_cancelled: false,
            is_refused: false,
            taken: None,
            approved: None,
        });
    }

    /// An operator takes an invitation back, or refuses who came by it.
    pub(crate) fn withdraw(&mut self, place: usize, now: WallTime) {
        let invited = &mut self.invited[place];
        if invited.taken.is_none() && now < invited.created.plus(INVITATION_LIFETIME) {
            invited.is_cancelled = true;
        } else if invited.waits(now) {
            invited.is_refused = true;
        }
    }

    /// An operator approves who came by an invitation; says whether that is possible.
    pub(crate) fn approve(&mut self, place: usize, device: DeviceId, now: WallTime) -> bool {
        let invited = &mut self.invited[place];
        let may = invited.waits(now);
        if may {
            invited.approved = Some((now, Some(device)));
        }
        may
    }

    /// An operator named another fingerprint too often.
    pub(crate) fn refuse(&mut self, place: usize) {
        self.invited[place].is_refused = true;
    }

    pub(crate) fn revoke(&mut self, device: DeviceId) {
        self.revoked.push(device);
    }

    pub(crate) fn is_revoked(&self, device: DeviceId) -> bool {
        self.revoked.contains(&device)
    }

    /// Decides a request to be enrolled that came from an address, and notes what it changes.
    pub(crate) fn redeem(&mut self, redeem: &Redeem, from: u16, now: WallTime) -> Due {
        self.listen(from, now, |ledger| {
            if !redeem.is_proven() {
                return Due::Refused(EnrolRefusal::NotProven);
            }
            let mut all = ledger.invited.iter();
            match all.position(|it| it.code == redeem.code) {
                Some(place) => ledger.show(place, redeem.request.key, now),
                None => Due::Refused(EnrolRefusal::CodeNotGood),
            }
        })
    }

    /// Decides what a good code comes to in the hands of a key.
    fn show(&mut self, place: usize, key: PublicKey, now: WallTime) -> Due {
        let invited = &mut self.invited[place];
        if invited.taken.is_none() {
            if invited.is_cancelled || invited.created.plus(INVITATION_LIFETIME) <= now {
                return Due::Refused(EnrolRefusal::CodeNotGood);
            }
            invited.taken = Some((key, now));
            if invited.auto_approve {
                invited.approved = Some((now, None));
            }
        }
        let is_theirs = invited.taken.is_some_and(|(owner, _)| owner == key);
        match invited.approved {
            _ if !is_theirs => Due::Refused(EnrolRefusal::CodeNotGood),
            Some((since, _)) if Invited::is_over(since, now) => {
                Due::Refused(EnrolRefusal::CodeNotGood)
            }
            Some((_, Some(device))) if self.revoked.contains(&device) => {
                Due::Refused(EnrolRefusal::DeviceRevoked)
            }
            Some(_) => Due::Issued(place),
            None if invited.is_refused => Due::Refused(EnrolRefusal::NotApproved),
            None if invited.waits(now) => Due::Waiting,
            None => Due::Refused(EnrolRefusal::CodeNotGood),
        }
    }

    /// Decides a request to renew, by whoever showed a certificate of `holder`.
    pub(crate) fn renew(
        &mut self,
        holder: Option<(DeviceId, PublicKey)>,
        from: u16,
        now: WallTime,
    ) -> Due {
        self.listen(from, now, |ledger| {
            let Some((device, key)) = holder else {
                return Due::Refused(EnrolRefusal::DeviceUnknown);
            };
            if ledger.revoked.contains(&device) {
                return Due::Refused(EnrolRefusal::DeviceRevoked);
            }
            match ledger.leases.get(&device) {
                None => Due::Refused(EnrolRefusal::DeviceUnknown),
                Some((owner, _)) if *owner != key => Due::Refused(EnrolRefusal::KeyReplaced),
                Some((_, lease)) if lease.not_after.plus(LEASE_GRACE) <= now => {
                    Due::Refused(EnrolRefusal::TooLate)
                }
                Some(_) => Due::Renewed(device),
            }
        })
    }

    /// Notes a certificate that was handed out by an invitation, or to a device that had one.
    pub(crate) fn issued(&mut self, place: Option<usize>, key: PublicKey, issued: &Issued) {
        if let Some((_, device)) = place.and_then(|it| self.invited[it].approved.as_mut()) {
            assert!(
                device.is_none_or(|it| it == issued.device),
                "another device"
            );
            *device = Some(issued.device);
        }
        self.leases.insert(issued.device, (key, issued.clone()));
    }

    /// Decides, unless the address failed too often.
    fn listen(&mut self, from: u16, now: WallTime, decide: impl FnOnce(&mut Self) -> Due) -> Due {
        let is_over =
            |(first, _): &(WallTime, u32)| first.plus(FAILURES_FOR) <= now || now < *first;
        let counted = self.failures.get(&from).filter(|it| !is_over(it));
        if counted.is_some_and(|(_, count)| *count >= FAILURES_MAX) {
            return Due::Refused(EnrolRefusal::TooManyAttempts);
        }
        let due = decide(self);
        if matches!(due, Due::Refused(_)) {
            let failures = self.failures.entry(from).or_insert((now, 0));
            if is_over(failures) {
                *failures = (now, 0);
            }
            failures.1 += 1;
        }
        due
    }
}
