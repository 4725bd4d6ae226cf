//! Who does what, and when: one day made into a run of the demo.
//!
//! A plan is made of a [`Day`] and a seed alone: the same two, the same plan. It says who patrols
//! where, who reports which request at which moment of the run, where several people meet over one
//! incident, and what is killed. Not here: what people do in answer to what they see (`shift`).

use std::f64::consts::TAU;
use std::time::Duration;

use gridbeat_base::{BlobHash, Random, Scope};
use gridbeat_domain::track::{Limits, Recorder, Segment};
use serde_json::{Value, json};

use crate::input::{Day, Request, TrackPoint};

/// The scope of requests whose area nothing tells: the centre's own.
pub(crate) const CENTRE_SCOPE: &str = "centre";

/// Over which part of the run the day's requests are spread, in per cent: the rest is for what
/// follows from the last ones.
const REPORTS_PERCENT: u32 = 78;

/// How many of a thousand incidents several people edit in the same moment: one in eight.
const MEETINGS_PER_MILLE: u64 = 125;

/// How long after its report a meeting takes place at the earliest, so that others may hold it,
/// and how much later at most.
const MEETING_AFTER: Duration = Duration::from_secs(3);
const MEETING_WITHIN_MS: u64 = 6_000;

/// When the relay is killed, in per cent of the run, and when it is started again.
const RELAY_KILLED_PERCENT: u32 = 45;
const RELAY_DOWN: Duration = Duration::from_millis(1_500);

/// When a device is killed, in per cent of the run, and when it is started again.
const DEVICE_KILLED_PERCENT: u32 = 62;
const DEVICE_DOWN: Duration = Duration::from_millis(1_200);

/// What the whole run looks like before it begins.
#[derive(Clone, Debug)]
pub(crate) struct Plan {
    /// The officers; the centre is the device after the last of them.
    pub(crate) officers: Vec<Officer>,
    /// Every scope: the areas in their order, then the centre's own.
    pub(crate) scopes: Vec<Scope>,
    /// The day's requests as reports, in order of time.
    pub(crate) reports: Vec<Report>,
    /// What officers do on patrol, in order of time.
    pub(crate) patrol: Vec<PatrolAct>,
    /// How long the shift is played.
    pub(crate) run: Duration,
    /// When the relay is killed, and started again.
    pub(crate) relay_kill: (Duration, Duration),
    /// When a device is killed, and started again.
    pub(crate) device_kill: (Duration, Duration),
}

/// One officer.
#[derive(Clone, Debug, Eq, PartialEq)]
pub(crate) struct Officer {
    /// The name shown: `01 Roxbury`.
    pub(crate) name: String,
    /// The area patrolled, as an index into the day's.
    pub(crate) home: usize,
    /// All areas answered for: the home, and others that have no officer of their own.
    pub(crate) areas: Vec<usize>,
    /// The officer whose areas are shared: the neighbour.
    pub(crate) neighbour: usize,
}

/// A request that becomes a report.
#[derive(Clone, Debug)]
pub(crate) struct Report {
    /// Which of the day's requests.
    pub(crate) request: usize,
    /// The device that reports it.
    pub(crate) by: usize,
    /// The scope it belongs to.
    pub(crate) scope: Scope,
    /// When, from the beginning of the run.
    pub(crate) at: Duration,
    /// Where several people edit it at once.
    pub(crate) meeting: Option<Meeting>,
    /// Whether it is to be followed to its end, as the day's data says.
    pub(crate) ends: bool,
}

/// Several people edit one incident in the same moment.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(crate) struct Meeting {
    /// When, from the beginning of the run.
    pub(crate) at: Duration,
    /// What they do.
    pub(crate) over: Over,
}

/// What people who meet over an incident do to it.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(crate) enum Over {
    /// Each another thing: a note, the address, the severity. Nothing conflicts.
    Different,
    /// All write into the description: it merges letter by letter.
    Text,
    /// All rate it, differently: a conflict a person must settle.
    Severity,
    /// Two give it a category, differently: a conflict a person must settle.
    Category,
}

/// Something an officer does on patrol.
#[derive(Clone, Debug)]
pub(crate) struct PatrolAct {
    /// Who.
    pub(crate) by: usize,
    /// When, from the beginning of the run.
    pub(crate) at: Duration,
    /// What, in the kind's JSON; the first of an officer's makes the patrol.
    pub(crate) intent: Value,
    /// The piece of track to be kept before, whose hash the intent names.
    pub(crate) segment: Option<Segment>,
}

impl Plan {
    /// Makes the plan of a day.
    pub(crate) fn new(day: &Day, devices: usize, incidents_max: Option<usize>, seed: u64) -> Self {
        let mut random = Random::from_number(seed ^ 0x5eed_0f7e_91a7);
        let run = day
            .links
            .first()
            .map_or(Duration::from_secs(50), |link| link.log.total_duration());
        let officers = officers(day, devices);
        let areas = day.areas.all().iter().map(|area| area.scope.clone());
        let centre = Scope::new(CENTRE_SCOPE).expect("the name is a constant");
        let scopes: Vec<Scope> = areas.chain([centre]).collect();
        let reports = reports(day, &officers, &scopes, run, incidents_max, &mut random);
        let patrol = patrol(day, &officers, run);
        let percent = |of: u32| run * of / 100;
        let (relay, device) = (
            percent(RELAY_KILLED_PERCENT),
            percent(DEVICE_KILLED_PERCENT),
        );
        Self {
            officers,
            scopes,
            reports,
            patrol,
            run,
            relay_kill: (relay, relay + RELAY_DOWN),
            device_kill: (device, device + DEVICE_DOWN),
        }
    }

    /// Returns the number of the centre's device.
    pub(crate) fn centre(&self) -> usize {
        self.officers.len()
    }

    /// Returns the scopes a device holds.
    pub(crate) fn scopes_of(&self, device: usize) -> Vec<Scope> {
        let Some(officer) = self.officers.get(device) else {
            return self.scopes.clone();
        };
        let beyond = self
            .officers
            .get(officer.neighbour)
            .map_or(&[][..], |next| &next.areas);
        let mut held: Vec<usize> = officer.areas.iter().chain(beyond).copied().collect();
        held.sort_unstable();
        held.dedup();
        held.into_iter()
            .map(|area| self.scopes[area].clone())
            .collect()
    }

    /// Returns an officer who holds a scope beside its own officer: who may meet there.
    pub(crate) fn neighbour_in(&self, scope: &Scope, but: usize) -> Option<usize> {
        let holds = |device: &usize| *device != but && self.scopes_of(*device).contains(scope);
        (0..self.officers.len()).find(holds)
    }
}

/// Gives every officer an area, the busiest first, and every area an officer.
fn officers(day: &Day, count: usize) -> Vec<Officer> {
    let busiest = day.busiest_areas();
    let homes: Vec<usize> = busiest.iter().copied().cycle().take(count).collect();
    let mut officers: Vec<Officer> = homes
        .iter()
        .enumerate()
        .map(|(number, home)| Officer {
            name: format!("{:02} {}", number + 1, day.areas.all()[*home].name),
            home: *home,
            areas: vec![*home],
            neighbour: number,
        })
        .collect();
    let middle = |area: usize| day.areas.all()[area].bounds().center();
    for area in busiest.iter().skip(count) {
        let here = middle(*area);
        let distance = |officer: &Officer| {
            let there = middle(officer.home);
            (there.x - here.x).hypot(there.y - here.y)
        };
        // The one with the fewest areas among equals, so that no officer gets a whole suburb.
        let nearest = officers.iter_mut().min_by(|a, b| {
            let weight = |o: &Officer| {
                distance(o) * f64::from(u32::try_from(o.areas.len()).unwrap_or(u32::MAX))
            };
            weight(a).total_cmp(&weight(b))
        });
        if let Some(officer) = nearest {
            officer.areas.push(*area);
        }
    }
    let centre = day.areas.bounds().map(|bounds| bounds.center());
    let angle = |officer: &Officer| {
        let here = middle(officer.home);
        centre.map_or(0.0, |c| ((here.y - c.y).atan2(here.x - c.x) + TAU) % TAU)
    };
    let mut round: Vec<usize> = (0..officers.len()).collect();
    round.sort_by(|a, b| angle(&officers[*a]).total_cmp(&angle(&officers[*b])));
    for (place, officer) in round.iter().enumerate() {
        // The next one round the city with another area; two may share one.
        let others = round.iter().cycle().skip(place + 1).take(round.len());
        let next = others
            .copied()
            .find(|other| officers[*other].home != officers[*officer].home);
        officers[*officer].neighbour = next.unwrap_or(*officer);
    }
    officers
}

fn reports(
    day: &Day,
    officers: &[Officer],
    scopes: &[Scope],
    run: Duration,
    most: Option<usize>,
    random: &mut Random,
) -> Vec<Report> {
    let centre = officers.len();
    let chosen = evenly(day.requests.len(), most.unwrap_or(usize::MAX));
    let times: Vec<i64> = chosen
        .iter()
        .map(|i| day.requests[*i].opened.millis())
        .collect();
    let (first, last) = (
        times.first().copied().unwrap_or(0),
        times.last().copied().unwrap_or(0),
    );
    let span = u128::try_from(last - first).unwrap_or(0).max(1);
    let room = run * REPORTS_PERCENT / 100;
    let mut turns = vec![0_usize; scopes.len()];
    let mut reports = Vec::new();
    for index in chosen {
        let request = &day.requests[index];
        let since = u128::try_from(request.opened.millis() - first).unwrap_or(0);
        let at = Duration::from_nanos_u128(room.as_nanos() * since / span);
        let (by, scope) = match request.area {
            Some(area) => {
                let teams: Vec<usize> = (0..centre)
                    .filter(|o| officers[*o].areas.contains(&area))
                    .collect();
                turns[area] += 1;
                let by = teams
                    .get(turns[area] % teams.len().max(1))
                    .copied()
                    .unwrap_or(centre);
                (by, scopes[area].clone())
            }
            None => (centre, scopes[scopes.len() - 1].clone()),
        };
        let later = MEETING_AFTER + Duration::from_millis(random.below(MEETING_WITHIN_MS));
        let over =
            [Over::Different, Over::Text, Over::Severity, Over::Category][slot(random.below(4))];
        let meets = random.chance(MEETINGS_PER_MILLE) && by != centre;
        reports.push(Report {
            request: index,
            by,
            scope,
            at,
            meeting: meets.then_some(Meeting {
                at: at + later,
                over,
            }),
            ends: request.closed.is_some(),
        });
    }
    reports
}

/// Chooses at most `most` of `count` numbers, evenly spread.
fn evenly(count: usize, most: usize) -> Vec<usize> {
    let take = count.min(most);
    (0..take).map(|i| i * count / take).collect()
}

fn slot(number: u64) -> usize {
    usize::try_from(number).unwrap_or(0)
}

/// Lays each officer's track over the run: start, check-ins, pieces of track, a pause, the end.
fn patrol(day: &Day, officers: &[Officer], run: Duration) -> Vec<PatrolAct> {
    let span = day.until.millis() - day.from.millis();
    let mut acts = Vec::new();
    for (by, officer) in officers.iter().enumerate() {
        let at = |percent: u32| run * percent / 100;
        let spread = |percent: u32| {
            at(percent) + Duration::from_millis(150) * u32::try_from(by).unwrap_or(0)
        };
        let mut act = |when: Duration, intent: Value, segment: Option<Segment>| {
            let at = when.min(run);
            acts.push(PatrolAct {
                by,
                at,
                intent,
                segment,
            });
        };
        let who = &officer.name;
        let area = &day.areas.all()[officer.home];
        act(
            spread(1),
            json!({"do": "start", "shift": day.date.to_string(), "transport": "bicycle", "by": who}),
            None,
        );
        if let Some(track) = day.tracks.get(by) {
            for (number, segment) in segments(&track.segments).into_iter().enumerate() {
                let hash = BlobHash::from_bytes(*blake3::hash(&segment.bytes).as_bytes());
                let intent = json!({
                    "do": "add_segment", "segment": hash, "points": segment.points,
                    "from": segment.from, "to": segment.to, "length_m": segment.length_m, "by": who,
                });
                // A ride is saved when it ends; its place in the shift is its place in the run.
                let since = u32::try_from(
                    (segment.to.millis() - day.from.millis()).max(0) * 90 / span.max(1),
                );
                let later = Duration::from_millis(40) * u32::try_from(number).unwrap_or(0);
                act(
                    spread(5 + since.unwrap_or(0).min(85)) + later,
                    intent,
                    Some(segment),
                );
            }
        }
        let place = area.inner_point();
        for (number, percent) in [(1, 20), (2, 55)] {
            act(
                spread(percent),
                json!({"do": "check_in", "point": format!("{} {number}", area.name), "position": place, "by": who}),
                None,
            );
        }
        act(spread(40), json!({"do": "pause", "by": who}), None);
        act(
            spread(44),
            json!({"do": "start_leg", "transport": "foot", "by": who}),
            None,
        );
        act(spread(91), json!({"do": "end", "by": who}), None);
    }
    acts.sort_by_key(|act| act.at);
    acts
}

/// Records a track as a device would: each ride is a piece, a long one several.
fn segments(rides: &[Vec<TrackPoint>]) -> Vec<Segment> {
    let mut recorder = Recorder::new(Limits::default());
    let mut segments = Vec::new();
    for ride in rides {
        segments.extend(ride.iter().filter_map(|fix| recorder.record(fix.as_fix())));
        segments.extend(recorder.finish());
    }
    segments
}

/// Makes the intent that reports a request.
pub(crate) fn report_intent(request: &Request, by: &str) -> Value {
    let description = request.description.reveal();
    let kind = &request.type_text;
    let text = if kind.is_empty() || description.contains(kind.as_str()) {
        description.clone()
    } else {
        format!("{kind}: {description}")
    };
    json!({
        "do": "report",
        "category": request.category,
        "description": text,
        "address": request.address.reveal(),
        "position": request.position,
        "severity": "ordinary",
        "by": by,
        "gps": request.opened,
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::input::SyntheticOptions;

    fn day(devices: usize) -> Day {
        let wanted = SyntheticOptions {
            requests: 120,
            devices,
            run: Duration::from_secs(40),
            ..SyntheticOptions::default()
        };
        Day::synthetic(7, &wanted).unwrap()
    }

    #[test]
    fn the_same_day_and_seed_give_the_same_plan() {
        let day = day(12);
        let one = Plan::new(&day, 12, None, 7);
        let two = Plan::new(&day, 12, None, 7);
        assert_eq!(format!("{one:?}"), format!("{two:?}"));
        let other = Plan::new(&day, 12, None, 8);
        assert_ne!(format!("{one:?}"), format!("{other:?}"));
    }

    #[test]
    fn every_officer_has_an_area_and_shares_a_neighbours() {
        let plan = Plan::new(&day(12), 12, None, 7);
        assert_eq!(plan.officers.len(), 12);
        for (number, officer) in plan.officers.iter().enumerate() {
            let next = &plan.officers[officer.neighbour];
            assert_ne!(next.home, officer.home, "{}", officer.name);
            assert!(plan.scopes_of(number).contains(&plan.scopes[next.home]));
        }
        assert_eq!(plan.scopes_of(plan.centre()).len(), plan.scopes.len());
    }

    #[test]
    fn every_area_is_somebodys_and_every_report_comes_from_who_holds_its_scope() {
        let day = day(5);
        let plan = Plan::new(&day, 5, None, 1);
        for area in 0..day.areas.all().len() {
            assert!(
                plan.officers
                    .iter()
                    .any(|officer| officer.areas.contains(&area))
            );
        }
        assert_eq!(plan.reports.len(), 120);
        for report in &plan.reports {
            assert!(plan.scopes_of(report.by).contains(&report.scope));
            assert!(report.at <= plan.run);
        }
        assert!(plan.reports.iter().any(|report| report.meeting.is_some()));
    }

    #[test]
    fn fewer_incidents_are_spread_over_the_whole_day() {
        assert_eq!(evenly(10, 5), [0, 2, 4, 6, 8]);
        assert_eq!(evenly(3, 5), [0, 1, 2]);
        assert_eq!(evenly(0, 5), [0_usize; 0]);
    }
}
