//! A device that speaks JSON lines: requests on standard input, answers and events on standard output.
//!
//! Requests are carried out one after the other, in their order; events come between answers. It
//! ends with `quit`, with the end of its input, or when it is told to by a signal. An embedder in
//! another language can live on this.

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::time::Instant;

use gridbeat_base::{BlobHash, ChangeHash, DocumentId};
use gridbeat_device::{
    BlobsWaiting, CallError, Device, Leave, PhotoBlobs, PhotoSaveError, PhotoTaken, ReadError,
    SaveError, Uploads,
};
use gridbeat_document::IntentError;
use serde::Serialize;
use serde_json::Value;
use tokio::io::{AsyncBufReadExt as _, AsyncWriteExt as _, BufReader};
use tokio::sync::broadcast::error::RecvError;

use super::protocol::{
    AcknowledgedLine, BlobsLine, ChangedLine, DocumentPrint, Event, Fault, HistoryLine, LinkLine,
    OutboxLine, Print, RecordLine, Request, Saved, ScopePrint, TakenLine, UploadsWord,
    read_request, write_answer,
};
use super::{not_accepted, positions, query, record_line, state_line, wiping};
use crate::output::Ending;
use crate::signals::told_to_end;

/// A running device and what is owed to its reader.
struct Session {
    device: Device,
    /// Changes saved here that the relay has not called durable, and when they were saved.
    pending: BTreeMap<DocumentId, BTreeMap<ChangeHash, Option<Instant>>>,
    out: tokio::io::Stdout,
}

/// Returns what is told of leaving; the end of it all is told when it is done.
fn leave_event(news: Leave) -> Option<Event> {
    Some(match news {
        Leave::Noticed { scope, deadline } => Event::Leaving {
            scope,
            deadline_ms: deadline.millis(),
        },
        Leave::Left {
            scope,
            removed,
            kept,
        } => Event::Left {
            scope,
            removed,
            kept,
        },
        Leave::Acknowledged => return None,
    })
}

/// Speaks until the end; that is also when the device was revoked and has signed for it: `secrets` go then.
pub(super) async fn run(device: Device, secrets: Vec<PathBuf>) -> anyhow::Result<Ending> {
    let mut states = device.watch_sync_state();
    let mut changes = device.changes();
    let mut leaving = device.leaving();
    let mut positions = device.position_changes();
    let mut session = Session {
        device,
        pending: BTreeMap::new(),
        out: tokio::io::stdout(),
    };
    let device = session.device.id();
    session.tell(&Event::Ready { device }).await?;
    session.tell_state().await?;
    let mut lines = BufReader::new(tokio::io::stdin()).lines();
    let mut end = std::pin::pin!(told_to_end());
    loop {
        tokio::select! {
            biased;
            _ = &mut end => break,
            changed = changes.recv() => match changed {
                Ok(documents) => session.changed(documents).await?,
                // Too many to be told one by one: whatever waits is looked at again.
                Err(RecvError::Lagged(_)) => {
                    let waiting = session.pending.keys().copied().collect();
                    session.changed(waiting).await?;
                }
                Err(RecvError::Closed) => break,
            },
            news = leaving.recv() => match news {
                Ok(news) if wiping::is_due(&session.device, &news).await => {
                    let Session { device, mut out, .. } = session;
                    let words = wiping::wipe(device, secrets).await?;
                    return tell(&mut out, &Event::Wiped(words)).await.map(|()| Ending::Good);
                }
                Ok(news) => if let Some(event) = leave_event(news) {
                    session.tell(&event).await?;
                },
                Err(RecvError::Lagged(_)) => {}
                Err(RecvError::Closed) => break,
            },
            state = states.changed() => match state {
                Ok(()) => {
                    states.mark_unchanged();
                    session.tell_state().await?;
                }
                Err(_) => break,
            },
            moved = positions.changed() => match moved {
                Ok(()) => session.tell(&Event::Moved).await?,
                Err(_) => break,
            },
            line = lines.next_line() => match line? {
                Some(line) if line.trim().is_empty() => {}
                Some(line) => {
                    if session.take(&line).await? {
                        break;
                    }
                }
                None => break,
            },
        }
    }
    session.device.close().await;
    Ok(Ending::Good)
}

impl Session {
    /// Carries out a request's line and answers it. Returns whether it was the last.
    async fn take(&mut self, line: &str) -> anyhow::Result<bool> {
        let (id, request) = read_request(line);
        let is_last = matches!(request, Ok(Request::Quit));
        let answer = match request {
            Ok(request) => self.carry_out(request).await,
            Err(fault) => Err(fault),
        };
        self.write(&write_answer(id, &answer)).await?;
        Ok(is_last)
    }

    async fn carry_out(&mut self, request: Request) -> Result<Value, Fault> {
        match request {
            Request::Create {
                kind,
                scope,
                intent,
            } => {
                let bytes = intent.to_string().into_bytes();
                let saved = self
                    .device
                    .create(&kind, &scope, bytes)
                    .await
                    .map_err(save_fault)?;
                self.saved(saved.document, saved.change)
            }
            Request::Edit { document, intent } => {
                let bytes = intent.to_string().into_bytes();
                let saved = self.device.edit(document, bytes).await;
                let saved = saved.map_err(save_fault)?;
                self.saved(saved.document, saved.change)
            }
            Request::Query(line) => {
                let records = self.device.query(query(*line)).await.map_err(fault)?;
                let lines = records.into_iter().map(record_line);
                value(&lines.collect::<Vec<RecordLine>>())
            }
            Request::Record { document } => {
                let record = self.device.record(document).await.map_err(fault)?;
                value(&record.map(record_line))
            }
            Request::History { document } => value(&self.history(document).await?),
            Request::Status => self.status().await,
            Request::Link => value(&LinkLine::of(&self.device.link_report())),
            Request::Outbox => self.outbox().await,
            Request::Refused => self.refused().await,
            Request::CorrectRefused { number, intent } => {
                let bytes = intent.to_string().into_bytes();
                let saved = self.device.correct_refused(number, bytes).await;
                let saved = saved.map_err(save_fault)?;
                self.saved(saved.document, saved.change)
            }
            Request::DropRefused { number } => {
                value(&self.device.drop_refused(number).await.map_err(save_fault)?)
            }
            Request::PutBlob { hex } => {
                let kept = self.device.put_blob(bytes_of(&hex)?).await;
                value(&kept.map_err(save_fault)?)
            }
            Request::TakePhoto {
                document,
                intent,
                hex,
            } => self.take_photo(document, intent, &hex).await,
            Request::Watch { changes } => self.watch(&changes).await,
            Request::Fingerprint => value(&self.print().await?),
            Request::NetworkChanged { network } => self.network_changed(network.as_deref()),
            Request::SetUploads { uploads } => self.set_uploads(uploads).await,
            Request::Blobs => self.blobs().await,
            Request::SharePosition(line) => {
                let told = self.device.share_position(positions::whereabouts(&line));
                done(told.await)
            }
            Request::HidePosition => done(self.device.hide_position().await),
            Request::WatchPositions { wanted } => done(self.device.watch_positions(wanted).await),
            Request::Positions => self.positions().await,
            Request::Quit => Ok(Value::Null),
        }
    }

    async fn take_photo(
        &mut self,
        document: DocumentId,
        intent: Value,
        hex: &str,
    ) -> Result<Value, Fault> {
        let bytes = bytes_of(hex)?;
        let Value::Object(mut intent) = intent else {
            return Err(plain_fault("an intent is an object"));
        };
        let names = move |blobs: &PhotoBlobs| {
            for (key, hash) in [
                ("hash", blobs.original),
                ("preview", blobs.preview),
                ("thumbnail", blobs.thumbnail),
            ] {
                intent.insert(key.to_owned(), hash.to_string().into());
            }
            Value::Object(intent).to_string().into_bytes()
        };
        let taken = self.device.take_photo(document, bytes, names).await;
        let PhotoTaken { saved, blobs } = match taken {
            Ok(taken) => taken,
            Err(CallError::Failed(PhotoSaveError::Save(source))) => {
                return Err(save_fault(source.into()));
            }
            Err(error) => {
                return Err(Fault {
                    what: chain(&error),
                    remedy: format!("{:?}", error.remedy()),
                    rule: None,
                });
            }
        };
        self.saved(saved.document, saved.change)?;
        let (document, change) = (saved.document, saved.change);
        value(&TakenLine {
            saved: Saved { document, change },
            hash: blobs.original,
            preview: blobs.preview,
            thumbnail: blobs.thumbnail,
        })
    }

    async fn status(&self) -> Result<Value, Fault> {
        let outbox = self.device.outbox().await.map_err(fault)?;
        value(&state_line(&self.device.sync_state(), outbox.changes))
    }

    fn network_changed(&self, network: Option<&str>) -> Result<Value, Fault> {
        self.device.network_changed(network);
        Ok(Value::Null)
    }

    async fn set_uploads(&self, uploads: UploadsWord) -> Result<Value, Fault> {
        let uploads = match uploads {
            UploadsWord::All => Uploads::All,
            UploadsWord::NoOriginals => Uploads::NoOriginals,
            UploadsWord::Nothing => Uploads::Nothing,
        };
        done(self.device.set_uploads(uploads).await)
    }

    async fn blobs(&self) -> Result<Value, Fault> {
        let waiting = self.device.blobs_waiting().await.map_err(fault)?;
        let BlobsWaiting { blobs, bytes, held } = waiting;
        value(&BlobsLine { blobs, bytes, held })
    }

    async fn positions(&self) -> Result<Value, Fault> {
        let seen = self.device.positions().await.map_err(fault)?;
        value(&seen.iter().map(positions::line).collect::<Vec<_>>())
    }

    async fn outbox(&self) -> Result<Value, Fault> {
        let outbox = self.device.outbox().await.map_err(fault)?;
        value(&OutboxLine {
            changes: outbox.changes,
            bytes: outbox.bytes,
            oldest_ms: outbox.oldest,
        })
    }

    async fn watch(&mut self, changes: &[Saved]) -> Result<Value, Fault> {
        for Saved { document, change } in changes {
            let pending = self.pending.entry(*document).or_default();
            pending.entry(*change).or_insert(None);
        }
        let documents: Vec<DocumentId> = self.pending.keys().copied().collect();
        let told = self.acknowledged(&documents).await;
        told.map_err(|error| plain_fault(&error.to_string()))?;
        Ok(Value::Null)
    }

    fn saved(&mut self, document: DocumentId, change: ChangeHash) -> Result<Value, Fault> {
        let now = Some(Instant::now());
        self.pending
            .entry(document)
            .or_default()
            .insert(change, now);
        value(&Saved { document, change })
    }

    async fn history(&self, document: DocumentId) -> Result<Vec<HistoryLine>, Fault> {
        let entries = self.device.history(document).await.map_err(fault)?;
        let line = |entry: gridbeat_device::HistoryEntry| HistoryLine {
            change: entry.change,
            author: entry.author,
            saved_ms: entry.saved,
            received_ms: entry.received,
        };
        Ok(entries.into_iter().map(line).collect())
    }

    async fn refused(&self) -> Result<Value, Fault> {
        let refused = self.device.refused().await.map_err(fault)?;
        let lines = refused.iter().map(not_accepted::line);
        Ok(lines.collect::<Vec<_>>().into())
    }

    async fn print(&self) -> Result<Print, Fault> {
        let scopes = self.device.scopes().await.map_err(fault)?;
        let mut documents = Vec::new();
        for (document, mut heads) in self.device.fingerprint().await.map_err(fault)? {
            let record = self.device.record(document).await.map_err(fault)?;
            let body = record.map(|record| record.body).unwrap_or_default();
            let mut changes: Vec<ChangeHash> = self
                .history(document)
                .await?
                .into_iter()
                .map(|line| line.change)
                .collect();
            changes.sort_unstable();
            heads.sort_unstable();
            let value = value_of(&body);
            documents.push(DocumentPrint {
                document,
                heads,
                value,
                changes,
            });
        }
        let scope = |scope: gridbeat_device::ScopeState| ScopePrint {
            scope: scope.scope,
            cursor: scope.cursor,
            digest: scope.digest.to_string(),
            documents: scope.documents,
        };
        Ok(Print {
            scopes: scopes.into_iter().map(scope).collect(),
            documents,
            refused: self.device.refused().await.map_err(fault)?.len() as u64,
            blobs_waiting: self.device.blobs_waiting().await.map_err(fault)?.blobs,
        })
    }

    /// Tells what became of documents: their state, and which of their changes are durable now.
    async fn changed(&mut self, documents: Vec<DocumentId>) -> anyhow::Result<()> {
        self.acknowledged(&documents).await?;
        let mut lines = Vec::with_capacity(documents.len());
        for document in documents {
            if let Some(record) = self.device.record(document).await? {
                lines.push(ChangedLine {
                    document,
                    kind: record.kind,
                    status: record.status,
                    attention: record.attention,
                });
            }
        }
        if lines.is_empty() {
            return Ok(());
        }
        self.tell(&Event::Changed { documents: lines }).await
    }

    async fn acknowledged(&mut self, documents: &[DocumentId]) -> anyhow::Result<()> {
        let mut changes = Vec::new();
        for document in documents {
            if !self.pending.contains_key(document) {
                continue;
            }
            let history = match self.device.history(*document).await {
                Ok(history) => history,
                // It ended: its beginning was refused, or its scope was left. What came of it is among the refused.
                Err(CallError::Failed(ReadError::UnknownDocument { .. })) => {
                    self.pending.remove(document);
                    continue;
                }
                Err(error) => return Err(error.into()),
            };
            let Some(pending) = self.pending.get_mut(document) else {
                continue;
            };
            for entry in history.iter().filter(|entry| entry.received.is_some()) {
                if let Some(saved) = pending.remove(&entry.change) {
                    let after = saved.map(|saved| saved.elapsed().as_millis());
                    changes.push(AcknowledgedLine {
                        document: *document,
                        change: entry.change,
                        after_ms: after.map(|after| u64::try_from(after).unwrap_or(u64::MAX)),
                    });
                }
            }
            if pending.is_empty() {
                self.pending.remove(document);
            }
        }
        if changes.is_empty() {
            return Ok(());
        }
        self.tell(&Event::Acknowledged { changes }).await
    }

    async fn tell_state(&mut self) -> anyhow::Result<()> {
        let waiting = self
            .pending
            .values()
            .map(|changes| changes.len() as u64)
            .sum();
        let state = state_line(&self.device.sync_state(), waiting);
        self.tell(&Event::State(state)).await
    }

    async fn tell(&mut self, event: &Event) -> anyhow::Result<()> {
        tell(&mut self.out, event).await
    }

    async fn write(&mut self, line: &str) -> anyhow::Result<()> {
        write(&mut self.out, line).await
    }
}

async fn tell(out: &mut tokio::io::Stdout, event: &Event) -> anyhow::Result<()> {
    let mut line = serde_json::to_string(event)?;
    line.push('\n');
    write(out, &line).await
}

async fn write(out: &mut tokio::io::Stdout, line: &str) -> anyhow::Result<()> {
    out.write_all(line.as_bytes()).await?;
    Ok(out.flush().await?)
}

/// Returns the hash by which a record's whole view is compared.
pub(crate) fn value_of(body: &str) -> BlobHash {
    BlobHash::from_bytes(*blake3::hash(body.as_bytes()).as_bytes())
}

fn value<T: Serialize>(of: &T) -> Result<Value, Fault> {
    serde_json::to_value(of).map_err(|error| plain_fault(&error.to_string()))
}

fn plain_fault(what: &str) -> Fault {
    Fault {
        what: what.to_owned(),
        remedy: "FixInput".to_owned(),
        rule: None,
    }
}

fn fault(error: CallError<ReadError>) -> Fault {
    Fault {
        what: chain(&error),
        remedy: format!("{:?}", error.remedy()),
        rule: None,
    }
}

fn save_fault(error: CallError<SaveError>) -> Fault {
    let rule = if let CallError::Failed(SaveError::Intent(intent)) = &error
        && let IntentError::NotAllowed { rule, .. } = intent
    {
        Some((*rule).to_owned())
    } else {
        None
    };
    Fault {
        what: chain(&error),
        remedy: format!("{:?}", error.remedy()),
        rule,
    }
}

/// Writes an error with what caused it.
fn chain(error: &dyn std::error::Error) -> String {
    let mut text = error.to_string();
    let mut source = error.source();
    while let Some(cause) = source {
        let cause_text = cause.to_string();
        if !text.ends_with(&cause_text) {
            text = format!("{text}: {cause_text}");
        }
        source = cause.source();
    }
    text
}

/// Answers what has no more to say than that it is done.
fn done(result: Result<(), CallError<ReadError>>) -> Result<Value, Fault> {
    result.map(|()| Value::Null).map_err(fault)
}

fn bytes_of(hex: &str) -> Result<Vec<u8>, Fault> {
    from_hex(hex).ok_or_else(|| plain_fault("hex is not hexadecimal"))
}

fn from_hex(hex: &str) -> Option<Vec<u8>> {
    if !hex.len().is_multiple_of(2) || !hex.bytes().all(|byte| byte.is_ascii_hexdigit()) {
        return None;
    }
    let pairs = (0..hex.len()).step_by(2);
    pairs
        .map(|at| u8::from_str_radix(&hex[at..at + 2], 16).ok())
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn hexadecimal_digits_become_bytes_and_nothing_else_does() {
        assert_eq!(from_hex("00ff10"), Some(vec![0, 255, 16]));
        for bad in ["0", "zz", "é0"] {
            assert_eq!(from_hex(bad), None, "{bad}");
        }
    }
}
