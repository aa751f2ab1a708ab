//! `greenroom mcp` as an outside client has it, over standard input and output.

use std::io::{BufRead, BufReader, Write};
use std::process::{Child, ChildStdin, ChildStdout, Stdio};

use serde_json::{Value, json};

use crate::room::Greenroom;

/// A server, and what it was asked.
#[derive(Debug)]
pub struct Mcp {
    child: Child,
    stdin: ChildStdin,
    stdout: BufReader<ChildStdout>,
    asked: u64,
    /// What it said unasked.
    pub told: Vec<Value>,
}

impl Mcp {
    /// Starts one with the room's own token.
    pub fn start(room: &Greenroom) -> Self {
        Self::with(room, room.api.token.as_deref().expect("a token"), None)
    }

    /// Starts one with this token, inside of this session.
    pub fn with(room: &Greenroom, token: &str, session: Option<&str>) -> Self {
        let mut command = room.command();
        command.env("GREENROOM_URL", format!("http://{}", room.api.host));
        command.env("GREENROOM_TOKEN", token);
        command.envs(session.map(|id| ("GREENROOM_SESSION", id)));
        command.arg("mcp").stdin(Stdio::piped()).stdout(Stdio::piped());
        let mut child = command.spawn().expect("greenroom mcp starts");
        let stdin = child.stdin.take().expect("a pipe");
        let stdout = BufReader::new(child.stdout.take().expect("a pipe"));
        let mut server = Self { child, stdin, stdout, asked: 0, told: Vec::new() };
        let hello = server.ask(
            "initialize",
            json!({ "protocolVersion": "2025-06-18", "capabilities": {},
                "clientInfo": { "name": "a test", "version": "1" } }),
        );
        assert_eq!(hello["serverInfo"]["name"], "greenroom", "{hello:#}");
        server.say(&json!({ "jsonrpc": "2.0", "method": "notifications/initialized" }));
        server
    }

    fn say(&mut self, message: &Value) {
        writeln!(self.stdin, "{message}").expect("it reads");
    }

    /// What a method answers.
    #[track_caller]
    pub fn ask(&mut self, method: &str, params: Value) -> Value {
        self.asked += 1;
        let id = self.asked;
        self.say(&json!({ "jsonrpc": "2.0", "id": id, "method": method, "params": params }));
        loop {
            let mut line = String::new();
            assert!(self.stdout.read_line(&mut line).expect("it answers") > 0, "it has ended");
            let answer: Value = serde_json::from_str(&line).expect("JSON");
            if answer["id"] == id {
                return answer["result"].clone();
            }
            self.told.push(answer);
        }
    }

    /// The names of what it offers.
    #[track_caller]
    pub fn names(&mut self) -> Vec<String> {
        let tools = self.ask("tools/list", json!({}));
        let tools = tools["tools"].as_array().expect("a list");
        tools.iter().map(|tool| tool["name"].as_str().expect("a name").to_owned()).collect()
    }

    /// What a tool answers; an error as its words.
    #[track_caller]
    pub fn tool(&mut self, name: &str, arguments: Value) -> Result<Value, String> {
        let answer = self.ask("tools/call", json!({ "name": name, "arguments": arguments }));
        let text = answer["content"][0]["text"].as_str().expect("text").to_owned();
        if answer["isError"] == true {
            return Err(text);
        }
        let said: Value = serde_json::from_str(&text).expect("JSON");
        assert_eq!(answer["structuredContent"], said, "{name}: the same, as text and as data");
        Ok(said)
    }
}

impl Drop for Mcp {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}
