//! Whatever a hostile device or relay sends, the rest goes on: the committed inputs of `tests/fuzz`, replayed.
//!
//! Each found a way of the code of its own, or once broke a promise. How to look for more: CONTRIBUTING.md.

use std::fs;
use std::panic::catch_unwind;

use gridbeat_fuzz::TARGETS;
use tests::repository;

#[test]
fn every_committed_input_leaves_every_promise_whole() {
    let corpus = repository().join("tests/fuzz/corpus");
    for target in TARGETS {
        let folder = corpus.join(target.name);
        let mut paths: Vec<_> = fs::read_dir(&folder)
            .unwrap_or_else(|error| panic!("{}: {error}", folder.display()))
            .map(|entry| entry.unwrap().path())
            .collect();
        paths.sort();
        assert!(paths.len() >= 10, "{}: {} inputs", target.name, paths.len());
        for path in paths {
            let input = fs::read(&path).unwrap();
            let whole = catch_unwind(|| (target.run)(&input)).is_ok();
            assert!(whole, "{} broke a promise: {}", target.name, path.display());
        }
    }
}
