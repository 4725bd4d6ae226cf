//! Why the relay refuses a change or ends a session: stable codes, and words for people.

use std::time::Duration;

use gridbeat_document::{Rule, Words};
use gridbeat_sync_protocol::{
    Close, Reason,
    limits::{REASON_CODE_BYTES_MAX, REASON_TEXT_BYTES_MAX},
};

/// A reason of the relay's own, beside the rules of the gate.
pub(crate) struct Why {
    pub(crate) code: &'static str,
    words: Words,
}

impl Why {
    const fn new(code: &'static str, en: &'static str, zh: &'static str) -> Self {
        let words = Words { en, zh };
        Self { code, words }
    }

    /// Returns the reason as it travels.
    pub(crate) fn reason(&self) -> Reason {
        reason(self.code, self.words)
    }

    /// Returns the end of a session for this reason.
    pub(crate) fn close(&self, retry_after: Duration) -> Close {
        // A started second is waited for: 0 means at once.
        let started = u64::from(retry_after.subsec_nanos() > 0);
        let seconds = retry_after.as_secs().saturating_add(started);
        Close {
            reason: self.reason(),
            retry_after_s: u32::try_from(seconds).unwrap_or(u32::MAX),
        }
    }
}

/// How long a device that may not come in should stay away: long enough that it costs nothing, short
/// enough that it comes in within an hour of being let in again.
pub(crate) const RETRY_AFTER_DENIED: Duration = Duration::from_secs(3600);

pub(crate) const SCOPE_NOT_GRANTED: Why = Why::new(
    "scope_not_granted",
    "this device may not write in this area",
    "本设备无权在该区域写入",
);
pub(crate) const UNKNOWN_KIND: Why = Why::new(
    "unknown_kind",
    "the relay does not know this kind of record",
    "服务端不支持此类记录",
);
pub(crate) const UNKNOWN_SCHEMA: Why = Why::new(
    "unknown_schema",
    "the relay does not know this version of the record",
    "服务端不支持此版本的记录",
);
pub(crate) const OTHER_KIND: Why = Why::new(
    "other_kind",
    "the record exists as one of another kind",
    "该记录已作为其他类型存在",
);
pub(crate) const NOT_IN_SCOPE: Why = Why::new(
    "document_not_in_scope",
    "the record is not, or no longer, in this area",
    "该记录不在或已不在该区域",
);
pub(crate) const DOCUMENT_FULL: Why = Why::new(
    "document_full",
    "the record is full; please continue in a new one",
    "该记录已满，请新建记录继续",
);
pub(crate) const DOCUMENT_UNREADABLE: Why = Why::new(
    "document_unreadable",
    "the relay cannot read its copy of the record; please report this",
    "服务端无法读取该记录的副本，请报告",
);
pub(crate) const TOO_MANY_DOCUMENTS: Why = Why::new(
    "too_many_documents",
    "this device has begun more records than allowed in an hour",
    "本设备一小时内新建的记录过多",
);
pub(crate) const DEVICE_UNKNOWN: Why = Why::new(
    "device_unknown",
    "this device is not enrolled at this relay",
    "本设备未在该服务端登记",
);
pub(crate) const DEVICE_REVOKED: Why = Why::new(
    "device_revoked",
    "this device is no longer allowed; please ask the operator",
    "本设备的使用权限已被撤销，请联系管理员",
);
pub(crate) const DEVICE_SUSPENDED: Why = Why::new(
    "device_suspended",
    "this device has sent what no device sends, again and again; the relay takes nothing from it for a while",
    "本设备多次发送异常数据，服务端暂停接收，请稍后再试",
);
pub(crate) const DEVICE_KEY_MISSING: Why = Why::new(
    "device_key_missing",
    "this device signs what it sends, but its certificate has no signing key; please enrol it again",
    "本设备应对上传内容签名，但其证书没有签名密钥，请重新登记设备",
);
pub(crate) const DEVICE_KEY_REPLACED: Why = Why::new(
    "device_key_replaced",
    "this device's certificate is for a key that is not its present one; please enrol it again",
    "本设备证书所用密钥不是当前密钥，请重新登记设备",
);
pub(crate) const QUARANTINE_FULL: Why = Why::new(
    "quarantine_full",
    "the relay has no room for more of what this device hands over; nothing is lost on it, and the operator \
     has to see to it",
    "服务端已无法暂存本设备移交的更多内容，本设备上的数据不会丢失，请联系管理员处理",
);
pub(crate) const GRANTS_CHANGED: Why = Why::new(
    "grants_changed",
    "what this device may do has changed; connecting again",
    "本设备的权限已变更，正在重新连接",
);
pub(crate) const RELAY_DRAINING: Why = Why::new(
    "relay_restarting",
    "the relay is restarting",
    "服务端正在重启",
);
pub(crate) const STORAGE_FULL: Why = Why::new(
    "relay_storage_full",
    "the relay has no space left; nothing is lost on this device",
    "服务端存储空间已满，本设备上的数据不会丢失",
);
pub(crate) const STORAGE_FAILED: Why = Why::new(
    "relay_storage_failed",
    "the relay could not store or read; nothing is lost on this device",
    "服务端存储发生故障，本设备上的数据不会丢失",
);
pub(crate) const BLOB_NOT_ATTACHED: Why = Why::new(
    gridbeat_sync_protocol::BLOB_NOT_ATTACHED,
    "no record that this device may see refers to this photo or file",
    "本设备可见的记录均未引用该照片或文件",
);
pub(crate) const BLOBS_TOO_MANY: Why = Why::new(
    "blobs_too_many",
    "this device has too many photos or files half-way; those go first",
    "本设备未传完的照片或文件过多，请先传完",
);
pub(crate) const BLOB_NOT_PROVEN: Why = Why::new(
    "blob_not_proven",
    "this device does not have the photo or file that it offers",
    "本设备并不持有其提供的照片或文件",
);
pub(crate) const BLOB_MOVED_ON: Why = Why::new(
    "blob_moved_on",
    "the photo or file went on in another connection; connecting again",
    "该照片或文件已在其他连接中继续传输，正在重新连接",
);
pub(crate) const BLOB_NOT_HERE: Why = Why::new(
    "blob_not_here",
    "the relay cannot give this photo or file, or not yet",
    "服务端尚无该照片或文件，或不能提供",
);
pub(crate) const RECONCILE_MALFORMED: Why = Why::new(
    "reconcile_malformed",
    "the device's reconciliation cannot be read",
    "设备发来的核对信息无法识别",
);
pub(crate) const INTERNAL: Why = Why::new(
    "internal",
    "the relay could not go on with this session",
    "服务端内部错误，连接已断开",
);

/// Returns a rule of the gate as it travels.
pub(crate) fn of_rule(rule: &Rule) -> Reason {
    reason(rule.code(), rule.words())
}

/// A kind's own code and words are as long as it likes, a frame's are not.
fn reason(code: &str, words: Words) -> Reason {
    Reason {
        code: clip(code, REASON_CODE_BYTES_MAX),
        en: clip(words.en, REASON_TEXT_BYTES_MAX),
        zh: clip(words.zh, REASON_TEXT_BYTES_MAX),
    }
}

fn clip(text: &str, bytes_max: usize) -> String {
    text[..text.floor_char_boundary(bytes_max)].to_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn words_are_cut_between_characters() {
        assert_eq!(clip("记录", 4), "记");
        assert_eq!(clip("记录", 6), "记录");
        assert_eq!(clip("", 6), "");
    }

    #[test]
    fn a_started_second_is_waited_for() {
        let after = |retry| INTERNAL.close(retry).retry_after_s;
        assert_eq!(after(Duration::ZERO), 0);
        assert_eq!(after(Duration::from_millis(1)), 1);
        assert_eq!(after(Duration::from_secs(2)), 2);
        assert_eq!(after(Duration::MAX), u32::MAX);
    }
}
