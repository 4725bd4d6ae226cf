//! What congestion control must know about a link that was gone and came back.
//!
//! Two rules of QUIC's loss recovery (RFC 9002) are wrong for a phone that rode through a tunnel:
//!
//! - packets in flight count against the window until they are known to be lost, and nothing is
//!   known to be lost until something is acknowledged. A full window so silences the very probes
//!   that would find the link again, and leaves them to a timer that doubles up to minutes.
//! - when the acknowledgement comes, everything sent over the outage is lost at once, which looks
//!   like "persistent congestion" and shrinks the window to two packets.
//!
//! [`OutageAware`] wraps quinn's BBR and changes that: one packet may pass
//! the full window for each [`Outage::let_one_pass`], and losses soon after [`Outage::noticed`]
//! start the window afresh, as for a new path (RFC 9000, 9.4). Read against quinn-proto 0.11.19:
//! `Connection::poll_transmit` asks `window()` before each packet, `detect_lost_packets` reports.
//! Not here: when to probe (`device`), how to answer (`relay`).
//!
//! And it takes back what quinn's BBR does with the first acknowledgements of a full window: it looks at once for the shortest
//! round trip, by four packets in a round trip or two, in the very moment in which all that waits is to go. It is told that
//! nothing is in flight, which ends that soonest, and meanwhile the window grows as it does at a beginning.
//!
//! BBR goes by the rate at which packets arrive, CUBIC by losses: on a cell's edge where one packet in twenty is
//! lost, CUBIC brings 2.5 MB down in 134 s and BBR in 36 s, of 20 that the rate alone would take; and it fills no deep
//! buffers before what is urgent.

use std::any::Any;
use std::fmt;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use quinn_proto::RttEstimator;
use quinn_proto::congestion::{BbrConfig, Controller, ControllerFactory};

/// How long after the last notice losses are still blamed on the outage: the first
/// acknowledgements and the repeat of a full window, at the slowest round trip we meet (2.5 s).
const BLAME: Duration = Duration::from_secs(10);

/// What may be under way before anything is known of the path: 32 packets, which a shift's reports fit. The standard's ten
/// would cost them another round trip; on a link of 256 kbit/s, so many are a second.
const INITIAL_WINDOW_BYTES: u64 = 32 * 1200;

/// One connection's outage: set by its shell, read by its congestion controller.
#[derive(Debug, Default)]
pub struct Outage {
    pass: AtomicBool,
    noticed: Mutex<Option<Instant>>,
}

impl Outage {
    /// Makes one for a connection about to begin.
    pub fn new() -> Arc<Self> {
        Arc::new(Self::default())
    }

    /// Notes that the link is silent, or was until this moment.
    pub fn noticed(&self) {
        *self.noticed.lock().unwrap_or_else(PoisonError::into_inner) = Some(Instant::now());
    }

    /// Lets the next packet leave even if the congestion window is full.
    pub fn let_one_pass(&self) {
        self.pass.store(true, Ordering::Relaxed);
    }

    fn is_to_blame(&self, now: Instant) -> bool {
        self.noticed
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .is_some_and(|noticed| now.saturating_duration_since(noticed) < BLAME)
    }
}

/// Makes the congestion controllers of one connection (one a path), all told of its [`Outage`].
pub struct OutageAware {
    standard: Arc<dyn ControllerFactory + Send + Sync>,
    outage: Arc<Outage>,
}

impl OutageAware {
    /// Makes a factory for the connection that `outage` belongs to.
    pub fn new(outage: Arc<Outage>) -> Self {
        let mut standard = BbrConfig::default();
        standard.initial_window(INITIAL_WINDOW_BYTES);
        Self {
            standard: Arc::new(standard),
            outage,
        }
    }
}

impl fmt::Debug for OutageAware {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("OutageAware")
            .field("outage", &self.outage)
            .finish_non_exhaustive()
    }
}

impl ControllerFactory for OutageAware {
    fn build(self: Arc<Self>, now: Instant, current_mtu: u16) -> Box<dyn Controller> {
        Box::new(Patient {
            inner: Arc::clone(&self.standard).build(now, current_mtu),
            factory: self,
            mtu_bytes: current_mtu,
            in_flight_bytes: 0,
            beginning: Beginning::Unacknowledged,
        })
    }
}

/// A controller that is patient with outages.
struct Patient {
    inner: Box<dyn Controller>,
    factory: Arc<OutageAware>,
    mtu_bytes: u16,
    /// At least what is in flight: as of the last acknowledgements, and all that was sent since.
    in_flight_bytes: u64,
    beginning: Beginning,
}

/// How far a connection's beginning is.
#[derive(Clone, Copy, Debug)]
enum Beginning {
    /// Nothing of a full window was acknowledged.
    Unacknowledged,
    /// The first of it was: so large is the window, until BBR's own is.
    Window(u64),
    /// BBR has begun.
    Over,
}

impl Patient {
    /// Takes in acknowledgements; returns what BBR is told to be in flight.
    fn begin(&mut self, in_flight: u64, app_limited: bool) -> u64 {
        let acknowledged = self.in_flight_bytes.saturating_sub(in_flight);
        self.beginning = match self.beginning {
            Beginning::Unacknowledged if app_limited => Beginning::Unacknowledged,
            Beginning::Unacknowledged => Beginning::Window(self.inner.window() + acknowledged),
            Beginning::Window(window) if self.inner.window() < window => {
                Beginning::Window(window + acknowledged)
            }
            Beginning::Window(_) | Beginning::Over => Beginning::Over,
        };
        match self.beginning {
            Beginning::Window(_) => 0,
            Beginning::Unacknowledged | Beginning::Over => in_flight,
        }
    }
}

impl Controller for Patient {
    fn on_sent(&mut self, now: Instant, bytes: u64, last_packet_number: u64) {
        self.in_flight_bytes = self.in_flight_bytes.saturating_add(bytes);
        self.factory.outage.pass.store(false, Ordering::Relaxed);
        self.inner.on_sent(now, bytes, last_packet_number);
    }

    fn on_ack(
        &mut self,
        now: Instant,
        sent: Instant,
        bytes: u64,
        app_limited: bool,
        rtt: &RttEstimator,
    ) {
        self.inner.on_ack(now, sent, bytes, app_limited, rtt);
    }

    fn on_end_acks(
        &mut self,
        now: Instant,
        in_flight: u64,
        app_limited: bool,
        largest_packet_num_acked: Option<u64>,
    ) {
        let told = self.begin(in_flight, app_limited);
        self.in_flight_bytes = in_flight;
        self.inner
            .on_end_acks(now, told, app_limited, largest_packet_num_acked);
    }

    fn on_congestion_event(
        &mut self,
        now: Instant,
        sent: Instant,
        is_persistent_congestion: bool,
        lost_bytes: u64,
    ) {
        self.in_flight_bytes = self.in_flight_bytes.saturating_sub(lost_bytes);
        if is_persistent_congestion && self.factory.outage.is_to_blame(now) {
            self.inner = Arc::clone(&self.factory.standard).build(now, self.mtu_bytes);
            self.beginning = Beginning::Unacknowledged;
        } else {
            if is_persistent_congestion {
                self.beginning = Beginning::Over;
            }
            self.inner
                .on_congestion_event(now, sent, is_persistent_congestion, lost_bytes);
        }
    }

    fn on_mtu_update(&mut self, new_mtu: u16) {
        self.mtu_bytes = new_mtu;
        self.inner.on_mtu_update(new_mtu);
    }

    fn window(&self) -> u64 {
        let window = match self.beginning {
            Beginning::Window(window) => window.max(self.inner.window()),
            Beginning::Unacknowledged | Beginning::Over => self.inner.window(),
        };
        if self.factory.outage.pass.load(Ordering::Relaxed) {
            // `poll_transmit` wants room for a whole packet and one byte, however small the packet.
            window
                .max(self.in_flight_bytes)
                .saturating_add(2 * u64::from(self.mtu_bytes))
        } else {
            window
        }
    }

    fn clone_box(&self) -> Box<dyn Controller> {
        Box::new(Self {
            inner: self.inner.clone_box(),
            factory: Arc::clone(&self.factory),
            mtu_bytes: self.mtu_bytes,
            in_flight_bytes: self.in_flight_bytes,
            beginning: self.beginning,
        })
    }

    fn initial_window(&self) -> u64 {
        self.inner.initial_window()
    }

    fn into_any(self: Box<Self>) -> Box<dyn Any> {
        self
    }
}

#[cfg(test)]
mod tests {
    use quinn_proto::congestion::CubicConfig;

    use super::*;

    const MTU: u16 = 1200;

    fn controller() -> (Arc<Outage>, Box<dyn Controller>, Instant) {
        let outage = Outage::new();
        let now = Instant::now();
        // One that shows in its window what it makes of losses.
        let factory = OutageAware {
            standard: Arc::new(CubicConfig::default()),
            outage: Arc::clone(&outage),
        };
        let controller = Arc::new(factory).build(now, MTU);
        (outage, controller, now)
    }

    #[test]
    fn a_connection_begins_with_what_a_shift_takes() {
        let factory = Arc::new(OutageAware::new(Outage::new()));
        let controller = factory.build(Instant::now(), MTU);
        assert_eq!(controller.window(), INITIAL_WINDOW_BYTES);
    }

    #[test]
    fn one_packet_passes_a_full_window_and_no_more() {
        let (outage, mut controller, now) = controller();
        let full = 10 * controller.window();
        controller.on_sent(now, full, 1);
        assert!(full + u64::from(MTU) >= controller.window(), "blocked");

        outage.let_one_pass();
        assert!(full + u64::from(MTU) < controller.window(), "may pass");
        controller.on_sent(now, 40, 2);
        assert!(
            full + u64::from(MTU) >= controller.window(),
            "blocked again"
        );
    }

    #[test]
    fn losses_of_an_outage_start_the_window_afresh() {
        let (outage, mut controller, now) = controller();
        let fresh = controller.initial_window();
        controller.on_congestion_event(now, now, true, 1000);
        assert_eq!(controller.window(), 2 * u64::from(MTU), "congestion");

        outage.noticed();
        controller.on_congestion_event(now, now, true, 1000);
        assert_eq!(controller.window(), fresh, "outage");
    }

    #[test]
    fn losses_long_after_an_outage_are_congestion_again() {
        let (outage, mut controller, now) = controller();
        outage.noticed();
        let later = now + BLAME + Duration::from_secs(1);
        controller.on_congestion_event(later, later, true, 1000);
        assert_eq!(controller.window(), 2 * u64::from(MTU));
    }

    /// What quinn's BBR does at a beginning: at the first acknowledgements of a full window it goes down to four packets,
    /// until it has seen that little in flight, and later acknowledgements.
    #[derive(Clone)]
    struct LikeBbr {
        window: u64,
        probes: bool,
        has_probed: bool,
        is_low: bool,
    }

    impl Controller for LikeBbr {
        fn on_end_acks(&mut self, _: Instant, in_flight: u64, app_limited: bool, _: Option<u64>) {
            if !app_limited && !self.has_probed {
                (self.probes, self.has_probed) = (true, true);
            } else if self.is_low {
                self.probes = false;
            }
            self.is_low |= self.probes && in_flight < 4 * u64::from(MTU);
        }

        fn on_congestion_event(&mut self, _: Instant, _: Instant, _: bool, _: u64) {}

        fn on_mtu_update(&mut self, _: u16) {}

        fn window(&self) -> u64 {
            if self.probes {
                4 * u64::from(MTU)
            } else {
                self.window
            }
        }

        fn clone_box(&self) -> Box<dyn Controller> {
            Box::new(self.clone())
        }

        fn initial_window(&self) -> u64 {
            self.window
        }

        fn into_any(self: Box<Self>) -> Box<dyn Any> {
            self
        }
    }

    impl ControllerFactory for LikeBbr {
        fn build(self: Arc<Self>, _: Instant, _: u16) -> Box<dyn Controller> {
            Box::new(Self::clone(&self))
        }
    }

    #[test]
    fn a_window_that_is_acknowledged_for_the_first_time_grows_and_nothing_that_waits_is_held_up() {
        let bbr = LikeBbr {
            window: INITIAL_WINDOW_BYTES,
            probes: false,
            has_probed: false,
            is_low: false,
        };
        let factory = OutageAware {
            standard: Arc::new(bbr),
            outage: Outage::new(),
        };
        let now = Instant::now();
        let mut controller = Arc::new(factory).build(now, MTU);
        // A greeting that is acknowledged says nothing of the path.
        controller.on_sent(now, 100, 1);
        controller.on_end_acks(now, 0, true, Some(1));
        assert_eq!(controller.window(), INITIAL_WINDOW_BYTES);
        controller.on_sent(now, INITIAL_WINDOW_BYTES, 33);
        let mut in_flight = INITIAL_WINDOW_BYTES;
        for acknowledged in [10_000, 8_000, 400] {
            let before = controller.window();
            in_flight -= acknowledged;
            controller.on_end_acks(now, in_flight, false, Some(40));
            assert_eq!(controller.window(), before + acknowledged);
        }
        // When BBR's own window is as large, that one counts.
        controller.on_end_acks(now, in_flight, false, Some(41));
        let grown = controller.window();
        assert!(grown >= INITIAL_WINDOW_BYTES + 18_400);
    }

    #[test]
    fn congestion_that_lasts_ends_a_beginning() {
        let (_, mut controller, now) = controller();
        controller.on_sent(now, 10_000, 10);
        controller.on_end_acks(now, 5_000, false, Some(5));
        assert_eq!(controller.window(), controller.initial_window() + 5_000);
        controller.on_congestion_event(now, now, true, 5_000);
        assert_eq!(controller.window(), 2 * u64::from(MTU));
    }
}
