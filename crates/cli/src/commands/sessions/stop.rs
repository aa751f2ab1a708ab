//! `greenroom sessions stop`.

use std::time::Duration;

use futures::StreamExt;
use greenroom_client::{Answer, Client, SessionFilter, StopOutcome};
use greenroom_core::{Ms, Status};
use greenroom_protocol::v1::{StopReply, StopRequest};
use tokio::time::Instant;

use crate::args::Label;
use crate::commands::sessions::Whose;
use crate::context::Context;
use crate::error::{CliError, Code};
use crate::human::count;
use crate::receipt::stop_sentence;
use crate::ui::{Output, Spinner, Ui};

/// The grace of an agent that names none.
const GRACE: Duration = Duration::from_secs(10);
/// What the coordinator takes on top of a grace, at most, until it says that it cannot
/// prove a stop; and a little for the way.
const DEADLINE: Duration = Duration::from_secs(35);
/// Stops under way at once.
const AT_ONCE: usize = 128;

/// Stop sessions, and prove it
///
/// Ends the agent and everything it has started, for certain, and keeps the rest: files,
/// log, waiting prompts. Prompts that wait are held until `resume` or a new prompt.
#[derive(Debug, clap::Args)]
#[command(after_help = "\
Examples:
  greenroom sessions stop fix-1
  greenroom sessions stop fix-1 fix-2 --grace 30s --reason 'wrong branch'
  greenroom sessions stop parent-1 --tree --discard-queue
  greenroom sessions stop --all --label team=web

Exit codes: 0 stopped, or already so; 1 failed; 4 not proven in time; 5 no coordinator.")]
pub(crate) struct Args {
    /// Sessions
    #[arg(value_name = "ID", required_unless_present = "all", conflicts_with = "all")]
    ids: Vec<String>,
    /// Stop every live session
    #[arg(long)]
    all: bool,
    /// With --all: only those with this label; may be repeated
    #[arg(long = "label", value_name = "K=V", requires = "all")]
    labels: Vec<Label>,
    /// From the first SIGTERM to the kill [default: the agent's own, else 10s]
    #[arg(long, value_name = "TIME")]
    grace: Option<Ms>,
    /// Words for the log
    #[arg(long, value_name = "TEXT")]
    reason: Option<String>,
    /// Withdraw the prompts that wait
    #[arg(long)]
    discard_queue: bool,
    /// Stop the children too
    #[arg(long)]
    tree: bool,
    /// Don't wait for the proof
    #[arg(long)]
    no_wait: bool,
}

/// How to stop.
#[derive(Debug, Clone, Default)]
pub(crate) struct Plan {
    pub(crate) body: StopRequest,
    pub(crate) no_wait: bool,
}

/// What a stop came to.
#[derive(Debug)]
struct Done {
    agent: String,
    reply: Answer<StopReply>,
}

pub(crate) async fn run(context: &Context, whose: &Whose, args: Args) -> Result<Code, CliError> {
    let client = context.client()?;
    let plan = Plan {
        body: StopRequest {
            grace_ms: args.grace,
            reason: args.reason,
            discard_queue: args.discard_queue.then_some(true),
            tree: args.tree.then_some(true),
        },
        no_wait: args.no_wait,
    };
    if args.all {
        return stop_all(&context.ui, &client, whose, &args.labels, &plan).await;
    }
    let single = args.ids.len() == 1;
    stop_each(&context.ui, &client, whose, args.ids, &plan, single).await
}

/// Stops every session that is not at rest.
pub(crate) async fn stop_all(
    ui: &Ui,
    client: &Client,
    whose: &Whose,
    labels: &[Label],
    plan: &Plan,
) -> Result<Code, CliError> {
    let live = Status::ALL.into_iter().filter(|s| !s.is_at_rest() && *s != Status::Deleting);
    let filter = SessionFilter {
        status: live.map(|status| status.as_str().to_owned()).collect(),
        agent: whose.agent().map(str::to_owned),
        labels: labels.iter().map(Label::text).collect(),
        ..SessionFilter::default()
    };
    let (mut ids, mut cursor) = (Vec::new(), None);
    loop {
        let page = client.sessions(&filter, 1000, cursor.as_deref()).await?;
        ids.extend(page.items.iter().map(|session| session.id.to_string()));
        cursor = page.next_cursor;
        if cursor.is_none() {
            break;
        }
    }
    if ids.is_empty() {
        ui.say("Nothing to stop.");
    }
    stop_each(ui, client, whose, ids, plan, false).await
}

/// Stops sessions in parallel, and says what came of each as it comes.
async fn stop_each(
    ui: &Ui,
    client: &Client,
    whose: &Whose,
    ids: Vec<String>,
    plan: &Plan,
    single: bool,
) -> Result<Code, CliError> {
    let what = match ids.as_slice() {
        [id] => format!("stopping session {id}"),
        ids => format!("stopping {}", count(ids.len(), "session")),
    };
    let mut spinner = (!plan.no_wait && !ids.is_empty()).then(|| Spinner::start(ui, what));
    let stops = ids
        .into_iter()
        .enumerate()
        .map(|(n, id)| async move { (n, stop_one(client, whose, &id, plan).await) });
    let mut stops = futures::stream::iter(stops).buffer_unordered(AT_ONCE);
    let (mut replies, mut code) = (Vec::new(), Code::Done);
    while let Some((n, stopped)) = stops.next().await {
        // Lines and a spinner do not share a terminal well.
        spinner = None;
        let error = match stopped {
            Ok(done) => {
                let error = unproven(&done, plan);
                if error.is_none() && ui.output == Output::Table {
                    ui.line(stop_sentence(&done.reply, &done.agent))?;
                }
                replies.push((n, done.reply));
                error
            }
            Err(error) => Some(error),
        };
        if let Some(error) = error {
            ui.complain(&error);
            code = code.max(error.code());
        }
    }
    drop(spinner);
    if ui.output != Output::Table {
        replies.sort_by_key(|(n, _)| *n);
        let replies: Vec<_> = replies.into_iter().map(|(_, reply)| reply).collect();
        ui.several(&replies, single, |_| String::new())?;
    }
    Ok(code)
}

/// Why a stop is not one yet, where it was to be waited for.
fn unproven(done: &Done, plan: &Plan) -> Option<CliError> {
    let (id, agent) = (&done.reply.session_id, &done.agent);
    match done.reply.status {
        Status::StopUnconfirmed | Status::Unreachable => Some(
            CliError::new(
                Code::Unproven,
                format!("session \"{id}\" cannot be proven stopped for agent \"{agent}\": its runner does not answer, or could not prove it"),
            )
            .hint(format!(
                "the wish stays; stop it again, or vouch for its end with greenroom sessions abandon {id} --reason TEXT"
            )),
        ),
        Status::Stopping if !plan.no_wait => Some(
            CliError::new(
                Code::Unproven,
                format!("session \"{id}\" is still stopping for agent \"{agent}\": it is not proven yet"),
            )
            .hint(format!("greenroom sessions show {id}")),
        ),
        _ => None,
    }
}

async fn stop_one(client: &Client, whose: &Whose, id: &str, plan: &Plan) -> Result<Done, CliError> {
    // Asked before only where it decides; else beside the stop, which shall not wait.
    let (outcome, agent) = match whose.agent() {
        Some(agent) => {
            whose.guard(client, id).await?;
            (stop(client, id, plan).await?, agent.to_owned())
        }
        None => {
            let (outcome, session) = futures::join!(stop(client, id, plan), client.session(id));
            let agent = session.map(|session| session.agent.name.to_string());
            (outcome?, agent.unwrap_or_else(|_| "?".to_owned()))
        }
    };
    Ok(Done { agent, reply: outcome.reply })
}

/// Stops, and waits until the coordinator has its proof or says that there is none.
async fn stop(client: &Client, id: &str, plan: &Plan) -> Result<StopOutcome, CliError> {
    if plan.no_wait {
        return Ok(client.stop_session(id, &plan.body, None).await?);
    }
    let wait = plan.body.grace_ms.map_or(GRACE, Duration::from) + DEADLINE;
    let begun = Instant::now();
    loop {
        let outcome = client.stop_session(id, &plan.body, Some(wait)).await?;
        // An agent's own grace may be longer than what is known of it here: the
        // coordinator's deadline ends this. A grace that was given here ends it here.
        let late = plan.body.grace_ms.is_some() && begun.elapsed() >= wait;
        if outcome.at_rest || outcome.reply.status != Status::Stopping || late {
            return Ok(outcome);
        }
    }
}
