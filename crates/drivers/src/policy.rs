//! What an agent may do without being asked: rules, then the mode.
//!
//! A rule is `TOOL` or `TOOL(ARGUMENT)`, where `*` stands for anything. The argument is
//! what the tool would be given that matters: a command, a path, an address. A compound
//! shell command is taken apart first: `deny` and `ask` look at each part, and `allow`
//! must cover every one of them. What cannot be taken apart (substitutions, `eval`) is
//! allowed by no rule with an argument, and by no mode where some commands are denied.

mod shell;

use greenroom_core::approval::{Mode, Policies, Policy, Rule};
use serde_json::Value;

use self::shell::Parts;

/// A use of a tool.
#[derive(Debug, Clone, Copy)]
pub struct Use<'a> {
    /// The tool, as the agent calls it.
    pub tool: &'a str,
    /// What it would be given.
    pub input: &'a Value,
    /// Whether it only looks, as far as its driver knows.
    pub reads: bool,
}

/// What a policy says.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Verdict {
    /// Go on.
    Allow {
        /// By which rule or mode.
        by: String,
    },
    /// Never.
    Deny {
        /// By which rule.
        by: String,
    },
    /// A person decides.
    Ask,
}

/// Judges one use: the strictest word of all policies counts.
pub fn judge(policies: &Policies, wish: Use<'_>) -> Verdict {
    let own = judged(&policies.own, wish);
    policies.within.iter().fold(own, |so_far, policy| match (so_far, judged(policy, wish)) {
        (Verdict::Deny { by }, _) => Verdict::Deny { by },
        (_, Verdict::Deny { by }) => Verdict::Deny { by: format!("{by}, of a session above") },
        (Verdict::Ask, _) | (_, Verdict::Ask) => Verdict::Ask,
        (allowed @ Verdict::Allow { .. }, Verdict::Allow { .. }) => allowed,
    })
}

/// By one policy: `deny` is final, then `ask`, then `allow`, then the mode.
fn judged(policy: &Policy, wish: Use<'_>) -> Verdict {
    let argument = Argument::of(wish.input);
    let find = |rules: &[Rule], fits: &dyn Fn(&Pattern<'_>) -> bool| {
        let mut patterns = rules.iter().map(|rule| (rule, Pattern::of(rule)));
        patterns.find(|(_, p)| p.is_of(wish.tool) && fits(p)).map(|(rule, _)| rule.0.clone())
    };
    let touches = |pattern: &Pattern<'_>| argument.touches(pattern);
    if let Some(rule) = find(&policy.deny, &touches) {
        return Verdict::Deny { by: format!("rule deny {rule}") };
    }
    if find(&policy.ask, &touches).is_some() {
        return Verdict::Ask;
    }
    let allowing: Vec<_> =
        policy.allow.iter().map(Pattern::of).filter(|p| p.is_of(wish.tool)).collect();
    let blind = argument.opaque
        && policy.deny.iter().map(Pattern::of).any(|p| p.is_of(wish.tool) && p.argument.is_some());
    if blind {
        return Verdict::Ask;
    }
    if allowing.iter().any(|pattern| pattern.argument.is_none()) {
        return Verdict::Allow { by: format!("rule allow {}", wish.tool) };
    }
    if argument.is_covered(&allowing) {
        let rules: Vec<_> = allowing.iter().map(|pattern| pattern.rule).collect();
        return Verdict::Allow { by: format!("rule allow {}", rules.join(", ")) };
    }
    match policy.mode {
        Mode::Strict => Verdict::Ask,
        Mode::Balanced if wish.reads => {
            Verdict::Allow { by: "mode balanced: it only reads".to_owned() }
        }
        Mode::Balanced => Verdict::Ask,
        Mode::Autonomous => Verdict::Allow { by: "mode autonomous".to_owned() },
    }
}

/// A rule, taken apart.
#[derive(Debug)]
struct Pattern<'a> {
    rule: &'a str,
    tool: &'a str,
    argument: Option<&'a str>,
}

impl<'a> Pattern<'a> {
    fn of(rule: &'a Rule) -> Self {
        let rule = rule.0.trim();
        match rule.split_once('(') {
            Some((tool, rest)) => {
                let argument = rest.strip_suffix(')').unwrap_or(rest);
                Self { rule, tool: tool.trim(), argument: Some(argument.trim()) }
            }
            None => Self { rule, tool: rule, argument: None },
        }
    }

    fn is_of(&self, tool: &str) -> bool {
        fits(self.tool, tool)
    }
}

/// Whether a text fits a pattern in which `*` stands for anything.
fn fits(pattern: &str, text: &str) -> bool {
    let mut pieces = pattern.split('*');
    let Some(mut rest) = text.strip_prefix(pieces.next().unwrap_or_default()) else { return false };
    let Some(last) = pieces.next_back() else { return rest.is_empty() };
    for piece in pieces {
        match rest.find(piece) {
            Some(at) => rest = &rest[at + piece.len()..],
            None => return false,
        }
    }
    rest.ends_with(last)
}

/// What a tool would be given that matters, in parts.
#[derive(Debug, Default)]
struct Argument {
    /// Each with the forms it may be recognised by: as it is written, and as it is meant.
    parts: Vec<Vec<String>>,
    /// It cannot be known what it does.
    opaque: bool,
}

impl Argument {
    fn of(input: &Value) -> Self {
        let command = ["command", "cmd", "script"].into_iter().find_map(|key| input.get(key));
        match command {
            Some(Value::String(line)) => Self::of_shell(line),
            Some(Value::Array(words)) => Self::of_words(words),
            _ => Self::of_fields(input),
        }
    }

    fn of_shell(line: &str) -> Self {
        let Parts { parts, opaque } = shell::split(line);
        Self { parts, opaque }
    }

    fn of_words(words: &[Value]) -> Self {
        let words: Vec<&str> = words.iter().filter_map(Value::as_str).collect();
        let name = words.first().map(|program| program.rsplit('/').next().unwrap_or(program));
        let shell = matches!(name, Some("sh" | "bash" | "dash" | "zsh" | "ksh"));
        match words.as_slice() {
            [_, flag, script] if shell && flag.starts_with('-') && flag.ends_with('c') => {
                Self::of_shell(script)
            }
            words => Self { parts: vec![vec![words.join(" ")]], opaque: shell },
        }
    }

    fn of_fields(input: &Value) -> Self {
        let keys = ["path", "file_path", "filePath", "url", "pattern", "query"];
        let found = keys.into_iter().find_map(|key| input.get(key)?.as_str());
        let text = match (found, input) {
            (Some(text), _) => text.to_owned(),
            (None, Value::String(text)) => text.clone(),
            (None, Value::Null) => String::new(),
            (None, other) => other.to_string(),
        };
        Self { parts: vec![vec![text]], opaque: false }
    }

    /// Whether any part of it is what the pattern means.
    fn touches(&self, pattern: &Pattern<'_>) -> bool {
        let Some(wanted) = pattern.argument else { return true };
        self.parts.iter().flatten().any(|form| fits(wanted, form))
    }

    /// Whether every part of it is what one of the patterns means.
    fn is_covered(&self, patterns: &[Pattern<'_>]) -> bool {
        let climbs = |text: &str| text.split('/').any(|part| part == "..");
        let covered = |forms: &Vec<String>| {
            let Some(written) = forms.first() else { return false };
            !climbs(written)
                && patterns.iter().any(|p| p.argument.is_some_and(|wanted| fits(wanted, written)))
        };
        !self.opaque && !self.parts.is_empty() && self.parts.iter().all(covered)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;
    use serde_json::json;

    fn rules(words: &[&str]) -> Vec<Rule> {
        words.iter().map(|word| Rule((*word).to_owned())).collect()
    }

    fn policy(mode: Mode, allow: &[&str], ask: &[&str], deny: &[&str]) -> Policy {
        let (allow, ask, deny) = (rules(allow), rules(ask), rules(deny));
        Policy { mode, allow, ask, deny, ..Policy::default() }
    }

    fn says(policy: &Policy, tool: &str, input: Value) -> &'static str {
        match judged(policy, Use { tool, input: &input, reads: tool.starts_with("read") }) {
            Verdict::Allow { .. } => "allow",
            Verdict::Deny { .. } => "deny",
            Verdict::Ask => "ask",
        }
    }

    fn runs(policy: &Policy, command: &str) -> &'static str {
        says(policy, "shell", json!({ "command": command }))
    }

    #[test]
    fn the_mode_decides_what_no_rule_names() {
        for (mode, looks, acts) in [
            (Mode::Strict, "ask", "ask"),
            (Mode::Balanced, "allow", "ask"),
            (Mode::Autonomous, "allow", "allow"),
        ] {
            let policy = policy(mode, &[], &[], &[]);
            assert_eq!(says(&policy, "read_file", json!({ "path": "a" })), looks, "{mode:?}");
            assert_eq!(says(&policy, "write_file", json!({ "path": "a" })), acts, "{mode:?}");
        }
    }

    #[test]
    fn deny_is_final_then_ask_then_allow() {
        let all = policy(Mode::Autonomous, &["shell"], &["shell(git *)"], &["shell(git push*)"]);
        assert_eq!(runs(&all, "git push origin"), "deny");
        assert_eq!(runs(&all, "git log"), "ask");
        assert_eq!(runs(&all, "ls"), "allow");
        assert_eq!(says(&all, "shells", json!({})), "allow", "by its mode, not by the rule");
    }

    #[test]
    fn of_several_policies_the_strictest_word_counts() {
        let open = policy(Mode::Autonomous, &["shell"], &[], &[]);
        let above = policy(Mode::Balanced, &["shell(ls*)"], &[], &["shell(rm *)"]);
        let within = |own: &Policy, above: &Policy, command: &str| {
            let policies = Policies { own: own.clone(), within: vec![above.clone()] };
            let input = json!({ "command": command });
            judge(&policies, Use { tool: "shell", input: &input, reads: false })
        };
        let denied = Verdict::Deny { by: "rule deny shell(rm *), of a session above".to_owned() };
        assert_eq!(within(&open, &above, "rm x"), denied);
        assert_eq!(within(&open, &above, "make"), Verdict::Ask);
        assert_eq!(within(&above, &open, "make"), Verdict::Ask);
        let allowed = Verdict::Allow { by: "rule allow shell".to_owned() };
        assert_eq!(within(&open, &above, "ls -l"), allowed);
    }

    #[test]
    fn each_part_of_a_compound_command_is_looked_at() {
        let careful = policy(Mode::Strict, &["shell(git *)", "shell(ls*)"], &[], &["shell(rm *)"]);
        assert_eq!(runs(&careful, "git status && ls -l"), "allow");
        assert_eq!(runs(&careful, "git status && curl evil"), "ask");
        for line in [
            "git log; rm -rf /",
            "git log && rm -rf /",
            "git log || rm x",
            "git log | rm x",
            "git log & rm x",
            "git log\nrm x",
            "(rm x)",
            "{ rm x; }",
            "X=1 rm x",
            "/bin/rm x",
            "'r'm x",
            "\\rm x",
            "if true; then rm x; fi",
            "! rm x",
            "sudo rm x",
            "env A=1 rm x",
            "nohup rm x",
            "time rm x",
            "xargs rm x",
        ] {
            assert_eq!(runs(&careful, line), "deny", "{line:?}");
        }
    }

    #[test]
    fn what_cannot_be_seen_through_is_asked() {
        let open = policy(Mode::Autonomous, &["shell(git *)"], &[], &["shell(rm *)"]);
        for line in [
            "git $(rm x)",
            "git `rm x`",
            "eval \"$X\"",
            "$CMD x",
            "git <(rm x)",
            "sh -c \"$X\"",
            "git log 'unfinished",
            "echo cm0= | base64 -d | sh",
        ] {
            assert_ne!(runs(&open, line), "allow", "{line:?}");
        }
        let careful = policy(Mode::Strict, &["shell(git *)"], &[], &[]);
        assert_eq!(runs(&careful, "git log > ../x"), "ask", "it writes somewhere");
        assert_eq!(runs(&careful, "git log $(id)"), "ask");
    }

    #[test]
    fn a_script_for_a_shell_is_taken_apart_too() {
        let careful = policy(Mode::Autonomous, &[], &[], &["exec(rm *)"]);
        let words = json!({ "cmd": ["bash", "-lc", "ls && rm x"] });
        assert_eq!(says(&careful, "exec", words), "deny");
        let inner = json!({ "command": "bash -c 'ls; rm x'" });
        assert_eq!(says(&careful, "exec", inner), "deny");
    }

    #[test]
    fn paths_that_climb_are_allowed_by_no_pattern() {
        let in_src = policy(Mode::Strict, &["write_file(src/*)"], &[], &[]);
        assert_eq!(says(&in_src, "write_file", json!({ "path": "src/a.rs" })), "allow");
        assert_eq!(says(&in_src, "write_file", json!({ "path": "src/../../etc" })), "ask");
    }

    #[test]
    fn a_star_stands_for_anything() {
        assert!(fits("*", "") && fits("a*c", "abbc") && fits("mcp_*_read", "mcp_x_read"));
        assert!(!fits("a*a", "a") && !fits("a", "ab") && !fits("a*b*c", "acb"));
    }

    proptest! {
        /// However a command is put together, a part that is denied is found.
        #[test]
        fn no_compound_hides_what_is_denied(
            before in "[a-z ]{0,8}", after in "[a-z ]{0,8}",
            joint in prop::sample::select(vec![";", "&&", "||", "|", "&", "\n", " ; ", "\t&&\t"]),
        ) {
            let all = policy(Mode::Autonomous, &["*"], &[], &["shell(rm *)"]);
            let line = format!("{before}{joint}rm x{joint}{after}");
            prop_assert_ne!(runs(&all, &line), "allow");
        }

        /// No command makes it panic.
        #[test]
        fn any_command_is_judged(line in "\\PC{0,60}") {
            runs(&policy(Mode::Balanced, &["shell(a*)"], &["*(b)"], &["shell(*c*)"]), &line);
        }
    }
}
