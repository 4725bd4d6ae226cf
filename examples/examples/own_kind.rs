//! A record kind of your own, in one file: trees on a street, surveyed by two people at once.
//!
//! The engine knows nothing of trees. [`Tree`] tells it how an empty survey looks, what a person may
//! want of it, how it is shown, and what the relay has to refuse. Two devices then survey the same tree
//! without a network; when they meet the relay, both hold the same, and nothing was overwritten.
//!
//! `cargo run -p examples --example own_kind`
#![expect(clippy::print_stdout, reason = "an example speaks to a person")]

use std::sync::Arc;

use examples::Town;
use gridbeat_base::Scope;
use gridbeat_device_core::Query;
use gridbeat_document::{
    Author, Edit, IntentError, Kind, Kinds, Projection, Refusal, Skeleton, Stamp, View, Words,
};
use serde::{Deserialize, Serialize};

/// What a person may want of a tree.
#[derive(Serialize, Deserialize)]
enum Want {
    /// Put a tree on the map.
    Plant { species: String },
    /// Write down its girth; each measurement stays.
    Measure { girth_cm: u16 },
    /// Say in words how it does; two people's words merge.
    Describe { health: String },
}

#[derive(Debug)]
struct Tree;

impl Kind for Tree {
    fn name(&self) -> &'static str {
        "tree"
    }

    fn schema_version(&self) -> u16 {
        1
    }

    fn genesis(&self, _schema_version: u16, skeleton: &mut Skeleton<'_>) {
        skeleton.map(&["fields"]);
        skeleton.map(&["girths"]);
        skeleton.text(&["health"]);
    }

    fn apply(
        &self,
        intent: &[u8],
        stamp: &Stamp,
        _before: &View,
        edit: &mut Edit<'_>,
    ) -> Result<(), IntentError> {
        let unreadable = |error: serde_json::Error| IntentError::Unreadable {
            reason: error.to_string(),
        };
        match serde_json::from_slice(intent).map_err(unreadable)? {
            Want::Plant { species } => edit.put(&["fields", "species"], species.as_str()),
            Want::Measure { girth_cm } => {
                let id = format!("{:032x}", u128::from_be_bytes(stamp.fact));
                edit.put(&["girths", &id], i64::from(girth_cm));
            }
            Want::Describe { health } => edit.update_text(&["health"], &health),
        }
        Ok(())
    }

    fn project(&self, view: &View) -> Projection {
        let (species, health) = (view.text(&["fields", "species"]), view.text(&["health"]));
        let girths = view.entries(&["girths"]).count();
        Projection {
            is_open: girths == 0,
            category: species.to_owned(),
            text: format!("{species} {health}"),
            body: format!("{species}, measured {girths} times: {health}"),
            ..Projection::default()
        }
    }

    fn admit(&self, before: &View, after: &View, _: &Author) -> Result<(), Refusal> {
        let mut girths = before.entries(&["girths"]);
        if girths.all(|(id, girth)| after.field(&["girths", id]) == Some(girth)) {
            return Ok(());
        }
        Err(Refusal {
            rule: "measurements_stay",
            words: Words {
                en: "a measurement cannot be changed",
                zh: "测量记录不能更改",
            },
        })
    }
}

fn main() -> anyhow::Result<()> {
    let street = Scope::new("linden-avenue")?;
    let mut town = Town::new(Kinds::new([Arc::new(Tree) as Arc<dyn Kind>]))?;
    let ann = town.enrol("Ann", &[&street])?;
    let bo = town.enrol("Bo", &[&street])?;
    let json = |want: Want| serde_json::to_vec(&want);

    let species = "Tilia cordata".to_owned();
    let plant = json(Want::Plant { species })?;
    let now = town.now();
    let saved = town.device(ann).create(now, "tree", &street, &plant)?;
    town.sync(ann)?;
    town.sync(bo)?;
    town.cut(ann);
    town.cut(bo);

    // Both stand under the same tree, and neither has a network.
    for (device, girth_cm) in [(ann, 181), (bo, 183)] {
        let measure = json(Want::Measure { girth_cm })?;
        town.device(device).edit(now, saved.document, &measure)?;
    }
    let health = "dead branch on the north side".to_owned();
    let describe = json(Want::Describe { health })?;
    town.device(bo).edit(now, saved.document, &describe)?;

    let frames = town.sync(ann)? + town.sync(bo)?;
    town.ensure_in_sync()?;
    let query = Query {
        text: Some("branch".into()),
        ..Query::default()
    };
    let shown = town.device(ann).query(&query)?[0].body.clone();
    assert_eq!(town.device(bo).query(&query)?[0].body, shown);
    assert_eq!(
        shown,
        "Tilia cordata, measured 2 times: dead branch on the north side"
    );
    println!("Both devices hold the same after {frames} frames: {shown}");
    Ok(())
}
