//! An officer's patrol: one document a shift, made of facts alone.
//!
//! Two devices of one pair may write to one patrol: everything is an added fact, so nothing is ever
//! overwritten. Tracks are blobs, named here by hash. Not here: attendance, coverage, bad-fix filters.

use std::collections::BTreeSet;

use gridbeat_base::{BlobHash, DeviceId, Lane, Position, Verb, Verbs, WallTime};
use gridbeat_document::{
    Author, Edit, IntentError, Kind, Projection, Refusal, Skeleton, Stamp, View, Words,
};
use minicbor::{Decode, Encode};
use serde::{Deserialize, Serialize};

use crate::FactTimes;
use crate::fact::{self, FACTS, Fact};

mod deed;

pub(crate) use deed::deeds;

/// The kind `patrol`.
#[derive(Clone, Copy, Debug, Default)]
pub struct PatrolKind;

/// How an officer gets about.
#[derive(Clone, Copy, Debug, Eq, PartialEq, Serialize, Deserialize, Encode, Decode)]
#[serde(rename_all = "snake_case")]
#[cbor(index_only)]
pub enum Transport {
    /// 步行: on foot.
    #[n(0)]
    Foot,
    /// 执法自行车: by patrol bicycle.
    #[n(1)]
    Bicycle,
    /// 车辆: by vehicle.
    #[n(2)]
    Vehicle,
    /// 岗亭: at a booth.
    #[n(3)]
    Booth,
}

/// What a person may want of a patrol. JSON, tagged by `do`.
#[derive(Clone, Debug, Eq, PartialEq, Serialize, Deserialize)]
#[serde(tag = "do", rename_all = "snake_case", deny_unknown_fields)]
pub enum PatrolIntent {
    /// Begin the shift and its first leg. Only on a new document.
    Start {
        /// The shift's name in the roster (早班, 中班 …).
        shift: String,
        /// How the first leg is travelled.
        transport: Transport,
        /// Who is on patrol.
        by: String,
    },
    /// Begin another leg: another means of travel, or on again after a pause.
    StartLeg {
        /// How it is travelled.
        transport: Transport,
        /// Who is on patrol.
        by: String,
    },
    /// Pause: the leg ends, the shift goes on.
    Pause {
        /// Who pauses.
        by: String,
    },
    /// Check in at a must-visit point.
    CheckIn {
        /// The point's name or code.
        point: String,
        /// Where the device was.
        #[serde(default)]
        position: Option<Position>,
        /// Who checked in.
        by: String,
        /// The satellite's time.
        #[serde(default)]
        gps: Option<WallTime>,
    },
    /// Write a note.
    Note {
        /// The note.
        text: String,
        /// Where it belongs.
        #[serde(default)]
        position: Option<Position>,
        /// Who wrote it.
        by: String,
    },
    /// Add a finished piece of track.
    AddSegment {
        /// The segment's BLAKE3 hash.
        segment: BlobHash,
        /// How many points it has.
        points: u32,
        /// Its first point's time.
        from: WallTime,
        /// Its last point's time.
        to: WallTime,
        /// Its length on the ground, in metres.
        length_m: u32,
        /// Whose track.
        by: String,
    },
    /// End the shift.
    End {
        /// Who ends it.
        by: String,
    },
}

#[derive(Clone, Debug, Eq, PartialEq, Encode, Decode)]
enum PatrolFact {
    #[n(0)]
    Started {
        #[n(0)]
        shift: String,
        #[n(1)]
        transport: Transport,
    },
    #[n(1)]
    LegStarted {
        #[n(0)]
        transport: Transport,
    },
    #[n(2)]
    Paused,
    #[n(3)]
    CheckedIn {
        #[n(0)]
        point: String,
        #[n(1)]
        position: Option<Position>,
    },
    #[n(4)]
    Noted {
        #[n(0)]
        text: String,
        #[n(1)]
        position: Option<Position>,
    },
    #[n(5)]
    SegmentAdded {
        #[n(0)]
        segment: BlobHash,
        #[n(1)]
        points: u32,
        #[n(2)]
        from: WallTime,
        #[n(3)]
        to: WallTime,
        #[n(4)]
        length_m: u32,
    },
    #[n(6)]
    Ended,
}

impl PatrolFact {
    /// Returns what adding it takes.
    const fn verb(&self) -> Verb {
        match self {
            Self::Started { .. } => Verb::Report,
            Self::LegStarted { .. }
            | Self::Paused
            | Self::CheckedIn { .. }
            | Self::Noted { .. }
            | Self::SegmentAdded { .. }
            | Self::Ended => Verb::Edit,
        }
    }
}

/// A patrol as screens show it; the JSON in a record's body.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct PatrolView {
    /// The shift's name; empty before the start is known.
    pub shift: String,
    /// Who began it.
    pub by: String,
    /// When it began, by the best clock.
    pub started: Option<WallTime>,
    /// When it ended; `None` while on patrol.
    pub ended: Option<WallTime>,
    /// The legs, in order.
    pub legs: Vec<LegView>,
    /// The check-ins, in order.
    pub check_ins: Vec<CheckInView>,
    /// The notes, in order.
    pub notes: Vec<PatrolNoteView>,
    /// The pieces of track, by their first point's time.
    pub segments: Vec<SegmentView>,
    /// The whole length of the track, in metres.
    pub length_m: u64,
    /// Facts after the end or before the start: kept and counted, never dropped.
    pub out_of_place: u32,
    /// How many entries could not be read.
    pub unreadable: u32,
}

/// One leg of a patrol.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct LegView {
    /// How it was travelled.
    pub transport: Transport,
    /// When it began, by every clock.
    pub started: FactTimes,
    /// When it ended, by the best clock; `None` while under way.
    pub ended: Option<WallTime>,
}

/// One check-in.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct CheckInView {
    /// The point.
    pub point: String,
    /// Where the device was.
    pub position: Option<Position>,
    /// Who.
    pub by: String,
    /// When, by every clock.
    pub times: FactTimes,
}

/// One note.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct PatrolNoteView {
    /// The note.
    pub text: String,
    /// Where it belongs.
    pub position: Option<Position>,
    /// Who.
    pub by: String,
    /// When, by every clock.
    pub times: FactTimes,
}

/// One piece of track.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct SegmentView {
    /// The blob that holds it.
    pub segment: BlobHash,
    /// How many points it has.
    pub points: u32,
    /// Its first point's time.
    pub from: WallTime,
    /// Its last point's time.
    pub to: WallTime,
    /// Its length on the ground, in metres.
    pub length_m: u32,
    /// Whose device recorded it.
    pub device: DeviceId,
}

impl Kind for PatrolKind {
    fn name(&self) -> &'static str {
        "patrol"
    }

    fn schema_version(&self) -> u16 {
        1
    }

    fn lane(&self) -> Lane {
        Lane::Log
    }

    fn genesis(&self, _schema_version: u16, skeleton: &mut Skeleton<'_>) {
        skeleton.map(&[FACTS]);
    }

    fn apply(
        &self,
        intent: &[u8],
        stamp: &Stamp,
        before: &View,
        edit: &mut Edit<'_>,
    ) -> Result<(), IntentError> {
        let intent: PatrolIntent = crate::read_intent(intent)?;
        let view = PatrolView::of(before);
        if matches!(intent, PatrolIntent::Start { .. }) == view.started.is_some() {
            return Err(IntentError::NotAllowed {
                rule: "start_once",
                words: Words {
                    en: "a patrol starts once, and before everything else",
                    zh: "巡查须先开始，且只能开始一次",
                },
            });
        }
        // A track or a check-in recorded before the end may be saved after it.
        let late = matches!(
            intent,
            PatrolIntent::StartLeg { .. } | PatrolIntent::Pause { .. } | PatrolIntent::End { .. }
        );
        if view.ended.is_some() && late {
            return Err(IntentError::NotAllowed {
                rule: "patrol_ended",
                words: Words {
                    en: "this patrol has ended",
                    zh: "本次巡查已结束",
                },
            });
        }
        let (by, gps, what) = fact_of(intent);
        fact::add(edit, stamp, &by, gps, what);
        Ok(())
    }

    fn blobs(&self, view: &View) -> BTreeSet<BlobHash> {
        let segments = PatrolView::of(view).segments;
        segments
            .into_iter()
            .map(|segment| segment.segment)
            .collect()
    }

    fn project(&self, view: &View) -> Projection {
        let patrol = PatrolView::of(view);
        let mut text = [patrol.shift.as_str(), &patrol.by].join("\n");
        let points = patrol.check_ins.iter().map(|check_in| &check_in.point);
        for words in points.chain(patrol.notes.iter().map(|note| &note.text)) {
            text.push('\n');
            text.push_str(words);
        }
        let position = patrol
            .check_ins
            .iter()
            .rev()
            .find_map(|check_in| check_in.position);
        Projection {
            status: if patrol.ended.is_some() {
                "ended"
            } else {
                "under_way"
            }
            .into(),
            is_open: patrol.ended.is_none(),
            category: String::new(),
            position,
            occurred: patrol.started.unwrap_or_default(),
            text,
            attention: patrol.out_of_place.saturating_add(patrol.unreadable),
            body: serde_json::to_string(&patrol).expect("a view has only string keys"),
        }
    }

    fn needs(&self, before: &View, after: &View) -> Verbs {
        let added = fact::added::<PatrolFact>(before, after);
        added.map(|fact| fact.verb()).collect()
    }

    fn admit(&self, before: &View, after: &View, author: &Author) -> Result<(), Refusal> {
        fact::admit::<PatrolFact>(before, after, author.device)
    }
}

fn fact_of(intent: PatrolIntent) -> (String, Option<WallTime>, PatrolFact) {
    match intent {
        PatrolIntent::Start {
            shift,
            transport,
            by,
        } => (by, None, PatrolFact::Started { shift, transport }),
        PatrolIntent::StartLeg { transport, by } => {
            (by, None, PatrolFact::LegStarted { transport })
        }
        PatrolIntent::Pause { by } => (by, None, PatrolFact::Paused),
        PatrolIntent::CheckIn {
            point,
            position,
            by,
            gps,
        } => (by, gps, PatrolFact::CheckedIn { point, position }),
        PatrolIntent::Note { text, position, by } => {
            (by, None, PatrolFact::Noted { text, position })
        }
        PatrolIntent::AddSegment {
            segment,
            points,
            from,
            to,
            length_m,
            by,
        } => (
            by,
            None,
            PatrolFact::SegmentAdded {
                segment,
                points,
                from,
                to,
                length_m,
            },
        ),
        PatrolIntent::End { by } => (by, None, PatrolFact::Ended),
    }
}

impl PatrolView {
    fn of(view: &View) -> Self {
        let (facts, unreadable) = fact::read::<PatrolFact>(view);
        let mut patrol = Self {
            unreadable,
            ..Self::default()
        };
        for placed in facts {
            patrol.add(placed.fact);
        }
        patrol
            .segments
            .sort_by_key(|segment| (segment.from, *segment.segment.bytes()));
        patrol
    }

    fn add(&mut self, fact: Fact<PatrolFact>) {
        let (times, by, device) = (fact.times, fact.by, fact.device);
        let under_way = self.started.is_some() && self.ended.is_none();
        match fact.what {
            PatrolFact::Started { shift, transport } if self.started.is_none() => {
                (self.shift, self.by, self.started) = (shift, by, Some(times.best()));
                self.legs.push(LegView {
                    transport,
                    started: times,
                    ended: None,
                });
            }
            PatrolFact::LegStarted { transport } if under_way => {
                self.end_leg(times.best());
                self.legs.push(LegView {
                    transport,
                    started: times,
                    ended: None,
                });
            }
            PatrolFact::Paused if under_way => self.end_leg(times.best()),
            PatrolFact::Ended if under_way => {
                self.end_leg(times.best());
                self.ended = Some(times.best());
            }
            PatrolFact::Started { .. }
            | PatrolFact::LegStarted { .. }
            | PatrolFact::Paused
            | PatrolFact::Ended => self.out_of_place += 1,
            PatrolFact::CheckedIn { point, position } => {
                let position = position.filter(|position| position.is_valid());
                self.check_ins.push(CheckInView {
                    point,
                    position,
                    by,
                    times,
                });
            }
            PatrolFact::Noted { text, position } => {
                let position = position.filter(|position| position.is_valid());
                self.notes.push(PatrolNoteView {
                    text,
                    position,
                    by,
                    times,
                });
            }
            PatrolFact::SegmentAdded {
                segment,
                points,
                from,
                to,
                length_m,
            } => {
                // A recorder that was killed before it knew that a segment is added adds it once more.
                if self.segments.iter().any(|it| it.segment == segment) {
                    return;
                }
                self.length_m += u64::from(length_m);
                self.segments.push(SegmentView {
                    segment,
                    points,
                    from,
                    to,
                    length_m,
                    device,
                });
            }
        }
    }

    fn end_leg(&mut self, at: WallTime) {
        if let Some(leg) = self.legs.last_mut().filter(|leg| leg.ended.is_none()) {
            leg.ended = Some(at);
        }
    }
}
