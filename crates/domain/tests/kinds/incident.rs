//! Incidents: merging, folding, marking, refusing.

use gridbeat_base::{BlobHash, Position, Verb, Verbs};
use gridbeat_document::gate::Verdict;
use gridbeat_document::{Change, EditError, IntentError};
use gridbeat_domain::{
    Catalogue, Category, CategoryKind, IncidentIntent, IncidentKind, IncidentView, PhotoRole,
    Severity, State, Step,
};
use proptest::prelude::*;

use crate::replica::Replica;

fn category(code: &str) -> Category {
    Catalogue::national()
        .find(CategoryKind::Matter, code)
        .unwrap()
        .clone()
}

fn report() -> IncidentIntent {
    IncidentIntent::Report {
        category: category("06010"),
        description: "路口有一堆暴露垃圾".into(),
        address: "招宝山街道胜利路12号".into(),
        position: Some(Position::from_degrees(29.95, 121.71).unwrap()),
        severity: Severity::Ordinary,
        by: "王芳".into(),
        gps: None,
    }
}

fn step(step: Step) -> IncidentIntent {
    IncidentIntent::Step {
        step,
        note: String::new(),
        unit: None,
        by: "李强".into(),
        gps: None,
    }
}

/// Two replicas that hold the same reported incident.
fn two() -> (Replica, Replica) {
    let (mut a, mut b) = (Replica::new(IncidentKind, 1), Replica::new(IncidentKind, 2));
    let change = a.edit(0, &report()).unwrap();
    let verdict = b.take(&change, a.device(), None);
    assert!(matches!(verdict, Verdict::Admitted(_)), "{verdict:?}");
    (a, b)
}

fn exchange(a: &mut Replica, from_a: &[Change], b: &mut Replica, from_b: &[Change]) {
    for change in from_a {
        assert!(matches!(
            b.take(change, a.device(), None),
            Verdict::Admitted(_)
        ));
    }
    for change in from_b {
        assert!(matches!(
            a.take(change, b.device(), None),
            Verdict::Admitted(_)
        ));
    }
}

#[test]
fn a_report_is_found_by_its_words_place_and_category() {
    let (a, b) = two();
    let row = b.project();
    assert_eq!(row, a.project());
    assert_eq!((row.status.as_str(), row.is_open), ("reported", true));
    assert_eq!(row.category, "matter/06010");
    assert!(row.text.contains("暴露垃圾") && row.text.contains("Exposed litter"));
    assert_eq!(
        row.position,
        Some(Position::from_degrees(29.95, 121.71).unwrap())
    );
    assert_eq!(row.attention, 0);
}

#[test]
fn two_who_take_one_step_at_once_are_both_kept_and_marked() {
    let (mut a, mut b) = two();
    let from_a = [a.edit(60, &step(Step::Accept)).unwrap()];
    let from_b = [b.edit(61, &step(Step::Accept)).unwrap()];
    exchange(&mut a, &from_a, &mut b, &from_b);
    let view: IncidentView = a.view();
    assert_eq!(view, b.view());
    assert_eq!(view.state, State::Accepted);
    let marks: Vec<bool> = view.steps.iter().map(|step| step.legal).collect();
    assert_eq!(
        marks,
        [true, true, false],
        "report, first accept, second accept"
    );
    assert_eq!(a.project().attention, 1);
}

#[test]
fn concurrent_values_are_all_kept_with_author_until_settled() {
    let (mut a, mut b) = two();
    let from_a = [a
        .edit(
            60,
            &IncidentIntent::Recategorise {
                category: category("06012"),
            },
        )
        .unwrap()];
    let from_b = [b
        .edit(
            61,
            &IncidentIntent::Recategorise {
                category: category("06036"),
            },
        )
        .unwrap()];
    exchange(&mut a, &from_a, &mut b, &from_b);
    let view: IncidentView = a.view();
    let [conflict] = view.conflicts.as_slice() else {
        panic!("{:?}", view.conflicts)
    };
    assert_eq!(conflict.field, "category");
    let devices: Vec<_> = conflict.values.iter().map(|value| value.device).collect();
    assert!(devices.contains(&Some(a.device())) && devices.contains(&Some(b.device())));
    assert_eq!(
        conflict.values[0].value["code"],
        view.category.unwrap().code.as_str()
    );

    let settled = a
        .edit(
            90,
            &IncidentIntent::Recategorise {
                category: category("06036"),
            },
        )
        .unwrap();
    b.take(&settled, a.device(), None);
    assert_eq!(b.view::<IncidentView>().conflicts, []);
    assert_eq!(b.view::<IncidentView>().category.unwrap().code, "06036");
}

#[test]
fn two_who_chose_the_same_are_not_in_conflict() {
    let (mut a, mut b) = two();
    let from_a = [a
        .edit(
            60,
            &IncidentIntent::Rate {
                severity: Severity::Urgent,
            },
        )
        .unwrap()];
    let from_b = [b
        .edit(
            61,
            &IncidentIntent::Rate {
                severity: Severity::Urgent,
            },
        )
        .unwrap()];
    exchange(&mut a, &from_a, &mut b, &from_b);
    assert_eq!(a.project().attention, 0);
}

#[test]
fn concurrent_texts_merge_letter_by_letter() {
    let (mut a, mut b) = two();
    let text = a.view::<IncidentView>().description;
    let from_a = [a
        .edit(
            60,
            &IncidentIntent::Describe {
                description: format!("急！{text}"),
            },
        )
        .unwrap()];
    let from_b = [b
        .edit(
            61,
            &IncidentIntent::Describe {
                description: format!("{text}，约两立方"),
            },
        )
        .unwrap()];
    exchange(&mut a, &from_a, &mut b, &from_b);
    assert_eq!(
        a.view::<IncidentView>().description,
        format!("急！{text}，约两立方")
    );
}

#[test]
fn a_clock_that_runs_ahead_does_not_win() {
    let (mut a, mut b) = two();
    // b's clock is a day ahead; the relay receives its step before a's.
    let ahead = b.edit(86_400, &step(Step::Decline)).unwrap();
    let honest = a.edit(3_600, &step(Step::Accept)).unwrap();
    a.take(&ahead, b.device(), Some(60));
    b.take(&honest, a.device(), Some(3_601));
    let view: IncidentView = a.view();
    assert_eq!(
        view.state,
        State::NotAccepted,
        "received first, so ordered at its receipt"
    );
    assert!(
        !view
            .steps
            .iter()
            .find(|s| s.step == Step::Accept)
            .unwrap()
            .legal
    );
}

#[test]
fn a_step_out_of_place_is_refused_where_it_is_made() {
    let (mut a, _) = two();
    let error = a.edit(60, &step(Step::Close)).unwrap_err();
    assert!(
        matches!(
            error,
            EditError::Intent(IntentError::NotAllowed {
                rule: "step_not_allowed",
                ..
            })
        ),
        "{error:?}"
    );
    assert!(
        a.edit(61, &report()).is_err(),
        "an incident is reported once"
    );
    let unreadable = a.edit(62, &serde_json::json!({"do": "dance"})).unwrap_err();
    let EditError::Intent(IntentError::Unreadable { reason }) = unreadable else {
        panic!("{unreadable:?}");
    };
    // What it says is a person's, and is not repeated.
    assert_eq!(reason, "not what this kind takes at line 1, column 13");
}

#[test]
fn photos_are_added_by_hash_and_survive_a_merge() {
    let (mut a, mut b) = two();
    let photo = |byte, role| IncidentIntent::AddPhoto {
        hash: BlobHash::new([byte; 32]),
        role,
        position: None,
        preview: None,
        thumbnail: None,
    };
    let from_a = [a.edit(60, &photo(1, PhotoRole::Near)).unwrap()];
    let from_b = [b.edit(61, &photo(2, PhotoRole::Far)).unwrap()];
    exchange(&mut a, &from_a, &mut b, &from_b);
    let roles: Vec<_> = a
        .view::<IncidentView>()
        .photos
        .iter()
        .map(|photo| photo.role)
        .collect();
    assert_eq!(roles, [PhotoRole::Near, PhotoRole::Far]);
}

#[test]
fn a_device_cannot_write_a_fact_in_the_name_of_another() {
    let (mut a, b) = two();
    let mut c = Replica::new(IncidentKind, 3);
    let report = two().0.first();
    assert!(matches!(
        c.take(&report, a.device(), None),
        Verdict::Admitted(_)
    ));
    let change = c.edit(60, &step(Step::Accept)).unwrap();
    let verdict = a.take(&change, b.device(), None);
    let Verdict::Refused { rule, .. } = verdict else {
        panic!("{verdict:?}")
    };
    assert_eq!(rule.code(), "fact_of_another");
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(48))]

    /// Any two officers' steps, taken offline in any order, read the same on both sides, and none is lost.
    #[test]
    fn any_interleaving_of_steps_folds_to_one_state(
        choices in prop::collection::vec((any::<bool>(), 0usize..8, 1i64..600), 0..12),
    ) {
        let (mut a, mut b) = two();
        let (mut from_a, mut from_b) = (Vec::new(), Vec::new());
        for (is_a, choice, second) in choices {
            let (replica, sent) = if is_a { (&mut a, &mut from_a) } else { (&mut b, &mut from_b) };
            let state = replica.view::<IncidentView>().state;
            let steps: Vec<Step> = state.steps().collect();
            sent.push(replica.edit(second, &step(steps[choice % steps.len()])).unwrap());
        }
        exchange(&mut a, &from_a, &mut b, &from_b);
        prop_assert_eq!(a.project(), b.project());
        let view: IncidentView = a.view();
        prop_assert_eq!(view.steps.len(), 1 + from_a.len() + from_b.len());
        let mut state = State::Draft;
        for step in &view.steps {
            prop_assert_eq!(step.legal, state.after(step.step).is_some());
            state = state.after(step.step).unwrap_or(state);
            prop_assert_eq!(step.state, state);
        }
        prop_assert_eq!(view.state, state);
    }
}

#[test]
fn the_longest_texts_are_filed_rewritten_whole_and_merged() {
    let filed = |letter: &str, count| letter.repeat(count);
    let mut a = Replica::new(IncidentKind, 1);
    let IncidentIntent::Report { category, by, .. } = report() else {
        unreachable!("that is what it is")
    };
    let longest = IncidentIntent::Report {
        category,
        description: filed("井", 900),
        address: filed("路", 200),
        position: None,
        severity: Severity::Ordinary,
        by,
        gps: None,
    };
    let change = a.edit(0, &longest).unwrap();
    let mut b = Replica::new(IncidentKind, 2);
    b.take(&change, a.device(), None);
    let describe = |letter| IncidentIntent::Describe {
        description: filed(letter, 900),
    };
    let ours = a.edit(1, &describe("盖")).unwrap();
    let theirs = b.edit(1, &describe("灯")).unwrap();
    exchange(&mut a, &[ours], &mut b, &[theirs]);
    let merged = a.view::<IncidentView>().description;
    assert_eq!(merged, b.view::<IncidentView>().description);
    assert_eq!(merged.matches('盖').count(), 900);
    assert_eq!(merged.matches('灯').count(), 900);

    let too_long = IncidentIntent::Describe {
        description: filed("盖", 901),
    };
    match a.edit(2, &too_long) {
        Err(EditError::Intent(IntentError::NotAllowed { rule, words })) => {
            assert_eq!(rule, "description_too_long");
            assert!(words.en.contains("note") && words.zh.contains("备注"));
        }
        other => panic!("{other:?}"),
    }
}

#[test]
fn each_thing_done_to_an_incident_takes_its_verb() {
    let mut incident = Replica::new(IncidentKind, 1);
    let only = |verb| Verbs::of(&[verb]);
    assert_eq!(incident.took(0, &report()), only(Verb::Report));
    let describe = IncidentIntent::Describe {
        description: "已扩大".into(),
    };
    assert_eq!(incident.took(1, &describe), only(Verb::Edit));
    let rate = IncidentIntent::Rate {
        severity: Severity::Urgent,
    };
    assert_eq!(incident.took(2, &rate), only(Verb::Edit));
    let photo = IncidentIntent::AddPhoto {
        hash: BlobHash::from_bytes([1; 32]),
        role: PhotoRole::Near,
        position: None,
        preview: None,
        thumbnail: None,
    };
    assert_eq!(incident.took(3, &photo), only(Verb::Edit));
    let steps = [
        (Step::Note, Verb::Edit),
        (Step::SendVerification, Verb::Dispatch),
        (Step::Verify, Verb::Check),
        (Step::Accept, Verb::Dispatch),
        (Step::File, Verb::Close),
        (Step::Dispatch, Verb::Dispatch),
        (Step::StartHandling, Verb::Edit),
        (Step::Handle, Verb::Edit),
        (Step::Feedback, Verb::Edit),
        (Step::SendCheck, Verb::Dispatch),
        (Step::PassCheck, Verb::Check),
        (Step::Close, Verb::Close),
    ];
    for (second, (taken, verb)) in (4..).zip(steps) {
        assert_eq!(incident.took(second, &step(taken)), only(verb), "{taken:?}");
    }
}
