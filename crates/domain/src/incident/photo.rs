//! The entry of a photo: what is known of it, and the names of its smaller pictures.
//!
//! Its key is the photo's hash. Entries are added and never changed; a later program may add to their content.

use std::collections::BTreeSet;

use gridbeat_base::{BlobHash, Position, WallTime};
use gridbeat_document::{Edit, IntentError, Refusal, Scalar, Value, View, Words};
use minicbor::{Decode, Encode};

use super::value::read_bytes;
use super::{PHOTOS, PhotoRole};
use crate::fact;

/// Most photos of one incident: enough for near, far and after at every rework.
const PHOTOS_MAX: usize = 64;

#[derive(Clone, Debug, Eq, PartialEq, Encode, Decode)]
pub(super) struct Photo {
    #[n(0)]
    pub(super) role: PhotoRole,
    #[n(1)]
    pub(super) position: Option<Position>,
    #[n(2)]
    pub(super) taken: WallTime,
    // Since photos have smaller pictures: readers of before skip them, and what is absent is not written.
    #[n(3)]
    pub(super) preview: Option<BlobHash>,
    #[n(4)]
    pub(super) thumbnail: Option<BlobHash>,
}

/// Returns the photos of an incident, and their smaller pictures.
pub(super) fn blobs(view: &View) -> BTreeSet<BlobHash> {
    let mut blobs = BTreeSet::new();
    for (hash, field) in view.entries(&[PHOTOS]) {
        blobs.extend(hash.parse::<BlobHash>());
        // Two may have added one photo at the same time, each with pictures of his own.
        let others = field.conflicts.iter().map(|(value, _)| value);
        let values = core::iter::once(&field.value).chain(others);
        for photo in values.filter_map(read_bytes::<Photo>) {
            blobs.extend(photo.preview.into_iter().chain(photo.thumbnail));
        }
    }
    blobs
}

/// Decides whether an incident may have the photos it has.
pub(super) fn admit(before: &View, after: &View) -> Result<(), Refusal> {
    if after.entries(&[PHOTOS]).count() > PHOTOS_MAX {
        return Err(fact::refuse(
            "too_many_photos",
            "more than 64 photos",
            "照片超过64张",
        ));
    }
    let is_photo = |value: &Value| read_bytes::<Photo>(value).is_some();
    for (hash, field) in after.entries(&[PHOTOS]) {
        let is_readable = hash.parse::<BlobHash>().is_ok()
            && is_photo(&field.value)
            && field.conflicts.iter().all(|(value, _)| is_photo(value));
        if !is_readable && before.field(&[PHOTOS, hash]) != Some(field) {
            return Err(fact::refuse(
                "photo_malformed",
                "a photo's entry is not in its form",
                "照片条目格式不正确",
            ));
        }
    }
    Ok(())
}

/// Adds a photo.
pub(super) fn add(
    before: &View,
    edit: &mut Edit<'_>,
    hash: &BlobHash,
    photo: Photo,
) -> Result<(), IntentError> {
    if before.entries(&[PHOTOS]).count() >= PHOTOS_MAX {
        return Err(IntentError::NotAllowed {
            rule: "too_many_photos",
            words: Words {
                en: "an incident has at most 64 photos",
                zh: "一个案件最多64张照片",
            },
        });
    }
    let bytes = minicbor::to_vec(photo).expect("writing to memory does not fail");
    edit.put(&[PHOTOS, &hash.to_string()], Scalar::Bytes(bytes));
    Ok(())
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use gridbeat_base::{ChangeHash, DeviceId, Verbs};
    use gridbeat_document::{Author, Field, Kind as _, Origin, Provenance};

    use super::super::{IncidentIntent, IncidentKind};
    use super::*;

    /// A document with one entry among its photos, which has these values, the first of them on top.
    fn view(key: &str, values: &[&[u8]]) -> View {
        let origin = Origin {
            change: ChangeHash::from_bytes([1; 32]),
            time_s: 0,
            provenance: Provenance::default(),
        };
        let field = |value, conflicts| Field {
            value,
            origin: origin.clone(),
            conflicts,
        };
        let mut values = values
            .iter()
            .map(|bytes| (Value::Bytes(bytes.to_vec()), origin.clone()));
        let photo = values.next().map(|(top, _)| field(top, values.collect()));
        let photos = photo.map(|photo| (key.to_owned(), photo));
        let photos = Value::Map(photos.into_iter().collect());
        View {
            root: BTreeMap::from([(PHOTOS.to_owned(), field(photos, Vec::new()))]),
        }
    }

    fn ruled(before: &View, after: &View) -> Option<&'static str> {
        let author = Author {
            device: DeviceId::from_bytes([1; 16]),
            verbs: Verbs::ALL,
        };
        let admitted = IncidentKind.admit(before, after, &author);
        admitted.err().map(|refusal| refusal.rule)
    }

    /// A photo's entry as programs wrote and read it before photos had smaller pictures.
    #[derive(Debug, Eq, PartialEq, Encode, Decode)]
    struct PhotoBefore {
        #[n(0)]
        role: PhotoRole,
        #[n(1)]
        position: Option<Position>,
        #[n(2)]
        taken: WallTime,
    }

    fn blob(byte: u8) -> BlobHash {
        BlobHash::from_bytes([byte; 32])
    }

    #[test]
    fn photos_of_before_and_photos_with_smaller_pictures_are_read_by_programs_of_both_ages() {
        let position = Position::from_e7(299_500_000, 1_217_100_000).ok();
        let before = PhotoBefore {
            role: PhotoRole::After,
            position,
            taken: WallTime(7),
        };
        let bytes = minicbor::to_vec(&before).unwrap();
        let mut photo: Photo = minicbor::decode(&bytes).unwrap();
        assert_eq!((photo.preview, photo.thumbnail), (None, None));
        assert_eq!(minicbor::to_vec(&photo).unwrap(), bytes, "nothing is added");
        for (preview, thumbnail) in [
            (Some(blob(1)), Some(blob(2))),
            (Some(blob(1)), None),
            (None, Some(blob(2))),
        ] {
            (photo.preview, photo.thumbnail) = (preview, thumbnail);
            let bytes = minicbor::to_vec(&photo).unwrap();
            assert_eq!(minicbor::decode::<Photo>(&bytes).unwrap(), photo);
            assert_eq!(minicbor::decode::<PhotoBefore>(&bytes).unwrap(), before);
        }
        let intent = format!(r#"{{"do":"add_photo","hash":"{}","role":"near"}}"#, blob(9));
        let read: IncidentIntent = serde_json::from_str(&intent).unwrap();
        let written = serde_json::to_string(&read).unwrap();
        assert!(!written.contains("preview") && !written.contains("thumbnail"));
    }

    #[test]
    fn a_photo_refers_to_its_smaller_pictures_whoever_made_them() {
        let entry = |preview, thumbnail| {
            let photo = Photo {
                role: PhotoRole::Near,
                position: None,
                taken: WallTime(1),
                preview,
                thumbnail,
            };
            minicbor::to_vec(photo).unwrap()
        };
        let [plain, one, other] = [
            entry(None, None),
            entry(Some(blob(1)), Some(blob(2))),
            entry(Some(blob(3)), None),
        ];
        let key = blob(9).to_string();
        let blobs = |values: &[&[u8]]| Vec::from_iter(IncidentKind.blobs(&view(&key, values)));
        assert_eq!(blobs(&[&plain]), [blob(9)]);
        assert_eq!(blobs(&[&one]), [blob(1), blob(2), blob(9)]);
        assert_eq!(
            blobs(&[&plain, &other, &one]),
            [blob(1), blob(2), blob(3), blob(9)]
        );
        assert_eq!(
            blobs(&[b"\xff"]),
            [blob(9)],
            "unreadable, and named all the same"
        );
    }

    #[test]
    fn a_photos_entry_that_nobody_can_read_is_refused_when_it_comes_and_holds_nothing_up_later() {
        let hash = BlobHash::from_bytes([9; 32]).to_string();
        let photo = minicbor::to_vec(Photo {
            role: PhotoRole::Near,
            position: None,
            taken: WallTime(1),
            preview: None,
            thumbnail: None,
        });
        let (photo, noise) = (photo.unwrap(), [0xff, 0]);
        let nothing = view(&hash, &[]);
        assert_eq!(ruled(&nothing, &view(&hash, &[&photo])), None);
        for wrong in [
            view(&hash, &[&noise]),
            view("not a hash", &[&photo]),
            view(&hash, &[&photo, &noise]),
        ] {
            assert_eq!(ruled(&nothing, &wrong), Some("photo_malformed"));
            assert_eq!(ruled(&wrong, &wrong), None, "it is there already");
        }
    }
}
