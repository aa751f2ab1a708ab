//! `greenroom sessions ls`.

use greenroom_client::{Answer, Listing, SessionFilter};
use greenroom_core::Status;
use greenroom_protocol::v1::Session;

use crate::args::Label;
use crate::commands::sessions::Whose;
use crate::context::Context;
use crate::error::{CliError, Code};
use crate::human::{ago, short};
use crate::ui::{Output, Row, Table, Tone};

/// The API gives no longer pages.
const PAGE: u32 = 1000;

/// List sessions, newest first
#[derive(Debug, clap::Args)]
#[command(
    visible_alias = "list",
    after_help = "\
Examples:
  greenroom sessions ls
  greenroom sessions ls -n fixer --status running --status waiting
  greenroom sessions ls --label team=web --search tests
  greenroom sessions ls --output json --limit 1000"
)]
pub(crate) struct Args {
    /// Only of this status; may be repeated
    #[arg(long, value_name = "STATUS", value_parser = status, value_delimiter = ',')]
    status: Vec<Status>,
    /// Only with this label; may be repeated
    #[arg(long = "label", value_name = "K=V")]
    labels: Vec<Label>,
    /// Only at home on this runner
    #[arg(long, value_name = "RUNNER")]
    runner: Option<String>,
    /// Only children of this session
    #[arg(long, value_name = "ID")]
    parent: Option<String>,
    /// Only with this text in id, title or agent
    #[arg(long, value_name = "TEXT")]
    search: Option<String>,
    /// Order: created, active or id
    #[arg(long, value_name = "ORDER")]
    sort: Option<String>,
    /// At most so many
    #[arg(long, value_name = "N", default_value_t = 100, value_parser = clap::value_parser!(u32).range(1..))]
    limit: u32,
    /// Go on where an earlier list ended
    #[arg(long, value_name = "CURSOR")]
    cursor: Option<String>,
}

fn status(word: &str) -> Result<Status, String> {
    Status::of(word).ok_or_else(|| {
        let all: Vec<_> = Status::ALL.iter().map(|status| status.as_str()).collect();
        format!("not a status: {}", all.join(", "))
    })
}

pub(crate) async fn run(context: &Context, whose: &Whose, args: Args) -> Result<Code, CliError> {
    let client = context.client()?;
    let filter = SessionFilter {
        status: args.status.iter().map(|status| status.as_str().to_owned()).collect(),
        agent: whose.agent().map(str::to_owned),
        labels: args.labels.iter().map(Label::text).collect(),
        runner: args.runner,
        parent: args.parent,
        text: args.search,
        sort: args.sort,
    };
    let mut list = Listing { items: Vec::new(), next_cursor: args.cursor };
    loop {
        let left = args.limit - u32::try_from(list.items.len()).unwrap_or(u32::MAX).min(args.limit);
        let page = client.sessions(&filter, left.min(PAGE), list.next_cursor.as_deref()).await?;
        list.items.extend(page.items);
        list.next_cursor = page.next_cursor;
        if list.next_cursor.is_none() || list.items.len() >= args.limit as usize {
            break;
        }
    }
    let ui = &context.ui;
    ui.list(&list, |session| session.id.to_string(), table)?;
    if let Some(cursor) = list.next_cursor.filter(|_| ui.output == Output::Table) {
        ui.aside(format!("There are more: --cursor {cursor}"));
    }
    Ok(Code::Done)
}

fn table(sessions: &[Answer<Session>]) -> Table {
    let row = |session: &Answer<Session>| {
        let status = match &session.status_reason {
            Some(reason) => format!("{} ({reason})", session.status.as_str()),
            None => session.status.as_str().to_owned(),
        };
        Row::new(
            Tone::of(session.status),
            [
                session.id.to_string(),
                status,
                session.agent.name.to_string(),
                if session.pending.runs > 0 {
                    session.pending.runs.to_string()
                } else {
                    String::new()
                },
                ago(session.created_at),
                ago(session.last_active_at),
                short(session.title.as_deref().unwrap_or_default(), 50),
            ],
        )
    };
    let head = &["ID", "STATUS", "AGENT", "WAITING", "AGE", "ACTIVE", "TITLE"];
    Table::new(
        head,
        sessions.iter().map(row),
        "No sessions. `greenroom run AGENT PROMPT` starts one.",
    )
}
