//! Frames on the streams of one connection, counted.
//!
//! The device opens one bidirectional stream, the control stream, where each frame stands behind its
//! length; kinds with a stream of their own (`FrameKind::has_own_stream`) take a unidirectional one,
//! whose end is the frame's, and those worth nothing once they are old (`FrameKind::is_datagram`) a datagram (`PROTOCOL.md`,
//! 6). Streams are sent by the priority of their lane. What
//! comes in is handed on as [`Event`]s, one at a time: while nobody takes them nothing is read, and
//! QUIC's windows stop the peer. What goes out is bounded by the windows of the session that makes it.
//!
//! A relay's end answers probes here, so that a busy brain does not make a link look silent.
//!
//! Not here: what frames mean (the cores), when to ask and dial (`device`), when to accept (`relay`).

use std::fmt;
use std::future::poll_fn;
use std::pin::Pin;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::task::Poll;
use std::time::{Duration, Instant};

use gridbeat_base::Lane;
use gridbeat_sync_protocol::{
    Close, DecodeError, Frame, FrameReader, decode, encode, limits, write_prefixed,
};
use quinn::{Connection, RecvStream, SendStream};
use tokio::runtime::Handle;
use tokio::sync::mpsc;
use tokio::task::JoinSet;

use crate::allowance::Allowance;
use crate::transport::DATAGRAM_SEND_BYTES;
use crate::{End, FirstFlight, Outage, Probe, Traffic, end};

/// Bytes read from the control stream at a time: a few frames of usual size.
const CONTROL_READ_BYTES: usize = 8 * 1024;

/// Bytes of frames on their own streams that a device may have under way at the relay, ended or not, before
/// they are taken: what its window of pushes lets it send, which the last push may exceed by its own size, and
/// a frame more for what the window does not count. Without this bound each of 128 streams could hold
/// a frame that never ends.
const RELAY_HELD_BYTES_MAX: usize = limits::PUSH_WINDOW_BYTES + 2 * limits::FRAME_BYTES_MAX;

/// The same at a device, which hostile relays meet too: the window of feed frames, and two of the largest.
const DEVICE_HELD_BYTES_MAX: usize =
    limits::FEED_WINDOW_BYTES + 2 * limits::DOCUMENT_FRAME_BYTES_MAX;

/// How long what is queued is given to arrive before a connection is closed for a reason: one round
/// trip on the slowest usable link. The reason comes with the closing packet in any case.
const FAREWELL: Duration = Duration::from_millis(2_500);

/// Which end of the connection this is.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Role {
    /// Opens the control stream.
    Device,
    /// Accepts it.
    Relay,
}

/// What happened on a connection.
#[derive(Debug)]
pub enum Event {
    /// A frame came.
    Frame(Frame),
    /// Bytes came that are no frame: the peer is at fault, and the connection of no more use.
    Unreadable(DecodeError),
    /// The connection is over. What still comes under its tag is of no more use.
    Ended(End),
}

/// What is queued to go out.
#[derive(Debug)]
enum Out {
    Frame(Lane, Frame),
    /// What was queued before is written: the connection may begin to send.
    Release(FirstFlight),
    /// The last frame on the control stream; then the connection is closed.
    Close(Close),
}

type Outgoing = mpsc::UnboundedReceiver<Out>;

/// The tasks that hold the streams which this end opened since the session began.
#[derive(Clone, Debug)]
struct Streams(Arc<Mutex<Option<JoinSet<()>>>>);

impl Streams {
    fn new() -> Self {
        Self(Arc::new(Mutex::new(Some(JoinSet::new()))))
    }

    fn spawn(&self, runtime: &Handle, task: impl Future<Output = ()> + Send + 'static) {
        if let Some(tasks) = &mut *self.tasks() {
            while tasks.try_join_next().is_some() {}
            tasks.spawn_on(task, runtime);
        }
    }

    /// Ends every task, and returns when all streams they held are dropped. None begins after.
    async fn end(&self) {
        let tasks = self.tasks().take();
        if let Some(mut tasks) = tasks {
            tasks.shutdown().await;
        }
    }

    fn tasks(&self) -> MutexGuard<'_, Option<JoinSet<()>>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// The sending half of a connection's frames, and its handle. Cheap to clone.
#[derive(Clone)]
pub struct Frames {
    connection: Connection,
    outage: Arc<Outage>,
    outgoing: mpsc::UnboundedSender<Out>,
    runtime: Handle,
    streams: Streams,
    /// Opens (or accepts) a control stream and carries the queue's frames.
    start_control: Arc<dyn Fn(Outgoing, Streams) + Send + Sync>,
}

impl fmt::Debug for Frames {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Frames")
            .field("connection", &self.connection.stable_id())
            .finish_non_exhaustive()
    }
}

impl Frames {
    /// Makes the handle of `connection`'s frames. They are carried once [`Unstarted::start`] is called:
    /// tell whoever takes `inputs` about the handle first, or an event comes before its connection.
    /// `outage` is the one in the connection's transport settings.
    ///
    /// Must be called within a tokio runtime, on which everything about the connection then runs.
    pub fn open<I>(
        connection: Connection,
        outage: Arc<Outage>,
        role: Role,
        traffic: Arc<Traffic>,
        tag: u64,
        inputs: mpsc::Sender<I>,
    ) -> (Self, Unstarted<I>)
    where
        I: From<(u64, Event)> + Send + 'static,
    {
        let runtime = Handle::current();
        let streams = Streams::new();
        let carrier = Carrier {
            connection: connection.clone(),
            outage: Arc::clone(&outage),
            role,
            traffic,
            tag,
            inputs,
            runtime: runtime.clone(),
            streams: streams.clone(),
            held: Arc::default(),
        };
        let again = carrier.clone();
        let (outgoing, queue) = mpsc::unbounded_channel();
        let frames = Self {
            connection,
            outage,
            outgoing,
            runtime,
            streams,
            start_control: Arc::new(move |queue, streams| {
                let carrier = Carrier {
                    streams,
                    ..again.clone()
                };
                carrier.start_control(queue);
            }),
        };
        (frames, Unstarted { carrier, queue })
    }

    /// Begins a session anew on the same connection: for a device whose early data was refused, of
    /// which the relay has seen nothing. Frames queued before are gone.
    ///
    /// The refused streams are dropped first: those in their place get the same ids, and quinn 0.11.12
    /// keeps one waker for each id, which the drop of the older stream takes away.
    pub async fn restart(&mut self) {
        self.streams.end().await;
        self.streams = Streams::new();
        let (outgoing, queue) = mpsc::unbounded_channel();
        self.outgoing = outgoing;
        (self.start_control)(queue, self.streams.clone());
    }

    /// Queues a frame. Nothing happens if the connection is over, of which an event tells.
    pub fn send(&self, lane: Lane, frame: Frame) {
        // The receiver is gone only with the connection, whose end is an event of its own.
        let _ = self.outgoing.send(Out::Frame(lane, frame));
    }

    /// Lets the connection begin to send, once what was queued before is written.
    pub fn release(&self, first_flight: FirstFlight) {
        let _ = self.outgoing.send(Out::Release(first_flight));
    }

    /// Asks the peer for a sign of life, past a full congestion window if need be.
    pub fn ask(&self) {
        send_probe(&self.connection, &self.outage, Probe::Ask);
    }

    /// Returns the connection.
    pub const fn connection(&self) -> &Connection {
        &self.connection
    }

    /// Closes the connection at once: its work is done.
    pub fn finish(&self) {
        end::finish(&self.connection);
    }

    /// Closes the connection for a reason, which the peer is told after what is queued, if the link
    /// carries it in time.
    pub fn close(&self, close: Close) {
        let _ = self.outgoing.send(Out::Close(close.clone()));
        let connection = self.connection.clone();
        self.runtime.spawn(async move {
            // There may be no control stream that the words could go out on.
            let closed = tokio::time::timeout(FAREWELL, connection.closed()).await;
            if closed.is_err() {
                end::close(&connection, &close);
            }
        });
    }
}

/// A connection whose frames are not carried yet.
#[derive(Debug)]
#[must_use = "no frame is carried before it is started"]
pub struct Unstarted<I> {
    carrier: Carrier<I>,
    queue: Outgoing,
}

impl<I: From<(u64, Event)> + Send + 'static> Unstarted<I> {
    /// Begins to carry frames: spawns the connection's tasks, which hand each event to its inputs
    /// under its tag, and end with the connection.
    ///
    /// Must be called within a tokio runtime.
    pub fn start(self) {
        let Self { carrier, queue } = self;
        carrier.start_control(queue);
        tokio::spawn(carrier.clone().run_own_streams());
        tokio::spawn(carrier.clone().run_datagrams());
        tokio::spawn(carrier.run_end());
    }
}

/// What the tasks of one connection share.
#[derive(Debug)]
struct Carrier<I> {
    connection: Connection,
    outage: Arc<Outage>,
    role: Role,
    traffic: Arc<Traffic>,
    tag: u64,
    inputs: mpsc::Sender<I>,
    runtime: Handle,
    streams: Streams,
    /// Bytes of the peer's frames on their own streams that are not handed on.
    held: Arc<AtomicUsize>,
}

impl<I> Clone for Carrier<I> {
    fn clone(&self) -> Self {
        Self {
            connection: self.connection.clone(),
            outage: Arc::clone(&self.outage),
            role: self.role,
            traffic: Arc::clone(&self.traffic),
            tag: self.tag,
            inputs: self.inputs.clone(),
            runtime: self.runtime.clone(),
            streams: self.streams.clone(),
            held: Arc::clone(&self.held),
        }
    }
}

/// Bytes that are counted as long as it lives.
struct Held {
    bytes: usize,
    of: Arc<AtomicUsize>,
}

impl Held {
    const fn none(of: Arc<AtomicUsize>) -> Self {
        Self { bytes: 0, of }
    }

    /// Counts more bytes; returns how many are held together with those of others.
    fn add(&mut self, bytes: usize) -> usize {
        self.bytes += bytes;
        self.of.fetch_add(bytes, Ordering::Relaxed) + bytes
    }
}

impl Drop for Held {
    fn drop(&mut self) {
        self.of.fetch_sub(self.bytes, Ordering::Relaxed);
    }
}

/// The connection is over, or nobody listens: the task that meets this has no more to do.
struct Over;

impl<E: std::error::Error> From<E> for Over {
    fn from(_: E) -> Self {
        Self
    }
}

impl<I: From<(u64, Event)> + Send + 'static> Carrier<I> {
    fn start_control(&self, queue: Outgoing) {
        let task = self.clone().run_control(queue);
        self.streams.spawn(&self.runtime, task);
    }

    async fn run_control(self, queue: Outgoing) {
        let streams = match self.role {
            Role::Device => self.connection.open_bi().await,
            Role::Relay => self.connection.accept_bi().await,
        };
        let Ok((send, receive)) = streams else {
            return;
        };
        let outgoing = self.clone().run_outgoing(send, queue);
        self.streams.spawn(&self.runtime, outgoing);
        // Any error of a stream is the connection's end, which `run_end` tells.
        let _: Result<(), Over> = self.read_control(receive).await;
    }

    async fn run_outgoing(self, mut control: SendStream, mut queue: Outgoing) {
        let _ = control.set_priority(priority(Lane::Control));
        while let Some(out) = queue.recv().await {
            let sent: Result<(), Over> = match out {
                Out::Frame(lane, frame) if frame.kind().has_own_stream() => {
                    let bytes = encode(&frame);
                    self.traffic.sent(bytes.len());
                    let mut sending = Box::pin(send_alone(self.connection.clone(), lane, bytes));
                    // Usually there is room, and it is written at once: in order, before what follows.
                    if poll_once(sending.as_mut()).await.is_none() {
                        self.streams.spawn(&self.runtime, sending);
                    }
                    Ok(())
                }
                Out::Frame(_, frame) if frame.kind().is_datagram() => {
                    self.send_datagram(&frame);
                    Ok(())
                }
                Out::Release(first_flight) => {
                    first_flight.release();
                    Ok(())
                }
                Out::Frame(_, frame) => self.write(&mut control, &frame).await,
                Out::Close(close) => {
                    let last = self.write(&mut control, &Frame::Close(close.clone())).await;
                    if last.is_ok() && control.finish().is_ok() {
                        // Until the peer has all of it; if that takes too long, `close` goes on.
                        let _ = control.stopped().await;
                    }
                    end::close(&self.connection, &close);
                    Err(Over)
                }
            };
            if sent.is_err() {
                return;
            }
        }
        // The handle was dropped: what was written still goes out.
        let _ = control.finish();
    }

    /// Sends a frame in a datagram, unless some wait already: what is not sent at once is old when it is.
    fn send_datagram(&self, frame: &Frame) {
        let free = self.connection.datagram_send_buffer_space();
        if free < DATAGRAM_SEND_BYTES / 2 {
            return;
        }
        let bytes = encode(frame);
        let length = bytes.len();
        // It fails if the connection is over, of which an event tells.
        if self.connection.send_datagram(bytes.into()).is_ok() {
            self.traffic.sent(length);
        }
    }

    async fn write(&self, control: &mut SendStream, frame: &Frame) -> Result<(), Over> {
        let mut prefixed = Vec::new();
        write_prefixed(&encode(frame), &mut prefixed);
        self.traffic.sent(prefixed.len());
        Ok(control.write_all(&prefixed).await?)
    }

    async fn read_control(&self, mut receive: RecvStream) -> Result<(), Over> {
        let mut reader = match self.role {
            Role::Device => FrameReader::for_device(),
            Role::Relay => FrameReader::for_relay(),
        };
        let mut buffer = vec![0; CONTROL_READ_BYTES];
        while let Some(count) = receive.read(&mut buffer).await? {
            reader.handle(&buffer[..count]);
            loop {
                let frame = match reader.poll_frame() {
                    Ok(None) => break,
                    Ok(Some(bytes)) => {
                        self.traffic.received(bytes.len() + size_of::<u32>());
                        decode(bytes)
                    }
                    Err(error) => Err(error),
                };
                self.deliver(frame).await?;
            }
        }
        if let Err(error) = reader.finish() {
            self.deliver(Err(error)).await?;
        }
        Ok(())
    }

    async fn run_own_streams(self) {
        // How many run at once is bounded by the transport's limit on open streams.
        while let Ok(stream) = self.connection.accept_uni().await {
            let carrier = self.clone();
            tokio::spawn(async move {
                let _: Result<(), Over> = carrier.read_alone(stream).await;
            });
        }
    }

    async fn read_alone(&self, mut stream: RecvStream) -> Result<(), Over> {
        let mut held = Held::none(Arc::clone(&self.held));
        let read = self.read_whole(&mut stream, &mut held).await?;
        // Unpacked only when somebody takes it: a pack may be a hundred times its size then.
        let place = self.inputs.reserve().await?;
        let event = match read.and_then(|bytes| decode(&bytes)) {
            Ok(frame) => Event::Frame(frame),
            Err(error) => Event::Unreadable(error),
        };
        place.send((self.tag, event).into());
        Ok(())
    }

    /// Reads a stream to its end, within what one frame and all of them may have.
    async fn read_whole(
        &self,
        stream: &mut RecvStream,
        held: &mut Held,
    ) -> Result<Result<Vec<u8>, DecodeError>, Over> {
        let (frame_max, held_max) = match self.role {
            Role::Device => (limits::DOCUMENT_FRAME_BYTES_MAX, DEVICE_HELD_BYTES_MAX),
            Role::Relay => (limits::FRAME_BYTES_MAX, RELAY_HELD_BYTES_MAX),
        };
        let mut frame = Vec::new();
        while let Some(chunk) = stream.read_chunk(usize::MAX, true).await? {
            let all_held = held.add(chunk.bytes.len());
            frame.extend_from_slice(&chunk.bytes);
            if frame.len() > frame_max {
                return Ok(Err(DecodeError::FrameTooLarge {
                    bytes: frame.len(),
                    max: frame_max,
                }));
            }
            if all_held > held_max {
                return Ok(Err(DecodeError::TooMany {
                    part: "bytes under way",
                    count: all_held,
                    max: held_max,
                }));
            }
        }
        self.traffic.received(frame.len());
        Ok(Ok(frame))
    }

    async fn run_datagrams(self) {
        let mut allowance = Allowance::new();
        while let Ok(datagram) = self.connection.read_datagram().await {
            match (self.role, Probe::read(&datagram)) {
                (Role::Relay, Some(Probe::Ask)) => {
                    send_probe(&self.connection, &self.outage, Probe::Answer);
                }
                // That something was heard is all an answer says.
                (Role::Device, Some(Probe::Answer)) => {}
                (_, None) => {
                    // A datagram may be lost, so one that makes no sense is; and a relay takes so many and no more.
                    let Some(frame) = read_datagram(&datagram) else {
                        continue;
                    };
                    if self.role == Role::Relay && !allowance.take(Instant::now()) {
                        continue;
                    }
                    self.traffic.received(datagram.len());
                    if self.hand_on(Event::Frame(frame)).await.is_err() {
                        return;
                    }
                }
                // Not for this end.
                (_, Some(_)) => {}
            }
        }
    }

    async fn run_end(self) {
        let error = self.connection.closed().await;
        // If nobody listens any more there is nobody to tell.
        let _ = self.hand_on(Event::Ended(End::of(&error))).await;
    }

    async fn deliver(&self, frame: Result<Frame, DecodeError>) -> Result<(), Over> {
        match frame {
            Ok(frame) => self.hand_on(Event::Frame(frame)).await,
            Err(error) => {
                self.hand_on(Event::Unreadable(error)).await?;
                Err(Over)
            }
        }
    }

    async fn hand_on(&self, event: Event) -> Result<(), Over> {
        Ok(self.inputs.send((self.tag, event).into()).await?)
    }
}

/// Reads a frame that travels in datagrams; `None` if it is none.
fn read_datagram(bytes: &[u8]) -> Option<Frame> {
    let frame = decode(bytes).ok()?;
    frame.kind().is_datagram().then_some(frame)
}

fn send_probe(connection: &Connection, outage: &Outage, probe: Probe) {
    outage.noticed();
    outage.let_one_pass();
    // It fails if the connection is over, of which an event tells.
    let _ = connection.send_datagram(probe.bytes());
}

async fn send_alone(connection: Connection, lane: Lane, bytes: Vec<u8>) {
    let sent: Result<(), Over> = async {
        let mut stream = connection.open_uni().await?;
        stream.set_priority(priority(lane))?;
        stream.write_all(&bytes).await?;
        stream.finish()?;
        Ok(())
    }
    .await;
    // The only way to fail is the connection's end, which `run_end` tells.
    let _ = sent;
}

/// Polls a future just once: what it can do without waiting is done then.
async fn poll_once<F: Future>(mut future: Pin<&mut F>) -> Option<F::Output> {
    poll_fn(|context| match future.as_mut().poll(context) {
        Poll::Ready(output) => Poll::Ready(Some(output)),
        Poll::Pending => Poll::Ready(None),
    })
    .await
}

/// QUIC sends the highest priority first; lanes count from the most urgent.
fn priority(lane: Lane) -> i32 {
    -(lane as i32)
}
