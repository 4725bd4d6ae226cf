//! Any change at the gate: counted before it is decoded, refused or admitted, and merged like any other.

use std::cell::RefCell;

use gridbeat_base::DeviceId;
use gridbeat_document::{Author, Document, Incoming, Rule, Side, Verdict, View, gate};

use crate::input::Input;
use crate::scene::{HOSTILE, Scene, edit, nobody, sealed, step};

thread_local! {
    static SCENE: Scene = Scene::new();
    /// The scene's document, kept while nothing gets into it.
    static KEPT: RefCell<Option<Document>> = const { RefCell::new(None) };
}

/// Compares the gate's count of operations with what Automerge decodes: never less, or a bomb passes.
pub(crate) fn count(bytes: &[u8]) {
    let mut input = Input::new(bytes);
    let change = if input.byte() == 0 {
        input.rest.to_vec()
    } else {
        sealed(input.rest)
    };
    if let Some(counts) = gate::counts(&change) {
        assert!(counts.decoded <= counts.rows, "{counts:?}");
        assert!(counts.decoded_replaced <= counts.replaced, "{counts:?}");
    }
}

/// Offers a change to a relay and to a device: whatever it is, the document stays whole.
pub(crate) fn refuse_or_admit(bytes: &[u8]) {
    SCENE.with(|scene| {
        let change = scene.change(&mut Input::new(bytes));
        let relays = judge(scene, &change, Side::Device);
        // A relay asks all that a device asks, and more; so where it refuses for a reason that a device shares, the
        // device is asked only now and then, by a byte of the checksum.
        let decided = match &relays {
            Verdict::Admitted(_) => false,
            Verdict::Known(_) | Verdict::Incomplete { .. } => true,
            Verdict::Refused { rule, .. } => !matches!(rule, Rule::Kind(_) | Rule::DocumentFull),
        };
        if !decided || change.get(4).is_some_and(|byte| byte % 64 == 0) {
            let devices = judge(scene, &change, Side::Relay);
            assert!(!decided || devices == relays, "{relays:?} {devices:?}");
        }
    });
}

/// Offers a change, and checks what it leaves behind.
fn judge(scene: &Scene, change: &[u8], side: Side) -> Verdict {
    let mut document = kept(scene);
    let heads = document.heads();
    let verdict = offer(&mut document, change, HOSTILE, side);
    if matches!(verdict, Verdict::Admitted(_)) {
        check_whole(scene, &document);
    } else {
        assert_eq!(document.heads(), heads);
        keep(document);
    }
    verdict
}

/// Merges what the gate admits with an honest change of the same time, in both orders.
pub(crate) fn merge(bytes: &[u8]) {
    SCENE.with(|scene| {
        let change = scene.change(&mut Input::new(bytes));
        let mut first = kept(scene);
        let Verdict::Admitted(_) = offer(&mut first, &change, HOSTILE, Side::Relay) else {
            keep(first);
            return;
        };
        let honest = &scene.honest;
        let admitted = Verdict::Admitted(honest.clone());
        assert_eq!(offer(&mut first, &honest.bytes, 3, Side::Relay), admitted);
        let mut second = scene.document.clone();
        assert_eq!(offer(&mut second, &honest.bytes, 3, Side::Relay), admitted);
        let later = offer(&mut second, &change, HOSTILE, Side::Relay);
        assert!(matches!(later, Verdict::Admitted(_)), "{later:?}");
        assert_eq!(first.heads(), second.heads());
        assert_eq!(view(&first), view(&second));
        check_whole(scene, &first);
        check_whole(scene, &second);
        // An honest device goes on from there, and the others take it.
        let next = edit(&mut first, 4, 9, &step("结案前复查"));
        let verdict = offer(&mut second, &next.bytes, 4, Side::Relay);
        assert_eq!(verdict, Verdict::Admitted(next));
        assert_eq!(view(&first), view(&second));
    });
}

/// Takes the document that the last input left as it was, or a copy of the scene's.
fn kept(scene: &Scene) -> Document {
    let kept = KEPT.with(|kept| kept.borrow_mut().take());
    kept.unwrap_or_else(|| scene.document.clone())
}

fn keep(document: Document) {
    KEPT.with(|kept| *kept.borrow_mut() = Some(document));
}

fn offer(document: &mut Document, bytes: &[u8], author: u8, side: Side) -> Verdict {
    let incoming = [Incoming {
        bytes,
        author: Author::decided(DeviceId::from_bytes([author; 16])),
        received: None,
    }];
    gate::admit(document, &incoming, side, &nobody).remove(0)
}

/// Checks that a document comes back from its save and from its log, and can be shown.
fn check_whole(scene: &Scene, document: &Document) {
    let version = scene.kind.schema_version();
    let loaded = Document::load(&scene.kind, version, &document.save()).expect("a save loads");
    assert_eq!(loaded.heads(), document.heads());
    assert_eq!(view(&loaded), view(document));
    scene.kind.project(&view(document));
}

fn view(document: &Document) -> View {
    document.view(&nobody)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_first_inputs_get_through_the_gate_however_they_are_spelled() {
        let scene = Scene::new();
        for change in &scene.others {
            for input in scene.inputs(&change.bytes) {
                let bytes = scene.change(&mut Input::new(&input));
                assert_eq!(bytes, change.bytes);
                let verdict = offer(&mut scene.document.clone(), &bytes, HOSTILE, Side::Relay);
                assert_eq!(verdict, Verdict::Admitted(change.clone()));
                merge(&input);
            }
        }
    }

    #[test]
    fn what_honest_edits_name_is_counted_exactly() {
        let scene = Scene::new();
        for change in scene.others.iter().chain([&scene.honest]) {
            let counts = gate::counts(&change.bytes);
            assert!(
                counts
                    .is_some_and(|it| it.rows == it.decoded && it.replaced == it.decoded_replaced),
                "{counts:?}"
            );
        }
    }
}
