//! When to renew a device's certificate.
//!
//! It is renewed beside a session once a third of its time is over, and before one when all of it is, or
//! when the relay says so. The device's clock may be wrong by years: so a certificate that has just been
//! renewed counts as young by the clock that only measures, whatever the other one shows. Pure: it is told
//! the time. Not here: renewing (`renew`), dialling (`dialer`).

use std::time::Duration;

use gridbeat_base::{Monotonic, Now, WallTime};
use gridbeat_link::{DeviceBundle, lease_over};
use gridbeat_sync_protocol::Reason;

/// How long to wait after a renewal that nobody answered, or that was put off.
const PAUSE: Duration = Duration::from_secs(60);

/// How long to wait after one that was refused for good: somebody has to do something about it first.
const PAUSE_REFUSED: Duration = Duration::from_secs(60 * 60);

/// What is due.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(crate) enum Due {
    /// Renewing it beside whatever else is done.
    Beside,
    /// Renewing it first: it opens nothing any more.
    First,
}

/// A certificate's time.
#[derive(Debug)]
pub(crate) struct Lease {
    renew_after: WallTime,
    not_after: WallTime,
    /// Until when it is young, whatever the wall clock shows.
    young_until: Option<Monotonic>,
    /// The relay says that its time is over.
    is_over: bool,
    /// Before then it is of no use to try.
    rest_until: Option<Monotonic>,
    /// Why the relay would not renew it.
    refusal: Option<Reason>,
}

impl Lease {
    pub(crate) const fn new(bundle: &DeviceBundle) -> Self {
        Self {
            renew_after: bundle.renew_after,
            not_after: bundle.not_after,
            young_until: None,
            is_over: false,
            rest_until: None,
            refusal: None,
        }
    }

    /// Says what is due now.
    pub(crate) fn due(&self, now: Now) -> Option<Due> {
        if self.rest_until.is_some_and(|until| now.monotonic < until) {
            return None;
        }
        if self.is_over {
            return Some(Due::First);
        }
        if self.young_until.is_some_and(|until| now.monotonic < until)
            || now.wall < self.renew_after
        {
            return None;
        }
        let is_over = now.wall >= self.not_after;
        Some(if is_over { Due::First } else { Due::Beside })
    }

    /// Notes that the relay takes the certificate for expired.
    pub(crate) const fn end(&mut self) {
        self.is_over = true;
    }

    /// Notes that it was renewed.
    pub(crate) fn renewed(&mut self, bundle: &DeviceBundle, now: Monotonic) {
        *self = Self::new(bundle);
        let youth = bundle.renew_after.millis() - bundle.issued.millis();
        let youth = Duration::from_millis(u64::try_from(youth).unwrap_or(0));
        self.young_until = Some(now.plus(youth));
    }

    /// Notes that nobody answered, or that the relay wants to be asked again after so long.
    pub(crate) fn put_off(&mut self, now: Monotonic, asked: Duration) {
        self.rest_until = Some(now.plus(asked.max(PAUSE)));
    }

    /// Notes that the relay refused.
    pub(crate) fn refused(&mut self, now: Monotonic, reason: Reason) {
        self.rest_until = Some(now.plus(PAUSE_REFUSED));
        self.refusal = Some(reason);
    }

    /// Notes that a person wants it tried now.
    pub(crate) const fn hurry(&mut self) {
        self.rest_until = None;
    }

    /// Returns why a certificate opens nothing whose time is over.
    pub(crate) fn words(&self) -> Reason {
        self.refusal.clone().unwrap_or_else(lease_over)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use gridbeat_base::{DeviceId, Redacted};
    use gridbeat_sync_protocol::EnrolRefusal;

    const DAY: Duration = Duration::from_secs(24 * 60 * 60);

    /// Of 21 days, issued on day 100.
    fn bundle() -> DeviceBundle {
        let day = |day: u32| WallTime(0).plus(DAY * day);
        DeviceBundle {
            relay: String::new(),
            server_name: String::new(),
            pins: Vec::new(),
            device: DeviceId::from_bytes([1; 16]),
            certificates: Vec::new(),
            key: Redacted::default(),
            issued: day(100),
            renew_after: day(107),
            not_after: day(121),
        }
    }

    fn at(day: u32, up: Duration) -> Now {
        Now {
            wall: WallTime(0).plus(DAY * day),
            monotonic: Monotonic(up),
        }
    }

    #[test]
    fn a_third_of_its_time_is_left_alone_and_all_of_it_is_too_late_for_a_session() {
        let lease = Lease::new(&bundle());
        for (day, due) in [
            (0, None),
            (106, None),
            (107, Some(Due::Beside)),
            (120, Some(Due::Beside)),
            (121, Some(Due::First)),
            (9_000, Some(Due::First)),
        ] {
            assert_eq!(lease.due(at(day, Duration::ZERO)), due, "day {day}");
        }
    }

    #[test]
    fn a_clock_that_is_years_ahead_renews_as_seldom_as_a_right_one() {
        let mut lease = Lease::new(&bundle());
        assert_eq!(lease.due(at(9_000, Duration::ZERO)), Some(Due::First));
        lease.renewed(&bundle(), Monotonic(Duration::ZERO));
        assert_eq!(lease.due(at(9_000, DAY * 6)), None);
        assert_eq!(lease.due(at(9_000, DAY * 7)), Some(Due::First));
    }

    #[test]
    fn a_clock_that_is_behind_renews_when_the_relay_says_so() {
        let mut lease = Lease::new(&bundle());
        assert_eq!(lease.due(at(0, DAY)), None);
        lease.end();
        assert_eq!(lease.due(at(0, DAY)), Some(Due::First));
        lease.renewed(&bundle(), Monotonic(DAY));
        assert_eq!(lease.due(at(0, DAY)), None);
    }

    #[test]
    fn who_was_put_off_or_refused_rests() {
        let mut lease = Lease::new(&bundle());
        lease.put_off(Monotonic(Duration::ZERO), Duration::ZERO);
        assert_eq!(lease.due(at(107, PAUSE / 2)), None);
        assert_eq!(lease.due(at(107, PAUSE)), Some(Due::Beside));
        lease.put_off(Monotonic(Duration::ZERO), PAUSE * 2);
        assert_eq!(lease.due(at(107, PAUSE)), None);
        lease.end();
        lease.refused(Monotonic(Duration::ZERO), EnrolRefusal::TooLate.reason());
        assert_eq!(lease.due(at(107, PAUSE_REFUSED / 2)), None);
        assert_eq!(lease.words(), EnrolRefusal::TooLate.reason());
        lease.hurry();
        assert_eq!(lease.due(at(107, Duration::ZERO)), Some(Due::First));
    }
}
