//! Permissions and safety, in both tongues.

use greenroom_core::approval::{Mode, Rule, SessionPolicy};
use greenroom_protocol::Problem;
use serde::Deserialize;
use serde_json::{Value, json};

use super::asked::bad;
use crate::sources::docker_yaml;

/// Lists of patterns.
#[derive(Debug, Clone, Default, Deserialize)]
pub(super) struct Permissions {
    #[serde(default)]
    allow: Option<Vec<String>>,
    #[serde(default)]
    ask: Option<Vec<String>>,
    #[serde(default)]
    deny: Option<Vec<String>>,
}

impl Permissions {
    /// A session's policy with these rules in the place of those it has.
    pub(super) fn over(self, before: &SessionPolicy) -> Result<SessionPolicy, Box<Problem>> {
        let rules = |kind: &str, patterns: Option<Vec<String>>| {
            let read = |pattern: String| {
                read(&pattern).map_err(|why| bad(format!("permissions.{kind}: {why}")))
            };
            patterns.unwrap_or_default().into_iter().map(read).collect::<Result<Vec<Rule>, _>>()
        };
        Ok(SessionPolicy {
            allow: rules("allow", self.allow)?,
            ask: rules("ask", self.ask)?,
            deny: rules("deny", self.deny)?,
            ..before.clone()
        })
    }
}

/// A pattern, or a rule in our own words.
fn read(pattern: &str) -> Result<Rule, String> {
    match pattern.contains('(') && pattern.ends_with(')') {
        true => Ok(Rule(pattern.to_owned())),
        false => docker_yaml::rule(pattern),
    }
}

/// A session's rules, as patterns; none where it has none.
pub(super) fn permissions(policy: &SessionPolicy) -> Option<Value> {
    if policy.allow.is_empty() && policy.ask.is_empty() && policy.deny.is_empty() {
        return None;
    }
    let patterns = |rules: &[Rule]| rules.iter().map(pattern).collect::<Vec<_>>();
    Some(json!({
        "allow": patterns(&policy.allow), "ask": patterns(&policy.ask),
        "deny": patterns(&policy.deny),
    }))
}

/// `TOOL(ARGUMENT)` as `tool:argument=pattern`.
fn pattern(rule: &Rule) -> String {
    let Some((tool, rest)) = rule.0.split_once('(') else { return rule.0.clone() };
    let value = rest.strip_suffix(')').unwrap_or(rest);
    // What that grammar cannot say stays as it is, and is read back as the same rule.
    if value.contains(':') || tool.contains(':') {
        return rule.0.clone();
    }
    let name = match tool {
        "shell" => "cmd",
        "fetch" => "url",
        _ => "path",
    };
    format!("{tool}:{name}={value}")
}

/// What a word for the safety of a session means: mode, and whether nobody is there.
pub(super) fn safety(word: &str) -> Result<(Option<Mode>, Option<bool>), Box<Problem>> {
    Ok(match word {
        "" => (None, None),
        "strict" => (Some(Mode::Strict), Some(false)),
        "balanced" | "safer" | "safe-auto" => (Some(Mode::Balanced), Some(false)),
        "restricted" => (Some(Mode::Balanced), Some(true)),
        "autonomous" | "unsafe" => (Some(Mode::Autonomous), Some(false)),
        _ => {
            let detail = "safety_policy is one of strict, balanced, restricted, autonomous";
            return Err(bad(detail));
        }
    })
}

/// The word for a session's safety; empty where it has none of its own.
pub(super) fn word(policy: &SessionPolicy) -> &'static str {
    match (policy.mode, policy.headless) {
        (_, Some(true)) => "restricted",
        (Some(mode), _) => mode.as_str(),
        (None, _) => "",
    }
}

/// Whether all tools are approved in advance.
pub(super) fn is_approved(policy: &SessionPolicy) -> bool {
    policy.mode == Some(Mode::Autonomous) && policy.headless != Some(true)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn patterns_and_rules_stand_for_each_other() {
        for (theirs, ours) in [
            ("shell", "shell"),
            ("shell:cmd=ls*", "shell(ls*)"),
            ("write_file:path=out/*", "write_file(out/*)"),
            ("fetch:url=https*", "fetch(https*)"),
            ("mcp_docs_*", "mcp_docs_*"),
        ] {
            let rule = docker_yaml::rule(theirs).expect("a pattern");
            assert_eq!(rule.0, ours);
            assert_eq!(pattern(&rule), theirs);
        }
        // What their grammar cannot say comes back as the same rule.
        let odd = Rule("fetch(https://ex.com/*)".to_owned());
        assert_eq!((pattern(&odd), read(&odd.0)), (odd.0.clone(), Ok(odd)));
    }

    #[test]
    fn words_for_safety() {
        for (said, kept) in [
            ("strict", "strict"),
            ("balanced", "balanced"),
            ("safer", "balanced"),
            ("safe-auto", "balanced"),
            ("restricted", "restricted"),
            ("autonomous", "autonomous"),
            ("unsafe", "autonomous"),
            ("", ""),
        ] {
            let (mode, headless) = safety(said).expect("a word");
            let policy = SessionPolicy { mode, headless, ..SessionPolicy::default() };
            assert_eq!(word(&policy), kept, "{said}");
            assert_eq!(is_approved(&policy), kept == "autonomous");
        }
        assert_eq!(safety("yolo").expect_err("no word").status, 400);
    }
}
