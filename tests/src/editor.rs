//! An editor that speaks the Agent Client Protocol by its own SDK, at `greenroom acp`.

use std::io::{BufRead, BufReader, Write};
use std::process::{Child, ChildStdin, Command, Stdio};
use std::sync::mpsc::{Receiver, channel};
use std::time::Instant;

use serde_json::{Value, json};

use crate::room::Greenroom;
use crate::{PATIENCE, procs, tools};

/// A running editor, and all it was told. It ends with this value.
#[derive(Debug)]
pub struct Editor {
    child: Child,
    stdin: ChildStdin,
    lines: Receiver<Value>,
    asked: u64,
    /// The agent's process.
    pub agent: i32,
    /// Everything it said, in order: updates, questions, answers.
    pub heard: Vec<Value>,
}

impl Editor {
    /// Starts one with these further arguments of `greenroom acp`, and says hello.
    pub fn start(room: &Greenroom, args: &[&str]) -> Self {
        Self::with(room, args, json!({ "elicitation": { "form": {} } }))
    }

    /// As [`Editor::start`], with these capabilities.
    pub fn with(room: &Greenroom, args: &[&str], capabilities: Value) -> Self {
        let greenroom = room.command();
        let mut command = Command::new(tools::node());
        command.arg(concat!(env!("CARGO_MANIFEST_DIR"), "/tools/outward/editor.mjs"));
        command.arg(tools::outward("@agentclientprotocol/sdk/dist/v1/stable/acp.js"));
        command.arg(greenroom.get_program()).arg("acp").args(args);
        let env = greenroom.get_envs().filter_map(|(name, value)| Some((name, value?)));
        command.env_clear().envs(env).current_dir(&room.root);
        command.env("GREENROOM_URL", format!("http://{}", room.api.host));
        command.env("GREENROOM_TOKEN", room.api.token.as_deref().expect("a token"));
        command.stdin(Stdio::piped()).stdout(Stdio::piped());
        let mut child = command.spawn().expect("the editor starts");
        let stdin = child.stdin.take().expect("a pipe");
        let stdout = BufReader::new(child.stdout.take().expect("a pipe"));
        let (say, lines) = channel();
        std::thread::spawn(move || {
            for line in stdout.lines().map_while(Result::ok) {
                let Ok(line) = serde_json::from_str(&line) else { break };
                if say.send(line).is_err() {
                    break;
                }
            }
        });
        let mut editor = Self { child, stdin, lines, asked: 0, agent: 0, heard: Vec::new() };
        let connected = editor.until("the connection", |line| line["connected"].is_number());
        editor.agent = connected["connected"].as_i64().expect("a pid") as i32;
        let hello = editor
            .ask("initialize", json!({ "protocolVersion": 1, "clientCapabilities": capabilities }));
        assert_eq!(hello["agentInfo"]["name"], "greenroom", "{hello:#}");
        assert_eq!(hello["agentCapabilities"]["loadSession"], true, "{hello:#}");
        editor
    }

    fn say(&mut self, line: &Value) {
        writeln!(self.stdin, "{line}").expect("the editor reads");
    }

    /// A line that fits: one that was heard already, or the next.
    #[track_caller]
    pub fn seen(&mut self, what: &str, fits: impl Fn(&Value) -> bool) -> Value {
        let known = self.heard.iter().find(|line| fits(line)).cloned();
        known.unwrap_or_else(|| self.until(what, fits))
    }

    /// Hears until a line fits, and gives it.
    #[track_caller]
    pub fn until(&mut self, what: &str, fits: impl Fn(&Value) -> bool) -> Value {
        let begun = Instant::now();
        loop {
            let left = PATIENCE.saturating_sub(begun.elapsed());
            let line = self.lines.recv_timeout(left);
            let line = line.unwrap_or_else(|_| panic!("{what} did not come: {:#?}", self.heard));
            self.heard.push(line.clone());
            if fits(&line) {
                return line;
            }
        }
    }

    /// Asks, and does not wait. Gives the number of the question.
    pub fn begin(&mut self, method: &str, params: Value) -> u64 {
        self.asked += 1;
        self.say(&json!({ "ask": self.asked, "method": method, "params": params }));
        self.asked
    }

    /// The answer to a question.
    #[track_caller]
    pub fn answer(&mut self, number: u64) -> Result<Value, Value> {
        let line = self.seen(&format!("answer {number}"), |line| line["answer"] == number);
        match line.get("error") {
            Some(error) => Err(error.clone()),
            None => Ok(line["result"].clone()),
        }
    }

    /// Asks, and waits for a good answer.
    #[track_caller]
    pub fn ask(&mut self, method: &str, params: Value) -> Value {
        let number = self.begin(method, params);
        self.answer(number).unwrap_or_else(|error| panic!("{method}: {error:#}"))
    }

    /// Prompts, and does not wait.
    pub fn prompt(&mut self, session: &str, text: &str) -> u64 {
        let prompt = json!([{ "type": "text", "text": text }]);
        self.begin("session/prompt", json!({ "sessionId": session, "prompt": prompt }))
    }

    /// Tells.
    pub fn tell(&mut self, method: &str, params: Value) {
        self.say(&json!({ "tell": method, "params": params }));
    }

    /// The next question to the person.
    #[track_caller]
    pub fn question(&mut self) -> Value {
        self.until("a question", |line| line["asked"].is_number())
    }

    /// What the person says to it.
    pub fn reply(&mut self, question: &Value, result: Value) {
        self.say(&json!({ "reply": question["asked"], "result": result }));
    }

    /// What was told of this kind, in order.
    pub fn told(&self, kind: &str) -> Vec<Value> {
        let updates = self.heard.iter().map(|line| &line["update"]["update"]);
        updates.filter(|update| update["sessionUpdate"] == kind).cloned().collect()
    }

    /// The text of all chunks of this kind.
    pub fn text(&self, kind: &str) -> String {
        let chunks = self.told(kind).into_iter();
        chunks.map(|chunk| chunk["content"]["text"].as_str().expect("text").to_owned()).collect()
    }

    /// Kills it at once; its agent ends since nobody is there any more.
    pub fn kill(mut self) {
        let agent = self.agent;
        self.child.kill().expect("it is killed");
        self.child.wait().expect("it is gone");
        assert!(procs::wait_gone(agent, PATIENCE), "greenroom acp ends with its editor");
    }
}

impl Drop for Editor {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}
