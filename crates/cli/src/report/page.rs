//! The page around the drawings: verdict, figures, tables, conflicts, words in both languages.
//!
//! One file without scripts, fonts or pictures from elsewhere: it can be mailed, and opened in ten
//! years. Light and dark follow the reader's system.

use std::collections::BTreeMap;
use std::fmt::Write as _;

use gridbeat_base::DeviceId;
use serde_json::Value;

use super::svg::{both, bytes, escape, grouped, hue};
use super::{map, timeline};
use crate::demo::table::millis;
use crate::demo::{Percentiles, Story, seconds};

const STYLE: &str = include_str!("style.css");

/// How many conflicts are listed.
const CONFLICTS_MAX: usize = 60;

/// Writes the page.
pub(crate) fn page(story: &Story<'_>) -> String {
    let mut html = format!(
        "<!doctype html>\n<html lang=\"en\"><head><meta charset=\"utf-8\">\
         <meta name=\"viewport\" content=\"width=device-width,initial-scale=1\">\
         <title>Gridbeat · {}</title><style>{STYLE}</style></head><body><main>",
        escape(&story.figures.input)
    );
    header(&mut html, story);
    cards(&mut html, story);
    section(
        &mut html,
        "The day on the map",
        "当日地图",
        &map_section(story),
    );
    section(
        &mut html,
        "Every device, moment by moment",
        "各设备时间线",
        &timeline_section(story),
    );
    section(&mut html, "Devices", "设备", &devices(story));
    section(
        &mut html,
        "Conflicts for a person to settle",
        "待人工裁决的冲突",
        &conflicts(story),
    );
    section(&mut html, "How it was made", "说明", &notes(story));
    html.push_str("</main></body></html>\n");
    html
}

fn section(html: &mut String, en: &str, zh: &str, content: &str) {
    let _ = write!(
        html,
        "<section><h2>{}</h2>{content}</section>",
        both(en, zh)
    );
}

fn header(html: &mut String, story: &Story<'_>) {
    let figures = story.figures;
    let (class, en, zh) = if figures.ok {
        ("good", "Every promise held", "全部承诺成立")
    } else {
        ("bad", "A promise did not hold", "有承诺未成立")
    };
    let _ = write!(
        html,
        "<header><div><p class=\"brand\">Gridbeat</p><h1>{}</h1><p class=\"lead\">{} officers and the centre \
         patrolled a day in {} s over bad links. The relay was killed {} and a device {}. Then every copy was \
         compared with every other. <span class=\"zh\" lang=\"zh\">{} 名队员与指挥中心在恶劣网络下完成一天的巡查，\
         随后逐一比对所有副本。</span></p></div><p class=\"verdict {class}\">{}</p></header>",
        escape(&figures.input),
        story.plan.officers.len(),
        seconds(story.plan.run),
        times(figures.relay_kills),
        times(figures.device_kills),
        story.plan.officers.len(),
        both(en, zh)
    );
    if !story.findings.told.is_empty() {
        html.push_str("<ul class=\"told\">");
        for what in &story.findings.told {
            let _ = write!(html, "<li>{}</li>", escape(what));
        }
        html.push_str("</ul>");
    }
}

fn times(count: u64) -> String {
    match count {
        1 => "once".to_owned(),
        2 => "twice".to_owned(),
        _ => format!("{count} times"),
    }
}

fn cards(html: &mut String, story: &Story<'_>) {
    html.push_str("<div class=\"cards\">");
    for (class, value, en, zh) in figures(story) {
        let _ = write!(
            html,
            "<div class=\"card {class}\"><b>{}</b><span>{}</span></div>",
            escape(&value),
            both(en, zh)
        );
    }
    html.push_str("</div>");
}

type Card = (&'static str, String, &'static str, &'static str);

fn figures(story: &Story<'_>) -> Vec<Card> {
    let f = story.figures;
    let (ack, back) = (f.acknowledge_ms, f.return_to_acknowledge_ms);
    let zero = |count: u64| if count == 0 { "good" } else { "bad" };
    let count = |value: u64, en, zh| ("", grouped(value), en, zh);
    let time = |value, en, zh| ("", millis(value), en, zh);
    let size = |value: u64, en, zh| ("", bytes(value), en, zh);
    vec![
        (
            zero(f.changes_lost),
            grouped(f.changes_lost),
            "changes lost",
            "丢失",
        ),
        (
            zero(f.digest_mismatches),
            grouped(f.digest_mismatches),
            "copies that differ",
            "不一致",
        ),
        count(f.incidents, "incidents", "案件"),
        count(f.edits, "edits", "修改"),
        count(f.concurrent_edits, "concurrent edits", "并发修改"),
        count(f.conflicts_open, "open conflicts", "待裁决冲突"),
        count(f.changes_acknowledged, "changes acknowledged", "已确认"),
        count(f.blobs, "photos and tracks", "照片与轨迹"),
        count(f.blobs_received, "of them received, whole", "已完整收到"),
        count(f.outages, "outages", "断网次数"),
        time(ack.p50, "save to acknowledged, median", "保存到确认 中位"),
        time(ack.p95, "the same, 95 of 100", "保存到确认 95%"),
        time(
            back.p50,
            "link back to acknowledged, median",
            "恢复到确认 中位",
        ),
        time(back.p95, "the same, 95 of 100", "恢复到确认 95%"),
        size(f.bytes_up, "sent by devices", "上行"),
        size(f.bytes_down, "sent to devices", "下行"),
        count(f.dials, "connections tried", "尝试连接"),
        (
            "",
            format!("{} s", grouped(f.radio_on_s)),
            "radios on, all phones together",
            "无线电开启 合计",
        ),
        size(
            f.relay_peak_rss_bytes,
            "relay's memory at its peak",
            "服务端内存峰值",
        ),
        ("", format!("{} s", f.seconds), "the whole run", "总用时"),
    ]
}

fn map_section(story: &Story<'_>) -> String {
    let mut html = map::draw(story);
    html.push_str("<p class=\"legend\">");
    for (class, en, zh) in [
        ("reported", "reported", "已上报"),
        ("handling", "being handled", "处置中"),
        ("checking", "handled, being checked", "核查中"),
        ("closed", "closed", "结案"),
    ] {
        let _ = write!(
            html,
            "<span><i class=\"dot {class}\"></i>{}</span>",
            both(en, zh)
        );
    }
    let _ = write!(
        html,
        "<span><i class=\"dot ring\"></i>{}</span><span><i class=\"way\"></i>{}</span></p>",
        both("open conflict", "有冲突"),
        both("a patrol's track, in its officer's colour", "巡查轨迹")
    );
    let placed = story
        .relay
        .records
        .values()
        .filter(|r| r.kind == "incident");
    let without = placed.filter(|record| record.position.is_none()).count();
    if without > 0 {
        let _ = write!(
            html,
            "<p class=\"small\">{} incidents have no position and are not drawn. <span class=\"zh\" lang=\"zh\">{without} 件无坐标，未绘出。</span></p>",
            without
        );
    }
    let mut source = story.sources.join(" · ");
    if source.is_empty() {
        source = "made-up shift, no files".to_owned();
    }
    let _ = write!(
        html,
        "<p class=\"small\">{}: {}</p>",
        both("Data", "数据"),
        escape(&source)
    );
    html
}

fn timeline_section(story: &Story<'_>) -> String {
    let mut html = format!(
        "<div class=\"wide\">{}</div><p class=\"legend\">",
        timeline::draw(story)
    );
    for (class, en, zh) in [
        ("bar up", "link up", "在线"),
        ("bar down", "link down", "断网"),
        ("bar depth", "changes waiting (square-root scale)", "待发送"),
        ("bar ack", "acknowledged", "已确认"),
        ("bar relay-down", "relay dead", "服务端停机"),
    ] {
        let _ = write!(
            html,
            "<span><i class=\"{class}\"></i>{}</span>",
            both(en, zh)
        );
    }
    html.push_str("</p>");
    html
}

fn devices(story: &Story<'_>) -> String {
    let mut html = String::from("<div class=\"wide\"><table><thead><tr>");
    for (en, zh) in [
        ("device", "设备"),
        ("reports", "上报"),
        ("edits", "修改"),
        ("acknowledged", "已确认"),
        ("outages", "断网"),
        ("down", "断网时长"),
        ("most waiting", "最多待发"),
        ("ack p50", "确认中位"),
        ("ack p95", "确认95%"),
        ("up", "上行"),
        ("down", "下行"),
        ("dials", "连接次数"),
        ("radio on", "无线电开启"),
    ] {
        let _ = write!(html, "<th>{}</th>", both(en, zh));
    }
    html.push_str("</tr></thead><tbody>");
    let end = story.chronicle.played;
    let officers = story.plan.officers.len();
    for (number, log) in story.chronicle.devices.iter().enumerate() {
        let acks = Percentiles::of(log.acknowledge_ms.clone());
        let most = log
            .outbox
            .iter()
            .map(|(_, waiting)| *waiting)
            .max()
            .unwrap_or(0);
        let colour = if number < officers {
            hue(number, officers)
        } else {
            "var(--ink)".to_owned()
        };
        let link = log.link_cost.as_ref();
        let dials = link.map_or_else(|| "-".to_owned(), |link| link.dials.to_string());
        let radio = link.map_or_else(|| "-".to_owned(), |link| format!("{} s", link.radio_on_s));
        let killed = if log.kills.is_empty() { "" } else { " ✕" };
        let _ = write!(
            html,
            "<tr><td><i class=\"chip\" style=\"background:{colour}\"></i>{}{killed}</td><td>{}</td><td>{}</td>\
             <td>{}</td><td>{}</td><td>{} s</td><td>{most}</td><td>{}</td><td>{}</td><td>{}</td><td>{}</td>
             <td>{}</td><td>{}</td></tr>",
            escape(&log.name),
            grouped(log.created),
            grouped(log.edited),
            grouped(log.acknowledged.len() as u64),
            log.outages(),
            seconds(log.down_for(end)),
            millis(acks.p50),
            millis(acks.p95),
            bytes(log.bytes_up),
            bytes(log.bytes_down),
            dials,
            radio,
        );
    }
    html.push_str("</tbody></table></div>");
    html
}

fn conflicts(story: &Story<'_>) -> String {
    let found = &story.findings.conflicts;
    if found.is_empty() {
        return format!("<p>{}</p>", both("None.", "无。"));
    }
    let names = names(story);
    let mut html = String::from(
        "<p class=\"small\">Nothing was overwritten in silence: both values are kept until someone settles it. <span class=\"zh\" lang=\"zh\">两个值都保留，直到有人裁决。</span></p><div class=\"wide\"><table><thead><tr>",
    );
    for (en, zh) in [
        ("incident", "案件"),
        ("field", "字段"),
        ("values, and who set them", "各方取值"),
    ] {
        let _ = write!(html, "<th>{}</th>", both(en, zh));
    }
    html.push_str("</tr></thead><tbody>");
    for conflict in found.iter().take(CONFLICTS_MAX) {
        let body = story
            .relay
            .records
            .get(&conflict.document)
            .map(|record| &record.body);
        let address = body
            .and_then(|body| body["address"].as_str())
            .filter(|text| !text.is_empty());
        let description = body
            .and_then(|body| body["description"].as_str())
            .unwrap_or_default();
        let what: String = address.unwrap_or(description).chars().take(60).collect();
        let _ = write!(
            html,
            "<tr><td>{}</td><td>{}</td><td>",
            escape(&what),
            field(&conflict.field)
        );
        for (value, device) in &conflict.values {
            let who = device
                .and_then(|device| names.get(&device))
                .map_or("?", String::as_str);
            let _ = write!(
                html,
                "<span class=\"value\">{} <em>{}</em></span>",
                shown(value),
                escape(who)
            );
        }
        html.push_str("</td></tr>");
    }
    html.push_str("</tbody></table></div>");
    if found.len() > CONFLICTS_MAX {
        let _ = write!(
            html,
            "<p class=\"small\">… and {} more</p>",
            found.len() - CONFLICTS_MAX
        );
    }
    html
}

fn field(name: &str) -> String {
    match name {
        "severity" => both("severity", "严重程度"),
        "category" => both("category", "类别"),
        "position" => both("position", "位置"),
        other => escape(other),
    }
}

/// Writes a value for people: a word, or a category's names.
fn shown(value: &Value) -> String {
    if let Some(zh) = value["zh"].as_str() {
        return both(value["en"].as_str().unwrap_or_default(), zh);
    }
    match value.as_str() {
        Some("minor") => both("minor", "轻微"),
        Some("ordinary") => both("ordinary", "一般"),
        Some("serious") => both("serious", "严重"),
        Some("urgent") => both("urgent", "紧急"),
        Some(other) => escape(other),
        None => escape(&value.to_string()),
    }
}

/// Finds out which device has which name: by whose hand the relay's facts are.
fn names(story: &Story<'_>) -> BTreeMap<DeviceId, String> {
    let mut names = BTreeMap::new();
    for record in story.relay.records.values() {
        for step in record.body["steps"].as_array().into_iter().flatten() {
            let device = step["device"].as_str().and_then(|id| id.parse().ok());
            if let (Some(device), Some(by)) = (device, step["by"].as_str()) {
                names.entry(device).or_insert_with(|| by.to_owned());
            }
        }
    }
    names
}

fn notes(story: &Story<'_>) -> String {
    let mut html = String::from("<ul class=\"notes\">");
    let mut note = |text: &str| {
        let _ = write!(html, "<li>{}</li>", escape(text));
    };
    for text in &story.day.notes {
        note(text);
    }
    note(&format!(
        "{} moments in which several people edited one incident at once; {} steps came too late, because someone else had been faster",
        story.chronicle.meetings, story.chronicle.overtaken
    ));
    note(&format!(
        "{} pairs of copies were compared: digests, heads and the hash of every record's whole view",
        story.findings.pairs
    ));
    for reject in story.day.rejects.iter() {
        let detail = if reject.detail.is_empty() {
            String::new()
        } else {
            format!(" ({})", reject.detail)
        };
        note(&format!(
            "{} rows {}{detail}",
            reject.count,
            reject.reason.words()
        ));
    }
    note(&format!(
        "seed {}: the same seed and files make the same plan",
        story.figures.seed
    ));
    html.push_str("</ul>");
    html
}
