//! How a device comes to be known at a relay, and stays so: what is asked, and what is answered.
//!
//! A device that holds an invitation makes its key itself and asks with the code ([`EnrolRequest`]); a
//! person at the relay may compare a [`Fingerprint`] before it is let in. What it gets is a lease, which
//! it renews over the same messages. One request a stream, behind its length, then one answer; never
//! as early data. Rules: `PROTOCOL.md`, 10. Not here: the text that holds an invitation (`invitation`),
//! TLS (the link), whom to let in (the relay).

use core::fmt;
use core::str::FromStr;

use gridbeat_base::{DeviceId, Install, Remedy, WallTime};
use sha2::{Digest as _, Sha256};

use crate::codec::{read_reason, write_reason};
use crate::limits::{
    CERTIFICATE_BYTES_MAX, CERTIFICATES_MAX, DEVICE_NAME_BYTES_MAX, ENROL_ANSWER_BYTES_MAX,
    ENROL_REQUEST_BYTES_MAX, PINS_MAX, SERVER_NAME_BYTES_MAX,
};
use crate::wire::{Reader, Writer, check_count};
use crate::{DecodeError, PublicKey, Reason, SIGNATURE_BYTES, SUITE, Signature, Signer};

/// The name of enrolment in TLS's application-layer negotiation (ALPN).
pub const ENROL_ALPN: &[u8] = b"gridbeat-enrol/1";

/// Stands before what a device signs to show that it has a key's secret half.
const REQUEST_CONTEXT: &[u8; 16] = b"gridbeat enrol\0\0";

/// Stands before a key where its fingerprint is made.
const FINGERPRINT_CONTEXT: &[u8] = b"gridbeat fingerprint\0";

/// Stands before a code where its hash is made.
const CODE_CONTEXT: &[u8] = b"gridbeat code\0";

/// One more than the largest fingerprint.
const FINGERPRINTS: u32 = 1_000_000;

// The kinds of requests and answers.
const REDEEM: u64 = 0;
const RENEW: u64 = 1;
const WAITING: u64 = 0;
const ISSUED: u64 = 1;
const REFUSED: u64 = 2;

/// A one-time code: 128 bits that one invitation holds. Prints as `…`.
#[derive(Clone, Copy, Eq, PartialEq)]
pub struct EnrolCode([u8; 16]);

impl EnrolCode {
    /// Makes one from 16 random bytes.
    pub const fn from_bytes(bytes: [u8; 16]) -> Self {
        Self(bytes)
    }

    /// Returns its bytes.
    pub const fn reveal(&self) -> &[u8; 16] {
        &self.0
    }

    /// Returns what a relay keeps of it: who reads that cannot enrol by it.
    pub fn hash(&self) -> [u8; 32] {
        let hash = Sha256::new().chain_update(CODE_CONTEXT);
        hash.chain_update(self.0).finalize().into()
    }
}

impl fmt::Debug for EnrolCode {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("EnrolCode(…)")
    }
}

/// Six digits that stand for a device's key, for two people to compare: `042 917`.
///
/// Whoever saw an invitation and came first has a key, and so digits, of their own.
#[derive(Clone, Copy, Debug, Eq, Ord, PartialEq, PartialOrd)]
pub struct Fingerprint(u32);

impl Fingerprint {
    /// Returns the one of a key.
    pub fn of(key: &PublicKey) -> Self {
        let hash = Sha256::new().chain_update(FINGERPRINT_CONTEXT);
        let hash: [u8; 32] = hash.chain_update(key.bytes()).finalize().into();
        let (first, _) = hash.split_first_chunk::<8>().expect("a hash is longer");
        let digits = u64::from_be_bytes(*first) % u64::from(FINGERPRINTS);
        Self(u32::try_from(digits).expect("below a million"))
    }

    fn from_number(number: u32) -> Option<Self> {
        (number < FINGERPRINTS).then_some(Self(number))
    }
}

impl fmt::Display for Fingerprint {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:03} {:03}", self.0 / 1_000, self.0 % 1_000)
    }
}

impl FromStr for Fingerprint {
    type Err = FingerprintError;

    fn from_str(text: &str) -> Result<Self, FingerprintError> {
        let digits: String = text.chars().filter(|c| !matches!(c, ' ' | '-')).collect();
        if digits.len() != 6 || !digits.bytes().all(|byte| byte.is_ascii_digit()) {
            return Err(FingerprintError);
        }
        digits.parse().map(Self).map_err(|_| FingerprintError)
    }
}

/// A text is no fingerprint.
#[derive(Clone, Copy, Debug, Eq, PartialEq, thiserror::Error)]
#[error("a fingerprint has six digits, as in 042 917")]
pub struct FingerprintError;

impl FingerprintError {
    /// Returns what the caller should do about this error.
    pub const fn remedy(self) -> Remedy {
        Remedy::FixInput
    }
}

/// What a device asks to have certified: its key, and the proof that it has the secret half.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct KeyRequest {
    /// The key.
    pub key: PublicKey,
    /// Over the whole request, by that key.
    pub signature: Signature,
}

/// What a device asks.
#[derive(Clone, Debug, Eq, PartialEq)]
pub enum EnrolRequest {
    /// To be enrolled. The same request again, with the same key, asks how it stands.
    Redeem(Box<Redeem>),
    /// To have its lease renewed: for the key that it shows in TLS.
    Renew,
}

/// A request to be enrolled.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Redeem {
    /// The invitation's code.
    pub code: EnrolCode,
    /// The device's key.
    pub request: KeyRequest,
    /// The installation.
    pub install: Install,
    /// What the device calls itself, for the operator to see: a model, say. At most
    /// [`DEVICE_NAME_BYTES_MAX`], without control characters; anybody may claim anything.
    pub name: String,
}

impl Redeem {
    /// Makes the request of a device whose key is `signer`'s. What is too long of `name` is left out.
    pub fn new(code: EnrolCode, signer: &Signer, install: Install, name: &str) -> Self {
        let name: String = name.chars().filter(|c| !c.is_control()).collect();
        let name = &name[..name.floor_char_boundary(DEVICE_NAME_BYTES_MAX)];
        let key = signer.public_key();
        let signed = signed(code, &key, install, name);
        Self {
            code,
            request: KeyRequest {
                key,
                signature: signer.sign(&signed),
            },
            install,
            name: name.to_owned(),
        }
    }

    /// Returns whether who made this has the key's secret half.
    pub fn is_proven(&self) -> bool {
        let KeyRequest { key, signature } = &self.request;
        key.verifies(&signed(self.code, key, self.install, &self.name), signature)
    }
}

/// What the device signs (`PROTOCOL.md`, 10.3).
fn signed(code: EnrolCode, key: &PublicKey, install: Install, name: &str) -> Vec<u8> {
    let mut out = Writer::new();
    out.array(5).uint(SUITE).bytes(key.bytes());
    out.bytes(&code.0).bytes(install.bytes()).text(name);
    [REQUEST_CONTEXT.as_slice(), &out.into_bytes()].concat()
}

impl EnrolRequest {
    /// Makes the request's bytes.
    pub fn encode(&self) -> Vec<u8> {
        let mut out = Writer::new();
        match self {
            Self::Redeem(redeem) => {
                out.array(5).uint(REDEEM).bytes(&redeem.code.0);
                out.array(3).uint(SUITE);
                out.bytes(redeem.request.key.bytes());
                out.bytes(redeem.request.signature.bytes());
                out.bytes(redeem.install.bytes()).text(&redeem.name);
            }
            Self::Renew => {
                out.array(1).uint(RENEW);
            }
        }
        out.into_bytes()
    }

    /// Reads a request that anybody may have made.
    ///
    /// # Errors
    ///
    /// [`DecodeError`]; nothing beyond the limits was allocated.
    pub fn decode(bytes: &[u8]) -> Result<Self, DecodeError> {
        check_size(bytes, ENROL_REQUEST_BYTES_MAX)?;
        let mut from = Reader::new(bytes);
        let request = from.variant(|from, kind| match kind {
            REDEEM => Ok((
                4,
                Self::Redeem(Box::new(Redeem {
                    code: EnrolCode(from.fixed()?),
                    request: read_key_request(from)?,
                    install: Install::from_bytes(from.fixed()?),
                    name: read_name(from)?,
                })),
            )),
            RENEW => Ok((0, Self::Renew)),
            // PROTOCOL 10.2: a request the reader does not know cannot be skipped.
            _ => Err(DecodeError::UnknownFrame { kind }),
        })?;
        from.end()?;
        Ok(request)
    }
}

fn read_key_request(from: &mut Reader<'_>) -> Result<KeyRequest, DecodeError> {
    from.variant(|from, suite| {
        if suite != SUITE {
            return Err(DecodeError::UnknownSuite { suite });
        }
        let key = PublicKey::from_bytes(&from.fixed()?).ok_or_else(|| from.malformed())?;
        let signature = Signature::from_bytes(from.fixed::<SIGNATURE_BYTES>()?);
        Ok((2, KeyRequest { key, signature }))
    })
}

fn read_name(from: &mut Reader<'_>) -> Result<String, DecodeError> {
    let name = from.text("bytes of a device's name", DEVICE_NAME_BYTES_MAX)?;
    if name.chars().any(char::is_control) {
        return Err(from.malformed());
    }
    Ok(name.to_owned())
}

/// What a relay answers.
#[derive(Clone, Debug, Eq, PartialEq)]
pub enum EnrolAnswer {
    /// A person is to approve it.
    Waiting {
        /// What that person sees; the device compares it to its own key's and shows it.
        fingerprint: Fingerprint,
        /// When to ask again, in seconds.
        retry_after_s: u32,
    },
    /// The device is enrolled, or its lease renewed.
    Issued(Issued),
    /// Not.
    Refused {
        /// Why, for a program and for people; see [`EnrolRefusal::of`].
        reason: Reason,
        /// When it is worth asking again, in seconds; `None` if it is not.
        retry_after_s: Option<u32>,
    },
}

/// A lease: what makes a device known at its relay until it ends.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Issued {
    /// The device's id, which its certificate names.
    pub device: DeviceId,
    /// The name in the relay's certificate.
    pub server_name: String,
    /// The roots the relay's certificate may come from, whole (X.509, DER): the present, then the next
    /// if there is one. At least one.
    pub pins: Vec<Vec<u8>>,
    /// The device's certificate, then those it must show with it, if any. At least one.
    pub certificates: Vec<Vec<u8>>,
    /// When it was issued, by the relay's clock.
    pub issued: WallTime,
    /// From when on it may be renewed.
    pub renew_after: WallTime,
    /// When it ends.
    pub not_after: WallTime,
}

impl EnrolAnswer {
    /// Makes the answer's bytes.
    pub fn encode(&self) -> Vec<u8> {
        let mut out = Writer::new();
        match self {
            Self::Waiting {
                fingerprint,
                retry_after_s,
            } => {
                out.array(3).uint(WAITING);
                out.uint(fingerprint.0.into()).uint((*retry_after_s).into());
            }
            Self::Issued(issued) => {
                let write = |out: &mut Writer, der: &Vec<u8>| {
                    out.bytes(der);
                };
                out.array(8).uint(ISSUED).bytes(issued.device.bytes());
                out.text(&issued.server_name);
                out.list(&issued.pins, write);
                out.list(&issued.certificates, write);
                out.int(issued.issued.0).int(issued.renew_after.0);
                out.int(issued.not_after.0);
            }
            Self::Refused {
                reason,
                retry_after_s,
            } => {
                out.array(3).uint(REFUSED);
                write_reason(&mut out, reason);
                match retry_after_s {
                    Some(seconds) => out.uint((*seconds).into()),
                    None => out.null(),
                };
            }
        }
        out.into_bytes()
    }

    /// Reads an answer.
    ///
    /// # Errors
    ///
    /// [`DecodeError`]; nothing beyond the limits was allocated.
    pub fn decode(bytes: &[u8]) -> Result<Self, DecodeError> {
        check_size(bytes, ENROL_ANSWER_BYTES_MAX)?;
        let mut from = Reader::new(bytes);
        let answer = from.variant(|from, kind| match kind {
            WAITING => Ok((2, read_waiting(from)?)),
            ISSUED => Ok((7, Self::Issued(read_issued(from)?))),
            REFUSED => Ok((
                2,
                Self::Refused {
                    reason: read_reason(from)?,
                    retry_after_s: from.optional(Reader::u32)?,
                },
            )),
            // PROTOCOL 10.2: nor can an answer.
            _ => Err(DecodeError::UnknownFrame { kind }),
        })?;
        from.end()?;
        Ok(answer)
    }
}

fn read_waiting(from: &mut Reader<'_>) -> Result<EnrolAnswer, DecodeError> {
    let number = from.u32()?;
    Ok(EnrolAnswer::Waiting {
        fingerprint: Fingerprint::from_number(number).ok_or_else(|| from.malformed())?,
        retry_after_s: from.u32()?,
    })
}

fn read_issued(from: &mut Reader<'_>) -> Result<Issued, DecodeError> {
    Ok(Issued {
        device: DeviceId::from_bytes(from.fixed()?),
        server_name: from
            .text("bytes of a server's name", SERVER_NAME_BYTES_MAX)?
            .to_owned(),
        pins: read_certificates(from, "pins", PINS_MAX)?,
        certificates: read_certificates(from, "certificates", CERTIFICATES_MAX)?,
        issued: WallTime(from.int()?),
        renew_after: WallTime(from.int()?),
        not_after: WallTime(from.int()?),
    })
}

fn read_certificates(
    from: &mut Reader<'_>,
    part: &'static str,
    max: usize,
) -> Result<Vec<Vec<u8>>, DecodeError> {
    let certificates = from.list(part, max, |from| {
        let der = from.bytes()?;
        check_count("bytes of a certificate", der.len(), CERTIFICATE_BYTES_MAX)?;
        Ok(der.to_vec())
    })?;
    if certificates.is_empty() {
        return Err(from.malformed());
    }
    Ok(certificates)
}

const fn check_size(bytes: &[u8], max: usize) -> Result<(), DecodeError> {
    if bytes.len() > max {
        return Err(DecodeError::FrameTooLarge {
            bytes: bytes.len(),
            max,
        });
    }
    Ok(())
}

/// Why a relay did not enrol a device, or not renew its lease.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
#[non_exhaustive]
pub enum EnrolRefusal {
    /// The code was never issued, is spent, too old, or was taken back: all alike, so that nobody
    /// learns which.
    CodeNotGood,
    /// The operator saw the request and refused it.
    NotApproved,
    /// Too many requests that were refused came from this address.
    TooManyAttempts,
    /// The request's signature is not its key's, or the request cannot be read.
    NotProven,
    /// It asks for a renewal, and is not known here.
    DeviceUnknown,
    /// Its rights were taken.
    DeviceRevoked,
    /// It was enrolled anew with another key since.
    KeyReplaced,
    /// Its lease ended too long ago.
    TooLate,
    /// The relay has trouble of its own: its disk, or its authority. Trying again may help.
    RelayUnable,
}

impl EnrolRefusal {
    /// All there are.
    pub const ALL: [Self; 9] = [
        Self::CodeNotGood,
        Self::NotApproved,
        Self::TooManyAttempts,
        Self::NotProven,
        Self::DeviceUnknown,
        Self::DeviceRevoked,
        Self::KeyReplaced,
        Self::TooLate,
        Self::RelayUnable,
    ];

    /// Returns the one that a reason's code stands for; `None` for one of a later version.
    pub fn of(reason: &Reason) -> Option<Self> {
        let mut all = Self::ALL.into_iter();
        all.find(|refusal| refusal.code() == reason.code)
    }

    /// Returns its code (`PROTOCOL.md`, 10.6).
    pub const fn code(self) -> &'static str {
        match self {
            Self::CodeNotGood => "code_not_good",
            Self::NotApproved => "not_approved",
            Self::TooManyAttempts => "too_many_attempts",
            Self::NotProven => "not_proven",
            Self::DeviceUnknown => "device_unknown",
            Self::DeviceRevoked => "device_revoked",
            Self::KeyReplaced => "key_replaced",
            Self::TooLate => "too_late",
            Self::RelayUnable => "relay_unable",
        }
    }

    /// Returns it in words.
    pub fn reason(self) -> Reason {
        let (en, zh) = match self {
            Self::CodeNotGood => (
                "This invitation is not good, or not any more. Ask the operator for another.",
                "此邀请无效或已失效，请向管理员索取新的邀请",
            ),
            Self::NotApproved => (
                "The operator did not approve this device. Ask the operator.",
                "管理员未批准此设备，请联系管理员",
            ),
            Self::TooManyAttempts => (
                "Too many failed attempts from here. Wait, then try again.",
                "失败次数过多，请稍后再试",
            ),
            Self::NotProven => (
                "The request cannot be read or does not prove its key. Update the app.",
                "请求无法识别或密钥验证失败，请更新应用",
            ),
            Self::DeviceUnknown => (
                "This relay does not know the device. It must be enrolled.",
                "此服务器不认识该设备，需要重新注册",
            ),
            Self::DeviceRevoked => (
                "The rights of this device were taken. Ask the operator.",
                "此设备的权限已被收回，请联系管理员",
            ),
            Self::KeyReplaced => (
                "This device was enrolled anew with another key. This copy must be enrolled.",
                "此设备已用新的密钥重新注册，当前副本需要重新注册",
            ),
            Self::TooLate => (
                "The certificate ended too long ago to be renewed. Enrol the device anew.",
                "证书过期太久，无法续期，请重新注册设备",
            ),
            Self::RelayUnable => (
                "The relay cannot do this now. Trying again by itself; tell the operator if it lasts.",
                "服务器暂时无法处理，将自动重试；如持续出现请联系管理员",
            ),
        };
        Reason {
            code: self.code().to_owned(),
            en: en.to_owned(),
            zh: zh.to_owned(),
        }
    }
}
