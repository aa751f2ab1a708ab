//! `greenroom sessions logs`.

use greenroom_client::{Client, Listing, Live};
use greenroom_core::Seq;

use crate::commands::attach::PATIENCE;
use crate::commands::sessions::Whose;
use crate::context::Context;
use crate::error::{CliError, Code};
use crate::show;
use crate::ui::{Output, Table};

/// The API gives no longer pages.
const PAGE: u32 = 1000;

/// Print the log of a session
#[derive(Debug, clap::Args)]
#[command(visible_alias = "log", after_help = "\
Examples:
  greenroom sessions logs fix-1
  greenroom sessions logs fix-1 --tail 20 --follow
  greenroom sessions logs fix-1 --from 120 --output jsonl")]
pub(crate) struct Args {
    /// Session
    id: String,
    /// First entry to print
    #[arg(long, value_name = "SEQ", default_value_t = 1)]
    from: Seq,
    /// Print only the last entries
    #[arg(long, value_name = "N", conflicts_with = "from")]
    tail: Option<u64>,
    /// Go on as the log grows
    #[arg(long, short)]
    follow: bool,
}

pub(crate) async fn run(context: &Context, whose: &Whose, args: Args) -> Result<Code, CliError> {
    let client = context.client()?;
    let from = match args.tail {
        Some(tail) => (whose.session(&client, &args.id).await?.last_seq + 1).saturating_sub(tail).max(1),
        None => {
            whose.guard(&client, &args.id).await?;
            args.from
        }
    };
    match args.follow {
        true => follow(context, &client, &args.id, from).await,
        false => print(context, &client, &args.id, from).await,
    }
}

async fn print(context: &Context, client: &Client, id: &str, mut from: Seq) -> Result<Code, CliError> {
    let ui = &context.ui;
    let mut all = Listing { items: Vec::new(), next_cursor: None };
    loop {
        let page = client.events(id, from, PAGE).await?;
        let Some(last) = page.items.last() else { break };
        from = last.seq + 1;
        let more = page.next_cursor.is_some();
        match ui.output {
            Output::Table => {
                let text: String = page.items.iter().map(|event| show::event(event, ui.paint)).collect();
                ui.data(text)?;
            }
            Output::Jsonl => page.items.iter().try_for_each(|event| ui.line(event.json().get()))?,
            Output::Json => all.items.extend(page.items),
        }
        if !more {
            break;
        }
    }
    if ui.output == Output::Json {
        ui.list(&all, |event| event.seq.to_string(), |_| Table::new(&[], [], ""))?;
    }
    Ok(Code::Done)
}

async fn follow(context: &Context, client: &Client, id: &str, from: Seq) -> Result<Code, CliError> {
    let ui = &context.ui;
    let mut follow = client.follow(id, from, PATIENCE);
    let interrupted = tokio::signal::ctrl_c();
    tokio::pin!(interrupted);
    loop {
        let live = tokio::select! {
            biased;
            _ = &mut interrupted => return Ok(Code::Done),
            live = follow.next() => live?,
        };
        match live {
            Some(Live::Event(event)) => match ui.output {
                Output::Table => ui.data(show::event(&event, ui.paint))?,
                Output::Json | Output::Jsonl => ui.line(event.json().get())?,
            },
            Some(Live::Resync) => {
                ui.warn("the coordinator was restored from a backup; its log begins anew here");
            }
            Some(Live::Delta(_)) => {}
            None => return Ok(Code::Done),
        }
    }
}
