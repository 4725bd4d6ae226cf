//! What people do in answer to what they see: the centre, the officers, their neighbours.
//!
//! Pure: given what changed on whose screen, it says who then does what, and how soon. The flow is the
//! trade's own: report, accept, file, dispatch, handle, feedback, check, close. Not here: when the
//! requests come (`plan`), carrying anything out (`shift`).

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use gridbeat_base::{DocumentId, Random};
use gridbeat_domain::{Catalogue, Category};
use serde_json::{Value, json};

use super::plan::{Over, Plan, report_intent};
use crate::input::Day;

/// How fast a person acts, in the run's fast time: 0.15 s and up to a second more.
const REACTION_MS: (u64, u64) = (150, 1_000);

/// How long work on an incident takes: one to five seconds.
const WORK_MS: (u64, u64) = (1_000, 4_000);

/// How long after a conflict someone settles it.
const SETTLE_AFTER: Duration = Duration::from_secs(4);

/// The centre's name.
pub(crate) const CENTRE: &str = "centre 指挥中心";

/// Something a person does.
#[derive(Clone, Debug)]
pub(crate) struct Deed {
    /// On which device.
    pub(crate) device: usize,
    /// To which document.
    pub(crate) document: DocumentId,
    /// What, in the kind's JSON.
    pub(crate) intent: Value,
    /// How much later.
    pub(crate) after: Duration,
}

/// Everyone's view of the day.
#[derive(Debug)]
pub(crate) struct People {
    random: Random,
    /// Which report each incident was made of.
    reports: BTreeMap<DocumentId, usize>,
    /// Which documents each device has on its screen.
    held: Vec<BTreeSet<DocumentId>>,
    /// What was done already: one person takes a step once.
    done: BTreeSet<(DocumentId, &'static str)>,
    categories: Vec<Category>,
}

impl People {
    /// Begins a day.
    pub(crate) fn new(plan: &Plan, seed: u64) -> Self {
        Self {
            random: Random::from_number(seed ^ 0x0be0_91e5),
            reports: BTreeMap::new(),
            held: vec![BTreeSet::new(); plan.officers.len() + 1],
            done: BTreeSet::new(),
            categories: Catalogue::national().iter().cloned().collect(),
        }
    }

    /// Notes which report a document was made of.
    pub(crate) fn reported(&mut self, document: DocumentId, report: usize) {
        self.reports.insert(document, report);
    }

    /// Returns the document of a report, once it is made.
    pub(crate) fn document_of(&self, report: usize) -> Option<DocumentId> {
        self.reports
            .iter()
            .find(|(_, of)| **of == report)
            .map(|(document, _)| *document)
    }

    /// Takes in what a device shows, and says what its person does about it.
    pub(crate) fn seen(
        &mut self,
        plan: &Plan,
        day: &Day,
        device: usize,
        document: DocumentId,
        status: &str,
    ) -> Option<Deed> {
        self.held[device].insert(document);
        let report = &plan.reports[*self.reports.get(&document)?];
        let request = &day.requests[report.request];
        let is_centre = device == plan.centre();
        let is_owner = device == report.by;
        let closing = || {
            request
                .closure_note
                .as_ref()
                .map_or("", |note| note.reveal().as_str())
        };
        let unit = || request.area_text.clone();
        let (step, intent) = match (status, is_centre, is_owner) {
            ("reported", true, _) => ("accept", step("accept", "", CENTRE)),
            ("accepted", true, _) => ("file", step("file", "", CENTRE)),
            ("filed", true, _) if !is_owner => {
                let mut intent = step("dispatch", "", CENTRE);
                intent["unit"] = unit().into();
                ("dispatch", intent)
            }
            ("dispatched", _, true) => (
                "start_handling",
                step("start_handling", "", &plan.officers[device].name),
            ),
            ("handling", _, true) if report.ends => (
                "handle",
                step("handle", closing(), &plan.officers[device].name),
            ),
            ("handled", true, _) => ("feedback", step("feedback", "", CENTRE)),
            ("feedback", true, _) => ("send_check", step("send_check", "", CENTRE)),
            ("pending_check", _, true) => (
                "pass_check",
                step("pass_check", "", &plan.officers[device].name),
            ),
            ("checked_pass", true, _) => ("close", step("close", closing(), CENTRE)),
            _another_persons_turn => return None,
        };
        if !self.done.insert((document, step)) {
            return None;
        }
        let (least, more) = if step == "handle" {
            WORK_MS
        } else {
            REACTION_MS
        };
        let after = Duration::from_millis(least + self.random.below(more));
        Some(Deed {
            device,
            document,
            intent,
            after,
        })
    }

    /// Says what everyone does who meets over an incident, all at once; `None` while the centre does
    /// not see it.
    pub(crate) fn meet(&mut self, plan: &Plan, day: &Day, number: usize) -> Option<Vec<Deed>> {
        let report = &plan.reports[number];
        let over = report.meeting?.over;
        let document = self.document_of(number)?;
        let (owner, centre) = (report.by, plan.centre());
        if !self.held[centre].contains(&document) {
            return None;
        }
        let name = &plan.officers.get(owner)?.name;
        let neighbour = plan.neighbour_in(&report.scope, owner);
        let request = &day.requests[report.request];
        let mut acts = match over {
            Over::Different => vec![
                (owner, step("note", "到场复核 seen again on the spot", name)),
                (centre, json!({"do": "rate", "severity": "serious"})),
            ],
            Over::Text => {
                let text = report_intent(request, name)["description"].take();
                let text = text.as_str().unwrap_or_default();
                let describe = |text: String| json!({"do": "describe", "description": text});
                vec![
                    (owner, describe(format!("{text} 已拍照。"))),
                    (centre, describe(format!("【指挥中心】{text}"))),
                ]
            }
            Over::Severity => vec![
                (owner, json!({"do": "rate", "severity": "serious"})),
                (centre, json!({"do": "rate", "severity": "minor"})),
            ],
            Over::Category => vec![
                (
                    owner,
                    json!({"do": "recategorise", "category": self.category()}),
                ),
                (
                    centre,
                    json!({"do": "recategorise", "category": self.category()}),
                ),
            ],
        };
        if let Some(next) = neighbour {
            let intent = if over == Over::Different {
                let address = format!("{} (近路口 near the crossing)", request.address.reveal());
                json!({"do": "locate", "address": address})
            } else {
                step(
                    "note",
                    "邻区协助 help from next door",
                    &plan.officers[next].name,
                )
            };
            acts.push((next, intent));
        }
        acts.retain(|(device, _)| self.held[*device].contains(&document));
        let deed = |(device, intent), after| Deed {
            device,
            document,
            intent,
            after,
        };
        let mut deeds: Vec<Deed> = acts
            .into_iter()
            .map(|act| deed(act, Duration::ZERO))
            .collect();
        if over == Over::Severity && number.is_multiple_of(2) {
            let settled = (centre, json!({"do": "rate", "severity": "serious"}));
            deeds.push(deed(settled, SETTLE_AFTER));
        }
        Some(deeds)
    }

    fn category(&mut self) -> Option<Category> {
        let index = self.random.below(self.categories.len() as u64);
        self.categories.get(usize::try_from(index).ok()?).cloned()
    }
}

fn step(step: &str, note: &str, by: &str) -> Value {
    json!({"do": "step", "step": step, "note": note, "by": by})
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::input::SyntheticOptions;

    #[test]
    fn an_incident_is_walked_to_its_end_by_the_right_people() {
        let wanted = SyntheticOptions {
            requests: 40,
            ..SyntheticOptions::default()
        };
        let day = Day::synthetic(3, &wanted).unwrap();
        let plan = Plan::new(&day, 12, None, 3);
        let mut people = People::new(&plan, 3);
        let document = DocumentId::from_bytes([1; 16]);
        let number = plan
            .reports
            .iter()
            .position(|report| report.ends)
            .unwrap_or(0);
        people.reported(document, number);
        let (owner, centre) = (plan.reports[number].by, plan.centre());
        let mut step = |device, status| {
            let deed = people.seen(&plan, &day, device, document, status);
            deed.and_then(|deed| deed.intent["step"].as_str().map(str::to_owned))
        };
        assert_eq!(step(owner, "reported"), None);
        assert_eq!(step(centre, "reported").as_deref(), Some("accept"));
        assert_eq!(step(centre, "reported"), None, "once");
        assert_eq!(step(centre, "filed").as_deref(), Some("dispatch"));
        assert_eq!(step(centre, "dispatched"), None);
        assert_eq!(step(owner, "dispatched").as_deref(), Some("start_handling"));
        assert_eq!(step(owner, "pending_check").as_deref(), Some("pass_check"));
        assert_eq!(step(centre, "checked_pass").as_deref(), Some("close"));
    }

    #[test]
    fn only_those_who_see_an_incident_meet_over_it() {
        let wanted = SyntheticOptions {
            requests: 80,
            ..SyntheticOptions::default()
        };
        let day = Day::synthetic(3, &wanted).unwrap();
        let plan = Plan::new(&day, 12, None, 3);
        let mut people = People::new(&plan, 3);
        let number = plan
            .reports
            .iter()
            .position(|report| report.meeting.is_some())
            .unwrap();
        assert!(people.meet(&plan, &day, number).is_none());
        let document = DocumentId::from_bytes([1; 16]);
        people.reported(document, number);
        assert!(people.meet(&plan, &day, number).is_none());
        people.seen(&plan, &day, plan.centre(), document, "reported");
        let deeds = people.meet(&plan, &day, number).unwrap();
        assert!(!deeds.is_empty() && deeds.iter().all(|deed| deed.device == plan.centre()));
    }
}
