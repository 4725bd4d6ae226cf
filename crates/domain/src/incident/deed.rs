//! What one change did to an incident, in words of both languages.

use gridbeat_base::{BlobHash, ChangeHash};
use gridbeat_document::View;

use super::photo::Photo;
use super::value::{read_bytes, read_position, read_severity};
use super::{
    ADDRESS, CATEGORY, DESCRIPTION, PHOTOS, POSITION, PhotoRole, SEVERITY, Severity, StepFact,
};
use crate::Category;
use crate::deed::{self, Deed};
use crate::fact::Fact;

pub(crate) fn deeds(before: &View, after: &View, change: &ChangeHash) -> Vec<Deed> {
    let facts = deed::facts_of(after, change);
    let mut deeds: Vec<Deed> = facts.map(|fact| step(fact)).collect();
    for (key, en, zh) in [
        (DESCRIPTION, "description", "描述"),
        (ADDRESS, "address", "地址"),
    ] {
        let text = after.text(&[key]);
        if before.text(&[key]) != text {
            deeds.push(Deed::plain(
                format!("{en}: “{text}”"),
                format!("{zh}：“{text}”"),
            ));
        }
    }
    deeds.extend(fields(after, change));
    for (hash, field) in after.entries(&[PHOTOS]) {
        if field.origin.change == *change {
            let photo = hash.parse().ok().zip(read_bytes(&field.value));
            deeds.push(photo.map_or_else(deed::unreadable, |(hash, it)| photo_added(&hash, &it)));
        }
    }
    deeds
}

fn step(fact: Option<&[u8]>) -> Deed {
    let Some(Ok(fact)) = fact.map(minicbor::decode::<Fact<StepFact>>) else {
        return deed::unreadable();
    };
    let what = fact.what;
    let (note_en, note_zh) = deed::noted(&what.note);
    let (unit_en, unit_zh) = what.unit.map_or_else(Default::default, |unit| {
        (format!(" ({unit})"), format!("（{unit}）"))
    });
    Deed {
        en: format!("{}{unit_en}{note_en}", what.step.en()),
        zh: format!("{}{unit_zh}{note_zh}", what.step.zh()),
        by: fact.by,
        times: Some(fact.times),
    }
}

fn fields(after: &View, change: &ChangeHash) -> Vec<Deed> {
    let mut deeds = Vec::new();
    let put = |key: &str| {
        let field = after.field(&[key])?;
        deed::put_by(field, change)
    };
    if let Some(value) = put(CATEGORY) {
        deeds.push(
            read_bytes::<Category>(value).map_or_else(deed::unreadable, |it| {
                Deed::plain(
                    format!("category: {} {}", it.key(), it.en),
                    format!("类别：{} {}", it.key(), it.zh),
                )
            }),
        );
    }
    if let Some(value) = put(POSITION) {
        deeds.push(read_position(value).map_or_else(deed::unreadable, |it| {
            let place = deed::place(it);
            Deed::plain(format!("position: {place}"), format!("位置：{place}"))
        }));
    }
    if let Some(value) = put(SEVERITY) {
        deeds.push(read_severity(value).map_or_else(deed::unreadable, |it| {
            let (en, zh) = severity(it);
            Deed::plain(format!("severity: {en}"), format!("严重程度：{zh}"))
        }));
    }
    deeds
}

const fn severity(severity: Severity) -> (&'static str, &'static str) {
    match severity {
        Severity::Minor => ("minor", "轻微"),
        Severity::Ordinary => ("ordinary", "一般"),
        Severity::Serious => ("serious", "严重"),
        Severity::Urgent => ("urgent", "紧急"),
    }
}

fn photo_added(hash: &BlobHash, photo: &Photo) -> Deed {
    let (en, zh) = match photo.role {
        PhotoRole::Near => ("near", "近景"),
        PhotoRole::Far => ("far", "远景"),
        PhotoRole::Reference => ("reference", "参照物"),
        PhotoRole::Before => ("before handling", "处置前"),
        PhotoRole::After => ("after handling", "处置后"),
    };
    let hash = deed::short(hash);
    Deed::plain(
        format!("photo {hash} added ({en})"),
        format!("添加照片 {hash}（{zh}）"),
    )
}
