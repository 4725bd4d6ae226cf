//! Invitations, the requests that spend them, and leases: what each may become, and when.
//!
//! Pure: a row and the time decide. An invitation is spent by the first request that shows its code, and
//! from then on belongs to the key of that request. To anybody else, and after its time, it is as if it had
//! never been: unknown, spent, old and withdrawn codes are answered alike. Not here: where rows lie
//! (`enrolment`), who asks (the relay's shell).

use std::collections::BTreeMap;
use std::time::Duration;

use gridbeat_base::{DeviceId, Install, Scope, WallTime};
use gridbeat_sync_protocol::{Fingerprint, PublicKey};

use crate::Granted;

/// How long an invitation is good: the operator and the device's owner are in one room or on the phone, and
/// whoever finds the printed code later finds it dead.
pub const INVITATION_LIFETIME: Duration = Duration::from_secs(15 * 60);

/// How long a request waits for the operator, and an approved one for its device to fetch what was issued: a
/// tunnel, a lunch.
pub const REQUEST_LIFETIME: Duration = Duration::from_secs(60 * 60);

/// How often an operator may give another fingerprint than the request's before it counts as a stranger's and is refused: two
/// slips of the tongue. Three guesses of a million.
pub const FINGERPRINT_TRIES_MAX: u64 = 3;

/// How many requests of other keys for a spent code are counted: more say no more, and cost a write each.
pub(crate) const STRANGERS_MAX: u64 = 100;

/// How long after its end a lease may still be renewed: half a year's leave.
pub const LEASE_GRACE: Duration = Duration::from_secs(180 * 24 * 60 * 60);

/// An invitation and what has become of it.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct InvitationRow {
    /// What operators call it by.
    pub id: u64,
    /// What its device will be called.
    pub name: String,
    /// What its device will be granted, and nothing more.
    pub grants: BTreeMap<Scope, Granted>,
    /// Whether the first who comes is let in without an operator's look.
    pub auto_approve: bool,
    /// When it was made.
    pub created: WallTime,
    /// When its code ends if nobody came.
    pub expires: WallTime,
    /// When it was withdrawn before anybody came.
    pub cancelled: Option<WallTime>,
    /// Who came first.
    pub request: Option<RequestRow>,
    /// How many requests of other keys came for its code since: somebody else has seen it.
    pub strangers: u64,
}

/// The request that spent an invitation.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct RequestRow {
    /// The device's key.
    pub key: PublicKey,
    /// The installation.
    pub install: Install,
    /// What the device calls itself; anybody may claim anything.
    pub said: String,
    /// The address it came from.
    pub from: String,
    /// When it came.
    pub requested: WallTime,
    /// How often another fingerprint was given for it.
    pub tries: u64,
    /// When it was approved, and as which device.
    pub approved: Option<(WallTime, DeviceId)>,
    /// When it was refused.
    pub refused: Option<WallTime>,
}

impl RequestRow {
    /// Returns the digits that the device shows if it is the one that asks.
    pub fn fingerprint(&self) -> Fingerprint {
        Fingerprint::of(&self.key)
    }
}

/// Where an invitation stands.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Standing {
    /// Nobody came yet.
    Open,
    /// Nobody came in time.
    Expired,
    /// Withdrawn before anybody came.
    Cancelled,
    /// Somebody came, and an operator is to look.
    Waiting,
    /// Nobody looked in time.
    Lapsed,
    /// Refused by an operator.
    Refused,
    /// Approved; the device may fetch what was issued.
    Approved(DeviceId),
    /// Approved long ago.
    Enrolled(DeviceId),
}

impl Standing {
    /// Returns the word for it in lists and in JSON.
    pub const fn id(self) -> &'static str {
        match self {
            Self::Open => "open",
            Self::Expired => "expired",
            Self::Cancelled => "cancelled",
            Self::Waiting => "waiting",
            Self::Lapsed => "lapsed",
            Self::Refused => "refused",
            Self::Approved(_) => "approved",
            Self::Enrolled(_) => "enrolled",
        }
    }
}

/// What a request that shows a code comes to.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(crate) enum Turn {
    /// It is the first, and spends the code.
    Take,
    /// As the invitation stands, for the key it belongs to.
    As(Standing),
    /// The code is not good, to whoever asks.
    NotGood,
}

impl InvitationRow {
    /// Returns where it stands.
    pub fn standing(&self, now: WallTime) -> Standing {
        let is_over = |since: WallTime| since.plus(REQUEST_LIFETIME) <= now;
        match &self.request {
            None if self.cancelled.is_some() => Standing::Cancelled,
            None if self.expires <= now => Standing::Expired,
            None => Standing::Open,
            Some(request) => match (request.approved, request.refused) {
                (Some((at, device)), _) if is_over(at) => Standing::Enrolled(device),
                (Some((_, device)), _) => Standing::Approved(device),
                (None, Some(_)) => Standing::Refused,
                (None, None) if is_over(request.requested) => Standing::Lapsed,
                (None, None) => Standing::Waiting,
            },
        }
    }

    /// Decides what a request by `key` for this code comes to.
    pub(crate) fn turn(&self, key: &PublicKey, now: WallTime) -> Turn {
        let standing = self.standing(now);
        let is_theirs = self.request.as_ref().is_some_and(|one| one.key == *key);
        match standing {
            Standing::Open => Turn::Take,
            Standing::Waiting | Standing::Refused | Standing::Approved(_) if is_theirs => {
                Turn::As(standing)
            }
            Standing::Expired
            | Standing::Cancelled
            | Standing::Waiting
            | Standing::Lapsed
            | Standing::Refused
            | Standing::Approved(_)
            | Standing::Enrolled(_) => Turn::NotGood,
        }
    }
}

/// A device's certificate as it was issued.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct LeaseRow {
    /// The device.
    pub device: DeviceId,
    /// The key it certifies.
    pub key: PublicKey,
    /// The certificate (X.509, DER).
    pub certificate: Vec<u8>,
    /// When it was issued.
    pub issued: WallTime,
    /// From when on it may be renewed.
    pub renew_after: WallTime,
    /// When it ends.
    pub not_after: WallTime,
}

/// What a device that asks for a renewal gets.
#[derive(Clone, Debug, Eq, PartialEq)]
pub enum Renewal {
    /// Another lease is due.
    Due,
    /// The one it has, or whose issue it did not hear of.
    Present(Box<LeaseRow>),
    /// No such device was ever issued a lease here.
    Unknown,
    /// Its rights were taken.
    Revoked,
    /// Its present lease is for another key.
    OtherKey,
    /// Its lease ended longer ago than [`LEASE_GRACE`].
    TooLate,
}

impl Renewal {
    /// Decides by what is known of the device: whether its rights were taken, and its latest lease.
    pub(crate) fn of(
        is_revoked: Option<bool>,
        latest: Option<LeaseRow>,
        key: &PublicKey,
        now: WallTime,
    ) -> Self {
        match (is_revoked, latest) {
            (None, _) | (Some(false), None) => Self::Unknown,
            (Some(true), _) => Self::Revoked,
            (Some(false), Some(lease)) if lease.key != *key => Self::OtherKey,
            (Some(false), Some(lease)) if lease.not_after.plus(LEASE_GRACE) <= now => Self::TooLate,
            (Some(false), Some(lease)) if now < lease.renew_after => Self::Present(Box::new(lease)),
            (Some(false), Some(_)) => Self::Due,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use gridbeat_sync_protocol::Signer;

    const NOW: WallTime = WallTime(1_790_000_000_000);
    const SECOND: Duration = Duration::from_secs(1);

    fn key(n: u8) -> PublicKey {
        Signer::from_seed(&[n; 32]).public_key()
    }

    fn device() -> DeviceId {
        DeviceId::from_bytes([9; 16])
    }

    fn open() -> InvitationRow {
        InvitationRow {
            id: 1,
            name: "tablet".to_owned(),
            grants: BTreeMap::new(),
            auto_approve: false,
            created: NOW,
            expires: NOW.plus(INVITATION_LIFETIME),
            cancelled: None,
            request: None,
            strangers: 0,
        }
    }

    fn asked() -> InvitationRow {
        InvitationRow {
            request: Some(RequestRow {
                key: key(1),
                install: Install::new([2; 16]),
                said: String::new(),
                from: String::new(),
                requested: NOW,
                tries: 0,
                approved: None,
                refused: None,
            }),
            ..open()
        }
    }

    fn with(change: impl FnOnce(&mut RequestRow)) -> InvitationRow {
        let mut row = asked();
        change(row.request.as_mut().unwrap());
        row
    }

    #[test]
    fn a_code_is_good_once_and_for_a_quarter_of_an_hour() {
        let last = WallTime(NOW.plus(INVITATION_LIFETIME).0 - 1);
        assert_eq!(open().turn(&key(1), last), Turn::Take);
        let late = open().turn(&key(1), NOW.plus(INVITATION_LIFETIME));
        assert_eq!(late, Turn::NotGood);
        let cancelled = InvitationRow {
            cancelled: Some(NOW),
            ..open()
        };
        assert_eq!(cancelled.turn(&key(1), NOW), Turn::NotGood);
    }

    #[test]
    fn a_spent_code_belongs_to_the_key_that_spent_it_and_is_dead_to_all_others() {
        let rows = [
            (asked(), Standing::Waiting),
            (with(|one| one.refused = Some(NOW)), Standing::Refused),
            (
                with(|one| one.approved = Some((NOW, device()))),
                Standing::Approved(device()),
            ),
        ];
        for (row, standing) in rows {
            assert_eq!(row.turn(&key(1), NOW), Turn::As(standing));
            assert_eq!(row.turn(&key(2), NOW), Turn::NotGood, "{standing:?}");
            let later = NOW.plus(REQUEST_LIFETIME);
            if standing != Standing::Refused {
                assert_eq!(row.turn(&key(1), later), Turn::NotGood, "{standing:?}");
            }
        }
    }

    #[test]
    fn a_lease_is_renewed_from_a_third_on_until_long_after_its_end_and_never_for_a_revoked_device()
    {
        let lease = LeaseRow {
            device: device(),
            key: key(1),
            certificate: vec![],
            issued: NOW,
            renew_after: NOW.plus(7 * 86_400 * SECOND),
            not_after: NOW.plus(21 * 86_400 * SECOND),
        };
        let renewal =
            |revoked, key: u8, now| Renewal::of(revoked, Some(lease.clone()), &self::key(key), now);
        let known = Some(false);
        assert_eq!(
            renewal(known, 1, NOW),
            Renewal::Present(Box::new(lease.clone()))
        );
        assert_eq!(renewal(known, 1, lease.renew_after), Renewal::Due);
        let day = 86_400 * SECOND;
        assert_eq!(renewal(known, 1, lease.not_after.plus(day)), Renewal::Due);
        assert_eq!(
            renewal(known, 1, lease.not_after.plus(179 * day)),
            Renewal::Due
        );
        assert_eq!(
            renewal(known, 1, lease.not_after.plus(180 * day)),
            Renewal::TooLate
        );
        for now in [NOW, lease.renew_after, lease.not_after.plus(181 * day)] {
            assert_eq!(renewal(Some(true), 1, now), Renewal::Revoked);
            assert_eq!(renewal(known, 2, now), Renewal::OtherKey);
            assert_eq!(renewal(None, 1, now), Renewal::Unknown);
            assert_eq!(Renewal::of(known, None, &key(1), now), Renewal::Unknown);
        }
    }
}
