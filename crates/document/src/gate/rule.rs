//! The rules of the gate: one variant each, with a stable code and words for a person.

use gridbeat_base::Verb;

use crate::{ParseError, Refusal, Words};

/// The rule that a refused change breaks.
#[derive(Clone, Debug, Eq, PartialEq)]
#[non_exhaustive]
pub enum Rule {
    /// It has more bytes than [`CHANGE_BYTES_MAX`](crate::CHANGE_BYTES_MAX).
    TooBig,
    /// It is not exactly one uncompressed change chunk.
    NotAChange(ParseError),
    /// It has no operations, or more than [`CHANGE_OPS_MAX`](crate::CHANGE_OPS_MAX).
    OperationCount,
    /// It has a message or bytes of an unknown meaning.
    Extras,
    /// Its operations cannot be decoded.
    Undecodable,
    /// Its time is none that a clock of milliseconds can tell.
    TimeOutOfRange,
    /// Its actor is not 16 bytes, or is the genesis's own.
    BadActor,
    /// Its actor belongs to another device.
    ActorOfAnother,
    /// Its dependencies are none, not sorted, or lack its actor's previous change.
    BadDependencies,
    /// Its number is not its actor's next one.
    WrongSequence,
    /// Its first operation is not the one after the last of its dependencies.
    WrongStart,
    /// It builds on an operation that is not in what it was made on.
    UnknownReference,
    /// It makes, replaces or deletes a container, or does something no kind's edit does.
    ForbiddenOperation,
    /// The document has as many changes or bytes as it may have.
    DocumentFull,
    /// The document with it does not save, load and read the same, or makes the library panic.
    Breaks,
    /// Its author lacks this verb in the scope.
    NotGranted(Verb),
    /// The kind does not allow it.
    Kind(Refusal),
}

impl Rule {
    /// Returns the rule's code: lower-case with underscores, the same for ever.
    pub const fn code(&self) -> &'static str {
        match self {
            Self::TooBig => "change_too_big",
            Self::NotAChange(_) => "not_a_change",
            Self::OperationCount => "operation_count",
            Self::Extras => "unknown_extras",
            Self::Undecodable => "undecodable_operations",
            Self::TimeOutOfRange => "time_out_of_range",
            Self::BadActor => "bad_actor",
            Self::ActorOfAnother => "actor_of_another_device",
            Self::BadDependencies => "bad_dependencies",
            Self::WrongSequence => "wrong_sequence",
            Self::WrongStart => "wrong_start_operation",
            Self::UnknownReference => "unknown_reference",
            Self::ForbiddenOperation => "forbidden_operation",
            Self::DocumentFull => "document_full",
            Self::Breaks => "breaks_document",
            Self::NotGranted(verb) => not_granted(*verb).0,
            Self::Kind(refusal) => refusal.rule,
        }
    }

    /// Returns the reason in words for a person.
    pub const fn words(&self) -> Words {
        match self {
            Self::TooBig => Words {
                en: "the change is too large",
                zh: "本次修改过大",
            },
            Self::NotAChange(_) | Self::Undecodable => Words {
                en: "the change cannot be read",
                zh: "本次修改无法读取",
            },
            Self::OperationCount => Words {
                en: "the change does too much at once",
                zh: "本次修改的操作数量不符合要求",
            },
            Self::Extras | Self::TimeOutOfRange | Self::ForbiddenOperation => Words {
                en: "the change does something this version does not allow",
                zh: "本次修改包含当前版本不允许的操作",
            },
            Self::BadActor | Self::ActorOfAnother => Words {
                en: "the change was not written by this device",
                zh: "本次修改不是由该设备产生的",
            },
            Self::BadDependencies
            | Self::WrongSequence
            | Self::WrongStart
            | Self::UnknownReference => Words {
                en: "the change does not follow from the record's history",
                zh: "本次修改与记录的历史不衔接",
            },
            Self::DocumentFull => Words {
                en: "the record is full; please continue in a new one",
                zh: "该记录已满,请新建记录继续",
            },
            Self::Breaks => Words {
                en: "the change would damage the record",
                zh: "本次修改会损坏该记录",
            },
            Self::NotGranted(verb) => not_granted(*verb).1,
            Self::Kind(refusal) => refusal.words,
        }
    }
}

/// Returns the code and the words for an author who lacks a verb.
const fn not_granted(verb: Verb) -> (&'static str, Words) {
    let (code, en, zh) = match verb {
        Verb::Read => (
            "read_not_granted",
            "this device may not see records in this area",
            "本设备无权查看该区域的记录",
        ),
        Verb::Report => (
            "report_not_granted",
            "this device may not begin records in this area",
            "本设备无权在该区域新建记录",
        ),
        Verb::Edit => (
            "edit_not_granted",
            "this device may not change records in this area",
            "本设备无权修改该区域的记录",
        ),
        Verb::Check => (
            "check_not_granted",
            "this device may not enter results of checks in this area",
            "本设备无权在该区域填写核查结果",
        ),
        Verb::Dispatch => (
            "dispatch_not_granted",
            "this device may not decide who does the work in this area",
            "本设备无权在该区域安排任务",
        ),
        Verb::Close => (
            "close_not_granted",
            "this device may not close records in this area",
            "本设备无权在该区域办结记录",
        ),
        Verb::Administer => (
            "administer_not_granted",
            "this device may not administer this area",
            "本设备无权管理该区域",
        ),
    };
    (code, Words { en, zh })
}
