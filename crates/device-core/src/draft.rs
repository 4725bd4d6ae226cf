//! Drafts: what an app has begun and not saved as a record yet, so that a kill does not take it.
//!
//! A track segment that still grows, a report half written. The bytes are the app's own; nobody else ever sees them: a
//! draft is in no record, is not sent, and stays when a scope is left. It goes when the app drops it, and with everything
//! else when the device is wiped. Not here: what is in one.

use gridbeat_base::{Now, Remedy, WallTime};
use gridbeat_document::Words;

use crate::store::{StorageFault, drafts};
use crate::{Device, ReadError, StorageError};

/// Longest name of a draft, in bytes of UTF-8.
pub const DRAFT_NAME_BYTES_MAX: usize = 64;

/// Most bytes of a draft: several times a day's track, far below a photo, which is a blob.
pub const DRAFT_BYTES_MAX: usize = 1024 * 1024;

/// Most drafts of a device at a time.
pub const DRAFTS_MAX: usize = 64;

/// A draft as a list shows it.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Draft {
    /// Its name, the app's own.
    pub name: String,
    /// How many bytes it has.
    pub size_bytes: u64,
    /// When it was last saved, by this device's clock.
    pub saved: WallTime,
}

/// A draft was not saved. The one of that name from before, if there is one, is as it was.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum DraftError {
    /// The name is empty, or longer than [`DRAFT_NAME_BYTES_MAX`].
    #[error("a draft's name has 1 to {DRAFT_NAME_BYTES_MAX} bytes, not {size_bytes}")]
    Name {
        /// Bytes of the name.
        size_bytes: usize,
    },
    /// There are more bytes than [`DRAFT_BYTES_MAX`].
    #[error("a draft has at most {DRAFT_BYTES_MAX} bytes, not {size_bytes}")]
    Size {
        /// How many there are.
        size_bytes: usize,
    },
    /// There are [`DRAFTS_MAX`] drafts of other names already.
    #[error("there are {DRAFTS_MAX} drafts already")]
    TooMany,
    /// The disk is full: what was saved before is safe, this was not saved.
    #[error("disk is full")]
    DiskFull,
    /// The database failed.
    #[error(transparent)]
    Storage(StorageError),
}

impl DraftError {
    /// Returns what the caller should do about this error.
    pub const fn remedy(&self) -> Remedy {
        match self {
            Self::Name { .. } | Self::Size { .. } | Self::TooMany => Remedy::FixInput,
            Self::DiskFull => Remedy::FreeSpace,
            Self::Storage(source) => source.remedy(),
        }
    }

    /// Returns what to tell the person, in English and Chinese.
    pub const fn words(&self) -> Words {
        let (en, zh) = match self {
            Self::Name { .. } => (
                "the draft's name is empty or longer than 64 bytes",
                "草稿名称为空或超过64字节",
            ),
            Self::Size { .. } => ("the draft is larger than 1 MiB", "草稿超过1 MiB"),
            Self::TooMany => (
                "there are 64 drafts already: finish or drop one first",
                "草稿已有64份，请先完成或删除一份",
            ),
            Self::DiskFull => (
                "this device's storage is full: the draft was not saved",
                "设备存储空间已满，草稿未保存",
            ),
            Self::Storage(_) => (
                "the draft was not saved: the device's storage failed",
                "设备存储出错，草稿未保存",
            ),
        };
        Words { en, zh }
    }
}

impl From<StorageError> for DraftError {
    fn from(source: StorageError) -> Self {
        if matches!(source, StorageError::Full) {
            Self::DiskFull
        } else {
            Self::Storage(source)
        }
    }
}

impl StorageFault for DraftError {
    fn storage(&self) -> Option<&StorageError> {
        match self {
            Self::Storage(source) => Some(source),
            Self::Name { .. } | Self::Size { .. } | Self::TooMany | Self::DiskFull => None,
        }
    }
}

impl Device {
    /// Keeps bytes under a name of the app's own, in the place of what was there. Durable when this returns.
    ///
    /// # Errors
    ///
    /// [`DraftError`]; what was there is as it was.
    pub fn save_draft(&mut self, now: Now, name: &str, bytes: &[u8]) -> Result<(), DraftError> {
        if !(1..=DRAFT_NAME_BYTES_MAX).contains(&name.len()) {
            return Err(DraftError::Name {
                size_bytes: name.len(),
            });
        }
        if bytes.len() > DRAFT_BYTES_MAX {
            return Err(DraftError::Size {
                size_bytes: bytes.len(),
            });
        }
        self.store.write(|tx| {
            if drafts::count_others(tx, name)? >= DRAFTS_MAX as u64 {
                return Err(DraftError::TooMany);
            }
            Ok(drafts::put(tx, name, bytes, now.wall)?)
        })
    }

    /// Returns the bytes of a draft; `None` if there is none of this name.
    ///
    /// # Errors
    ///
    /// [`ReadError::Storage`].
    pub fn draft(&self, name: &str) -> Result<Option<Vec<u8>>, ReadError> {
        Ok(drafts::find(self.store.reader(), name)?)
    }

    /// Lists the drafts, in order of their names.
    ///
    /// # Errors
    ///
    /// [`ReadError::Storage`].
    pub fn drafts(&self) -> Result<Vec<Draft>, ReadError> {
        Ok(drafts::list(self.store.reader())?)
    }

    /// Drops a draft, once what it was for is saved; says whether there was one.
    ///
    /// # Errors
    ///
    /// [`DraftError::DiskFull`] or [`DraftError::Storage`].
    pub fn drop_draft(&mut self, name: &str) -> Result<bool, DraftError> {
        self.store.write(|tx| Ok(drafts::remove(tx, name)?))
    }
}
