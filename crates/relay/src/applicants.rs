//! Serves the enrolment protocol: devices that nobody knows yet, and those that renew their lease.
//!
//! Anybody can come here, from anywhere, without a certificate. So everything is small and short: one
//! request of half a kilobyte, one answer, a few seconds, so many at a time and so many from one place. Whoever
//! finds no room is told to come again, and the sync protocol goes on beside. Not here: whom to let in
//! (`enrol`), what an impostor may try (`gridbeat-link`).

use std::collections::BTreeMap;
use std::net::{IpAddr, Ipv6Addr};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use gridbeat_link::{Asked, Clock, ExchangeError, RelayTls, close, finish};
use gridbeat_relay_store::SqliteStore;
use quinn::Connection;
use tokio::sync::{mpsc, oneshot};

use crate::brain::{Input, refusal};
use crate::enrol::Enrolments;

/// Applicants served at a time. Each may fill a connection's window of half a megabyte before it is looked
/// at: 16 MB.
const APPLICANTS_MAX: usize = 32;

/// Applicants served at a time from one place: the devices of one office that are enrolled together share an
/// address, and one exchange is over within two round trips.
const APPLICANTS_MAX_EACH: usize = 8;

/// How long an applicant may take, from the handshake to having its answer: two round trips on the slowest
/// usable link, with two losses.
const EXCHANGE_MAX: Duration = Duration::from_secs(15);

/// How long an applicant stays away that found no room.
const AWAY_WHEN_FULL: Duration = Duration::from_secs(2);

/// Serves applicants.
#[derive(Clone)]
pub(crate) struct Applicants {
    enrolments: Arc<Enrolments>,
    inputs: mpsc::Sender<Input>,
    seats: Seats,
}

/// Who is being served, and from where.
#[derive(Clone, Debug, Default)]
struct Seats(Arc<Mutex<BTreeMap<Place, usize>>>);

/// Where somebody comes from: an address, or the network of one (an IPv6 host has 2^64 of them to itself).
#[derive(Clone, Copy, Debug, Eq, Ord, PartialEq, PartialOrd)]
pub(crate) struct Place(IpAddr);

impl Place {
    pub(crate) fn of(address: IpAddr) -> Self {
        Self(match address.to_canonical() {
            IpAddr::V6(v6) => {
                let network = v6.to_bits() & !u128::from(u64::MAX);
                Ipv6Addr::from_bits(network).into()
            }
            v4 @ IpAddr::V4(_) => v4,
        })
    }

    /// Returns the address that stands for it.
    pub(crate) const fn address(self) -> IpAddr {
        self.0
    }
}

/// Somebody being served, as long as it lives.
#[derive(Debug)]
struct Seat {
    seats: Seats,
    place: Place,
}

impl Applicants {
    pub(crate) fn new(enrolments: Enrolments, inputs: mpsc::Sender<Input>) -> Self {
        Self {
            enrolments: Arc::new(enrolments),
            inputs,
            seats: Seats::default(),
        }
    }

    /// Serves somebody at `from` whose handshake is complete, to the end.
    pub(crate) async fn serve(&self, connection: Connection, from: IpAddr, tls: &RelayTls) {
        let place = Place::of(from);
        let Some(_seat) = self.seats.take(place) else {
            let words = refusal(
                "enrolment_busy",
                "the relay enrols too many devices at once; trying again",
                "服务端正在登记过多设备，稍后自动重试",
                AWAY_WHEN_FULL,
            );
            return close(&connection, &words);
        };
        let exchange = self.exchange(&connection, tls, place);
        match tokio::time::timeout(EXCHANGE_MAX, exchange).await {
            Ok(Ok(())) => {}
            Ok(Err(error)) => tracing::debug!(%error, "an applicant went without an answer"),
            Err(_) => tracing::debug!("an applicant took too long"),
        }
        finish(&connection);
    }

    async fn exchange(
        &self,
        connection: &Connection,
        tls: &RelayTls,
        place: Place,
    ) -> Result<(), ExchangeError> {
        let asked = Asked::wait(connection).await?;
        let holder = match tls.identify_renewing(connection) {
            Ok(holder) => holder,
            Err(error) => {
                // It was verified a moment ago; it names no device, then, or has just run out.
                tracing::info!(%error, "an applicant's certificate is of no use");
                None
            }
        };
        let (done, answered) = oneshot::channel();
        let (request, enrolments) = (asked.request.clone(), Arc::clone(&self.enrolments));
        let work = move |store: &mut SqliteStore| {
            let now = Clock::start().now().wall;
            let answer = enrolments.answer(store, &request, holder, place.address(), now);
            // Whoever asked may have gone; they ask again, and get the same answer.
            let _ = done.send(answer);
        };
        if self.inputs.send(Input::Work(Box::new(work))).await.is_err() {
            return Ok(()); // the relay stops, and the device finds out by the connection's end
        }
        match answered.await {
            Ok(answer) => asked.answer(&answer).await,
            Err(_) => Ok(()),
        }
    }
}

impl Seats {
    /// Takes a place for somebody; `None` if there is no room.
    fn take(&self, place: Place) -> Option<Seat> {
        let mut from = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let all: usize = from.values().sum();
        let here = from.get(&place).copied().unwrap_or(0);
        if all >= APPLICANTS_MAX || here >= APPLICANTS_MAX_EACH {
            return None;
        }
        from.insert(place, here + 1);
        Some(Seat {
            seats: self.clone(),
            place,
        })
    }
}

impl Drop for Seat {
    fn drop(&mut self) {
        let seats = &self.seats.0;
        let mut from = seats.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(here) = from.get_mut(&self.place) {
            *here -= 1;
            if *here == 0 {
                from.remove(&self.place);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn place(text: &str) -> Place {
        Place::of(text.parse().unwrap())
    }

    #[test]
    fn a_host_is_one_place_whichever_of_its_addresses_it_uses() {
        assert_eq!(place("2001:db8::1"), place("2001:db8::ffff:2"));
        assert_ne!(place("2001:db8::1"), place("2001:db8:0:1::1"));
        assert_eq!(place("::ffff:192.0.2.1"), place("192.0.2.1"));
        assert_ne!(place("192.0.2.1"), place("192.0.2.2"));
    }

    #[test]
    fn one_place_leaves_room_for_others_and_whoever_goes_makes_room() {
        let seats = Seats::default();
        let mut held: Vec<Seat> = (0..APPLICANTS_MAX_EACH)
            .map(|_| seats.take(place("192.0.2.1")).unwrap())
            .collect();
        assert!(seats.take(place("192.0.2.1")).is_none());
        let others = (2..=u8::MAX).map_while(|last| seats.take(place(&format!("192.0.2.{last}"))));
        held.extend(others);
        assert_eq!(held.len(), APPLICANTS_MAX);
        held.remove(0);
        assert!(seats.take(place("192.0.2.1")).is_some());
    }
}
