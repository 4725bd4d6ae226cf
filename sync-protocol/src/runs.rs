//! Runs of feed entries that a session made itself: pushed in it, and acknowledged in it.
//!
//! The relay writes them as a count, since the device has them; the device checks the count. Both
//! forget a run when the feed has passed it.

use std::collections::BTreeMap;

/// Sequence numbers of one scope, as first number and count; runs neither overlap nor touch.
#[derive(Clone, Debug, Default)]
pub(crate) struct Runs(pub(crate) BTreeMap<u64, u64>);

impl Runs {
    /// Adds `count` numbers from `first` on.
    pub(crate) fn note(&mut self, first: u64, count: u64) {
        let (mut first, mut end) = (first, first.saturating_add(count));
        // Every run that overlaps or touches is merged: those that begin at or before the end.
        while let Some((&start, &len)) = self.0.range(..=end).next_back() {
            if start.saturating_add(len) < first {
                break;
            }
            self.0.remove(&start);
            first = first.min(start);
            end = end.max(start.saturating_add(len));
        }
        if end > first {
            self.0.insert(first, end - first);
        }
    }

    /// Returns how many numbers from `seq` on, `seq` included, are noted without a gap.
    pub(crate) fn count_from(&self, seq: u64) -> u64 {
        let run = self.0.range(..=seq).next_back();
        run.map_or(0, |(&start, &len)| {
            start.saturating_add(len).saturating_sub(seq)
        })
    }

    /// Forgets every number up to `seq`.
    pub(crate) fn forget_through(&mut self, seq: u64) {
        let rest = self.count_from(seq.saturating_add(1));
        self.0 = self.0.split_off(&seq.saturating_add(1));
        if rest > 0 {
            self.0.insert(seq + 1, rest);
        }
    }

    #[cfg(test)]
    pub(crate) fn is_empty(&self) -> bool {
        self.0.is_empty()
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use proptest::prelude::*;

    use super::*;

    proptest! {
        #[test]
        fn runs_hold_the_numbers_that_were_noted_and_not_forgotten(
            steps in proptest::collection::vec((any::<bool>(), 1..60u64, 0..9u64), 0..40)
        ) {
            let (mut runs, mut numbers) = (Runs::default(), BTreeSet::new());
            for (note, first, count) in steps {
                if note {
                    runs.note(first, count);
                    numbers.extend(first..first + count);
                } else {
                    runs.forget_through(first);
                    numbers.retain(|number| *number > first);
                }
                for seq in 0..75 {
                    let expected = (seq..).take_while(|number| numbers.contains(number)).count();
                    prop_assert_eq!(runs.count_from(seq), expected as u64, "from {}", seq);
                }
                prop_assert_eq!(runs.is_empty(), numbers.is_empty());
            }
        }
    }
}
