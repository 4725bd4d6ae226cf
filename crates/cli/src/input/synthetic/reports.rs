//! Made-up requests: what, where, when, in which words.

use std::time::Duration;

use gridbeat_base::{Position, Random, Redacted, WallTime};
use gridbeat_domain::{Catalogue, Category, CategoryKind};

use super::super::areas::{Area, Areas};
use super::super::draw::{between, fraction, index_below, pick, shuffle, weighted};
use super::super::request::{PlacedBy, Remark, Request};
use super::patterns::{PATTERNS, Pattern, SPOTS};
use super::townships::{OTHER_ROADS, TOWNSHIPS, Township};

/// How many requests of a thousand the reporter settles on the spot (Huzhou, 2022-08: 13.3 %).
const SELF_HANDLED_PER_MILLE: u64 = 133;

/// How many of the others are closed within the day, if the shift is long enough. Much more than in
/// reality would be a demo without open cases; much less, one without closings.
const CLOSED_PER_MILLE: u64 = 650;

/// Markets, stations, school gates: so many places an area draw half of its requests.
const HOT_SPOTS: usize = 5;

/// How far from a hot spot its requests lie, at most, in degrees: about 300 m.
const HOT_SPOT_DEG: f64 = 0.003;

/// Shares of a shift's eight parts, of a hundred: the first round after the morning peak finds most.
const PROFILE: [u64; 8] = [14, 20, 16, 10, 6, 10, 14, 10];

/// What addresses in an area are made of.
struct Locale<'a> {
    area: &'a Area,
    weight: u64,
    roads: &'a [&'static str],
    communities: Vec<String>,
    hot_spots: Vec<Position>,
}

/// Makes up `count` requests between `from` and `until`, sorted by time.
pub(in super::super) fn reports(
    areas: &Areas,
    count: usize,
    from: WallTime,
    until: WallTime,
    random: &mut Random,
) -> Vec<Request> {
    let locales: Vec<_> = areas
        .all()
        .iter()
        .map(|area| Locale::of(area, random))
        .collect();
    let catalogue = Catalogue::national();
    let category = |pattern: &Pattern| catalogue.find(CategoryKind::Matter, pattern.code);
    let found = PATTERNS
        .iter()
        .map(|p| (p, category(p).expect("a test finds each")));
    let found: Vec<_> = found.collect();
    let mut requests = Vec::new();
    for _ in 0..count {
        let index = weighted(random, locales.iter().map(|locale| locale.weight));
        let found = &found[weighted(random, PATTERNS.iter().map(|p| p.per_mille))];
        let opened = draw_opening(from, until, random);
        requests.push(locales[index].report(index, *found, opened, until, random));
    }
    requests.sort_by_key(|request| request.opened);
    for (request, number) in requests.iter_mut().zip(1..) {
        request.source_id = format!("made-up-{number:05}");
    }
    requests
}

impl<'a> Locale<'a> {
    fn of(area: &'a Area, random: &mut Random) -> Self {
        let of_zhenhai = |township: &&Township| township.code == area.scope.as_str();
        let township = TOWNSHIPS.iter().find(of_zhenhai);
        let communities = township.map_or_else(
            || vec![area.name.clone()],
            |township| {
                township
                    .communities
                    .iter()
                    .map(ToString::to_string)
                    .collect()
            },
        );
        let hot_spots = (0..HOT_SPOTS).map(|_| area.random_point(random));
        Self {
            area,
            weight: township.map_or(10, |township| township.weight),
            roads: township.map_or(&OTHER_ROADS, |township| township.roads),
            communities,
            hot_spots: hot_spots.collect(),
        }
    }

    fn report(
        &self,
        index: usize,
        (pattern, category): (&Pattern, &Category),
        opened: WallTime,
        until: WallTime,
        random: &mut Random,
    ) -> Request {
        let spot = pick(random, &SPOTS);
        let closed = draw_closing(opened, until, random);
        let found = index_below(random, pattern.descriptions.len());
        let description = filled(pattern.descriptions[found], spot, random);
        let done = if pattern.closings.len() == pattern.descriptions.len() {
            pattern.closings[found]
        } else {
            pattern.closings[index_below(random, pattern.closings.len())]
        };
        let closure_note = closed.map(|_| filled(done, spot, random));
        Request {
            source_id: String::new(),
            line: 0,
            opened,
            closed,
            deadline: Some(opened.plus(Duration::from_secs(pattern.limit_hours * 3_600))),
            category: category.clone(),
            type_text: category.zh.clone(),
            subject: String::new(),
            reason: String::new(),
            description: Redacted::new(description),
            address: Redacted::new(self.address(spot, random)),
            position: Some(self.position(random)),
            closure_note: closure_note.map(Redacted::new),
            remarks: remarks(pattern, spot, opened, closed.unwrap_or(until), random),
            area_text: self.area.name.clone(),
            area: Some(index),
            placed_by: Some(PlacedBy::Position),
        }
    }

    fn address(&self, spot: &str, random: &mut Random) -> String {
        let road = pick(random, self.roads);
        let community = pick(random, &self.communities);
        match random.below(4) {
            0 => format!("{community}{road}{}号旁", 1 + random.below(398)),
            1 => format!("{road}{}号（{community}）", 1 + random.below(398)),
            2 => {
                let other = pick(random, self.roads);
                let side = pick(random, &["东北角", "东南角", "西北角", "西南角"]);
                if other == road {
                    format!("{community}{road}{spot}")
                } else {
                    format!("{road}与{other}路口{side}").replace("路路口", "路口")
                }
            }
            _ => format!("{community}{road}{spot}"),
        }
    }

    fn position(&self, random: &mut Random) -> Position {
        if random.chance(500) {
            let spot = self.hot_spots[index_below(random, self.hot_spots.len())];
            // Two draws added up lie near the middle more often than at the edge.
            let mut off = || HOT_SPOT_DEG * (fraction(random) + fraction(random) - 1.0);
            let (latitude, longitude) = (spot.latitude_deg() + off(), spot.longitude_deg() + off());
            let near = Position::from_degrees(latitude, longitude).ok();
            if let Some(near) = near.filter(|near| self.area.holds(*near)) {
                return near;
            }
        }
        self.area.random_point(random)
    }
}

/// Draws when a request is opened, by the profile of a shift.
fn draw_opening(from: WallTime, until: WallTime, random: &mut Random) -> WallTime {
    let part = weighted(random, PROFILE.iter().copied());
    let parts = i64::try_from(PROFILE.len()).unwrap_or(1);
    let length_ms = (until.millis() - from.millis()).max(0) / parts;
    let into_part = random.below(u64::try_from(length_ms).unwrap_or(0));
    let part = i64::try_from(part).unwrap_or(0);
    let offset = part * length_ms + i64::try_from(into_part).unwrap_or(0);
    WallTime(from.millis() + offset)
}

/// Draws when a request is closed; `None` if not within the shift.
fn draw_closing(opened: WallTime, until: WallTime, random: &mut Random) -> Option<WallTime> {
    let minutes = if random.chance(SELF_HANDLED_PER_MILLE) {
        // A simple case takes about seven minutes (Chengdu, domain brief 3.1).
        between(random, 3.0, 11.0)
    } else if random.chance(CLOSED_PER_MILLE) {
        between(random, 15.0, 240.0)
    } else {
        return None;
    };
    let closed = opened.plus(Duration::from_secs_f64(minutes * 60.0));
    (closed < until).then_some(closed)
}

/// Draws up to three remarks between two moments, no text twice, in the order of their list.
fn remarks(
    pattern: &Pattern,
    spot: &str,
    opened: WallTime,
    ended: WallTime,
    random: &mut Random,
) -> Vec<Remark> {
    let texts = pattern.theme.remarks();
    let count = [0, 1, 1, 2, 3][index_below(random, 5)];
    let mut order: Vec<_> = (0..texts.len()).collect();
    shuffle(random, &mut order);
    order.truncate(count);
    order.sort_unstable();
    let room = u64::try_from(ended.millis() - opened.millis()).unwrap_or(0);
    let mut times: Vec<_> = order.iter().map(|_| random.below(room)).collect();
    times.sort_unstable();
    let remark = |(at, text): (u64, usize)| Remark {
        at: opened.plus(Duration::from_millis(at)),
        text: Redacted::new(filled(texts[text], spot, random)),
    };
    times.into_iter().zip(order).map(remark).collect()
}

/// Fills a text's places.
fn filled(text: &str, spot: &str, random: &mut Random) -> String {
    let small = (2 + random.below(7)).to_string();
    let metres = (3 + random.below(28)).to_string();
    text.replace("{spot}", spot)
        .replace("{n}", &small)
        .replace("{m}", &metres)
}

#[cfg(test)]
mod tests {
    use std::collections::{BTreeMap, BTreeSet};

    use super::super::zhenhai;
    use super::*;

    const FROM: WallTime = WallTime(1_773_703_800_000);
    const UNTIL: WallTime = WallTime(1_773_703_800_000 + 8 * 3_600_000);

    fn made(seed: u64, count: usize) -> Vec<Request> {
        reports(
            &zhenhai(),
            count,
            FROM,
            UNTIL,
            &mut Random::from_number(seed),
        )
    }

    #[test]
    fn the_same_seed_makes_the_same_requests() {
        assert_eq!(made(1, 200), made(1, 200));
        assert_ne!(made(1, 200), made(2, 200));
    }

    #[test]
    fn every_request_lies_in_its_area_and_its_shift() {
        let areas = zhenhai();
        let requests = made(3, 3_000);
        for request in &requests {
            assert_eq!(areas.containing(request.position.unwrap()), request.area);
            assert!(FROM <= request.opened && request.opened < UNTIL);
            assert!(
                request
                    .closed
                    .is_none_or(|closed| request.opened < closed && closed < UNTIL)
            );
            assert_eq!(request.closed.is_some(), request.closure_note.is_some());
            assert!(request.remarks.is_sorted_by_key(|remark| remark.at));
            let end = request.closed.unwrap_or(UNTIL);
            assert!(
                request
                    .remarks
                    .iter()
                    .all(|r| request.opened <= r.at && r.at <= end)
            );
        }
        assert!(requests.is_sorted_by_key(|request| request.opened));
        let ids: BTreeSet<_> = requests.iter().map(|r| &r.source_id).collect();
        assert_eq!(ids.len(), requests.len());
    }

    #[test]
    fn frequencies_come_out_as_they_are_stated() {
        let mut counts = BTreeMap::<String, usize>::new();
        let requests = made(4, 20_000);
        for request in &requests {
            *counts.entry(request.category.code.clone()).or_default() += 1;
        }
        // Four standard deviations of a share of 24 % in 20,000 draws are 1.2 %.
        for (code, percent) in [
            ("06010", 24.0),
            ("09009", 21.0),
            ("06036", 12.0),
            ("06007", 8.0),
            ("09010", 5.0),
        ] {
            let share = counts[code] as f64 / 200.0;
            assert!((share - percent).abs() < 1.2, "{code}: {share} %");
        }
        let closed = requests.iter().filter(|r| r.closed.is_some()).count();
        assert!((9_000..14_000).contains(&closed), "{closed}");
    }

    #[test]
    fn texts_are_chinese_whole_and_varied() {
        let requests = made(5, 400);
        let mut texts = BTreeSet::new();
        for request in &requests {
            let closing = request
                .closure_note
                .as_ref()
                .map(|note| note.reveal().as_str());
            let remarks = request.remarks.iter().map(|r| r.text.reveal().as_str());
            let both = [
                request.description.reveal().as_str(),
                request.address.reveal().as_str(),
            ];
            for text in both.into_iter().chain(closing).chain(remarks) {
                assert!(!text.is_ascii() && !text.contains(['{', '}']), "{text}");
            }
            texts.insert(format!("{} {}", both[0], both[1]));
        }
        assert!(texts.len() > 390, "{}", texts.len());
    }
}
