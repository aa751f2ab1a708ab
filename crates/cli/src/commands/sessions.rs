//! `greenroom sessions`.

mod abandon;
mod agent;
mod create;
mod delete;
mod diff;
mod files;
mod fork;
mod http;
mod logs;
mod ls;
mod moment;
mod push;
mod resume;
mod send;
mod show;
pub(crate) mod stop;
mod update;
mod watch;

use clap::Subcommand;
use greenroom_client::{Answer, Client};
use greenroom_protocol::v1::Session;

use crate::context::Context;
use crate::error::{CliError, Code};

/// Create, list, watch, stop and resume sessions
#[derive(Debug, clap::Args)]
#[command(after_help = "\
Examples:
  greenroom sessions ls --status running
  greenroom sessions watch fix-1
  greenroom sessions stop fix-1 fix-2
  greenroom sessions stop --all --label team=web
  greenroom sessions send fix-1 'go on, but leave the docs alone'")]
pub(crate) struct Args {
    /// Only sessions of this agent; a session of another agent is refused
    #[arg(long, short = 'n', alias = "agent", global = true, value_name = "AGENT")]
    agent_name: Option<String>,
    /// For this user of yours: their sessions and no others
    #[arg(long, global = true, value_name = "USER")]
    user_identity: Option<String>,
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    Create(create::Args),
    Ls(ls::Args),
    Show(show::Args),
    Send(send::Args),
    Watch(watch::Args),
    Logs(logs::Args),
    Stop(stop::Args),
    Resume(resume::Args),
    Update(update::Args),
    Fork(fork::Args),
    Agent(agent::Args),
    Delete(delete::Args),
    Files(files::Args),
    Diff(diff::Args),
    Push(push::Args),
    Http(http::Args),
    Abandon(abandon::Args),
}

/// Whose sessions are meant.
#[derive(Debug, Clone, Default)]
pub(crate) struct Whose {
    agent: Option<String>,
}

impl Whose {
    /// The agent's name, where one was given.
    pub(crate) fn agent(&self) -> Option<&str> {
        self.agent.as_deref()
    }

    /// Refuses a session of another agent.
    pub(crate) fn check(&self, session: &Session) -> Result<(), CliError> {
        match self.agent() {
            Some(agent) if session.agent.name.as_str() != agent => Err(CliError::failed(format!(
                "session \"{}\" belongs to agent \"{}\", not to \"{agent}\"",
                session.id, session.agent.name
            ))
            .hint(format!("leave --agent-name out, or give -n {}", session.agent.name))),
            _ => Ok(()),
        }
    }

    /// Looks the session up only where an agent was named, and refuses another's.
    pub(crate) async fn guard(&self, client: &Client, id: &str) -> Result<(), CliError> {
        match self.agent {
            Some(_) => self.check(&*client.session(id).await?),
            None => Ok(()),
        }
    }

    /// The session, unless it is another agent's.
    pub(crate) async fn session(
        &self,
        client: &Client,
        id: &str,
    ) -> Result<Answer<Session>, CliError> {
        let session = client.session(id).await?;
        self.check(&session)?;
        Ok(session)
    }
}

pub(crate) async fn run(context: &Context, args: Args) -> Result<Code, CliError> {
    let whose = Whose { agent: args.agent_name };
    let context = &context.for_user(args.user_identity);
    match args.command {
        Command::Create(args) => create::run(context, &whose, args).await,
        Command::Ls(args) => ls::run(context, &whose, args).await,
        Command::Show(args) => show::run(context, &whose, args).await,
        Command::Send(args) => send::run(context, &whose, args).await,
        Command::Watch(args) => watch::run(context, &whose, args).await,
        Command::Logs(args) => logs::run(context, &whose, args).await,
        Command::Stop(args) => stop::run(context, &whose, args).await,
        Command::Resume(args) => resume::run(context, &whose, args).await,
        Command::Update(args) => update::run(context, &whose, args).await,
        Command::Fork(args) => fork::run(context, &whose, args).await,
        Command::Agent(args) => agent::run(context, &whose, args).await,
        Command::Delete(args) => delete::run(context, &whose, args).await,
        Command::Diff(args) => diff::run(context, &whose, args).await,
        Command::Push(args) => push::run(context, &whose, args).await,
        Command::Http(args) => http::run(context, &whose, args).await,
        Command::Files(args) => files::run(context, &whose, args).await,
        Command::Abandon(args) => abandon::run(context, &whose, args).await,
    }
}
