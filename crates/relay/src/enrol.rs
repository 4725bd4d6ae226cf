//! What the relay answers to a device that wants to be enrolled, or its lease renewed.
//!
//! Pure but for the store, the authority's files and the dice of its serial numbers: the time and the
//! address are handed in, so that tests need no network. Answers to codes that are not good are alike, in
//! words and in what they cost their asker; whoever fails often from one address is not listened to for a
//! while. Not here: the connection (`listener`), what an operator does (`operator`).

use std::net::IpAddr;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use gridbeat_base::{DeviceId, WallTime};
use gridbeat_link::{Identified, random_from_system};
use gridbeat_relay_core::StoreFault;
use gridbeat_relay_store::{LeaseRow, Renewal, SqliteStore, Standing};
use gridbeat_sync_protocol::{
    EnrolAnswer, EnrolRefusal, EnrolRequest, Fingerprint, Issued, PublicKey, Redeem,
};

use crate::attempts::Attempts;
use crate::authority::Authority;
use crate::certificates::AuthorityError;

/// When a device that waits for an operator should ask again: often enough that a person who looks at it
/// does not notice.
const ASK_AGAIN_S: u32 = 2;

/// When a device should ask again that the relay could not answer: a full disk, an issuing key to be
/// renewed.
const TRY_LATER_S: u32 = 60;

/// Answers devices that want to be enrolled, or their leases renewed.
#[derive(Debug)]
pub(crate) struct Enrolments {
    authority: Arc<Authority>,
    lease: Duration,
    attempts: Mutex<Attempts>,
}

/// Why a device got no answer of the protocol's own.
#[derive(Debug, thiserror::Error)]
enum Trouble {
    #[error("the database failed")]
    Store(#[from] StoreFault),
    #[error("the certificate authority cannot be used")]
    Authority(#[from] AuthorityError),
}

impl Enrolments {
    pub(crate) fn new(authority: Arc<Authority>, lease: Duration) -> Self {
        Self {
            authority,
            lease,
            attempts: Mutex::default(),
        }
    }

    /// Answers a request that came from an address (of a host, or of its network: what counts as one),
    /// over a connection whose certificate is `holder`'s if one was shown: a good one, or one that has
    /// ended.
    pub(crate) fn answer(
        &self,
        store: &mut SqliteStore,
        request: &EnrolRequest,
        holder: Option<Identified>,
        from: IpAddr,
        now: WallTime,
    ) -> EnrolAnswer {
        let mut attempts = self.attempts.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(retry_after_s) = attempts.wait_s(from, now) {
            return refused(EnrolRefusal::TooManyAttempts, Some(retry_after_s));
        }
        let answer = match request {
            EnrolRequest::Redeem(redeem) => self.redeem(store, redeem, from, now),
            EnrolRequest::Renew => self.renew(store, holder, now),
        };
        match answer {
            Ok(Ok(answer)) => answer,
            Ok(Err(refusal)) => {
                tracing::info!(code = refusal.code(), "an applicant was refused");
                attempts.failed(from, now);
                refused(refusal, None)
            }
            Err(error) => {
                let error: &dyn std::error::Error = &error;
                tracing::error!(error, "an applicant could not be answered");
                unable()
            }
        }
    }

    fn redeem(
        &self,
        store: &mut SqliteStore,
        redeem: &Redeem,
        from: IpAddr,
        now: WallTime,
    ) -> Result<Result<EnrolAnswer, EnrolRefusal>, Trouble> {
        if !redeem.is_proven() {
            return Ok(Err(EnrolRefusal::NotProven));
        }
        let key = &redeem.request.key;
        let device = DeviceId::mint(now, &mut random_from_system());
        Ok(
            match store.redeem(redeem, &from.to_string(), device, now)? {
                Some(Standing::Waiting) => Ok(EnrolAnswer::Waiting {
                    fingerprint: Fingerprint::of(key),
                    retry_after_s: ASK_AGAIN_S,
                }),
                Some(Standing::Approved(device)) => match store.renewal(device, key, now)? {
                    Renewal::Revoked => Err(EnrolRefusal::DeviceRevoked),
                    Renewal::OtherKey => Err(EnrolRefusal::KeyReplaced),
                    Renewal::Present(lease) => Ok(self.issued(*lease)),
                    Renewal::Due | Renewal::Unknown | Renewal::TooLate => {
                        Ok(self.issue(store, device, key, now)?)
                    }
                },
                Some(Standing::Refused) => Err(EnrolRefusal::NotApproved),
                None
                | Some(
                    Standing::Open
                    | Standing::Expired
                    | Standing::Cancelled
                    | Standing::Lapsed
                    | Standing::Enrolled(_),
                ) => Err(EnrolRefusal::CodeNotGood),
            },
        )
    }

    fn renew(
        &self,
        store: &mut SqliteStore,
        holder: Option<Identified>,
        now: WallTime,
    ) -> Result<Result<EnrolAnswer, EnrolRefusal>, Trouble> {
        let Some((device, key)) = holder.and_then(|holder| Some((holder.device, holder.key?)))
        else {
            return Ok(Err(EnrolRefusal::DeviceUnknown));
        };
        Ok(match store.renewal(device, &key, now)? {
            Renewal::Due => Ok(self.issue(store, device, &key, now)?),
            Renewal::Present(lease) => Ok(self.issued(*lease)),
            Renewal::Unknown => Err(EnrolRefusal::DeviceUnknown),
            Renewal::Revoked => Err(EnrolRefusal::DeviceRevoked),
            Renewal::OtherKey => Err(EnrolRefusal::KeyReplaced),
            Renewal::TooLate => Err(EnrolRefusal::TooLate),
        })
    }

    /// Certifies a key, and keeps what was issued before it is handed out.
    fn issue(
        &self,
        store: &mut SqliteStore,
        device: DeviceId,
        key: &PublicKey,
        now: WallTime,
    ) -> Result<EnrolAnswer, Trouble> {
        let lease =
            self.authority
                .certify(device, key, now, self.lease, &mut random_from_system())?;
        let row = LeaseRow {
            device,
            key: *key,
            certificate: lease.certificate.to_vec(),
            issued: lease.issued,
            renew_after: lease.renew_after,
            not_after: lease.not_after,
        };
        store.put_lease(&row)?;
        tracing::info!(%device, not_after_ms = row.not_after.millis(), "a lease was issued");
        Ok(self.issued(row))
    }

    fn issued(&self, lease: LeaseRow) -> EnrolAnswer {
        EnrolAnswer::Issued(Issued {
            device: lease.device,
            server_name: self.authority.server_name().to_owned(),
            pins: self
                .authority
                .roots()
                .iter()
                .map(|root| root.to_vec())
                .collect(),
            certificates: vec![lease.certificate],
            issued: lease.issued,
            renew_after: lease.renew_after,
            not_after: lease.not_after,
        })
    }
}

fn refused(refusal: EnrolRefusal, retry_after_s: Option<u32>) -> EnrolAnswer {
    EnrolAnswer::Refused {
        reason: refusal.reason(),
        retry_after_s,
    }
}

/// The relay is in trouble of its own, and says no more of it to strangers.
fn unable() -> EnrolAnswer {
    refused(EnrolRefusal::RelayUnable, Some(TRY_LATER_S))
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::collections::BTreeMap;
    use std::net::Ipv4Addr;

    use gridbeat_base::{Install, Random, Scope, Verbs};
    use gridbeat_link::{device_of_certificate, key_of_certificate};
    use gridbeat_relay_store::{
        Approval, INVITATION_LIFETIME, InvitationRow, Registry as _, StoreOptions,
    };
    use gridbeat_sync_protocol::{EnrolCode, Invitation, Signer};
    use rustls::pki_types::CertificateDer;

    const NOW: WallTime = WallTime(1_790_000_000_000);
    const DAY: Duration = Duration::from_secs(86_400);
    const LEASE: Duration = Duration::from_secs(21 * 86_400);

    struct Place {
        _dir: tempfile::TempDir,
        enrolments: Enrolments,
        store: SqliteStore,
        random: Random,
    }

    impl Place {
        fn new() -> Self {
            let dir = tempfile::tempdir().unwrap();
            let mut random = Random::from_number(1);
            let at = |name: &str| dir.path().join(name);
            let (authority, root) = (at("authority"), at("root"));
            let authority =
                Authority::open_or_create(&authority, &root, "relay.gridbeat", NOW, &mut random);
            let options = StoreOptions::default();
            Self {
                enrolments: Enrolments::new(Arc::new(authority.unwrap()), LEASE),
                store: SqliteStore::open(&at("relay.db"), options, &mut random).unwrap(),
                random,
                _dir: dir,
            }
        }

        fn invite(&mut self, auto_approve: bool) -> (EnrolCode, InvitationRow) {
            let code = EnrolCode::from_bytes(self.random.bytes());
            let scope = Scope::new("east").unwrap();
            let grants = BTreeMap::from([(scope, Verbs::WORK.into())]);
            let row = self
                .store
                .invite(code, "tablet", &grants, auto_approve, NOW);
            (code, row.unwrap())
        }

        fn redeem(&mut self, code: EnrolCode, key: u8, now: WallTime) -> EnrolAnswer {
            let redeem = Redeem::new(code, &signer(key), Install::new([key; 16]), "phone");
            self.ask(
                &EnrolRequest::Redeem(Box::new(redeem)),
                None,
                u32::from(key),
                now,
            )
        }

        fn renew(&mut self, device: DeviceId, key: u8, now: WallTime) -> EnrolAnswer {
            let key = Some(signer(key).public_key());
            self.ask(
                &EnrolRequest::Renew,
                Some(Identified { device, key }),
                99,
                now,
            )
        }

        fn ask(
            &mut self,
            request: &EnrolRequest,
            holder: Option<Identified>,
            from: u32,
            now: WallTime,
        ) -> EnrolAnswer {
            let from = Ipv4Addr::from_bits(from).into();
            self.enrolments
                .answer(&mut self.store, request, holder, from, now)
        }

        fn enrolled(&mut self, key: u8) -> Issued {
            let (code, _) = self.invite(true);
            issued(self.redeem(code, key, NOW))
        }
    }

    fn signer(n: u8) -> Signer {
        Signer::from_seed(&[n; 32])
    }

    fn issued(answer: EnrolAnswer) -> Issued {
        match answer {
            EnrolAnswer::Issued(issued) => issued,
            EnrolAnswer::Waiting { .. } | EnrolAnswer::Refused { .. } => panic!("{answer:?}"),
        }
    }

    fn refusal(answer: &EnrolAnswer) -> Option<EnrolRefusal> {
        match answer {
            EnrolAnswer::Refused { reason, .. } => EnrolRefusal::of(reason),
            EnrolAnswer::Waiting { .. } | EnrolAnswer::Issued(_) => None,
        }
    }

    #[test]
    fn a_device_waits_for_the_operator_and_then_gets_a_lease_for_its_own_key() {
        let mut place = Place::new();
        let (code, row) = place.invite(false);
        let EnrolAnswer::Waiting { fingerprint, .. } = place.redeem(code, 1, NOW) else {
            panic!("nobody looked yet")
        };
        assert_eq!(fingerprint, Fingerprint::of(&signer(1).public_key()));
        let device = DeviceId::from_bytes([9; 16]);
        let approval = place.store.approve(row.id, Some(fingerprint), device, NOW);
        assert_eq!(approval.unwrap(), Approval::Approved(device));
        let lease = issued(place.redeem(code, 1, NOW));
        let certificate = CertificateDer::from(lease.certificates[0].clone());
        assert_eq!(device_of_certificate(&certificate), Ok(device));
        assert_eq!(
            key_of_certificate(&certificate),
            Ok(Some(signer(1).public_key()))
        );
        assert_eq!(lease.not_after, NOW.plus(LEASE));
        // The answer was lost: the same again, and not another certificate.
        assert_eq!(issued(place.redeem(code, 1, NOW)), lease);
        let pins = place.enrolments.authority.pins();
        let invitation = Invitation::new("relay:1", &lease.server_name, &pins, code).unwrap();
        assert!(invitation.trusts(&lease.pins[0]));
    }

    #[test]
    fn codes_that_are_not_good_are_answered_by_the_same_bytes() {
        let mut place = Place::new();
        let (spent, _) = place.invite(false);
        place.redeem(spent, 1, NOW);
        let (cancelled, row) = place.invite(true);
        place.store.withdraw(row.id, NOW).unwrap();
        let (old, _) = place.invite(true);
        let never = EnrolCode::from_bytes([7; 16]);
        let late = NOW.plus(INVITATION_LIFETIME);
        let answers = [(spent, NOW), (cancelled, NOW), (never, NOW), (old, late)]
            .map(|(code, now)| place.redeem(code, 2, now).encode());
        assert!(answers.iter().all(|answer| *answer == answers[0]));
        let EnrolAnswer::Refused { reason, .. } = EnrolAnswer::decode(&answers[0]).unwrap() else {
            panic!("refused")
        };
        assert_eq!(EnrolRefusal::of(&reason), Some(EnrolRefusal::CodeNotGood));
    }

    #[test]
    fn guesses_run_out_for_who_makes_them_and_for_nobody_else() {
        let mut place = Place::new();
        let (code, _) = place.invite(false);
        let guess = EnrolCode::from_bytes([7; 16]);
        let answers: Vec<_> = (0..20)
            .map(|_| refusal(&place.redeem(guess, 1, NOW)))
            .collect();
        let (tried, waits) = answers.split_at(10);
        assert!(
            tried
                .iter()
                .all(|one| *one == Some(EnrolRefusal::CodeNotGood))
        );
        assert!(
            waits
                .iter()
                .all(|one| *one == Some(EnrolRefusal::TooManyAttempts))
        );
        for _ in 0..30 {
            let waiting = place.redeem(code, 2, NOW);
            assert!(
                matches!(waiting, EnrolAnswer::Waiting { .. }),
                "waiting is no failure"
            );
        }
    }

    #[test]
    fn a_request_without_the_keys_secret_half_is_refused() {
        let mut place = Place::new();
        let (code, _) = place.invite(true);
        let mut redeem = Redeem::new(code, &signer(1), Install::new([1; 16]), "phone");
        redeem.request.key = signer(2).public_key();
        let answer = place.ask(&EnrolRequest::Redeem(Box::new(redeem)), None, 1, NOW);
        assert_eq!(refusal(&answer), Some(EnrolRefusal::NotProven));
        assert!(
            matches!(place.redeem(code, 3, NOW), EnrolAnswer::Issued(_)),
            "not spent by it"
        );
    }

    #[test]
    fn a_lease_is_renewed_for_the_same_key_even_after_its_end() {
        let mut place = Place::new();
        let first = place.enrolled(1);
        assert_eq!(
            issued(place.renew(first.device, 1, NOW.plus(DAY))),
            first,
            "too early"
        );
        let second = issued(place.renew(first.device, 1, first.renew_after));
        assert_ne!(second.certificates, first.certificates);
        assert_eq!(second.device, first.device);
        let holiday = second.not_after.plus(179 * DAY);
        let third = issued(place.renew(first.device, 1, holiday));
        assert_eq!(third.not_after, holiday.plus(LEASE));
    }

    #[test]
    fn nobody_renews_who_is_revoked_unknown_too_late_or_has_another_key() {
        let mut place = Place::new();
        let lease = place.enrolled(1);
        let device = lease.device;
        let later = lease.not_after.plus(180 * DAY);
        let stranger = DeviceId::from_bytes([8; 16]);
        let cases = [
            (device, 2, NOW, EnrolRefusal::KeyReplaced),
            (device, 1, later, EnrolRefusal::TooLate),
            (stranger, 1, NOW, EnrolRefusal::DeviceUnknown),
        ];
        for (device, key, now, expected) in cases {
            assert_eq!(refusal(&place.renew(device, key, now)), Some(expected));
        }
        let answer = place.ask(&EnrolRequest::Renew, None, 1, NOW);
        assert_eq!(
            refusal(&answer),
            Some(EnrolRefusal::DeviceUnknown),
            "no certificate"
        );
        place.store.revoke(device, NOW).unwrap();
        let answer = place.renew(device, 1, lease.renew_after);
        assert_eq!(refusal(&answer), Some(EnrolRefusal::DeviceRevoked));
    }

    #[test]
    fn a_device_revoked_before_it_fetched_its_lease_gets_none() {
        let mut place = Place::new();
        let (code, row) = place.invite(false);
        place.redeem(code, 1, NOW);
        let device = DeviceId::from_bytes([9; 16]);
        place.store.approve(row.id, None, device, NOW).unwrap();
        place.store.revoke(device, NOW).unwrap();
        let answer = place.redeem(code, 1, NOW);
        assert_eq!(refusal(&answer), Some(EnrolRefusal::DeviceRevoked));
    }
}
