//! Whole changes from the bottom up, with a right checksum, as a hostile device can make them.

use sha2::{Digest as _, Sha256};

use crate::support::Replica;

pub(crate) struct Forged {
    pub(crate) deps: Vec<Vec<u8>>,
    pub(crate) actor: Vec<u8>,
    pub(crate) seq: u64,
    pub(crate) start_op: u64,
    pub(crate) others: Vec<Vec<u8>>,
    pub(crate) message: &'static [u8],
    pub(crate) columns: Vec<(u8, Vec<u8>)>,
    pub(crate) extra: &'static [u8],
}

fn uleb(mut number: u64, out: &mut Vec<u8>) {
    while number > 0x7f {
        out.push((number & 0x7f) as u8 | 0x80);
        number >>= 7;
    }
    out.push(number as u8);
}

impl Forged {
    /// One op on the root: sets `key` to the integer 1.
    pub(crate) fn put(base: &Replica, key: &str) -> Self {
        let mut text = vec![0x7f, key.len() as u8];
        text.extend(key.as_bytes());
        Self {
            deps: vec![base.document.heads()[0].bytes().to_vec()],
            actor: vec![3; 16],
            seq: 1,
            start_op: 8,
            others: Vec::new(),
            message: b"",
            columns: vec![
                (0x15, text),
                (0x34, vec![1]),
                (0x42, vec![0x7f, 1]),
                (0x56, vec![0x7f, 0x14]),
                (0x57, vec![1]),
                (0x70, vec![0x7f, 0]),
            ],
            extra: b"",
        }
    }

    pub(crate) fn bytes(&self) -> Vec<u8> {
        let mut body = Vec::new();
        uleb(self.deps.len() as u64, &mut body);
        self.deps.iter().for_each(|dep| body.extend(dep));
        uleb(self.actor.len() as u64, &mut body);
        body.extend(&self.actor);
        uleb(self.seq, &mut body);
        uleb(self.start_op, &mut body);
        body.push(0);
        uleb(self.message.len() as u64, &mut body);
        body.extend(self.message);
        uleb(self.others.len() as u64, &mut body);
        for other in &self.others {
            uleb(other.len() as u64, &mut body);
            body.extend(other);
        }
        uleb(self.columns.len() as u64, &mut body);
        for (spec, bytes) in &self.columns {
            uleb(u64::from(*spec), &mut body);
            uleb(bytes.len() as u64, &mut body);
        }
        self.columns
            .iter()
            .for_each(|(_, bytes)| body.extend(bytes));
        body.extend(self.extra);
        let mut hashed = vec![1];
        uleb(body.len() as u64, &mut hashed);
        hashed.extend(body);
        let hash = Sha256::digest(&hashed);
        [&[0x85, 0x6f, 0x4a, 0x83][..], &hash[..4], &hashed].concat()
    }

    pub(crate) fn column(mut self, spec: u8, bytes: &[u8]) -> Self {
        self.columns.retain(|(other, _)| *other != spec);
        self.columns.push((spec, bytes.to_vec()));
        self.columns.sort();
        self
    }
}
