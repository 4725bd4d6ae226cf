//! The single values of an incident as they stand in its document, written and read.

use gridbeat_base::Position;
use gridbeat_document::{Scalar, Value};
use minicbor::Decode;

use super::Severity;
use crate::Category;

pub(super) fn category_scalar(category: &Category) -> Scalar {
    Scalar::Bytes(minicbor::to_vec(category).expect("writing to memory does not fail"))
}

pub(super) fn severity_scalar(severity: Severity) -> Scalar {
    Scalar::Int(match severity {
        Severity::Minor => 0,
        Severity::Ordinary => 1,
        Severity::Serious => 2,
        Severity::Urgent => 3,
    })
}

pub(super) fn read_severity(value: &Value) -> Option<Severity> {
    let Value::Int(number) = value else {
        return None;
    };
    match number {
        0 => Some(Severity::Minor),
        1 => Some(Severity::Ordinary),
        2 => Some(Severity::Serious),
        3 => Some(Severity::Urgent),
        _ => None,
    }
}

/// A position is one value of eight bytes, so that a latitude is never merged with another's
/// longitude.
pub(crate) fn position_scalar(position: Position) -> Scalar {
    let mut bytes = position.latitude_e7().to_be_bytes().to_vec();
    bytes.extend(position.longitude_e7().to_be_bytes());
    Scalar::Bytes(bytes)
}

pub(super) fn read_position(value: &Value) -> Option<Position> {
    let Value::Bytes(bytes) = value else {
        return None;
    };
    let (latitude, longitude) = bytes.split_first_chunk::<4>()?;
    let longitude: [u8; 4] = longitude.try_into().ok()?;
    Position::from_e7(i32::from_be_bytes(*latitude), i32::from_be_bytes(longitude)).ok()
}

pub(super) fn read_bytes<T: for<'b> Decode<'b, ()>>(value: &Value) -> Option<T> {
    let Value::Bytes(bytes) = value else {
        return None;
    };
    minicbor::decode(bytes).ok()
}
