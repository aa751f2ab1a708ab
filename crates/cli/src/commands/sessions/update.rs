//! `greenroom sessions update`.

use greenroom_core::approval::SessionPolicy;
use greenroom_protocol::v1::{PatchSession, Session};

use crate::args::Label;
use crate::commands::asking::{Approvals, Limit};
use crate::commands::each;
use crate::commands::sessions::Whose;
use crate::context::Context;
use crate::error::{CliError, Code};

/// Change sessions: title, labels, limits, who shares them, what they may do, their model
///
/// Limits count from the session's next compute on. Approvals and the model count in the turn
/// in progress too, where the agent's driver can do that. What is said of approvals takes the
/// place of all that the session had of its own before.
#[derive(Debug, clap::Args)]
#[command(after_help = "\
Examples:
  greenroom sessions update fix-1 --title 'Nightly fixes' --label team=web
  greenroom sessions update fix-1 --remove-label team --limit run=1h
  greenroom sessions update fix-1 --approvals-mode strict --deny 'shell(rm *)'
  greenroom sessions update fix-1 --clear-approvals
  greenroom sessions update fix-1 --model anthropic/claude-sonnet-4")]
pub(crate) struct Args {
    /// Sessions
    #[arg(required = true, value_name = "ID")]
    ids: Vec<String>,
    /// A line for people; empty removes it
    #[arg(long, value_name = "TEXT")]
    title: Option<String>,
    /// Label to set; may be repeated
    #[arg(long = "label", value_name = "K=V")]
    labels: Vec<Label>,
    /// Label to remove; may be repeated
    #[arg(long = "remove-label", value_name = "K")]
    remove_labels: Vec<String>,
    /// Limit to change: idle, run, start, ttl, unused, memory, pids, output; may be repeated
    #[arg(long = "limit", value_name = "WHAT=VALUE")]
    limits: Vec<Limit>,
    /// Let every operator use it and every viewer see it, or no more
    #[arg(long, value_name = "true|false")]
    shared: Option<bool>,
    /// The model it is to use; empty for its agent's own
    #[arg(long, value_name = "MODEL")]
    model: Option<String>,
    #[command(flatten)]
    approvals: Approvals,
    /// Leave it to the agent's own policy what it may do
    #[arg(long, conflicts_with_all = ["approvals_mode", "headless", "allow", "ask", "deny"])]
    clear_approvals: bool,
}

pub(crate) async fn run(context: &Context, whose: &Whose, args: Args) -> Result<Code, CliError> {
    let approvals = match args.clear_approvals {
        true => Some(SessionPolicy::default()),
        false => args.approvals.policy(),
    };
    let body = PatchSession {
        title: args.title,
        limits: Limit::all(&args.limits),
        shared: args.shared,
        approvals,
        model: args.model,
        ..PatchSession::default()
    };
    let relabels = !args.labels.is_empty() || !args.remove_labels.is_empty();
    if !relabels && body == PatchSession::default() {
        return Err(CliError::usage("there is nothing to change")
            .hint("say what: --title, --label, --limit, --shared, --approvals-mode, --model, …"));
    }
    let client = context.client()?;
    let change = async |id: &str| {
        let session = whose.session(&client, id).await?;
        let mut body = body.clone();
        if relabels {
            // The API takes all labels at once.
            let mut labels = session.labels.clone();
            labels.retain(|key, _| !args.remove_labels.contains(key));
            labels.extend(Label::map(&args.labels));
            body.labels = Some(labels);
        }
        Ok(client.patch_session(id, &body).await?)
    };
    let (sessions, code) = each(context, &args.ids, change).await?;
    context.ui.several(&sessions, args.ids.len() == 1, text)?;
    Ok(code)
}

fn text(session: &Session) -> String {
    format!("Session \"{}\" is updated.\n", session.id)
}
