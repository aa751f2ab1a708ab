//! `terminal/*`: commands that the agent lets us run. They are processes of the compute
//! like any other, and end with it.

use std::collections::HashMap;
use std::path::PathBuf;
use std::process::Stdio;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use rustix::process::{Pid, Signal};
use serde_json::{Value, json};
use tokio::io::{AsyncRead, AsyncReadExt};
use tokio::process::{Child, Command};
use tokio::sync::watch;

use super::wire::{Reply, RpcError};

/// What is kept of an output where the agent names no limit.
const KEPT: usize = 1 << 20;

/// The terminals of a session.
pub(super) struct Terminals {
    workspace: PathBuf,
    all: HashMap<String, Terminal>,
    made: u64,
}

struct Terminal {
    pid: Option<Pid>,
    output: Arc<Mutex<Output>>,
    exit: watch::Receiver<Option<Value>>,
}

/// The last bytes of what a command has said.
#[derive(Debug, Default)]
struct Output {
    bytes: Vec<u8>,
    limit: usize,
    truncated: bool,
}

fn lock(output: &Mutex<Output>) -> MutexGuard<'_, Output> {
    output.lock().unwrap_or_else(PoisonError::into_inner)
}

impl Output {
    fn push(&mut self, bytes: &[u8]) {
        self.bytes.extend_from_slice(bytes);
        if self.bytes.len() > self.limit {
            self.truncated = true;
            let mut from = self.bytes.len() - self.limit;
            // Cut between characters.
            while from < self.bytes.len() && self.bytes[from] & 0xc0 == 0x80 {
                from += 1;
            }
            self.bytes.drain(..from);
        }
    }
}

impl Terminals {
    pub(super) fn new(workspace: PathBuf) -> Self {
        Self { workspace, all: HashMap::new(), made: 0 }
    }

    pub(super) fn take(&mut self, method: &str, params: Value, reply: Reply) {
        if method == "terminal/create" {
            return reply.with(self.create(&params));
        }
        let id = params["terminalId"].as_str().unwrap_or_default();
        let Some(terminal) = self.all.get(id) else {
            return reply.error(super::files::NOT_FOUND, format!("there is no terminal {id:?}"));
        };
        match method {
            "terminal/output" => reply.ok(terminal.output()),
            "terminal/wait_for_exit" => {
                let mut exit = terminal.exit.clone();
                tokio::spawn(async move {
                    let status = match exit.wait_for(Option::is_some).await {
                        Ok(status) => status.clone().unwrap_or(Value::Null),
                        Err(_) => json!({ "exitCode": null, "signal": null }),
                    };
                    reply.ok(status);
                });
            }
            "terminal/kill" => {
                terminal.kill();
                reply.ok(json!({}));
            }
            "terminal/release" => {
                terminal.kill();
                self.all.remove(id);
                reply.ok(json!({}));
            }
            _ => reply.error(-32601, format!("greenroom does not know {method:?}")),
        }
    }

    fn create(&mut self, params: &Value) -> Result<Value, RpcError> {
        let wrong = |message: String| RpcError { code: -32602, message };
        let Some(program) = params["command"].as_str().filter(|program| !program.is_empty()) else {
            return Err(wrong("command is missing".to_owned()));
        };
        let texts = |value: &Value| -> Vec<String> {
            let list = value.as_array().cloned().unwrap_or_default();
            list.iter().filter_map(|text| text.as_str().map(str::to_owned)).collect()
        };
        let env = params["env"].as_array().cloned().unwrap_or_default();
        let env = env.iter().filter_map(|e| {
            Some((e["name"].as_str()?.to_owned(), e["value"].as_str()?.to_owned()))
        });
        let cwd =
            params["cwd"].as_str().map_or(self.workspace.clone(), |cwd| self.workspace.join(cwd));
        let mut child = Command::new(program)
            .args(texts(&params["args"]))
            .envs(env)
            .current_dir(&cwd)
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .process_group(0)
            .kill_on_drop(false)
            .spawn()
            .map_err(|error| wrong(format!("{program:?} cannot be executed: {error}")))?;
        let limit = params["outputByteLimit"].as_u64().map_or(KEPT, |limit| limit as usize);
        let output = Arc::new(Mutex::new(Output { limit, ..Output::default() }));
        let (say, exit) = watch::channel(None);
        let pid = child.id().and_then(|pid| Pid::from_raw(pid as i32));
        let pipes = (child.stdout.take(), child.stderr.take());
        tokio::spawn(follow(child, pipes, output.clone(), say));
        self.made += 1;
        let id = format!("terminal-{}", self.made);
        self.all.insert(id.clone(), Terminal { pid, output, exit });
        Ok(json!({ "terminalId": id }))
    }
}

async fn follow(
    mut child: Child,
    (stdout, stderr): (Option<tokio::process::ChildStdout>, Option<tokio::process::ChildStderr>),
    output: Arc<Mutex<Output>>,
    say: watch::Sender<Option<Value>>,
) {
    let both = async { tokio::join!(drain(stdout, &output), drain(stderr, &output)) };
    tokio::pin!(both);
    let status = tokio::select! {
        status = child.wait() => status,
        _ = &mut both => child.wait().await,
    };
    // What it left in the pipes belongs to it; who else holds them is not waited for.
    let _ = tokio::time::timeout(std::time::Duration::from_millis(250), both).await;
    let status = status.map(|status| {
        use std::os::unix::process::ExitStatusExt;
        json!({ "exitCode": status.code(), "signal": status.signal().map(|s| s.to_string()) })
    });
    say.send_replace(Some(status.unwrap_or_else(|_| json!({ "exitCode": null, "signal": null }))));
}

async fn drain(pipe: Option<impl AsyncRead + Unpin>, output: &Mutex<Output>) {
    let Some(mut pipe) = pipe else { return };
    let mut buffer = vec![0; 16 << 10];
    while let Ok(read @ 1..) = pipe.read(&mut buffer).await {
        lock(output).push(&buffer[..read]);
    }
}

impl Terminal {
    fn output(&self) -> Value {
        let output = lock(&self.output);
        let exit = self.exit.borrow().clone();
        let mut answer = json!({
            "output": String::from_utf8_lossy(&output.bytes), "truncated": output.truncated,
        });
        if let Some(exit) = exit {
            answer["exitStatus"] = exit;
        }
        answer
    }

    /// Ends the command's own group. What has left it is the compute's to end.
    fn kill(&self) {
        if let Some(pid) = self.pid.filter(|_| self.exit.borrow().is_none()) {
            let _ = rustix::process::kill_process_group(pid, Signal::KILL);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_last_bytes_are_kept_in_whole_characters() {
        let mut output = Output { limit: 4, ..Output::default() };
        output.push("aé".as_bytes());
        output.push("ïb".as_bytes());
        assert!(output.truncated);
        assert_eq!(String::from_utf8(output.bytes).unwrap(), "ïb");
    }
}
