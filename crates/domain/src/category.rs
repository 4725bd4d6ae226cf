//! What is wrong, by the national code, and the built-in catalogue of those codes.
//!
//! A part category and a matter category can share a code (both have 01001), so the kind is always
//! part of the key. An incident keeps the category as it was when filed; the catalogue may change.
//!
//! Source of the table: GB/T 47678.5-2026, appendices A and C, from a public transcription; compare
//! with the official text before claiming conformance. The numbers' gaps are the standard's own.

use std::collections::BTreeMap;

use minicbor::{Decode, Encode};
use serde::{Deserialize, Serialize};

/// The standard of the built-in catalogue.
pub const NATIONAL_STANDARD: &str = "GB/T 47678.5-2026";

const TABLE: &str = include_str!("../data/gb-t-47678.5-2026.tsv");

/// Whether a category names a thing or something wrong.
#[derive(
    Clone, Copy, Debug, Eq, Hash, Ord, PartialEq, PartialOrd, Serialize, Deserialize, Encode, Decode,
)]
#[serde(rename_all = "snake_case")]
#[cbor(index_only)]
pub enum CategoryKind {
    /// 部件: a fixed public facility.
    #[n(0)]
    Part,
    /// 事件, 事项: something wrong that must be put right.
    #[n(1)]
    Matter,
}

impl CategoryKind {
    /// Returns the kind's name in keys and files: `part` or `matter`.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Part => "part",
            Self::Matter => "matter",
        }
    }
}

/// A category as it was when an incident was reported: standard, kind, code and both names.
#[derive(Clone, Debug, Eq, PartialEq, Serialize, Deserialize, Encode, Decode)]
pub struct Category {
    /// The standard, or the owner of a local extension, that gives the code its meaning.
    #[n(0)]
    pub standard: String,
    /// Part or matter.
    #[n(1)]
    pub kind: CategoryKind,
    /// Two digits of class and three of subclass (older standards: four in all).
    #[n(2)]
    pub code: String,
    /// The Chinese name.
    #[n(3)]
    pub zh: String,
    /// The English name.
    #[n(4)]
    pub en: String,
}

impl Category {
    /// Returns the key that screens query by: `matter/06010`.
    pub fn key(&self) -> String {
        format!("{}/{}", self.kind.name(), self.code)
    }
}

/// A table of categories by kind and code.
#[derive(Clone, Debug)]
pub struct Catalogue {
    categories: BTreeMap<(CategoryKind, String), Category>,
}

impl Catalogue {
    /// Reads the built-in national catalogue: 153 part and 249 matter categories with their classes.
    pub fn national() -> Self {
        let categories = TABLE.lines().filter_map(|line| {
            let mut cells = line.split('\t');
            let kind = match cells.next()? {
                "part" => CategoryKind::Part,
                _ => CategoryKind::Matter,
            };
            let (code, zh, en) = (cells.next()?, cells.next()?, cells.next()?);
            Some(Category {
                standard: NATIONAL_STANDARD.into(),
                kind,
                code: code.into(),
                zh: zh.into(),
                en: en.into(),
            })
        });
        Self {
            categories: categories.map(|c| ((c.kind, c.code.clone()), c)).collect(),
        }
    }

    /// Finds a category or, by a two-digit code, a class.
    pub fn find(&self, kind: CategoryKind, code: &str) -> Option<&Category> {
        self.categories.get(&(kind, code.to_owned()))
    }

    /// Lists the categories that a report may name, without the classes, by kind and code.
    pub fn iter(&self) -> impl Iterator<Item = &Category> {
        self.categories
            .values()
            .filter(|category| category.code.len() > 2)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_catalogue_has_every_category_in_both_languages() {
        let catalogue = Catalogue::national();
        let count = |kind| catalogue.iter().filter(|c| c.kind == kind).count();
        assert_eq!(
            (count(CategoryKind::Part), count(CategoryKind::Matter)),
            (153, 250)
        );
        assert!(
            catalogue
                .iter()
                .all(|c| c.code.len() == 5 && !c.zh.is_empty() && !c.en.is_empty())
        );
    }

    #[test]
    fn a_part_and_a_matter_may_share_a_code() {
        let catalogue = Catalogue::national();
        let part = catalogue.find(CategoryKind::Part, "01001").unwrap();
        let matter = catalogue.find(CategoryKind::Matter, "01001").unwrap();
        assert_eq!(part.zh, "供水井盖");
        assert_eq!(matter.zh, "供水井盖异常");
        assert_ne!(part.key(), matter.key());
    }
}
