//! Keeps a link to the relay: dials, watches over the connection, dials again.
//!
//! A connection is kept through outages; while it is silent it is asked (`pulse`), and when silence
//! lasts a rival is tried beside it from a fresh socket: whichever is heard first is kept. A dial
//! resumes the last session, so that the greeting and what waits go out with its first packet; but a
//! dial after one that nobody answered spends no ticket. Beside a session the device's certificate is renewed
//! when it is time; what comes of it serves the next dial. Not here: what is said (`owner`), when it is time
//! (`lease`), which way goes first (`paths`).
//!
//! Long because every state of a link can be left by every event.

use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use gridbeat_base::Monotonic;
use gridbeat_link::{
    Clock, DeviceBundle, DeviceTls, End, Frames, Role, device_tls, random_from_system,
};
use gridbeat_sync_protocol::Reason;
use quinn::ZeroRttAccepted;
use tokio::sync::{mpsc, watch};
use tokio::task::JoinHandle;

use crate::backoff::Backoff;
use crate::dial::{Attempt, Dialled, Port, RIVAL};
use crate::lease::Due;
use crate::owner::{Input, Order};
use crate::paths::{self, Paths};
use crate::pulse::{Beat, Counted, Pulse};
use crate::radio::Radio;
use crate::renew::{Renewal, Renewed};
use crate::shared::{CoreState, Shared, expects, waiting};
use crate::{Handshake, LinkNews, LinkPolicy, Path};

/// How long a dial waits for the relay's first answer. Its packets go out at once, after 0.45 s and
/// after 1.35 s, so a new attempt costs less than a longer wait.
const DIAL: Duration = Duration::from_secs(3);

/// Every fourth dial waits longer: for a link whose round trip is beyond [`DIAL`].
const DIAL_PATIENT: Duration = Duration::from_secs(10);
const PATIENT_EVERY: u64 = 4;

/// How much longer than a round trip a connection is given after a rival was heard: questions go out
/// every 230 ms (`pulse`). Going on costs nothing, a new session two round trips.
const RIVAL_GRACE: Duration = Duration::from_millis(300);

/// How long after two round trips the tickets for the next session have surely come.
const TICKET_GRACE: Duration = Duration::from_millis(50);

/// How long to stay away after a fault that only somebody's work can mend.
const AWAY_AFTER_FAULT: Duration = Duration::from_secs(60);

/// How long closing packets are given to leave at the end.
const FAREWELL: Duration = Duration::from_millis(500);

/// Keeps the link.
pub(crate) struct Dialer {
    pub(crate) bundle: DeviceBundle,
    pub(crate) tls: DeviceTls,
    renewal: Renewal,
    pub(crate) clock: Clock,
    pub(crate) shared: Arc<Shared>,
    pub(crate) inputs: mpsc::Sender<Input>,
    pub(crate) orders: mpsc::UnboundedReceiver<Order>,
    pub(crate) core: watch::Receiver<CoreState>,
    backoff: Backoff,
    port: Option<Port>,
    paths: Paths,
    radio: Radio,
    is_wanted: bool,
    /// Whether the relay was heard since a ticket was last spent, or the network has changed.
    may_spend_ticket: bool,
    dials: u64,
    last_tag: u64,
}

/// The connection that is held.
struct Held {
    tag: u64,
    frames: Frames,
    port: Port,
    early: Option<ZeroRttAccepted>,
    began: Monotonic,
    patience: Duration,
    pulse: Pulse,
    rival: Option<JoinHandle<Result<Dialled, End>>>,
    /// A rival that was heard, and when.
    standby: Option<(Dialled, Monotonic)>,
    /// Whether a first flight that is not answered was given a rival.
    is_raced: bool,
    /// When to end the connection, if it is no longer wanted.
    leaves: Option<Monotonic>,
    /// Whether the relay has greeted on it.
    is_greeted: bool,
}

impl Held {
    /// Returns a rival that takes over: it was heard, and this connection still was not when it had
    /// had as much time.
    fn judge(&mut self, now: Monotonic) -> Option<Dialled> {
        let (rival, heard) = self.standby.take()?;
        if self.early.is_none() && !self.pulse.is_unanswered() {
            gridbeat_link::finish(&rival.connection);
            return None;
        }
        if now > Self::grace_over(&rival, heard) {
            return Some(rival);
        }
        self.standby = Some((rival, heard));
        None
    }

    /// Returns until when the connection has a chance beside a rival that was heard.
    fn grace_over(rival: &Dialled, heard: Monotonic) -> Monotonic {
        heard.plus(RIVAL_GRACE + rival.connection.rtt())
    }

    /// Returns when something is to be done about a first flight that was not answered.
    fn early_due(&self) -> Monotonic {
        let due = match &self.standby {
            Some((rival, heard)) => Self::grace_over(rival, *heard),
            None if !self.is_raced => self.began.plus(paths::Order::UDP_FIRST.lead),
            None => self.began.plus(self.patience),
        };
        due.plus(Duration::from_millis(1))
    }
}

/// What ended a dial, or the holding of a connection.
enum Over {
    /// There is no connection, or it ended.
    Ended {
        end: End,
        stay_away: Option<Duration>,
    },
    /// Circumstances changed while the relay was being dialled.
    Interrupted,
    /// The device is closed.
    Stopped,
}

enum Woken {
    Order(Option<Order>),
    Early(bool),
    Rival(Result<Dialled, End>),
    Renewed(Renewed),
    /// Nothing can go this way any more.
    Lost,
    Look,
}

impl Dialer {
    pub(crate) fn new(
        (bundle, bundle_file): (DeviceBundle, Option<PathBuf>),
        tls: DeviceTls,
        policy: LinkPolicy,
        clock: Clock,
        shared: Arc<Shared>,
        channels: (mpsc::Sender<Input>, mpsc::UnboundedReceiver<Order>),
    ) -> Self {
        let (inputs, orders) = channels;
        Self {
            renewal: Renewal::new(&bundle, bundle_file),
            bundle,
            tls,
            clock,
            core: shared.core.subscribe(),
            shared,
            inputs,
            orders,
            backoff: Backoff::new(random_from_system()),
            port: None,
            paths: Paths::default(),
            radio: Radio::default(),
            is_wanted: policy == LinkPolicy::Always,
            may_spend_ticket: true,
            dials: 0,
            last_tag: 0,
        }
    }

    /// Works until the device is closed.
    pub(crate) async fn run(mut self) {
        let mut due = self.clock.monotonic();
        while self.wait_until(due).await {
            let patience = if self.dials % PATIENT_EVERY == PATIENT_EVERY - 1 {
                DIAL_PATIENT
            } else {
                DIAL
            };
            let over = match self.renew_and_dial(patience).await {
                Ok(dialled) => self.hold(dialled, patience).await,
                Err(over) => over,
            };
            due = match over {
                Over::Ended { end, stay_away } => self.pause_after(&end, stay_away),
                Over::Interrupted => self.clock.monotonic(),
                Over::Stopped => break,
            };
        }
        self.renewal.finish().await;
        if let Some(port) = &self.port {
            // Nothing depends on the relay's hearing of it.
            let _ = tokio::time::timeout(FAREWELL, port.endpoint.wait_idle()).await;
        }
    }

    /// Waits until it is time to dial; returns whether it ever will be.
    async fn wait_until(&mut self, mut due: Monotonic) -> bool {
        loop {
            let now = self.clock.monotonic();
            if self.is_wanted && due <= now {
                return true;
            }
            let is_wanted = self.is_wanted;
            let pause = async {
                if is_wanted {
                    tokio::time::sleep(due.since(now)).await;
                } else {
                    std::future::pending().await
                }
            };
            let had = waiting(&self.core.borrow_and_update().sync);
            tokio::select! {
                order = self.orders.recv() => match order {
                    None | Some(Order::Stop) => return false,
                    Some(Order::Want(wanted)) => self.is_wanted = wanted,
                    Some(Order::NetworkChanged(name)) => {
                        self.network_changed(name);
                        // A relay that asked for time is given it on any network.
                        if self.backoff.is_free() {
                            due = now;
                        }
                    }
                    Some(Order::Hurry) => {
                        self.renewal.lease.hurry();
                        due = now;
                    }
                    Some(Order::Greeted | Order::Ended { .. }) => {}
                },
                changed = self.core.changed() => {
                    if changed.is_err() {
                        return false;
                    }
                    // Somebody has saved something: no reason to wait as if nobody had.
                    if had == 0 && waiting(&self.core.borrow().sync) > 0 && self.backoff.is_free() {
                        due = now;
                    }
                }
                () = pause => {}
            }
        }
    }

    fn network_changed(&mut self, name: Option<String>) {
        self.paths.network_changed(name);
        self.backoff.start_over();
        self.may_spend_ticket = true;
        // A socket may be bound to a network that is gone.
        self.port = None;
    }

    fn pause_after(&mut self, end: &End, stay_away: Option<Duration>) -> Monotonic {
        self.shared.tell(LinkNews::Down { end: end.clone() });
        let something_waits = waiting(&self.core.borrow().sync) > 0;
        let pause = match (end, stay_away) {
            (_, Some(asked)) => self.backoff.turned_away(asked),
            (End::Words(close), None) if close.retry_after_s > 0 => self
                .backoff
                .turned_away(Duration::from_secs(close.retry_after_s.into())),
            (End::Words(_) | End::Finished | End::Silent | End::Restarted, None) => {
                self.backoff.failed(something_waits)
            }
            (End::OurLease, None) => {
                self.renewal.lease.end();
                match self.renewal.lease.due(self.clock.now()) {
                    Some(_) => Duration::ZERO,
                    None => self.turned_away(self.renewal.lease.words()),
                }
            }
            (
                End::OurCertificate
                | End::TheirCertificate
                | End::NoCommonVersion
                | End::RuleBroken,
                None,
            ) => self.turned_away(end.words()),
        };
        tracing::info!(%end, pause_ms = pause.as_millis(), "no link");
        self.clock.monotonic().plus(pause)
    }

    fn turned_away(&mut self, why: Reason) -> Duration {
        self.shared.set_fault(Some(why));
        self.backoff.turned_away(AWAY_AFTER_FAULT)
    }

    /// Dials; but first renews a certificate that opens nothing any more.
    async fn renew_and_dial(&mut self, patience: Duration) -> Result<Dialled, Over> {
        let now = self.clock.now();
        if self.renewal.lease.due(now) == Some(Due::First) {
            self.renewal.look(&self.bundle, now);
        }
        while self.renewal.comes_first(self.clock.now()) {
            tokio::select! {
                renewed = self.renewal.over() => if let Some(over) = self.take_renewed(renewed, true) {
                    return Err(over);
                },
                order = self.orders.recv() => if let Some(over) = self.interrupt(order) {
                    return Err(over);
                },
            }
        }
        self.dial(patience).await
    }

    /// Takes in what became of a renewal; returns whether it ends a dial that cannot do without it.
    fn take_renewed(&mut self, renewed: Renewed, comes_first: bool) -> Option<Over> {
        let now = self.clock.monotonic();
        match renewed {
            Renewed::Done(bundle) => match device_tls(&bundle) {
                Ok(tls) => {
                    tracing::info!("the device's certificate was renewed");
                    self.renewal.lease.renewed(&bundle, now);
                    let until = bundle.not_after;
                    // Tickets of the old certificate would bring the old one back: `tls` has none.
                    (self.tls, self.bundle) = (tls, *bundle);
                    self.shared.tell(LinkNews::Renewed { until });
                }
                Err(error) => {
                    tracing::warn!(%error, "the renewed certificate is of no use");
                    self.renewal.lease.put_off(now, AWAY_AFTER_FAULT);
                }
            },
            // The next dial asks again.
            Renewed::NoAnswer if comes_first => {
                return Some(Over::Ended {
                    end: End::Silent,
                    stay_away: None,
                });
            }
            Renewed::NoAnswer => self.renewal.lease.put_off(now, Duration::ZERO),
            // The relay may know better than this device's clock what its certificate opens.
            Renewed::Later(after) => self.renewal.lease.put_off(now, after),
            Renewed::Refused(reason) => {
                tracing::warn!(code = reason.code, "the certificate is not renewed");
                self.renewal.lease.refused(now, reason);
            }
        }
        None
    }

    /// Follows an order that comes before there is a connection; returns what it ends.
    fn interrupt(&mut self, order: Option<Order>) -> Option<Over> {
        match order {
            None | Some(Order::Stop) => Some(Over::Stopped),
            Some(Order::NetworkChanged(name)) => {
                self.network_changed(name);
                Some(Over::Interrupted)
            }
            Some(Order::Want(wanted)) => {
                self.is_wanted = wanted;
                (!wanted).then_some(Over::Interrupted)
            }
            Some(Order::Hurry | Order::Greeted | Order::Ended { .. }) => None,
        }
    }

    async fn dial(&mut self, patience: Duration) -> Result<Dialled, Over> {
        self.dials += 1;
        self.shared.count(|report| report.dials += 1);
        let resumes = self.may_spend_ticket;
        self.may_spend_ticket = false;
        let began = self.clock.monotonic();
        let port = self.port.take().filter(|port| port.path() == Path::Udp);
        let attempt = Attempt {
            resumes,
            ..self.attempt(self.paths.order(began), patience)
        };
        let mut dialling = std::pin::pin!(attempt.dial(port));
        loop {
            tokio::select! {
                dialled = &mut dialling => {
                    let dialled = dialled.map_err(|end| Over::Ended { end, stay_away: None })?;
                    self.port = Some(dialled.port.clone());
                    if dialled.early.is_none() {
                        self.paths.heard(dialled.port.path(), self.clock.monotonic());
                    }
                    return Ok(dialled);
                }
                order = self.orders.recv() => if let Some(over) = self.interrupt(order) {
                    return Err(over);
                }
            }
        }
    }

    /// Makes what a dial from now on goes by, without a ticket.
    fn attempt(&self, order: paths::Order, patience: Duration) -> Attempt {
        Attempt {
            relay: self.bundle.relay.clone(),
            tls: self.tls.clone(),
            order,
            resumes: false,
            began: self.clock.monotonic(),
            patience,
        }
    }

    async fn hold(&mut self, dialled: Dialled, patience: Duration) -> Over {
        let mut held = self.begin(dialled, patience).await;
        loop {
            let now = self.clock.monotonic();
            held.pulse
                .set_waiting(now, expects(&self.core.borrow_and_update()));
            self.look(&mut held, now);
            if held.is_greeted {
                self.renewal.look(&self.bundle, self.clock.now());
            }
            if let Some(rival) = held.judge(now) {
                tracing::info!("a rival connection was heard, and this one was not");
                held.frames.finish();
                self.port = Some(rival.port.clone());
                self.paths.heard(rival.port.path(), now);
                held = self.begin(rival, RIVAL).await;
                continue;
            }
            match self.wait(&mut held).await {
                Woken::Look => {}
                Woken::Lost => {
                    held.frames.finish();
                    self.shared.set_connection(None);
                    return Over::Ended {
                        end: End::Silent,
                        stay_away: None,
                    };
                }
                Woken::Early(accepted) => self.settle_early(&mut held, accepted).await,
                Woken::Renewed(renewed) => {
                    // This connection goes on with the old one.
                    let _ = self.take_renewed(renewed, false);
                }
                Woken::Rival(Ok(rival)) => held.standby = Some((rival, self.clock.monotonic())),
                Woken::Rival(Err(end)) => tracing::debug!(%end, "the rival found no link either"),
                Woken::Order(None | Some(Order::Stop)) => {
                    held.frames.finish();
                    return Over::Stopped;
                }
                Woken::Order(Some(order)) => {
                    if let Some(over) = self.follow(&mut held, order) {
                        return over;
                    }
                }
            }
        }
    }

    /// Hands a connection to the owner.
    async fn begin(&mut self, dialled: Dialled, patience: Duration) -> Held {
        self.last_tag += 1;
        let tag = self.last_tag;
        let (frames, unstarted) = Frames::open(
            dialled.connection.clone(),
            dialled.outage,
            Role::Device,
            Arc::clone(&self.shared.traffic),
            tag,
            self.inputs.clone(),
        );
        self.shared.set_connection(Some(dialled.connection));
        let up = Input::Up {
            tag,
            frames: frames.clone(),
            first_flight: dialled.port.first_flight.clone(),
        };
        // The owner is gone only when the device is closed, of which an order tells.
        let _ = self.inputs.send(up).await;
        unstarted.start();
        let now = self.clock.monotonic();
        let path = dialled.port.path();
        self.shared.count(|report| report.path = Some(path));
        if dialled.early.is_none() {
            self.tell_up(Handshake::Full, path, now.since(dialled.began));
        }
        Held {
            tag,
            frames,
            port: dialled.port,
            early: dialled.early,
            began: dialled.began,
            patience,
            pulse: Pulse::new(now),
            rival: None,
            standby: None,
            is_raced: false,
            leaves: None,
            is_greeted: false,
        }
    }

    fn tell_up(&self, handshake: Handshake, path: Path, took: Duration) {
        self.shared.count(|report| {
            report.handshake = Some(handshake);
            report.early_accepted += u64::from(handshake == Handshake::Early);
        });
        self.shared.tell(LinkNews::Up {
            handshake,
            path,
            took,
        });
    }

    async fn settle_early(&self, held: &mut Held, accepted: bool) {
        held.early = None;
        let now = self.clock.monotonic();
        held.pulse = Pulse::new(now);
        let took = now.since(held.began);
        if accepted {
            self.tell_up(Handshake::Early, held.port.path(), took);
            // Part of the first flight may have been lost before the relay was reachable.
            if took > held.frames.connection().rtt() * 2 {
                held.pulse.path_changed(now);
            }
        } else if held.frames.connection().close_reason().is_none() {
            self.shared.tell(LinkNews::EarlyRefused);
            self.tell_up(Handshake::Full, held.port.path(), took);
            held.frames.restart().await;
            let again = Input::Up {
                tag: held.tag,
                frames: held.frames.clone(),
                first_flight: held.port.first_flight.clone(),
            };
            let _ = self.inputs.send(again).await;
        }
    }

    /// Does what is due on the connection.
    fn look(&mut self, held: &mut Held, now: Monotonic) {
        let connection = held.frames.connection();
        let stats = connection.stats();
        let datagrams = stats.udp_tx.datagrams + stats.udp_rx.datagrams;
        let radio_on = self.radio.look(now, datagrams);
        self.shared.count(|report| report.radio_on += radio_on);
        if held.leaves.is_some_and(|leaves| leaves <= now) {
            held.frames.finish();
            return;
        }
        if held.early.is_some() {
            if now.since(held.began) > held.patience {
                held.frames.finish();
            } else if held.early_due() <= now && !held.is_raced {
                held.is_raced = true;
                if held.port.path() == Path::Udp {
                    let attempt = self.attempt(paths::Order::WEB_SOCKET_FIRST, RIVAL);
                    held.rival = Some(tokio::spawn(attempt.dial_web_socket()));
                }
            }
            return;
        }
        let counted = Counted {
            datagrams: stats.udp_rx.datagrams,
            frames: self.shared.traffic.counts().received_frames,
            round_trip: stats.path.rtt,
        };
        while let Some(beat) = held.pulse.look(now, counted) {
            match beat {
                Beat::Ask => {
                    self.shared.count(|report| report.asks += 1);
                    held.frames.ask();
                }
                Beat::Rival if held.rival.is_none() && held.standby.is_none() => {
                    self.shared.count(|report| {
                        report.rivals += 1;
                        report.dials += 1;
                    });
                    let order = self.paths.order_beside(held.port.path(), held.began, now);
                    let attempt = self.attempt(order, RIVAL);
                    held.rival = Some(tokio::spawn(attempt.dial(None)));
                }
                Beat::Rival => {}
            }
        }
    }

    async fn wait(&mut self, held: &mut Held) -> Woken {
        let now = self.clock.monotonic();
        let due = match &held.early {
            Some(_) => held.early_due(),
            None => held.pulse.next_deadline(now),
        };
        let due = held.leaves.map_or(due, |leaves| due.min(leaves));
        let (early, rival) = (&mut held.early, &mut held.rival);
        tokio::select! {
            order = self.orders.recv() => Woken::Order(order),
            accepted = async { match early {
                Some(early) => early.await,
                None => std::future::pending().await,
            } } => Woken::Early(accepted),
            dialled = async { match rival {
                Some(rival) => rival.await,
                None => std::future::pending().await,
            } } => {
                held.rival = None;
                Woken::Rival(dialled.unwrap_or(Err(End::Silent)))
            }
            renewed = self.renewal.over() => Woken::Renewed(renewed),
            () = held.port.over() => Woken::Lost,
            _ = self.core.changed() => Woken::Look,
            () = tokio::time::sleep(due.since(now)) => Woken::Look,
        }
    }

    fn follow(&mut self, held: &mut Held, order: Order) -> Option<Over> {
        match order {
            Order::Greeted => {
                self.backoff.succeeded();
                self.may_spend_ticket = true;
                held.is_greeted = true;
            }
            Order::Ended {
                tag,
                end,
                stay_away,
            } if tag == held.tag => {
                self.shared.set_connection(None);
                return Some(Over::Ended { end, stay_away });
            }
            Order::Ended { .. } | Order::Stop => {}
            Order::NetworkChanged(name) => {
                self.paths.network_changed(name);
                if !self.change_sockets(held) {
                    held.frames.finish();
                    self.shared.set_connection(None);
                    return Some(Over::Interrupted);
                }
            }
            Order::Hurry => held.pulse.path_changed(self.clock.monotonic()),
            Order::Want(true) => {
                self.is_wanted = true;
                held.leaves = None;
            }
            Order::Want(false) => {
                self.is_wanted = false;
                // The relay's tickets for the next session come two round trips after the dial.
                let tickets = held.frames.connection().rtt() * 2 + TICKET_GRACE;
                let now = self.clock.monotonic();
                held.leaves = Some(now.max(held.began.plus(tickets)));
            }
        }
        None
    }

    /// Moves the connection to a fresh socket, and lets it say something from there; returns whether it can be moved.
    fn change_sockets(&self, held: &mut Held) -> bool {
        match held.port.move_to_fresh_socket() {
            Ok(true) => tracing::info!("the network changed; moved to another socket"),
            Ok(false) => return false,
            Err(error) => tracing::warn!(%error, "the network changed; kept the socket"),
        }
        held.pulse.path_changed(self.clock.monotonic());
        true
    }
}
