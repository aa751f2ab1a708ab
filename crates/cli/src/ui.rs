//! What is said, and where: standard output is data, standard error is talk.

mod paint;
mod spinner;
mod table;

use std::io::{self, IsTerminal, Write};

use clap::ValueEnum;
use greenroom_client::{Answer, Listing};
use serde_json::value::RawValue;

use crate::error::CliError;

pub(crate) use paint::{Paint, Tone};
pub(crate) use spinner::Spinner;
pub(crate) use table::{Row, Table};

/// In what form data is shown.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, ValueEnum)]
pub(crate) enum Output {
    /// For people.
    #[default]
    Table,
    /// Exactly the API's JSON; several ids give `{"items": […]}`.
    Json,
    /// One JSON document a line.
    Jsonl,
}

/// Where data and talk go.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Ui {
    pub(crate) output: Output,
    /// Only data and errors.
    pub(crate) quiet: bool,
    /// Colours of standard output.
    pub(crate) paint: Paint,
    /// Colours of standard error.
    pub(crate) talk_paint: Paint,
    /// Standard error is a terminal.
    pub(crate) talk_terminal: bool,
    /// Standard output is a terminal.
    pub(crate) data_terminal: bool,
}

impl Ui {
    pub(crate) fn new(output: Output, quiet: bool) -> Self {
        Self {
            output,
            quiet,
            paint: Paint::of(&io::stdout()),
            talk_paint: Paint::of(&io::stderr()),
            talk_terminal: io::stderr().is_terminal(),
            data_terminal: io::stdout().is_terminal(),
        }
    }

    /// Data and talk are mixed on one screen.
    pub(crate) fn shares_terminal(&self) -> bool {
        self.data_terminal && self.talk_terminal
    }

    /// Writes data, at once.
    pub(crate) fn data(&self, bytes: impl AsRef<[u8]>) -> Result<(), CliError> {
        let mut out = io::stdout().lock();
        out.write_all(bytes.as_ref()).and_then(|()| out.flush()).map_err(|error| {
            match error.kind() {
                io::ErrorKind::BrokenPipe => CliError::ClosedPipe,
                _ => CliError::failed(format!("cannot write to standard output: {error}")),
            }
        })
    }

    /// Writes a line of data.
    pub(crate) fn line(&self, text: impl AsRef<str>) -> Result<(), CliError> {
        self.data(format!("{}\n", text.as_ref()))
    }

    /// Says something, unless quiet.
    pub(crate) fn say(&self, text: impl AsRef<str>) {
        if !self.quiet {
            talk(&format!("{}\n", text.as_ref()));
        }
    }

    /// Says something beside the point, unless quiet.
    pub(crate) fn aside(&self, text: impl AsRef<str>) {
        self.say(self.talk_paint.tint(Tone::Dim, text.as_ref()));
    }

    /// Warns, quiet or not.
    pub(crate) fn warn(&self, text: &str) {
        talk(&format!("{} {text}\n", self.talk_paint.tint(Tone::Warn, "warning:")));
    }

    /// Says an error, and what to do.
    pub(crate) fn complain(&self, error: &CliError) {
        let CliError::Told(told) = error else { return };
        let paint = self.talk_paint;
        talk(&format!("{} {}\n", paint.tint(Tone::Bad, "error:"), told.message));
        if let Some(hint) = &told.hint {
            talk(&format!("{} {hint}\n", paint.tint(Tone::Live, "hint:")));
        }
    }

    /// Shows one thing: as JSON exactly what the API said.
    pub(crate) fn one<T>(
        &self,
        answer: &Answer<T>,
        text: impl FnOnce(&T) -> String,
    ) -> Result<(), CliError> {
        match self.output {
            Output::Table => self.data(text(answer)),
            Output::Json | Output::Jsonl => self.line(answer.json().get()),
        }
    }

    /// Shows what several ids gave; a single one is shown by itself.
    pub(crate) fn several<T>(
        &self,
        answers: &[Answer<T>],
        single: bool,
        text: impl Fn(&T) -> String,
    ) -> Result<(), CliError> {
        match self.output {
            Output::Table => {
                for (n, answer) in answers.iter().enumerate() {
                    let gap = if n > 0 { "\n" } else { "" };
                    self.data(format!("{gap}{}", text(answer)))?;
                }
                Ok(())
            }
            Output::Json if !single => self.line(items(answers.iter().map(Answer::json)) + "}"),
            Output::Json | Output::Jsonl => {
                answers.iter().try_for_each(|answer| self.line(answer.json().get()))
            }
        }
    }

    /// Shows a list; quiet, only what `id` makes of each.
    pub(crate) fn list<T>(
        &self,
        list: &Listing<T>,
        id: impl Fn(&T) -> String,
        table: impl FnOnce(&[Answer<T>]) -> Table,
    ) -> Result<(), CliError> {
        match self.output {
            Output::Table if self.quiet => {
                list.items.iter().try_for_each(|item| self.line(id(item)))
            }
            Output::Table => self.data(table(&list.items).render(self.paint)),
            Output::Json => {
                let items = items(list.items.iter().map(Answer::json));
                let cursor = serde_json::to_string(&list.next_cursor).unwrap_or_default();
                self.line(format!("{items},\"next_cursor\":{cursor}}}"))
            }
            Output::Jsonl => list.items.iter().try_for_each(|item| self.line(item.json().get())),
        }
    }
}

/// `{"items":[…]`, without its end.
fn items<'a>(documents: impl Iterator<Item = &'a RawValue>) -> String {
    let documents: Vec<&str> = documents.map(RawValue::get).collect();
    format!("{{\"items\":[{}]", documents.join(","))
}

/// Talks. That nobody listens is no reason to fail.
fn talk(text: &str) {
    let _ = io::stderr().lock().write_all(text.as_bytes());
}
