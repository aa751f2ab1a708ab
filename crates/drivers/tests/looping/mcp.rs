//! Tools of MCP servers, over both transports.

use std::io::{BufRead, BufReader};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use greenroom_core::drive::ToDriver;
use greenroom_core::loop_spec::*;
use greenroom_core::record::Outcome;
use serde_json::json;

use crate::fixture::*;
use crate::stub::{Step, Stub, stream};
use crate::wire;

const SERVER: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/looping/mcp_server.py");

fn stdio(env: &[(&str, &str)]) -> McpSpec {
    let command = vec!["python3".to_owned(), SERVER.to_owned()];
    let env = env.iter().map(|(name, from)| ((*name).to_owned(), (*from).to_owned())).collect();
    McpSpec { at: McpAt::Stdio { command, env }, tools: None }
}

fn script(calls: &[(&str, &str, &str)]) -> Vec<Vec<Step>> {
    let events = |said: &wire::Said<'_>| stream(&wire::events(Provider::Openai, said));
    vec![events(&wire::calls(calls)), events(&wire::text(&["Done."]))]
}

struct Http(Child, String);

impl Http {
    fn start() -> Self {
        let mut child = Command::new("python3")
            .args([SERVER, "--http"])
            .stdout(Stdio::piped())
            .spawn()
            .expect("python3");
        let mut line = String::new();
        let stdout = child.stdout.take().expect("a pipe");
        BufReader::new(stdout).read_line(&mut line).expect("a port");
        Self(child, format!("http://127.0.0.1:{}/mcp", line.trim()))
    }
}

impl Drop for Http {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

#[tokio::test]
async fn a_server_on_standard_streams_is_used() {
    let calls = [
        ("a", "lab__echo", r#"{"text":"hi"}"#),
        ("b", "lab__fail", "{}"),
        ("c", "lab__env", r#"{"names":["LAB_KEY","LOOP_MODEL_KEY_0"]}"#),
    ];
    let stub = Stub::new(script(&calls));
    let mut setup = Setup::new(Provider::Openai, &stub);
    setup.vars.push(("LOOP_MCP_LAB_0".to_owned(), "value-1".to_owned()));
    let spec = stdio(&[("LAB_KEY", "LOOP_MCP_LAB_0")]);
    let mut up = setup.with(|s| drop(s.mcp.insert("lab".to_owned(), spec))).up().await;
    let (outcome, lines) = up.run("Go").await;
    assert!(completed(&outcome), "{outcome:?}");
    let results = of(&lines, "tool_result");
    assert_eq!(
        (&results[0]["output"], &results[0]["is_error"]),
        (&json!("echo: hi"), &json!(false))
    );
    assert_eq!(
        (&results[1]["output"], &results[1]["is_error"]),
        (&json!("it went wrong"), &json!(true))
    );
    assert_eq!(results[2]["output"], r#"{"LAB_KEY": "value-1", "LOOP_MODEL_KEY_0": null}"#);
    let tools = stub.bodies()[0]["tools"].to_string();
    assert!(tools.contains("lab__echo") && tools.contains("the tool echo"), "{tools}");
    up.close().await;
}

#[tokio::test]
async fn a_server_over_http_is_used_with_its_headers() {
    let server = Http::start();
    let calls =
        [("a", "lab__echo", r#"{"text":"hi"}"#), ("b", "lab__env", r#"{"names":["x-key"]}"#)];
    let stub = Stub::new(script(&calls));
    let mut setup = Setup::new(Provider::Openai, &stub);
    setup.vars.push(("LOOP_MCP_LAB_0".to_owned(), "value-2".to_owned()));
    let headers = [("x-key".to_owned(), "LOOP_MCP_LAB_0".to_owned())].into();
    let spec = McpSpec { at: McpAt::Http { url: server.1.clone(), headers }, tools: None };
    let mut up = setup.with(|s| drop(s.mcp.insert("lab".to_owned(), spec))).up().await;
    let (outcome, lines) = up.run("Go").await;
    assert!(completed(&outcome), "{outcome:?}");
    let results = of(&lines, "tool_result");
    assert_eq!(results[0]["output"], "echo: hi");
    assert_eq!(results[1]["output"], r#"{"x-key": "value-2"}"#);
    up.close().await;
}

#[tokio::test]
async fn only_the_tools_that_are_named_are_taken() {
    let stub = Stub::new(script(&[("a", "lab__fail", "{}")]));
    let named = |tools: &[&str]| {
        let tools = Some(tools.iter().map(|t| (*t).to_owned()).collect());
        let spec = McpSpec { tools, ..stdio(&[]) };
        Setup::new(Provider::Openai, &stub).with(|s| drop(s.mcp.insert("lab".to_owned(), spec)))
    };
    let mut up = named(&["echo"]).up().await;
    let (_, lines) = up.run("Go").await;
    let output = of(&lines, "tool_result")[0]["output"].as_str().expect("text").to_owned();
    assert!(output.contains("there are: lab__echo"), "{output}");
    let error = named(&["telepathy"]).start().await.err().expect("a failure").0;
    assert!(error.message.contains("\"lab\" has no tool \"telepathy\""), "{}", error.message);
}

#[tokio::test]
async fn a_server_that_is_not_there_is_named() {
    let stub = Stub::new([]);
    let at = |at: McpAt| {
        let spec = McpSpec { at, tools: None };
        Setup::new(Provider::Openai, &stub).with(|s| drop(s.mcp.insert("lab".to_owned(), spec)))
    };
    let program = McpAt::Stdio { command: vec!["/no/such".to_owned()], env: Default::default() };
    let nowhere =
        McpAt::Http { url: "http://127.0.0.1:1/mcp".to_owned(), headers: Default::default() };
    for place in [program, nowhere] {
        let error = at(place).start().await.err().expect("a failure").0;
        assert_eq!(error.code, "start_error");
        assert!(error.message.contains("MCP server \"lab\""), "{}", error.message);
    }
}

#[tokio::test]
async fn a_cancel_ends_the_wait_for_a_server() {
    let dir = tempfile::tempdir().expect("a folder");
    let mark = dir.path().join("mark");
    let input = json!({"mark": mark}).to_string();
    let stub = Stub::new(script(&[("a", "lab__wait", &input)]));
    let setup = Setup::new(Provider::Openai, &stub);
    let mut up = setup.with(|s| drop(s.mcp.insert("lab".to_owned(), stdio(&[])))).up().await;
    up.prompt("Wait");
    up.until("approval.decided").await;
    let asked = Instant::now();
    up.tell(ToDriver::Cancel);
    let (outcome, lines) = up.end().await;
    assert_eq!(outcome, Outcome::Stopped { error: None });
    assert!(asked.elapsed() < Duration::from_millis(500), "{:?}", asked.elapsed());
    assert_eq!(of(&lines, "tool_result")[0]["is_error"], true);
}
