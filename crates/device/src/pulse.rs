//! When to ask whether the link is still there.
//!
//! QUIC repeats what was lost when an acknowledgement tells it so, or when a timer fires that doubles
//! each time: after a tunnel of two minutes, up to two minutes late. So while the device waits for the
//! relay and hears nothing, it asks: each question that gets through brings an acknowledgement, and
//! with it everything that was lost (see `gridbeat_link::Probe`). When silence lasts, a rival
//! connection on another path may be tried beside. And now and then an idle device asks too, to keep
//! the binding of a NAT open and to notice that it has become unreachable.
//!
//! Pure: it is told the time and what was counted. Not here: sending, dialling (`dialer`).

use std::time::Duration;

use gridbeat_base::Monotonic;

/// How often a silent link is asked while something waits. With the round trip, it is the promise that
/// data flows within one round trip and 250 ms of the link's return; 20 ms are for whoever asks and
/// answers (measured by `gridbeat bench return`).
const ASK_EVERY: Duration = Duration::from_millis(230);

/// How often a silent link is asked while nothing waits to be sent: what others did may come this much
/// later, and the radio rests meanwhile.
const ASK_EVERY_IDLE: Duration = Duration::from_secs(2);

/// How long an idle device rests between two questions. NATs forget a UDP binding after 30 s and
/// more (RFC 9308, 3.2).
const HEARTBEAT: Duration = Duration::from_secs(25);

/// How often what was received is looked at while something is expected.
const LOOK_EVERY: Duration = Duration::from_millis(50);

/// How long a link is silent before a rival is tried beside it. By then four questions were lost.
const RIVAL_AFTER: Duration = Duration::from_secs(1);

/// Pause after the first rival; it doubles with each, up to [`RIVAL_PAUSE_MAX`].
const RIVAL_PAUSE_MIN: Duration = Duration::from_secs(2);

/// Longest pause between two rivals: a full handshake takes some 4 KB.
const RIVAL_PAUSE_MAX: Duration = Duration::from_secs(30);

/// How often patience doubles, at most; by then it is [`HEARTBEAT`] anyway.
const IDLE_ANSWERS_MAX: u32 = 8;

/// Longest round trip that is believed: the slowest usable mobile link. Packets that a modem held
/// back over an outage would otherwise make an estimate of minutes.
const ROUND_TRIP_MAX: Duration = Duration::from_millis(2_500);

/// What to do about the silence.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(crate) enum Beat {
    /// Ask the relay for a sign of life.
    Ask,
    /// Try a connection on another path beside.
    Rival,
}

/// What was counted on the connection until now.
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq)]
pub(crate) struct Counted {
    /// UDP datagrams received.
    pub(crate) datagrams: u64,
    /// Frames received.
    pub(crate) frames: u64,
    /// QUIC's estimate of the round trip.
    pub(crate) round_trip: Duration,
}

/// Watches over one connection.
#[derive(Debug)]
pub(crate) struct Pulse {
    counted: Counted,
    /// When something was heard last.
    heard: Monotonic,
    /// Since when the device waits for the relay to answer what it sent.
    waiting: Option<Monotonic>,
    /// When the last question went out.
    asked: Monotonic,
    /// Whether nothing was heard since that question.
    is_unanswered: bool,
    /// Whether to ask without regard to all that.
    ask_now: bool,
    /// Questions answered without any frame coming since: the link is there, the relay just has
    /// nothing to say. Each doubles the patience.
    idle_answers: u32,
    /// The earliest time for the next rival.
    rival: Monotonic,
    rival_pause: Duration,
}

impl Pulse {
    /// Begins with a connection that has just been made.
    pub(crate) fn new(now: Monotonic) -> Self {
        Self {
            counted: Counted::default(),
            heard: now,
            waiting: None,
            asked: now,
            is_unanswered: false,
            ask_now: false,
            idle_answers: 0,
            rival: now,
            rival_pause: RIVAL_PAUSE_MIN,
        }
    }

    /// Notes whether the device waits for an answer of the relay.
    pub(crate) fn set_waiting(&mut self, now: Monotonic, waits: bool) {
        if waits && self.waiting.is_none() {
            self.idle_answers = 0;
        }
        self.waiting = waits.then(|| self.waiting.unwrap_or(now));
    }

    /// Notes that the path has changed under the connection, so that it is asked at once.
    pub(crate) fn path_changed(&mut self, now: Monotonic) {
        self.ask_now = true;
        self.idle_answers = 0;
        self.rival = now.plus(RIVAL_AFTER);
        self.rival_pause = RIVAL_PAUSE_MIN;
    }

    /// Looks at what was counted, and says what to do.
    pub(crate) fn look(&mut self, now: Monotonic, counted: Counted) -> Option<Beat> {
        self.count(now, counted);
        if self.rival_due().is_some_and(|due| due <= now) {
            self.rival = now.plus(self.rival_pause);
            self.rival_pause = (self.rival_pause * 2).min(RIVAL_PAUSE_MAX);
            return Some(Beat::Rival);
        }
        if self.ask_due() <= now {
            self.asked = now;
            self.is_unanswered = true;
            self.ask_now = false;
            return Some(Beat::Ask);
        }
        None
    }

    /// Returns when to look again.
    pub(crate) fn next_deadline(&self, now: Monotonic) -> Monotonic {
        let mut due = self.ask_due();
        if let Some(rival) = self.rival_due() {
            due = due.min(rival);
        }
        if self.waiting.is_some() || self.is_unanswered {
            due = due.min(now.plus(LOOK_EVERY));
        }
        due.max(now)
    }

    /// Returns whether a question is out that nothing was heard after.
    pub(crate) const fn is_unanswered(&self) -> bool {
        self.is_unanswered
    }

    fn count(&mut self, now: Monotonic, counted: Counted) {
        if counted.datagrams != self.counted.datagrams {
            if self.is_unanswered {
                self.idle_answers += 1;
            }
            self.heard = now;
            self.is_unanswered = false;
            self.rival_pause = RIVAL_PAUSE_MIN;
        }
        if counted.frames != self.counted.frames {
            self.idle_answers = 0;
        }
        self.counted = counted;
    }

    fn ask_due(&self) -> Monotonic {
        if self.ask_now {
            return Monotonic::default();
        }
        match (self.waiting, self.is_unanswered) {
            (Some(_), true) => self.asked.plus(ASK_EVERY),
            (Some(waiting), false) => self.heard.max(waiting).plus(self.patience()),
            (None, true) => self.asked.plus(ASK_EVERY_IDLE),
            (None, false) => self.heard.max(self.asked).plus(HEARTBEAT),
        }
    }

    fn rival_due(&self) -> Option<Monotonic> {
        let silent_since = self.heard.max(self.waiting?);
        self.is_unanswered
            .then(|| self.rival.max(silent_since.plus(RIVAL_AFTER)))
    }

    fn patience(&self) -> Duration {
        let patience = ASK_EVERY + self.counted.round_trip.min(ROUND_TRIP_MAX);
        (patience * (1 << self.idle_answers.min(IDLE_ANSWERS_MAX))).min(HEARTBEAT)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const RTT: Duration = Duration::from_millis(200);

    fn at(ms: u64) -> Monotonic {
        Monotonic(Duration::from_millis(ms))
    }

    fn counted(datagrams: u64, frames: u64) -> Counted {
        Counted {
            datagrams,
            frames,
            round_trip: RTT,
        }
    }

    /// Runs until `end`, with nothing heard; returns when it asked and when it wanted a rival.
    fn run(pulse: &mut Pulse, mut now: Monotonic, end: Monotonic) -> (Vec<u64>, Vec<u64>) {
        let (mut asks, mut rivals) = (Vec::new(), Vec::new());
        let last = pulse.counted;
        let last = Counted {
            round_trip: RTT,
            ..last
        };
        while now <= end {
            let millis = u64::try_from(now.0.as_millis()).unwrap();
            while let Some(beat) = pulse.look(now, last) {
                match beat {
                    Beat::Ask => asks.push(millis),
                    Beat::Rival => rivals.push(millis),
                }
            }
            let next = pulse.next_deadline(now);
            now = next.max(now.plus(Duration::from_millis(1)));
        }
        (asks, rivals)
    }

    #[test]
    fn a_device_that_waits_asks_four_times_a_second() {
        let mut pulse = Pulse::new(at(0));
        pulse.set_waiting(at(1_000), true);
        let (asks, _) = run(&mut pulse, at(1_000), at(2_500));
        assert_eq!(asks, [1_430, 1_660, 1_890, 2_120, 2_350]);
    }

    #[test]
    fn silence_that_lasts_brings_rivals_ever_more_rarely() {
        let mut pulse = Pulse::new(at(0));
        pulse.set_waiting(at(0), true);
        let (_, rivals) = run(&mut pulse, at(0), at(20_000));
        assert_eq!(rivals, [1_000, 3_000, 7_000, 15_000]);
    }

    #[test]
    fn an_idle_device_asks_seldom_and_tries_no_rival() {
        let mut pulse = Pulse::new(at(0));
        let (asks, rivals) = run(&mut pulse, at(0), at(30_000));
        assert_eq!(asks, [25_000, 27_000, 29_000]);
        assert!(rivals.is_empty());
    }

    #[test]
    fn whatever_is_heard_ends_the_questions() {
        let mut pulse = Pulse::new(at(0));
        pulse.set_waiting(at(0), true);
        assert_eq!(pulse.look(at(500), counted(0, 0)), Some(Beat::Ask));
        assert!(pulse.is_unanswered());
        pulse.set_waiting(at(600), false);
        assert_eq!(pulse.look(at(600), counted(1, 1)), None);
        assert!(!pulse.is_unanswered());
        assert_eq!(pulse.next_deadline(at(600)), at(25_600));
    }

    #[test]
    fn a_relay_that_answers_but_has_nothing_to_say_is_asked_ever_more_rarely() {
        let mut pulse = Pulse::new(at(0));
        pulse.set_waiting(at(0), true);
        let mut asks = Vec::new();
        for ms in 0..10_000 {
            let answers = asks.len() as u64;
            if pulse.look(at(ms), counted(answers, 0)) == Some(Beat::Ask) {
                asks.push(ms);
            }
        }
        assert!(asks.len() < 6, "{asks:?}");
    }

    #[test]
    fn a_changed_path_is_asked_at_once() {
        let mut pulse = Pulse::new(at(0));
        assert_eq!(pulse.look(at(10), counted(5, 5)), None);
        pulse.path_changed(at(20));
        assert_eq!(pulse.next_deadline(at(20)), at(20));
        assert_eq!(pulse.look(at(20), counted(5, 5)), Some(Beat::Ask));
        assert_eq!(pulse.look(at(20), counted(5, 5)), None);
    }

    #[test]
    fn an_estimate_of_minutes_is_not_believed() {
        let mut pulse = Pulse::new(at(0));
        let mut poisoned = counted(1, 1);
        poisoned.round_trip = Duration::from_secs(60);
        pulse.set_waiting(at(0), true);
        assert_eq!(pulse.look(at(0), poisoned), None);
        assert_eq!(pulse.look(at(2_750), poisoned), Some(Beat::Ask));
    }
}
