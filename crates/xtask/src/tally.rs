//! Counts of passed and failed tests, read from what test runners print.

use std::ops::AddAssign;

/// How many tests passed and failed.
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq)]
pub(crate) struct Tally {
    pub(crate) passed: u64,
    pub(crate) failed: u64,
}

impl Tally {
    /// One check that passed.
    pub(crate) const PASSED: Self = Self {
        passed: 1,
        failed: 0,
    };

    /// One check that failed.
    pub(crate) const FAILED: Self = Self {
        passed: 0,
        failed: 1,
    };

    /// Reads the summary line of cargo-nextest or of one `cargo test` binary; zero for other lines.
    ///
    /// ```text
    ///      Summary [   0.015s] 5 tests run: 3 passed (1 slow), 1 failed, 1 timed out, 0 skipped
    /// test result: ok. 5 passed; 0 failed; 0 ignored; 0 measured; 0 filtered out; finished in 0.03s
    /// ```
    pub(crate) fn of_line(line: &str) -> Self {
        let plain = without_colours(line);
        let plain = plain.trim_start();
        let counts = if let Some(rest) = plain.strip_prefix("test result: ") {
            rest.split_once(". ").map(|(_verdict, counts)| counts)
        } else if plain.starts_with("Summary [") {
            let run = plain.find("tests run: ").map(|at| at + "tests run: ".len());
            let one = plain.find("test run: ").map(|at| at + "test run: ".len());
            run.or(one).and_then(|at| plain.get(at..))
        } else {
            None
        };
        let mut tally = Self::default();
        for count in counts.into_iter().flat_map(|c| c.split([',', ';', '('])) {
            let Some((number, what)) = count.trim().split_once(' ') else {
                continue;
            };
            let Ok(number) = number.parse::<u64>() else {
                continue;
            };
            match what.trim() {
                "passed" => tally.passed += number,
                "failed" | "timed out" | "exec failed" => tally.failed += number,
                _not_a_result => {}
            }
        }
        tally
    }
}

impl AddAssign for Tally {
    fn add_assign(&mut self, other: Self) {
        self.passed += other.passed;
        self.failed += other.failed;
    }
}

/// Drops terminal colour sequences: escape, `[`, anything up to a letter.
fn without_colours(line: &str) -> String {
    let mut plain = String::with_capacity(line.len());
    let mut characters = line.chars();
    while let Some(character) = characters.next() {
        if character == '\u{1b}' {
            characters.by_ref().find(char::is_ascii_alphabetic);
        } else {
            plain.push(character);
        }
    }
    plain
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(line: &str, passed: u64, failed: u64) {
        assert_eq!(Tally::of_line(line), Tally { passed, failed }, "{line}");
    }

    #[test]
    fn a_summary_of_nextest_is_counted() {
        check(
            "     Summary [   0.015s] 5 tests run: 5 passed, 0 skipped",
            5,
            0,
        );
        check(
            "     Summary [   0.015s] 1 test run: 1 passed, 0 skipped",
            1,
            0,
        );
        check(
            "     Summary [   0.015s] 5 tests run: 3 passed (1 slow), 1 failed, 1 timed out, 2 skipped",
            3,
            2,
        );
        check(
            "\u{1b}[32;1m     Summary\u{1b}[0m [   0.015s] \u{1b}[1m5\u{1b}[0m tests run: \u{1b}[1m5\u{1b}[0m \u{1b}[32;1mpassed\u{1b}[0m, \u{1b}[1m0\u{1b}[0m skipped",
            5,
            0,
        );
    }

    #[test]
    fn a_result_of_cargo_test_is_counted() {
        check(
            "test result: ok. 7 passed; 0 failed; 0 ignored; 0 measured; 0 filtered out; finished in 0.03s",
            7,
            0,
        );
        check(
            "test result: FAILED. 7 passed; 2 failed; 0 ignored; 0 measured; 0 filtered out",
            7,
            2,
        );
    }

    #[test]
    fn any_other_line_counts_nothing() {
        check("test tally::tests::a_summary ... ok", 0, 0);
        check("5 passed, 0 failed", 0, 0);
    }
}
