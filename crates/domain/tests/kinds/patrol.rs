//! Patrols: a shift of added facts.

use gridbeat_base::{BlobHash, Position, WallTime};
use gridbeat_document::gate::Verdict;
use gridbeat_domain::{PatrolIntent, PatrolKind, PatrolView, Transport};

use crate::replica::Replica;

fn by() -> String {
    "王芳".into()
}

fn start() -> PatrolIntent {
    PatrolIntent::Start {
        shift: "早班".into(),
        transport: Transport::Bicycle,
        by: by(),
    }
}

fn check_in(point: &str) -> PatrolIntent {
    let position = Position::from_degrees(29.95, 121.71).ok();
    PatrolIntent::CheckIn {
        point: point.into(),
        position,
        by: by(),
        gps: None,
    }
}

#[test]
fn a_shift_reads_as_legs_check_ins_notes_and_segments() {
    let mut patrol = Replica::new(PatrolKind, 1);
    patrol.edit(0, &start()).unwrap();
    patrol.edit(600, &check_in("后大街口")).unwrap();
    patrol.edit(900, &PatrolIntent::Pause { by: by() }).unwrap();
    patrol
        .edit(
            1_500,
            &PatrolIntent::StartLeg {
                transport: Transport::Foot,
                by: by(),
            },
        )
        .unwrap();
    patrol
        .edit(
            1_600,
            &PatrolIntent::Note {
                text: "夜市摊位已规范".into(),
                position: None,
                by: by(),
            },
        )
        .unwrap();
    let segment = PatrolIntent::AddSegment {
        segment: BlobHash::new([9; 32]),
        points: 120,
        from: WallTime(0),
        to: WallTime(600_000),
        length_m: 2_350,
        by: by(),
    };
    patrol.edit(1_700, &segment).unwrap();
    patrol.edit(3_600, &PatrolIntent::End { by: by() }).unwrap();

    let view: PatrolView = patrol.view();
    assert_eq!(
        view.legs
            .iter()
            .map(|leg| leg.transport)
            .collect::<Vec<_>>(),
        [Transport::Bicycle, Transport::Foot]
    );
    assert!(view.legs.iter().all(|leg| leg.ended.is_some()));
    assert_eq!(
        (view.check_ins.len(), view.notes.len(), view.length_m),
        (1, 1, 2_350)
    );
    let row = patrol.project();
    assert_eq!(
        (row.status.as_str(), row.is_open, row.attention),
        ("ended", false, 0)
    );
    assert!(row.text.contains("后大街口") && row.text.contains("夜市"));
}

#[test]
fn a_patrol_starts_once_and_ends_once() {
    let mut patrol = Replica::new(PatrolKind, 1);
    assert!(
        patrol.edit(0, &check_in("后大街口")).is_err(),
        "nothing before the start"
    );
    patrol.edit(1, &start()).unwrap();
    assert!(patrol.edit(2, &start()).is_err());
    patrol.edit(3, &PatrolIntent::End { by: by() }).unwrap();
    assert!(patrol.edit(4, &PatrolIntent::End { by: by() }).is_err());
    assert!(
        patrol.edit(5, &check_in("记录于结束前")).is_ok(),
        "what was recorded before may be saved after"
    );
}

#[test]
fn two_devices_of_one_pair_write_one_patrol() {
    let (mut a, mut b) = (Replica::new(PatrolKind, 1), Replica::new(PatrolKind, 2));
    let begun = a.edit(0, &start()).unwrap();
    assert!(matches!(
        b.take(&begun, a.device(), None),
        Verdict::Admitted(_)
    ));
    let ended = a.edit(100, &PatrolIntent::End { by: by() }).unwrap();
    let leg = b
        .edit(
            200,
            &PatrolIntent::StartLeg {
                transport: Transport::Foot,
                by: by(),
            },
        )
        .unwrap();
    let seen = b.edit(201, &check_in("车站")).unwrap();
    a.take(&leg, b.device(), None);
    a.take(&seen, b.device(), None);
    b.take(&ended, a.device(), None);
    let view: PatrolView = a.view();
    assert_eq!(view, b.view());
    assert_eq!(
        (view.check_ins.len(), view.out_of_place),
        (1, 1),
        "a leg after the end is kept and counted"
    );
}
