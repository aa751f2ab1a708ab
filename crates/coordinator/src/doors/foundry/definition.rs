//! What a definition of a hosted agent means here: a program that serves HTTP.

use std::collections::BTreeMap;

use greenroom_core::agent::{Driver, HostedProtocol, ImageSpec};
use greenroom_core::{AgentName, AgentSpec, Ms};
use greenroom_protocol::Problem;
use serde::Deserialize;
use serde_json::{Value, json};

use crate::error::ApiResult;
use crate::sources::parse;

/// How long a session may be idle, unless its definition says so; and what it may say.
const IDLE: u64 = 900;
const IDLES: std::ops::RangeInclusive<u64> = 120..=14_400;

#[derive(Debug, Deserialize)]
struct Definition {
    kind: Option<String>,
    #[serde(default)]
    environment_variables: Option<BTreeMap<String, String>>,
    #[serde(default, alias = "container_protocol_versions")]
    protocol_versions: Option<Vec<Protocol>>,
    container_configuration: Option<Container>,
    code_configuration: Option<Code>,
    session_configuration: Option<Sessions>,
    /// Where older clients name the image.
    image: Option<String>,
}

#[derive(Debug, Deserialize)]
struct Protocol {
    protocol: String,
}

#[derive(Debug, Deserialize)]
struct Container {
    image: String,
}

#[derive(Debug, Deserialize)]
struct Code {
    entry_point: Vec<String>,
}

#[derive(Debug, Deserialize)]
struct Sessions {
    idle_timeout_seconds: Option<u64>,
}

/// What a definition comes to.
#[derive(Debug)]
pub(super) struct Read {
    pub(super) spec: AgentSpec,
    /// Why nothing can be started of it.
    pub(super) failure: Option<String>,
}

fn invalid(place: &str, detail: &str) -> Problem {
    let place = format!("definition{place}");
    Problem::invalid(format!("{place} {detail}")).at(place)
}

/// Reads a definition.
pub(super) fn read(
    name: &AgentName,
    description: Option<&str>,
    definition: &Value,
) -> ApiResult<Read> {
    let read: Definition = serde_path_to_error::deserialize(definition).map_err(|error| {
        let path = error.path().to_string();
        let place = if path == "." { String::new() } else { format!(".{path}") };
        invalid(&place, &format!("does not parse: {}", error.inner()))
    })?;
    if read.kind.as_deref() != Some("hosted") {
        return Err(invalid(".kind", "is \"hosted\": other kinds are not run here").into());
    }
    let idle = read.session_configuration.and_then(|sessions| sessions.idle_timeout_seconds);
    let idle = idle.unwrap_or(IDLE);
    if !IDLES.contains(&idle) {
        let place = ".session_configuration.idle_timeout_seconds";
        return Err(invalid(place, "is a number from 120 to 14400").into());
    }
    let image = read.container_configuration.map(|container| container.image).or(read.image);
    match (image, read.code_configuration) {
        (Some(image), None) => {
            let mut spec = AgentSpec::new(name.clone(), Driver::Image(ImageSpec { image }));
            spec.description = description.map(str::to_owned);
            spec.limits.idle_ms = Some(Ms::secs(idle));
            let failure = "ImageError: Greenroom starts programs on its runners, not images: give \
                code_configuration.entry_point instead of container_configuration";
            Ok(Read { spec, failure: Some(failure.to_owned()) })
        }
        (None, Some(code)) => {
            let protocols = read.protocol_versions.unwrap_or_default();
            let responses = protocols.iter().any(|one| one.protocol == "responses");
            let protocol = if responses { "responses" } else { "invocations" };
            let mut file = json!({
                "name": name, "driver": "hosted", "protocol": protocol,
                "command": code.entry_point,
                "env": read.environment_variables.unwrap_or_default(),
                "limits": { "idle": format!("{idle}s") },
            });
            if let Some(description) = description {
                file["description"] = description.into();
            }
            let spec = parse(&file.to_string(), name.as_str()).map_err(|error| {
                let place = match error.key.as_deref() {
                    Some(key) if key.starts_with("command") => ".code_configuration.entry_point",
                    Some(key) if key.starts_with("env") => ".environment_variables",
                    _ => "",
                };
                invalid(place, &format!("does not fit: {}", error.message))
            })?;
            Ok(Read { spec, failure: None })
        }
        _ => {
            let detail = "has exactly one of container_configuration and code_configuration";
            Err(invalid("", detail).into())
        }
    }
}

/// The definition of an agent that was not made through this door.
pub(super) fn of(spec: &AgentSpec) -> Value {
    let (entry_point, protocol) = match &spec.driver {
        Driver::Hosted(hosted) => {
            let protocol = match hosted.protocol {
                HostedProtocol::Responses => "responses",
                HostedProtocol::Invocations | HostedProtocol::Agentcore => "invocations",
            };
            (hosted.command.clone(), Some(protocol))
        }
        Driver::Image(image) => {
            return json!({
                "kind": "hosted", "cpu": "1", "memory": "2Gi",
                "container_configuration": { "image": image.image },
            });
        }
        // It takes prompts, and no requests.
        _ => (Vec::new(), None),
    };
    let protocols = protocol.map(|one| json!({ "protocol": one, "version": "2.0.0" }));
    json!({
        "kind": "hosted", "cpu": "1", "memory": "2Gi",
        "protocol_versions": protocols.into_iter().collect::<Vec<_>>(),
        "code_configuration": { "runtime": "program", "entry_point": entry_point },
        "session_configuration": {
            "idle_timeout_seconds": spec.limits.idle_ms.map(|idle| idle.0 / 1000),
        },
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn name() -> AgentName {
        "helper".parse().expect("a name")
    }

    #[test]
    fn an_entry_point_is_a_program_that_serves() {
        let definition = json!({
            "kind": "hosted", "cpu": "1", "memory": "2Gi",
            "environment_variables": { "A": "b" },
            "protocol_versions": [{ "protocol": "responses", "version": "2.0.0" }],
            "code_configuration": { "runtime": "python_3_11", "entry_point": ["python3", "a.py"] },
            "session_configuration": { "idle_timeout_seconds": 300 },
        });
        let read = read(&name(), Some("helps"), &definition).expect("it fits");
        assert_eq!(read.failure, None);
        let Driver::Hosted(hosted) = &read.spec.driver else { panic!("{:?}", read.spec.driver) };
        assert_eq!(hosted.command, ["python3", "a.py"]);
        assert_eq!(hosted.protocol, HostedProtocol::Responses);
        assert_eq!(read.spec.limits.idle_ms, Some(Ms::secs(300)));
        assert_eq!(read.spec.env["A"], "b");
        assert_eq!(of(&read.spec)["code_configuration"]["entry_point"], json!(["python3", "a.py"]));
    }

    #[test]
    fn an_image_is_kept_and_has_failed() {
        let given = json!({ "kind": "hosted", "container_configuration": { "image": "img:1" } });
        let image = read(&name(), None, &given).expect("it is kept");
        assert!(image.failure.is_some_and(|why| why.contains("not images")));
        assert_eq!(of(&image.spec)["container_configuration"]["image"], "img:1");
    }

    #[test]
    fn what_does_not_fit_says_where() {
        let code = json!({ "runtime": "r", "entry_point": ["x"] });
        for (definition, place) in [
            (json!({}), "definition.kind"),
            (json!({ "kind": "prompt" }), "definition.kind"),
            (json!({ "kind": "hosted" }), "definition"),
            (json!({ "kind": "hosted", "code_configuration": code, "image": "i" }), "definition"),
            (
                json!({ "kind": "hosted", "code_configuration": { "entry_point": [] } }),
                "definition.code_configuration.entry_point",
            ),
            (
                json!({ "kind": "hosted", "code_configuration": { "entry_point": "x" } }),
                "definition.code_configuration.entry_point",
            ),
            (
                json!({ "kind": "hosted", "code_configuration": code,
                "session_configuration": { "idle_timeout_seconds": 5 } }),
                "definition.session_configuration.idle_timeout_seconds",
            ),
        ] {
            let problem = read(&name(), None, &definition).expect_err("it does not fit").0;
            assert_eq!(
                (problem.status, problem.path.as_deref()),
                (422, Some(place)),
                "{definition}"
            );
        }
    }

    proptest! {
        #[test]
        fn any_entry_point_is_read_or_refused(
            words in prop::collection::vec("\\PC{0,12}", 0..4),
            env in prop::collection::btree_map("\\PC{0,6}", "\\PC{0,12}", 0..3),
        ) {
            let definition = json!({ "kind": "hosted", "environment_variables": env,
                "code_configuration": { "entry_point": words } });
            if let Ok(read) = read(&name(), None, &definition) {
                prop_assert_eq!(&of(&read.spec)["code_configuration"]["entry_point"], &json!(words));
            }
        }
    }
}
