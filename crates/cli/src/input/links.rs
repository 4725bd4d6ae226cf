//! Logs of mobile links: one JSON file, a directory of them, or a tar, plain or gzip.
//!
//! The format is SABRE's (see [`LinkLog::from_sabre_json`]). Not here: what a link does with a log
//! (crate `badlink`), which part of it a device gets (`windows`).

use std::io::{BufRead, Read};
use std::path::Path;

use gridbeat_badlink::LinkLog;

use super::error::{InputError, InputProblem};
use super::file;

/// Largest single log: at about 70 bytes a second of ride, two days.
pub const LINK_LOG_BYTES_MAX: u64 = 16 << 20;

/// How many logs are read at most; the largest published set has 86.
const LINK_LOGS_MAX: usize = 10_000;

/// The logs of a file or folder, by name.
#[derive(Clone, Debug)]
pub struct LinkLogs {
    /// Name (the file's, without folders and `.json`) and log; sorted by name, never empty.
    pub logs: Vec<(String, LinkLog)>,
}

/// Reads link logs from a `.json` file, a directory of such, or a tar of such (plain or gzip).
///
/// # Errors
///
/// [`InputError`] if there is no log, or any of them is not one: a wrong log is a wrong file, for
/// what it would leave out is not seen.
pub fn read_links(path: &Path) -> Result<LinkLogs, InputError> {
    let mut logs = if path.is_dir() {
        from_directory(path)?
    } else {
        let mut input = file::open(path)?;
        let start = input
            .fill_buf()
            .map_err(|error| file::broken(path, error))?;
        // A JSON array begins with a bracket; no tar does: its first bytes are a file name.
        let first = start.iter().find(|byte| !byte.is_ascii_whitespace());
        if first == Some(&b'[') || path.extension().is_some_and(|end| end == "json") {
            vec![one_log(path, &name_of(path), input)?]
        } else {
            from_tar(path, input)?
        }
    };
    if logs.is_empty() {
        return Err(InputError::new(path, InputProblem::NoLinkLogs));
    }
    logs.sort_by(|a, b| a.0.cmp(&b.0));
    Ok(LinkLogs { logs })
}

fn from_directory(path: &Path) -> Result<Vec<(String, LinkLog)>, InputError> {
    let unreadable = |error| InputError::new(path, InputProblem::Unreadable(error));
    let mut logs = Vec::new();
    for entry in std::fs::read_dir(path)
        .map_err(unreadable)?
        .take(LINK_LOGS_MAX)
    {
        let inside = entry.map_err(unreadable)?.path();
        if is_log(&inside) {
            logs.push(one_log(&inside, &name_of(&inside), file::open(&inside)?)?);
        }
    }
    Ok(logs)
}

fn from_tar(path: &Path, input: Box<dyn BufRead>) -> Result<Vec<(String, LinkLog)>, InputError> {
    let broken = |error| file::broken(path, error);
    let mut archive = tar::Archive::new(input);
    let mut logs = Vec::new();
    for (entry, number) in archive
        .entries()
        .map_err(broken)?
        .take(LINK_LOGS_MAX)
        .zip(0..)
    {
        // What is no tar at all fails on the checksum of its first header.
        let entry = entry.map_err(|error| match number {
            0 => InputError::new(path, InputProblem::NotATar(error)),
            _ => broken(error),
        })?;
        let inside = entry.path().map_err(broken)?.into_owned();
        if entry.header().entry_type().is_file() && is_log(&inside) {
            logs.push(one_log(path, &name_of(&inside), entry)?);
        }
    }
    Ok(logs)
}

fn one_log(path: &Path, name: &str, input: impl Read) -> Result<(String, LinkLog), InputError> {
    let mut bytes = Vec::new();
    let mut input = input.take(LINK_LOG_BYTES_MAX + 1);
    input
        .read_to_end(&mut bytes)
        .map_err(|error| file::broken(path, error))?;
    if bytes.len() as u64 > LINK_LOG_BYTES_MAX {
        let bytes_max = LINK_LOG_BYTES_MAX;
        return Err(InputError::new(path, InputProblem::TooLarge { bytes_max }));
    }
    let log = LinkLog::from_sabre_json(&bytes).map_err(|error| {
        let entry = name.to_owned();
        InputError::new(path, InputProblem::NotALinkLog { entry, error })
    })?;
    Ok((name.to_owned(), log))
}

/// Whether a file's name says log: `.json`, and no hidden file (macOS leaves `._…` in its tars).
fn is_log(path: &Path) -> bool {
    let hidden = |name: &std::ffi::OsStr| name.to_string_lossy().starts_with('.');
    path.extension().is_some_and(|end| end == "json") && !path.file_name().is_some_and(hidden)
}

fn name_of(path: &Path) -> String {
    let stem = path.file_stem().unwrap_or_default().to_string_lossy();
    stem.trim_end_matches(".json").to_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    const LOG: &str = r#"[{"duration_ms": 1001, "bandwidth_kbps": 1805, "latency_ms": 100},
        {"duration_ms": 1000, "bandwidth_kbps": 0, "latency_ms": 100}]"#;

    fn tar_of(files: &[(&str, &str)]) -> Vec<u8> {
        let mut builder = tar::Builder::new(Vec::new());
        for (name, text) in files {
            let mut header = tar::Header::new_gnu();
            header.set_size(text.len() as u64);
            header.set_mode(0o644);
            builder
                .append_data(&mut header, name, text.as_bytes())
                .unwrap();
        }
        builder.into_inner().unwrap()
    }

    fn check(name: &str, bytes: &[u8]) -> Result<Vec<String>, String> {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join(name);
        std::fs::write(&path, bytes).unwrap();
        let logs = read_links(&path).map_err(|error| {
            assert_eq!(error.path, path);
            error.problem.to_string()
        })?;
        Ok(logs.logs.into_iter().map(|(name, _)| name).collect())
    }

    #[test]
    fn logs_come_from_a_tar_a_folder_or_one_file() {
        let tar = tar_of(&[
            ("3G/b.json", LOG),
            ("3G/readme.txt", "hello"),
            ("a.json", LOG),
            ("._a.json", ""),
        ]);
        assert_eq!(check("logs.tar", &tar).unwrap(), ["a", "b"]);
        let mut gzip = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::fast());
        std::io::Write::write_all(&mut gzip, &tar).unwrap();
        assert_eq!(
            check("logs.tar.gz", &gzip.finish().unwrap()).unwrap(),
            ["a", "b"]
        );
        assert_eq!(check("one.json", LOG.as_bytes()).unwrap(), ["one"]);
        let folder = tempfile::tempdir().unwrap();
        std::fs::write(folder.path().join("x.json"), LOG).unwrap();
        std::fs::write(folder.path().join("notes"), "").unwrap();
        let logs = read_links(folder.path()).unwrap().logs;
        assert_eq!((logs[0].0.as_str(), logs[0].1.steps().len()), ("x", 2));
    }

    #[test]
    fn a_wrong_file_is_one_clear_error() {
        let nothing = check("logs.tar", &tar_of(&[("readme.txt", "hello")]));
        assert_eq!(nothing.unwrap_err(), "holds no .json link log");
        let wrong = check("logs.tar", &tar_of(&[("a.json", "[{\"rate\": 1}]")])).unwrap_err();
        assert!(wrong.starts_with("a is not a link log"), "{wrong}");
        let text = check("trips.csv", "trip,rider\n".repeat(100).as_bytes()).unwrap_err();
        assert!(text.starts_with("is neither a link log"), "{text}");
        assert!(
            check("x.json", b"{}")
                .unwrap_err()
                .starts_with("x is not a link log")
        );
        assert_eq!(
            check("x.tar.gz", b"plain").unwrap_err(),
            "is named .gz and is not a gzip file"
        );
    }
}
