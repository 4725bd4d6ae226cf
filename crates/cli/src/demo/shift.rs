//! The shift itself: plays the plan in real time, and people's answers to what they see.
//!
//! One loop over four sources: what devices say, what links do, what is due by the plan, and the
//! clock. It ends when every device is in sync over good links. Not here: what people do (`people`),
//! processes (`world`), what is noted (`chronicle`).
//!
//! long because one shift is one story: what each person does, when, and what is seen of it.

use std::cmp::Reverse;
use std::collections::{BTreeMap, BinaryHeap};
use std::time::Duration;

use gridbeat_badlink::{Handover, Profile, Way};
use gridbeat_base::DocumentId;
use tokio::sync::mpsc;
use tokio::time::Instant;

use super::child::FromChild;
use super::chronicle::Chronicle;
use super::people::{Deed, People};
use super::photo;
use super::plan::{Plan, report_intent};
use super::progress::Progress;
use super::world::World;
use crate::device::protocol::{Event, Fault, Line, Print, Request, Saved};
use crate::input::Day;

/// How long all devices may take to come in sync: before the shift, and after it.
pub(crate) const SYNC_MAX: Duration = Duration::from_secs(60);

/// For how long nothing may happen before the end is believed to be one.
const QUIET: Duration = Duration::from_millis(1_200);

/// How long a device may take to describe what it holds.
const PRINT_MAX: Duration = Duration::from_secs(30);

/// How often the progress is shown and memory is looked at.
const SAMPLE: Duration = Duration::from_millis(200);

/// How long to wait before trying again what cannot be done yet.
const AGAIN: Duration = Duration::from_secs(1);

/// The rule of an incident that says that a step came too late.
const STEP_NOT_ALLOWED: &str = "step_not_allowed";

/// The patrol's rule against legs after the end.
const PATROL_ENDED: &str = "patrol_ended";

/// What a request was for.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Purpose {
    /// To report a request.
    Report(usize),
    /// To begin a patrol.
    Patrol,
    /// To edit something.
    Edit,
    /// To be able to compare.
    Print,
    /// To know what the link has cost.
    Link,
    /// Something whose answer says nothing.
    Nothing,
}

/// Something due at a moment.
#[derive(Debug)]
enum Due {
    Report(usize),
    PatrolAct(usize),
    Meeting(usize),
    Remark { report: usize, remark: usize },
    Deed(Deed),
    KillRelay,
    StartRelay,
    KillDevice,
    StartDevice(usize),
    End,
}

/// A link went up or down.
#[derive(Clone, Copy, Debug)]
struct LinkNews {
    device: usize,
    at: Duration,
    up: bool,
}

/// A shift being played.
#[derive(Debug)]
pub(crate) struct Shift<'a> {
    plan: &'a Plan,
    day: &'a Day,
    seed: u64,
    /// The processes and links.
    pub(crate) world: World<Purpose>,
    from_children: mpsc::UnboundedReceiver<FromChild>,
    /// What happened.
    pub(crate) chronicle: Chronicle,
    people: People,
    progress: Progress,
    began: Instant,
    due: BinaryHeap<Reverse<(Instant, u64)>>,
    what: BTreeMap<u64, Due>,
    numbers: u64,
    /// Where each device stands, as it last said.
    states: Vec<String>,
    patrols: BTreeMap<usize, DocumentId>,
    prints: BTreeMap<usize, Print>,
    last_event: Instant,
    is_over: bool,
}

impl<'a> Shift<'a> {
    /// Prepares a shift in a world that is set up.
    pub(crate) fn new(
        plan: &'a Plan,
        day: &'a Day,
        seed: u64,
        world: World<Purpose>,
        from_children: mpsc::UnboundedReceiver<FromChild>,
        chronicle: Chronicle,
        progress: Progress,
    ) -> Self {
        Self {
            states: vec!["offline".to_owned(); chronicle.devices.len()],
            people: People::new(plan, seed),
            plan,
            day,
            seed,
            world,
            from_children,
            chronicle,
            progress,
            began: Instant::now(),
            due: BinaryHeap::new(),
            what: BTreeMap::new(),
            numbers: 0,
            patrols: BTreeMap::new(),
            prints: BTreeMap::new(),
            last_event: Instant::now(),
            is_over: false,
        }
    }

    /// Starts the devices, plays the shift, and waits until everyone is in sync.
    ///
    /// Returns false if that did not happen in time.
    pub(crate) async fn play(&mut self) -> anyhow::Result<bool> {
        for device in 0..self.world.devices.len() {
            self.world.start_device(device)?;
        }
        self.progress.stage("devices meet the relay");
        if !self
            .until(Instant::now() + SYNC_MAX, Self::all_in_sync, &mut None)
            .await?
        {
            anyhow::bail!(
                "the devices did not reach the relay over good links: {:?}",
                self.states
            );
        }
        self.progress.stage("the shift");
        let mut news = Some(self.begin());
        let end = self.began + self.plan.run + SYNC_MAX;
        self.until(end, |shift| shift.is_over, &mut news).await?;
        self.progress
            .stage("links are good again: everyone comes in sync");
        let is_in_sync = self
            .until(Instant::now() + SYNC_MAX, Self::is_settled, &mut news)
            .await?;
        self.chronicle.played = self.began.elapsed();
        Ok(is_in_sync)
    }

    /// Asks every device what it holds, then lets all of them end.
    pub(crate) async fn collect(&mut self) -> anyhow::Result<BTreeMap<usize, Print>> {
        self.progress.stage("every pair is compared");
        let all = self.world.devices.len();
        let deadline = Instant::now() + SYNC_MAX;
        // Photos may still be on their way when all records are in sync.
        loop {
            self.prints.clear();
            self.ask_all(&Request::Fingerprint, Purpose::Print);
            let printed = Instant::now() + PRINT_MAX;
            self.until(printed, |shift| shift.prints.len() == all, &mut None)
                .await?;
            let is_sent = self.prints.values().all(|print| print.blobs_waiting == 0);
            if is_sent || Instant::now() >= deadline {
                break;
            }
            tokio::time::sleep(SAMPLE).await;
        }
        self.ask_all(&Request::Link, Purpose::Link);
        let told = Instant::now() + PRINT_MAX;
        let has_told = |shift: &Self| {
            let mut logs = shift.chronicle.devices.iter();
            logs.all(|log| log.link_cost.is_some())
        };
        self.until(told, has_told, &mut None).await?;
        self.ask_all(&Request::Quit, Purpose::Nothing);
        for station in &mut self.world.devices {
            if let Some(child) = station.child.take() {
                let ended = tokio::time::timeout(SYNC_MAX, child.ended()).await;
                if !ended.is_ok_and(|status| status.is_ok_and(|status| status.success())) {
                    self.chronicle
                        .faults
                        .push("a device did not end well".to_owned());
                }
            }
        }
        for (station, log) in self.world.devices.iter().zip(&mut self.chronicle.devices) {
            let stats = station.link.stats();
            log.bytes_up = stats.up.delivered_bytes;
            log.bytes_down = stats.down.delivered_bytes;
            log.handovers = stats.handovers;
        }
        self.progress.finish();
        Ok(std::mem::take(&mut self.prints))
    }

    /// Gives every link its log, and everything its moment.
    fn begin(&mut self) -> mpsc::UnboundedReceiver<LinkNews> {
        self.began = Instant::now();
        let (sender, news) = mpsc::unbounded_channel();
        for device in 0..self.world.devices.len() {
            self.begin_link(device, &sender);
        }
        for (number, report) in self.plan.reports.iter().enumerate() {
            self.at(report.at, Due::Report(number));
            if let Some(meeting) = report.meeting.filter(|meeting| meeting.at < self.plan.run) {
                self.at(meeting.at, Due::Meeting(number));
            }
            let remarks = &self.day.requests[report.request].remarks;
            for remark in 0..remarks.len() {
                let later = Duration::from_secs(2 + remark as u64);
                self.at(
                    report.at + later,
                    Due::Remark {
                        report: number,
                        remark,
                    },
                );
            }
        }
        for (number, act) in self.plan.patrol.iter().enumerate() {
            self.at(act.at, Due::PatrolAct(number));
        }
        self.at(self.plan.relay_kill.0, Due::KillRelay);
        self.at(self.plan.device_kill.0, Due::KillDevice);
        self.at(self.plan.run, Due::End);
        news
    }

    fn begin_link(&mut self, device: usize, sender: &mpsc::UnboundedSender<LinkNews>) {
        let link = &self.world.devices[device].link;
        let mut changes = link.changes();
        let offset = link.elapsed();
        link.set_profile(&self.profile(device));
        self.chronicle.devices[device].link(Duration::ZERO, true);
        if !link.is_up() {
            self.chronicle.devices[device].link(Duration::ZERO, false);
        }
        let sender = sender.clone();
        tokio::spawn(async move {
            while let Some(change) = changes.next().await {
                let at = change.at.saturating_sub(offset);
                let news = LinkNews {
                    device,
                    at,
                    up: change.up,
                };
                if sender.send(news).is_err() {
                    return;
                }
            }
        });
    }

    /// An officer's link is the log's with what a log does not tell; the centre's is a good wire.
    fn profile(&self, device: usize) -> Profile {
        let Some(link) = self
            .day
            .links
            .get(device)
            .filter(|_| device != self.plan.centre())
        else {
            return Profile::delay(Duration::from_millis(30));
        };
        let profile = Profile::mobile(link.log.clone(), self.seed.wrapping_add(device as u64));
        let worse = |way: Way| Way {
            loss_per_mille: 10,
            duplicate_per_mille: 5,
            reorder_per_mille: 10,
            jitter: Duration::from_millis(20),
            ..way
        };
        // Every third officer rides through cells, and is another address now and then.
        let handover = if device.is_multiple_of(3) {
            Handover::Every(Duration::from_secs(17))
        } else {
            Handover::Never
        };
        Profile {
            up: worse(profile.up),
            down: worse(profile.down),
            handover,
            ..profile
        }
    }

    fn at(&mut self, at: Duration, due: Due) {
        self.numbers += 1;
        self.due.push(Reverse((self.began + at, self.numbers)));
        self.what.insert(self.numbers, due);
    }

    fn later(&mut self, after: Duration, due: Due) {
        let at = self.began.elapsed() + after;
        self.at(at, due);
    }

    /// Plays on until `done`, or the deadline. Returns whether it is done.
    async fn until(
        &mut self,
        deadline: Instant,
        done: impl Fn(&Self) -> bool,
        news: &mut Option<mpsc::UnboundedReceiver<LinkNews>>,
    ) -> anyhow::Result<bool> {
        let mut sample = tokio::time::interval(SAMPLE);
        while !done(self) {
            let next = self
                .due
                .peek()
                .map_or(deadline, |Reverse((at, _))| *at)
                .min(deadline);
            tokio::select! {
                Some(line) = self.from_children.recv() => self.line(line)?,
                Some(change) = next_news(news) => self.link(change),
                _ = sample.tick() => self.sample(),
                () = tokio::time::sleep_until(next) => {
                    if Instant::now() >= deadline {
                        return Ok(done(self));
                    }
                    self.next_due().await?;
                }
            }
        }
        Ok(true)
    }

    fn sample(&mut self) {
        if let Some(bytes) = self.world.relay_peak_rss_bytes() {
            let peak = &mut self.chronicle.relay_peak_rss_bytes;
            *peak = bytes.max(*peak);
        }
        let elapsed = self.began.elapsed();
        self.progress.show(elapsed, self.plan.run, &self.chronicle);
    }

    async fn next_due(&mut self) -> anyhow::Result<()> {
        let Some(Reverse((_, number))) = self.due.pop() else {
            return Ok(());
        };
        let Some(due) = self.what.remove(&number) else {
            return Ok(());
        };
        match due {
            Due::Report(number) if !self.is_over => self.report(number),
            Due::PatrolAct(number) if !self.is_over => self.patrol(number),
            Due::Meeting(number) if !self.is_over => self.meeting(number),
            Due::Remark { report, remark } if !self.is_over => self.remark(report, remark),
            Due::Deed(deed) if !self.is_over => self.deed(deed),
            Due::KillRelay => {
                let now = self.began.elapsed();
                self.world.kill_relay().await?;
                self.chronicle.relay_down.push((now, None));
                for log in &mut self.chronicle.devices {
                    log.forget_return();
                }
                self.later(
                    self.plan.relay_kill.1 - self.plan.relay_kill.0,
                    Due::StartRelay,
                );
            }
            Due::StartRelay => {
                self.world.start_relay().await?;
                let now = self.began.elapsed();
                if let Some(last) = self.chronicle.relay_down.last_mut() {
                    last.1 = Some(now);
                }
            }
            Due::KillDevice => self.kill_device().await?,
            Due::StartDevice(device) => {
                self.world.start_device(device)?;
                let changes = self.chronicle.devices[device].unacknowledged();
                self.ask(device, Request::Watch { changes }, Purpose::Nothing);
            }
            Due::End => self.end(),
            Due::Report(_)
            | Due::PatrolAct(_)
            | Due::Meeting(_)
            | Due::Remark { .. }
            | Due::Deed(_) => {}
        }
        Ok(())
    }

    /// Kills the officer's device with the most unsent: the worst moment there is.
    async fn kill_device(&mut self) -> anyhow::Result<()> {
        let officers = 0..self.plan.officers.len();
        let device = officers
            .max_by_key(|device| self.chronicle.devices[*device].depth())
            .unwrap_or(0);
        let now = self.began.elapsed();
        self.world.kill_device(device).await?;
        self.states[device] = "offline".to_owned();
        let log = &mut self.chronicle.devices[device];
        log.forget_return();
        log.kills.push((now, None));
        self.later(
            self.plan.device_kill.1 - self.plan.device_kill.0,
            Due::StartDevice(device),
        );
        Ok(())
    }

    fn end(&mut self) {
        self.is_over = true;
        for station in &mut self.world.devices {
            station.link.set_profile(&Profile::lan());
            if let Some(child) = &mut station.child {
                child.drop_waiting();
            }
        }
        self.ask_all(&Request::NetworkChanged { network: None }, Purpose::Nothing);
        self.last_event = Instant::now();
    }

    fn ask(&mut self, device: usize, request: Request, purpose: Purpose) {
        if let Some(child) = &mut self.world.devices[device].child {
            child.ask(request, purpose);
        }
    }

    fn ask_all(&mut self, request: &Request, purpose: Purpose) {
        for device in 0..self.world.devices.len() {
            self.ask(device, request.clone(), purpose);
        }
    }

    fn name_of(&self, device: usize) -> &str {
        self.plan
            .officers
            .get(device)
            .map_or(super::people::CENTRE, |officer| &officer.name)
    }

    fn report(&mut self, number: usize) {
        let report = &self.plan.reports[number];
        if self.world.devices[report.by].child.is_none() {
            return self.later(AGAIN, Due::Report(number));
        }
        let request = Request::Create {
            kind: "incident".to_owned(),
            scope: report.scope.clone(),
            intent: report_intent(&self.day.requests[report.request], self.name_of(report.by)),
        };
        self.ask(report.by, request, Purpose::Report(number));
    }

    fn patrol(&mut self, number: usize) {
        let act = &self.plan.patrol[number];
        let by = act.by;
        if act.intent["do"] == "start" {
            let scope = self.plan.scopes[self.plan.officers[by].home].clone();
            let kind = "patrol".to_owned();
            let request = Request::Create {
                kind,
                scope,
                intent: act.intent.clone(),
            };
            return self.ask(by, request, Purpose::Patrol);
        }
        let Some(document) = self.patrols.get(&by).copied() else {
            return self.later(AGAIN, Due::PatrolAct(number));
        };
        if let Some(segment) = &act.segment {
            let hex = segment
                .bytes
                .iter()
                .map(|byte| format!("{byte:02x}"))
                .collect();
            self.ask(by, Request::PutBlob { hex }, Purpose::Nothing);
        }
        let intent = act.intent.clone();
        self.ask(by, Request::Edit { document, intent }, Purpose::Edit);
    }

    /// The officer takes a photo of what was reported.
    fn take_photo(&mut self, device: usize, document: DocumentId, number: usize) {
        let (hex, intent) = photo::of(self.seed, number);
        let request = Request::TakePhoto {
            document,
            intent,
            hex,
        };
        self.ask(device, request, Purpose::Edit);
    }

    fn meeting(&mut self, number: usize) {
        let (plan, day) = (self.plan, self.day);
        let Some(deeds) = self.people.meet(plan, day, number) else {
            return self.later(AGAIN, Due::Meeting(number));
        };
        let together = deeds.iter().filter(|deed| deed.after.is_zero()).count();
        self.chronicle.meetings += u64::from(together > 1);
        for deed in deeds {
            if deed.after.is_zero() {
                self.deed(deed);
            } else {
                self.later(deed.after, Due::Deed(deed));
            }
        }
    }

    fn remark(&mut self, report: usize, remark: usize) {
        let Some(document) = self.people.document_of(report) else {
            return self.later(AGAIN, Due::Remark { report, remark });
        };
        let by = self.plan.reports[report].by;
        let text = &self.day.requests[self.plan.reports[report].request].remarks[remark].text;
        let intent = serde_json::json!({
            "do": "step", "step": "note", "note": text.reveal(), "by": self.name_of(by),
        });
        self.ask(by, Request::Edit { document, intent }, Purpose::Edit);
    }

    fn deed(&mut self, deed: Deed) {
        let Deed {
            device,
            document,
            intent,
            ..
        } = deed;
        self.ask(device, Request::Edit { document, intent }, Purpose::Edit);
    }

    fn line(&mut self, from: FromChild) -> anyhow::Result<()> {
        let FromChild { device, life, line } = from;
        let lives = self.world.devices[device]
            .child
            .as_ref()
            .map(super::child::Child::life);
        if lives != Some(life) {
            return Ok(());
        }
        self.last_event = Instant::now();
        match line {
            Some(Line::Event(event)) => self.event(device, event),
            Some(Line::Answer(id, answer)) => {
                let child = self.world.devices[device].child.as_mut();
                if let Some(purpose) = child.and_then(|child| child.answered(id)) {
                    self.answer(device, purpose, answer);
                }
            }
            None => anyhow::bail!("device {} ended by itself", self.name_of(device)),
        }
        Ok(())
    }

    fn event(&mut self, device: usize, event: Event) {
        let now = self.began.elapsed();
        let log = &mut self.chronicle.devices[device];
        match event {
            Event::Ready { .. } => {
                if let Some(last) = log.kills.last_mut().filter(|(_, ready)| ready.is_none()) {
                    last.1 = Some(now);
                }
            }
            Event::State(state) => {
                log.waiting(now, state.waiting);
                self.states[device] = state.state;
            }
            Event::Acknowledged { changes } => {
                for change in changes {
                    let saved = Saved {
                        document: change.document,
                        change: change.change,
                    };
                    log.acknowledged(now, saved, change.after_ms);
                }
            }
            Event::Moved | Event::Leaving { .. } | Event::Left { .. } | Event::Wiped(_) => {}
            Event::Changed { documents } => {
                for changed in documents {
                    self.seen(device, changed.document, &changed.status);
                }
            }
        }
    }

    fn seen(&mut self, device: usize, document: DocumentId, status: &str) {
        let (plan, day) = (self.plan, self.day);
        let deed = self.people.seen(plan, day, device, document, status);
        if let Some(deed) = deed.filter(|_| !self.is_over) {
            self.later(deed.after, Due::Deed(deed));
        }
    }

    fn answer(
        &mut self,
        device: usize,
        purpose: Purpose,
        answer: Result<serde_json::Value, Fault>,
    ) {
        let name = self.name_of(device).to_owned();
        let value = match answer {
            Ok(value) => value,
            Err(fault) => {
                let is_late =
                    [STEP_NOT_ALLOWED, PATROL_ENDED].contains(&fault.rule.as_deref().unwrap_or(""));
                if is_late {
                    self.chronicle.overtaken += 1;
                } else {
                    self.chronicle
                        .faults
                        .push(format!("{name}: {}", fault.what));
                }
                return;
            }
        };
        let saved = || serde_json::from_value::<Saved>(value.clone()).ok();
        match purpose {
            Purpose::Report(number) => {
                let Some(saved) = saved() else { return };
                self.chronicle.devices[device].saved(saved, true);
                self.chronicle
                    .incidents
                    .insert(saved.document, self.plan.reports[number].request);
                self.people.reported(saved.document, number);
                if number.is_multiple_of(photo::EVERY) {
                    self.take_photo(device, saved.document, number);
                }
                // What the device said of it came before anyone knew what it was.
                self.seen(device, saved.document, "reported");
            }
            Purpose::Patrol => {
                let Some(saved) = saved() else { return };
                self.chronicle.devices[device].saved(saved, true);
                self.chronicle.patrols.insert(saved.document, device);
                self.patrols.insert(device, saved.document);
            }
            Purpose::Edit => {
                if let Some(saved) = saved() {
                    self.chronicle.devices[device].saved(saved, false);
                }
            }
            Purpose::Print => match serde_json::from_value(value) {
                Ok(print) => {
                    self.prints.insert(device, print);
                }
                Err(error) => self.chronicle.faults.push(format!("{name}: {error}")),
            },
            Purpose::Link => match serde_json::from_value(value) {
                Ok(link) => self.chronicle.devices[device].link_cost = Some(link),
                Err(error) => self.chronicle.faults.push(format!("{name}: {error}")),
            },
            Purpose::Nothing => {}
        }
    }

    fn link(&mut self, change: LinkNews) {
        let LinkNews { device, at, up } = change;
        if self.is_over {
            return;
        }
        self.chronicle.devices[device].link(at, up);
        if up {
            // What the phone's system tells the app.
            self.ask(
                device,
                Request::NetworkChanged { network: None },
                Purpose::Nothing,
            );
        }
    }

    fn all_in_sync(&self) -> bool {
        self.states.iter().all(|state| state == "in_sync")
    }

    fn is_settled(&self) -> bool {
        let idle = |child: &super::child::Child<Purpose>| child.is_idle();
        self.all_in_sync()
            && self.last_event.elapsed() >= QUIET
            && self
                .chronicle
                .devices
                .iter()
                .all(|log| log.saved.len() == log.acknowledged.len())
            && self
                .world
                .devices
                .iter()
                .all(|station| station.child.as_ref().is_some_and(idle))
    }
}

/// Waits for news of a link; for ever when there are no links to hear of yet.
async fn next_news(news: &mut Option<mpsc::UnboundedReceiver<LinkNews>>) -> Option<LinkNews> {
    match news {
        Some(news) => news.recv().await,
        None => std::future::pending().await,
    }
}
