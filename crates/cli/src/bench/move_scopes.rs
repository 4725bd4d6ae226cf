//! `bench move`: what it costs to move a device from one area to another that shares most documents.
//!
//! The device holds one scope; its grant goes there and comes in another, in one step of the operator's.
//! Bytes are those of the frames, both ways, until the device is in sync and the relay has its signed
//! statement; rounds are turns of the link that it waits for. Beside it: a device that begins in the new scope
//! with nothing.

use std::time::Instant;

use anyhow::ensure;
use clap::Args;
use gridbeat_base::Scope;
use gridbeat_link::random_from_system;
use serde_json::{Value, json};
use tempfile::TempDir;

use super::measure::ms;
use super::stock::{Carried, Stock, new_device, open_device};

/// Turns in which documents of the one and the other area are made, so that they lie mixed in time.
const TURNS: u64 = 10;

/// What two areas share.
#[derive(Debug, Args)]
pub(super) struct MoveArgs {
    /// How many documents each area has.
    #[arg(long, value_name = "N", default_value_t = 10_000, value_parser = clap::value_parser!(u64).range(10..=1_000_000))]
    documents: u64,
    /// How many of them are in one area alone: half of them in either.
    #[arg(long, value_name = "K", default_value_t = 500, value_parser = clap::value_parser!(u64).range(2..=10_000))]
    differing: u64,
}

/// Makes both areas, moves a device from one to the other, and lets another begin there.
pub(super) fn run(args: &MoveArgs, folder: &TempDir) -> anyhow::Result<Value> {
    ensure!(
        args.differing / 2 <= args.documents,
        "more documents differ than there are"
    );
    let (old, new) = (Scope::new("old")?, Scope::new("new")?);
    super::field::tell("making the documents");
    let mut stock = Stock::open(&folder.path().join("relay.db"))?;
    let apart = args.differing / 2;
    let mut made = 0;
    for turn in 1..=TURNS {
        stock.fill(
            &old,
            args.documents * turn / TURNS - args.documents * (turn - 1) / TURNS,
        )?;
        stock.fill(&new, apart * turn / TURNS - made)?;
        made = apart * turn / TURNS;
    }
    let moved = new_device();
    stock.enrol(moved, &old)?;
    let mut device = open_device(&folder.path().join("device.db"), moved)?;
    stock.sync(&mut device)?;
    let mut held: Vec<_> = device.fingerprint()?.into_iter().map(|it| it.0).collect();
    let mut random = random_from_system();
    for _ in 0..apart {
        let at = usize::try_from(random.below(held.len() as u64))?;
        held.swap_remove(at);
    }
    stock.place(&held, &new)?;
    stock.sync(&mut device)?;

    stock.enrol(moved, &new)?;
    let began = Instant::now();
    let cost = stock.sync(&mut device)?;
    let took = began.elapsed();
    let documents = device.fingerprint()?.len();
    ensure!(
        documents as u64 == held.len() as u64 + apart,
        "the device holds {documents} documents"
    );
    let fresh = new_device();
    stock.enrol(fresh, &new)?;
    let mut beginner = open_device(&folder.path().join("fresh.db"), fresh)?;
    let whole = stock.sync(&mut beginner)?;
    Ok(json!({
        "bench": "move", "documents": args.documents, "differing": args.differing,
        "moved": figures(&cost), "moved_ms": ms(took), "from_nothing": figures(&whole),
    }))
}

fn figures(cost: &Carried) -> Value {
    json!({
        "up_bytes": cost.up_bytes, "down_bytes": cost.down_bytes, "rounds": cost.rounds,
    })
}
