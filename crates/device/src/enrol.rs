//! How a device comes to be known at a relay, from its own side.
//!
//! The device makes its key, and keeps it with the invitation in a file beside where its bundle will be,
//! *before* it says anything: a code is good once, so a device that forgot the key it redeemed it with would
//! have nothing. From then on everything may be lost and done again: the same request with the same key gets
//! the same answer. The bundle appears whole, or not at all; only then is the other file removed.
//!
//! ```no_run
//! # async fn enrol() -> Result<(), Box<dyn std::error::Error>> {
//! # use gridbeat_device::{Enrolment, EnrolNews, install_from_file};
//! let invitation = "gridbeat:…".parse()?;
//! let install = install_from_file("install".as_ref())?;
//! let enrolment = Enrolment::begin(invitation, "bundle.json".as_ref(), install, "pad 12")?;
//! let bundle = enrolment
//!     .finish(|news| {
//!         if let EnrolNews::Waiting(fingerprint) = news {
//!             println!("read this to the operator: {fingerprint}");
//!         }
//!     })
//!     .await?;
//! # Ok(()) }
//! ```
//!
//! Not here: the operator's side (`relay`), renewing (`renew`).

use std::fs;
use std::io;
use std::path::{Path, PathBuf};
use std::time::Duration;

use gridbeat_base::{Install, Redacted, Remedy};
use gridbeat_link::{
    BundleError, DeviceBundle, End, EnrolTls, ExchangeError, TlsError, make_device_key,
    random_from_system, read_private, signer_of, write_private,
};
use gridbeat_sync_protocol::{
    DecodeError, EnrolAnswer, EnrolRequest, Fingerprint, Invitation, Issued, Reason, Redeem, Signer,
};
use serde::{Deserialize, Serialize};

use crate::ask::ask_relay;

/// What is added to the bundle's name for the file of an enrolment that is under way.
const UNDER_WAY: &str = "enrolling";

/// Shortest pause between two questions: a relay that names none is not asked more often.
const PAUSE_MIN: Duration = Duration::from_secs(1);

/// Longest pause: a person waits on either side.
const PAUSE_MAX: Duration = Duration::from_secs(30);

/// An enrolment that is under way. It may be dropped at any time and begun again with the same invitation.
#[derive(Debug)]
pub struct Enrolment {
    bundle: PathBuf,
    invitation: Invitation,
    key: Redacted<String>,
    signer: Signer,
    request: EnrolRequest,
    tls: EnrolTls,
}

/// How an enrolment stands.
#[derive(Clone, Debug)]
pub enum EnrolNews {
    /// The operator is to approve it, after comparing these digits: read them out.
    Waiting(Fingerprint),
    /// The relay did not answer; it is asked again.
    NoAnswer(Reason),
}

/// What a question led to.
#[derive(Debug)]
pub enum EnrolStep {
    /// The device is enrolled, and its bundle written.
    Enrolled(Box<DeviceBundle>),
    /// Ask again after a while.
    Again {
        /// How it stands.
        news: EnrolNews,
        /// When.
        after: Duration,
    },
}

/// An enrolment that is under way, as it lies in its file.
#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct UnderWay {
    invitation: String,
    key: String,
    name: String,
}

impl Enrolment {
    /// Begins an enrolment whose bundle is to be written to the file `bundle`, or goes on with one that was
    /// interrupted. One with another invitation is given up. `name` is what the operator sees: whose
    /// device it is, or which model.
    ///
    /// # Errors
    ///
    /// [`EnrolError`]: when there is a bundle already, or the files cannot be used. Nothing has been sent.
    pub fn begin(
        invitation: Invitation,
        bundle: &Path,
        install: Install,
        name: &str,
    ) -> Result<Self, EnrolError> {
        if bundle.try_exists()? {
            // A crash may have left the other file behind.
            let enrolled = DeviceBundle::read(bundle)?;
            return Err(EnrolError::Enrolled {
                relay: enrolled.relay,
            });
        }
        let file = under_way(bundle);
        let under_way = match read_under_way(&file, &invitation)? {
            Some(under_way) => under_way,
            None => {
                let key = make_device_key(&mut random_from_system());
                let fresh = UnderWay {
                    invitation: invitation.to_text(),
                    key: key.into_inner(),
                    name: name.to_owned(),
                };
                let json = serde_json::to_vec(&fresh).expect("texts are always JSON");
                write_private(&file, &json)?;
                fresh
            }
        };
        let key = Redacted::new(under_way.key);
        let signer = signer_of(&key).ok_or(EnrolError::Damaged { file })?;
        let redeem = Redeem::new(invitation.code(), &signer, install, &under_way.name);
        Ok(Self {
            bundle: bundle.to_owned(),
            tls: EnrolTls::invited(&invitation)?,
            request: EnrolRequest::Redeem(Box::new(redeem)),
            invitation,
            key,
            signer,
        })
    }

    /// Returns the digits that stand for this device's key, which the operator sees too.
    pub fn fingerprint(&self) -> Fingerprint {
        Fingerprint::of(&self.signer.public_key())
    }

    /// Asks the relay once.
    ///
    /// # Errors
    ///
    /// [`EnrolError`]: it is of no use to ask again as things are.
    pub async fn ask(&self) -> Result<EnrolStep, EnrolError> {
        let again = |news, seconds: u32| {
            let after = Duration::from_secs(seconds.into()).clamp(PAUSE_MIN, PAUSE_MAX);
            Ok(EnrolStep::Again { news, after })
        };
        match ask_relay(self.invitation.relay(), &self.tls, &self.request).await {
            Ok(EnrolAnswer::Issued(issued)) => {
                let bundle = self.keep(&issued)?;
                Ok(EnrolStep::Enrolled(Box::new(bundle)))
            }
            Ok(EnrolAnswer::Waiting {
                fingerprint,
                retry_after_s,
            }) => {
                if fingerprint != self.fingerprint() {
                    return Err(EnrolError::OtherKey);
                }
                again(EnrolNews::Waiting(fingerprint), retry_after_s)
            }
            Ok(EnrolAnswer::Refused {
                reason,
                retry_after_s,
            }) => Err(EnrolError::Refused {
                reason,
                retry_after: retry_after_s.map(|after| Duration::from_secs(after.into())),
            }),
            Err(ExchangeError::Ended(End::TheirCertificate)) => Err(EnrolError::OtherRelay),
            Err(ExchangeError::Ended(End::Words(close))) => {
                again(EnrolNews::NoAnswer(close.reason), close.retry_after_s)
            }
            Err(ExchangeError::Ended(end @ (End::Silent | End::Restarted | End::Finished))) => {
                again(EnrolNews::NoAnswer(end.words()), 0)
            }
            Err(ExchangeError::Ended(end)) => Err(EnrolError::Link(end)),
            Err(ExchangeError::Unreadable(error)) => Err(error.into()),
            Err(_) => Err(EnrolError::Link(End::RuleBroken)),
        }
    }

    /// Asks until the operator has decided, and tells on the way how it stands.
    ///
    /// # Errors
    ///
    /// [`EnrolError`].
    pub async fn finish(self, mut tell: impl FnMut(EnrolNews)) -> Result<DeviceBundle, EnrolError> {
        loop {
            match self.ask().await? {
                EnrolStep::Enrolled(bundle) => return Ok(*bundle),
                EnrolStep::Again { news, after } => {
                    tell(news);
                    tokio::time::sleep(after).await;
                }
            }
        }
    }

    /// Writes the bundle; only then the key is forgotten where it was kept first.
    fn keep(&self, issued: &Issued) -> Result<DeviceBundle, EnrolError> {
        let bundle = DeviceBundle::from_issued(self.invitation.relay(), issued, &self.key)?;
        if !bundle.pins.iter().any(|pin| self.invitation.trusts(pin)) {
            return Err(EnrolError::OtherRelay);
        }
        bundle.write(&self.bundle)?;
        match fs::remove_file(under_way(&self.bundle)) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => {
                // It is of no use to anybody who has not the bundle too.
                tracing::warn!(%error, "the file of the enrolment could not be removed");
            }
            Ok(()) | Err(_) => {}
        }
        Ok(bundle)
    }
}

fn under_way(bundle: &Path) -> PathBuf {
    let mut name = bundle.file_name().unwrap_or_default().to_owned();
    name.push(".");
    name.push(UNDER_WAY);
    bundle.with_file_name(name)
}

/// Reads the file of an enrolment with this invitation; `None` if there is none, or one with another.
fn read_under_way(file: &Path, invitation: &Invitation) -> Result<Option<UnderWay>, EnrolError> {
    let bytes = match read_private(file) {
        Ok(bytes) => bytes,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
        Err(error) => return Err(error.into()),
    };
    let damaged = || EnrolError::Damaged {
        file: file.to_owned(),
    };
    let found: UnderWay = serde_json::from_slice(&bytes).map_err(|_| damaged())?;
    let of: Invitation = found.invitation.parse().map_err(|_| damaged())?;
    Ok((of == *invitation).then_some(found))
}

/// Why a device was not enrolled.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum EnrolError {
    /// A file cannot be read or written.
    #[error("a file of the device cannot be used")]
    File(#[from] io::Error),
    /// There is a bundle already.
    #[error("this device is enrolled already, at {relay}")]
    Enrolled {
        /// The relay's address.
        relay: String,
    },
    /// The file of an interrupted enrolment cannot be read.
    #[error("{} is damaged", file.display())]
    Damaged {
        /// The file.
        file: PathBuf,
    },
    /// The relay refused.
    #[error("the relay refused: {}", reason.en)]
    Refused {
        /// Why.
        reason: Reason,
        /// When it is worth asking again, if ever.
        retry_after: Option<Duration>,
    },
    /// Whoever is there is not the relay of the invitation. Nothing was said to it.
    #[error("this is not the relay of the invitation, or the date of this device is wrong")]
    OtherRelay,
    /// The relay has a request by another key for this code.
    #[error("the relay speaks of another device's key")]
    OtherKey,
    /// The link cannot be made.
    #[error("no link: {0}")]
    Link(End),
    /// The relay sent what is no answer.
    #[error("the relay does not keep to the protocol")]
    Unreadable(#[from] DecodeError),
    /// What the relay issued, or a bundle that is there, is of no use.
    #[error("the bundle is of no use")]
    Bundle(#[from] BundleError),
    /// The invitation's server name is none.
    #[error("the invitation is of no use")]
    Invitation(#[from] TlsError),
}

impl EnrolError {
    /// Returns what the caller should do about this error.
    pub fn remedy(&self) -> Remedy {
        match self {
            Self::File(_) | Self::Enrolled { .. } | Self::Damaged { .. } | Self::OtherRelay => {
                Remedy::FixSetup
            }
            Self::Refused {
                retry_after: Some(_),
                ..
            } => Remedy::RetryHere,
            Self::Refused { .. } | Self::Invitation(_) => Remedy::FixInput,
            Self::OtherKey | Self::Unreadable(_) => Remedy::Report,
            Self::Link(end) => end.remedy(),
            Self::Bundle(source) => source.remedy(),
        }
    }

    /// Returns it in words for the person who holds the device.
    pub fn words(&self) -> Reason {
        let (code, en, zh) = match self {
            Self::Refused { reason, .. } => return reason.clone(),
            Self::Link(end) => return end.words(),
            Self::File(_) => (
                "file_unusable",
                "This device cannot write its files. Free some space, or check the folder.",
                "本设备无法写入文件，请清理存储空间或检查文件夹",
            ),
            Self::Enrolled { .. } => (
                "enrolled_already",
                "This device is enrolled already.",
                "本设备已登记",
            ),
            Self::Damaged { .. } => (
                "enrolment_damaged",
                "The interrupted enrolment cannot be read. Remove its file and ask for another invitation.",
                "中断的登记记录已损坏，请删除该文件并索取新的邀请",
            ),
            Self::OtherRelay => (
                "relay_not_of_invitation",
                "This is not the relay of the invitation, or the date of this device is wrong. Nothing was sent.",
                "对方不是邀请中的服务端，或本设备日期有误；未发送任何信息",
            ),
            Self::OtherKey => (
                "another_key",
                "The relay speaks of another device. Ask for another invitation.",
                "服务端返回的是另一台设备的信息，请索取新的邀请",
            ),
            Self::Unreadable(_) | Self::Bundle(_) => (
                "answer_unusable",
                "The relay's answer is of no use. Update the program, or tell the operator.",
                "服务端的应答无法使用，请更新程序或告知管理员",
            ),
            Self::Invitation(_) => (
                "invitation_unusable",
                "The invitation is of no use. Ask for another.",
                "邀请无法使用，请索取新的邀请",
            ),
        };
        Reason {
            code: code.to_owned(),
            en: en.to_owned(),
            zh: zh.to_owned(),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use gridbeat_sync_protocol::{EnrolCode, Pin};

    const INSTALL: Install = Install::from_bytes([5; 16]);

    fn invitation(code: u8) -> Invitation {
        let pins = [Pin::of(b"root")];
        let code = EnrolCode::from_bytes([code; 16]);
        Invitation::new("127.0.0.1:1", "relay.example", &pins, code).unwrap()
    }

    #[test]
    fn the_key_is_kept_before_anything_is_said_and_used_again() {
        let dir = tempfile::tempdir().unwrap();
        let bundle = dir.path().join("bundle.json");
        let begin = |code| Enrolment::begin(invitation(code), &bundle, INSTALL, "pad").unwrap();
        let first = begin(1);
        let kept = read_private(&dir.path().join("bundle.json.enrolling")).unwrap();
        assert!(String::from_utf8(kept).unwrap().contains("PRIVATE KEY"));
        let again = begin(1);
        assert_eq!(again.fingerprint(), first.fingerprint());
        assert_eq!(again.request, first.request);
        let other = begin(2);
        assert_ne!(other.signer.public_key(), first.signer.public_key());
        assert!(!format!("{other:?}").contains("PRIVATE"));
    }

    #[test]
    fn what_lies_in_the_way_is_named_and_left_alone() {
        let dir = tempfile::tempdir().unwrap();
        let bundle = dir.path().join("bundle.json");
        write_private(&under_way(&bundle), b"{}").unwrap();
        let begin = || Enrolment::begin(invitation(1), &bundle, INSTALL, "pad").unwrap_err();
        assert!(matches!(begin(), EnrolError::Damaged { .. }));
        write_private(&bundle, b"{}").unwrap();
        assert!(matches!(begin(), EnrolError::Bundle(_)));
        assert_eq!(read_private(&under_way(&bundle)).unwrap(), b"{}");
    }
}
