//! Answers that are good for longer than the one thing that was asked: for as long as this
//! compute lives. What a policy denies stays denied, and so does what those above deny.

use greenroom_core::approval::{Answer, AskOption, Mode, Policy, Rule};

const TOOL: &str = "allow_tool";
const READS: &str = "allow_reads";
const ALL: &str = "allow_all";

/// What can be answered to a question about a tool, in this mode.
pub fn options(tool: &str, mode: Mode) -> Vec<AskOption> {
    let option = |id: &str, name: String, kind: &str| AskOption {
        id: id.to_owned(),
        name,
        kind: kind.to_owned(),
    };
    let mut all = vec![
        option("allow_once", "Allow once".to_owned(), "allow_once"),
        option(TOOL, format!("Allow {tool} from now on"), "allow_always"),
    ];
    if mode == Mode::Strict {
        all.push(option(READS, "Allow what only reads from now on".to_owned(), "allow_always"));
    }
    all.push(option(ALL, "Allow everything from now on".to_owned(), "allow_always"));
    all.push(option("reject_once", "Reject".to_owned(), "reject_once"));
    all
}

/// Remembers what an answer allows beyond what was asked.
pub fn answer(policy: &mut Policy, tool: &str, answer: &Answer) {
    match answer.option.as_deref() {
        Some(ALL) => policy.mode = Mode::Autonomous,
        Some(READS) => policy.mode = policy.mode.max(Mode::Balanced),
        Some(TOOL) => allow(policy, tool),
        None if answer.always => allow(policy, tool),
        _ => {}
    }
}

fn allow(policy: &mut Policy, tool: &str) {
    let rule = Rule(tool.to_owned());
    if !policy.allow.contains(&rule) {
        policy.allow.push(rule);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::policy::{Use, Verdict, judge};
    use greenroom_core::approval::{Decision, Policies};
    use serde_json::json;

    fn answered(option: Option<&str>, always: bool) -> Answer {
        let option = option.map(str::to_owned);
        Answer { decision: Decision::Allow, option, always, content: None, reason: None }
    }

    #[test]
    fn an_answer_is_good_for_what_it_says() {
        let input = json!({ "command": "ls" });
        let denied = json!({ "command": "rm x" });
        let strict = Policy {
            mode: Mode::Strict,
            deny: vec![Rule("shell(rm *)".to_owned())],
            ..Policy::default()
        };
        for (option, always, shell, fetch, reads) in [
            (Some("allow_once"), false, false, false, false),
            (None, false, false, false, false),
            (None, true, true, false, false),
            (Some(TOOL), false, true, false, false),
            (Some(READS), false, false, false, true),
            (Some(ALL), false, true, true, true),
        ] {
            let mut own = strict.clone();
            answer(&mut own, "shell", &answered(option, always));
            let policies = Policies { own, within: Vec::new() };
            let may = |tool: &str, input, reads| {
                matches!(judge(&policies, Use { tool, input, reads }), Verdict::Allow { .. })
            };
            assert_eq!(may("shell", &input, false), shell, "{option:?}");
            assert_eq!(may("fetch", &input, false), fetch, "{option:?}");
            assert_eq!(may("list", &input, true), reads, "{option:?}");
            assert!(!may("shell", &denied, false), "what is denied stays so: {option:?}");
        }
    }

    #[test]
    fn each_option_is_offered_where_it_says_something() {
        let ids = |mode| {
            options("shell", mode).into_iter().map(|option| option.id).collect::<Vec<_>>().join(" ")
        };
        assert_eq!(ids(Mode::Strict), "allow_once allow_tool allow_reads allow_all reject_once");
        assert_eq!(ids(Mode::Balanced), "allow_once allow_tool allow_all reject_once");
    }
}
