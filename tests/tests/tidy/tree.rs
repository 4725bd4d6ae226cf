//! The files of the repository as text, and what part of a Rust file is what.

use std::fs;
use std::path::Path;

use tests::repository;

/// Folders that are not source: what cargo and npm make, and git's own.
const SKIPPED_FOLDERS: &[&str] = &[".git", "node_modules", "target"];

/// One text file of the repository.
pub(super) struct Source {
    /// Path from the root, with `/`.
    pub(super) path: String,
    /// All of it.
    pub(super) text: String,
}

impl Source {
    /// Whether the file holds Rust.
    pub(super) fn is_rust(&self) -> bool {
        self.path.ends_with(".rs")
    }

    /// The folder of the package the file belongs to: `crates/base`, `sync-protocol`, `tests`.
    pub(super) fn package(&self) -> &str {
        let depth = if self.path.starts_with("crates/") {
            2
        } else {
            1
        };
        let end = self.path.match_indices('/').nth(depth - 1);
        end.map_or(self.path.as_str(), |(at, _)| &self.path[..at])
    }

    /// The lines of its `//!` head.
    pub(super) fn head(&self) -> impl Iterator<Item = &str> {
        self.text.lines().take_while(|line| line.starts_with("//!"))
    }

    /// Its lines that are code of the product, with their numbers from 1: no comments, and nothing
    /// after the first `#[cfg(test)]` (tests come last).
    pub(super) fn product_code(&self) -> impl Iterator<Item = (usize, &str)> {
        let all_tests = self.is_test_file();
        self.code()
            .take_while(move |(_, line)| !all_tests && line.trim() != "#[cfg(test)]")
    }

    /// Its lines that are code of tests, with their numbers from 1, without comments.
    pub(super) fn test_code(&self) -> impl Iterator<Item = (usize, &str)> {
        let all_tests = self.is_test_file();
        self.code()
            .skip_while(move |(_, line)| !all_tests && line.trim() != "#[cfg(test)]")
    }

    /// Its lines of code, with their numbers from 1, each cut before a `//` that starts a comment.
    pub(super) fn code(&self) -> impl Iterator<Item = (usize, &str)> {
        self.text
            .lines()
            .enumerate()
            .map(|(index, line)| (index + 1, without_comment(line)))
            .filter(|(_, line)| !line.trim().is_empty())
    }

    fn is_test_file(&self) -> bool {
        self.path
            .split('/')
            .any(|folder| folder == "tests" || folder == "benches")
    }
}

/// Cuts a comment off: `//` at the start of the line or after a space.
///
/// Good enough for rules about words: a string that holds ` // ` loses its end, which hides at most
/// a word in a string.
fn without_comment(line: &str) -> &str {
    if line.trim_start().starts_with("//") {
        return "";
    }
    line.find(" // ").map_or(line, |at| &line[..at])
}

/// Reads every text file of the repository, in the order of their paths.
pub(super) fn sources() -> Vec<Source> {
    let mut sources = Vec::new();
    read_folder(repository(), "", &mut sources);
    sources.sort_by(|a, b| a.path.cmp(&b.path));
    sources
}

/// Reads every Rust file of the repository, in the order of their paths.
pub(super) fn rust_sources() -> Vec<Source> {
    let mut sources = sources();
    sources.retain(Source::is_rust);
    sources
}

fn read_folder(folder: &Path, prefix: &str, sources: &mut Vec<Source>) {
    for entry in fs::read_dir(folder).unwrap() {
        let entry = entry.unwrap();
        let name = entry.file_name().into_string().unwrap();
        let path = format!("{prefix}{name}");
        let kind = entry.file_type().unwrap();
        if kind.is_dir() && !SKIPPED_FOLDERS.contains(&name.as_str()) {
            read_folder(&entry.path(), &format!("{path}/"), sources);
        } else if kind.is_file()
            && name != ".git"
            && let Ok(text) = fs::read_to_string(entry.path())
        {
            sources.push(Source { path, text });
        }
    }
}

/// The text of one file, by its path from the root.
pub(super) fn read(path: &str) -> String {
    fs::read_to_string(repository().join(path))
        .unwrap_or_else(|error| panic!("{path} cannot be read: {error}"))
}
