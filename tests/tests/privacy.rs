//! No name, text or place reaches a log line: a whole shift with everything logged, down to TRACE.
//!
//! Checked is what the engine logs by itself, and what the values it hands out print as, for
//! whoever logs those: records, histories, refusals, outputs, states, counters.

use std::io::{self, Write};
use std::sync::{Arc, Mutex};

use gridbeat_base::Position;
use gridbeat_device_core::Query;
use gridbeat_domain::{IncidentIntent, Step};
use rusqlite::Connection;
use tracing_subscriber::fmt::MakeWriter;

use crate::pump::{World, report, scope};

/// What must not be found: a name, what an officer wrote, an address, and the digits of a place.
const PLANTED: &[&str] = &[
    "欧阳询之",
    "Ouyang-Xun",
    "红色三轮车挡住消防通道",
    "胜利路甲七十七号",
];

const LATITUDE_DEG: f64 = 29.951_843_7;
const LONGITUDE_DEG: f64 = 121.717_265_9;

/// The digits of the place, as degrees and as the whole numbers they are stored as.
const PLACE: &[&str] = &["29.9518", "299518", "121.7172", "1217172"];

/// Where all log lines go.
#[derive(Clone, Default)]
struct Lines(Arc<Mutex<Vec<u8>>>);

impl Lines {
    fn text(&self) -> String {
        String::from_utf8_lossy(&self.0.lock().unwrap()).into_owned()
    }
}

impl Write for Lines {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.0.lock().unwrap().extend_from_slice(bytes);
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

impl<'w> MakeWriter<'w> for Lines {
    type Writer = Self;

    fn make_writer(&'w self) -> Self {
        self.clone()
    }
}

/// Fails if anything planted is in `text`, as itself or as the bytes that `{:?}` makes of it.
fn assert_clean(what: &str, text: &str) {
    for planted in PLANTED.iter().chain(PLACE) {
        assert!(!text.contains(planted), "{what} tells {planted:?}:\n{text}");
        let bytes = format!("{:?}", planted.as_bytes());
        let bytes = bytes.trim_matches(['[', ']']);
        assert!(
            !text.contains(bytes),
            "{what} tells the bytes of {planted:?}:\n{text}"
        );
    }
}

/// Logs what an embedding app might, from every device and the relay.
fn print_everything(world: &World) -> String {
    let mut text = format!("{:?} {:?}\n", world.relay, world.relay.counters());
    for seat in &world.seats {
        let device = &seat.device;
        let query = Query {
            text: None,
            scope: Some(scope()),
            ..Query::default()
        };
        let records = device.query(&query).unwrap();
        text += &format!(
            "{device:?} {:?} {:?}\n",
            device.sync_state(),
            device.counters()
        );
        text += &format!("{records:?} {:?}\n", device.refused().unwrap());
        text += &format!("{:?} {:?}\n", device.scopes(), device.outbox().unwrap());
        for record in &records {
            text += &format!("{:?}\n", device.history(record.document).unwrap());
        }
    }
    text
}

fn shift(world: &mut World) {
    let position = Position::from_degrees(LATITUDE_DEG, LONGITUDE_DEG).ok();
    let saved = world.create(0, &report(&PLANTED[2].repeat(80), PLANTED[0], position));
    world.sync(0);
    world.sync(1);
    world.edit(
        1,
        saved.document,
        &IncidentIntent::Locate {
            address: Some(PLANTED[3].into()),
            position,
        },
    );
    world.edit(
        1,
        saved.document,
        &IncidentIntent::Step {
            step: Step::Note,
            note: PLANTED[2].into(),
            unit: Some(PLANTED[0].into()),
            by: PLANTED[1].into(),
            gps: None,
        },
    );
    world.settle();
    world.sync_all();
    // A refusal: each text is short enough, all merged are not.
    let places = world.seats.len();
    for place in 0..places {
        world.unlink(place);
    }
    for (place, letter) in ('a'..).enumerate().take(places) {
        let description = PLANTED[2].to_owned() + &letter.to_string().repeat(880);
        world.edit(
            place,
            saved.document,
            &IncidentIntent::Describe { description },
        );
    }
    for place in 0..places {
        world.sync(place);
    }
    let refused = world.seats[places - 1].device.refused().unwrap();
    assert_eq!(refused.len(), 1);
    // A repair, and a document made again from its log.
    world.restart_device(1, |file| {
        let file = Connection::open(file).unwrap();
        file.execute_batch(
            "UPDATE scope SET cursor = cursor - 1; UPDATE document SET saved = x'00';",
        )
        .unwrap();
    });
    let more = world.create(1, &report(PLANTED[2], PLANTED[1], position));
    world.edit(1, saved.document, &report_step());
    world.sync(1);
    world.edit(0, more.document, &report_step());
    world.settle();
    world.assert_all_in_sync();
    assert!(world.seats[1].device.counters().documents_rebuilt > 0);
}

fn report_step() -> IncidentIntent {
    IncidentIntent::Step {
        step: Step::Accept,
        note: PLANTED[2].into(),
        unit: None,
        by: PLANTED[0].into(),
        gps: None,
    }
}

#[test]
fn no_name_text_or_place_reaches_a_log_line_of_a_whole_shift() {
    let lines = Lines::default();
    let subscriber = tracing_subscriber::fmt()
        .with_max_level(tracing::Level::TRACE)
        .with_ansi(false)
        .with_writer(lines.clone())
        .finish();
    tracing::subscriber::with_default(subscriber, || {
        let mut world = World::new(6);
        shift(&mut world);
        tracing::error!("the shift is over");
        assert_clean("a printed value", &print_everything(&world));
    });
    let text = lines.text();
    assert!(text.contains("the shift is over"), "nothing was logged");
    assert!(
        text.lines().count() > 2,
        "the engine logged nothing:\n{text}"
    );
    assert_clean("the log", &text);
}
