//! What can go wrong when a device is opened or called.

use std::io;

use gridbeat_base::{DeviceId, Remedy};
use gridbeat_device_core as core;
use gridbeat_link::TlsError;

/// Why a device could not be opened. Its file is as it was.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum OpenError {
    /// The file could not be opened.
    #[error(transparent)]
    File(#[from] core::OpenError),
    /// The bundle is of no use.
    #[error("the device's bundle is of no use")]
    Bundle(#[from] TlsError),
    /// The bundle is another device's.
    #[error("the bundle is for device {bundle}, this is {device}")]
    OtherDevice {
        /// The device in the bundle.
        bundle: DeviceId,
        /// The device to be opened.
        device: DeviceId,
    },
    /// The system's key store did not give the file's key.
    #[error("the key of the device's file was not given")]
    Key(#[source] io::Error),
    /// The operating system gave no thread for the file.
    #[error("no thread for the device's file")]
    Thread(#[from] io::Error),
    /// The file's thread is gone: a bug, which the log tells more of.
    #[error("the device stopped while it was opened")]
    Stopped,
}

impl OpenError {
    /// Returns what the caller should do about this error.
    pub fn remedy(&self) -> Remedy {
        match self {
            Self::File(source) => source.remedy(),
            Self::Bundle(source) => source.remedy(),
            Self::OtherDevice { .. } | Self::Key(_) => Remedy::FixSetup,
            Self::Thread(_) => Remedy::RetryHere,
            Self::Stopped => Remedy::Report,
        }
    }
}

/// Why a call was not carried out.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum CallError<E> {
    /// The device was closed, or stopped by a bug, which the log tells more of. What was reported as
    /// saved is saved; of this call it is not known.
    #[error("the device was closed")]
    Closed,
    /// The device did not do it.
    #[error(transparent)]
    Failed(#[from] E),
}

impl<E: Failure> CallError<E> {
    /// Returns what the caller should do about this error.
    pub fn remedy(&self) -> Remedy {
        match self {
            Self::Closed => Remedy::FixSetup,
            Self::Failed(source) => source.remedy(),
        }
    }
}

/// What a call of a device may fail with. Not to be implemented elsewhere.
pub trait Failure {
    /// Returns what the caller should do about this error.
    fn remedy(&self) -> Remedy;
}

impl Failure for core::SaveError {
    fn remedy(&self) -> Remedy {
        Self::remedy(self)
    }
}

impl Failure for core::DraftError {
    fn remedy(&self) -> Remedy {
        Self::remedy(self)
    }
}

impl Failure for core::ReadError {
    fn remedy(&self) -> Remedy {
        Self::remedy(self)
    }
}

impl Failure for core::StorageError {
    fn remedy(&self) -> Remedy {
        Self::remedy(self)
    }
}
