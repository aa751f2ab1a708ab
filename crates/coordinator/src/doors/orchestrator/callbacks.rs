//! Ends of children, told to sessions of this door in the words of this door: one by one
//! where the parent is free, all that have gathered where it was busy. What waits is the
//! outbox of the store, so nothing is lost and nothing is told twice.

use greenroom_core::run::RunStatus;
use greenroom_core::{Session, SessionUid};
use greenroom_store::Completion;
use serde_json::Value;

use super::kept::KeptSession;
use super::sessions;
use crate::app::{App, fresh};
use crate::error::ApiResult;

/// Whether a session is told of its children in the words of this door.
pub(crate) async fn is_ours(app: &App, parent: SessionUid) -> bool {
    KeptSession::of(app, parent).await.is_ok_and(|kept| kept.from_here)
}

/// Tells a parent of all that has gathered, if it is free. Answers whether it was told.
pub(crate) async fn tell(app: &App, completions: Vec<Completion>) -> ApiResult<bool> {
    let Some(parent) = completions.first().map(|first| first.parent) else { return Ok(false) };
    let session = app.store.session(parent).await?;
    if session.as_ref().is_some_and(|session| is_busy(session)) {
        return Ok(false);
    }
    let mut ends = Vec::new();
    for completion in &completions {
        ends.push(End::of(app, completion).await?);
    }
    let place = match &session {
        Some(session) => {
            let wants = app.wants(session).await;
            app.runners.candidates(session.home, &wants)
        }
        None => Vec::new(),
    };
    Ok(app.store.deliver_together(completions, prompt(&ends), fresh::run(), place).await?)
}

fn is_busy(session: &Session) -> bool {
    let head = session.compute.as_ref().is_some_and(|compute| compute.head.is_some());
    head || !session.queue.is_empty()
}

/// How one child has ended.
struct End {
    session: String,
    failed: bool,
    said: String,
}

impl End {
    async fn of(app: &App, completion: &Completion) -> ApiResult<Self> {
        let failed = completion.status != RunStatus::Completed;
        let said = match completion.status {
            RunStatus::Completed => result(app, completion).await?,
            RunStatus::Stopped => "Session was manually stopped".to_owned(),
            RunStatus::Withdrawn => "Run was cancelled before execution".to_owned(),
            _ => {
                let row = app.store.run(completion.run).await?;
                let error = row.and_then(|row| row.error).map(|(_, message)| message);
                error
                    .filter(|error| !error.is_empty())
                    .unwrap_or_else(|| "Unknown error".to_owned())
            }
        };
        // What a child says cannot end what is said about it.
        let said = said.replace("</agent-callback", "&lt;/agent-callback");
        Ok(Self { session: completion.child_id.to_string(), failed, said })
    }

    fn status(&self) -> &'static str {
        if self.failed { "failed" } else { "completed" }
    }
}

async fn result(app: &App, completion: &Completion) -> ApiResult<String> {
    let session = app.store.session(completion.child).await?;
    let row = app.store.run(completion.run).await?;
    let found = match (&session, &row) {
        (Some(session), Some(row)) => sessions::result_of_run(app, session, row).await?,
        _ => Default::default(),
    };
    let data = found.result_data.as_ref().map(|data: &Value| {
        serde_json::to_string_pretty(data).unwrap_or_else(|_| data.to_string())
    });
    let text = data.or(found.result_text).filter(|text| !text.is_empty());
    let told = Some(completion.text.clone()).filter(|text| !text.is_empty());
    Ok(text.or(told).unwrap_or_else(|| "(No result available)".to_owned()))
}

/// What a parent is told.
fn prompt(ends: &[End]) -> String {
    match ends {
        [end] if end.failed => format!(
            "<agent-callback session=\"{}\" status=\"failed\">\n## Error\n\n{}\n</agent-callback>\n\nPlease handle this failure and continue with the orchestration.",
            end.session, end.said
        ),
        [end] => format!(
            "<agent-callback session=\"{}\" status=\"completed\">\n## Child Result\n\n{}\n</agent-callback>\n\nPlease continue with the orchestration based on this result.",
            end.session, end.said
        ),
        _ => {
            let parts: Vec<String> = ends
                .iter()
                .map(|end| {
                    let (session, status, said) = (&end.session, end.status(), &end.said);
                    format!("### Child: {session} (status: {status})\n\n{said}")
                })
                .collect();
            format!(
                "<agent-callback type=\"aggregated\" count=\"{}\">\n{}\n</agent-callback>\n\nPlease continue with the orchestration based on these results.",
                ends.len(),
                parts.join("\n\n---\n\n")
            )
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_end_and_several_are_told_apart() {
        let end = |failed| End { session: "ses_1".into(), failed, said: "words".into() };
        let one = prompt(&[end(false)]);
        assert!(one.starts_with(
            "<agent-callback session=\"ses_1\" status=\"completed\">\n## Child Result\n\nwords\n"
        ));
        assert!(prompt(&[end(true)]).contains("status=\"failed\">\n## Error\n\nwords\n"));
        let both = prompt(&[end(false), end(true)]);
        assert!(both.starts_with(
            "<agent-callback type=\"aggregated\" count=\"2\">\n### Child: ses_1 (status: completed)"
        ));
    }
}
