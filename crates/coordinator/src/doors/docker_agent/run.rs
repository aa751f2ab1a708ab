//! `POST /api/sessions/{id}/agent/{agent}[/{member}]`: a turn, and the stream of it. The turn
//! is the session's: it goes on when its client has gone.

use std::collections::VecDeque;
use std::sync::Arc;

use axum::body::Body as HttpBody;
use axum::extract::State;
use axum::response::Response;
use bytes::Bytes;
use futures::stream::{self, StreamExt};
use greenroom_core::command::Command;
use greenroom_core::fact::Changes;
use greenroom_core::{Limits, RunId, Seq, Session};
use greenroom_protocol::{Problem, v1};
use http::{HeaderMap, HeaderValue, header};
use serde_json::{Value, json};

use super::agents::{resolve, team_member};
use super::asked::{Asked, Body, bad};
use super::call::frame;
use super::face::Face;
use super::frames::{Frames, ended};
use super::names::{Segments, forms};
use super::overrides;
use super::shown::{self, AGENT, MEMBER, UNCHOSEN};
use super::watch::{Next, Over, Watch};
use crate::api::idempotency_key;
use crate::app::{App, fresh};
use crate::auth::{Allowed, Caller, Right, ToUse};
use crate::error::ApiResult;
use crate::hub::DeltaFrame;
use crate::service::agents::Pinned;
use crate::service::runs::{self, Chosen};
use crate::service::sessions::{self, Answered};
use crate::service::{following, models, policies};

pub(super) async fn run(
    State(app): State<Arc<App>>,
    Allowed { caller, .. }: Allowed<ToUse>,
    path: Segments,
    headers: HeaderMap,
    Body(asked): Body<Asked>,
) -> ApiResult<Response> {
    let key = idempotency_key(&headers)?;
    let session = sessions::find(&app, &caller, &path.session()).await?;
    let named = (path.raw(4), (path.count() > 5).then(|| path.raw(5)));
    let (chosen, member) = choose(&app, &caller, &session, named).await?;
    let chosen = with_model(&app, &caller, &session, chosen, asked.model.as_deref()).await?;
    // Only who sends several can have sent some of them before.
    let known = match asked.asks() > 1 {
        true => shown::transcript(&app, &session).await?.asks().to_vec(),
        false => Vec::new(),
    };
    let Some(prompt) = asked.prompt(&known)? else {
        return Err(bad("there is nothing to ask: send a message of role user").into());
    };
    // What a stop has left in the queue goes first; anything else in progress is not mixed with.
    let held = session.hold.is_some() && session.compute.is_none();
    let mode = if held { "enqueue" } else { "reject" };
    let (prompt, input) = match member {
        Some(member) => (None, Some(json!({ "agent": member, "task": prompt }))),
        None => (Some(prompt), None),
    };
    let request =
        v1::CreateRun { prompt, input, mode: Some(mode.to_owned()), ..v1::CreateRun::default() };
    // Watched before it is accepted: nothing of it is missed.
    let mut watch = Watch::begin(&app, &caller, &session, None).await?;
    let accepted =
        runs::accept(&app, &caller, &session, request, fresh::run(), key, chosen).await?;
    let run = match accepted {
        Answered::Now(accepted) => accepted.run.id,
        Answered::Before(answer) => {
            let before: v1::AcceptedRun = serde_json::from_slice(&answer.body)
                .map_err(|error| Problem::new(500, "internal", error.to_string()))?;
            // Asked again: the whole of it, from where it began.
            watch = Watch::begin(&app, &caller, &session, Some(0)).await?;
            before.run.id
        }
    };
    let chosen_now = session.labels.get(AGENT).is_some_and(|value| value == UNCHOSEN);
    let session = app.store.session(session.uid).await?.unwrap_or(session);
    let frames = Frames::of(Face::of(&app, &session).await?);
    let (ready, early) = (VecDeque::new(), Some(Vec::new()));
    Ok(Turn { app, watch, frames, run, chosen_now, ready, early, over: false }.respond())
}

/// What has to be decided with the run, so that it is done by the agent that is named; and
/// the member of its team that is to do it, where that is not settled yet.
async fn choose(
    app: &App,
    caller: &Caller,
    session: &Session,
    (agent, member): (&str, Option<&str>),
) -> ApiResult<(Option<Chosen>, Option<String>)> {
    let unchosen = session.labels.get(AGENT).is_some_and(|value| value == UNCHOSEN);
    let found = match resolve(app, agent).await {
        Ok(found) => found,
        // Its source may be gone: what the session has of it decides.
        Err(error) if !unchosen && is_own(session, agent) => {
            match app.agents.pinned(&*app.store, &session.agent).await? {
                Some(found) => found,
                None => return Err(error),
            }
        }
        Err(error) => return Err(error),
    };
    if !unchosen && !is_same(session, &found) {
        let detail = format!(
            "session {:?} belongs to agent {}, not to {}: a session keeps its agent",
            session.id.as_str(),
            session.agent.name,
            found.row.name
        );
        return Err(Problem::new(409, "agent_bound", detail).into());
    }
    let settled = session.labels.get(MEMBER);
    let begun = session.last_epoch.0 > 0 || !session.queue.is_empty();
    let new_member = match (member.map(|name| team_member(&found, name)).transpose()?, settled) {
        // It is not said who: whoever it was.
        (None, _) | (Some(None), None) => None,
        (Some(Some(member)), Some(settled)) if member == *settled => None,
        (Some(Some(member)), None) if !begun => Some(member),
        _ => {
            let has = settled.map_or("its first agent", String::as_str);
            let detail = format!(
                "session {:?} is worked on by {has} of agent {}, and stays so",
                session.id.as_str(),
                found.row.name
            );
            return Err(Problem::new(409, "agent_bound", detail).into());
        }
    };
    if !unchosen && new_member.is_none() {
        return Ok((None, None));
    }
    policies::check(&session.approvals, &found.row.spec)?;
    let mut labels = session.labels.clone();
    labels.remove(AGENT);
    if let Some(member) = &new_member {
        labels.insert(MEMBER.to_owned(), member.clone());
    }
    let limits = Some(found.row.spec.limits.clone()).filter(|limits| *limits != Limits::default());
    let mut changes =
        Changes { labels: Some(labels), limits: limits.filter(|_| unchosen), ..Changes::default() };
    let mut commands = Vec::new();
    if unchosen {
        if !session.models.is_empty() {
            // What was chosen with the session, now that it is known for whom.
            let (model, models) = overrides::of_agent(session.models.clone(), &found);
            models::check(model.as_deref(), Some(&models), &found.row.spec)?;
            (changes.model, changes.models) = (model, Some(models));
        }
        commands.push(following::taken(app, session, &found, &caller.actor().name).await?);
    }
    commands.push(Command::Update(changes));
    Ok((Some(Chosen { agent: Some(found), commands }), new_member))
}

/// Whether a segment names the agent that a session has, wherever that may be now.
fn is_own(session: &Session, received: &str) -> bool {
    let own = crate::service::views::agent_ref(&session.agent);
    forms(received).iter().any(|form| {
        let stable = greenroom_core::source_key::stable(form.as_bytes());
        *form == own.source_key
            || *form == own.name.as_str()
            || own.stable_key.as_ref().is_some_and(|key| key.as_bytes() == stable)
    })
}

/// Whether an agent is the one that a session has, or stands for it now.
fn is_same(session: &Session, found: &Pinned) -> bool {
    let own = crate::service::views::agent_ref(&session.agent);
    let pin = found.pin();
    let there = crate::service::views::agent_ref(&pin);
    pin.source == session.agent.source
        || (own.stable_key.is_some() && own.stable_key == there.stable_key)
        || (own.stable_key.is_none()
            && there.stable_key.is_none()
            && pin.name == session.agent.name)
}

/// The model that a run names is the session's from then on.
async fn with_model(
    app: &App,
    caller: &Caller,
    session: &Session,
    chosen: Option<Chosen>,
    wanted: Option<&str>,
) -> ApiResult<Option<Chosen>> {
    let Some(wanted) = wanted.filter(|wanted| !wanted.is_empty()) else { return Ok(chosen) };
    let mut chosen = chosen.unwrap_or(Chosen { agent: None, commands: Vec::new() });
    let agent = match &chosen.agent {
        Some(agent) => Arc::clone(agent),
        None => following::pinned(app, session).await?,
    };
    models::check(Some(wanted), None, &agent.row.spec)?;
    let planned = chosen.commands.iter_mut().find_map(|command| match command {
        Command::Update(changes) => Some(changes),
        _ => None,
    });
    if let Some(changes) = planned {
        if session.model.is_some() {
            caller.require(Right::Decide)?;
        }
        changes.model = Some(wanted.to_owned());
        return Ok(Some(chosen));
    }
    // What it works with anyway is no edit.
    let own = overrides::worker(session);
    let now = models::in_use(session, &agent.row.spec, own.as_ref());
    let same = now.first().is_some_and(|model| model.name() == wanted)
        || session.model.as_deref() == Some(wanted);
    if !same {
        caller.require(Right::Decide)?;
        let changes = Changes { model: Some(wanted.to_owned()), ..Changes::default() };
        chosen.commands.push(Command::Update(changes));
    }
    Ok(Some(chosen))
}

/// Live pieces of text that are kept until their run has begun.
const MOST_EARLY: usize = 256;

/// The stream of one run.
struct Turn {
    app: Arc<App>,
    watch: Watch,
    frames: Frames,
    run: RunId,
    /// It is this turn that has chosen the session's agent.
    chosen_now: bool,
    ready: VecDeque<Bytes>,
    /// Text that came before the log has said that the run has begun. `None` after that.
    early: Option<Vec<Arc<DeltaFrame>>>,
    over: bool,
}

impl Turn {
    fn respond(self) -> Response {
        let frames = stream::unfold(self, |mut turn| async move {
            let bytes = turn.next().await?;
            Some((bytes, turn))
        });
        respond(frames.boxed())
    }

    async fn next(&mut self) -> Option<Bytes> {
        loop {
            if let Some(bytes) = self.ready.pop_front() {
                return Some(bytes);
            }
            if self.over {
                return None;
            }
            match self.watch.next().await {
                Next::Quiet => return Some(Bytes::from_static(b": ping\n\n")),
                Next::Delta(delta) if delta.delta.run == self.run => match &mut self.early {
                    // What is too much is said with the log.
                    Some(early) if early.len() >= MOST_EARLY => {}
                    Some(early) => early.push(delta),
                    None => self.say_live(&delta),
                },
                Next::Delta(_) => {}
                // Nothing has changed for who has chosen it.
                Next::Event(event) if self.chosen_now && event.kind == "session.agent_changed" => {}
                Next::Event(event) => {
                    let events = self.frames.event(&event);
                    // Of other runs only what is said about the session.
                    let into = event.data.get("into").and_then(Value::as_str);
                    let of_it = event.run.is_none_or(|run| run == self.run)
                        || into.is_some_and(|into| into == self.run.to_string());
                    if of_it {
                        self.say(events, Some(event.seq));
                    }
                    if event.kind == "run.started" && event.run == Some(self.run) {
                        for delta in self.early.take().into_iter().flatten() {
                            self.say_live(&delta);
                        }
                    }
                    self.over = ended(&event) == Some(self.run);
                }
                Next::Over(over) => {
                    self.over = true;
                    let why = match over {
                        Over::Gone => "the session was deleted",
                        Over::Ending => {
                            "the server is being restarted; the turn goes on: follow it with \
                             GET /api/sessions/ID/events?since=SEQ&since_epoch=EPOCH"
                        }
                        Over::Hidden => "this token does not see the session any more",
                        Over::Broken => "the log cannot be read; the turn goes on",
                    };
                    let events = self.frames.broken_off(self.app.clock.wall(), why);
                    self.say(events, None);
                }
            }
        }
    }

    fn say_live(&mut self, delta: &DeltaFrame) {
        let events = self.frames.delta(&delta.delta, self.app.clock.wall());
        self.say(events, None);
    }

    fn say(&mut self, events: Vec<Value>, seq: Option<Seq>) {
        self.ready.extend(rendered(&events, seq));
    }
}

/// Frames of what one entry of the log comes to. Its position is with the last of them: who
/// has seen that has seen all.
pub(super) fn rendered(events: &[Value], seq: Option<Seq>) -> Vec<Bytes> {
    let last = events.len().saturating_sub(1);
    let one = |(at, event)| Bytes::from(frame(event, seq.filter(|_| at == last)));
    events.iter().enumerate().map(one).collect()
}

/// A stream, as their clients expect one.
pub(super) fn respond(frames: futures::stream::BoxStream<'static, Bytes>) -> Response {
    // A first comment sends the headers at once, also where nothing is to be said yet.
    let hello = stream::once(async { Bytes::from_static(b": \n\n") });
    let all = hello.chain(frames).map(Ok::<_, std::convert::Infallible>);
    let mut response = Response::new(HttpBody::from_stream(all));
    let headers = response.headers_mut();
    headers.insert(header::CONTENT_TYPE, HeaderValue::from_static("text/event-stream"));
    headers.insert(header::CACHE_CONTROL, HeaderValue::from_static("no-cache"));
    headers.insert("x-accel-buffering", HeaderValue::from_static("no"));
    response
}
