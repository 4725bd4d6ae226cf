//! How words are indexed and looked for, in Chinese and in everything else.
//!
//! FTS5 cuts text at spaces and punctuation, but Chinese has none between words. So every character
//! of such a script is indexed as a token of its own, and what is looked for becomes phrases of
//! tokens: 垃圾 finds 生活垃圾堆放, and neither finds 圾垃. Other words are found by how they begin.

/// Returns a text as it is put into the index.
pub(crate) fn to_index(text: &str) -> String {
    tokens(text).join(" ")
}

/// Returns what FTS5 is to match for what a person typed; `None` if there is nothing to look for.
///
/// Each word typed must be found, in any order. Only letters and digits survive, in quotes, so no
/// input is ever read as FTS5's own syntax.
pub(crate) fn to_match(typed: &str) -> Option<String> {
    let phrases: Vec<String> = typed
        .split_whitespace()
        .filter_map(|word| {
            let tokens = tokens(word);
            let last = tokens.last()?;
            let is_whole = last.chars().all(stands_alone);
            let star = if is_whole { "" } else { "*" };
            Some(format!("\"{}\"{star}", tokens.join(" ")))
        })
        .collect();
    (!phrases.is_empty()).then(|| phrases.join(" "))
}

/// Cuts a text into tokens: runs of letters and digits, and each character of an unspaced script.
fn tokens(text: &str) -> Vec<String> {
    let mut tokens = Vec::new();
    let mut run = String::new();
    for character in text.chars().map(narrow) {
        if stands_alone(character) {
            tokens.extend((!run.is_empty()).then(|| core::mem::take(&mut run)));
            tokens.push(character.to_string());
        } else if character.is_alphanumeric() {
            run.push(character);
        } else {
            tokens.extend((!run.is_empty()).then(|| core::mem::take(&mut run)));
        }
    }
    tokens.extend((!run.is_empty()).then_some(run));
    tokens
}

/// Makes the wide forms of ASCII that Chinese keyboards give (Ａ, ３) the usual ones.
const fn narrow(character: char) -> char {
    /// From a wide form down to its ASCII one.
    const STEP: u32 = 0xFF01 - 0x21;
    if matches!(character, '\u{FF01}'..='\u{FF5E}') {
        match char::from_u32(character as u32 - STEP) {
            Some(narrow) => narrow,
            None => character,
        }
    } else {
        character
    }
}

/// Tells whether a character belongs to a script written without spaces: Han, kana, Hangul.
const fn stands_alone(character: char) -> bool {
    matches!(character,
        '\u{3005}'..='\u{3007}' // 々〆〇
        | '\u{3041}'..='\u{30FF}' // kana
        | '\u{3400}'..='\u{4DBF}' // Han, extension A
        | '\u{4E00}'..='\u{9FFF}' // Han
        | '\u{AC00}'..='\u{D7AF}' // Hangul
        | '\u{F900}'..='\u{FAFF}' // Han, compatibility
        | '\u{20000}'..='\u{3FFFF}' // Han, further extensions
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(typed: &str, expected: Option<&str>) {
        assert_eq!(to_match(typed).as_deref(), expected, "{typed:?}");
    }

    #[test]
    fn chinese_is_indexed_character_by_character() {
        assert_eq!(to_index("3号楼，生活垃圾 Ａ12"), "3 号 楼 生 活 垃 圾 A12");
    }

    #[test]
    fn a_chinese_word_is_a_phrase_and_a_latin_one_a_beginning() {
        check("垃圾", Some("\"垃 圾\""));
        check("gar 3号", Some("\"gar\"* \"3 号\""));
        check("井盖no5", Some("\"井 盖 no5\"*"));
    }

    #[test]
    fn the_index_syntax_cannot_be_typed() {
        check("\" OR text:x* NEAR(", Some("\"OR\"* \"text x\"* \"NEAR\"*"));
        check("  ", None);
        check("，。!*\"", None);
    }
}
