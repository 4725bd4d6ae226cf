//! What a person wanted, in words of both languages: for what was not accepted.
//!
//! Told from the intent alone, so that it can be read when its record is gone. What the person wrote is whole
//! and as it was written. Not here: what became of it.

use crate::{IncidentIntent, PatrolIntent, Transport};

/// What a person wanted.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Wanted {
    /// What, in English.
    pub en: &'static str,
    /// What, in Chinese.
    pub zh: &'static str,
    /// What the person wrote or chose; empty if nothing.
    pub text: String,
}

/// Tells what an intent of a kind of this crate wanted; `None` for another kind's, and for what is none.
pub fn wanted(kind: &str, intent: &[u8]) -> Option<Wanted> {
    match kind {
        "incident" => serde_json::from_slice(intent).ok().map(of_incident),
        "patrol" => serde_json::from_slice(intent).ok().map(of_patrol),
        _ => None,
    }
}

const fn told(en: &'static str, zh: &'static str, text: String) -> Wanted {
    Wanted { en, zh, text }
}

fn of_incident(intent: IncidentIntent) -> Wanted {
    match intent {
        IncidentIntent::Report {
            description,
            address,
            ..
        } => told("report", "上报", joined(description, &address)),
        IncidentIntent::Describe { description } => {
            told("replace the description", "修改描述", description)
        }
        IncidentIntent::Locate { address, .. } => {
            told("replace the place", "修改位置", address.unwrap_or_default())
        }
        IncidentIntent::Recategorise { category } => {
            let text = format!("{} {} / {}", category.key(), category.en, category.zh);
            told("replace the category", "修改类别", text)
        }
        IncidentIntent::Rate { severity } => {
            let text = serde_json::to_value(severity).ok();
            let text = text.and_then(|it| it.as_str().map(str::to_owned));
            told(
                "replace the severity",
                "修改严重程度",
                text.unwrap_or_default(),
            )
        }
        IncidentIntent::AddPhoto { hash, .. } => told("add a photo", "添加照片", hash.to_string()),
        IncidentIntent::Step {
            step, note, unit, ..
        } => told(
            step.en(),
            step.zh(),
            joined(note, &unit.unwrap_or_default()),
        ),
    }
}

fn of_patrol(intent: PatrolIntent) -> Wanted {
    let travelled = |by: Transport| match by {
        Transport::Foot => "步行 / on foot".to_owned(),
        Transport::Bicycle => "执法自行车 / by bicycle".to_owned(),
        Transport::Vehicle => "车辆 / by vehicle".to_owned(),
        Transport::Booth => "岗亭 / at a booth".to_owned(),
    };
    match intent {
        PatrolIntent::Start {
            shift, transport, ..
        } => told(
            "begin a shift",
            "开始班次",
            joined(shift, &travelled(transport)),
        ),
        PatrolIntent::StartLeg { transport, .. } => {
            told("begin a leg", "开始巡查段", travelled(transport))
        }
        PatrolIntent::Pause { .. } => told("pause", "暂停", String::new()),
        PatrolIntent::CheckIn { point, .. } => told("check in", "打卡", point),
        PatrolIntent::Note { text, .. } => told("write a note", "记录备注", text),
        PatrolIntent::AddSegment { segment, .. } => {
            told("add a track segment", "添加轨迹段", segment.to_string())
        }
        PatrolIntent::End { .. } => told("end the shift", "结束班次", String::new()),
    }
}

/// Puts what belongs together behind one another.
fn joined(mut text: String, more: &str) -> String {
    if !text.is_empty() && !more.is_empty() {
        text.push_str(" · ");
    }
    text.push_str(more);
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_was_written_is_told_whole_and_what_for_in_both_languages() {
        let note = br#"{"do":"note","text":"\u4e95\u76d6","by":"lin"}"#;
        assert_eq!(
            wanted("patrol", note),
            Some(told("write a note", "记录备注", "井盖".to_owned()))
        );
        let describe = br#"{"do":"describe","description":"a hole"}"#;
        assert_eq!(wanted("incident", describe).unwrap().text, "a hole");
    }

    #[test]
    fn what_is_no_intent_of_ours_is_not_told() {
        assert_eq!(wanted("tree", b"{}"), None);
        assert_eq!(wanted("incident", b"\xff"), None);
    }
}
