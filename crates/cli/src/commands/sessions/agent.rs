//! `greenroom sessions agent`.

use greenroom_protocol::v1::{PatchSession, Session};

use crate::commands::asking::policy;
use crate::commands::each;
use crate::commands::sessions::Whose;
use crate::context::Context;
use crate::error::{CliError, Code};
use crate::human::clean;

/// Choose which description of its agent a session goes on with
///
/// Without options it says which one that is.
#[derive(Debug, clap::Args)]
#[command(after_help = "\
Examples:
  greenroom sessions agent fix-1
  greenroom sessions agent fix-1 --policy pin
  greenroom sessions agent fix-1 --to 'https://example.com/fixer.yaml?tag=v2'")]
pub(crate) struct Args {
    /// Sessions
    #[arg(required = true, value_name = "ID")]
    ids: Vec<String>,
    /// What a prompt does when the agent's source says something else: follow, pin or ask
    #[arg(long, value_name = "POLICY", value_parser = policy)]
    policy: Option<greenroom_core::agent::AgentPolicy>,
    /// Go on with this agent: a name, the key of a source, or a URL
    #[arg(long, value_name = "AGENT")]
    to: Option<String>,
}

pub(crate) async fn run(context: &Context, whose: &Whose, args: Args) -> Result<Code, CliError> {
    let client = context.client()?;
    let body =
        PatchSession { agent_policy: args.policy, agent: args.to, ..PatchSession::default() };
    let only_looks = body.agent_policy.is_none() && body.agent.is_none();
    let change = async |id: &str| {
        let session = whose.session(&client, id).await?;
        match only_looks {
            true => Ok(session),
            false => Ok(client.patch_session(id, &body).await?),
        }
    };
    let (sessions, code) = each(context, &args.ids, change).await?;
    context.ui.several(&sessions, args.ids.len() == 1, text)?;
    Ok(code)
}

fn text(session: &Session) -> String {
    let agent = &session.agent;
    let policy = serde_json::to_value(session.agent_policy).unwrap_or_default();
    format!(
        "Session \"{}\" has agent {} v{} from {}; policy {}.\n",
        session.id,
        agent.name,
        agent.version,
        clean(&agent.source),
        policy.as_str().unwrap_or_default()
    )
}
