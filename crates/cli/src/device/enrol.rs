//! `gridbeat device enrol`: from an invitation to a bundle in the device's folder.
//!
//! Run again after an interruption, it goes on where it stopped. What the person at the device is told
//! stands in both languages. Not here: what is sent and kept (`gridbeat-device`).

use std::path::Path;
use std::time::Duration;

use anyhow::Context as _;
use gridbeat_base::Remedy;
use gridbeat_device::{
    DeviceBundle, EnrolError, EnrolNews, Enrolment, Fingerprint, Invitation, Reason,
    install_from_file,
};
use serde_json::json;

use super::INSTALL;
use crate::args::EnrolArgs;
use crate::output::{Ending, print, print_json};

/// Enrols the device of a folder.
pub(super) async fn run(dir: &Path, bundle: &Path, args: EnrolArgs) -> anyhow::Result<Ending> {
    let invitation: Invitation = args
        .invitation
        .parse()
        .map_err(|error| Ending::input(&format!("{error}")))?;
    std::fs::create_dir_all(dir).with_context(|| format!("{} could not be made", dir.display()))?;
    let install = install_from_file(&dir.join(INSTALL))
        .with_context(|| format!("{}: no id of this installation", dir.display()))?;
    let begun = Enrolment::begin(invitation, bundle, install, &args.name);
    let enrolment = match begun {
        Ok(enrolment) => enrolment,
        Err(error) => return refused(&error, args.json),
    };
    let mut said = None;
    let told = |news: EnrolNews| {
        // Whoever does not read any more is not waited for.
        let _ = tell(&news, &mut said, args.json);
    };
    let patience = Duration::from_secs(args.seconds);
    match tokio::time::timeout(patience, enrolment.finish(told)).await {
        Ok(Ok(enrolled)) => {
            tell_enrolled(&enrolled, bundle, args.json)?;
            Ok(Ending::Good)
        }
        Ok(Err(error)) => refused(&error, args.json),
        Err(_) => {
            let words = Reason {
                code: "not_in_time".to_owned(),
                en: "not enrolled yet: run the same command again to go on".to_owned(),
                zh: "尚未登记完成，请再次运行同一命令继续".to_owned(),
            };
            tell_words(&words, args.json)?;
            Ok(Ending::NotInTime)
        }
    }
}

/// Tells how it stands, once for each way to stand.
fn tell(news: &EnrolNews, said: &mut Option<String>, as_json: bool) -> anyhow::Result<()> {
    let now = match news {
        EnrolNews::Waiting(_) => "waiting".to_owned(),
        EnrolNews::NoAnswer(reason) => reason.code.clone(),
    };
    if said.as_ref() == Some(&now) {
        return Ok(());
    }
    *said = Some(now);
    match news {
        EnrolNews::Waiting(fingerprint) => tell_waiting(*fingerprint, as_json),
        EnrolNews::NoAnswer(reason) => tell_words(reason, as_json),
    }
}

fn tell_waiting(fingerprint: Fingerprint, as_json: bool) -> anyhow::Result<()> {
    if as_json {
        let fingerprint = fingerprint.to_string();
        return print_json(&json!({"event": "waiting", "fingerprint": fingerprint}));
    }
    print(&fingerprint.to_string())?;
    print("请把以上六位数字读给管理员，等待批准")?;
    Ok(print("read these six digits to the operator, and wait")?)
}

fn tell_enrolled(bundle: &DeviceBundle, file: &Path, as_json: bool) -> anyhow::Result<()> {
    if as_json {
        return print_json(&json!({
            "event": "enrolled", "device": bundle.device, "relay": bundle.relay,
            "not_after_ms": bundle.not_after,
        }));
    }
    print(&format!("设备已登记：{}", bundle.device))?;
    Ok(print(&format!(
        "device {} is enrolled; {} reaches its relay",
        bundle.device,
        file.display()
    ))?)
}

fn tell_words(words: &Reason, as_json: bool) -> anyhow::Result<()> {
    if as_json {
        return print_json(&json!({
            "event": "words", "code": words.code, "en": words.en, "zh": words.zh,
        }));
    }
    print(&words.zh)?;
    Ok(print(&words.en)?)
}

/// Tells the person why it came to nothing, and ends by what may help.
fn refused(error: &EnrolError, as_json: bool) -> anyhow::Result<Ending> {
    tracing::warn!(%error, "the device was not enrolled");
    tell_words(&error.words(), as_json)?;
    let remedy = error.remedy();
    Ok(if matches!(remedy, Remedy::RetryHere | Remedy::Reconnect) {
        Ending::NotInTime
    } else if remedy == Remedy::FixInput {
        Ending::BadInput
    } else {
        Ending::Failed
    })
}
