//! The roles of the trade, and what each may do where it is given.
//!
//! The one place where roles become verbs. A relay stores a role's name and its verbs with each grant, and
//! decides by the verbs alone: a table that changes here changes no grant that was given.
//!
//! Source: the posts of the national flow (domain brief, 2.5). Watching and doing stay apart: whoever decides who
//! does the work does not check it, and whoever checks does not close. Not here: which step takes which verb
//! (`step`).

use gridbeat_base::{Verb, Verbs};

/// One role.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct Role {
    /// The word for it in files and on the command line.
    pub id: &'static str,
    /// Its name in English.
    pub en: &'static str,
    /// Its name in Chinese.
    pub zh: &'static str,
    /// What it may do.
    pub verbs: Verbs,
}

/// Every role, from the street to the office.
pub const ROLES: &[Role] = {
    use Verb::{Administer, Check, Close, Dispatch, Edit, Report};
    &[
        role("officer", "patrol officer", "执法队员", &[Report, Edit]),
        role(
            "collector",
            "collector",
            "信息采集员",
            &[Report, Edit, Check],
        ),
        role("checker", "checker", "核查员", &[Check]),
        role("handler", "handler", "处置人员", &[Edit]),
        role("acceptor", "acceptor", "受理员", &[Report, Edit, Dispatch]),
        role("dispatcher", "dispatcher", "派遣员", &[Edit, Dispatch]),
        role(
            "shift_leader",
            "shift leader",
            "值班长",
            &[Report, Edit, Dispatch, Close],
        ),
        role("supervisor", "supervisor", "督办人员", &[Edit]),
        role("administrator", "administrator", "管理员", &[Administer]),
        role("observer", "observer", "观察员", &[Verb::Read]),
        // A small station where a few people do all of it; and the demo's centre.
        role(
            "command_centre",
            "command centre",
            "指挥中心",
            &[Report, Edit, Check, Dispatch, Close],
        ),
    ]
};

const fn role(id: &'static str, en: &'static str, zh: &'static str, verbs: &[Verb]) -> Role {
    let verbs = Verbs::of(verbs);
    Role { id, en, zh, verbs }
}

impl Role {
    /// Finds a role by its word.
    pub fn find(id: &str) -> Option<&'static Self> {
        ROLES.iter().find(|role| role.id == id)
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::*;
    use crate::Step;

    #[test]
    fn every_role_is_found_by_its_word_and_named_in_both_languages() {
        let ids: BTreeSet<_> = ROLES.iter().map(|role| role.id).collect();
        assert_eq!(ids.len(), ROLES.len());
        for role in ROLES {
            assert_eq!(Role::find(role.id), Some(role));
            assert!(!role.en.is_empty() && !role.zh.is_empty());
            assert!(role.verbs.contains(Verb::Read), "{}", role.id);
        }
        assert_eq!(Role::find("nobody"), None);
    }

    #[test]
    fn every_step_has_a_role_that_may_take_it_and_watching_stays_apart_from_doing() {
        for step in Step::ALL {
            let mut posts = ROLES.iter().filter(|role| role.id != "command_centre");
            assert!(
                posts.any(|role| role.verbs.contains(step.verb())),
                "{step:?}"
            );
        }
        for role in ROLES.iter().filter(|role| role.id != "command_centre") {
            let decides = role.verbs.contains(Verb::Dispatch) || role.verbs.contains(Verb::Close);
            assert!(
                !(decides && role.verbs.contains(Verb::Check)),
                "{}",
                role.id
            );
        }
    }
}
