//! An invitation: all that a device needs to enrol, in one line of text that fits a QR code.
//!
//! It says where the relay is, how to know it, and holds a code that is good once. The text is
//! `GRIDBEAT:` and base 32 (RFC 4648), whose characters QR codes pack densely and people can copy;
//! upper and lower case are alike, and spaces and line breaks are skipped. Four bytes of a hash at its
//! end tell a slip from a wrong relay. Rules: `PROTOCOL.md`, 10.1. Not here: drawing it (the CLI), redeeming it (`enrol`).

use core::fmt;
use core::str::FromStr;

use gridbeat_base::Remedy;
use sha2::{Digest as _, Sha256};

use crate::EnrolCode;
use crate::limits::{INVITATION_BYTES_MAX, INVITATION_NAMES_BYTES_MAX, PINS_MAX};
use crate::wire::{Reader, Writer};

/// What the text begins with.
const SCHEME: &str = "GRIDBEAT:";

/// The form of the text, which says how the pins are hashed (SHA-256).
const FORM: u64 = 1;

/// Bytes at the end that tell a slip: one in four thousand million goes unnoticed.
const CHECK_BYTES: usize = 4;

/// Bytes of a pin.
const PIN_BYTES: usize = 32;

const DIGITS: &[u8; 32] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZ234567";

/// The SHA-256 of a root's certificate (X.509, DER).
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct Pin([u8; PIN_BYTES]);

impl Pin {
    /// Returns the pin of a certificate.
    pub fn of(certificate: &[u8]) -> Self {
        Self(Sha256::digest(certificate).into())
    }
}

/// As hexadecimal digits: a pin is no secret.
impl fmt::Display for Pin {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.iter().try_for_each(|byte| write!(f, "{byte:02x}"))
    }
}

/// What a device needs to enrol at one relay.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Invitation {
    relay: String,
    server_name: String,
    // Invariant: one or two.
    pins: Vec<Pin>,
    code: EnrolCode,
}

impl Invitation {
    /// Makes one.
    ///
    /// # Errors
    ///
    /// [`InvitationError`]: a name that cannot be, names too long for the text, no pin or too many.
    pub fn new(
        relay: &str,
        server_name: &str,
        pins: &[Pin],
        code: EnrolCode,
    ) -> Result<Self, InvitationError> {
        if !is_address(relay) {
            return Err(InvitationError::Relay);
        }
        let is_letter = |c: char| c.is_ascii_alphanumeric() || matches!(c, '.' | '-' | '_');
        if server_name.is_empty() || !server_name.chars().all(is_letter) {
            return Err(InvitationError::ServerName);
        }
        let bytes = relay.len() + server_name.len();
        if bytes > INVITATION_NAMES_BYTES_MAX {
            return Err(InvitationError::NamesTooLong { bytes });
        }
        if pins.is_empty() || pins.len() > PINS_MAX {
            return Err(InvitationError::Pins { count: pins.len() });
        }
        Ok(Self {
            relay: relay.to_owned(),
            server_name: server_name.to_owned(),
            pins: pins.to_vec(),
            code,
        })
    }

    /// Returns the relay's UDP address: `host:port`, where host is a name or a number.
    pub fn relay(&self) -> &str {
        &self.relay
    }

    /// Returns the name in the relay's certificate.
    pub fn server_name(&self) -> &str {
        &self.server_name
    }

    /// Returns whether a root's certificate (X.509, DER) is one the relay may be known by.
    pub fn trusts(&self, certificate: &[u8]) -> bool {
        self.pins.contains(&Pin::of(certificate))
    }

    /// Returns the code. Whoever has it, and comes first, may ask to be enrolled.
    pub const fn code(&self) -> EnrolCode {
        self.code
    }

    /// Writes it as one line of at most [`INVITATION_BYTES_MAX`]. It holds the code.
    pub fn to_text(&self) -> String {
        let mut out = Writer::new();
        out.array(5).uint(FORM);
        out.text(&self.relay).text(&self.server_name);
        let pins = self.pins.iter().map(|pin| pin.0);
        out.bytes(&pins.collect::<Vec<_>>().concat());
        out.bytes(self.code.reveal());
        let mut bytes = out.into_bytes();
        bytes.extend_from_slice(&check(&bytes));
        let mut text = SCHEME.to_owned();
        text.push_str(&to_base32(&bytes));
        text
    }
}

impl FromStr for Invitation {
    type Err = InvitationError;

    fn from_str(text: &str) -> Result<Self, InvitationError> {
        let text: String = text.chars().filter(|c| !c.is_whitespace()).collect();
        let is_ours = text
            .get(..SCHEME.len())
            .is_some_and(|scheme| scheme.eq_ignore_ascii_case(SCHEME));
        if !is_ours {
            return Err(InvitationError::NotAnInvitation);
        }
        if text.len() > INVITATION_BYTES_MAX {
            return Err(InvitationError::TooLong { bytes: text.len() });
        }
        let bytes = from_base32(&text[SCHEME.len()..]).ok_or(InvitationError::Damaged)?;
        let (body, sum) = bytes
            .split_last_chunk::<CHECK_BYTES>()
            .ok_or(InvitationError::Damaged)?;
        if check(body) != *sum {
            return Err(InvitationError::Damaged);
        }
        read(body)
    }
}

fn read(body: &[u8]) -> Result<Invitation, InvitationError> {
    let mut form = 0;
    let mut from = Reader::new(body);
    let fields = from.variant(|from, kind| {
        form = kind;
        let relay = from.text("bytes of an address", INVITATION_NAMES_BYTES_MAX)?;
        let server_name = from.text("bytes of a server's name", INVITATION_NAMES_BYTES_MAX)?;
        let (pins, code) = (from.bytes()?, EnrolCode::from_bytes(from.fixed()?));
        Ok((4, (relay, server_name, pins, code)))
    });
    if form > FORM {
        return Err(InvitationError::Newer);
    }
    let (relay, server_name, pins, code) = fields.map_err(|_| InvitationError::Damaged)?;
    let (pins, rest) = pins.as_chunks::<PIN_BYTES>();
    if form != FORM || !rest.is_empty() || from.end().is_err() {
        return Err(InvitationError::Damaged);
    }
    let pins: Vec<Pin> = pins.iter().copied().map(Pin).collect();
    Invitation::new(relay, server_name, &pins, code)
}

/// Whether a text has the form `host:port`; whether the host is there, its resolver says.
fn is_address(text: &str) -> bool {
    let Some((host, port)) = text.rsplit_once(':') else {
        return false;
    };
    let host = match host.strip_prefix('[') {
        Some(number) => number.strip_suffix(']').unwrap_or(""),
        None if host.contains(':') => "",
        None => host,
    };
    !host.is_empty()
        && host.bytes().all(|byte| byte.is_ascii_graphic())
        && port.bytes().all(|byte| byte.is_ascii_digit())
        && port.parse::<u16>().is_ok_and(|port| port > 0)
}

fn check(bytes: &[u8]) -> [u8; CHECK_BYTES] {
    let hash: [u8; 32] = Sha256::digest(bytes).into();
    *hash.first_chunk().expect("a hash is longer")
}

fn to_base32(bytes: &[u8]) -> String {
    let mut text = String::with_capacity(bytes.len().div_ceil(5) * 8);
    let (mut held, mut bits) = (0_u32, 0_u32);
    for byte in bytes {
        held = held << 8 | u32::from(*byte);
        bits += 8;
        while bits >= 5 {
            bits -= 5;
            text.push(digit(held >> bits));
        }
    }
    if bits > 0 {
        text.push(digit(held << (5 - bits)));
    }
    text
}

fn digit(bits: u32) -> char {
    char::from(DIGITS[usize::try_from(bits & 31).expect("five bits")])
}

/// `None` for another character, and for bits left over that are not 0 or a whole digit.
fn from_base32(text: &str) -> Option<Vec<u8>> {
    let mut bytes = Vec::with_capacity(text.len() * 5 / 8);
    let (mut held, mut bits) = (0_u32, 0_u32);
    for byte in text.bytes() {
        let value = match byte {
            b'A'..=b'Z' => byte - b'A',
            b'a'..=b'z' => byte - b'a',
            b'2'..=b'7' => byte - b'2' + 26,
            _ => return None,
        };
        held = held << 5 | u32::from(value);
        bits += 5;
        if bits >= 8 {
            bits -= 8;
            bytes.push(u8::try_from(held >> bits & 0xff).ok()?);
        }
    }
    (bits < 5 && held & ((1 << bits) - 1) == 0).then_some(bytes)
}

/// Why a text is no invitation, or why none can be made.
#[derive(Clone, Debug, Eq, PartialEq, thiserror::Error)]
#[non_exhaustive]
pub enum InvitationError {
    /// It begins otherwise.
    #[error("not an invitation of Gridbeat, which begins with gridbeat:")]
    NotAnInvitation,
    /// Longer than any is.
    #[error("an invitation has at most {INVITATION_BYTES_MAX} characters, not {bytes}")]
    TooLong {
        /// Its length.
        bytes: usize,
    },
    /// A character is wrong or missing.
    #[error("the invitation is not whole, or a character is wrong: scan or copy it again")]
    Damaged,
    /// Of a form that this program does not know.
    #[error("the invitation was made by a newer Gridbeat: update this one")]
    Newer,
    /// The relay's address is none.
    #[error("the relay's address must be host:port, as in relay.example.org:4747")]
    Relay,
    /// The name in the relay's certificate is none.
    #[error("the relay's server name may have letters, digits, dots and hyphens only")]
    ServerName,
    /// The names do not fit.
    #[error(
        "the relay's address and server name have {bytes} characters together, and \
         {INVITATION_NAMES_BYTES_MAX} fit an invitation: use shorter ones"
    )]
    NamesTooLong {
        /// How many they have.
        bytes: usize,
    },
    /// No pin, or too many.
    #[error("an invitation has one or two pins, not {count}")]
    Pins {
        /// How many there are.
        count: usize,
    },
}

impl InvitationError {
    /// Returns what the caller should do about this error.
    pub const fn remedy(&self) -> Remedy {
        match self {
            Self::NotAnInvitation | Self::TooLong { .. } | Self::Damaged | Self::Newer => {
                Remedy::FixInput
            }
            Self::Relay | Self::ServerName | Self::NamesTooLong { .. } | Self::Pins { .. } => {
                Remedy::FixSetup
            }
        }
    }
}
