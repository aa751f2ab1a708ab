//! Sessions, runs and events, as people read them.

use greenroom_core::agent::DirMode;
use greenroom_core::approval::SessionPolicy;
use greenroom_core::{Event, SessionWorkspace};
use greenroom_protocol::v1::{Approval, Run, Session};
use serde_json::Value;

use crate::human::{ago, clean, count, moment, short, span, time_of_day};
use crate::receipt::timeline;
use crate::ui::{Paint, Tone};

fn field(name: &str, text: impl AsRef<str>) -> String {
    format!("{name:<12}  {}\n", text.as_ref())
}

fn labels(labels: &std::collections::BTreeMap<String, String>) -> String {
    let each: Vec<_> = labels.iter().map(|(key, value)| format!("{key}={value}")).collect();
    clean(&each.join(", "))
}

/// What a session lays over its agent's policy, in the words of the command line.
fn approvals(policy: &SessionPolicy) -> String {
    let mode = policy.mode.map(|mode| mode.as_str().to_owned());
    let headless = policy.headless.map(|yes| if yes { "headless" } else { "not headless" });
    let kinds = [("allow", &policy.allow), ("ask", &policy.ask), ("deny", &policy.deny)];
    let rules = kinds
        .iter()
        .flat_map(|(kind, rules)| rules.iter().map(move |rule| format!("{kind} {}", rule.0)));
    let timeout = policy.timeout_ms.map(|limit| format!("timeout {}", span(limit.0)));
    let words = mode.into_iter().chain(headless.map(str::to_owned)).chain(timeout);
    words.chain(rules).collect::<Vec<_>>().join(", ")
}

/// A session with everything that is known of it, and its receipt.
pub(crate) fn session(session: &Session, paint: Paint) -> String {
    let mut text = String::new();
    let mut add = |name: &str, value: String| text.push_str(&field(name, value));
    add("Session", paint.tint(Tone::Head, session.id.as_str()));
    if let Some(title) = &session.title {
        add("Title", clean(title));
    }
    let reason = session.status_reason.as_ref().map(|r| format!(" ({r})")).unwrap_or_default();
    let status = paint.tint(Tone::of(session.status), session.status.as_str());
    add("Status", format!("{status}{reason}"));
    if session.hold {
        add("Held", format!("prompts wait for `greenroom sessions resume {}`", session.id));
    }
    let agent = &session.agent;
    add("Agent", format!("{} v{} from {}", agent.name, agent.version, clean(&agent.source)));
    if !session.approvals.is_default() {
        add("Approvals", clean(&approvals(&session.approvals)));
    }
    if !session.within.is_empty() {
        add("Within", "what the session that created it may do".to_owned());
    }
    if let (Some(run), Some(status)) = (session.run_id, session.run_status) {
        add("Run", format!("{run} {}", status.as_str()));
    }
    let pending = session.pending;
    let waiting = [(pending.runs, "run"), (pending.approvals, "approval")];
    let waiting: Vec<String> = waiting
        .iter()
        .filter(|(n, _)| *n > 0)
        .map(|(n, thing)| count(*n as usize, thing))
        .collect();
    if !waiting.is_empty() {
        add("Waiting", waiting.join(", "));
    }
    if !session.labels.is_empty() {
        add("Labels", labels(&session.labels));
    }
    add(
        "Owner",
        format!(
            "{}{}{}",
            clean(&session.owner),
            session.user.as_deref().map(|user| format!(" for {}", clean(user))).unwrap_or_default(),
            if session.shared { ", shared" } else { "" }
        ),
    );
    if let Some(parent) = &session.parent_id {
        add("Parent", parent.to_string());
    }
    if let Some(runner) = session.runner_id {
        add("Runner", runner.to_string());
    }
    if let Some(workspace) = &session.workspace {
        let copied = match workspace {
            SessionWorkspace::Dir { mode: DirMode::Copy, .. } => "a copy of ",
            SessionWorkspace::Dir { mode: DirMode::InPlace, .. } => "",
        };
        add("Works in", format!("{copied}{}", workspace.path()));
    }
    add("Epoch", session.epoch.to_string());
    add("Events", session.last_seq.to_string());
    let usage = session.usage;
    if usage.input_tokens + usage.output_tokens > 0 {
        add(
            "Usage",
            format!(
                "{} tokens read, {} written, ${:.2}",
                usage.input_tokens, usage.output_tokens, usage.cost_usd
            ),
        );
    }
    add("Created", format!("{} ({} ago)", moment(session.created_at), ago(session.created_at)));
    add("Active", format!("{} ago", ago(session.last_active_at)));
    if let Some(expires) = session.expires_at {
        add("Expires", moment(expires));
    }
    if let Some(receipt) = &session.receipt {
        text.push('\n');
        text.push_str(&timeline(receipt, paint));
    }
    text
}

/// A run with everything that is known of it.
pub(crate) fn run(run: &Run, paint: Paint) -> String {
    let mut text = String::new();
    let mut add = |name: &str, value: String| text.push_str(&field(name, value));
    add("Run", paint.tint(Tone::Head, &run.id.to_string()));
    add("Session", run.session_id.to_string());
    add("Status", paint.tint(run_tone(run), run.status.as_str()));
    if let Some(error) = &run.error {
        add("Error", format!("{}: {}", clean(&error.code), clean(&error.message)));
    }
    if let Some(prompt) = &run.prompt {
        add("Prompt", short(prompt, 200));
    }
    if let Some(input) = &run.input {
        add("Input", short(&input.to_string(), 200));
    }
    if let Some(result) = &run.result {
        add("Result", clean(&result.to_string()));
    }
    add("Created", moment(run.created_at));
    if let Some(at) = run.started_at {
        add("Started", moment(at));
    }
    if let Some(at) = run.ended_at {
        add("Ended", moment(at));
    }
    text
}

/// What an agent asks.
pub(crate) fn approval(asked: &Approval, paint: Paint) -> String {
    let mut text = String::new();
    let mut add = |name: &str, value: String| text.push_str(&field(name, value));
    add("Approval", paint.tint(Tone::Head, &asked.id.to_string()));
    add("Session", asked.session_id.to_string());
    add("Asks", clean(&asked.title));
    if let Some(tool) = &asked.tool {
        add("Tool", clean(tool));
    }
    if let Some(url) = &asked.url {
        add("Page", clean(url));
    }
    for option in &asked.options {
        add("Option", clean(&format!("{} ({}): {}", option.id, option.kind, option.name)));
    }
    add("Asked", moment(asked.requested_at));
    for (name, value) in [("Input", &asked.input), ("Form", &asked.schema)] {
        if let Some(value) = value {
            let pretty = serde_json::to_string_pretty(value).unwrap_or_default();
            text.push_str(&format!("\n{name}\n"));
            for line in pretty.lines() {
                text.push_str(&format!("{}\n", clean(line)));
            }
        }
    }
    text
}

/// The tone of a run.
pub(crate) fn run_tone(run: &Run) -> Tone {
    use greenroom_core::run::RunStatus;
    match run.status {
        RunStatus::Running | RunStatus::Dispatched => Tone::Live,
        RunStatus::Waiting | RunStatus::Queued => Tone::Warn,
        RunStatus::Failed => Tone::Bad,
        RunStatus::Completed | RunStatus::Stopped | RunStatus::Withdrawn => Tone::Plain,
    }
}

/// An entry of a log, as one line or, with text of several lines, as many.
pub(crate) fn event(event: &Event, paint: Paint) -> String {
    let tone = tone(&event.kind);
    let head = format!("{:>6}  {}  ", event.seq, time_of_day(event.at));
    let kind = format!("{:<20}", event.kind);
    let text = summary(event);
    let indent = " ".repeat(head.chars().count() + kind.chars().count() + 2);
    let mut out = paint.tint(Tone::Dim, &head);
    out.push_str(&paint.tint(tone, &kind));
    for (n, line) in text.lines().enumerate() {
        out.push_str(if n == 0 { "  " } else { &indent });
        out.push_str(&clean(line));
        out.push('\n');
    }
    match text.is_empty() {
        true => out.trim_end().to_owned() + "\n",
        false => out,
    }
}

fn tone(kind: &str) -> Tone {
    match kind {
        "message" => Tone::Head,
        "run.failed" | "session.failed" | "session.stop_unconfirmed" | "log_gap" | "output_gap" => {
            Tone::Bad
        }
        "run.started" | "run.completed" | "session.ready" => Tone::Live,
        "approval.requested" | "session.context_fresh" => Tone::Warn,
        "log" | "thought" => Tone::Dim,
        _ => Tone::Plain,
    }
}

/// What an event says, in words.
pub(crate) fn summary(event: &Event) -> String {
    if event.kind == "session.inherited"
        && let Ok(inner) = serde_json::from_value::<Event>(event.data.clone())
        && inner.kind != event.kind
    {
        return format!("{} {}", inner.kind, summary(&inner)).trim_end().to_owned();
    }
    let data = &event.data;
    let text = |key: &str| data.get(key).and_then(Value::as_str).unwrap_or_default();
    match event.kind.as_str() {
        "message" | "log" | "thought" => text("text").trim_end_matches('\n').to_owned(),
        "approval.requested" => match text("tool") {
            "" => text("title").to_owned(),
            tool => format!("{tool}: {}", text("title")),
        },
        "approval.answered" => {
            let verb = if text("decision") == "allow" { "allowed" } else { "denied" };
            match text("reason") {
                "" => format!("{verb} by {}", text("by")),
                reason => format!("{verb} by {}: {reason}", text("by")),
            }
        }
        "approval.withdrawn" => format!("no answer is needed: {}", text("reason")),
        "approval.decided" => {
            let verb = if text("decision") == "allow" { "allowed" } else { "denied" };
            format!("{} {verb} ({})", text("tool"), text("by"))
        }
        "session.context_fresh" => {
            format!("the agent begins without its earlier conversation: {}", text("reason"))
        }
        "session.conversation" => text("id").to_owned(),
        "session.agent_info" => text("about").to_owned(),
        "session.created" => {
            let agent = data.pointer("/agent/name").and_then(Value::as_str).unwrap_or_default();
            match data.pointer("/forked_from/id").and_then(Value::as_str) {
                Some(from) => format!("agent {agent}, forked from {from}"),
                None => format!("agent {agent}"),
            }
        }
        "session.status" => match text("reason") {
            "" => format!("{} → {}", text("from"), text("status")),
            reason => format!("{} → {} ({reason})", text("from"), text("status")),
        },
        "run.queued" => match text("prompt") {
            "" => {
                data.get("input").filter(|i| !i.is_null()).map(Value::to_string).unwrap_or_default()
            }
            prompt => short(prompt, 100),
        },
        "run.failed" | "run.stopped" => {
            let part = |key: &str| data.pointer(&format!("/error/{key}")).and_then(Value::as_str);
            match (part("code"), part("message")) {
                (Some(code), Some(message)) => format!("{code}: {message}"),
                _ => String::new(),
            }
        }
        "run.completed" => {
            data.get("result").filter(|r| !r.is_null()).map(Value::to_string).unwrap_or_default()
        }
        "run.files" => match (text("commit"), data.pointer("/reason/message")) {
            (_, Some(Value::String(message))) => format!("not kept: {}", clean(message)),
            (commit, _) => format!("kept ({})", clean(commit.get(..12).unwrap_or(commit))),
        },
        "session.agent_changed" => {
            let side = |key| data.get(key).and_then(|pin| pin.get("source")?.as_str());
            let class = data.get("class").and_then(Value::as_str).unwrap_or_default();
            match (side("from"), side("to")) {
                (Some(from), Some(to)) => clean(&format!("{class}: {from} → {to}")),
                _ => rest(data),
            }
        }
        "run.dispatched" | "run.started" | "run.requeued" | "run.waiting" => {
            event.run.map(|run| run.to_string()).unwrap_or_default()
        }
        "session.stopped" | "session.finished" | "session.failed" | "session.interrupted" => {
            closed(data)
        }
        "tool_call" | "tool_result" => tool(data),
        _ => rest(data),
    }
}

/// The receipt of an event, in short.
fn closed(data: &Value) -> String {
    let number =
        |key: &str| data.pointer(&format!("/receipt/{key}")).and_then(Value::as_u64).unwrap_or(0);
    let reason = data.pointer("/receipt/reason").and_then(Value::as_str).unwrap_or_default();
    format!(
        "{reason}: {} processes, {} survivors, {} ms",
        number("processes_seen"),
        number("survivors"),
        number("duration_ms")
    )
}

/// A tool call in short: its name first, where it has one.
pub(crate) fn tool(data: &Value) -> String {
    let name = ["tool", "name", "title"].iter().find_map(|key| data.get(*key)?.as_str());
    let about = ["title", "input", "arguments", "args", "output", "result", "text"]
        .iter()
        .find_map(|key| data.get(*key).filter(|value| !value.is_null()))
        .filter(|about| about.as_str() != name);
    let about = match about {
        Some(Value::String(text)) => short(text, 160),
        Some(value) => short(&value.to_string(), 160),
        None if name.is_none() => rest(data),
        None => String::new(),
    };
    format!("{} {about}", name.unwrap_or_default()).trim().to_owned()
}

fn rest(data: &Value) -> String {
    match data {
        Value::Null => String::new(),
        Value::Object(fields) if fields.is_empty() => String::new(),
        other => short(&other.to_string(), 160),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use greenroom_core::Timestamp;
    use serde_json::json;

    fn log(seq: u64, kind: &str, data: Value) -> String {
        let at = Timestamp::from_unix_ms(0);
        let entry = Event { seq, at, run: None, kind: kind.to_owned(), data };
        // The time of day depends on where this runs.
        event(&entry, Paint::OFF).replace(&time_of_day(at), "hh:mm:ss")
    }

    #[test]
    fn entries_of_a_log() {
        let receipt =
            json!({"reason": "user", "processes_seen": 7, "survivors": 0, "duration_ms": 412});
        let text = [
            log(1, "session.created", json!({"agent": {"name": "fixer"}})),
            log(2, "run.queued", json!({"prompt": "fix it\nnow"})),
            log(
                3,
                "session.status",
                json!({"from": "queued", "status": "starting", "reason": null}),
            ),
            log(4, "message", json!({"text": "one\ntwo\u{1b}[2J\n"})),
            log(5, "tool_call", json!({"name": "bash", "input": {"cmd": "ls"}})),
            log(6, "run.failed", json!({"error": {"code": "exit", "message": "exit code 2"}})),
            log(7, "session.stopped", json!({"receipt": receipt})),
            log(8, "session.expired", json!({})),
            log(9, "log_gap", json!({"from": 3, "to": 4})),
        ];
        insta::assert_snapshot!(text.concat());
    }

    fn sample() -> Session {
        let receipt = crate::receipt::tests::receipt();
        let json = json!({
            "id": "fix-1", "uid": uuid::Uuid::nil(), "owner": "ann", "shared": false,
            "agent": {"name": "fixer", "version": 2, "source": "file:/a/fixer.yaml", "digest": "d"},
            "title": "Fix \u{1b}[31mthe tests", "labels": {"team": "web"}, "status": "stopped",
            "status_reason": "user", "wanted": null, "hold": true, "epoch": 3,
            "runner_id": uuid::Uuid::nil(), "parent_id": null, "run_id": null, "run_status": null,
            "last_seq": 42, "version": 9, "pending": {"runs": 1, "approvals": 0},
            "usage": {"input_tokens": 10, "output_tokens": 5, "cost_usd": 0.5},
            "limits": {}, "created_at": "2020-01-01T00:00:00Z", "updated_at": "2020-01-01T00:00:00Z",
            "last_active_at": "2020-01-01T00:00:00Z", "expires_at": null, "receipt": receipt,
        });
        serde_json::from_value(json).expect("a session")
    }

    #[test]
    fn a_session_shows_its_receipt() {
        let text = session(&sample(), Paint::OFF);
        let stable: Vec<&str> = text.lines().filter(|line| !line.contains("ago")).collect();
        insta::assert_snapshot!(crate::receipt::tests::anywhere(&stable.join("\n")));
    }
}
