//! What the documents say is true: links lead somewhere, commands exist, nothing names this machine.

use super::report;
use super::tree::{read, rust_sources, sources};
use tests::repository;

/// Paths of the machine something was made on, in pieces, or this file would break its own rule.
const MACHINE_PATHS: &[&str] = &[
    concat!("/wo", "rk/"),
    concat!("/ro", "ot/"),
    concat!("../shared", "/design"),
    concat!("crates.io", "-index"),
];

/// A word with as many underscores is the name of a test, which is a sentence.
const TEST_NAME_UNDERSCORES_MIN: usize = 4;

#[test]
fn nothing_names_the_machine_it_was_made_on() {
    let mut complaints = Vec::new();
    for source in sources()
        .iter()
        .filter(|source| !source.path.ends_with("Cargo.lock"))
    {
        for (index, line) in source.text.lines().enumerate() {
            for path in MACHINE_PATHS.iter().filter(|path| line.contains(**path)) {
                complaints.push(format!(
                    "{}:{}: `{path}` exists on one machine only: write a path from the repository's root",
                    source.path,
                    index + 1
                ));
            }
        }
    }
    report("machine paths:", &complaints);
}

#[test]
fn links_between_documents_lead_somewhere() {
    let mut complaints = Vec::new();
    for source in sources()
        .iter()
        .filter(|source| source.path.ends_with(".md"))
    {
        let file = repository().join(&source.path);
        let folder = file.parent().unwrap();
        for target in links(&source.text) {
            let path = target.split('#').next().unwrap_or_default();
            let elsewhere = path.is_empty() || path.contains("://") || path.starts_with("mailto:");
            if !elsewhere && !folder.join(path).exists() {
                complaints.push(format!(
                    "{}: the link to `{target}` leads nowhere",
                    source.path
                ));
            }
        }
    }
    report("links:", &complaints);
}

#[test]
fn the_tests_behind_promises_and_controls_exist() {
    // Each promise and each control says how it is tested; a test that moved must not leave one bare.
    let sources = rust_sources();
    let mut complaints = Vec::new();
    for document in ["docs/guarantees.md", "docs/threat-model.md"] {
        for word in read(document).split('`').skip(1).step_by(2) {
            let exists = if word.contains('/') && !word.contains(' ') {
                repository().join(word).exists()
            } else if word.matches('_').count() >= TEST_NAME_UNDERSCORES_MIN {
                let test = format!("fn {word}(");
                sources.iter().any(|source| source.text.contains(&test))
            } else {
                true
            };
            if !exists {
                complaints.push(format!(
                    "{document} names `{word}`, which does not exist: name what tests it, or take \
                     the claim back"
                ));
            }
        }
    }
    report("how the promises are tested:", &complaints);
}

#[test]
fn the_commands_of_the_readme_exist() {
    let tasks = read("crates/xtask/src/main.rs");
    let steps = read("crates/xtask/src/checks.rs");
    let mut complaints = Vec::new();
    for document in ["README.md", "CONTRIBUTING.md"] {
        for command in commands(&read(document)) {
            let mut words = command.split_whitespace();
            let complaint = match (words.next(), words.next(), words.next()) {
                (Some("cargo"), Some("xtask"), Some(task)) => {
                    let known = tasks.contains(&format!("\"{task}\""));
                    let step = words.next().filter(|_| task == "test");
                    let step_known =
                        step.is_none_or(|step| steps.contains(&format!("name: \"{step}\"")));
                    (!known || !step_known).then_some("xtask does not know it")
                }
                (Some("cargo"), Some("run"), _) if command.contains("--example ") => {
                    let name = command.split("--example ").nth(1).unwrap_or_default();
                    let name = name.split_whitespace().next().unwrap_or_default();
                    let path = repository().join(format!("examples/examples/{name}.rs"));
                    (!path.exists()).then_some("there is no such example")
                }
                (Some(script), _, _) if script.contains('/') => {
                    (!repository().join(script).exists()).then_some("there is no such file")
                }
                _any_other_program => None,
            };
            if let Some(complaint) = complaint {
                complaints.push(format!("{document}: `{command}`: {complaint}"));
            }
        }
    }
    report("commands:", &complaints);
}

/// The targets of the links in a Markdown text: `](target)`.
fn links(text: &str) -> impl Iterator<Item = &str> {
    text.split("](")
        .skip(1)
        .filter_map(|rest| rest.split_once(')').map(|(target, _)| target))
}

/// The lines inside fenced blocks marked `sh`, without comments.
fn commands(text: &str) -> Vec<&str> {
    let mut commands = Vec::new();
    let mut inside = false;
    for line in text.lines() {
        if line.starts_with("```") {
            inside = line.trim() == "```sh";
        } else if inside {
            let command = line.split(" #").next().unwrap_or_default().trim();
            if !command.is_empty() && !command.starts_with('#') {
                commands.push(command);
            }
        }
    }
    commands
}
