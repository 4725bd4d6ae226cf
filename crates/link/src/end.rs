//! Why a connection was closed, by whom, and how to close one.
//!
//! A connection that is closed for a reason carries the reason's `Close` frame in QUIC's own closing
//! packet (`PROTOCOL.md`, 6): a frame on a stream might never arrive, since closing abandons the
//! streams. TLS alerts are told apart by whose certificate was refused, because the remedies are
//! different people's work. Not here: when to dial again (`device`).

use std::fmt;

use gridbeat_base::Remedy;
use gridbeat_sync_protocol::{Close, Frame, Reason, decode, encode};
use quinn::{Connection, ConnectionError, VarInt};

/// The application error code of a connection closed because its work was done.
const FINISHED: u32 = 0;

/// The application error code of a connection closed for the reason that comes with it.
const FOR_A_REASON: u32 = 1;

/// QUIC's transport error codes for TLS alerts: this and the alert's number (RFC 9001, 4.8).
const TLS_ALERT: u64 = 0x100;

/// How a connection came to its end.
#[derive(Clone, Debug, Eq, PartialEq)]
pub enum End {
    /// The peer closed it, in words.
    Words(Close),
    /// One of the two was done.
    Finished,
    /// The peer refused our certificate: unknown authority, or not for this use.
    OurCertificate,
    /// The peer refused our certificate because its time is over: it has to be renewed.
    OurLease,
    /// We refused the peer's certificate: not of a pinned authority, another name, expired.
    TheirCertificate,
    /// The peer knows nothing of the connection: it was restarted.
    Restarted,
    /// Nothing was heard for too long.
    Silent,
    /// The two speak no common version of QUIC or of the application protocol.
    NoCommonVersion,
    /// A rule of QUIC or TLS was broken, by one of the two libraries or by somebody in between.
    RuleBroken,
}

impl End {
    /// Tells how a connection came to its end.
    pub fn of(error: &ConnectionError) -> Self {
        match error {
            ConnectionError::ApplicationClosed(close) => {
                match (
                    close.error_code == FOR_A_REASON.into(),
                    decode(&close.reason),
                ) {
                    (true, Ok(Frame::Close(close))) if close.reason.code == LEASE_OVER => {
                        Self::OurLease
                    }
                    (true, Ok(Frame::Close(close))) => Self::Words(close),
                    _ => Self::Finished,
                }
            }
            ConnectionError::LocallyClosed => Self::Finished,
            ConnectionError::Reset => Self::Restarted,
            ConnectionError::TimedOut => Self::Silent,
            ConnectionError::VersionMismatch => Self::NoCommonVersion,
            ConnectionError::TransportError(error) => Self::of_code(error.code.into(), true),
            ConnectionError::ConnectionClosed(close) => {
                Self::of_code(close.error_code.into(), false)
            }
            ConnectionError::CidsExhausted => Self::RuleBroken,
        }
    }

    fn of_code(code: u64, ours: bool) -> Self {
        // RFC 8446, 6: the alerts that are about a certificate.
        const CERTIFICATE: [u64; 9] = [42, 43, 44, EXPIRED, 46, 48, 49, 51, 116];
        const EXPIRED: u64 = 45;
        const NO_APPLICATION_PROTOCOL: u64 = 120;
        const CONNECTION_REFUSED: u64 = 2;
        match code.checked_sub(TLS_ALERT) {
            Some(EXPIRED) if !ours => Self::OurLease,
            Some(alert) if CERTIFICATE.contains(&alert) => {
                if ours {
                    Self::TheirCertificate
                } else {
                    Self::OurCertificate
                }
            }
            Some(NO_APPLICATION_PROTOCOL) => Self::NoCommonVersion,
            None if code == CONNECTION_REFUSED => Self::Silent,
            Some(_) | None => Self::RuleBroken,
        }
    }

    /// Returns what to do about it, if the connection was still wanted.
    pub const fn remedy(&self) -> Remedy {
        match self {
            Self::Words(_) | Self::Finished | Self::Restarted | Self::Silent | Self::OurLease => {
                Remedy::Reconnect
            }
            Self::OurCertificate | Self::TheirCertificate | Self::NoCommonVersion => {
                Remedy::FixSetup
            }
            Self::RuleBroken => Remedy::Report,
        }
    }

    /// Returns it in words for a person.
    pub fn words(&self) -> Reason {
        let (code, en, zh) = match self {
            Self::Words(close) => return close.reason.clone(),
            Self::Finished => ("finished", "the connection was closed", "连接已关闭"),
            Self::OurCertificate => (
                "device_certificate_refused",
                "the relay does not accept this device's certificate: have the device enrolled again",
                "服务端不接受本设备的证书，请重新登记设备",
            ),
            Self::OurLease => return lease_over(),
            Self::TheirCertificate => (
                "relay_certificate_refused",
                "this is not the relay the device was enrolled with, or the device's date is wrong",
                "对方不是本设备登记的服务端，或本设备日期有误",
            ),
            Self::Restarted => ("relay_restarted", "the relay was restarted", "服务端已重启"),
            Self::Silent => ("silent", "the relay does not answer", "服务端无应答"),
            Self::NoCommonVersion => (
                "no_common_version",
                "the relay speaks another version: update the program",
                "与服务端版本不兼容，请更新程序",
            ),
            Self::RuleBroken => (
                "transport_rule_broken",
                "the connection broke a rule of its transport",
                "连接违反传输规则",
            ),
        };
        Reason {
            code: code.to_owned(),
            en: en.to_owned(),
            zh: zh.to_owned(),
        }
    }
}

impl fmt::Display for End {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.words().en)
    }
}

/// The code of [`lease_over`].
const LEASE_OVER: &str = "device_lease_over";

/// Returns the words for a device whose certificate has expired. It renews it by itself.
pub fn lease_over() -> Reason {
    Reason {
        code: LEASE_OVER.to_owned(),
        en: "this device's certificate has expired; it is being renewed".to_owned(),
        zh: "本设备证书已过期，正在续期".to_owned(),
    }
}

/// Closes a connection whose work is done.
pub fn finish(connection: &Connection) {
    connection.close(VarInt::from_u32(FINISHED), b"");
}

/// Closes a connection for a reason, which the peer is told.
pub fn close(connection: &Connection, close: &Close) {
    let frame = encode(&Frame::Close(close.clone()));
    connection.close(VarInt::from_u32(FOR_A_REASON), &frame);
}
