//! One question and one answer on a connection of the enrolment protocol.
//!
//! The device opens one bidirectional stream, sends one request and ends its side; the relay answers and
//! ends its own (`PROTOCOL.md`, 10.2). What is longer than the limits is not waited for. How long either
//! waits is the callers' matter. Not here: what is asked (`device`), what is answered (`relay`).

use gridbeat_base::Remedy;
use gridbeat_sync_protocol::{DecodeError, EnrolAnswer, EnrolRequest, FrameReader, write_prefixed};
use quinn::{Connection, RecvStream, SendStream};

use crate::End;

/// Asks a relay for something and returns its answer. The connection is then of no more use.
///
/// # Errors
///
/// [`ExchangeError`].
pub async fn ask(
    connection: &Connection,
    request: &EnrolRequest,
) -> Result<EnrolAnswer, ExchangeError> {
    let opened = connection.open_bi().await;
    let (mut up, down) = opened.map_err(|error| ExchangeError::Ended(End::of(&error)))?;
    send(connection, &mut up, &request.encode()).await?;
    let answer = receive(connection, down, FrameReader::for_enrol_answer()).await?;
    Ok(EnrolAnswer::decode(&answer)?)
}

/// What somebody asks a relay, and the way for its answer.
#[derive(Debug)]
pub struct Asked {
    /// The request.
    pub request: EnrolRequest,
    connection: Connection,
    down: SendStream,
}

impl Asked {
    /// Waits for the request on a connection.
    ///
    /// # Errors
    ///
    /// [`ExchangeError`].
    pub async fn wait(connection: &Connection) -> Result<Self, ExchangeError> {
        let accepted = connection.accept_bi().await;
        let (down, up) = accepted.map_err(|error| ExchangeError::Ended(End::of(&error)))?;
        let request = receive(connection, up, FrameReader::for_enrol_request()).await?;
        Ok(Self {
            request: EnrolRequest::decode(&request)?,
            connection: connection.clone(),
            down,
        })
    }

    /// Answers, and waits until the device has all of it.
    ///
    /// # Errors
    ///
    /// [`ExchangeError::Ended`] when it is not known to have come through; the device asks again then.
    pub async fn answer(mut self, answer: &EnrolAnswer) -> Result<(), ExchangeError> {
        send(&self.connection, &mut self.down, &answer.encode()).await?;
        // `None`: all of it was acknowledged.
        match self.down.stopped().await {
            Ok(None) => Ok(()),
            Ok(Some(_)) | Err(_) => Err(ended(&self.connection)),
        }
    }
}

async fn send(
    connection: &Connection,
    stream: &mut SendStream,
    bytes: &[u8],
) -> Result<(), ExchangeError> {
    let mut prefixed = Vec::new();
    write_prefixed(bytes, &mut prefixed);
    let written = stream.write_all(&prefixed).await;
    if written.is_err() || stream.finish().is_err() {
        return Err(ended(connection));
    }
    Ok(())
}

async fn receive(
    connection: &Connection,
    mut stream: RecvStream,
    mut reader: FrameReader,
) -> Result<Vec<u8>, ExchangeError> {
    const READ_BYTES: usize = 2 * 1024;
    loop {
        let chunk = stream.read_chunk(READ_BYTES, true).await;
        let chunk = chunk.map_err(|_| ended(connection))?;
        let Some(chunk) = chunk else {
            return Err(DecodeError::Truncated.into());
        };
        reader.handle(&chunk.bytes);
        if let Some(frame) = reader.poll_frame()? {
            return Ok(frame.to_vec());
        }
    }
}

/// Why a stream is gone: with its connection, or because the other end wanted no more of it.
fn ended(connection: &Connection) -> ExchangeError {
    let reason = connection.close_reason();
    ExchangeError::Ended(reason.map_or(End::RuleBroken, |reason| End::of(&reason)))
}

/// Why there is no question, or no answer.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum ExchangeError {
    /// The connection ended.
    #[error("{0}")]
    Ended(End),
    /// The other end sent something else.
    #[error("the other end does not keep to the protocol")]
    Unreadable(#[from] DecodeError),
}

impl ExchangeError {
    /// Returns what the caller should do about this error.
    pub const fn remedy(&self) -> Remedy {
        match self {
            Self::Ended(_) => Remedy::Reconnect,
            Self::Unreadable(source) => source.remedy(),
        }
    }
}
