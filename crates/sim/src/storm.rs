//! What people do and what goes wrong: the storm, and the calm after it.

use core::time::Duration;
use std::collections::BTreeMap;

use gridbeat_base::{Install, Random, Scope, Verb, Verbs};
use gridbeat_device_core::SaveError;
use gridbeat_relay_store::Registry as _;
use gridbeat_sync_protocol::{Entry, Frame};

use crate::actions::{self, Wish};
use crate::network::Link;
use crate::node::{Backup, Fuse, Node};
use crate::options::Canary;
use crate::world::{Event, World};

/// Least and most devices of a run, before clones.
const DEVICES: (u64, u64) = (2, 5);

/// How much too fast or slow a clock runs at most: what phones' crystals do, ten times over.
const CLOCK_DRIFT_PPM_MAX: u64 = 500;

/// How long nobody has a link at most, at a time: longer than a grant that has ended is judged by.
const NIGHT_DAYS_MAX: u64 = 20;

/// How often a fault happens in the storm, on average.
const FAULT_EVERY: Duration = Duration::from_secs(12 * 60);

impl World {
    /// Enrols 2 to 5 devices over 1 to 3 scopes, one of them late, and lays out the storm's events.
    pub(crate) fn set_up(&mut self, root: &std::path::Path) {
        let scope_count = 1 + self.random.below(3);
        self.scopes = (1..=scope_count)
            .map(|number| {
                Scope::new(&format!("33021100{number}")).expect("a township's code is a name")
            })
            .collect();
        let device_count = DEVICES.0 + self.random.below(DEVICES.1 - DEVICES.0 + 1);
        for number in 0..device_count {
            let number = usize::try_from(number).unwrap_or(0);
            // Every device has one scope, and by chance its neighbours' too.
            let home = self.scopes[number % self.scopes.len()].clone();
            let mut scopes = vec![home];
            for scope in &self.scopes {
                if !scopes.contains(scope) && self.random.chance(400) {
                    scopes.push(scope.clone());
                }
            }
            let faults = self.options.faults;
            let link = Link::stormy(&mut self.random, faults.reordering, faults.cuts);
            self.nodes
                .push(Node::new(root, number, scopes, link, &mut self.random));
            self.nodes[number].fuse = Fuse::of(&self.doom);
            if faults.clock_jumps {
                let drift = self.random.below(2 * CLOCK_DRIFT_PPM_MAX + 1);
                self.nodes[number].clock_drift_ppm =
                    i64::try_from(drift).unwrap_or(0) - CLOCK_DRIFT_PPM_MAX.cast_signed();
            }
            self.enrol(number, &BTreeMap::new());
            if number == self.scopes.len() {
                // One comes when the others have long begun, and has nothing of what they did.
                self.at(self.options.storm / 2, Event::StartDevice(number));
            } else {
                self.start_device(number);
            }
        }
        self.turn_a_device(device_count);
        self.draw_versions();
        self.doom.arm(self.options.death);
        let storm_millis = u64::try_from(self.options.storm.as_millis()).unwrap_or(u64::MAX);
        for _ in 0..self.options.actions {
            let node = usize::try_from(self.random.below(device_count)).unwrap_or(0);
            let when = Duration::from_millis(1_000 + self.random.below(storm_millis));
            self.at(when, Event::Act(node));
        }
        let faults = self.options.storm.as_millis() / FAULT_EVERY.as_millis();
        for _ in 0..faults {
            let when = Duration::from_millis(self.random.below(storm_millis));
            self.at(when, Event::Fault);
        }
    }

    /// Writes a device's rights into the relay's table: all work in its scopes, but for `others`.
    pub(crate) fn enrol(&mut self, node: usize, others: &BTreeMap<Scope, Verbs>) {
        let mut verbs: BTreeMap<Scope, Verbs> = self.nodes[node]
            .scopes
            .iter()
            .map(|scope| (scope.clone(), Verbs::WORK))
            .collect();
        verbs.extend(others.clone());
        let grants = verbs
            .into_iter()
            .map(|(scope, verbs)| (scope, verbs.into()));
        let grants = grants.collect();
        let device = self.nodes[node].device;
        let now = self.relay_now();
        if let Some(store) = self.relay.store.as_mut() {
            let name = format!("device {node}");
            let result = store.add_device(device, &name, &grants, now.wall);
            if self.relay.fuse.has_blown() {
                // It died at this commit; the right is given another time or not at all.
                self.tally.relay_crashes += 1;
                self.crash_relay(Duration::from_secs(30));
            } else if let Err(error) = result {
                self.trace
                    .line(format_args!("{:?} not enrolled: {error:?}", self.time));
            }
        }
    }

    pub(crate) fn act(&mut self, node: usize) {
        // A copied phone's owner may still have had something in mind when the storm ended.
        if !self.is_storm {
            return;
        }
        let now = self.nodes[node].now(self.clock());
        let scopes = self.nodes[node].scopes.clone();
        let forgets = self.options.canary == Some(Canary::LostSave) && self.random.chance(300);
        let before = forgets.then(|| self.nodes[node].files.copy_aside("forgotten"));
        let mut forgotten = None;
        let Some(core) = self.nodes[node].core.as_mut() else {
            return;
        };
        let mut held = Vec::new();
        for (document, _) in core.fingerprint().expect("a living file can be read") {
            if let Some(record) = core.record(document).expect("a living file can be read") {
                held.push((document, record.kind));
            }
        }
        let wish = actions::draw(&mut self.random, &self.catalogue, &held);
        let scope = &scopes[usize::try_from(self.random.below(scopes.len() as u64)).unwrap_or(0)];
        let result = match &wish {
            Wish::Create { kind, intent } => core.create(now, kind, scope, intent),
            Wish::Edit { document, intent } => core.edit(now, *document, intent),
            Wish::Photo { document, number } => self.take_photo(node, *document, *number),
        };
        match result {
            Ok(saved) => {
                forgotten = forgets.then_some(saved.change);
                self.tally.saved += 1;
                self.trace.line(format_args!(
                    "{:?} device {node} saves {:?}",
                    self.time, saved.change
                ));
                if !self.doom.is_torn() {
                    let saved = (saved.document, saved.change);
                    self.nodes[node].saved.insert(saved);
                }
            }
            Err(SaveError::DiskFull) => self.tally.full_disks += 1,
            // Not allowed in the document's state, not granted, nothing to do: nothing was saved.
            Err(error) => self
                .trace
                .line(format_args!("{:?} device {node}: {error:?}", self.time)),
        }
        if self.nodes[node].fuse.has_blown() {
            self.tally.device_crashes += 1;
            let wait = Duration::from_secs(1 + self.random.below(600));
            self.crash_device(node, wait);
        } else if let (Some(copy), Some(_)) = (before, forgotten) {
            self.crash_device(node, Duration::from_secs(1));
            self.nodes[node].files.restore(&copy);
        } else {
            self.pump_device(node);
            self.move_on(node);
        }
    }

    /// One fault, drawn among those that may happen.
    pub(crate) fn fault(&mut self) {
        if !self.is_storm {
            return;
        }
        let faults = self.options.faults;
        let node = usize::try_from(self.random.below(self.nodes.len() as u64)).unwrap_or(0);
        let draw = self.random.below(19);
        self.trace
            .line(format_args!("{:?} fault {draw} at {node}", self.time));
        match draw {
            0 if faults.cuts => self.cut_somewhere(node),
            1 if faults.partitions => {
                let until = self.time + Duration::from_secs(10 + self.random.below(40 * 60));
                let ways = self.random.below(4);
                let link = &mut self.nodes[node].link;
                if ways != 0 {
                    link.mute_until = until;
                }
                if ways != 1 {
                    link.deaf_until = until;
                }
            }
            2 if faults.replays => {
                if let Some(session) = self.nodes[node].session {
                    self.replay(session);
                }
            }
            3 | 4 if faults.device_crashes => {
                let commits = 1 + self.random.below(4);
                self.nodes[node].fuse.set(commits);
            }
            5 if faults.relay_crashes => {
                let commits = 1 + self.random.below(4);
                self.relay.fuse.set(commits);
            }
            6 if faults.relay_crashes => {
                self.tally.relay_crashes += 1;
                let wait = Duration::from_secs(1 + self.random.below(300));
                self.crash_relay(wait);
            }
            7 if faults.full_disks => self.fill_disk(node),
            8 if faults.clock_jumps => self.jump_clock(node),
            9 if faults.device_restores => self.back_up_or_restore_device(node),
            10 if faults.relay_restores => self.back_up_or_restore_relay(),
            11 if faults.clones => self.clone_device(node),
            12 if faults.downgrades => self.downgrade(node),
            13 if faults.moves => self.move_device(node),
            14 if faults.handovers => self.hand_over(),
            15 if faults.revocations => self.revoke_device(node),
            16 if faults.failing_disks => self.fail_disk(node),
            17 if faults.nights => self.night(),
            18 if faults.clearing => self.clear_blobs(),
            _ => {}
        }
    }

    fn cut_somewhere(&mut self, node: usize) {
        if let Some(session) = self.nodes[node].session {
            self.cut(session);
        }
    }

    /// A disk cannot be written for a while, and whoever it belongs to lives on.
    fn fail_disk(&mut self, node: usize) {
        self.tally.failing_disks += 1;
        let is_relay = self.random.chance(250);
        let disk = (!is_relay).then_some(node);
        let fuse = disk.map_or(&self.relay.fuse, |node| &self.nodes[node].fuse);
        fuse.fail(true);
        let wait = Duration::from_secs(1 + self.random.below(600));
        self.after(wait, Event::FreeDisk(disk));
    }

    pub(crate) fn free_disk(&mut self, node: Option<usize>) {
        let fuse = node.map_or(&self.relay.fuse, |node| &self.nodes[node].fuse);
        fuse.fail(false);
        self.limit_disk(node, None);
    }

    /// Every connection ends, and it is hours or weeks until anybody has a link again.
    fn night(&mut self) {
        self.tally.nights += 1;
        for session in self.network.sessions() {
            self.cut(session);
        }
        let hours = if self.random.chance(500) {
            1 + self.random.below(12)
        } else {
            1 + self.random.below(24 * NIGHT_DAYS_MAX)
        };
        self.nights += Duration::from_hours(hours);
        self.trace
            .line(format_args!("{:?} a night of {hours} hours", self.time));
    }

    fn fill_disk(&mut self, node: usize) {
        let is_relay = self.random.chance(250);
        let disk = (!is_relay).then_some(node);
        self.limit_disk(disk, Some(1));
        let wait = Duration::from_secs(60 + self.random.below(1_800));
        self.after(wait, Event::FreeDisk(disk));
    }

    /// Sets how far a phone's file may grow, or the relay's: not at all, or without limit.
    pub(crate) fn limit_disk(&mut self, node: Option<usize>, bytes: Option<u64>) {
        if let Some(node) = node {
            if let Some(core) = self.nodes[node].core.as_mut() {
                core.set_file_size_max(bytes)
                    .expect("a living file answers");
            }
        } else if let Some(store) = self.relay.store.as_mut() {
            store
                .set_file_size_max(bytes)
                .expect("a living database answers");
        }
    }

    fn jump_clock(&mut self, node: usize) {
        let span = if self.random.chance(200) {
            10 * 365 * 86_400_000
        } else {
            10 * 60_000
        };
        let jump = i64::try_from(self.random.below(2 * span)).unwrap_or(0)
            - i64::try_from(span).unwrap_or(0);
        self.nodes[node].clock_error_ms = jump;
    }

    fn back_up_or_restore_device(&mut self, node: usize) {
        if self.nodes[node].core.is_none() {
            return;
        }
        let Some(backup) = self.nodes[node].backup.take() else {
            let copy = self.nodes[node].files.copy_aside("backup");
            self.nodes[node].backup = Some(Backup {
                copy,
                saved: self.nodes[node].saved.clone(),
                photos: self.nodes[node].photos.clone(),
            });
            return;
        };
        self.tally.restores += 1;
        let wait = Duration::from_secs(60 + self.random.below(1_200));
        self.crash_device(node, wait);
        self.nodes[node].files.restore(&backup.copy);
        // What was saved since is gone with the old phone, unless the relay called it durable.
        self.nodes[node].saved = backup.saved;
        self.nodes[node].photos = backup.photos;
        // What the relay has of photos that had left it is another matter (P2).
        self.nodes[node].photos_left.clear();
        self.nodes[node].seen.clear();
        let install = Install::from_bytes(self.random.bytes());
        self.nodes[node].install = install;
        self.excuse_what_went_with_a_phone();
    }

    fn back_up_or_restore_relay(&mut self) {
        if self.relay.core.is_none() {
            return;
        }
        let Some(copy) = self.relay.backup.take() else {
            self.relay.backup = Some(self.relay.files.copy_aside("backup"));
            return;
        };
        self.tally.restores += 1;
        let wait = Duration::from_secs(60 + self.random.below(600));
        self.crash_relay(wait);
        self.relay.files.restore(&copy);
        self.excuse_what_nobody_holds();
    }

    fn clone_device(&mut self, node: usize) {
        if self.nodes[node].core.is_none() || self.nodes.len() > 8 {
            return;
        }
        self.tally.clones += 1;
        let copy = self.nodes[node]
            .files
            .copy_aside(&format!("clone-{}", self.nodes.len()));
        let number = self.nodes.len();
        let root = self.root.clone();
        let link = self.nodes[node].link;
        let mut clone = Node::new(
            &root,
            number,
            self.nodes[node].scopes.clone(),
            link,
            &mut self.random,
        );
        clone.device = self.nodes[node].device;
        clone.is_moved = self.nodes[node].is_moved;
        clone.is_revoked = self.nodes[node].is_revoked;
        clone.revoked = self.nodes[node].revoked;
        clone.speaks = self.nodes[node].speaks;
        clone.left = self.nodes[node].left.clone();
        clone.saved = self.nodes[node].saved.clone();
        clone.photos = self.nodes[node].photos.clone();
        clone.photos_left = self.nodes[node].photos_left.clone();
        clone.files.restore(&copy);
        self.nodes.push(clone);
        self.start_device(number);
        // Both owners go on working.
        for _ in 0..4 {
            let wait = Duration::from_secs(self.random.below(3_600));
            self.after(wait, Event::Act(number));
        }
    }

    /// A device may do less in one of its scopes, or all work again.
    fn downgrade(&mut self, node: usize) {
        if self.nodes[node].is_revoked {
            return;
        }
        let scope = self.nodes[node].scopes[0].clone();
        let verbs = match self.random.below(4) {
            0 => Verbs::READ,
            1 => Verbs::of(&[Verb::Report]),
            2 => Verbs::of(&[Verb::Edit]),
            _ => Verbs::WORK,
        };
        self.trace.line(format_args!(
            "{:?} device {node} may {verbs} in {scope}",
            self.time
        ));
        self.enrol(node, &BTreeMap::from([(scope, verbs)]));
    }

    /// Ends the storm: no fault from here on, every process up, every link good.
    pub(crate) fn calm(&mut self) {
        self.is_storm = false;
        self.after(self.options.calm / 2, Event::Tell);
        self.trace.line(format_args!("{:?} calm", self.time));
        self.start_relay();
        self.free_disk(None);
        self.relay.fuse.set(0);
        self.settle_rights();
        for node in 0..self.nodes.len() {
            self.update_program(node);
            self.nodes[node].fuse.set(0);
            // What waited for a partition to end goes with its connection, as the link is good now.
            if self.nodes[node].link.is_partitioned(self.time) {
                self.cut_somewhere(node);
            }
            self.nodes[node].link = Link::CALM;
            self.start_device(node);
            self.free_disk(Some(node));
            self.open_all_photos(node);
            if self.nodes[node].session.is_none() {
                self.redial(node);
            }
        }
    }

    /// The canaries that work on what passes by.
    pub(crate) fn plant_in(&mut self, frame: &mut Frame) {
        if self.options.canary != Some(Canary::AlteredFeed) {
            return;
        }
        if let Frame::Feed(feed) = frame {
            let has_changes = feed
                .entries
                .iter()
                .any(|entry| matches!(entry, Entry::Change { .. }));
            if has_changes && self.random.chance(200) {
                for entry in &mut feed.entries {
                    if let Entry::Change { change, .. } = entry {
                        let received = &mut change.received;
                        received.0 += 3_600_000;
                    }
                }
            }
        }
    }
}

/// Draws a seed's own options: every seed has another mix of faults.
pub(crate) fn swarm(random: &mut Random, options: &mut crate::Options) {
    let faults = &mut options.faults;
    for fault in [
        &mut faults.cuts,
        &mut faults.partitions,
        &mut faults.reordering,
        &mut faults.replays,
        &mut faults.device_crashes,
        &mut faults.relay_crashes,
        &mut faults.torn_logs,
        &mut faults.full_disks,
        &mut faults.clock_jumps,
        &mut faults.device_restores,
        &mut faults.relay_restores,
        &mut faults.clones,
        &mut faults.downgrades,
        &mut faults.hostile,
        &mut faults.moves,
        &mut faults.handovers,
        &mut faults.revocations,
        &mut faults.failing_disks,
        &mut faults.nights,
        &mut faults.old_versions,
        &mut faults.clearing,
    ] {
        *fault &= random.chance(700);
    }
}
