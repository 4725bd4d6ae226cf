//! Counts of passed and failed tests, read from what test runners print.

use std::ops::AddAssign;

/// Who runs tests and sums them up.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Runner {
    /// `cargo test`: one sum for each binary.
    Cargo,
    /// `cargo nextest`: one sum.
    Nextest,
    /// `python3 -m unittest -v`: a line for each test. Its sum does not say how many passed.
    Unittest,
}

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

    /// Reads a line of a test runner's; zero for lines that do not sum up.
    ///
    /// Each runner has its own, because cargo-nextest shows what a failed test binary printed, sums
    /// and all:
    ///
    /// ```text
    ///      Summary [   0.015s] 5 tests run: 3 passed (1 slow), 1 failed, 1 timed out, 0 skipped
    /// test result: ok. 5 passed; 0 failed; 0 ignored; 0 measured; 0 filtered out; finished in 0.03s
    /// test_hello_v1 (decoder.test_vectors.Vectors.test_hello_v1) ... ok
    /// ```
    pub(crate) fn of_line(runner: Runner, line: &str) -> Self {
        let plain = without_colours(line);
        let plain = plain.trim_start();
        let counts = match runner {
            Runner::Cargo => plain
                .strip_prefix("test result: ")
                .and_then(|rest| rest.split_once(". "))
                .map(|(_verdict, counts)| counts),
            Runner::Nextest => plain
                .strip_prefix("Summary [")
                .and_then(|rest| rest.split_once(" run: "))
                .map(|(_time, counts)| counts),
            Runner::Unittest => {
                return match plain.trim_end().rsplit_once(" ... ") {
                    Some((_name, "ok")) => Self::PASSED,
                    Some((_name, "FAIL" | "ERROR")) => Self::FAILED,
                    _not_a_result => Self::default(),
                };
            }
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

    fn check(runner: Runner, line: &str, passed: u64, failed: u64) {
        let expected = Tally { passed, failed };
        assert_eq!(Tally::of_line(runner, line), expected, "{line}");
    }

    #[test]
    fn a_summary_of_nextest_is_counted() {
        let all = "     Summary [   0.015s] 5 tests run: 5 passed, 0 skipped";
        check(Runner::Nextest, all, 5, 0);
        let one = "     Summary [   0.015s] 1 test run: 1 passed, 0 skipped";
        check(Runner::Nextest, one, 1, 0);
        let bad = "     Summary [   0.015s] 5 tests run: 3 passed (1 slow), 1 failed, 1 timed out, 2 skipped";
        check(Runner::Nextest, bad, 3, 2);
        let coloured = "\u{1b}[32;1m     Summary\u{1b}[0m [   0.015s] \u{1b}[1m5\u{1b}[0m tests run: \u{1b}[1m5\u{1b}[0m \u{1b}[32;1mpassed\u{1b}[0m, \u{1b}[1m0\u{1b}[0m skipped";
        check(Runner::Nextest, coloured, 5, 0);
    }

    #[test]
    fn a_result_of_cargo_test_is_counted() {
        let all = "test result: ok. 7 passed; 0 failed; 0 ignored; 0 measured; 0 filtered out; finished in 0.03s";
        check(Runner::Cargo, all, 7, 0);
        let bad = "test result: FAILED. 7 passed; 2 failed; 0 ignored; 0 measured; 0 filtered out";
        check(Runner::Cargo, bad, 7, 2);
    }

    #[test]
    fn a_line_of_unittest_is_counted() {
        let test =
            |result: &str| format!("test_a (decoder.test_vectors.Packs.test_a) ... {result}\n");
        check(Runner::Unittest, &test("ok"), 1, 0);
        check(Runner::Unittest, &test("FAIL"), 0, 1);
        check(Runner::Unittest, &test("ERROR"), 0, 1);
        check(Runner::Unittest, &test("skipped 'it is late'"), 0, 0);
        check(Runner::Unittest, "Ran 3 tests in 0.001s", 0, 0);
        check(Runner::Unittest, "FAILED (failures=1, errors=1)", 0, 0);
    }

    #[test]
    fn what_a_test_printed_is_not_counted() {
        check(Runner::Cargo, "test tally::tests::a_summary ... ok", 0, 0);
        check(
            Runner::Nextest,
            "    test result: FAILED. 0 passed; 1 failed",
            0,
            0,
        );
        check(Runner::Cargo, "5 passed, 0 failed", 0, 0);
        check(Runner::Unittest, "ok", 0, 0);
    }
}
