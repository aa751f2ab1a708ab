//! Models that sessions have chosen, in the place of those of their agents' descriptions.

use std::collections::BTreeMap;

use greenroom_core::agent::{AgentSpec, Driver};
use greenroom_core::loop_spec::{LoopSpec, ModelSpec};
use greenroom_core::{AgentName, Session, Settings};
use greenroom_protocol::Problem;

use crate::error::ApiResult;

/// Characters of a model's name.
const LONGEST: usize = 200;

/// Refuses models that nobody could call. Empty is none: the description's own.
pub(crate) fn check(
    model: Option<&str>,
    models: Option<&BTreeMap<AgentName, String>>,
    agent: &AgentSpec,
) -> ApiResult<()> {
    let model = model.filter(|model| !model.is_empty());
    let members = models.into_iter().flatten();
    if let Some(model) = model {
        check_one(model, "/model", agent)?;
    }
    for (member, model) in members {
        let place = format!("/models/{member}");
        let team = match &agent.driver {
            Driver::Loop(spec) => &spec.team,
            _ => &BTreeMap::new(),
        };
        if !team.contains_key(member) {
            let known: Vec<&str> = team.keys().map(AgentName::as_str).collect();
            let known = if known.is_empty() { "it has none".to_owned() } else { known.join(", ") };
            let detail = format!("{place}: agent {} has no such member: {known}", agent.name);
            return Err(Problem::new(409, "model_unknown", detail).at(place).into());
        }
        check_one(model, &place, agent)?;
    }
    Ok(())
}

fn check_one(model: &str, place: &str, agent: &AgentSpec) -> ApiResult<()> {
    let odd = model.trim() != model
        || model.is_empty()
        || model.starts_with('-')
        || model.chars().any(char::is_control)
        || model.chars().count() > LONGEST;
    if odd {
        let detail = format!("{place} is the name of a model, of 1 to {LONGEST} characters");
        return Err(Problem::new(422, "model_unknown", detail).at(place).into());
    }
    match &agent.driver {
        Driver::Loop(spec) if spec.choice(model).is_some() => Ok(()),
        Driver::Loop(spec) => {
            let known = spec.known().join(", ");
            let detail = format!("agent {} does not know model {model:?}: {known}", agent.name);
            Err(Problem::new(409, "model_unknown", detail)
                .hint("a model is reached as the agent's file says: add it there, with its key")
                .at(place)
                .into())
        }
        // They are told at their next start, and know best what there is.
        Driver::Preset(_) | Driver::Acp(_) => Ok(()),
        Driver::Command(_) | Driver::Hosted(_) | Driver::Image(_) | Driver::Foreign(_) => {
            let (name, driver) = (&agent.name, agent.driver.word());
            let detail = format!(
                "agent {name} has driver {driver}, and chooses its model itself, not {model:?}"
            );
            Err(Problem::new(409, "model_unsupported", detail)
                .hint("leave model out, or take an agent of another driver")
                .at(place)
                .into())
        }
    }
}

/// What a compute of a session goes by now.
pub(crate) fn settings(session: &Session, agent: &AgentSpec) -> Settings {
    let approvals = session.policies(&agent.approvals).own;
    let Driver::Loop(spec) = &agent.driver else {
        return Settings { approvals, ..Settings::default() };
    };
    let members = session.models.iter();
    Settings {
        approvals,
        model: session.model.as_deref().and_then(|model| spec.choice(model)),
        models: members
            .filter_map(|(member, model)| Some((member.clone(), spec.choice(model)?)))
            .collect(),
    }
}

/// Works into a description what its driver is told of models at its start alone, and says
/// what of the session's choice means nothing to the description it has by now.
pub(crate) fn work_in(session: &Session, agent: &mut AgentSpec) {
    match &mut agent.driver {
        Driver::Loop(spec) => {
            let chosen: Vec<&String> =
                session.model.iter().chain(session.models.values()).collect();
            let lost = chosen.into_iter().filter(|model| spec.choice(model).is_none());
            let warnings: Vec<String> = lost
                .map(|model| {
                    format!("model {model:?} of the session is not known to its agent any more")
                })
                .collect();
            spec.warnings.extend(warnings);
        }
        Driver::Preset(preset) => {
            if let Some(model) = &session.model {
                preset.choose(model);
            }
        }
        Driver::Acp(acp) => {
            if let Some(model) = &session.model {
                acp.config.insert("model".to_owned(), model.clone());
            }
        }
        _ => {}
    }
}

/// The models that whoever works on a session uses now, the first before its fallbacks.
pub(crate) fn in_use(
    session: &Session,
    agent: &AgentSpec,
    member: Option<&AgentName>,
) -> Vec<ModelSpec> {
    let Driver::Loop(spec) = &agent.driver else { return Vec::new() };
    let own = described(spec, member);
    settings(session, agent).models_of(member, &own.models)
}

/// The description of a member of a team; of its head where none is named.
fn described<'a>(spec: &'a LoopSpec, member: Option<&AgentName>) -> &'a LoopSpec {
    member.and_then(|member| spec.team.get(member)).unwrap_or(spec)
}

#[cfg(test)]
mod tests {
    use super::*;
    use greenroom_core::agent::{AcpSpec, CommandSpec, Preset, PresetSpec};
    use greenroom_core::loop_spec::Provider;

    fn of(driver: Driver) -> AgentSpec {
        AgentSpec::new("a".parse().expect("a name"), driver)
    }

    fn refused(model: &str, agent: &AgentSpec) -> (u16, String) {
        let problem = *check(Some(model), None, agent).expect_err("it is refused").0;
        assert_eq!(problem.path.as_deref(), Some("/model"));
        (problem.status, problem.detail)
    }

    #[test]
    fn a_model_is_one_that_the_agent_can_call() {
        let mut spec = LoopSpec::of(ModelSpec::new(Provider::Openai, "m"));
        spec.team.insert("helper".parse().expect("a name"), spec.clone());
        let agent = of(Driver::Loop(Box::new(spec)));
        for good in ["openai/m", "openai/other", ""] {
            check(Some(good), None, &agent).expect(good);
        }
        let (status, detail) = refused("anthropic/x", &agent);
        assert_eq!(status, 409);
        assert!(detail.ends_with("openai/*, openai/m"), "what is known is said: {detail}");
        for (odd, status) in
            [(" openai/m", 422), ("-x", 422), ("openai/m\n", 422), ("openai/", 409)]
        {
            assert_eq!(refused(odd, &agent).0, status, "{odd:?}");
        }
        let of_member = |member: &str, model: &str| {
            let models = BTreeMap::from([(member.parse().expect("a name"), model.to_owned())]);
            check(None, Some(&models), &agent).map_err(|error| error.0.detail.clone())
        };
        of_member("helper", "openai/other").expect("a member");
        assert!(of_member("nobody", "openai/m").expect_err("none").contains("helper"));
        assert!(of_member("helper", "x").is_err());
    }

    #[test]
    fn who_has_no_notion_of_models_says_so() {
        let command = CommandSpec {
            command: vec!["x".to_owned()],
            prompt_via: Default::default(),
            stdout: Default::default(),
            lifecycle: Default::default(),
        };
        assert_eq!(refused("x", &of(Driver::Command(command))).0, 409);
        let preset = PresetSpec { preset: Preset::Claude, program: None, args: Vec::new() };
        check(Some("opus"), None, &of(Driver::Preset(preset))).expect("at its next start");
        let acp = AcpSpec {
            command: vec!["x".to_owned()],
            mode: None,
            config: BTreeMap::new(),
            auth: None,
        };
        check(Some("opus"), None, &of(Driver::Acp(acp))).expect("at its next start");
    }
}
