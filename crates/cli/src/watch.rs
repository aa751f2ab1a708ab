//! A session as it goes: its text on standard output, everything else on standard error.

use greenroom_client::{Answer, Live, Transcript};
use greenroom_core::{Event, RunId};
use serde_json::Value;

use crate::error::CliError;
use crate::human::{clean, short};
use crate::show;
use crate::ui::{Output, Tone, Ui};

/// Prints a session as it goes.
#[derive(Debug)]
pub(crate) struct Printer<'a> {
    ui: &'a Ui,
    transcript: Transcript,
    /// The last text has no line end.
    open_line: bool,
    /// The last text was of a message without position: the next one begins a line.
    whole: bool,
    said_text: bool,
    /// Print only what belongs to this run, and to none.
    only: Option<RunId>,
}

impl<'a> Printer<'a> {
    pub(crate) fn new(ui: &'a Ui, only: Option<RunId>) -> Self {
        let transcript = Transcript::new();
        Self { ui, transcript, open_line: false, whole: false, said_text: false, only }
    }

    /// Only what belongs to this run, from here on.
    pub(crate) fn follows(&mut self, run: RunId) {
        self.only = Some(run);
    }

    /// Whether any text was printed.
    pub(crate) fn said_text(&self) -> bool {
        self.said_text
    }

    /// Prints what came.
    pub(crate) fn print(&mut self, live: &Live) -> Result<(), CliError> {
        match live {
            Live::Event(event) if self.ui.output == Output::Table => self.event(event),
            Live::Event(event) if self.concerns(event.run) => self.entry(event),
            Live::Delta(delta)
                if self.ui.output == Output::Table && self.concerns(Some(delta.run)) =>
            {
                let text = self.transcript.delta(delta).to_owned();
                self.text(&text, false)
            }
            Live::Resync => {
                self.ui
                    .warn("the coordinator was restored from a backup; its log begins anew here");
                self.transcript = Transcript::new();
                Ok(())
            }
            Live::Event(_) | Live::Delta(_) => Ok(()),
        }
    }

    /// An entry of the log, as the API says it.
    fn entry(&self, event: &Answer<Event>) -> Result<(), CliError> {
        match self.ui.output {
            Output::Jsonl => self.ui.line(event.json().get()),
            Output::Json | Output::Table => Ok(()),
        }
    }

    fn concerns(&self, run: Option<RunId>) -> bool {
        match (self.only, run) {
            (Some(only), Some(run)) => only == run,
            _ => true,
        }
    }

    /// Prints an entry of the log.
    pub(crate) fn event(&mut self, event: &Event) -> Result<(), CliError> {
        if !self.concerns(event.run) {
            return Ok(());
        }
        let text = self.transcript.event(event).to_owned();
        if event.kind == "message" {
            let whole = event.data.get("part").is_none();
            return self.text(&text, whole);
        }
        if let Some(line) = self.aside(event) {
            self.break_line()?;
            self.ui.say(line);
        }
        Ok(())
    }

    /// Text of the agent, as it is. A message without a position has a line of its own.
    fn text(&mut self, text: &str, whole: bool) -> Result<(), CliError> {
        if text.is_empty() {
            return Ok(());
        }
        if self.open_line && (whole || self.whole) {
            self.ui.data("\n")?;
        }
        self.whole = whole;
        self.open_line = !text.ends_with('\n');
        self.said_text = true;
        self.ui.data(text)
    }

    /// Where text and talk share a terminal, talk begins on a line of its own.
    fn break_line(&mut self) -> Result<(), CliError> {
        if self.open_line && self.ui.shares_terminal() {
            self.ui.data("\n")?;
            self.open_line = false;
        }
        Ok(())
    }

    /// The end of the text.
    pub(crate) fn finish(&mut self) -> Result<(), CliError> {
        if self.open_line && (self.whole || self.ui.data_terminal) {
            self.ui.data("\n")?;
            self.open_line = false;
        }
        Ok(())
    }

    /// What an entry beside the text is worth saying.
    fn aside(&self, event: &Event) -> Option<String> {
        let paint = self.ui.talk_paint;
        let text = |key: &str| event.data.get(key).and_then(Value::as_str).unwrap_or_default();
        let line = match event.kind.as_str() {
            // What an agent complains is its own, and keeps its colours.
            "log" => return Some(text("text").trim_end_matches('\n').to_owned()),
            "thought" => format!("… {}", short(text("text"), 400)),
            // What a call that was told already has come to.
            "tool_call" if event.data.get("update").is_some() => return None,
            "tool_call" => format!("→ {}", clean(&show::tool(&event.data))),
            "tool_result" => format!("← {}", clean(&show::tool(&event.data))),
            "session.status" => match (text("status"), text("reason")) {
                // An end of its own is no news beside its run's.
                ("stopping", "done") => return None,
                (status @ ("unreachable" | "stop_unconfirmed" | "interrupted" | "stopping"), _) => {
                    format!("session is {status}")
                }
                _ => return None,
            },
            "session.blocked" => match text("reason") {
                "" => return None,
                reason => format!("waiting: {}", blocked(reason)),
            },
            "approval.requested" => {
                let asked = paint.tint(Tone::Warn, &format!("? {}", show::summary(event)));
                return Some(format!("{asked}\n  greenroom approvals allow|deny {}", text("id")));
            }
            "approval.answered" | "approval.withdrawn" => format!("? {}", show::summary(event)),
            "approval.decided" if text("decision") == "deny" => {
                format!("? {}", show::summary(event))
            }
            "session.context_fresh" => format!("! {}", show::summary(event)),
            // Who follows one run knows what was asked, and is told its end otherwise.
            "run.queued" if self.only.is_none() => format!("» {}", show::summary(event)),
            "run.steered" if self.only.is_none() => "» taken into the run in progress".to_owned(),
            "run.failed" if self.only.is_none() => {
                format!("the run failed: {}", show::summary(event))
            }
            "run.stopped" | "run.withdrawn" if self.only.is_none() => {
                format!("the run was {}", event.kind.trim_start_matches("run."))
            }
            "run.files" if event.data.get("reason").is_some() => {
                format!("! files at the run's end: {}", show::summary(event))
            }
            "session.stopped" | "session.interrupted" if self.only.is_none() => {
                format!(
                    "the session is {} ({})",
                    event.kind.trim_start_matches("session."),
                    show::summary(event)
                )
            }
            "log_gap" | "output_gap" => {
                return Some(
                    paint.tint(Tone::Warn, &format!("{}: {}", event.kind, show::summary(event))),
                );
            }
            _ => return None,
        };
        Some(paint.tint(Tone::Dim, &line))
    }
}

/// Why a session waits for a place, in words.
pub(crate) fn blocked(reason: &str) -> &str {
    match reason {
        "agent_disabled" => "its agent is disabled: greenroom agents enable",
        "no_runner" => "no runner has the labels this agent asks for, or none is connected",
        "no_working_dir" => {
            "no runner that is connected allows its working directory: greenroom runners show ID"
        }
        "home_unreachable" => "the runner that has its files is silent",
        "home_draining" => "the runner that has its files takes nothing new",
        "home_full" => "the runner that has its files has no slot free",
        "runners_full" => "every runner that fits is full",
        other => other,
    }
}
