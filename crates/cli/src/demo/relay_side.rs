//! What the relay holds when it has ended: read from its database, not from its word.

use std::collections::BTreeMap;
use std::path::Path;

use anyhow::{Context as _, bail};
use gridbeat_base::{DocumentId, Scope};
use gridbeat_document::Change;
use gridbeat_relay_core::{Answer, StoredEntry, Task};
use gridbeat_relay_store::{RecordFilter, SqliteStore, Store as _};

use super::compare::{BlobsHeld, Link, RelaySide, Shown};
use crate::device::protocol::{DocumentPrint, Print, ScopePrint};
use crate::device::value_of;
use crate::relay;

/// How much of a feed is read at a time.
const PAGE_BYTES: u64 = 4 << 20;

/// How many records are read at a time.
const PAGE_RECORDS: u64 = 1_000;

/// Reads the database of the relay with that configuration.
pub(crate) fn read(config: &Path) -> anyhow::Result<RelaySide> {
    let mut store = relay::open_store(config)?;
    let scopes = store.scopes()?;
    let mut changes = BTreeMap::new();
    for scope in &scopes {
        read_feed(&mut store, &scope.scope, &mut changes)?;
    }
    let records = read_records(&store)?;
    let mut documents = Vec::new();
    let mut after = None;
    loop {
        let page = store.heads_after(after, PAGE_RECORDS)?;
        let Some((last, _)) = page.last() else {
            break;
        };
        after = Some(*last);
        for (document, mut heads) in page {
            heads.sort_unstable();
            let body = records.get(&document).map_or("", |(_, body)| body.as_str());
            let value = value_of(body);
            documents.push(DocumentPrint {
                document,
                heads,
                value,
                changes: Vec::new(),
            });
        }
    }
    let print = Print {
        scopes: scopes
            .into_iter()
            .map(|row| ScopePrint {
                scope: row.scope,
                cursor: row.head,
                digest: row.digest.to_string(),
                documents: row.documents,
            })
            .collect(),
        documents,
        refused: 0,
        blobs_waiting: 0,
    };
    let attachments = store.attachments()?;
    let received = attachments.iter().filter(|row| row.is_received).count();
    let blobs = BlobsHeld {
        referred_to: attachments.len() as u64,
        received: received as u64,
        damaged: store.check_blobs()?.damaged.len() as u64,
    };
    let records = records
        .into_iter()
        .map(|(document, (shown, _))| (document, shown))
        .collect();
    Ok(RelaySide {
        print,
        changes,
        records,
        blobs,
    })
}

/// Reads every change of a scope's feed; a document in several scopes is in each of them.
fn read_feed(
    store: &mut SqliteStore,
    scope: &Scope,
    changes: &mut BTreeMap<DocumentId, Vec<Link>>,
) -> anyhow::Result<()> {
    let mut after = 0;
    loop {
        let task = Task::ReadFeed {
            scope: scope.clone(),
            after,
            bytes_max: PAGE_BYTES,
        };
        let Answer::Page(page) = store.run(&task)? else {
            bail!("the store gave another answer than it was asked for");
        };
        if page.entries.is_empty() {
            return Ok(());
        }
        after += page.entries.len() as u64;
        for entry in &page.entries {
            let (document, stored) = match entry {
                StoredEntry::Attach {
                    document, changes, ..
                } => (document, changes.as_slice()),
                StoredEntry::Change {
                    document, change, ..
                } => (document, std::slice::from_ref(change)),
                StoredEntry::Detach { .. } => continue,
            };
            let links = changes.entry(*document).or_default();
            for change in stored {
                let parsed =
                    Change::parse(&change.bytes).context("the relay holds what is no change")?;
                if links.iter().all(|link| link.change != parsed.hash) {
                    links.push(Link {
                        change: parsed.hash,
                        author: change.author,
                        deps: parsed.deps,
                    });
                }
            }
        }
    }
}

fn read_records(store: &SqliteStore) -> anyhow::Result<BTreeMap<DocumentId, (Shown, String)>> {
    let mut records = BTreeMap::new();
    let mut filter = RecordFilter::default();
    loop {
        let page = store.records(&filter, PAGE_RECORDS)?;
        let Some(last) = page.last() else {
            return Ok(records);
        };
        filter.before = Some((last.fields.occurred, last.document));
        for row in page {
            let shown = Shown {
                kind: row.kind,
                status: row.fields.status,
                is_open: row.fields.is_open,
                position: row.fields.position,
                scopes: row.scopes,
                body: serde_json::from_str(&row.fields.body).unwrap_or_default(),
            };
            records.insert(row.document, (shown, row.fields.body));
        }
    }
}
