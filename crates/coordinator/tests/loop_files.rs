//! Agent files of the driver `loop`, and docker-agent's: each key is served, warned of by
//! its name, or an error.

use greenroom_coordinator::sources::agent_file::parse;
use greenroom_core::AgentSpec;
use greenroom_core::agent::{Driver, Lifecycle};
use greenroom_core::approval::Mode;
use greenroom_core::loop_spec::*;
use proptest::prelude::*;
use serde_json::{Value, json};

const FULL: &str = r#"
name: helper
driver: loop
model: anthropic/claude
base_url: http://127.0.0.1:8080/v1
api_key: "${secret:key}"
max_tokens: 100
temperature: 0.5
top_p: 0.9
silence: 30s
price: { input: 1, output: 2.5 }
fallback: [{ model: openai/small, api_key: "${env:K}" }, { model: gemini/flash }]
instruction: Be brief.
tools: [todo, shell, shell]
mcp:
  lab: { command: [lab, --fast], env: { KEY: "${secret:lab}" }, tools: [echo] }
  web: { url: "https://mcp.example/x", headers: { Authorization: "Bearer ${secret:web}" } }
sub_agents: [reviewer]
max_iterations: 7
retry: 10s
compaction: { at: 5000 }
add_date: true
add_environment_info: true
add_prompt_files: [AGENTS.md]
commands: { fix: "Fix $1" }
structured_output: { name: out, schema: { type: object } }
approvals: { mode: strict }
env: { A: b }
"#;

fn spec_of(agent: &AgentSpec) -> &LoopSpec {
    match &agent.driver {
        Driver::Loop(spec) => spec,
        other => panic!("{other:?}"),
    }
}

#[test]
fn every_key_is_read() {
    let agent = parse(FULL, "helper.yaml").expect("an agent");
    assert_eq!(agent.lifecycle(), Lifecycle::Persistent);
    assert!(agent.driver.cancels());
    assert_eq!((agent.driver.word(), agent.driver.process()), ("loop", Some("loop")));
    assert_eq!(agent.approvals.mode, Mode::Strict);
    assert_eq!(agent.output_schema, Some(json!({"type": "object"})));
    let spec = spec_of(&agent);
    let first = &spec.models[0];
    assert_eq!((first.provider, first.model.as_str()), (Provider::Anthropic, "claude"));
    assert_eq!(first.base_url.as_deref(), Some("http://127.0.0.1:8080/v1"));
    assert_eq!((first.max_tokens, first.silence_ms.0), (Some(100), 30_000));
    assert_eq!(first.temperature.as_ref().and_then(|n| n.as_f64()), Some(0.5));
    assert_eq!(first.top_p.as_ref().and_then(|n| n.as_f64()), Some(0.9));
    assert_eq!(first.price.as_ref().and_then(|p| p.output.as_f64()), Some(2.5));
    assert_eq!(spec.models[1].name(), "openai/small");
    assert_eq!(spec.models[2].key_env, None);
    // Keys travel in the environment; the description only names the variable.
    assert_eq!(agent.env[first.key_env.as_deref().expect("a key")], "${secret:key}");
    assert_eq!(agent.env[spec.models[1].key_env.as_deref().expect("a key")], "${env:K}");
    assert_eq!(agent.env["A"], "b");
    assert_eq!(spec.tools, [LoopTool::Shell, LoopTool::Todo]);
    let McpAt::Stdio { command, env } = &spec.mcp["lab"].at else { panic!("{:?}", spec.mcp) };
    assert_eq!((command.len(), agent.env[&env["KEY"]].as_str()), (2, "${secret:lab}"));
    assert_eq!(spec.mcp["lab"].tools, Some(vec!["echo".to_owned()]));
    let McpAt::Http { url, headers } = &spec.mcp["web"].at else { panic!("{:?}", spec.mcp) };
    assert_eq!(url, "https://mcp.example/x");
    assert_eq!(agent.env[&headers["Authorization"]], "Bearer ${secret:web}");
    assert_eq!(spec.sub_agents[0].as_str(), "reviewer");
    assert_eq!((spec.max_iterations, spec.retry_ms.0, spec.compact_at), (7, 10_000, Some(5000)));
    assert!(spec.add_date && spec.add_environment_info);
    assert_eq!(spec.add_prompt_files, ["AGENTS.md"]);
    assert_eq!(spec.commands["fix"], "Fix $1");
    assert_eq!(spec.output_name.as_deref(), Some("out"));
    assert_eq!(spec.instruction, "Be brief.");
    // What is stored is what was read.
    let stored = serde_json::to_value(&agent).expect("JSON");
    assert_eq!(serde_json::from_value::<AgentSpec>(stored).expect("an agent"), agent);
}

#[test]
fn little_is_required() {
    let agent = parse("name: a\ndriver: loop\nmodel: openai/m\n", "a.yaml").expect("an agent");
    let spec = spec_of(&agent);
    assert_eq!(spec.tools, LoopTool::ALL);
    assert_eq!((spec.max_iterations, spec.retry_ms.0), (50, 120_000));
    assert!(agent.env.is_empty());
}

#[test]
fn the_example_is_good() {
    let text = include_str!("../../../examples/loop.yaml");
    let agent = parse(text, "examples/loop.yaml").expect("an agent");
    assert_eq!(spec_of(&agent).tools.len(), 8);
    let docs = include_str!("../../../docs/loop.md");
    let from = docs.find("```yaml\n").expect("an example") + 8;
    let to = from + docs[from..].find("```").expect("its end");
    let agent = parse(&docs[from..to], "docs/loop.md").expect("an agent");
    assert_eq!(spec_of(&agent).models[0].name(), "openai/smollm2");
}

#[test]
fn errors_name_the_key() {
    let base = "name: a\ndriver: loop\n";
    let cases = [
        ("", "model"),
        ("model: gpt\n", "model"),
        ("model: nobody/gpt\n", "model"),
        ("model: openai/\n", "model"),
        ("model: openai/m\napi_key: sk-1234\n", "api_key"),
        ("model: openai/m\napi_key: \"${secret:../x}\"\n", "api_key"),
        ("model: openai/m\nbase_url: localhost:80\n", "base_url"),
        ("model: openai/m\nbase_url: http://u:p@host/\n", "base_url"),
        ("model: openai/m\ntemperature: 3\n", "temperature"),
        ("model: openai/m\nmax_tokens: 0\n", "max_tokens"),
        ("model: openai/m\ntools: [telepathy]\n", "tools"),
        ("model: openai/m\nmcp: { lab: {} }\n", "mcp.lab"),
        ("model: openai/m\nmcp: { lab: { command: [x], url: \"http://x\" } }\n", "mcp.lab"),
        ("model: openai/m\nmcp: { a__b: { command: [x] } }\n", "mcp.a__b"),
        ("model: openai/m\nmcp: { lab: { command: [x], headers: { A: b } } }\n", "mcp.lab.headers"),
        ("model: openai/m\nfallback: [{ model: x }]\n", "fallback[0].model"),
        ("model: openai/m\ncommand: [x]\n", "command"),
        ("model: openai/m\nlifecycle: per_run\n", "lifecycle"),
        ("model: openai/m\nadd_prompt_files: [../x]\n", "add_prompt_files"),
        ("model: openai/m\ncommands: { \"a b\": x }\n", "commands.a b"),
        ("model: openai/m\ncompaction: { at: 5 }\n", "compaction.at"),
        (
            "model: openai/m\noutput_schema: {}\nstructured_output: { schema: {} }\n",
            "structured_output",
        ),
        (
            "model: openai/m\nstructured_output: { name: \"a b\", schema: {} }\n",
            "structured_output.name",
        ),
        (
            "model: openai/m\nenv: { LOOP_MODEL_KEY_0: x }\napi_key: \"${env:K}\"\n",
            "env.LOOP_MODEL_KEY_0",
        ),
        ("model: openai/m\ncolour: red\n", "colour"),
    ];
    for (text, key) in cases {
        let error = parse(&format!("{base}{text}"), "a.yaml").expect_err(text).to_string();
        assert!(error.contains(key), "{text}: {error}");
        assert!(!error.contains("sk-1234"), "{error}");
    }
    let error = parse("name: a\ndriver: command\ncommand: [x]\nmodel: openai/m\n", "a.yaml");
    assert!(error.expect_err("a foreign key").to_string().contains("model"));
}

const DOCKER: &str = r#"
version: "7"
metadata: { author: me, description: A team }
providers:
  local: { base_url: "http://127.0.0.1:8080/v1", token_key: LOCAL_KEY }
  new: { base_url: "http://127.0.0.1:8081/v1", api_type: openai_responses }
models:
  main: { provider: anthropic, model: claude, max_tokens: 50, temperature: 0.1, top_p: 1 }
  small: { provider: local, model: smollm2 }
mcps:
  lab: { type: mcp, command: lab, args: [--fast], env: { KEY: "${env.LAB}" } }
permissions: { allow: [read_file, "shell:cmd=ls*"], ask: [fetch], deny: ["write_file:path=/etc/*"] }
agents:
  root:
    model: main
    description: The head
    instruction: Lead.
    add_date: true
    add_environment_info: true
    add_prompt_files: [AGENTS.md]
    max_iterations: 9
    sub_agents: [critic]
    fallback: { models: [small, google/flash] }
    commands: { fix: "Fix $1", long: { description: d, instruction: "Look" } }
    structured_output: { name: out, strict: true, schema: { type: object } }
    safety: restricted
    toolsets:
      - { type: filesystem, tools: [read_file, edit_file, directory_tree] }
      - { type: shell, instruction: "Use it sparingly." }
      - { type: todo }
      - { type: fetch }
      - { type: mcp, ref: lab, tools: [echo] }
      - { type: mcp, name: web, remote: { url: "https://x.example/", transport_type: streamable, headers: { A: "${env.WEB}" } } }
  critic:
    model: new/mini
    description: Finds faults
    instruction: Criticise.
    toolsets: [{ type: shell }]
"#;

#[test]
fn a_docker_agent_file_is_called_as_it_or_its_image_is() {
    for (file, name) in [
        ("/agents/crew.yaml", "crew"),
        ("crew.v1.yml", "crew.v1"),
        ("oci:ghcr.io/org/crew:v1.2", "crew"),
        ("oci:localhost:5000/crew@sha256:0f", "crew"),
        ("oci:crew", "crew"),
        ("url:https://ex.com/crew.yaml?ref=feature/a.b", "crew"),
        ("url+query:https://***@ex.com/crew#x/y", "crew"),
    ] {
        let agent = parse(DOCKER, file).expect("an agent");
        assert_eq!(agent.name.as_str(), name, "{file}");
    }
    for file in ["oci:", "https://", "/agents/what?.yaml"] {
        let error = parse(DOCKER, file).expect_err("no name").to_string();
        assert!(error.contains("is no name"), "{error}");
    }
}

#[test]
fn a_docker_agent_file_is_an_agent_with_a_team() {
    let agent = parse(DOCKER, "/agents/crew.yaml").expect("an agent");
    assert_eq!((agent.name.as_str(), agent.description.as_deref()), ("crew", Some("The head")));
    assert_eq!((agent.approvals.mode, agent.approvals.headless), (Mode::Balanced, true));
    let rules = |list: &[greenroom_core::approval::Rule]| -> Vec<String> {
        list.iter().map(|rule| rule.0.clone()).collect()
    };
    assert_eq!(rules(&agent.approvals.allow), ["read_file", "shell(ls*)"]);
    assert_eq!(rules(&agent.approvals.ask), ["fetch"]);
    assert_eq!(rules(&agent.approvals.deny), ["write_file(/etc/*)"]);
    assert_eq!(agent.output_schema, Some(json!({"type": "object"})));
    let spec = spec_of(&agent);
    let names: Vec<_> = spec.models.iter().map(ModelSpec::name).collect();
    assert_eq!(names, ["anthropic/claude", "openai/smollm2", "gemini/flash"]);
    assert_eq!(spec.models[1].base_url.as_deref(), Some("http://127.0.0.1:8080/v1"));
    let keys: Vec<_> = spec
        .models
        .iter()
        .map(|m| agent.env[m.key_env.as_ref().expect("a key")].as_str())
        .collect();
    assert_eq!(keys, ["${env:ANTHROPIC_API_KEY}", "${env:LOCAL_KEY}", "${env:GOOGLE_API_KEY}"]);
    assert_eq!(
        spec.tools,
        [
            LoopTool::Shell,
            LoopTool::ReadFile,
            LoopTool::EditFile,
            LoopTool::List,
            LoopTool::Fetch,
            LoopTool::Todo
        ]
    );
    assert!(spec.instruction.starts_with("Lead.\n\nUse it sparingly."), "{}", spec.instruction);
    assert!(spec.instruction.contains("critic: Finds faults"), "{}", spec.instruction);
    let McpAt::Stdio { command, env } = &spec.mcp["lab"].at else { panic!("{:?}", spec.mcp) };
    assert_eq!(
        (command.join(" "), agent.env[&env["KEY"]].as_str()),
        ("lab --fast".into(), "${env:LAB}")
    );
    let McpAt::Http { headers, .. } = &spec.mcp["web"].at else { panic!("{:?}", spec.mcp) };
    assert_eq!(agent.env[&headers["A"]], "${env:WEB}");
    assert_eq!((spec.max_iterations, spec.add_date), (9, true));
    assert_eq!(spec.commands["long"], "Look");
    assert_eq!(spec.sub_agents[0].as_str(), "critic");
    let critic = &spec.team[&spec.sub_agents[0]];
    assert_eq!(critic.models[0].provider, Provider::OpenaiResponses);
    assert_eq!(
        (critic.models[0].key_env.as_ref(), critic.instruction.as_str()),
        (None, "Criticise.")
    );
    assert!(spec.warnings.is_empty(), "{:?}", spec.warnings);
}

#[test]
fn a_session_chooses_among_the_models_of_a_docker_agent_file() {
    let agent = parse(DOCKER, "/agents/crew.yaml").expect("an agent");
    let spec = spec_of(&agent);
    let named = ["anthropic/*", "google/*", "local/*", "main", "new/*", "small"];
    assert_eq!(spec.choices.keys().collect::<Vec<_>>(), named);
    let key = |name: &str| {
        let chosen = spec.choice(name).unwrap_or_else(|| panic!("{name} is known"));
        (chosen.name(), chosen.key_env.map(|variable| agent.env[&variable].clone()))
    };
    let of =
        |name: &str, key: Option<&str>| (name.to_owned(), key.map(|k| format!("${{env:{k}}}")));
    assert_eq!(key("small"), of("openai/smollm2", Some("LOCAL_KEY")));
    assert_eq!(key("local/large"), of("openai/large", Some("LOCAL_KEY")));
    assert_eq!(key("anthropic/next"), of("anthropic/next", Some("ANTHROPIC_API_KEY")));
    assert_eq!(key("new/maxi"), of("openai_responses/maxi", None));
    assert_eq!(spec.choice("main"), spec.models.first().cloned(), "with all that is said of it");
    assert_eq!(spec.choice("openai/gpt"), None, "its key is nobody's here");
    assert_eq!(spec.choice("xai/grok"), None);
}

/// A small file with more in its agent, model or toolset.
fn with(agent: &str, model: &str, toolset: &str, top: &str) -> Result<AgentSpec, String> {
    let text = format!(
        "models:\n  m: {{ provider: openai, model: x{model} }}\nagents:\n  a:\n    model: m\n    \
         toolsets: [{{ type: shell{toolset} }}]\n{agent}\n{top}\n"
    );
    parse(&text, "a.yaml").map_err(|error| error.to_string())
}

#[test]
fn what_is_not_served_is_warned_of_or_an_error() {
    with("", "", "", "").expect("a small file is good");
    let warned = [
        ("welcome_message: hi", "", "", "agents.a.welcome_message"),
        ("num_history_items: 5", "", "", "agents.a.num_history_items"),
        ("redact_secrets: true", "", "", "agents.a.redact_secrets"),
        ("fallback: { retries: 2 }", "", "", "agents.a.fallback.retries"),
        ("fallback: { cooldown: 1m }", "", "", "agents.a.fallback.cooldown"),
        ("", ", thinking_budget: high", "", "models.m.thinking_budget"),
        ("", ", provider_opts: { a: 1 }", "", "models.m.provider_opts"),
        ("", ", frequency_penalty: 0.1", "", "models.m.frequency_penalty"),
        ("", "", "}, { type: think", "think"),
        ("", "", "}, { type: filesystem, ignore_vcs: true", "ignore_vcs"),
        ("", "", "}, { type: filesystem, tools: [create_directory]", "create_directory"),
    ];
    for (agent, model, toolset, key) in warned {
        let made = with(&format!("    {agent}"), model, toolset, "").expect(key);
        let warnings = &spec_of(&made).warnings;
        assert!(warnings.len() == 1 && warnings[0].contains(key), "{key}: {warnings:?}");
    }
    let refused = [
        ("hooks: { stop: [] }", "", "", "", "agents.a.hooks"),
        ("handoffs: [b]", "", "", "", "agents.a.handoffs"),
        ("skills: true", "", "", "", "agents.a.skills"),
        ("code_mode_tools: true", "", "", "", "agents.a.code_mode_tools"),
        ("harness: { type: codex }", "", "", "", "agents.a.harness"),
        ("sub_agents: [elsewhere]", "", "", "", "agents.a.sub_agents"),
        ("fallback: { models: [auto] }", "", "", "", "agents.a.fallback.models"),
        ("commands: { x: \"!date\" }", "", "", "", "commands.x"),
        ("colour: red", "", "", "", "agents.a.colour"),
        ("safety: wild", "", "", "", "agents.a.safety"),
        ("", ", routing: []", "", "", "models.m.routing"),
        ("", ", colour: red", "", "", "models.m.colour"),
        ("", "", "}, { type: memory", "", "agents.a.toolsets[1].type"),
        ("", "", "}, { type: lsp, command: x", "", "agents.a.toolsets[1].type"),
        ("", "", ", defer: true", "", "agents.a.toolsets[0].defer"),
        ("", "", ", colour: red", "", "agents.a.toolsets[0].colour"),
        ("", "", "}, { type: mcp, ref: \"docker:x\"", "", "toolsets[1].ref"),
        (
            "",
            "",
            "}, { type: mcp, remote: { url: \"http://x\", transport_type: sse }",
            "",
            "transport_type",
        ),
        ("", "", "", "rag: { x: {} }", "rag"),
        ("", "", "", "colour: red", "colour"),
        ("", "", "", "permissions: { allow: [\"shell:cmd=a:cwd=b\"] }", "permissions.allow"),
        ("", "", "", "providers: { p: { token_key: X } }", "providers.p.base_url"),
    ];
    for (agent, model, toolset, top, key) in refused {
        let error = with(&format!("    {agent}"), model, toolset, top).expect_err(key);
        assert!(error.contains(key), "{key}: {error}");
    }
}

/// All maps of a document, by their places.
fn maps(value: &Value, at: &str, found: &mut Vec<String>) {
    match value {
        Value::Object(map) => {
            found.push(at.to_owned());
            map.iter().for_each(|(key, value)| maps(value, &format!("{at}/{key}"), found));
        }
        Value::Array(list) => {
            list.iter().enumerate().for_each(|(i, value)| maps(value, &format!("{at}/{i}"), found));
        }
        _ => {}
    }
}

#[test]
fn a_key_nobody_knows_is_never_passed_over() {
    let whole: Value = json!({
        "providers": {"p": {"base_url": "http://x/"}},
        "models": {"m": {"provider": "p", "model": "x"}},
        "mcps": {"lab": {"command": "lab"}},
        "permissions": {"allow": ["shell"]},
        "runtime": {"safety": "strict"},
        "agents": {"a": {
            "model": "m",
            "fallback": {"models": ["m"]},
            "structured_output": {"schema": {"type": "object"}},
            "toolsets": [{"type": "shell"}, {"type": "filesystem"}, {"type": "mcp", "ref": "lab"},
                {"type": "mcp", "name": "web", "remote": {"url": "http://x/"}}],
        }},
    });
    parse(&whole.to_string(), "a.yaml").expect("it is good as it is");
    let mut places = Vec::new();
    maps(&whole, "", &mut places);
    // These hold names of the author's own, not keys of ours.
    let named = ["/providers", "/models", "/mcps", "/agents", "/agents/a/structured_output/schema"];
    for place in places.iter().filter(|place| !named.contains(&place.as_str())) {
        let mut more = whole.clone();
        let map = more.pointer_mut(place).and_then(Value::as_object_mut).expect("a map");
        map.insert("zzz".to_owned(), json!(1));
        let error = parse(&more.to_string(), "a.yaml").expect_err(place).to_string();
        assert!(error.contains("zzz"), "{place}: {error}");
    }
}

proptest! {
    #[test]
    fn any_text_is_an_agent_or_an_error(
        text in "[ -~\n]{0,200}",
        at in 0usize..3000,
        which in 0usize..2,
    ) {
        let _ = parse(&text, "a.yaml");
        // Also in the middle of what is good.
        let good = [FULL, DOCKER][which];
        let at = at.min(good.len());
        let _ = parse(&format!("{}{text}{}", &good[..at], &good[at..]), "a.yaml");
    }
}
