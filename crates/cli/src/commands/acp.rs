//! `greenroom acp`: Greenroom as an agent of the Agent Client Protocol on standard input and
//! output, so that an editor can work in sessions that live elsewhere.
//!
//! * [`door`]: what an editor asks for, method by method
//! * [`following`]: one session as it goes, its prompts, and how they end
//! * [`updates`]: entries of the log, in the editor's words
//! * [`asking`]: the agent's questions, put to the person at the editor
//! * [`choices`]: modes and options
//! * [`words`]: prompts, and errors

mod asking;
mod choices;
mod door;
mod following;
mod updates;
mod words;

use greenroom_drivers::acp::wire;

use self::door::Door;
use crate::args::Label;
use crate::context::Context;
use crate::error::{CliError, Code};

/// Be an ACP agent for an editor: sessions that live here or elsewhere
///
/// Speaks the Agent Client Protocol, version 1, on standard input and output. A new thread in
/// the editor is a new session, and its threads of before are sessions to be loaded, also on
/// another machine's editor. The editor may go at any time: the session goes on, and nothing
/// but a stop stops it. The agent's files are in the session's workspace at its runner, not in
/// the editor's folder.
#[derive(Debug, clap::Args)]
#[command(after_help = "\
Examples:
  greenroom acp --agent fixer
  greenroom acp --url https://greenroom.example --token \"$GREENROOM_TOKEN\"

In Zed's settings:
  \"agent_servers\": { \"Greenroom\": { \"command\": \"greenroom\", \"args\": [\"acp\", \"--agent\", \"fixer\"] } }")]
pub(crate) struct Args {
    /// The agent of new sessions; without it the editor is offered the choice
    #[arg(long, value_name = "NAME")]
    agent: Option<String>,
    /// A label of new sessions; may be repeated
    #[arg(long = "label", value_name = "KEY=VALUE")]
    labels: Vec<Label>,
}

pub(crate) async fn run(context: &Context, args: Args) -> Result<Code, CliError> {
    let client = context.client()?;
    let labels = Label::map(&args.labels);
    let talk = wire::answer(tokio::io::stdin(), tokio::io::stdout(), async |editor, incoming| {
        Door::new(client, editor, args.agent, labels).serve(incoming).await;
    });
    match talk.await {
        Ok(()) => Ok(Code::Done),
        Err(error) => {
            Err(CliError::failed(format!("the connection with the editor broke: {error}"))
                .hint("its sessions go on: greenroom sessions ls"))
        }
    }
}
