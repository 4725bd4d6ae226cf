//! Panics inside Automerge, which bytes of others can cause: each is caught where it happens.

use std::cell::Cell;
use std::panic::{AssertUnwindSafe, catch_unwind};

thread_local! {
    static IS_CONTAINED: Cell<bool> = const { Cell::new(false) };
}

/// Runs a piece of Automerge's work on bytes that may be anybody's; `None` if it panicked.
pub(crate) fn contained<T>(work: impl FnOnce() -> T) -> Option<T> {
    let outer = IS_CONTAINED.replace(true);
    let done = catch_unwind(AssertUnwindSafe(work));
    IS_CONTAINED.set(outer);
    done.ok()
}

/// Tells whether a panic of this thread would be caught and answered by a refusal.
///
/// For a program's panic hook: such a panic is no fault of the program, and its message may have a stranger's
/// words in it, which belong in no log.
pub fn is_contained() -> bool {
    IS_CONTAINED.get()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_panic_is_caught_and_known_to_be_and_the_next_is_not() {
        let hidden = contained(|| {
            assert_eq!(contained(is_contained), Some(true));
            // What is left when an inner one ends is still inside the outer one.
            assert!(is_contained());
            std::panic::resume_unwind(Box::new("Automerge's"));
        });
        assert!(hidden.is_none());
        assert!(!is_contained());
    }
}
