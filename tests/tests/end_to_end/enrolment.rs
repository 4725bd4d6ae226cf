//! From a code to a device that syncs, and a certificate that never runs out on whoever calls now and then.

use std::path::Path;
use std::time::Duration;

use gridbeat_base::{Install, Verbs, WallTime};
use gridbeat_device::{
    Config, Device, DeviceBundle, EnrolError, EnrolNews, EnrolStep, Enrolment, Invitation,
    LinkNews, LinkPolicy, SyncProblem, SyncState,
};
use gridbeat_domain::kinds;
use gridbeat_relay::{Approval, Authority, Granted, InvitationRow, Invite, Operator};
use gridbeat_relay_store::INVITATION_LIFETIME;
use gridbeat_sync_protocol::{EnrolCode, Fingerprint};
use tempfile::TempDir;

use super::world::{PATIENCE, RelayAtHome, aged, in_sync, now, save, scope, state, within};

const DAY: Duration = Duration::from_secs(24 * 60 * 60);
const INSTALL: Install = Install::from_bytes([3; 16]);

fn invite(relay: &RelayAtHome, auto_approve: bool) -> Invite {
    Invite {
        name: "王警官".to_owned(),
        grants: [(scope(), Granted::from(Verbs::WORK))].into(),
        relay: relay.addr().to_string(),
        auto_approve,
    }
}

async fn invited(relay: &RelayAtHome, auto_approve: bool) -> (Invitation, InvitationRow) {
    let invite = invite(relay, auto_approve);
    relay.handle().invite(invite).await.unwrap()
}

fn begin(dir: &TempDir, invitation: &Invitation) -> Enrolment {
    let bundle = dir.path().join("bundle.json");
    Enrolment::begin(invitation.clone(), &bundle, INSTALL, "平板").unwrap()
}

async fn ask(enrolment: &Enrolment) -> Result<EnrolStep, EnrolError> {
    within("an answer", enrolment.ask()).await
}

/// Asks, and expects to be waiting for the operator.
async fn waits(enrolment: &Enrolment) -> Fingerprint {
    match ask(enrolment).await {
        Ok(EnrolStep::Again {
            news: EnrolNews::Waiting(fingerprint),
            ..
        }) => fingerprint,
        other => panic!("not waiting but {other:?}"),
    }
}

/// Asks, and expects to be refused; returns the reason's code.
async fn refused(enrolment: &Enrolment) -> String {
    let words = match ask(enrolment).await {
        Err(error @ EnrolError::Refused { .. }) => error.words(),
        other => panic!("not refused but {other:?}"),
    };
    assert!(!words.en.is_empty() && !words.zh.is_empty(), "{words:?}");
    words.code
}

async fn enrolled(dir: &TempDir, relay: &RelayAtHome) -> DeviceBundle {
    let (invitation, _) = invited(relay, true).await;
    let enrolment = begin(dir, &invitation);
    within("the bundle", enrolment.finish(drop)).await.unwrap()
}

fn config(dir: &TempDir, bundle: DeviceBundle) -> Config {
    let mut config = Config::new(dir.path().join("device.db"), bundle, INSTALL, kinds());
    config.bundle_file = Some(dir.path().join("bundle.json"));
    config
}

/// Waits until the device tells that its certificate was renewed.
async fn renewed(news: &mut tokio::sync::broadcast::Receiver<LinkNews>) -> WallTime {
    let heard = async {
        loop {
            if let LinkNews::Renewed { until } = news.recv().await.unwrap() {
                return until;
            }
        }
    };
    within("a renewal", heard).await
}

fn kept(dir: &Path) -> DeviceBundle {
    DeviceBundle::read(&dir.join("bundle.json")).unwrap()
}

#[tokio::test]
async fn a_device_is_let_in_by_its_code_and_the_operators_look_at_its_digits() {
    let dir = tempfile::tempdir().unwrap();
    let relay = RelayAtHome::start().await;
    let (invitation, row) = invited(&relay, false).await;
    let enrolment = begin(&dir, &invitation);
    let shown = waits(&enrolment).await;
    assert_eq!(shown, enrolment.fingerprint());

    // The operator sees the same digits, and lets nobody in by others.
    let operator = Operator::open(&relay.config()).unwrap();
    let listed = operator.invitations(1).unwrap().remove(0);
    let request = listed.request.unwrap();
    assert_eq!(
        (request.fingerprint(), request.said.as_str()),
        (shown, "平板")
    );
    let approval = relay.handle().approve(row.id, Some(shown)).await.unwrap();
    let Approval::Approved(device) = approval else {
        panic!("{approval:?}")
    };
    let Ok(EnrolStep::Enrolled(bundle)) = ask(&enrolment).await else {
        panic!("approved, and not enrolled")
    };
    assert_eq!(bundle.device, device);
    assert!(!dir.path().join("bundle.json.enrolling").exists());

    let device = Device::open(config(&dir, kept(dir.path()))).await.unwrap();
    in_sync(&device).await;
    save(&device, "井盖缺失").await;
    in_sync(&device).await;
    assert_eq!(relay.handle().counters().await.unwrap().changes_accepted, 1);
}

#[tokio::test]
async fn a_code_is_good_once_and_in_time_and_others_are_told_the_same() {
    let relay = RelayAtHome::start().await;
    let dirs: Vec<_> = (0..4).map(|_| tempfile::tempdir().unwrap()).collect();

    let (spent, _) = invited(&relay, true).await;
    let first = within("the bundle", begin(&dirs[0], &spent).finish(drop)).await;
    first.unwrap();
    assert_eq!(refused(&begin(&dirs[1], &spent)).await, "code_not_good");

    let authority = Authority::open(&relay.config().authority()).unwrap();
    let by = |code| {
        let (relay, name) = (relay.addr().to_string(), authority.server_name());
        Invitation::new(&relay, name, &authority.pins(), code).unwrap()
    };
    let guess = by(EnrolCode::from_bytes([7; 16]));
    assert_eq!(refused(&begin(&dirs[2], &guess)).await, "code_not_good");

    // One that was made so long ago that it has just ended.
    let code = EnrolCode::from_bytes([8; 16]);
    let lifetime = i64::try_from(INVITATION_LIFETIME.as_millis()).unwrap();
    let made = WallTime(now().millis() - lifetime);
    let grants = invite(&relay, true).grants;
    let mut store = relay.store();
    store.invite(code, "late", &grants, true, made).unwrap();
    assert_eq!(refused(&begin(&dirs[3], &by(code))).await, "code_not_good");
    assert!(!dirs[3].path().join("bundle.json").exists());
}

#[tokio::test]
async fn a_lost_answer_or_a_crash_of_either_side_costs_no_enrolment() {
    let dir = tempfile::tempdir().unwrap();
    let mut relay = RelayAtHome::start().await;
    let (invitation, row) = invited(&relay, false).await;
    let first = begin(&dir, &invitation);
    let shown = waits(&first).await;
    // The device dies, and is started again: the key is the same, and so the request.
    drop(first);
    let again = begin(&dir, &invitation);
    assert_eq!(waits(&again).await, shown);

    // The relay ends between the request and its answer, and is started again.
    relay.stop().await;
    relay.start_again().await;
    assert_eq!(waits(&again).await, shown);
    relay.handle().approve(row.id, Some(shown)).await.unwrap();
    let Ok(EnrolStep::Enrolled(lost)) = ask(&again).await else {
        panic!("approved, and not enrolled")
    };

    // The device dies before it has written what it got: it asks again and gets the same.
    let bundle = dir.path().join("bundle.json");
    std::fs::remove_file(&bundle).unwrap();
    let Ok(EnrolStep::Enrolled(same)) = ask(&again).await else {
        panic!("not enrolled again")
    };
    assert_eq!(same.certificates, lost.certificates);
    let there = Enrolment::begin(invitation, &bundle, INSTALL, "平板").unwrap_err();
    assert!(matches!(there, EnrolError::Enrolled { .. }), "{there}");
}

#[tokio::test]
async fn an_invited_device_tells_another_relay_nothing() {
    let dir = tempfile::tempdir().unwrap();
    let (ours, other) = (RelayAtHome::start().await, RelayAtHome::start().await);
    let authority = Authority::open(&ours.config().authority()).unwrap();
    let (there, _) = invited(&other, false).await;
    let (relay, name) = (other.addr().to_string(), authority.server_name());
    let astray = Invitation::new(&relay, name, &authority.pins(), there.code()).unwrap();
    let error = ask(&begin(&dir, &astray)).await.unwrap_err();
    assert!(matches!(error, EnrolError::OtherRelay), "{error}");
    let operator = Operator::open(&other.config()).unwrap();
    assert!(operator.invitations(1).unwrap()[0].request.is_none());
}

#[tokio::test]
async fn a_certificate_is_renewed_beside_the_session_once_a_third_of_its_time_is_over() {
    let dir = tempfile::tempdir().unwrap();
    let relay = RelayAtHome::start().await;
    let bundle = aged(&relay, &enrolled(&dir, &relay).await, DAY * 8);
    let device = Device::open(config(&dir, bundle.clone())).await.unwrap();
    let mut news = device.link_news();
    let until = renewed(&mut news).await;
    assert!(until > bundle.not_after);
    let renewed = kept(dir.path());
    assert_eq!(renewed.not_after, until);
    assert_eq!(renewed.device, bundle.device);
    assert_eq!(renewed.key, bundle.key, "the key stays");

    // The session goes on, and the next one begins with the other certificate.
    in_sync(&device).await;
    save(&device, "井盖缺失").await;
    in_sync(&device).await;
    assert_eq!(device.link_report().dials, 1);
    device.close().await;
    let device = Device::open(config(&dir, renewed)).await.unwrap();
    in_sync(&device).await;
}

#[tokio::test]
async fn an_expired_device_renews_first_and_then_hands_over_what_it_saved() {
    let dir = tempfile::tempdir().unwrap();
    let relay = RelayAtHome::start().await;
    let bundle = enrolled(&dir, &relay).await;
    // It learns its scope, and then works for weeks without the relay.
    let mut offline = config(&dir, bundle.clone());
    offline.link = LinkPolicy::OnRequest;
    let device = Device::open(offline).await.unwrap();
    assert!(device.sync_once(PATIENCE).await.is_in_sync);
    for number in 0..5 {
        save(&device, &format!("井盖缺失 {number}")).await;
    }
    device.close().await;

    let expired = aged(&relay, &bundle, DAY * 22);
    let device = Device::open(config(&dir, expired.clone())).await.unwrap();
    let mut news = device.link_news();
    renewed(&mut news).await;
    in_sync(&device).await;
    assert_eq!(device.outbox().await.unwrap().changes, 0);
    assert_eq!(relay.handle().counters().await.unwrap().changes_accepted, 5);
    device.close().await;

    // A clock that is behind does not know; then the relay says so, and it goes the same way.
    let behind = DeviceBundle {
        renew_after: now().plus(DAY),
        not_after: now().plus(DAY),
        ..aged(&relay, &bundle, DAY * 22)
    };
    let device = Device::open(config(&dir, behind)).await.unwrap();
    let mut news = device.link_news();
    save(&device, "路灯不亮").await;
    renewed(&mut news).await;
    in_sync(&device).await;
    assert_eq!(relay.handle().counters().await.unwrap().changes_accepted, 6);
}

#[tokio::test]
async fn whoever_was_revoked_or_away_for_too_long_is_not_renewed_and_is_told_so() {
    for (age, revoked, code) in [
        (DAY * 22, true, "device_revoked"),
        (DAY * 202, false, "too_late"),
    ] {
        let dir = tempfile::tempdir().unwrap();
        let relay = RelayAtHome::start().await;
        let bundle = aged(&relay, &enrolled(&dir, &relay).await, age);
        if revoked {
            relay.handle().revoke(bundle.device).await.unwrap();
        }
        let device = Device::open(config(&dir, bundle.clone())).await.unwrap();
        let problem = state(&device, "a problem", |state| {
            matches!(state, SyncState::Problem { .. })
        });
        let SyncState::Problem {
            what: SyncProblem::TurnedAway(reason),
            ..
        } = problem.await
        else {
            panic!("another problem")
        };
        assert_eq!(reason.code, code);
        assert!(!reason.en.is_empty() && !reason.zh.is_empty(), "{reason:?}");
    }
}
