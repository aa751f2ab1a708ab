//! Following one run to its end, with the exit code it deserves.

use std::time::Duration;

use greenroom_client::{Client, Live};
use greenroom_core::{Event, RunId, Seq};
use serde_json::Value;

use crate::context::Context;
use crate::error::{CliError, Code};
use crate::human::clean;
use crate::ui::{Output, Spinner};
use crate::watch::{Printer, blocked};

/// How long the coordinator may be away while somebody watches.
pub(crate) const PATIENCE: Duration = Duration::from_secs(60);

/// How a run that is followed stands.
#[derive(Debug)]
pub(crate) struct Course {
    /// The run, or the one that it became part of.
    pub(crate) run: RunId,
    /// It waits for its turn.
    queued: bool,
    /// The queue waits for a person.
    held: bool,
    /// How the session's compute failed last, in words.
    failure: Option<String>,
}

/// How a run ended.
#[derive(Debug, PartialEq)]
pub(crate) enum End {
    Completed(Option<Value>),
    Failed(String),
    Stopped,
    Withdrawn,
    /// It waits, and nothing will start it but a person.
    Held(Option<String>),
}

impl Course {
    /// One that has just been accepted.
    pub(crate) fn of(run: RunId) -> Self {
        Self { run, queued: true, held: false, failure: None }
    }

    /// What an entry of the log means for it.
    pub(crate) fn see(&mut self, event: &Event) -> Option<End> {
        let mine = event.run == Some(self.run);
        let data = &event.data;
        match event.kind.as_str() {
            "run.completed" if mine => {
                return Some(End::Completed(data.get("result").filter(|r| !r.is_null()).cloned()));
            }
            "run.failed" if mine => return Some(End::Failed(error_text(data))),
            "run.stopped" if mine => return Some(End::Stopped),
            "run.withdrawn" if mine => return Some(End::Withdrawn),
            // It goes on as part of another.
            "run.steered" if mine => {
                if let Some(into) = data.get("into").and_then(|into| into.as_str()?.parse().ok()) {
                    self.run = into;
                    self.queued = false;
                }
            }
            "run.dispatched" | "run.started" if mine => self.queued = false,
            "run.requeued" | "run.queued" if mine => self.queued = true,
            "session.held" => self.held = true,
            "session.resumed" => self.held = false,
            "session.failed" => self.failure = Some(failure_text(data)),
            _ => {}
        }
        (self.held && self.queued).then(|| End::Held(self.failure.take()))
    }
}

fn error_text(data: &Value) -> String {
    let part = |key: &str| data.pointer(&format!("/error/{key}")).and_then(Value::as_str);
    let words = part("message").or(part("code")).unwrap_or("no reason was given");
    clean(words)
}

fn failure_text(data: &Value) -> String {
    let part = |key: &str| data.pointer(&format!("/receipt/{key}")).and_then(Value::as_str);
    match (part("reason"), part("detail")) {
        (Some(reason), Some(detail)) => format!("{reason}: {}", clean(detail)),
        (Some(reason), None) => reason.to_owned(),
        _ => "no reason was given".to_owned(),
    }
}

/// Follows a run from entry `from` of its session's log until it ends. `held` says that
/// its queue waits for a person already.
pub(crate) async fn follow_run(
    context: &Context,
    client: &Client,
    session: &str,
    run: RunId,
    from: Seq,
    held: bool,
) -> Result<Code, CliError> {
    let ui = &context.ui;
    let mut follow = client.follow(session, from, PATIENCE);
    let mut printer = Printer::new(ui, Some(run));
    let mut spinner = Spinner::start(ui, format!("session {session} is starting"));
    let mut course = Course { held, ..Course::of(run) };
    let interrupted = tokio::signal::ctrl_c();
    tokio::pin!(interrupted);
    let end = loop {
        let live = tokio::select! {
            biased;
            _ = &mut interrupted => {
                spinner.end();
                printer.finish()?;
                ui.say(format!("Detached: session \"{session}\" goes on."));
                ui.say(format!("  greenroom sessions watch {session}   follows it again"));
                ui.say(format!("  greenroom sessions stop {session}    stops it"));
                return Ok(Code::Done);
            }
            live = follow.next() => live?,
        };
        let Some(live) = live else {
            return Err(CliError::new(Code::Stopped, format!("session \"{session}\" was deleted")));
        };
        if !matches!(&live, Live::Event(event) if event.kind.starts_with("session.") || event.kind == "run.queued")
        {
            spinner.end();
        }
        printer.print(&live)?;
        if let Live::Event(event) = &live {
            if let Some(end) = course.see(event) {
                break end;
            }
            printer.follows(course.run);
        }
    };
    spinner.end();
    if let End::Completed(Some(result)) = &end
        && ui.output == Output::Table
        && !printer.said_text()
    {
        ui.line(result.as_str().map_or_else(|| result.to_string(), str::to_owned))?;
    }
    printer.finish()?;
    if ui.output == Output::Json {
        let run = client.run(&run.to_string()).await?;
        ui.line(run.json().get())?;
    }
    code_of(end, session)
}

fn code_of(end: End, session: &str) -> Result<Code, CliError> {
    Err(match end {
        End::Completed(_) => return Ok(Code::Done),
        End::Failed(why) => CliError::failed(format!("the run failed: {why}"))
            .hint(format!("greenroom sessions show {session}")),
        End::Stopped => CliError::new(Code::Stopped, "the run was stopped")
            .hint(format!("greenroom sessions send {session} PROMPT goes on from there")),
        End::Withdrawn => CliError::new(Code::Stopped, "the run was withdrawn before it began"),
        End::Held(failure) => {
            let why = match failure {
                Some(failure) => format!("the session failed ({failure})"),
                None => "the session was stopped".to_owned(),
            };
            CliError::failed(format!(
                "the run stays queued: {why}, and its queue waits for a person"
            ))
            .hint(format!("greenroom sessions resume {session} starts it"))
        }
    })
}

/// Says why a run does not begin yet, where that is known.
pub(crate) fn say_blocked(context: &Context, reason: Option<&str>) {
    if let Some(reason) = reason {
        context.ui.aside(format!("waiting: {}", blocked(reason)));
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use greenroom_core::Timestamp;
    use serde_json::json;

    fn id(n: u128) -> RunId {
        RunId(uuid::Uuid::from_u128(n))
    }

    fn event(kind: &str, run: Option<u128>, data: Value) -> Event {
        let at = Timestamp::from_unix_ms(0);
        Event { seq: 1, at, run: run.map(id), kind: kind.to_owned(), data }
    }

    fn course() -> Course {
        Course { run: id(1), queued: true, held: false, failure: None }
    }

    #[test]
    fn a_run_ends_by_its_own_word_only() {
        let mut course = course();
        assert_eq!(course.see(&event("run.completed", Some(2), json!({}))), None);
        assert_eq!(course.see(&event("run.started", Some(1), json!({}))), None);
        assert_eq!(course.see(&event("session.held", None, json!({"why": "stop"}))), None);
        let end = course.see(&event("run.stopped", Some(1), json!({})));
        assert_eq!(end, Some(End::Stopped));
        assert_eq!(code_of(End::Stopped, "x").expect_err("3").code(), Code::Stopped);
        assert_eq!(code_of(End::Completed(None), "x").expect("done"), Code::Done);
    }

    #[test]
    fn a_run_that_nothing_will_start_has_failed() {
        let receipt = json!({"receipt": {"reason": "start_timeout", "detail": "60 s"}});
        let mut course = course();
        assert_eq!(course.see(&event("run.dispatched", Some(1), json!({}))), None);
        assert_eq!(course.see(&event("session.failed", None, receipt)), None);
        assert_eq!(course.see(&event("session.held", None, json!({}))), None);
        let end = course.see(&event("run.requeued", Some(1), json!({})));
        let end = end.expect("the end");
        assert_eq!(end, End::Held(Some("start_timeout: 60 s".to_owned())));
        assert_eq!(code_of(end, "x").expect_err("1").code(), Code::Failed);
    }
}
