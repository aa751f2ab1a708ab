//! `greenroom sessions logs`.

use greenroom_client::{Answer, Client, Listing, Live};
use greenroom_core::{Event, Seq};

use crate::commands::attach::PATIENCE;
use crate::commands::sessions::Whose;
use crate::context::Context;
use crate::error::{CliError, Code};
use crate::show;
use crate::ui::{Output, Table, Ui};
use crate::watch::Printer;

/// The API gives no longer pages.
const PAGE: u32 = 1000;

/// Print the log of a session
///
/// The text of its agent goes to standard output; what it was asked, its complaints and
/// its tools go to standard error. --events prints every entry of the log, one after the
/// other; --output json and jsonl give them as the API does.
#[derive(Debug, clap::Args)]
#[command(
    visible_alias = "log",
    after_help = "\
Examples:
  greenroom sessions logs fix-1
  greenroom sessions logs fix-1 --events --tail 20 --follow
  greenroom sessions logs fix-1 --from 120 --output jsonl"
)]
pub(crate) struct Args {
    /// Session
    id: String,
    /// First entry to print
    #[arg(long, value_name = "SEQ", default_value_t = 1)]
    from: Seq,
    /// Print only the last entries
    #[arg(long, value_name = "N", conflicts_with = "from")]
    tail: Option<u64>,
    /// Print every entry of the log
    #[arg(long, short)]
    events: bool,
    /// Go on as the log grows
    #[arg(long, short)]
    follow: bool,
}

pub(crate) async fn run(context: &Context, whose: &Whose, args: Args) -> Result<Code, CliError> {
    let client = context.client()?;
    let from = match args.tail {
        Some(tail) => {
            (whose.session(&client, &args.id).await?.last_seq + 1).saturating_sub(tail).max(1)
        }
        None => {
            whose.guard(&client, &args.id).await?;
            args.from
        }
    };
    let form = Form::of(&context.ui, args.events);
    match args.follow {
        true => follow(&context.ui, &client, &args.id, from, form).await,
        false => print(&context.ui, &client, &args.id, from, form).await,
    }
}

/// How entries are printed.
enum Form<'a> {
    /// The agent's text, and beside it what happened.
    Text(Printer<'a>),
    /// Every entry, for people.
    Entries,
    /// Every entry, as the API has it.
    Lines,
}

impl<'a> Form<'a> {
    fn of(ui: &'a Ui, events: bool) -> Self {
        match ui.output {
            Output::Table if events => Self::Entries,
            Output::Table => Self::Text(Printer::new(ui, None)),
            Output::Json | Output::Jsonl => Self::Lines,
        }
    }

    fn print(&mut self, ui: &Ui, event: &Answer<Event>) -> Result<(), CliError> {
        match self {
            Self::Text(printer) => printer.event(event),
            Self::Entries => ui.data(show::event(event, ui.paint)),
            Self::Lines => ui.line(event.json().get()),
        }
    }

    fn finish(&mut self) -> Result<(), CliError> {
        match self {
            Self::Text(printer) => printer.finish(),
            Self::Entries | Self::Lines => Ok(()),
        }
    }
}

async fn print(
    ui: &Ui,
    client: &Client,
    id: &str,
    mut from: Seq,
    mut form: Form<'_>,
) -> Result<Code, CliError> {
    let mut all = Listing { items: Vec::new(), next_cursor: None };
    loop {
        let page = client.events(id, from, PAGE).await?;
        let Some(last) = page.items.last() else { break };
        from = last.seq + 1;
        let more = page.next_cursor.is_some();
        match ui.output {
            Output::Json => all.items.extend(page.items),
            Output::Table | Output::Jsonl => {
                page.items.iter().try_for_each(|event| form.print(ui, event))?;
            }
        }
        if !more {
            break;
        }
    }
    form.finish()?;
    if ui.output == Output::Json {
        ui.list(&all, |event| event.seq.to_string(), |_| Table::new(&[], [], ""))?;
    }
    Ok(Code::Done)
}

async fn follow(
    ui: &Ui,
    client: &Client,
    id: &str,
    from: Seq,
    mut form: Form<'_>,
) -> Result<Code, CliError> {
    let mut follow = client.follow(id, from, PATIENCE);
    let interrupted = tokio::signal::ctrl_c();
    tokio::pin!(interrupted);
    loop {
        let live = tokio::select! {
            biased;
            _ = &mut interrupted => break,
            live = follow.next() => live?,
        };
        match live {
            Some(Live::Event(event)) => form.print(ui, &event)?,
            Some(Live::Resync) => {
                ui.warn("the coordinator was restored from a backup; its log begins anew here");
            }
            Some(Live::Delta(_)) => {}
            None => break,
        }
    }
    form.finish()?;
    Ok(Code::Done)
}
