//! Whose pushes may go now: fair turns, so that no device's haste becomes the others' delay.
//!
//! Turns alone are not enough: whoever comes while a push is judged waits for it. So each device has an account of
//! work: a push is paid for from it, a large one in part on credit, and time refills it. A device that cannot pay
//! waits, but only while devices that are not hasty are at work; a relay that has only hasty devices, or only one,
//! serves them in full. And beside others no device puts more than a push of the most documents into one cycle,
//! however much it has paid for: what it may do at once does not come in one piece.
//!
//! And a device that breaks the protocol is struck out for a while, so that it cannot do so at line rate.
//! Not here: the order of those that may go (`cycle`).

use std::collections::BTreeMap;
use std::time::Duration;

use gridbeat_base::{DeviceId, Monotonic};
use gridbeat_sync_protocol::limits::PUSH_DOCUMENTS_MAX;

use crate::session::PendingPush;

/// Work a device may do at once, in documents: what an officer saves in a shift without a network.
const WORK_MAX: i64 = 256;

/// Work a second that refills it. At half a millisecond each a hasty device takes a two-hundredth of the relay's
/// time, so that far less than a hundredth of the others' pushes meets one of its own.
const WORK_PER_S: i64 = 10;

/// Changes of one document that are as much work as another document: the gate loads, saves and compares
/// each document once, which is most of it.
const CHANGES_A_WORK: usize = 16;

/// Work of one device in a cycle that others may be waiting for, if it has several pushes: those of the most
/// documents keep a cycle below a twentieth of a second.
const SHARE_MAX: i64 = PUSH_DOCUMENTS_MAX as i64;

/// A device whose account is at least so full is not hasty, and may push more than is left.
const UNHURRIED_MIN: i64 = WORK_MAX / 2;

/// How long after a push of an unhurried device those in debt still wait: an officer's next tap.
const UNHURRIED_FOR: Duration = Duration::from_secs(5);

/// Broken rules that a device may have on its account; the next one strikes it out. A bug of ours on a bad link
/// may break one, again and again.
const STRIKES_MAX: u32 = 4;

/// How long a strike counts, and how long a device stays away that is struck out.
const STRIKES_FOR: Duration = Duration::from_secs(10 * 60);

/// Accounts that are looked through for those no longer needed, at least.
const ACCOUNTS_KEPT: usize = 1_024;

/// One device's account.
#[derive(Clone, Copy, Debug)]
struct Account {
    /// What is left, in thousandths of a document, at that time.
    left_milli: i64,
    at: Monotonic,
}

impl Account {
    fn left_milli(&self, now: Monotonic) -> i64 {
        let passed = i64::try_from(now.since(self.at).as_millis()).unwrap_or(i64::MAX);
        let refill = passed.saturating_mul(WORK_PER_S);
        self.left_milli.saturating_add(refill).min(WORK_MAX * 1_000)
    }
}

/// What of each device's work is in the cycle that is being gathered, in thousandths of a document.
#[derive(Debug, Default)]
pub(crate) struct Shares(BTreeMap<DeviceId, i64>);

impl Shares {
    /// Notes a push that is in the cycle.
    pub(crate) fn take(&mut self, device: DeviceId, push: &PendingPush) {
        *self.0.entry(device).or_default() += work_milli(push);
    }

    fn of(&self, device: DeviceId) -> i64 {
        self.0.get(&device).copied().unwrap_or_default()
    }
}

/// What the relay holds of its devices' haste: an account for each that pushed of late.
#[derive(Debug, Default)]
pub(crate) struct Turns {
    accounts: BTreeMap<DeviceId, Account>,
    /// The last two devices that pushed without haste, and when: so that there is one beside any other.
    unhurried: [Option<(DeviceId, Monotonic)>; 2],
    strikes: BTreeMap<DeviceId, (Monotonic, u32)>,
}

impl Turns {
    /// Returns when a device's next push may go: at once if that is not later than `now`. What is in the cycle
    /// already counts as paid for.
    pub(crate) fn free_at(
        &self,
        now: Monotonic,
        device: DeviceId,
        shares: &Shares,
        push: &PendingPush,
    ) -> Monotonic {
        let needed_milli = work_milli(push).min(UNHURRIED_MIN * 1_000);
        let left_milli = self
            .left_milli(now, device)
            .saturating_sub(shares.of(device));
        let lacks_milli = needed_milli.saturating_sub(left_milli);
        let Some(alone_at) = self.alone_at(device).filter(|_| lacks_milli > 0) else {
            return now;
        };
        let wait_ms = lacks_milli
            .unsigned_abs()
            .div_ceil(WORK_PER_S.unsigned_abs());
        let paid = now.plus(Duration::from_millis(wait_ms));
        paid.min(alone_at).max(now)
    }

    /// Returns whether a device's next push has room in the cycle beside what the device has in it already.
    pub(crate) fn has_room(
        &self,
        now: Monotonic,
        device: DeviceId,
        shares: &Shares,
        push: &PendingPush,
    ) -> bool {
        let taken_milli = shares.of(device);
        let with_it = taken_milli.saturating_add(work_milli(push));
        taken_milli == 0
            || with_it <= SHARE_MAX * 1_000
            || self.alone_at(device).is_none_or(|at| at <= now)
    }

    fn left_milli(&self, now: Monotonic, device: DeviceId) -> i64 {
        let account = self.accounts.get(&device);
        account.map_or(WORK_MAX * 1_000, |account| account.left_milli(now))
    }

    /// Returns when no other device is at work without haste any more; `None` if none was.
    fn alone_at(&self, device: DeviceId) -> Option<Monotonic> {
        let others = self.unhurried.iter().flatten();
        let last = others.filter(|(other, _)| *other != device).map(|it| it.1);
        last.max().map(|last| last.plus(UNHURRIED_FOR))
    }

    /// Takes the work of a push from its device's account.
    pub(crate) fn charge(&mut self, now: Monotonic, device: DeviceId, push: &PendingPush) {
        let left_milli = self.left_milli(now, device);
        if left_milli >= UNHURRIED_MIN * 1_000 {
            let [first, second] = self.unhurried;
            let is_first = first.is_some_and(|(known, _)| known == device);
            self.unhurried = [Some((device, now)), if is_first { second } else { first }];
        }
        self.forget_full(now);
        let account = Account {
            left_milli: left_milli.saturating_sub(work_milli(push)),
            at: now,
        };
        self.accounts.insert(device, account);
    }

    /// Notes that a device broke the protocol.
    pub(crate) fn strike(&mut self, now: Monotonic, device: DeviceId) {
        self.strikes
            .retain(|_, (last, _)| now.since(*last) < STRIKES_FOR);
        let strikes = self.strikes.entry(device).or_insert((now, 0));
        *strikes = (now, strikes.1.saturating_add(1));
    }

    /// Returns how long a device has to stay away that is struck out; `None` if it is not.
    pub(crate) fn struck_out(&self, now: Monotonic, device: DeviceId) -> Option<Duration> {
        let (last, strikes) = self.strikes.get(&device)?;
        let left = STRIKES_FOR.checked_sub(now.since(*last))?;
        (*strikes > STRIKES_MAX && !left.is_zero()).then_some(left)
    }

    /// Forgets accounts that are full again, once there are many: they are as those never opened.
    fn forget_full(&mut self, now: Monotonic) {
        if self.accounts.len() < ACCOUNTS_KEPT {
            return;
        }
        self.accounts
            .retain(|_, account| account.left_milli(now) < WORK_MAX * 1_000);
    }
}

/// Returns the work of a push, in thousandths of a document.
fn work_milli(push: &PendingPush) -> i64 {
    let work = push.documents.len() + push.changes() / CHANGES_A_WORK;
    i64::try_from(work)
        .unwrap_or(i64::MAX)
        .saturating_mul(1_000)
}

#[cfg(test)]
mod tests {
    use gridbeat_base::{DocumentId, Scope};
    use gridbeat_sync_protocol::{BatchProof, PushDocument};

    use super::*;

    fn at(ms: u64) -> Monotonic {
        Monotonic(Duration::from_millis(ms))
    }

    fn id(number: u8) -> DeviceId {
        DeviceId::from_bytes([number; 16])
    }

    fn push(documents: u8) -> PendingPush {
        let document = |number| PushDocument {
            document: DocumentId::from_bytes([number; 16]),
            kind: "incident".into(),
            schema_version: 1,
            changes: Vec::new(),
        };
        PendingPush {
            number: 1,
            scope: Scope::new("a").unwrap(),
            documents: (0..documents).map(document).collect(),
            proof: BatchProof::of_bytes(Vec::new(), None),
        }
    }

    #[test]
    fn a_hasty_device_waits_while_another_is_at_work_and_pays_off_its_debt() {
        let (mut turns, none) = (Turns::default(), Shares::default());
        turns.charge(at(0), id(1), &push(1));
        assert_eq!(turns.free_at(at(10), id(7), &none, &push(200)), at(10));
        turns.charge(at(10), id(7), &push(200));
        // It has 56 documents left and needs 128, which takes 7.2 s at 10 a second; the other is at work.
        turns.charge(at(4_000), id(1), &push(1));
        turns.charge(at(6_000), id(1), &push(1));
        assert_eq!(
            turns.free_at(at(6_000), id(7), &none, &push(200)),
            at(7_210)
        );
        assert_eq!(
            turns.free_at(at(7_210), id(7), &none, &push(200)),
            at(7_210)
        );
        assert_eq!(turns.free_at(at(6_000), id(7), &none, &push(50)), at(6_000));
        assert_eq!(
            turns.free_at(at(6_000), id(1), &none, &push(200)),
            at(6_000)
        );
    }

    #[test]
    fn a_hasty_device_goes_on_once_nobody_else_was_at_work_for_a_while() {
        let (mut turns, none) = (Turns::default(), Shares::default());
        turns.charge(at(0), id(1), &push(1));
        for _ in 0..20 {
            turns.charge(at(1_000), id(7), &push(200));
        }
        assert_eq!(turns.free_at(at(1_000), id(7), &none, &push(1)), at(5_000));
        assert_eq!(turns.free_at(at(5_000), id(7), &none, &push(1)), at(5_000));
    }

    #[test]
    fn devices_that_are_all_hasty_do_not_hold_each_other_up() {
        let (mut turns, none) = (Turns::default(), Shares::default());
        for ms in 0..10 {
            turns.charge(at(6_000 * ms), id(1), &push(250));
            turns.charge(at(6_000 * ms), id(2), &push(250));
        }
        let now = at(6_000 * 9 + 5_000);
        assert_eq!(turns.free_at(now, id(1), &none, &push(1)), now);
        assert_eq!(turns.free_at(now, id(2), &none, &push(1)), now);
    }

    #[test]
    fn beside_others_a_device_has_one_large_push_in_a_cycle_and_alone_as_many_as_there_are() {
        let (mut turns, mut shares) = (Turns::default(), Shares::default());
        turns.charge(at(0), id(1), &push(1));
        assert!(turns.has_room(at(0), id(7), &shares, &push(64)));
        shares.take(id(7), &push(40));
        assert!(turns.has_room(at(0), id(7), &shares, &push(24)));
        assert!(!turns.has_room(at(0), id(7), &shares, &push(25)));
        assert!(turns.has_room(at(0), id(1), &shares, &push(64)));
        assert!(turns.has_room(at(5_000), id(7), &shares, &push(64)));
    }

    #[test]
    fn what_is_in_the_cycle_already_is_paid_for() {
        let (mut turns, mut shares) = (Turns::default(), Shares::default());
        turns.charge(at(0), id(1), &push(1));
        turns.charge(at(0), id(7), &push(200));
        shares.take(id(7), &push(50));
        // It has 6 left in truth.
        assert_eq!(turns.free_at(at(0), id(7), &shares, &push(6)), at(0));
        assert_eq!(turns.free_at(at(0), id(7), &shares, &push(16)), at(1_000));
    }

    #[test]
    fn a_device_is_struck_out_by_its_fifth_broken_rule_for_ten_minutes() {
        let mut turns = Turns::default();
        for ms in 0..4 {
            turns.strike(at(ms), id(7));
            assert_eq!(turns.struck_out(at(ms), id(7)), None);
        }
        turns.strike(at(4), id(7));
        assert_eq!(turns.struck_out(at(4), id(7)), Some(STRIKES_FOR));
        assert_eq!(turns.struck_out(at(4), id(1)), None);
        assert_eq!(turns.struck_out(at(4 + 600_000), id(7)), None);
        turns.strike(at(4 + 600_000), id(7));
        assert_eq!(turns.struck_out(at(4 + 600_000), id(7)), None);
    }

    #[test]
    fn accounts_that_are_full_again_are_forgotten() {
        let mut turns = Turns::default();
        for number in 0..3_000_u32 {
            let mut bytes = [0; 16];
            bytes[..4].copy_from_slice(&number.to_be_bytes());
            let device = DeviceId::from_bytes(bytes);
            turns.charge(at(u64::from(number) * 1_000), device, &push(1));
        }
        assert!(turns.accounts.len() <= ACCOUNTS_KEPT);
    }
}
