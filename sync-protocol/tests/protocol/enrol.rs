//! Enrolment on the wire and invitations as text: what was once made stays readable, whatever a stranger
//! sends is answered in words, and a slip of the pen is told from another relay.

use gridbeat_base::{DeviceId, Install, WallTime};
use gridbeat_sync_protocol::limits::{
    CERTIFICATE_BYTES_MAX, DEVICE_NAME_BYTES_MAX, ENROL_REQUEST_BYTES_MAX, INVITATION_BYTES_MAX,
    INVITATION_NAMES_BYTES_MAX,
};
use gridbeat_sync_protocol::{
    DecodeError, EnrolAnswer, EnrolCode, EnrolRefusal, EnrolRequest, Fingerprint, Invitation,
    InvitationError, Issued, Pin, Redeem, Signer,
};
use proptest::prelude::*;

use crate::golden::{assert_known_fate, bytes, fate_of_mutants, mutants, read, said};
use crate::meaning;

/// An invitation as it was printed once; the one of [`invitation`].
const TEXT: &str = "GRIDBEAT:QUAXM4TFNRQXSLTFPBQW24DMMUXG64THHI2DONBXNZZGK3DBPEXGO4TJMRRGKYLULBAE2TD65YXCRUB4WLN7HX3DTQZ\
    JBLPGNYMHKXUDZKW6FWHTPPMMARGGYHE2TSCUH4PEZWMAAZGPCYS65NQ2SBYDWJDE77YDT4QWQJIIWNIHUGP3FUEZVFKX67AQYLX3XCYQCWFXHR5A";

fn signer() -> Signer {
    Signer::from_seed(&bytes(3))
}

fn redeem() -> EnrolRequest {
    let code = EnrolCode::from_bytes(bytes(1));
    let install = Install::new(bytes(2));
    let redeem = Redeem::new(code, &signer(), install, "华为 P40");
    EnrolRequest::Redeem(Box::new(redeem))
}

fn issued() -> EnrolAnswer {
    EnrolAnswer::Issued(Issued {
        device: DeviceId::from_bytes(bytes(4)),
        server_name: "relay.gridbeat".to_owned(),
        pins: vec![vec![1, 2, 3], vec![4, 5]],
        certificates: vec![vec![6, 7, 8, 9]],
        issued: WallTime(1_790_000_000_000),
        renew_after: WallTime(1_790_604_800_000),
        not_after: WallTime(1_791_814_400_000),
    })
}

fn requests() -> Vec<(&'static str, EnrolRequest)> {
    vec![
        ("enrol-redeem", redeem()),
        ("enrol-renew", EnrolRequest::Renew),
    ]
}

fn answers() -> Vec<(&'static str, EnrolAnswer)> {
    let waiting = EnrolAnswer::Waiting {
        fingerprint: Fingerprint::of(&signer().public_key()),
        retry_after_s: 2,
    };
    let refused = |refusal: EnrolRefusal, retry_after_s| EnrolAnswer::Refused {
        reason: refusal.reason(),
        retry_after_s,
    };
    vec![
        ("enrol-waiting", waiting),
        ("enrol-issued", issued()),
        (
            "enrol-refused",
            refused(EnrolRefusal::TooManyAttempts, Some(900)),
        ),
        (
            "enrol-refused-for-good",
            refused(EnrolRefusal::CodeNotGood, None),
        ),
    ]
}

pub(crate) fn vector_names() -> Vec<&'static str> {
    let requests = requests().into_iter().map(|(name, _)| name);
    requests
        .chain(answers().into_iter().map(|(name, _)| name))
        .collect()
}

fn invitation() -> Invitation {
    let pins = [Pin::of(b"present"), Pin::of(b"next")];
    let code = EnrolCode::from_bytes(bytes(5));
    Invitation::new("relay.example.org:4747", "relay.gridbeat", &pins, code).unwrap()
}

#[test]
fn golden_messages_are_read_and_made_as_ever() {
    for (name, request) in requests() {
        assert_eq!(request.encode(), read(name), "{name}");
        assert_eq!(meaning::of_request(&request), said(name), "{name}");
        assert_eq!(EnrolRequest::decode(&read(name)), Ok(request), "{name}");
    }
    for (name, answer) in answers() {
        assert_eq!(answer.encode(), read(name), "{name}");
        assert_eq!(meaning::of_answer(&answer), said(name), "{name}");
        assert_eq!(EnrolAnswer::decode(&read(name)), Ok(answer), "{name}");
    }
}

#[test]
fn mutants_of_golden_messages_are_read_and_refused_as_the_document_says() {
    for (name, _) in requests() {
        let meaning = |bytes: &[u8]| {
            EnrolRequest::decode(bytes)
                .ok()
                .map(|it| meaning::of_request(&it))
        };
        assert_known_fate(&fate_of_mutants(name, meaning));
    }
    for (name, _) in answers() {
        let meaning = |bytes: &[u8]| {
            EnrolAnswer::decode(bytes)
                .ok()
                .map(|it| meaning::of_answer(&it))
        };
        assert_known_fate(&fate_of_mutants(name, meaning));
    }
}

#[test]
fn no_change_of_one_byte_in_a_golden_message_does_harm() {
    for name in vector_names() {
        let bytes = read(name);
        for mutant in mutants(&bytes) {
            if let Ok(request) = EnrolRequest::decode(&mutant) {
                assert_eq!(EnrolRequest::decode(&request.encode()), Ok(request));
            }
            if let Ok(answer) = EnrolAnswer::decode(&mutant) {
                assert_eq!(EnrolAnswer::decode(&answer.encode()), Ok(answer));
            }
        }
        for place in 0..bytes.len() {
            assert!(EnrolRequest::decode(&bytes[..place]).is_err());
            assert!(EnrolAnswer::decode(&bytes[..place]).is_err());
        }
    }
}

#[test]
fn a_request_is_proven_by_its_key_and_only_as_it_was_made() {
    let EnrolRequest::Redeem(made) = redeem() else {
        panic!("a request to be enrolled")
    };
    assert!(made.is_proven());
    let others = [
        Redeem {
            code: EnrolCode::from_bytes([0; 16]),
            ..(*made).clone()
        },
        Redeem {
            install: Install::new([0; 16]),
            ..(*made).clone()
        },
        Redeem {
            name: "another".to_owned(),
            ..(*made).clone()
        },
    ];
    for other in others {
        assert!(!other.is_proven(), "{other:?}");
    }
    let mut of_another_key = *made;
    of_another_key.request.key = Signer::from_seed(&[9; 32]).public_key();
    assert!(!of_another_key.is_proven());
}

#[test]
fn a_later_version_may_add_to_a_message_and_not_change_its_kind() {
    assert_eq!(
        EnrolRequest::decode(&[0x82, 1, 7]),
        Ok(EnrolRequest::Renew),
        "elements behind the known ones are skipped"
    );
    let unknown = Err(DecodeError::UnknownFrame { kind: 7 });
    assert_eq!(EnrolRequest::decode(&[0x81, 7]), unknown);
    assert!(EnrolAnswer::decode(&[0x81, 7]).is_err());
    let mut other_suite = redeem().encode();
    let at = 1 + 1 + 17 + 1;
    assert_eq!(other_suite[at], 1);
    other_suite[at] = 2;
    assert_eq!(
        EnrolRequest::decode(&other_suite),
        Err(DecodeError::UnknownSuite { suite: 2 })
    );
}

#[test]
fn what_is_too_long_is_refused_or_cut_where_it_is_made() {
    let long = vec![0; ENROL_REQUEST_BYTES_MAX + 1];
    assert!(matches!(
        EnrolRequest::decode(&long),
        Err(DecodeError::FrameTooLarge { .. })
    ));
    let name = "设备\n".repeat(40);
    let code = EnrolCode::from_bytes(bytes(1));
    let request = Redeem::new(code, &signer(), Install::new(bytes(2)), &name);
    assert!(request.name.len() <= DEVICE_NAME_BYTES_MAX);
    assert!(request.is_proven());
    let encoded = EnrolRequest::Redeem(Box::new(request.clone())).encode();
    assert_eq!(
        EnrolRequest::decode(&encoded),
        Ok(EnrolRequest::Redeem(Box::new(request)))
    );
    let EnrolAnswer::Issued(mut issued) = issued() else {
        panic!("a lease")
    };
    issued.certificates = vec![vec![0; CERTIFICATE_BYTES_MAX + 1]];
    assert!(EnrolAnswer::decode(&EnrolAnswer::Issued(issued.clone()).encode()).is_err());
    issued.certificates = vec![];
    assert!(EnrolAnswer::decode(&EnrolAnswer::Issued(issued).encode()).is_err());
}

#[test]
fn a_fingerprint_has_six_digits_that_people_can_write_as_they_like() {
    let fingerprint = Fingerprint::of(&signer().public_key());
    let shown = fingerprint.to_string();
    assert_eq!(shown, "305 739");
    for text in [
        shown.clone(),
        shown.replace(' ', ""),
        shown.replace(' ', "-"),
    ] {
        assert_eq!(text.parse(), Ok(fingerprint), "{text}");
    }
    for text in ["", "12345", "1234567", "12 34 5x", "+12345"] {
        assert!(text.parse::<Fingerprint>().is_err(), "{text}");
    }
    assert_ne!(
        fingerprint,
        Fingerprint::of(&Signer::from_seed(&[9; 32]).public_key())
    );
}

#[test]
fn every_refusal_is_known_by_its_code_and_says_something_in_both_languages() {
    for refusal in EnrolRefusal::ALL {
        let reason = refusal.reason();
        assert_eq!(EnrolRefusal::of(&reason), Some(refusal));
        assert!(!reason.en.is_empty() && !reason.zh.is_empty());
    }
}

#[test]
fn an_invitation_printed_once_is_read_ever_after() {
    assert_eq!(invitation().to_text(), TEXT);
    for text in [
        TEXT.to_owned(),
        TEXT.to_lowercase(),
        format!("  {}\r\n{}\n", &TEXT[..80], &TEXT[80..]),
    ] {
        let read: Invitation = text.parse().unwrap();
        assert_eq!(read, invitation());
    }
    let read: Invitation = TEXT.parse().unwrap();
    assert!(read.trusts(b"present") && read.trusts(b"next") && !read.trusts(b"other"));
}

#[test]
fn the_longest_invitation_fits() {
    let pins = [Pin::of(b"present"), Pin::of(b"next")];
    let code = EnrolCode::from_bytes([0xff; 16]);
    let host = "h".repeat(INVITATION_NAMES_BYTES_MAX - 20 - 6);
    let (relay, name) = (format!("{host}:47474"), "n".repeat(20));
    let longest = Invitation::new(&relay, &name, &pins, code).unwrap();
    let text = longest.to_text();
    assert!(text.len() <= INVITATION_BYTES_MAX, "{}", text.len());
    assert_eq!(text.parse(), Ok(longest));
    let error = Invitation::new(&format!("h{relay}"), &name, &pins, code).unwrap_err();
    assert!(
        error
            .to_string()
            .contains("89 characters together, and 88 fit"),
        "{error}"
    );
}

#[test]
fn a_text_that_is_no_invitation_is_told_so_in_words() {
    let check = |text: &str, expected: InvitationError| {
        assert_eq!(text.parse::<Invitation>(), Err(expected), "{text}");
    };
    check("", InvitationError::NotAnInvitation);
    check(
        "https://example.org/enrol",
        InvitationError::NotAnInvitation,
    );
    check("GRIDBEAT:", InvitationError::Damaged);
    check(&TEXT[..TEXT.len() - 1], InvitationError::Damaged);
    check(&format!("{TEXT}A"), InvitationError::Damaged);
    check(&TEXT.replace('Q', "8"), InvitationError::Damaged);
    let long = "A".repeat(INVITATION_BYTES_MAX);
    check(
        &format!("GRIDBEAT:{long}"),
        InvitationError::TooLong { bytes: 309 },
    );
}

#[test]
fn any_single_slip_in_an_invitation_is_noticed() {
    for (place, right) in TEXT.char_indices().skip(9) {
        for wrong in "AQ27".chars().filter(|wrong| *wrong != right) {
            let mut text = TEXT.to_owned();
            text.replace_range(place..=place, &wrong.to_string());
            assert!(text.parse::<Invitation>().is_err(), "{place}");
        }
    }
}

#[test]
fn addresses_and_names_that_cannot_be_are_refused_where_they_are_given() {
    let pins = [Pin::of(b"present")];
    let code = EnrolCode::from_bytes([1; 16]);
    let make = |relay: &str, name: &str| Invitation::new(relay, name, &pins, code);
    for good in ["relay:1", "10.0.0.1:4747", "[2001:db8::1]:4747"] {
        assert!(make(good, "relay.gridbeat").is_ok(), "{good}");
    }
    for bad in [
        "relay",
        "relay:",
        "relay:0",
        "relay:70000",
        ":4747",
        "re lay:1",
        "2001:db8::1:4747",
        "relay:+1",
    ] {
        assert_eq!(
            make(bad, "relay.gridbeat"),
            Err(InvitationError::Relay),
            "{bad}"
        );
    }
    for bad in ["", "two words", "中继"] {
        assert_eq!(
            make("relay:1", bad),
            Err(InvitationError::ServerName),
            "{bad}"
        );
    }
    let error = Invitation::new("relay:1", "relay", &[], code).unwrap_err();
    assert_eq!(error, InvitationError::Pins { count: 0 });
}

#[test]
fn neither_a_code_nor_an_invitation_prints_its_secret() {
    let shown = format!("{:?} {:?}", invitation(), redeem());
    let secret = format!("{:?}", bytes::<16>(5));
    assert!(!shown.contains(&secret[1..secret.len() - 1]), "{shown}");
    assert!(shown.contains("EnrolCode(…)"));
}

proptest! {
    #[test]
    fn whatever_a_stranger_sends_is_read_or_refused(bytes in proptest::collection::vec(any::<u8>(), 0..600)) {
        if let Ok(request) = EnrolRequest::decode(&bytes) {
            prop_assert_eq!(EnrolRequest::decode(&request.encode()), Ok(request));
        }
        if let Ok(answer) = EnrolAnswer::decode(&bytes) {
            prop_assert_eq!(EnrolAnswer::decode(&answer.encode()), Ok(answer));
        }
    }

    #[test]
    fn any_text_is_an_invitation_or_none(text in "(?i)(gridbeat:)?[a-z2-7 ]{0,300}") {
        if let Ok(invitation) = text.parse::<Invitation>() {
            prop_assert_eq!(invitation.to_text().parse(), Ok(invitation));
        }
    }

    #[test]
    fn what_is_written_is_read(code in any::<[u8; 16]>(), host in "[a-z0-9.-]{1,60}", port in 1..u16::MAX) {
        let code = EnrolCode::from_bytes(code);
        let pins = [Pin::of(b"root")];
        let made = Invitation::new(&format!("{host}:{port}"), "relay.gridbeat", &pins, code).unwrap();
        prop_assert_eq!(made.to_text().parse(), Ok(made));
    }
}
