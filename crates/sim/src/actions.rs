//! What people do in the simulated city: report, describe, locate, rate, step, patrol.

use gridbeat_base::{BlobHash, DocumentId, Position, Random};
use gridbeat_domain::{
    Catalogue, Category, IncidentIntent, PatrolIntent, PhotoRole, Severity, Step, Transport,
};

use crate::photos::PHOTOS;

const WORDS: &[&str] = &[
    "路口暴露垃圾",
    "共享单车乱停",
    "井盖破损",
    "沿街晾挂",
    "占道经营",
    "路面积水",
    "绿地踩踏",
    "已联系养护单位",
    "请尽快处理",
    "现场已围挡",
];

/// In 1,000 edits of incidents, how many are photos.
const PHOTO_PER_MILLE: u64 = 250;

/// What a person wants: a new document, or an edit of one that is there.
#[derive(Clone, Debug)]
pub(crate) enum Wish {
    Create {
        kind: &'static str,
        intent: Vec<u8>,
    },
    Edit {
        document: DocumentId,
        intent: Vec<u8>,
    },
    /// A photo that is taken and attached, by its number.
    Photo {
        document: DocumentId,
        number: u64,
    },
}

/// Draws a person's next wish, given the documents on the device with their kinds.
pub(crate) fn draw(
    random: &mut Random,
    catalogue: &Catalogue,
    held: &[(DocumentId, String)],
) -> Wish {
    if held.is_empty() || random.chance(300) {
        return if random.chance(150) {
            create(
                "patrol",
                &PatrolIntent::Start {
                    shift: "早班".into(),
                    transport: Transport::Bicycle,
                    by: person(random),
                },
            )
        } else {
            create("incident", &report(random, catalogue))
        };
    }
    // The newest are edited most: that is where two people meet.
    let back = random
        .below(held.len() as u64)
        .min(random.below(held.len() as u64));
    let (document, kind) = &held[held.len() - 1 - usize::try_from(back).unwrap_or(0)];
    if kind == "incident" && random.chance(PHOTO_PER_MILLE) {
        return Wish::Photo {
            document: *document,
            number: random.below(PHOTOS),
        };
    }
    let intent = if kind == "patrol" {
        serde_json::to_vec(&patrol_edit(random))
    } else {
        serde_json::to_vec(&incident_edit(random, catalogue))
    };
    Wish::Edit {
        document: *document,
        intent: intent.expect("intents are plain JSON"),
    }
}

fn create<T: serde::Serialize>(kind: &'static str, intent: &T) -> Wish {
    Wish::Create {
        kind,
        intent: serde_json::to_vec(intent).expect("intents are plain JSON"),
    }
}

fn report(random: &mut Random, catalogue: &Catalogue) -> IncidentIntent {
    IncidentIntent::Report {
        category: category(random, catalogue),
        description: words(random),
        address: format!("胜利路{}号", 1 + random.below(300)),
        position: Some(position(random)),
        severity: Severity::Ordinary,
        by: person(random),
        gps: None,
    }
}

fn incident_edit(random: &mut Random, catalogue: &Catalogue) -> IncidentIntent {
    match random.below(10) {
        0 => IncidentIntent::Describe {
            description: words(random),
        },
        1 => IncidentIntent::Locate {
            address: None,
            position: Some(position(random)),
        },
        2 => IncidentIntent::Recategorise {
            category: category(random, catalogue),
        },
        3 => IncidentIntent::Rate {
            severity: if random.chance(500) {
                Severity::Urgent
            } else {
                Severity::Serious
            },
        },
        // One whose bytes nobody has.
        4 => IncidentIntent::AddPhoto {
            hash: BlobHash::new(random.bytes()),
            role: PhotoRole::Near,
            position: None,
            preview: None,
            thumbnail: None,
        },
        _ => {
            // Any step: those out of place are refused where they are made, and concurrent ones meet.
            let step =
                Step::ALL[usize::try_from(random.below(Step::ALL.len() as u64)).unwrap_or(0)];
            IncidentIntent::Step {
                step,
                note: words(random),
                unit: None,
                by: person(random),
                gps: None,
            }
        }
    }
}

fn patrol_edit(random: &mut Random) -> PatrolIntent {
    let by = person(random);
    match random.below(5) {
        0 => PatrolIntent::Pause { by },
        1 => PatrolIntent::StartLeg {
            transport: Transport::Foot,
            by,
        },
        2 => PatrolIntent::Note {
            text: words(random),
            position: Some(position(random)),
            by,
        },
        3 => PatrolIntent::End { by },
        _ => PatrolIntent::CheckIn {
            point: words(random),
            position: None,
            by,
            gps: None,
        },
    }
}

fn category(random: &mut Random, catalogue: &Catalogue) -> Category {
    let count = catalogue.iter().count() as u64;
    let index = usize::try_from(random.below(count)).unwrap_or(0);
    catalogue
        .iter()
        .nth(index)
        .expect("the index is below the count")
        .clone()
}

fn words(random: &mut Random) -> String {
    (0..=random.below(2))
        .map(|_| WORDS[usize::try_from(random.below(WORDS.len() as u64)).unwrap_or(0)])
        .collect::<Vec<_>>()
        .join("，")
}

fn position(random: &mut Random) -> Position {
    let step = |random: &mut Random, span: u64| i32::try_from(random.below(span)).unwrap_or(0);
    Position::from_e7(
        298_950_000 + step(random, 1_770_000),
        1_214_660_000 + step(random, 3_220_000),
    )
    .expect("a place in Zhenhai is on the globe")
}

fn person(random: &mut Random) -> String {
    format!("officer {}", random.below(6))
}
