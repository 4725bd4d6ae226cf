//! What a device receives does not change with what is outside its grants: not a byte, not an order, not a word.
//!
//! The same life of one device is played twice, among two different sets of others. The others share no scope with
//! it: they report, edit, are refused, are enrolled, revoked and renamed, name its records and its id, and bring
//! changes in its name. Every frame that reaches the device is compared, and so is the end of each of its sessions.
//! Out of reach of this is who knows the id of a record before it is made: 74 random bits.

use std::time::Duration;

use gridbeat_base::{DocumentId, Random, Scope, Verb, Verbs};
use gridbeat_document::Change;
use gridbeat_domain::Step;
use gridbeat_relay_core::SessionId;
use gridbeat_relay_store::Registry as _;
use gridbeat_sync_protocol::{
    Compare, CompareDocument, Entry, Frame, Reconcile, Reconciler, ScopeMark,
};

use super::office::{Draft, Office, device, scope};
use crate::pump::{report, step};

/// How many lives are played, each twice.
const LIVES: u64 = 24;

/// How much happens in each.
const STEPS: u64 = 30;

/// Who is looked at, and a colleague in the same scope.
const WATCHER: u64 = 1;
const COLLEAGUE: u64 = 2;

/// What happens to the watcher: the same in both worlds.
#[derive(Clone, Copy, Debug)]
enum Inside {
    Report,
    Note,
    ColleagueReports,
    ColleagueNotes,
    Reconnect,
    ReconnectWithWrongDigest,
    PushElsewhere,
    PushUnreadable,
    Compare,
    Wait,
}

const INSIDE: [Inside; 10] = [
    Inside::Report,
    Inside::Note,
    Inside::ColleagueReports,
    Inside::ColleagueNotes,
    Inside::Reconnect,
    Inside::ReconnectWithWrongDigest,
    Inside::PushElsewhere,
    Inside::PushUnreadable,
    Inside::Compare,
    Inside::Wait,
];

/// A world with the watcher in it.
struct World {
    office: Office,
    ours: Scope,
    theirs: Scope,
    sessions: Vec<SessionId>,
    colleague: SessionId,
    drafts: Vec<Draft>,
    /// Others, who are outside, with their sessions.
    others: Vec<(u64, SessionId)>,
    foreign: Vec<Draft>,
    numbers: u64,
    foreign_numbers: u64,
}

fn json(intent: &impl serde::Serialize) -> Vec<u8> {
    serde_json::to_vec(intent).unwrap()
}

fn some_change() -> Change {
    let mut draft = Draft::new(30_000, "incident");
    draft.edit(device(WATCHER), 1, &json(&report("井盖破损", "王", None)))
}

impl World {
    fn new() -> Self {
        let (ours, theirs) = (scope("招宝山"), scope("蛟川"));
        let mut office = Office::new();
        let work = Verbs::of(&[Verb::Report, Verb::Edit]);
        office.enrol(device(WATCHER), &[(&ours, work)]);
        office.enrol(device(COLLEAGUE), &[(&ours, Verbs::WORK)]);
        let session = office.connect(device(WATCHER));
        let colleague = office.connect(device(COLLEAGUE));
        Self {
            office,
            ours,
            theirs,
            sessions: vec![session],
            colleague,
            drafts: Vec::new(),
            others: Vec::new(),
            foreign: Vec::new(),
            numbers: 0,
            foreign_numbers: 0,
        }
    }

    fn session(&self) -> SessionId {
        *self.sessions.last().unwrap()
    }

    /// Returns everything that the watcher has received, and how each of its sessions ended.
    fn seen(&self) -> Vec<(&[Vec<u8>], Option<&str>)> {
        let lines = self.sessions.iter().map(|it| &self.office.lines[it]);
        lines
            .map(|line| (line.came.as_slice(), line.closed.as_deref()))
            .collect()
    }

    fn report(&mut self, by: u64, session: SessionId) {
        self.numbers += 1;
        let mut draft = Draft::new(self.numbers, "incident");
        let change = draft.edit(
            device(by),
            self.numbers,
            &json(&report("井盖破损", "王", None)),
        );
        self.offer(session, &self.ours.clone(), &draft, &change);
        self.drafts.push(draft);
    }

    fn note(&mut self, by: u64, session: SessionId, pick: u64) {
        self.numbers += 1;
        let count = self.drafts.len() as u64;
        let Some(at) = pick.checked_rem(count) else {
            return;
        };
        let at = usize::try_from(at).unwrap();
        let number = self.numbers;
        let intent = json(&step(Step::Note, "已到场"));
        let change = self.drafts[at].edit(device(by), number, &intent);
        let draft = self.drafts[at].copy();
        self.offer(session, &self.ours.clone(), &draft, &change);
    }

    fn offer(&mut self, session: SessionId, scope: &Scope, draft: &Draft, change: &Change) {
        let changes = [(change, None)];
        let document = (draft.id, &draft.kind);
        self.office.offer(session, scope, document, &changes);
    }

    /// Where the watcher stands in its scope, by the feed it was sent in its last session.
    fn mark(&self) -> Option<ScopeMark> {
        let frames = self.office.lines[&self.session()].frames();
        let feeds = frames.filter_map(|frame| {
            let Frame::Feed(feed) = frame else {
                return None;
            };
            Some(feed)
        });
        let last = feeds.last()?;
        let count = |entry: &Entry| match entry {
            Entry::Own { count } => *count,
            Entry::Attach { .. } | Entry::Detach { .. } | Entry::Change { .. } => 1,
        };
        let entries: u64 = last.entries.iter().map(count).sum();
        Some(ScopeMark {
            scope: self.ours.clone(),
            cursor: last.first_seq + entries - 1,
            digest: last.digest,
            documents: 1,
            snapshot: None,
        })
    }

    fn reconnect(&mut self, spoil: bool) {
        let mut mark = self.mark();
        if let Some(mark) = mark.as_mut().filter(|_| spoil) {
            mark.digest = gridbeat_base::Digest::EMPTY;
        }
        let (now, before) = (self.office.now, self.session());
        self.office.relay.disconnected(now, before);
        self.office.work();
        let theirs = ScopeMark {
            scope: self.theirs.clone(),
            cursor: 3,
            digest: gridbeat_base::Digest::EMPTY,
            documents: 7,
            snapshot: None,
        };
        let marks = mark.into_iter().chain([theirs]).collect();
        let session = self.office.connect_at(device(WATCHER), marks);
        self.sessions.push(session);
    }

    /// The watcher reconciles its scope, and asks for its records, for records of others and for none that is.
    fn compare(&mut self) {
        let session = self.session();
        let scope = self.ours.clone();
        let (_, message) = Reconciler::initiate([]);
        let first = Reconcile {
            scope: scope.clone(),
            seq: 0,
            message,
        };
        self.office.hand_in(session, Frame::Reconcile(first));
        self.office.work();
        let ids = (1..4).chain(5_001..5_004).chain([9_999]);
        let documents = ids.map(|number| CompareDocument {
            document: Draft::new(number, "incident").id,
            changes: Vec::new(),
        });
        let compare = Compare {
            scope,
            last: true,
            documents: documents.collect(),
        };
        self.office.hand_in(session, Frame::Compare(compare));
    }

    fn inside(&mut self, what: Inside, pick: u64) {
        let session = self.session();
        match what {
            Inside::Report => self.report(WATCHER, session),
            Inside::Note => self.note(WATCHER, session, pick),
            Inside::ColleagueReports => self.report(COLLEAGUE, self.colleague),
            Inside::ColleagueNotes => self.note(COLLEAGUE, self.colleague, pick),
            Inside::Reconnect => self.reconnect(false),
            Inside::ReconnectWithWrongDigest => self.reconnect(true),
            Inside::PushElsewhere => {
                self.numbers += 1;
                let mut draft = Draft::new(20_000 + self.numbers, "incident");
                let intent = json(&report("越界", "王", None));
                let change = draft.edit(device(WATCHER), self.numbers, &intent);
                self.offer(session, &self.theirs.clone(), &draft, &change);
            }
            // Its own scope, but a record of the others, as far as there is one by this id: it must read as one that
            // there is not.
            Inside::PushUnreadable => {
                self.numbers += 1;
                let draft = Draft::new(5_001 + pick % 3, "incident");
                let garbage = Change {
                    bytes: vec![7; 40],
                    ..some_change()
                };
                self.offer(session, &self.theirs.clone(), &draft, &garbage);
            }
            Inside::Compare => self.compare(),
            Inside::Wait => {
                self.office.work();
                self.office.pass(Duration::from_secs(7));
            }
        }
        self.office.work();
    }

    /// Somebody outside names a record of the watcher's through the scope outside, or brings a change in the
    /// watcher's name.
    fn pretend(&mut self, number: u64) {
        let theirs = self.theirs.clone();
        let Some(&(id, session)) = self.others.last() else {
            return;
        };
        if let Some(draft) = self.drafts.last() {
            let mut draft = draft.copy();
            let change = draft.edit(
                device(id),
                50_000 + number,
                &json(&step(Step::Note, "冒名")),
            );
            self.offer(session, &theirs, &draft, &change);
        }
        let mut draft = Draft::new(5_000 + number, "incident");
        let intent = json(&report("冒名", "王", None));
        let change = draft.edit(device(WATCHER), 60_000 + number, &intent);
        let document = (draft.id, &draft.kind);
        let changes = [(&change, Some(device(WATCHER)))];
        self.office.offer(session, &theirs, document, &changes);
    }

    /// Something happens outside; often not finished before the next thing inside begins.
    fn outside(&mut self, random: &mut Random) {
        self.foreign_numbers += 1;
        let number = self.foreign_numbers;
        let theirs = self.theirs.clone();
        match random.below(9) {
            0 | 1 => {
                let id = 100 + number;
                let scopes = [(&theirs, Verbs::ALL)];
                self.office.enrol(device(id), &scopes);
                let session = self.office.connect(device(id));
                self.others.push((id, session));
            }
            2 | 3 => {
                let Some(&(id, session)) = self.others.last() else {
                    return;
                };
                let mut draft = Draft::new(5_000 + number, "incident");
                let intent = json(&report("外区事件", "李", None));
                let change = draft.edit(device(id), 50_000 + number, &intent);
                self.offer(session, &theirs, &draft, &change);
                self.foreign.push(draft);
            }
            4 => {
                let (Some(&(id, session)), Some(draft)) =
                    (self.others.last(), self.foreign.last_mut())
                else {
                    return;
                };
                let intent = json(&step(Step::Note, "外区备注"));
                let change = draft.edit(device(id), 50_000 + number, &intent);
                let draft = draft.copy();
                self.offer(session, &theirs, &draft, &change);
            }
            5 | 6 => self.pretend(number),
            7 => {
                let Some((id, _)) = self.others.pop() else {
                    return;
                };
                let now = self.office.now.wall;
                self.office.store.revoke(device(id), now).unwrap();
            }
            _ => {
                let Some(draft) = self.foreign.last() else {
                    return;
                };
                let (id, elsewhere): (DocumentId, _) = (draft.id, scope("骆驼"));
                let attach = random.chance(500);
                self.office.place(id, &elsewhere, attach);
            }
        }
        if random.chance(500) {
            self.office.work();
        }
    }
}

/// Plays a life of the watcher's among others.
fn play(life: u64, others: u64) -> World {
    let mut world = World::new();
    let mut inside = Random::from_number(life);
    let mut outside = Random::from_number(others);
    for _ in 0..STEPS {
        for _ in 0..outside.below(4) {
            world.outside(&mut outside);
        }
        let at = usize::try_from(inside.below(INSIDE.len() as u64)).unwrap();
        let pick = inside.number();
        world.inside(INSIDE[at], pick);
    }
    world.office.work();
    world
}

/// Enough records for the relay to think of a comparison.
const MANY: u64 = 64;

#[test]
fn whether_its_records_are_in_a_scope_it_never_had_is_told_to_nobody() {
    let play = |are_elsewhere: bool| {
        let mut world = World::new();
        for _ in 0..MANY {
            world.report(COLLEAGUE, world.colleague);
            world.office.work();
        }
        let elsewhere = world.theirs.clone();
        for id in world.drafts.iter().map(|draft| draft.id) {
            if are_elsewhere {
                world.office.place(id, &elsewhere, true);
            }
        }
        // Of its own scope it says nothing; it names the one it never had, as if it held it.
        let before = world.session();
        world.office.relay.disconnected(world.office.now, before);
        world.office.work();
        let claim = ScopeMark {
            scope: elsewhere,
            cursor: 3,
            digest: gridbeat_base::Digest::EMPTY,
            documents: 7,
            snapshot: None,
        };
        let session = world.office.connect_at(device(WATCHER), vec![claim]);
        world.sessions.push(session);
        world
    };
    let (here, elsewhere) = (play(false), play(true));
    assert!(here.seen() == elsewhere.seen(), "it is fed either way");
    let frames = here.office.lines[&here.session()].frames();
    assert!(frames.count() > 1, "the welcome, and the feed at once");
}

#[test]
fn nothing_outside_a_devices_grants_changes_what_it_receives() {
    for life in 1..=LIVES {
        let alone = {
            let mut world = World::new();
            let mut inside = Random::from_number(life);
            for _ in 0..STEPS {
                let at = usize::try_from(inside.below(INSIDE.len() as u64)).unwrap();
                let pick = inside.number();
                world.inside(INSIDE[at], pick);
            }
            world
        };
        let crowded = play(life, 1_000 + life);
        let (alone, crowded) = (alone.seen(), crowded.seen());
        assert_eq!(alone.len(), crowded.len(), "life {life}");
        for (session, (one, other)) in alone.iter().zip(&crowded).enumerate() {
            assert_eq!(one.1, other.1, "life {life}, session {session}: its end");
            assert_eq!(one.0.len(), other.0.len(), "life {life}, session {session}");
            for (place, (a, b)) in one.0.iter().zip(other.0).enumerate() {
                assert_eq!(a, b, "life {life}, session {session}, frame {place}");
            }
        }
    }
}
