//! The little of SVG and HTML that the report's parts share.

/// Writes text so that no character of it is taken for markup.
pub(super) fn escape(text: &str) -> String {
    let mut safe = String::with_capacity(text.len());
    for character in text.chars() {
        match character {
            '&' => safe.push_str("&amp;"),
            '<' => safe.push_str("&lt;"),
            '>' => safe.push_str("&gt;"),
            '"' => safe.push_str("&quot;"),
            '\'' => safe.push_str("&#39;"),
            control if control.is_control() => safe.push(' '),
            other => safe.push(other),
        }
    }
    safe
}

/// Writes a number with one decimal: a tenth of a pixel is less than an eye sees.
pub(super) fn px(value: f64) -> String {
    let text = format!("{value:.1}");
    text.strip_suffix(".0").unwrap_or(&text).to_owned()
}

/// Writes a whole number in groups of three digits.
pub(super) fn grouped(value: u64) -> String {
    let digits = value.to_string();
    let mut text = String::new();
    for (index, digit) in digits.chars().enumerate() {
        if index > 0 && (digits.len() - index).is_multiple_of(3) {
            text.push('\u{202f}');
        }
        text.push(digit);
    }
    text
}

/// Writes a count of bytes for people.
#[expect(clippy::cast_precision_loss, reason = "three digits are shown")]
pub(super) fn bytes(value: u64) -> String {
    match value {
        0..10_000 => format!("{value} B"),
        10_000..10_000_000 => format!("{:.0} kB", value as f64 / 1e3),
        _ => format!("{:.1} MB", value as f64 / 1e6),
    }
}

/// A text in both languages, the Chinese one smaller beside it.
pub(super) fn both(en: &str, zh: &str) -> String {
    format!(
        "{} <span class=\"zh\" lang=\"zh\">{}</span>",
        escape(en),
        escape(zh)
    )
}

/// The colour of a person's track and area: evenly round the circle, readable on light and dark.
pub(super) fn hue(number: usize, of: usize) -> String {
    let degrees = 360 * number / of.max(1);
    format!("hsl({degrees} 55% 52%)")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn markup_in_data_stays_text() {
        assert_eq!(
            escape("<b>\"A\" & 'B'\n"),
            "&lt;b&gt;&quot;A&quot; &amp; &#39;B&#39; "
        );
    }

    #[test]
    fn numbers_are_written_for_people() {
        assert_eq!(grouped(1_234_567), "1\u{202f}234\u{202f}567");
        assert_eq!(grouped(12), "12");
        assert_eq!(px(3.04), "3");
        assert_eq!(
            (bytes(999), bytes(12_345), bytes(12_345_678)),
            ("999 B".into(), "12 kB".into(), "12.3 MB".into())
        );
    }
}
