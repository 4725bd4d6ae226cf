//! What screens ask: near, new, by words.

use gridbeat_base::{DocumentId, Position, Random};
use gridbeat_device_core::{Near, Order, Query, ReadError, Record};
use serde_json::json;

use crate::support::{World, at, scope};

fn place(latitude_deg: f64, longitude_deg: f64) -> Position {
    Position::from_degrees(latitude_deg, longitude_deg).unwrap()
}

fn near(position: Position) -> Option<Near> {
    Some(Near {
        position,
        within_m: None,
    })
}

/// A device with slips at random places, some closed.
fn city(slips: u64) -> World {
    let mut world = World::synced(1);
    let mut random = Random::from_number(11);
    for number in 0..slips {
        let lat = 29.8 + random.below(1_000_000) as f64 / 4e6;
        let lon = 121.5 + random.below(1_000_000) as f64 / 4e6;
        let intent = json!({
            "open": {
                "text": format!("slip {number}"),
                "category": if number % 2 == 0 { "even" } else { "odd" },
                "at": [lat, lon],
                "occurred": random.below(1_000),
            },
            "status": if number % 3 == 0 { "closed" } else { "open" },
        });
        let now = world.now();
        world.devices[0]
            .create(now, "slip", &scope("grid"), intent.to_string().as_bytes())
            .unwrap();
    }
    world
}

fn ids(records: &[Record]) -> Vec<DocumentId> {
    records.iter().map(|record| record.document).collect()
}

#[test]
fn the_nearest_come_first_and_only_those_that_are_asked_for() {
    let world = city(300);
    let device = &world.devices[0];
    let center = place(29.93, 121.61);
    let everything = device
        .query(&Query {
            limit: 1_000,
            ..Query::default()
        })
        .unwrap();
    assert_eq!(everything.len(), 300);
    let mut expected: Vec<&Record> = everything
        .iter()
        .filter(|record| record.is_open && record.category == "odd")
        .collect();
    let distance = |record: &Record| record.position.unwrap().distance_m(center);
    expected.sort_by(|a, b| distance(a).total_cmp(&distance(b)));
    let mut query = Query {
        kind: Some("slip".to_owned()),
        is_open: Some(true),
        category: Some("odd".to_owned()),
        scope: Some(scope("grid")),
        near: near(center),
        order: Order::NearestFirst,
        limit: 20,
        ..Query::default()
    };
    let mut pages = Vec::new();
    loop {
        let page = device.query(&query).unwrap();
        assert!(
            page.iter()
                .all(|record| record.distance_m == Some(distance(record)))
        );
        let Some(last) = page.last() else { break };
        query.after = Some(last.document);
        pages.extend(ids(&page));
    }
    let expected: Vec<_> = expected.iter().map(|record| record.document).collect();
    assert_eq!(pages, expected);
}

#[test]
fn a_distance_limits_both_orders() {
    let world = city(200);
    let device = &world.devices[0];
    let near = Near {
        position: place(29.93, 121.61),
        within_m: Some(3_000.0),
    };
    let mut query = Query {
        near: Some(near),
        order: Order::NearestFirst,
        limit: 1_000,
        ..Query::default()
    };
    let mut nearest = ids(&device.query(&query).unwrap());
    query.order = Order::NewestFirst;
    let newest = device.query(&query).unwrap();
    assert!(!newest.is_empty() && newest.len() < 200);
    assert!(
        newest
            .iter()
            .all(|record| record.distance_m.unwrap() <= 3_000.0)
    );
    assert!(newest.is_sorted_by(|a, b| a.occurred >= b.occurred));
    let mut newest = ids(&newest);
    nearest.sort_unstable();
    newest.sort_unstable();
    assert_eq!(nearest, newest);
}

#[test]
fn the_newest_come_first_page_by_page() {
    let world = city(120);
    let device = &world.devices[0];
    let mut query = Query {
        limit: 7,
        ..Query::default()
    };
    let mut seen = Vec::new();
    loop {
        let page = device.query(&query).unwrap();
        let Some(last) = page.last() else { break };
        query.after = Some(last.document);
        seen.extend(page);
    }
    assert_eq!(seen.len(), 120);
    assert!(seen.is_sorted_by(|a, b| a.occurred >= b.occurred));
    query.after = Some(DocumentId::from_bytes([3; 16]));
    assert!(matches!(
        device.query(&query),
        Err(ReadError::UnknownDocument { .. })
    ));
}

#[test]
fn chinese_words_of_two_characters_are_found_and_others_by_their_beginning() {
    let mut world = World::synced(1);
    let texts = [
        "生活垃圾堆放在路边",
        "店外经营,占道 Oil-spill near 3号楼",
        "圾垃 is no word",
    ];
    let slips: Vec<_> = texts
        .iter()
        .map(|text| world.create(0, text).document)
        .collect();
    world.note(0, slips[1], "清运完毕");
    let find = |text: &str| {
        let query = Query {
            text: Some(text.to_owned()),
            ..Query::default()
        };
        let mut found = ids(&world.devices[0].query(&query).unwrap());
        found.sort_unstable();
        found
    };
    assert_eq!(find("垃圾"), [slips[0]]);
    assert_eq!(find("路边 垃圾"), [slips[0]]);
    assert_eq!(find("oil"), [slips[1]]);
    assert_eq!(find("OIL-SP"), [slips[1]]);
    assert_eq!(find("3号楼 清运"), [slips[1]]);
    assert_eq!(find("垃圾 清运"), []);
    assert_eq!(find("\"*("), []);
    assert_eq!(find("\" OR \""), []);
    assert_eq!(find("  ").len(), 3);
    assert_eq!(find("wor"), [slips[2]]);
}

#[test]
fn a_changed_document_is_found_by_what_it_is_and_not_by_what_it_was() {
    let mut world = World::synced(1);
    let slip = world.create(0, "旧文字").document;
    let intent = json!({"open": {"text": "新内容", "at": [10.0, 10.0]}, "status": "closed"});
    world.devices[0]
        .edit(at(90_000), slip, intent.to_string().as_bytes())
        .unwrap();
    let count = |query: Query| world.devices[0].query(&query).unwrap().len();
    let text = |text: &str| Query {
        text: Some(text.to_owned()),
        ..Query::default()
    };
    assert_eq!(count(text("文字")), 0);
    assert_eq!(count(text("内容")), 1);
    let status = |status: &str| Query {
        status: Some(status.to_owned()),
        ..Query::default()
    };
    assert_eq!(count(status("open")), 0);
    assert_eq!(count(status("closed")), 1);
    let placed = Query {
        near: near(place(10.0, 10.0)),
        order: Order::NearestFirst,
        ..Query::default()
    };
    assert_eq!(count(placed), 1);
    let attention = Query {
        needs_attention: true,
        ..Query::default()
    };
    assert_eq!(count(attention), 0);
    let elsewhere = Query {
        scope: Some(scope("elsewhere")),
        ..Query::default()
    };
    assert_eq!(count(elsewhere), 0);
}
