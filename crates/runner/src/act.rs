//! Bringing a compute up: body, spec, shim, environment, run.

use std::collections::BTreeMap;
use std::time::Duration;

use greenroom_core::agent::WorkspaceFrom;
use greenroom_core::approval::Answer;
use greenroom_core::{ApprovalId, Epoch, Ms, RunId, Settings};
use greenroom_protocol::link::{ComputeBody, RunBody};
use greenroom_shim::control::Control;
use greenroom_shim::spec::{PROTOCOL, ShimSpec};
use greenroom_shim::wire::{FromShim, RunInput, ShimPhase, ToShim};
use tokio_util::sync::CancellationToken;

use crate::backoff::Backoff;
use crate::env::Environment;
use crate::host::Host;
use crate::http::CallError;
use crate::session::{Compute, Edited, Event, Run, Session, Stage, Start, Steer, Supervised};
use crate::shims::{self, Ears, Met};
use crate::tail::Durable;
use crate::workspace::Source;
use crate::{env, kept, point, probe, workspace};

impl Compute {
    pub(crate) fn new(control: Control, stage: Stage) -> Self {
        let efforts = CancellationToken::new();
        Self {
            control,
            stage,
            run: Run::None,
            stop: None,
            cancelled: None,
            answers: BTreeMap::new(),
            steers: Vec::new(),
            settings: Edited::default(),
            force: None,
            over: None,
            awaited: None,
            _efforts_guard: efforts.clone().drop_guard(),
            starting: efforts.child_token(),
            efforts,
        }
    }

    pub(crate) fn supervised(&mut self) -> Option<&mut Supervised> {
        match &mut self.stage {
            Stage::Fetching => None,
            Stage::Supervised(shim) => Some(shim),
        }
    }

    /// Says something now, where there is a shim that hears it.
    fn say(&self, message: ToShim) {
        if let Stage::Supervised(shim) = &self.stage
            && let Some(talk) = &shim.talk
        {
            talk.say(message);
        }
    }

    /// Says the settings, and the answers that came after them. Repeats change nothing.
    fn say_settings(&self) {
        if self.settings.fetching {
            return;
        }
        if let Some(settings) = &self.settings.last {
            self.say(ToShim::Settings { settings: settings.clone() });
        }
        for (id, answer) in &self.answers {
            if let Some(answer) = answer.clone() {
                self.say(ToShim::Answer { id: *id, answer });
            }
        }
    }

    /// Says what is ready to be said: first the environment, then the run. Settings that are on
    /// their way come first: what was edited before a run was asked for counts for all of it.
    fn say_what_is_ready(&mut self) {
        let Stage::Supervised(shim) = &mut self.stage else { return };
        let Some(talk) = &shim.talk else { return };
        match std::mem::replace(&mut shim.start, Start::Rest) {
            Start::Ready(message) => talk.say(message),
            Start::Preparing => {
                shim.start = Start::Preparing;
                return;
            }
            Start::Rest => {}
        }
        if self.settings.fetching {
            return;
        }
        if matches!(self.run, Run::Ready(..))
            && let Run::Ready(run, input) = std::mem::replace(&mut self.run, Run::None)
        {
            talk.say(ToShim::Run { run, input });
            self.run = Run::Given(run);
            // Its end was said to a supervisor that did not have it yet.
            if let Some((cancelled, grace_ms)) = self.cancelled
                && cancelled == run
            {
                talk.say(ToShim::Cancel { run, grace_ms });
            }
        }
        // In their order, and only what the run in progress is there for. Repeats change
        // nothing.
        let Run::Given(given) = self.run else { return };
        for Steer { run, into, input } in self.steers.iter().filter(|steer| steer.into == given) {
            let Some(input) = input.clone() else { return };
            talk.say(ToShim::Steer { run: *run, into: *into, input });
        }
    }
}

impl Session {
    /// Runs something that brings a compute up, until it is done or no longer wanted.
    fn toward_start(&self, epoch: Epoch, task: impl Future<Output = ()> + Send + 'static) {
        if let Some(compute) = self.computes.get(&epoch) {
            self.effort(compute.starting.clone(), task);
        }
    }

    fn effort(&self, cancel: CancellationToken, task: impl Future<Output = ()> + Send + 'static) {
        self.host.spawn(async move {
            tokio::select! {
                () = cancel.cancelled() => {}
                () = task => {}
            }
        });
    }

    /// Brings a compute up. Its body is of now, so it has this edit of the settings at least.
    pub(crate) fn start(&mut self, epoch: Epoch, edit: Option<u64>) {
        self.forget_below(epoch);
        let control = self.host.folder.compute(self.uid, epoch);
        self.host.board.live(self.uid, epoch, control.dir().to_owned());
        let mut compute = Compute::new(control, Stage::Fetching);
        compute.settings.edit = edit;
        self.computes.insert(epoch, compute);
        self.fetch_body(epoch);
    }

    /// Fetches the body, and makes the control folder meanwhile.
    fn fetch_body(&self, epoch: Epoch) {
        let (host, uid, inbox) = (self.host.clone(), self.uid, self.inbox.clone());
        self.toward_start(epoch, async move {
            let folder = host.folder.clone();
            let make = host.blocking(move || folder.make_compute(uid, epoch));
            let fetch = retried(|| host.api.compute(uid, epoch), "the body of a compute");
            // Nothing changes the files of a run that has ended before they are kept.
            let settled = host.kept.settled_for_start(uid, kept::PATIENCE);
            let (made, body, ()) = tokio::join!(make, fetch, settled);
            let (named, own) = (body.workspace.clone(), body.agent.workspace.clone());
            let looks = host.clone();
            let from = match named {
                None => Ok(own),
                Some(named) => {
                    let look = move || workspace::named(&looks.folder, &looks.roots, uid, &named);
                    host.blocking(look).await
                }
            };
            let _ = inbox.send(Event::Body { epoch, body: Box::new(body), from, made });
        });
    }

    pub(crate) async fn body(
        &mut self,
        epoch: Epoch,
        body: ComputeBody,
        from: Source,
        made: std::io::Result<()>,
    ) {
        let Some(compute) = self.computes.get(&epoch) else { return };
        let control = compute.control.clone();
        match &compute.stage {
            // The shim was there already and asks for its environment.
            Stage::Supervised(_) => return self.prepare(epoch, body, from),
            Stage::Fetching => {}
        }
        // Where nothing is to be had its agent is not started, and this is never made.
        let spec = self.spec(epoch, &body, from.as_ref().unwrap_or(&WorkspaceFrom::Empty));
        let launched = match made {
            Ok(()) => {
                let (control, spec) = (control.clone(), spec.clone());
                self.host.blocking(move || launch(&control, &spec)).await
            }
            Err(error) => Err(format!("its control folder could not be made: {error}")),
        };
        let born = match launched {
            Ok(born) => born,
            Err(error) => return self.close_unstarted(epoch, Ok(error)).await,
        };
        let durable = Durable::default();
        let key = (self.uid, epoch);
        let dir = control.dir().to_owned();
        self.host.uploads.add(key, dir, durable.clone(), true, self.inbox.clone());
        if let Some(compute) = self.computes.get_mut(&epoch) {
            compute.stage = Stage::Supervised(Box::new(supervised(Some(spec), durable)));
        }
        self.prepare(epoch, body, from);
        self.reach(epoch, Some(born));
    }

    /// Connects to the shim of a compute, in the background.
    pub(crate) fn reach(&self, epoch: Epoch, born: Option<shims::Born>) {
        let Some(compute) = self.computes.get(&epoch) else { return };
        let (control, inbox) = (compute.control.clone(), self.inbox.clone());
        self.effort(compute.efforts.clone(), async move {
            let event = match shims::connect(control, born).await {
                Some(met) => Event::Met { epoch, met: Box::new(met) },
                None => Event::NoShim { epoch },
            };
            let _ = inbox.send(event);
        });
    }

    fn spec(&self, epoch: Epoch, body: &ComputeBody, from: &WorkspaceFrom) -> ShimSpec {
        let paths = workspace::paths(&self.host.folder, self.uid, from);
        ShimSpec {
            protocol: PROTOCOL,
            uid: self.uid,
            session: body.session.clone(),
            epoch,
            runner: self.host.identity.id(),
            host: self.host.found.host.clone(),
            driver: body.agent.driver.clone(),
            leftovers: body.agent.leftovers,
            limits: body.limits.clone(),
            graces: body.agent.stop,
            workspace: paths.workspace,
            home: paths.home,
            cgroups: self.host.found.capabilities.for_compute(self.uid, epoch),
            isolation: probe::ISOLATION.to_owned(),
            conversation: body.conversation.clone(),
            resumed: body.resumed,
            settings: settings_of(body),
            within: body.within.clone(),
            output_schema: body.agent.output_schema.clone(),
        }
    }

    /// Makes workspace and environment, and puts on disk that the compute has begun, beside
    /// the shim's own start: nothing of the agent is started before all of that is there.
    fn prepare(&mut self, epoch: Epoch, body: ComputeBody, from: Source) {
        let (host, uid, inbox) = (self.host.clone(), self.uid, self.inbox.clone());
        let Some(compute) = self.computes.get_mut(&epoch) else { return };
        let (cancel, control) = (compute.starting.clone(), compute.control.clone());
        if let Some(shim) = compute.supervised() {
            shim.start = Start::Preparing;
        }
        // Not an effort that is dropped: what blocks must see its cancellation itself.
        self.host.tasks.spawn_blocking(move || {
            let on_disk = || control.sync().and_then(|()| host.folder.sync_session(uid));
            let start = match make_ready(&host, uid, &body, from, &cancel) {
                Ok(Environment { variables: env, secrets }) => match on_disk() {
                    Ok(()) => ToShim::Env { env, secrets },
                    Err(error) => ToShim::CannotStart {
                        error: format!("its control folder could not be put on disk: {error}"),
                    },
                },
                Err(error) => ToShim::CannotStart { error },
            };
            let _ = inbox.send(Event::Prepared { epoch, start });
        });
    }

    pub(crate) fn prepared(&mut self, epoch: Epoch, start: ToShim) {
        let Some(compute) = self.computes.get_mut(&epoch) else { return };
        if let Some(shim) = compute.supervised() {
            shim.start = Start::Ready(start);
            compute.say_what_is_ready();
        }
    }

    pub(crate) fn hand_run(&mut self, epoch: Epoch, run: RunId) {
        let Some(compute) = self.computes.get_mut(&epoch) else { return };
        compute.run = Run::Fetching(run);
        let (host, inbox, uid) = (self.host.clone(), self.inbox.clone(), self.uid);
        self.toward_start(epoch, async move {
            let fetch = retried(|| host.api.run(run), "the body of a run");
            let settled = host.kept.settled_for_start(uid, kept::PATIENCE);
            let (body, ()) = tokio::join!(fetch, settled);
            let _ = inbox.send(Event::Input { epoch, run, input: input_of(body) });
        });
    }

    pub(crate) fn input(&mut self, epoch: Epoch, run: RunId, input: RunInput) {
        let Some(compute) = self.computes.get_mut(&epoch) else { return };
        if compute.run == Run::Fetching(run) {
            compute.run = Run::Ready(run, input);
            compute.say_what_is_ready();
        }
    }

    /// Lets the compute end a turn.
    pub(crate) fn cancel(&mut self, epoch: Epoch, run: RunId, grace_ms: Ms) {
        let Some(compute) = self.computes.get_mut(&epoch) else { return };
        compute.cancelled = Some((run, grace_ms));
        compute.say(ToShim::Cancel { run, grace_ms });
    }

    /// Gets an answer for the agent: as soon as settings that are on their way have come.
    pub(crate) fn hand_answer(&mut self, epoch: Epoch, id: ApprovalId) {
        let Some(compute) = self.computes.get_mut(&epoch) else { return };
        compute.answers.insert(id, None);
        if !compute.settings.fetching {
            self.fetch_answer(epoch, id);
        }
    }

    fn fetch_answer(&self, epoch: Epoch, id: ApprovalId) {
        let Some(compute) = self.computes.get(&epoch) else { return };
        let (host, inbox, uid) = (self.host.clone(), self.inbox.clone(), self.uid);
        let edit = compute.settings.edit;
        self.effort(compute.efforts.clone(), async move {
            let fetch = async || match host.api.answer(uid, epoch, id).await {
                // The agent has it by now, or waits no longer.
                Err(error) if error.is("approval_not_found") => Ok(None),
                other => other.map(Some),
            };
            if let Some(body) = retried(fetch, "an answer").await {
                let answer = Box::new(body.answer);
                let _ = inbox.send(Event::Answer { epoch, edit, id, answer });
            }
        });
    }

    pub(crate) fn answer(
        &mut self,
        epoch: Epoch,
        edit: Option<u64>,
        id: ApprovalId,
        answer: Answer,
    ) {
        let Some(compute) = self.computes.get_mut(&epoch) else { return };
        // An edit that came meanwhile is the later word: it is fetched anew.
        if compute.settings.fetching || compute.settings.edit != edit {
            return;
        }
        compute.say(ToShim::Answer { id, answer: answer.clone() });
        compute.answers.insert(id, Some(answer));
    }

    /// Fetches the settings of the session for a compute that began with others. What was
    /// answered is then to be handed over anew.
    pub(crate) fn hand_settings(&mut self, epoch: Epoch, edit: u64) {
        let Some(compute) = self.computes.get_mut(&epoch) else { return };
        compute.answers.clear();
        compute.settings.edit = Some(edit);
        compute.settings.fetching = true;
        let (host, inbox, uid) = (self.host.clone(), self.inbox.clone(), self.uid);
        self.effort(self.computes[&epoch].efforts.clone(), async move {
            let fetch = retried(|| host.api.settings(uid, epoch), "the settings of a session");
            let settings = Box::new(fetch.await.settings);
            let _ = inbox.send(Event::Settings { epoch, edit, settings });
        });
    }

    pub(crate) fn settings(&mut self, epoch: Epoch, edit: u64, settings: Box<Settings>) {
        let Some(compute) = self.computes.get_mut(&epoch) else { return };
        // Those of a later edit are on their way.
        if compute.settings.edit != Some(edit) {
            return;
        }
        compute.settings.fetching = false;
        compute.settings.last = Some(settings);
        compute.say_settings();
        compute.say_what_is_ready();
        let answers: Vec<ApprovalId> = compute.answers.keys().copied().collect();
        answers.into_iter().for_each(|id| self.fetch_answer(epoch, id));
    }

    /// Fetches text for the run in progress.
    pub(crate) fn hand_steer(&mut self, epoch: Epoch, run: RunId, into: RunId) {
        let Some(compute) = self.computes.get_mut(&epoch) else { return };
        compute.steers.retain(|steer| steer.into == into);
        compute.steers.push(Steer { run, into, input: None });
        let (host, inbox) = (self.host.clone(), self.inbox.clone());
        self.effort(self.computes[&epoch].efforts.clone(), async move {
            let fetch = async || match host.api.run(run).await {
                // It came too late, and is not for this compute any more.
                Err(error) if error.is("run_not_found") => Ok(None),
                other => other.map(Some),
            };
            if let Some(body) = retried(fetch, "the body of a run").await {
                let _ = inbox.send(Event::Steer { epoch, run, input: input_of(body) });
            }
        });
    }

    pub(crate) fn steer(&mut self, epoch: Epoch, run: RunId, input: RunInput) {
        let Some(compute) = self.computes.get_mut(&epoch) else { return };
        if let Some(steer) = compute.steers.iter_mut().find(|steer| steer.run == run) {
            steer.input = Some(input);
            compute.say_what_is_ready();
        }
    }

    /// The shim answers. What it has not been told, or has not heard, is said to it.
    pub(crate) async fn met(&mut self, epoch: Epoch, met: Met) {
        let FromShim::Hello { phase, run, durable, uid, epoch: theirs, .. } = met.hello else {
            return;
        };
        if (uid, theirs) != (self.uid, epoch) {
            tracing::error!(%uid, %theirs, "the shim in this folder is another compute's");
            return self.retry_soon();
        }
        self.talks += 1;
        let talk_id = self.talks;
        let (inbox, host) = (self.inbox.clone(), self.host.clone());
        let Some(compute) = self.computes.get_mut(&epoch) else { return };
        let Stage::Supervised(shim) = &mut compute.stage else { return };
        let ears = Ears {
            uid,
            epoch,
            inbox,
            durable: shim.durable.clone(),
            uploads: host.uploads.clone(),
            deltas: host.deltas.clone(),
        };
        ears.durable(durable);
        let talk = met.talk(talk_id, ears);
        if let Some(stop) = &compute.stop {
            talk.say(ToShim::Stop { stop: stop.clone() });
            point::pass("runner_after_stop_sent");
        }
        // Repeats change nothing there.
        if let Some((run, grace_ms)) = compute.cancelled {
            talk.say(ToShim::Cancel { run, grace_ms });
        }
        shim.talk = Some(talk);
        shim.met = true;
        compute.say_settings();
        let Stage::Supervised(shim) = &mut compute.stage else { return };
        let stopping = compute.stop.is_some();
        let wants_env =
            phase == ShimPhase::AwaitingEnv && !stopping && matches!(shim.start, Start::Rest);
        if wants_env {
            shim.start = Start::Preparing;
        }
        let again = match (&compute.run, run) {
            (Run::None, Some(run)) => {
                compute.run = Run::Given(run);
                None
            }
            // It was said, and did not reach it.
            (Run::Given(given), heard) if heard != Some(*given) && !stopping => Some(*given),
            _ => None,
        };
        compute.say_what_is_ready();
        if wants_env {
            self.fetch_body(epoch);
        }
        if let Some(run) = again {
            self.hand_run(epoch, run);
        }
        self.converge_all().await;
    }
}

/// A compute whose shim has not answered yet.
pub(crate) fn supervised(spec: Option<ShimSpec>, durable: Durable) -> Supervised {
    Supervised { spec, durable, talk: None, met: false, start: Start::Rest, evidence: None }
}

/// Writes the spec and starts the shim. Errors are words for the receipt.
fn launch(control: &Control, spec: &ShimSpec) -> Result<shims::Born, String> {
    control.write_spec(spec).map_err(|error| format!("its spec could not be written: {error}"))?;
    point::pass("runner_after_spec");
    let ended =
        shims::spawn(control).map_err(|error| format!("its shim could not be started: {error}"))?;
    point::pass("runner_after_spawn");
    Ok(ended)
}

fn make_ready(
    host: &Host,
    uid: greenroom_core::SessionUid,
    body: &ComputeBody,
    from: Source,
    cancel: &CancellationToken,
) -> Result<Environment, String> {
    let (agent, from) = (&body.agent, from?);
    workspace::make(&host.folder, uid, &body.session, &from, cancel)
        .map_err(|error| error.to_string())?;
    let home = workspace::paths(&host.folder, uid, &from).home;
    let sources = env::Sources {
        exposed: &host.config.expose_env,
        secrets: &host.folder.secrets(),
        own: |name| std::env::var(name).ok(),
    };
    env::build(&home, &agent.env, &body.env, sources).map_err(|error| error.to_string())
}

/// What a compute begins with. A coordinator of before has worked it into the agent.
fn settings_of(body: &ComputeBody) -> Settings {
    let of_agent = || Settings { approvals: body.agent.approvals.clone(), ..Settings::default() };
    body.settings.clone().unwrap_or_else(of_agent)
}

fn input_of(body: RunBody) -> RunInput {
    match body.input {
        Some(input) => RunInput::Input(input),
        None => RunInput::Prompt(body.prompt.unwrap_or_default()),
    }
}

/// Calls until there is an answer. Whoever waits for it is dropped when it is not wanted
/// any more.
async fn retried<T, F>(call: impl Fn() -> F, what: &str) -> T
where
    F: Future<Output = Result<T, CallError>>,
{
    let mut backoff = Backoff::new(Duration::from_millis(20), Duration::from_secs(5));
    loop {
        match call().await {
            Ok(value) => return value,
            Err(error) => tracing::warn!(%error, "{what} could not be fetched; it is tried again"),
        }
        tokio::time::sleep(backoff.next()).await;
    }
}
