//! A model endpoint that answers by a script, outside of everything that is tested: it
//! speaks the wire formats of real ones, and keeps a journal of what it was asked.

use std::fs;
use std::io::{BufRead, BufReader};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::mpsc;

use serde_json::{Value, json};

use crate::PATIENCE;
use crate::http::Api;
use crate::tools;

/// A running endpoint. It ends with this value.
#[derive(Debug)]
pub struct Endpoint {
    child: Child,
    host: String,
    folder: PathBuf,
}

impl Endpoint {
    /// Starts one with this script: of these fixtures, the first that matches answers.
    pub fn start(fixtures: &[Value]) -> Self {
        let id = uuid::Uuid::now_v7().simple().to_string();
        let folder = PathBuf::from(format!("/tmp/gr-endpoint-{}", &id[20..]));
        fs::create_dir_all(&folder).expect("a folder for the script");
        let script = json!({ "fixtures": fixtures }).to_string();
        fs::write(folder.join("script.json"), script).expect("the script");
        let mut child = Command::new(tools::node())
            .arg(tools::core("@copilotkit/aimock/dist/cli.js"))
            .args(["--port", "0", "--journal-max", "0", "--fixtures"])
            .arg(&folder)
            .env_clear()
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .spawn()
            .expect("the scripted endpoint starts");
        let stdout = child.stdout.take().expect("a pipe");
        let (say, said) = mpsc::channel();
        // It is read to its end, or the endpoint would wait for a reader.
        std::thread::spawn(move || {
            for line in BufReader::new(stdout).lines().map_while(Result::ok) {
                if let Some((_, host)) = line.split_once("listening on http://") {
                    let _ = say.send(host.trim().to_owned());
                }
            }
        });
        let host = said.recv_timeout(PATIENCE).expect("the scripted endpoint listens");
        Self { child, host, folder }
    }

    /// Where it is.
    pub fn url(&self) -> String {
        format!("http://{}", self.host)
    }

    /// What it was asked so far: each request with its `body`.
    #[track_caller]
    pub fn journal(&self) -> Vec<Value> {
        let api = Api { host: self.host.clone(), token: None };
        let journal = api.get("/__aimock/journal").expect(200);
        journal.as_array().expect("a list").clone()
    }

    /// The conversation as the model was sent it with the last request that has this word.
    #[track_caller]
    pub fn last_asked(&self, word: &str) -> String {
        let journal = self.journal();
        let bodies = journal.iter().rev().map(|entry| entry["body"].to_string());
        bodies
            .into_iter()
            .find(|body| body.contains(word))
            .unwrap_or_else(|| panic!("{word:?} is in none of {} requests", journal.len()))
    }
}

impl Drop for Endpoint {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
        let _ = fs::remove_dir_all(&self.folder);
    }
}

/// An answer in words, to a prompt that contains `word`.
pub fn says(word: &str, text: &str) -> Value {
    let usage = json!({ "input_tokens": 120, "output_tokens": 34 });
    json!({ "match": { "userMessage": word }, "response": { "content": text, "usage": usage } })
}

/// A use of a tool, and after it an answer in words, to a prompt that contains `word`.
pub fn uses(word: &str, tool: &str, arguments: Value, then: &str) -> [Value; 2] {
    let call = json!({ "name": tool, "arguments": arguments });
    let mut first = says(word, &format!("I will use {tool}."));
    first["match"]["hasToolResult"] = json!(false);
    first["response"]["toolCalls"] = json!([call]);
    let mut second = says(word, then);
    second["match"]["hasToolResult"] = json!(true);
    [first, second]
}

/// An error, to a prompt that contains `word`.
pub fn fails(word: &str, status: u16, message: &str) -> Value {
    let error = json!({ "message": message, "type": "invalid_request_error" });
    json!({ "match": { "userMessage": word }, "response": { "error": error, "status": status } })
}

/// The answer to whatever nothing else answers.
pub fn otherwise(text: &str) -> Value {
    json!({ "match": {}, "response": { "content": text } })
}

/// Waits until there is a file.
#[track_caller]
pub fn wait_file(path: &Path) {
    use rustix::event::{PollFd, PollFlags, Timespec, poll};
    use rustix::fs::inotify;
    let begun = std::time::Instant::now();
    let watch = inotify::init(inotify::CreateFlags::CLOEXEC).expect("a watch");
    let folder = path.parent().expect("a folder");
    inotify::add_watch(&watch, folder, inotify::WatchFlags::CREATE)
        .expect("a folder that is there");
    let mut changed = [0; 4096];
    while !path.exists() {
        let left = PATIENCE.checked_sub(begun.elapsed());
        let left = left.unwrap_or_else(|| panic!("{} did not come", path.display()));
        let left = Timespec::try_from(left).expect("a short time");
        if poll(&mut [PollFd::new(&watch, PollFlags::IN)], Some(&left)) == Ok(1) {
            rustix::io::read(&watch, &mut changed).expect("what has changed");
        }
    }
}
