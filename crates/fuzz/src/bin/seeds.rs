//! Writes the inputs to begin with into a corpus folder, one file each, named by its content.
//!
//! `cargo run -p gridbeat-fuzz --bin seeds -- tests/fuzz/corpus sync-protocol/vectors`. Inputs that are there stay.

use std::fs;
use std::io;
use std::path::PathBuf;

use gridbeat_fuzz::seeds;
use sha2::{Digest as _, Sha256};

fn main() -> io::Result<()> {
    let mut folders = std::env::args_os().skip(1).map(PathBuf::from);
    let (Some(corpus), Some(vectors)) = (folders.next(), folders.next()) else {
        return Err(io::Error::other(
            "name the folder of the corpus, then that of the golden frames",
        ));
    };
    let mut golden = Vec::new();
    for entry in fs::read_dir(vectors)? {
        let path = entry?.path();
        if path.extension().is_some_and(|extension| extension == "hex") {
            golden.push(bytes_of(&fs::read_to_string(path)?));
        }
    }
    golden.sort();
    for (target, input) in seeds(&golden) {
        let folder = corpus.join(target);
        fs::create_dir_all(&folder)?;
        let hash = Sha256::digest(&input);
        let name: String = hash[..10].iter().map(|it| format!("{it:02x}")).collect();
        fs::write(folder.join(name), &input)?;
    }
    Ok(())
}

/// Reads hexadecimal digits; lines that begin with `#` are words.
fn bytes_of(text: &str) -> Vec<u8> {
    let lines = text.lines().filter(|line| !line.starts_with('#'));
    let digits: Vec<u32> = lines
        .flat_map(str::chars)
        .filter_map(|digit| digit.to_digit(16))
        .collect();
    let pairs = digits.chunks_exact(2);
    pairs.map(|pair| (pair[0] * 16 + pair[1]) as u8).collect()
}
