//! The report of a demo: one page a person would rather look at than at numbers.
//!
//! - `page`: the words and tables around; `map`, `timeline`: the drawings; `svg`: what they share
//! - `style.css`: colours and measures, light and dark

mod map;
mod page;
mod svg;
mod timeline;

pub(crate) use page::page;

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;
    use std::time::Duration;

    use gridbeat_base::{ChangeHash, DocumentId, Random};
    use serde_json::json;

    use super::*;
    use crate::demo::{Chronicle, DeviceLog, Figures, Findings, Plan, RelaySide, Shown, Story};
    use crate::device::protocol::{Print, Saved};
    use crate::input::{Day, SyntheticOptions};

    const fn at(seconds: u64) -> Duration {
        Duration::from_secs(seconds)
    }

    fn chronicle(plan: &Plan) -> Chronicle {
        let mut random = Random::from_number(5);
        let mut devices = Vec::new();
        for officer in &plan.officers {
            let mut log = DeviceLog::new(&officer.name, "made-up link <1>");
            log.link(at(0), true);
            let down = 5 + random.below(20);
            log.link(at(down), false);
            log.link(at(down + 6), true);
            for number in 0..30 {
                let saved = Saved {
                    document: DocumentId::from_bytes(random.bytes()),
                    change: ChangeHash::from_bytes(random.bytes()),
                };
                log.saved(saved, number < 5);
                log.waiting(at(number), number % 9);
                log.acknowledged(at(number + 1), saved, Some(100 + 40 * number));
            }
            devices.push(log);
        }
        devices[2].kills.push((at(25), Some(at(27))));
        Chronicle {
            devices,
            relay_down: vec![(at(18), Some(at(20)))],
            played: at(50),
            ..Chronicle::default()
        }
    }

    fn relay(day: &Day) -> RelaySide {
        let mut random = Random::from_number(6);
        let states = ["reported", "handling", "pending_check", "closed"];
        let record = |(number, request): (usize, &crate::input::Request)| {
            let status = states[number % states.len()];
            let conflict = json!([{"field": "severity", "values": [
                {"value": "minor", "device": null, "time_s": 1},
                {"value": "serious", "device": null, "time_s": 1}]}]);
            let shown = Shown {
                kind: "incident".into(),
                status: status.into(),
                is_open: status != "closed",
                position: request.position,
                scopes: Vec::new(),
                body: json!({
                    "address": "<script>alert(1)</script>", "description": "",
                    "conflicts": if number % 20 == 0 { conflict } else { json!([]) },
                }),
            };
            (DocumentId::from_bytes(random.bytes()), shown)
        };
        RelaySide {
            print: Print::default(),
            changes: BTreeMap::new(),
            records: day.requests.iter().enumerate().map(record).collect(),
            blobs: crate::demo::BlobsHeld::default(),
        }
    }

    #[test]
    fn the_page_shows_the_day_and_lets_no_markup_of_the_data_through() {
        let wanted = SyntheticOptions {
            requests: 60,
            ..SyntheticOptions::default()
        };
        let day = Day::synthetic(4, &wanted).unwrap();
        let plan = Plan::new(&day, 12, None, 4);
        let (chronicle, relay) = (chronicle(&plan), relay(&day));
        let findings = Findings::default().with_conflicts_of(&relay);
        let figures = Figures::for_page(&day.name, &chronicle, &findings);
        let story = Story {
            day: &day,
            plan: &plan,
            chronicle: &chronicle,
            relay: &relay,
            findings: &findings,
            figures: &figures,
            sources: vec!["requests: a&b.csv".into()],
        };
        let html = page(&story);
        assert!(html.starts_with("<!doctype html>") && html.ends_with("</html>\n"));
        assert_eq!(html.matches("<svg").count(), html.matches("</svg>").count());
        assert_eq!(
            html.matches("class=\"spot").count(),
            60,
            "every incident is on the map"
        );
        assert!(html.contains("全部承诺成立") && html.contains("relay killed"));
        assert!(html.contains("&lt;script&gt;") && !html.contains("<script"));
        assert!(html.contains("a&amp;b.csv") && html.contains("made-up link &lt;1&gt;"));
        assert!(
            !html.contains("NaN") && !html.contains("inf"),
            "every number is one"
        );
    }
}
