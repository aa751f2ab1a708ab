//! Colours, where there is a terminal that wants them.

use anstream::{AutoStream, ColorChoice, stream::RawStream};
use greenroom_core::Status;
use owo_colors::OwoColorize;

/// What a colour means.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Tone {
    /// Something lives.
    Live,
    /// Something waits for a person.
    Warn,
    /// Something is wrong.
    Bad,
    /// Beside the point.
    Dim,
    /// A heading.
    Head,
    /// As it is.
    Plain,
}

impl Tone {
    /// The tone of a status.
    pub(crate) fn of(status: Status) -> Self {
        match status {
            Status::Running | Status::Starting | Status::Idle => Self::Live,
            Status::Waiting | Status::Queued | Status::Stopping | Status::Interrupted => Self::Warn,
            Status::Failed | Status::Unreachable | Status::StopUnconfirmed => Self::Bad,
            Status::Deleting => Self::Dim,
            Status::New | Status::Stopped | Status::Finished => Self::Plain,
        }
    }
}

/// Whether a stream is painted.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Paint(bool);

impl Paint {
    /// Of a stream: a terminal, and neither `NO_COLOR` nor a dumb one.
    pub(crate) fn of(stream: &impl RawStream) -> Self {
        Self(AutoStream::choice(stream) != ColorChoice::Never)
    }

    /// Without colours.
    #[cfg(test)]
    pub(crate) const OFF: Self = Self(false);

    /// With colours.
    #[cfg(test)]
    pub(crate) const ON: Self = Self(true);

    /// The text in the colour of a tone.
    pub(crate) fn tint(self, tone: Tone, text: &str) -> String {
        if !self.0 {
            return text.to_owned();
        }
        match tone {
            Tone::Live => text.green().to_string(),
            Tone::Warn => text.yellow().to_string(),
            Tone::Bad => text.red().to_string(),
            Tone::Dim => text.dimmed().to_string(),
            Tone::Head => text.bold().to_string(),
            Tone::Plain => text.to_owned(),
        }
    }
}
