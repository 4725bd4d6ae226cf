//! Opening what the user named: plain or gzip, told apart by the first bytes.

use std::fs::File;
use std::io::{self, BufRead, BufReader, ErrorKind, Read};
use std::path::Path;

use flate2::bufread::MultiGzDecoder;

use super::error::{InputError, InputProblem};

/// The first two bytes of every gzip member (RFC 1952, 2.3.1).
const GZIP_MAGIC: [u8; 2] = [0x1f, 0x8b];

/// How much is read ahead: large enough that 121,145 rows cost few calls, and to judge a first line.
const BUFFER_BYTES: usize = 64 * 1024;

/// Opens a file, through gzip if it is one.
pub(super) fn open(path: &Path) -> Result<Box<dyn BufRead>, InputError> {
    let unreadable = |error| InputError::new(path, InputProblem::Unreadable(error));
    let file = File::open(path).map_err(unreadable)?;
    let mut raw = BufReader::with_capacity(BUFFER_BYTES, file);
    let start = raw.fill_buf().map_err(unreadable)?;
    if start.starts_with(&GZIP_MAGIC) {
        let unpacked = MultiGzDecoder::new(raw);
        return Ok(Box::new(BufReader::with_capacity(BUFFER_BYTES, unpacked)));
    }
    let named_gzip = [".gz", ".tgz"]
        .iter()
        .any(|end| path.to_string_lossy().ends_with(end));
    if named_gzip {
        return Err(InputError::new(path, InputProblem::NotGzip));
    }
    Ok(Box::new(raw))
}

/// Opens a text file and refuses one whose beginning is not text, before anything is parsed.
pub(super) fn open_text(
    path: &Path,
    expected: &'static str,
) -> Result<Box<dyn BufRead>, InputError> {
    let mut file = open(path)?;
    let start = file.fill_buf().map_err(|error| broken(path, error))?;
    // A character may be cut at the end of the buffer: that alone is no fault (`error_len`).
    let text = core::str::from_utf8(start).map_or_else(|e| e.error_len().is_none(), |_| true);
    if !text || start.contains(&0) {
        return Err(InputError::new(path, InputProblem::NotText { expected }));
    }
    Ok(file)
}

/// Reads a whole text file of at most `bytes_max` bytes.
pub(super) fn read_text(
    path: &Path,
    expected: &'static str,
    bytes_max: u64,
) -> Result<String, InputError> {
    let mut bytes = Vec::new();
    open_text(path, expected)?
        .take(bytes_max + 1)
        .read_to_end(&mut bytes)
        .map_err(|error| broken(path, error))?;
    if bytes.len() as u64 > bytes_max {
        return Err(InputError::new(path, InputProblem::TooLarge { bytes_max }));
    }
    String::from_utf8(bytes).map_err(|_| InputError::new(path, InputProblem::NotText { expected }))
}

/// Tells a failing disk from damaged data: what inflating reports is the data's fault.
pub(super) fn broken(path: &Path, error: io::Error) -> InputError {
    let damaged = matches!(
        error.kind(),
        ErrorKind::InvalidInput | ErrorKind::InvalidData | ErrorKind::UnexpectedEof
    );
    let problem = if damaged {
        InputProblem::Damaged(error)
    } else {
        InputProblem::Unreadable(error)
    };
    InputError::new(path, problem)
}

#[cfg(test)]
mod tests {
    use std::io::Write as _;

    use flate2::Compression;
    use flate2::write::GzEncoder;

    use super::*;

    fn gzip(text: &str) -> Vec<u8> {
        let mut encoder = GzEncoder::new(Vec::new(), Compression::fast());
        encoder.write_all(text.as_bytes()).unwrap();
        encoder.finish().unwrap()
    }

    fn check(name: &str, bytes: &[u8]) -> Result<String, InputProblem> {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join(name);
        std::fs::write(&path, bytes).unwrap();
        read_text(&path, "text", 100).map_err(|error| {
            assert_eq!(error.path, path);
            error.problem
        })
    }

    #[test]
    fn plain_and_gzip_read_alike_whatever_the_name() {
        assert_eq!(check("a.csv", "网格".as_bytes()).unwrap(), "网格");
        assert_eq!(check("a.csv.gz", &gzip("网格")).unwrap(), "网格");
        assert_eq!(check("a.csv", &gzip("网格")).unwrap(), "网格");
    }

    #[test]
    fn each_wrong_file_has_its_own_error() {
        assert!(matches!(
            check("a.gz", b"plain"),
            Err(InputProblem::NotGzip)
        ));
        let cut = &gzip("网格网格网格")[..14];
        assert!(matches!(check("a.gz", cut), Err(InputProblem::Damaged(_))));
        let gbk = [0xcd, 0xf8, 0xb8, 0xf1];
        assert!(matches!(
            check("a", &gbk),
            Err(InputProblem::NotText { .. })
        ));
        assert!(matches!(
            check("a", b"a\0b"),
            Err(InputProblem::NotText { .. })
        ));
        let long = "x".repeat(101);
        assert!(matches!(
            check("a", long.as_bytes()),
            Err(InputProblem::TooLarge { bytes_max: 100 })
        ));
        let missing = read_text(Path::new("/nowhere/a.csv"), "text", 100).unwrap_err();
        assert!(matches!(missing.problem, InputProblem::Unreadable(_)));
        assert_eq!(missing.to_string(), "/nowhere/a.csv: cannot be read");
    }
}
