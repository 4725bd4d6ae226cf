//! Drawing from the seeded stream: fractions, choices, weights.

use gridbeat_base::Random;

/// Draws a number from 0 to below 1.
#[expect(
    clippy::cast_precision_loss,
    reason = "53 bits are exactly what a double holds"
)]
pub(super) fn fraction(random: &mut Random) -> f64 {
    (random.number() >> 11) as f64 / (1_u64 << 53) as f64
}

/// Draws a number from `low` to below `high`.
pub(super) fn between(random: &mut Random, low: f64, high: f64) -> f64 {
    (high - low).mul_add(fraction(random), low)
}

/// Draws one of a list.
///
/// # Panics
///
/// If the list is empty.
pub(super) fn pick<'a, T>(random: &mut Random, list: &'a [T]) -> &'a T {
    &list[index_below(random, list.len())]
}

/// Draws an index below `end`; 0 if `end` is 0.
pub(super) fn index_below(random: &mut Random, end: usize) -> usize {
    usize::try_from(random.below(end as u64)).unwrap_or(0)
}

/// Draws an index, each as often as its weight says; the last if all weights are 0.
pub(super) fn weighted(random: &mut Random, weights: impl Iterator<Item = u64> + Clone) -> usize {
    let mut left = random.below(weights.clone().sum());
    let mut index = 0;
    for (i, weight) in weights.enumerate() {
        index = i;
        if left < weight {
            break;
        }
        left -= weight;
    }
    index
}

/// Puts a list in a random order (Fisher and Yates).
pub(super) fn shuffle<T>(random: &mut Random, list: &mut [T]) {
    for end in (1..list.len()).rev() {
        list.swap(end, index_below(random, end + 1));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn draws_keep_to_their_bounds_and_weights() {
        let mut random = Random::from_number(1);
        let mut hits = [0; 3];
        for _ in 0..10_000 {
            assert!((0.0..1.0).contains(&fraction(&mut random)));
            assert!((3.0..5.0).contains(&between(&mut random, 3.0, 5.0)));
            hits[weighted(&mut random, [700_u64, 0, 300].into_iter())] += 1;
        }
        assert_eq!(hits[1], 0);
        assert!((6_800..7_200).contains(&hits[0]), "{hits:?}");
        let mut list: Vec<_> = (0..50).collect();
        shuffle(&mut random, &mut list);
        assert!(!list.is_sorted());
        list.sort_unstable();
        assert!(list.into_iter().eq(0..50));
    }
}
