//! Our own agent: a model that is called until it needs no tool any more.
//!
//! Its conversation is a fold of the session's log ([`history`]), so it is taken up
//! exactly where it was, whatever ended the compute.
//!
//! * [`model`]: what a model is; [`genai`]: the ones that are served somewhere
//! * [`turn`]: a run; [`agent`]: how it uses a tool; [`tools`], [`mcp`]: the tools;
//!   [`remember`]: what it was allowed for longer than once
//! * [`compact`]: how a conversation is made shorter; [`prompt`]: what goes before it
//! * [`api`]: its coordinator; [`http`], [`retry`]: how others are reached

pub mod agent;
pub mod api;
pub mod compact;
pub mod genai;
pub mod history;
pub mod http;
pub mod mcp;
pub mod model;
pub mod prompt;
pub mod remember;
pub mod retry;
pub mod tools;
pub mod turn;

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex};

use greenroom_core::AgentName;
use greenroom_core::agent::Driver;
use greenroom_core::drive::Open;
use greenroom_core::loop_spec::{LoopSpec, ModelSpec};
use greenroom_core::record::{Outcome, OutputKind};
use serde_json::{Value, json};

use self::agent::{Agent, Variables};
use self::api::Api;
use self::history::{History, INTERRUPTED};
use self::model::{Form, Model};
use self::tools::{Bench, place::Place};
use crate::Failure;
use crate::shim::{Shim, Wish, Wishes};

/// Drives one.
pub async fn drive(
    shim: Shim,
    wishes: Wishes,
    open: Open,
    spec: Box<LoopSpec>,
) -> Result<(), Failure> {
    let agent = start(shim, &open, *spec, Arc::new(agent::variable)).await?;
    serve(agent, wishes).await
}

fn cannot(message: String) -> Failure {
    Failure::new("start_error", message)
}

/// What a description needs to be worked with.
struct Gear {
    models: Vec<Box<dyn Model>>,
    bench: Bench,
    mcp: mcp::Mcp,
    form: Option<Form>,
    validator: Option<jsonschema::Validator>,
}

/// Models, in the order in which they are tried.
fn models(specs: &[ModelSpec], variables: &Variables) -> Result<Vec<Box<dyn Model>>, Failure> {
    let client = http::client(|builder| builder).map_err(cannot)?;
    let variable = |name: &str| variables(name);
    let mut models: Vec<Box<dyn Model>> = Vec::new();
    for model in specs {
        let remote = genai::Remote::new(model.clone(), variable, client.clone())
            .map_err(|fault| Failure::new(fault.code(), fault.message))?;
        models.push(Box::new(remote));
    }
    if models.is_empty() {
        return Err(cannot("the agent has no model".to_owned()));
    }
    Ok(models)
}

async fn gear(
    spec: &LoopSpec,
    team: &BTreeMap<AgentName, LoopSpec>,
    open: &Open,
    shim: &Shim,
    schema: Option<&Value>,
    variables: &Variables,
) -> Result<Gear, Failure> {
    let variable = |name: &str| variables(name);
    let models = models(&spec.models, variables)?;
    let place = Place::open(&open.workspace).map_err(|error| {
        cannot(format!("the workspace {} cannot be opened: {error}", open.workspace.display()))
    })?;
    let form = schema.map(|schema| Form {
        name: spec.output_name.clone().unwrap_or_else(|| "answer".to_owned()),
        schema: schema.clone(),
    });
    let validator = match &form {
        None => None,
        Some(form) => Some(
            jsonschema::validator_for(&form.schema)
                .map_err(|error| cannot(format!("output_schema is not a JSON Schema: {error}")))?,
        ),
    };
    // No agent's commands are given the keys of any of them.
    let head = match &open.driver {
        Driver::Loop(head) => Some(head.as_ref()),
        _ => None,
    };
    let all = std::iter::once(spec).chain(head).chain(team.values());
    let hidden: Vec<String> = all.flat_map(agent::hidden).collect();
    let people = mcp::People { shim: shim.clone() };
    let mcp = mcp::Mcp::connect(&spec.mcp, &open.workspace, &hidden, &people, variable).await;
    let bench = Bench { place: Arc::new(place), hidden: Arc::new(hidden) };
    Ok(Gear { models, bench, mcp: mcp.map_err(cannot)?, form, validator })
}

/// The member of a team that this is a task for, and the task.
fn member(team: &BTreeMap<AgentName, LoopSpec>, asked: &str) -> Option<(AgentName, String)> {
    let value: Value = serde_json::from_str(asked).ok()?;
    let (agent, task) = (value.get("agent")?.as_str()?, value.get("task")?.as_str()?);
    let (name, _) = team.get_key_value(&agent.parse::<AgentName>().ok()?)?;
    Some((name.clone(), task.to_owned()))
}

/// Brings the agent up: its models, tools, servers and conversation.
pub async fn start(
    shim: Shim,
    open: &Open,
    spec: LoopSpec,
    variables: Variables,
) -> Result<Agent, Failure> {
    shim.begin(open);
    let api = match open.resumed || !spec.sub_agents.is_empty() || !spec.team.is_empty() {
        true => Some(Api::new(open.session.clone(), |name| variables(name)).map_err(cannot)?),
        false => None,
    };
    let history = match (&api, open.resumed) {
        (Some(api), true) => api.history().await.map_err(cannot)?,
        _ => History::default(),
    };
    let team = Arc::new(spec.team.clone());
    let mate = history.first().and_then(|asked| member(&team, asked));
    let member = mate.map(|(name, _)| name);
    let (mut spec, schema) = match member.as_ref().and_then(|name| team.get(name).cloned()) {
        Some(mate) => (mate, None),
        None => (spec, open.output_schema.as_ref()),
    };
    let described = spec.models.clone();
    spec.models = shim.settings().models_of(member.as_ref(), &described);
    let gear = gear(&spec, &team, open, &shim, schema, &variables).await?;
    let mut agent = Agent {
        shim,
        team,
        form: gear.form,
        validator: gear.validator,
        models: gear.models,
        bench: gear.bench,
        mcp: gear.mcp,
        api,
        history,
        run: None,
        context: 0,
        partial: Arc::default(),
        forsaken: Arc::new(Mutex::default()),
        scope: format!("loop-{}-{}", open.session, open.epoch),
        open: open.clone(),
        variables,
        member,
        described,
        refused: None,
        spec,
    };
    for warning in agent.spec.warnings.clone() {
        agent.warn(&warning);
    }
    // The log is closed where the conversation is: what it has no result of, it gets one.
    for call in agent.history.unanswered() {
        let data = json!({
            "id": call.id, "tool": call.tool, "output": INTERRUPTED, "is_error": true,
        });
        agent.shim.event(OutputKind::ToolResult, data);
    }
    Ok(agent)
}

impl Agent {
    /// Where the first thing that is asked is a task for a member of the team, this is a
    /// session of that member from now on.
    async fn take_part(&mut self, asked: &str) -> Result<(), Failure> {
        let first = self.history.first().unwrap_or(asked);
        let Some((name, spec)) = member(&self.team, first)
            .filter(|_| self.member.is_none())
            .and_then(|(name, _)| self.team.get_key_value(&name))
        else {
            return Ok(());
        };
        let models = self.shim.settings().models_of(Some(name), &spec.models);
        let (name, described) = (name.clone(), spec.models.clone());
        let spec = LoopSpec { models, ..spec.clone() };
        let gear = gear(&spec, &self.team, &self.open, &self.shim, None, &self.variables).await?;
        (self.spec, self.described) = (spec, described);
        (self.form, self.validator, self.models) = (gear.form, gear.validator, gear.models);
        self.bench = gear.bench;
        self.member = Some(name);
        std::mem::replace(&mut self.mcp, gear.mcp).close().await;
        Ok(())
    }
}

impl Agent {
    /// Takes the models that count now, where an edit has made them others. Says whether they
    /// are others. What cannot be called is said once, and it goes on with those it has.
    fn remodel(&mut self) -> bool {
        let wanted = self.shim.settings().models_of(self.member.as_ref(), &self.described);
        if wanted == self.spec.models || self.refused.as_ref() == Some(&wanted) {
            return false;
        }
        match models(&wanted, &self.variables) {
            Ok(models) => {
                (self.models, self.spec.models, self.refused) = (models, wanted, None);
                true
            }
            Err(Failure(error)) => {
                self.warn(&format!("the model stays what it is: {}", error.message));
                self.refused = Some(wanted);
                false
            }
        }
    }
}

/// Works on runs until it is to end.
pub async fn serve(mut agent: Agent, mut wishes: Wishes) -> Result<(), Failure> {
    agent.shim.ready();
    loop {
        let (run, input) = match wishes.next().await {
            Wish::Run { run, input } => (run, input),
            Wish::Cancel => continue,
            Wish::End => break,
        };
        agent.run = Some(run);
        let ended = {
            let turn = agent.turn(&input);
            tokio::pin!(turn);
            loop {
                tokio::select! {
                    biased;
                    wish = wishes.next() => match wish {
                        Wish::Cancel => break Err(true),
                        Wish::End => break Err(false),
                        // A run comes only after the end of the one before.
                        Wish::Run { .. } => {}
                    },
                    outcome = &mut turn => break Ok(outcome),
                }
            }
        };
        match ended {
            Ok(outcome) => agent.shim.ended(run, outcome),
            Err(goes_on) => {
                agent.give_up();
                agent.shim.ended(run, Outcome::Stopped { error: None });
                agent.stop_forsaken().await;
                if !goes_on {
                    break;
                }
            }
        }
    }
    agent.mcp.close().await;
    Ok(())
}
