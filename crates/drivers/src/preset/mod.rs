//! Coding agents with a command line and no protocol of their own: known flags, known
//! streams.
//!
//! A preset is data, [`Preset`], and a parser, [`Stream`]; [`turn`] drives any of them
//! through one run. One file each. To add another: record its stream, write the parser
//! until the record reads, and name it in [`of`].

mod claude;
mod codex;
mod copilot;
mod docker_agent;
mod failure;
mod gemini;
mod messages;
mod opencode;
mod pi;
mod qwen;
mod stream;
#[cfg(test)]
mod tests;
mod turn;

use greenroom_core::agent::{self, PresetSpec};
use greenroom_core::approval::{Mode, Policy};
use greenroom_core::drive::Open;
use rustix::process::Signal;

use crate::Failure;
use crate::shim::{Shim, Wish, Wishes};
pub use stream::{Question, Said, Stream};

/// A coding agent's command line, as data. In its arguments, `{id}` is a conversation's
/// name.
#[derive(Debug, Clone, Copy)]
pub struct Preset {
    /// Arguments of every run.
    pub base: &'static [&'static str],
    /// For one whose first argument names what it runs: what it runs where the agent file's
    /// arguments do not begin with that.
    pub subject: Option<&'static str>,
    /// With approvals of mode `autonomous`: nothing is asked.
    pub autonomous: &'static [&'static str],
    /// With any other: nobody can be asked, so what would be is not done.
    pub careful: &'static [&'static str],
    /// Variables of a careful run.
    pub careful_env: &'static [(&'static str, &'static str)],
    /// For a conversation that begins. With `{id}`, its name is ours to choose.
    pub fresh: &'static [&'static str],
    /// For a conversation that goes on.
    pub resume: &'static [&'static str],
    /// The last arguments.
    pub last: &'static [&'static str],
    /// Variables, where the agent file does not set them.
    pub env: &'static [(&'static str, &'static str)],
    /// Files beneath HOME, written where there are none.
    pub files: &'static [(&'static str, &'static str)],
    /// How it is spoken to.
    pub feed: Feed,
    /// How a turn is ended.
    pub cancel: Cancel,
    /// What it says where it does not know the conversation.
    pub unknown: &'static [&'static str],
    /// Its stream.
    pub stream: fn() -> Box<dyn Stream>,
}

/// How an agent is spoken to.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Feed {
    /// The prompt, then end of file.
    Prompt,
    /// Messages, until it has answered. What it asks can be answered, too.
    Messages,
}

/// How a turn is ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Cancel {
    /// By a message.
    Message,
    /// By a signal.
    Signal(Signal),
}

/// The preset of this name.
pub fn of(preset: agent::Preset) -> &'static Preset {
    match preset {
        agent::Preset::Claude => &claude::PRESET,
        agent::Preset::Codex => &codex::PRESET,
        agent::Preset::Opencode => &opencode::PRESET,
        agent::Preset::Pi => &pi::PRESET,
        agent::Preset::Qwen => &qwen::PRESET,
        agent::Preset::Gemini => &gemini::PRESET,
        agent::Preset::Copilot => &copilot::PRESET,
        agent::Preset::DockerAgent => &docker_agent::PRESET,
    }
}

/// Whether this preset can keep what a policy says. Rules are about single uses of tools,
/// and only an agent that asks before each can be held to them.
fn keeps(preset: &Preset, word: &str, policy: &Policy) -> Result<(), Failure> {
    let rules = [("allow", &policy.allow), ("ask", &policy.ask), ("deny", &policy.deny)];
    match rules.into_iter().find(|(_, rules)| !rules.is_empty()) {
        Some((key, _)) if preset.feed == Feed::Prompt => {
            let text = format!(
                "preset {word} cannot keep approvals.{key}: its command line asks nobody. Leave \
                 out the rules, or use driver: acp, where Greenroom is asked"
            );
            Err(Failure::new("start_error", text))
        }
        _ => Ok(()),
    }
}

/// What the agent's files say, beneath HOME, where it has none yet.
fn write_files(preset: &Preset, open: &Open) -> Result<(), Failure> {
    for (name, text) in preset.files {
        let path = open.home.join(name);
        let folder = path.parent().unwrap_or(&open.home);
        let written = match path.exists() {
            true => Ok(()),
            false => std::fs::create_dir_all(folder).and_then(|()| std::fs::write(&path, text)),
        };
        written.map_err(|error| {
            let text = format!("{} cannot be written: {error}", path.display());
            Failure::new("start_error", text)
        })?;
    }
    Ok(())
}

/// Drives one run of one.
pub async fn drive(
    shim: Shim,
    mut wishes: Wishes,
    open: Open,
    spec: PresetSpec,
) -> Result<(), Failure> {
    let preset = of(spec.preset);
    open.policies().all().try_for_each(|policy| keeps(preset, spec.preset.as_str(), policy))?;
    write_files(preset, &open)?;
    shim.ready();
    loop {
        match wishes.next().await {
            Wish::Run { run, input } => {
                let turn = turn::Turn { shim: &shim, open: &open, spec: &spec, preset };
                if let Some(outcome) = turn.take(&mut wishes, &input).await? {
                    shim.ended(run, outcome);
                }
                return Ok(());
            }
            Wish::Cancel => {}
            Wish::End => return Ok(()),
        }
    }
}

/// The whole command of a run.
fn command(preset: &Preset, spec: &PresetSpec, mode: Mode, which: Which<'_>) -> Vec<String> {
    let program = spec.program.as_deref().unwrap_or(spec.preset.as_str());
    let policy = match mode {
        Mode::Autonomous => preset.autonomous,
        Mode::Strict | Mode::Balanced => preset.careful,
    };
    let (conversation, id) = match which {
        Which::Fresh { id } => (preset.fresh, id),
        Which::Resume { id } => (preset.resume, id),
    };
    let named = |words: &[&str]| words.iter().map(|word| word.replace("{id}", id)).collect();
    let is_named = spec.args.first().is_some_and(|arg| !arg.starts_with('-'));
    let subject = preset.subject.filter(|_| !is_named).map(str::to_owned);
    let words: [Vec<String>; 5] = [
        named(preset.base),
        named(policy),
        subject.into_iter().collect(),
        spec.args.clone(),
        named(conversation),
    ];
    let mut command = vec![program.to_owned()];
    command.extend(words.into_iter().flatten());
    command.extend(preset.last.iter().map(|word| (*word).to_owned()));
    command
}

/// Which conversation a run belongs to.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Which<'a> {
    /// A new one, of this name where we may choose it.
    Fresh { id: &'a str },
    /// The one of this name.
    Resume { id: &'a str },
}
