//! What a Rust file looks like: its head, its length, the words in it, its errors.

use super::report;
use super::tree::{Source, rust_sources};

/// Beyond this a file must say in its head why it is long.
const LONG_LINES: usize = 600;

/// Beyond this a file must be split.
const LINES_MAX: usize = 1000;

/// The example that shows how to embed the engine must stay as short as it is said to be.
const EMBEDDING_EXAMPLE: &str = "examples/examples/own_kind.rs";

/// The most lines of [`EMBEDDING_EXAMPLE`].
const EMBEDDING_LINES_MAX: usize = 150;

/// The words a long file's head gives its reason after.
const LONG_BECAUSE: &str = "long because";

/// Crates that know documents and kinds, but nothing of patrols: the engine.
const ENGINE: &[&str] = &[
    "crates/badlink",
    "crates/base",
    "crates/device",
    "crates/device-core",
    "crates/document",
    "crates/link",
    "crates/relay",
    "crates/relay-core",
    "crates/relay-store",
    "sync-protocol",
];

/// Words of the trade, which only `domain` and the programs above it may say.
const PATROL_WORDS: &[&str] = &[
    "incident", "patrol", "officer", "squad", "bicycle", "案件", "案卷", "巡查", "网格", "执法",
    "队员",
];

/// Words that stand for unfinished work or for tests that do not test. Split, or this file would
/// break its own rule.
const UNFINISHED: &[(&str, &str)] = &[
    (concat!("todo", "!("), "finish it, or leave it out"),
    (concat!("unimplemented", "!("), "finish it, or leave it out"),
    (concat!("TO", "DO"), "do it, or open an issue"),
    (concat!("FIX", "ME"), "fix it, or open an issue"),
    (concat!("dbg", "!("), "remove it"),
    (
        concat!("#[", "ignore"),
        "make the test fast and sure, or delete it",
    ),
    (
        concat!("should", "_panic"),
        "return an error and compare it",
    ),
    (
        concat!("#[", "allow("),
        "use #[expect(…, reason = \"…\")], which ends with its cause",
    ),
];

#[test]
fn every_file_begins_with_what_it_is() {
    let complaints: Vec<String> = rust_sources()
        .iter()
        .filter(|source| {
            let first = source.head().next();
            first.is_none_or(|line| line.trim_start_matches("//!").trim().is_empty())
        })
        .map(|source| {
            format!(
                "{}: begin with `//! What this file is, and what is not here.`",
                source.path
            )
        })
        .collect();
    report("file heads:", &complaints);
}

#[test]
fn no_file_is_too_long_to_read() {
    let complaints: Vec<String> = rust_sources()
        .iter()
        .filter_map(|source| {
            let lines = source.text.lines().count();
            let reasoned = source
                .head()
                .any(|line| line.to_lowercase().contains(LONG_BECAUSE));
            let path = &source.path;
            if lines > LINES_MAX {
                Some(format!(
                    "{path}: {lines} lines, the most is {LINES_MAX}: split it"
                ))
            } else if lines > LONG_LINES && !reasoned {
                Some(format!(
                    "{path}: {lines} lines: split it, or write in its head `//! {LONG_BECAUSE} …`"
                ))
            } else {
                None
            }
        })
        .collect();
    report("file lengths:", &complaints);
}

#[test]
fn embedding_the_engine_takes_a_short_program() {
    let complaints: Vec<String> = rust_sources()
        .iter()
        .filter(|source| source.path == EMBEDDING_EXAMPLE)
        .map(|source| source.text.lines().count())
        .filter(|lines| *lines > EMBEDDING_LINES_MAX)
        .map(|lines| {
            format!("{EMBEDDING_EXAMPLE}: {lines} lines, the most is {EMBEDDING_LINES_MAX}: make the API shorter to use")
        })
        .collect();
    report("the example of a kind of one's own:", &complaints);
}

#[test]
fn nothing_is_unfinished_or_switched_off() {
    let sources = rust_sources();
    let mut complaints = Vec::new();
    for source in &sources {
        for (word, remedy) in UNFINISHED {
            // Comments count, too: that is where such words are left.
            let lines = source.text.lines().enumerate();
            for (index, _) in lines.filter(|(_, line)| line.contains(word)) {
                complaints.push(format!("{}:{}: `{word}`: {remedy}", source.path, index + 1));
            }
        }
    }
    report("words that have no place on the main branch:", &complaints);
}

#[test]
fn no_test_sleeps() {
    let sources = rust_sources();
    let mut complaints = Vec::new();
    for source in &sources {
        // With tokio's paused clock a sleep takes no time and depends on no load.
        let paused = source.text.contains("start_paused");
        for (line, code) in source.test_code() {
            let sleeps = code.contains(concat!("thread::", "sleep"))
                || (code.contains(concat!("time::", "sleep(")) && !paused);
            if sleeps {
                complaints.push(format!(
                    "{}:{line}: wait for what should happen (a channel, a line of output, a file), or \
                     pause tokio's clock",
                    source.path
                ));
            }
        }
    }
    report(
        "tests that sleep are slow on a good day and fail on a bad one:",
        &complaints,
    );
}

#[test]
fn every_public_error_says_what_to_do() {
    let sources = rust_sources();
    let mut complaints = Vec::new();
    for source in sources.iter().filter(|source| is_library(source)) {
        for error in public_errors(source) {
            if !has_remedy(source, error) {
                complaints.push(format!(
                    "{}: `{error}` has no `remedy()`: add one that returns base::Remedy",
                    source.path
                ));
            }
        }
    }
    report("errors a caller cannot act on:", &complaints);
}

#[test]
fn the_engine_names_no_patrol_word() {
    let sources = rust_sources();
    let mut complaints = Vec::new();
    for source in sources
        .iter()
        .filter(|source| ENGINE.contains(&source.package()))
    {
        for (line, code) in source.product_code() {
            let lower = code.to_lowercase();
            for word in PATROL_WORDS.iter().filter(|word| lower.contains(**word)) {
                complaints.push(format!(
                    "{}:{line}: `{word}`: say it in the engine's words (document, kind, scope, device), \
                     or move it to `domain`",
                    source.path
                ));
            }
        }
    }
    report("the engine moves documents of any kind:", &complaints);
}

#[test]
fn the_engine_reads_no_environment() {
    let sources = rust_sources();
    let mut complaints = Vec::new();
    for source in sources
        .iter()
        .filter(|source| ENGINE.contains(&source.package()))
    {
        for (line, code) in source.product_code() {
            if code.contains("env::var") {
                complaints.push(format!(
                    "{}:{line}: take it as a field of the configuration; `cli` reads the environment",
                    source.path
                ));
            }
        }
    }
    report("settings come from one place:", &complaints);
}

#[test]
fn a_library_lists_its_public_names() {
    let sources = rust_sources();
    let mut complaints = Vec::new();
    for source in sources
        .iter()
        .filter(|source| source.path.ends_with("/src/lib.rs"))
    {
        for (line, code) in source.product_code() {
            let code = code.trim();
            if code.starts_with("pub use ") && code.contains('*') {
                complaints.push(format!(
                    "{}:{line}: name what is public, without `*`",
                    source.path
                ));
            }
        }
    }
    report("lib.rs is the table of contents:", &complaints);
}

/// Whether the file is part of a library; programs and tests may use `anyhow`.
fn is_library(source: &Source) -> bool {
    let program = ["crates/cli", "crates/xtask", "examples", "tests"].contains(&source.package());
    !program && source.path.contains("/src/")
}

/// The names of the public types in the file that derive `thiserror::Error` and are called `…Error`
/// or `…Fault`. Others are parts of such a one, which answers for them.
fn public_errors(source: &Source) -> Vec<&str> {
    let mut names = Vec::new();
    let mut derived = false;
    for (_, code) in source.product_code() {
        let code = code.trim_end();
        if code.starts_with("#[derive(") || code.starts_with("    thiserror::Error") {
            derived |= code.contains("thiserror::Error") || code.contains(" Error");
        }
        let item = code
            .strip_prefix("pub enum ")
            .or_else(|| code.strip_prefix("pub struct "));
        if let Some(item) = item {
            let end = item
                .find(|c: char| !c.is_alphanumeric())
                .unwrap_or(item.len());
            let name = &item[..end];
            if derived && (name.ends_with("Error") || name.ends_with("Fault")) {
                names.push(name);
            }
        }
        // An attribute belongs to the next item; anything else at the margin ends its reach.
        if item.is_some()
            || code.starts_with("pub(")
            || code.starts_with("enum ")
            || code.starts_with("struct ")
        {
            derived = false;
        }
    }
    names
}

/// Whether some `impl` of the type in this file has a function `remedy`.
fn has_remedy(source: &Source, error: &str) -> bool {
    let (plain, generic) = (format!(" {error} {{"), format!("> {error}<"));
    let is_of = |block: &str| {
        block.starts_with(&plain) || (block.starts_with('<') && block.contains(&generic))
    };
    source
        .text
        .split("\nimpl")
        .skip(1)
        .any(|block| is_of(block) && block.contains("fn remedy("))
}
