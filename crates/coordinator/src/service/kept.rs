//! A session's files as they were at the end of a run, where its runner has kept them.

use greenroom_core::{RunFiles, RunId, Seq, Session};
use greenroom_protocol::link::{Look, StreamKind};
use greenroom_protocol::{Problem, v1};
use greenroom_store::RunRow;

use crate::app::App;
use crate::auth::Caller;
use crate::error::ApiResult;
use crate::service::files::{self, Access};
use crate::service::streams::{self, Reply};

/// So many runs are looked at, and so many named, to say what was kept.
const LOOKED_AT: u32 = 100;
const NAMED: usize = 5;

/// A moment of a session, as it is named in a query.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Moment {
    /// The end of this run.
    Run(RunId),
    /// This entry of its log: the end of the run that was the last to end by then.
    Seq(Seq),
}

impl Moment {
    /// The moment that a query names, if it names one.
    pub(crate) fn of(run: Option<RunId>, seq: Option<Seq>) -> ApiResult<Option<Self>> {
        match (run, seq) {
            (None, None) => Ok(None),
            (Some(run), None) => Ok(Some(Self::Run(run))),
            (None, Some(0)) => {
                Err(Problem::invalid("seq: the first entry of a log is 1").at("seq").into())
            }
            (None, Some(seq)) => Ok(Some(Self::Seq(seq))),
            (Some(_), Some(_)) => {
                let text = "run and seq both name a moment: give one of them";
                Err(Problem::new(409, "two_moments", text).at("seq").into())
            }
        }
    }
}

/// Looks at the files of a moment: which run's end it is, and what its runner sends.
pub(crate) async fn look(
    app: &App,
    caller: &Caller,
    id: &str,
    moment: Moment,
    look: Look,
) -> ApiResult<(RunId, Reply)> {
    let session = files::find(app, caller, id, Access::Read).await?;
    let run = match moment {
        Moment::Run(run) => run,
        Moment::Seq(seq) => match app.store.last_ended(session.uid, seq).await? {
            Some(run) => run,
            None => {
                let text = format!("no run had ended by entry {seq} of the log");
                return Err(nothing(app, &session, text).await?.into());
            }
        },
    };
    check(app, &session, run).await?;
    if let Look::Diff { since: Some(since) } = &look {
        check(app, &session, *since).await?;
    }
    let Some(home) = session.home else {
        let text = "the session has no runner that has its files".to_owned();
        return Err(nothing(app, &session, text).await?.into());
    };
    let Some(runner) = app.runners.get(home) else {
        let text = format!("runner {home}, which has the files, is not known");
        return Err(Problem::new(504, "runner_unreachable", text).into());
    };
    if !runner.keeps_files() {
        let text = format!("runner {home} is of a build that keeps no files of runs");
        return Err(nothing(app, &session, text).await?.into());
    }
    let kind = StreamKind::Kept { run, look };
    let reply = streams::transfer(app, &runner, session.uid, kind, None).await?;
    match reply.head.problem {
        Some(problem) if problem.code == "no_files_kept" => {
            Err(nothing(app, &session, problem.detail).await?.into())
        }
        Some(problem) => Err(files::passed_on(problem).into()),
        None => Ok((run, reply)),
    }
}

/// Refuses a run of which nothing can have been kept, as far as the log knows.
async fn check(app: &App, session: &Session, run: RunId) -> ApiResult<()> {
    let row = app.store.run(run).await?.filter(|row| row.uid == session.uid);
    let Some(row) = row else {
        return Err(Problem::not_found("run", &run.to_string()).into());
    };
    match why_not(&row) {
        Some(text) => Err(nothing(app, session, text).await?.into()),
        None => Ok(()),
    }
}

fn why_not(row: &RunRow) -> Option<String> {
    let run = row.id;
    match &row.files {
        Some(RunFiles::Commit(_)) => None,
        Some(RunFiles::Reason { message, .. }) => {
            Some(format!("the files at the end of run {run} were not kept: {message}"))
        }
        None if row.ended_at.is_none() => Some(format!("run {run} has not ended")),
        None if row.started_at.is_none() => Some(format!("run {run} has ended without beginning")),
        // Its runner knows.
        None => None,
    }
}

/// Why there is nothing to look at, and what there is.
async fn nothing(app: &App, session: &Session, why: String) -> ApiResult<Problem> {
    let runs = app.store.runs(session.uid, LOOKED_AT, None).await?.items;
    let kept = |row: &&RunRow| matches!(row.files, Some(RunFiles::Commit(_)));
    let named: Vec<String> =
        runs.iter().filter(kept).take(NAMED).map(|row| row.id.to_string()).collect();
    let hint = match named.is_empty() {
        true => "files are kept at each run's end, in workspaces of git".to_owned(),
        false => format!("kept are, newest first, those of runs {}", named.join(", ")),
    };
    Ok(Problem::new(404, "no_files_kept", why).hint(hint))
}

/// A folder's entries at a moment.
pub(crate) async fn list(
    app: &App,
    caller: &Caller,
    id: &str,
    moment: Moment,
    path: &str,
) -> ApiResult<(RunId, v1::List<v1::FileInfo>)> {
    let path = files::check_path(path)?;
    let (run, reply) = look(app, caller, id, moment, Look::List { path }).await?;
    Ok((run, files::read_json(reply).await?))
}
