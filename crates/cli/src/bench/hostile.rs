//! The hostile device of `bench flood`, in a process of its own: it speaks the protocol as well as it has to,
//! and as fast as the relay lets it.
//!
//! It pushes honest changes two hundred documents at a time, changes that are none, and bytes that are no
//! frames; and dials again at once whenever it is thrown out.

use std::net::{Ipv4Addr, SocketAddr};
use std::path::PathBuf;
use std::sync::Arc;
use std::time::{Duration, Instant};

use anyhow::{Context as _, bail};
use clap::Args;
use gridbeat_base::{DocumentId, Hlc, Lane, Random, Scope};
use gridbeat_device::DeviceBundle;
use gridbeat_document::Actor;
use gridbeat_link::{
    Clock, DeviceEndpoint, DeviceTls, Event, Frames, Outage, Role, Traffic, device_endpoint,
    device_tls, device_transport, random_from_system,
};
use gridbeat_sync_protocol::{
    BatchStamp, BatchStatement, DeviceInput, DeviceOutput, DeviceSession, Hello, PushDocument,
    Signer, Versions, limits,
};
use serde_json::{Value, json};
use tokio::sync::mpsc;

use super::stock::{INSTALL, incident};

/// Documents in a push: the most that the protocol allows.
const PUSH_DOCUMENTS: usize = limits::PUSH_DOCUMENTS_MAX;

/// Honest documents made before the flood begins, so that making them slows it down no more.
const DOCUMENTS: usize = 10 * PUSH_DOCUMENTS;

/// How long it waits for the relay's word before it dials again.
const PATIENCE: Duration = Duration::from_secs(2);

/// What the hostile device is told.
#[derive(Debug, Args)]
pub(super) struct ChildArgs {
    /// Its bundle.
    #[arg(long)]
    bundle: PathBuf,
    /// The scope it may write in.
    #[arg(long)]
    scope: Scope,
    /// For how long.
    #[arg(long)]
    seconds: u64,
}

/// What it did.
#[derive(Debug, Default)]
struct Done {
    dials: u64,
    pushes: u64,
    acknowledged: u64,
    turned_away: u64,
}

/// The ways it takes in turn, one a connection.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
enum Way {
    Honest,
    NoChanges,
    NoFrames,
}

const WAYS: [Way; 3] = [Way::Honest, Way::NoChanges, Way::NoFrames];

struct Hostile {
    bundle: DeviceBundle,
    scope: Scope,
    signer: Option<Signer>,
    tls: DeviceTls,
    clock: Clock,
    random: Random,
    documents: Vec<PushDocument>,
    next: usize,
    done: Done,
}

/// Floods, and tells what it did.
pub(super) fn run(args: &ChildArgs) -> anyhow::Result<Value> {
    let bundle = DeviceBundle::read(&args.bundle)?;
    let (clock, mut random) = (Clock::start(), random_from_system());
    let actor = Actor::mint(&mut random);
    let made = (0..DOCUMENTS).map(|_| incident(&clock, &mut random, bundle.device, actor));
    let documents = made.collect::<anyhow::Result<_>>()?;
    let mut hostile = Hostile {
        signer: bundle.signer()?,
        tls: device_tls(&bundle)?,
        scope: args.scope.clone(),
        bundle,
        clock,
        random,
        documents,
        next: 0,
        done: Done::default(),
    };
    super::say(&json!({ "ready": true }), true)?;
    let until = Instant::now() + Duration::from_secs(args.seconds);
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()?;
    runtime.block_on(async {
        for way in WAYS.into_iter().cycle() {
            if Instant::now() >= until {
                break;
            }
            // However it ends, it comes again.
            let _ = tokio::time::timeout_at(until.into(), hostile.attack(way)).await;
        }
    });
    let Done {
        dials,
        pushes,
        acknowledged,
        turned_away,
    } = hostile.done;
    Ok(json!({
        "dials": dials, "pushes": pushes, "acknowledged": acknowledged, "turned_away": turned_away,
    }))
}

impl Hostile {
    /// Dials, and floods until the relay ends it or is silent.
    async fn attack(&mut self, way: Way) -> anyhow::Result<()> {
        let address: SocketAddr = self.bundle.relay.parse()?;
        let DeviceEndpoint {
            endpoint,
            first_flight,
            ..
        } = device_endpoint((Ipv4Addr::UNSPECIFIED, 0).into())?;
        first_flight.release();
        let outage = Outage::new();
        let crypto = Arc::<quinn::crypto::rustls::QuicClientConfig>::clone(&self.tls.fresh);
        let mut config = quinn::ClientConfig::new(crypto);
        config.transport_config(Arc::new(device_transport(Arc::clone(&outage))));
        self.done.dials += 1;
        let connection = endpoint
            .connect_with(config, address, &self.tls.server_name)?
            .await?;
        if way == Way::NoFrames {
            let (mut control, _) = connection.open_bi().await?;
            let _ = control.write_all(&[0xff; 64 * 1024]).await;
            let closed = tokio::time::timeout(PATIENCE, connection.closed()).await;
            self.done.turned_away += u64::from(closed.is_ok());
            return Ok(());
        }
        let (inputs, mut events) = mpsc::channel::<(u64, Event)>(64);
        let (role, traffic) = (Role::Device, Arc::new(Traffic::default()));
        let (frames, unstarted) = Frames::open(connection, outage, role, traffic, 0, inputs);
        unstarted.start();
        let mut session = DeviceSession::new();
        session.start(self.clock.monotonic(), self.hello())?;
        loop {
            while session.can_push(Lane::Urgent) {
                self.push(&mut session, way)?;
            }
            while let Some(output) = session.poll_output() {
                match output {
                    DeviceOutput::Send { lane, frame } => frames.send(lane, frame),
                    DeviceOutput::Acknowledged { .. } => self.done.acknowledged += 1,
                    DeviceOutput::Closed(_) => {
                        self.done.turned_away += 1;
                        bail!("the relay ended it");
                    }
                    DeviceOutput::Welcomed(_)
                    | DeviceOutput::Feed(_)
                    | DeviceOutput::Snapshot(_)
                    | DeviceOutput::Reconciled { .. }
                    | DeviceOutput::Compared(_)
                    | DeviceOutput::Aligned { .. }
                    | DeviceOutput::Noticed(_)
                    | DeviceOutput::Noted(_)
                    | DeviceOutput::Offered { .. }
                    | DeviceOutput::Kept { .. }
                    | DeviceOutput::Part { .. }
                    | DeviceOutput::Withheld { .. }
                    | DeviceOutput::Positions(_) => {}
                }
            }
            let event = tokio::time::timeout(PATIENCE, events.recv()).await?;
            match event.context("the connection is over")?.1 {
                Event::Frame(frame) => {
                    let now = self.clock.monotonic();
                    session.handle(now, DeviceInput::Frame(frame))?;
                }
                Event::Unreadable(error) => return Err(error.into()),
                Event::Ended(_) => {
                    self.done.turned_away += 1;
                    bail!("the relay ended it");
                }
            }
        }
    }

    fn hello(&self) -> Hello {
        Hello {
            versions: Versions::SPOKEN,
            device: self.bundle.device,
            install: INSTALL,
            incarnation: None,
            clock: Hlc::at(self.clock.now().wall),
            scopes: Vec::new(),
        }
    }

    fn push(&mut self, session: &mut DeviceSession, way: Way) -> anyhow::Result<()> {
        let mut documents = Vec::with_capacity(PUSH_DOCUMENTS);
        for _ in 0..PUSH_DOCUMENTS {
            let mut document = self.documents[self.next].clone();
            self.next = (self.next + 1) % self.documents.len();
            if way == Way::NoChanges {
                document.document = DocumentId::mint(self.clock.now().wall, &mut self.random);
                let bytes = &mut document.changes[0].bytes;
                let place = usize::try_from(self.random.below(bytes.len() as u64))?;
                bytes[place] ^= 0x5a;
            }
            documents.push(document);
        }
        self.done.pushes += 1;
        let stamp = BatchStamp {
            number: self.done.pushes,
            clock: Hlc::at(self.clock.now().wall),
            wall: self.clock.now().wall,
            previous: None,
        };
        let device = self.bundle.device;
        let statement = BatchStatement::of_push(device, INSTALL, stamp, &self.scope, &documents);
        let seal = self.signer.as_ref().map(|signer| statement.seal(signer).0);
        session.push_sealed(Lane::Urgent, &self.scope, documents, seal)?;
        Ok(())
    }
}
