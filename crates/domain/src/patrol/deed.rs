//! What one change did to a patrol, in words of both languages.

use gridbeat_base::ChangeHash;
use gridbeat_document::View;

use super::{PatrolFact, Transport};
use crate::deed::{self, Deed};
use crate::fact::Fact;

pub(crate) fn deeds(after: &View, change: &ChangeHash) -> Vec<Deed> {
    deed::facts_of(after, change)
        .map(
            |fact| match fact.map(minicbor::decode::<Fact<PatrolFact>>) {
                Some(Ok(fact)) => {
                    let (en, zh) = words(&fact.what);
                    Deed {
                        en,
                        zh,
                        by: fact.by,
                        times: Some(fact.times),
                    }
                }
                Some(Err(_)) | None => deed::unreadable(),
            },
        )
        .collect()
}

fn words(fact: &PatrolFact) -> (String, String) {
    match fact {
        PatrolFact::Started {
            shift, transport, ..
        } => {
            let (en, zh) = travelled(*transport);
            (
                format!("patrol began: “{shift}”, {en}"),
                format!("开始巡逻：“{shift}”，{zh}"),
            )
        }
        PatrolFact::LegStarted { transport } => {
            let (en, zh) = travelled(*transport);
            (format!("next leg: {en}"), format!("下一段：{zh}"))
        }
        PatrolFact::Paused => ("pause".into(), "暂停".into()),
        PatrolFact::CheckedIn { point, .. } => {
            (format!("check-in: “{point}”"), format!("打卡：“{point}”"))
        }
        PatrolFact::Noted { text, .. } => (format!("note: “{text}”"), format!("备注：“{text}”")),
        PatrolFact::SegmentAdded {
            segment, length_m, ..
        } => {
            let hash = deed::short(segment);
            (
                format!("track {hash} added, {length_m} m"),
                format!("添加轨迹 {hash}，{length_m} 米"),
            )
        }
        PatrolFact::Ended => ("patrol ended".into(), "结束巡逻".into()),
    }
}

const fn travelled(transport: Transport) -> (&'static str, &'static str) {
    match transport {
        Transport::Foot => ("on foot", "步行"),
        Transport::Bicycle => ("by bicycle", "执法自行车"),
        Transport::Vehicle => ("by vehicle", "车辆"),
        Transport::Booth => ("at a booth", "岗亭"),
    }
}
