//! `greenroom sessions create`.

use crate::commands::asking::{Asked, Traits};
use crate::commands::sessions::Whose;
use crate::context::Context;
use crate::error::{CliError, Code};
use crate::ui::Output;

/// Create a session, with its first run if a prompt is given
#[derive(Debug, clap::Args)]
#[command(after_help = "\
Examples:
  greenroom sessions create fixer
  greenroom sessions create fixer 'fix the tests' --id fix-1
  greenroom sessions create -n fixer --title 'Nightly fixes' --label team=web")]
pub(crate) struct Args {
    /// Name of the agent; may be given by --agent-name instead
    #[arg(value_name = "AGENT")]
    agent: Option<String>,
    /// What to ask first; - reads standard input
    #[arg(value_name = "PROMPT")]
    prompt: Option<String>,
    /// What to ask first, in place of the argument
    #[arg(long = "prompt", short = 'p', value_name = "TEXT", conflicts_with = "prompt")]
    prompt_option: Option<String>,
    /// What to ask first, as a JSON document, or @FILE
    #[arg(long, value_name = "JSON", conflicts_with_all = ["prompt", "prompt_option"])]
    input: Option<String>,
    #[command(flatten)]
    traits: Traits,
    /// Session that this one is a child of
    #[arg(long, value_name = "ID")]
    parent: Option<String>,
    /// Tell the parent about the end of each run
    #[arg(long, requires = "parent")]
    callback: bool,
}

/// Agent and prompt. With --agent-name, a single argument that is not the agent's name is
/// the prompt.
fn agent_and_prompt(
    named: Option<&str>,
    first: Option<String>,
    second: Option<String>,
) -> Result<(String, Option<String>), CliError> {
    match (named, first, second) {
        (None, Some(agent), prompt) => Ok((agent, prompt)),
        (Some(named), None, _) => Ok((named.to_owned(), None)),
        (Some(named), Some(agent), prompt) if agent == named => Ok((agent, prompt)),
        (Some(named), Some(prompt), None) => Ok((named.to_owned(), Some(prompt))),
        (Some(named), Some(agent), Some(_)) => Err(CliError::usage(format!(
            "two agents are named: \"{agent}\" and, by --agent-name, \"{named}\""
        ))),
        (None, None, _) => Err(CliError::usage("a session needs an agent")
            .hint("greenroom agents ls says which there are")),
    }
}

pub(crate) async fn run(context: &Context, whose: &Whose, args: Args) -> Result<Code, CliError> {
    let ui = &context.ui;
    let (agent, prompt) = agent_and_prompt(whose.agent(), args.agent, args.prompt)?;
    let asked = Asked::read(prompt.or(args.prompt_option), args.input.as_deref())?;
    let mut body = args.traits.create(agent, asked);
    body.parent = args.parent;
    body.callback = args.callback.then_some(true);
    let session = context.client()?.create_session(&body).await?;
    match ui.output {
        Output::Table => ui.line(session.id.as_str())?,
        Output::Json | Output::Jsonl => ui.line(session.json().get())?,
    }
    Ok(Code::Done)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_agent_is_named_once() {
        let read = |named, first: Option<&str>, second: Option<&str>| {
            agent_and_prompt(named, first.map(str::to_owned), second.map(str::to_owned)).ok()
        };
        let a = |prompt: Option<&str>| Some(("a".to_owned(), prompt.map(str::to_owned)));
        assert_eq!(read(None, Some("a"), Some("do")), a(Some("do")));
        assert_eq!(read(Some("a"), None, None), a(None));
        assert_eq!(read(Some("a"), Some("a"), Some("do")), a(Some("do")));
        assert_eq!(read(Some("a"), Some("do"), None), a(Some("do")));
        assert_eq!(read(Some("a"), Some("b"), Some("do")), None);
        assert_eq!(read(None, None, None), None);
    }
}
