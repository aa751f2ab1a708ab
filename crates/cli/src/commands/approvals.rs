//! `greenroom approvals`.

use clap::Subcommand;
use greenroom_client::{Answer, Client, Listing};
use greenroom_core::ApprovalId;
use greenroom_core::approval::Decision;
use greenroom_protocol::v1::{AnswerRequest, Approval, ApprovalStatus};

use crate::context::Context;
use crate::error::{CliError, Code};
use crate::human::{ago, short};
use crate::show;
use crate::ui::{Output, Row, Table, Tone};

/// List what agents ask, and answer
#[derive(Debug, clap::Args)]
#[command(after_help = "\
Examples:
  greenroom approvals ls
  greenroom approvals show fix-1
  greenroom approvals allow fix-1
  greenroom approvals deny 0198a3c4-… --reason 'not on a Friday'
  greenroom approvals allow fix-1 --content '{\"name\": \"Ada\"}'")]
pub(crate) struct Args {
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// List what waits for a person, in all sessions or in one
    #[command(visible_alias = "list")]
    Ls {
        /// Session
        session: Option<String>,
    },
    /// Show what is asked, whole
    #[command(visible_alias = "get")]
    Show {
        /// Session with one open question, or the question's id
        #[arg(value_name = "SESSION|ID")]
        what: String,
    },
    /// Say yes, for this one action
    Allow {
        #[command(flatten)]
        answer: AnswerArgs,
        /// Let the agent remember it for the rest of the conversation, where it offers that
        #[arg(long)]
        always: bool,
        /// The answer to a form, as JSON
        #[arg(long, value_name = "JSON", value_parser = json)]
        content: Option<serde_json::Value>,
    },
    /// Say no
    Deny {
        #[command(flatten)]
        answer: AnswerArgs,
        /// Let the agent remember it for the rest of the conversation, where it offers that
        #[arg(long)]
        always: bool,
    },
}

#[derive(Debug, clap::Args)]
struct AnswerArgs {
    /// Session with one open question, or the question's id
    #[arg(value_name = "SESSION|ID")]
    what: String,
    /// Choose this one of the options that the agent offers
    #[arg(long, value_name = "OPTION")]
    option: Option<String>,
    /// Why; the agent is told
    #[arg(long, value_name = "TEXT")]
    reason: Option<String>,
}

fn json(text: &str) -> Result<serde_json::Value, serde_json::Error> {
    serde_json::from_str(text)
}

pub(crate) async fn run(context: &Context, args: Args) -> Result<Code, CliError> {
    let (client, ui) = (context.client()?, &context.ui);
    match args.command {
        Command::Ls { session } => {
            let list: Listing<Approval> = match session {
                Some(session) => client.session_approvals(&session).await?,
                None => client.approvals(1000, None).await?,
            };
            ui.list(&list, |asked| asked.id.to_string(), table)?;
            if list.next_cursor.is_some() && ui.output == Output::Table {
                ui.aside("There are more sessions that wait.");
            }
        }
        Command::Show { what } => {
            let found = find(&client, &what).await?;
            ui.several(&[found], true, |asked| show::approval(asked, ui.paint))?;
        }
        Command::Allow { answer, always, content } => {
            give(context, &client, answer, Decision::Allow, always, content).await?;
        }
        Command::Deny { answer, always } => {
            give(context, &client, answer, Decision::Deny, always, None).await?;
        }
    }
    Ok(Code::Done)
}

async fn give(
    context: &Context,
    client: &Client,
    args: AnswerArgs,
    decision: Decision,
    always: bool,
    content: Option<serde_json::Value>,
) -> Result<(), CliError> {
    let asked = find(client, &args.what).await?;
    let AnswerArgs { option, reason, .. } = args;
    let request = AnswerRequest { decision, option, always: Some(always), content, reason };
    let id = asked.id.to_string();
    let answered = client.answer(asked.session_id.as_str(), &id, &request).await?;
    let word = if decision == Decision::Allow { "allowed" } else { "denied" };
    let title = short(&asked.title, 80);
    context.ui.several(&[answered], true, |answered| {
        format!("Session {:?}: {title:?} is {word}.\n", answered.session_id.as_str())
    })
}

/// The question that is meant: by its own id, or as the only one of a session.
async fn find(client: &Client, what: &str) -> Result<Answer<Approval>, CliError> {
    if let Ok(id) = what.parse::<ApprovalId>() {
        let mut cursor = None;
        loop {
            let page = client.approvals(1000, cursor.as_deref()).await?;
            if let Some(found) = page.items.into_iter().find(|asked| asked.id == id) {
                return Ok(found);
            }
            cursor = page.next_cursor;
            if cursor.is_none() {
                return Err(CliError::failed(format!(
                    "nothing with the id {id} waits for an answer"
                ))
                .hint("greenroom approvals ls"));
            }
        }
    }
    let all = client.session_approvals(what).await?.items;
    let mut open = all.into_iter().filter(|asked| asked.status == ApprovalStatus::Open);
    match (open.next(), open.next()) {
        (Some(only), None) => Ok(only),
        (None, _) => Err(CliError::failed(format!("session {what:?} asks nothing"))
            .hint("greenroom approvals ls")),
        (Some(_), Some(_)) => {
            Err(CliError::failed(format!("session {what:?} asks more than one thing: name its id"))
                .hint(format!("greenroom approvals ls {what}")))
        }
    }
}

fn table(all: &[Answer<Approval>]) -> Table {
    let row = |asked: &Answer<Approval>| {
        let (tone, status) = match asked.status {
            ApprovalStatus::Open => (Tone::Warn, "open"),
            ApprovalStatus::Answered => (Tone::Dim, "answered"),
            ApprovalStatus::Delivered => (Tone::Dim, "delivered"),
        };
        Row::new(
            tone,
            [
                asked.id.to_string(),
                status.to_owned(),
                asked.session_id.to_string(),
                ago(asked.requested_at),
                asked.tool.clone().unwrap_or_default(),
                short(&asked.title, 60),
            ],
        )
    };
    Table::new(
        &["ID", "STATUS", "SESSION", "AGE", "TOOL", "WHAT"],
        all.iter().map(row),
        "Nothing waits for a person.",
    )
}
