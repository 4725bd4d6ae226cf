//! The states of an incident and the steps between them, as data.
//!
//! One table says which step leads from which state to which. A step taken where the table does not
//! allow it stays in the history, marked. 核实 is `verify` (is the report real? before filing); 核查
//! is `check` (is it fixed? before closing): never one for the other.
//!
//! Source: the seven national stages and the rules of three implementations, merged (domain brief,
//! 2.5). Not here: who holds which verb (`role`).

use gridbeat_base::Verb;
use minicbor::{Decode, Encode};
use serde::{Deserialize, Serialize};

macro_rules! named_in_both_languages {
    ($(#[$doc:meta])* $name:ident { $( $variant:ident = $n:literal, $id:literal, $en:literal, $zh:literal; )* }) => {
        $(#[$doc])*
        #[derive(Clone, Copy, Debug, Eq, Hash, Ord, PartialEq, PartialOrd, Serialize, Deserialize, Encode, Decode)]
        #[serde(rename_all = "snake_case")]
        #[cbor(index_only)]
        pub enum $name {
            $( #[doc = concat!($zh, ": ", $en, ".")] #[n($n)] $variant, )*
        }

        impl $name {
            /// Every one, in the order of the flow.
            pub const ALL: &[Self] = &[$( Self::$variant ),*];

            /// Returns the identifier used in queries and files.
            pub const fn id(self) -> &'static str {
                match self { $( Self::$variant => $id, )* }
            }

            /// Returns the name in English.
            pub const fn en(self) -> &'static str {
                match self { $( Self::$variant => $en, )* }
            }

            /// Returns the name in Chinese.
            pub const fn zh(self) -> &'static str {
                match self { $( Self::$variant => $zh, )* }
            }
        }
    };
}

named_in_both_languages! {
    /// Where an incident stands.
    State {
        Draft = 0, "draft", "draft", "草稿";
        Reported = 1, "reported", "reported", "已上报";
        PendingVerification = 2, "pending_verification", "awaiting verification", "待核实";
        NotAccepted = 3, "not_accepted", "not accepted", "不予受理";
        Accepted = 4, "accepted", "accepted, to be filed", "已受理，待立案";
        Filed = 5, "filed", "filed", "已立案";
        Dispatched = 6, "dispatched", "dispatched, to be handled", "已派遣，待处置";
        Returned = 7, "returned", "returned", "回退";
        Handling = 8, "handling", "being handled", "处置中";
        Suspended = 9, "suspended", "suspended", "挂账";
        Handled = 10, "handled", "handled", "处置完成";
        Feedback = 11, "feedback", "result reported", "已反馈";
        PendingCheck = 12, "pending_check", "awaiting check", "待核查";
        CheckedPass = 13, "checked_pass", "check passed", "核查通过";
        CheckedFail = 14, "checked_fail", "check failed", "核查不通过";
        Closed = 15, "closed", "closed", "结案";
        Voided = 16, "voided", "voided", "作废";
        ForcedClosed = 17, "forced_closed", "closed by order", "强制结案";
    }
}

named_in_both_languages! {
    /// What someone did about an incident.
    Step {
        Report = 0, "report", "report", "上报";
        SendVerification = 1, "send_verification", "send for verification", "发起核实";
        Verify = 2, "verify", "verify", "核实";
        Decline = 3, "decline", "decline", "不予受理";
        Accept = 4, "accept", "accept", "受理";
        File = 5, "file", "file", "立案";
        Dispatch = 6, "dispatch", "dispatch", "派遣";
        Return = 7, "return", "return", "回退";
        StartHandling = 8, "start_handling", "start handling", "开始处置";
        Suspend = 9, "suspend", "suspend", "挂账";
        Resume = 10, "resume", "resume", "恢复处置";
        Handle = 11, "handle", "handle", "处置";
        SendBack = 12, "send_back", "send back to the handler", "退回处置人";
        Feedback = 13, "feedback", "report the result", "反馈";
        SendCheck = 14, "send_check", "send for check", "发起核查";
        PassCheck = 15, "pass_check", "pass the check", "核查通过";
        FailCheck = 16, "fail_check", "fail the check", "核查不通过";
        Close = 17, "close", "close", "结案";
        Void = 18, "void", "void", "作废";
        ForceClose = 19, "force_close", "close by order", "强制结案";
        SelfHandle = 20, "self_handle", "fix on the spot", "自处置";
        Note = 21, "note", "note", "备注";
    }
}

impl Step {
    /// Returns what taking it needs of whoever takes it.
    ///
    /// Seven verbs do not tell every post from every other: taking in and sending on are one verb, filing and
    /// closing another. The table of states holds the order between them.
    pub const fn verb(self) -> Verb {
        match self {
            Self::Report => Verb::Report,
            Self::Verify | Self::PassCheck | Self::FailCheck => Verb::Check,
            Self::SendVerification
            | Self::Decline
            | Self::Accept
            | Self::Dispatch
            | Self::Suspend
            | Self::SendCheck => Verb::Dispatch,
            Self::File | Self::Close | Self::Void | Self::ForceClose => Verb::Close,
            Self::Return
            | Self::StartHandling
            | Self::Resume
            | Self::Handle
            | Self::SendBack
            | Self::Feedback
            | Self::SelfHandle
            | Self::Note => Verb::Edit,
        }
    }
}

/// The table: a step, the state it may be taken in, the state it leads to.
const TABLE: &[(Step, State, State)] = {
    use State as S;
    use Step as T;
    &[
        (T::Report, S::Draft, S::Reported),
        (T::SendVerification, S::Reported, S::PendingVerification),
        (T::Verify, S::PendingVerification, S::Reported),
        (T::Decline, S::Reported, S::NotAccepted),
        (T::Decline, S::Accepted, S::NotAccepted),
        (T::Accept, S::Reported, S::Accepted),
        (T::File, S::Accepted, S::Filed),
        (T::Dispatch, S::Filed, S::Dispatched),
        (T::Dispatch, S::Returned, S::Dispatched),
        (T::Dispatch, S::Feedback, S::Dispatched),
        (T::Dispatch, S::CheckedFail, S::Dispatched),
        (T::Return, S::Dispatched, S::Returned),
        (T::Return, S::Returned, S::Filed),
        (T::StartHandling, S::Dispatched, S::Handling),
        (T::Suspend, S::Handling, S::Suspended),
        (T::Resume, S::Suspended, S::Handling),
        (T::Handle, S::Handling, S::Handled),
        (T::SendBack, S::Handled, S::Handling),
        (T::Feedback, S::Handled, S::Feedback),
        (T::SendCheck, S::Feedback, S::PendingCheck),
        (T::PassCheck, S::PendingCheck, S::CheckedPass),
        (T::FailCheck, S::PendingCheck, S::CheckedFail),
        (T::Close, S::CheckedPass, S::Closed),
        // A small matter fixed on the spot is audited by a check, and closed without dispatch.
        (T::SelfHandle, S::Reported, S::PendingCheck),
    ]
};

impl State {
    /// Tells whether work is still to be done.
    pub const fn is_open(self) -> bool {
        !matches!(
            self,
            Self::NotAccepted | Self::Closed | Self::Voided | Self::ForcedClosed
        )
    }

    /// Returns the state that a step leads to, or `None` if it may not be taken here.
    pub fn after(self, step: Step) -> Option<Self> {
        let may_end = self.is_open() && self != Self::Draft;
        if step == Step::Note {
            Some(self)
        } else if step == Step::Void && may_end {
            Some(Self::Voided)
        } else if step == Step::ForceClose && may_end {
            Some(Self::ForcedClosed)
        } else {
            let row = TABLE
                .iter()
                .find(|(by, from, _)| *by == step && *from == self);
            row.map(|(_, _, to)| *to)
        }
    }

    /// Lists the steps that may be taken here.
    pub fn steps(self) -> impl Iterator<Item = Step> {
        Step::ALL
            .iter()
            .copied()
            .filter(move |step| self.after(*step).is_some())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_way_of_an_ordinary_incident_is_legal() {
        let steps = [
            Step::Report,
            Step::SendVerification,
            Step::Verify,
            Step::Accept,
            Step::File,
            Step::Dispatch,
            Step::StartHandling,
            Step::Handle,
            Step::Feedback,
            Step::SendCheck,
            Step::FailCheck,
            Step::Dispatch,
            Step::StartHandling,
            Step::Handle,
            Step::Feedback,
            Step::SendCheck,
            Step::PassCheck,
            Step::Close,
        ];
        let end = steps
            .iter()
            .try_fold(State::Draft, |state, step| state.after(*step));
        assert_eq!(end, Some(State::Closed));
    }

    #[test]
    fn verification_comes_before_filing_and_check_before_closing() {
        assert_eq!(State::PendingVerification.after(Step::PassCheck), None);
        assert_eq!(State::PendingCheck.after(Step::Verify), None);
        assert!(
            State::ALL
                .iter()
                .all(|s| s.after(Step::Verify).is_none() || *s == State::PendingVerification)
        );
        assert!(
            State::ALL
                .iter()
                .all(|s| s.after(Step::PassCheck).is_none() || *s == State::PendingCheck)
        );
        assert_eq!(
            State::Filed.after(Step::Close),
            None,
            "nothing is closed unchecked"
        );
    }

    #[test]
    fn nothing_but_a_note_follows_the_end() {
        for state in State::ALL.iter().filter(|state| !state.is_open()) {
            assert_eq!(state.steps().collect::<Vec<_>>(), [Step::Note], "{state:?}");
        }
    }

    #[test]
    fn every_state_and_step_is_reachable_and_named_in_both_languages() {
        let mut reached = vec![State::Draft];
        let mut taken = Vec::new();
        let mut next = 0;
        while let Some(state) = reached.get(next).copied() {
            next += 1;
            for step in state.steps() {
                taken.push(step);
                let to = state.after(step).unwrap();
                if !reached.contains(&to) {
                    reached.push(to);
                }
            }
        }
        assert!(
            State::ALL
                .iter()
                .all(|state| reached.contains(state) && !state.zh().is_empty())
        );
        assert!(
            Step::ALL
                .iter()
                .all(|step| taken.contains(step) && !step.en().is_empty())
        );
    }
}
