//! One run of a coding agent's command line, from its start to its end.

use std::io::Write;
use std::time::{Duration, Instant};

use greenroom_core::agent::PresetSpec;
use greenroom_core::approval::{Answer, Decision};
use greenroom_core::drive::Open;
use greenroom_core::record::{Outcome, OutputKind, RunError};
use rustix::process::Signal;
use serde_json::Value;
use tokio::io::{AsyncBufReadExt, AsyncWriteExt, BufReader};
use tokio::process::{ChildStderr, ChildStdin, ChildStdout};
use tokio::sync::mpsc;
use tokio::task::{AbortHandle, JoinSet};

use super::stream::{Answered, Question, Said, Stream};
use super::{Cancel, Feed, Preset, Which, command, failure};
use crate::Failure;
use crate::policy::Use;
use crate::process::{Agent, Start};
use crate::shim::{Input, Shim, Wish, Wishes, permission_ask};

/// After the agent's end, what it left behind may hold its streams open: they count as
/// ended when they are silent for so long.
const SILENCE: Duration = Duration::from_millis(250);
/// However much is written there, so long after it they are no longer read.
const LONGEST_TAIL: Duration = Duration::from_secs(2);

/// Who asks what nobody can answer, and says no more for so long, waits for that. Told to
/// end, it has as long.
const STUCK: Duration = Duration::from_secs(5);

/// A run to be driven.
pub(super) struct Turn<'a> {
    pub(super) shim: &'a Shim,
    pub(super) open: &'a Open,
    pub(super) spec: &'a PresetSpec,
    pub(super) preset: &'static Preset,
}

/// How one start of the agent ended.
enum Attempt {
    Over(Outcome),
    /// It does not know the conversation, in its words.
    Lost(String),
    /// This process was told to end.
    Ended,
}

impl Turn<'_> {
    /// Takes the run to its end: with an outcome, unless this process was told to end,
    /// and then its shim knows how.
    pub(super) async fn take(
        &self,
        wishes: &mut Wishes,
        input: &Input,
    ) -> Result<Option<Outcome>, Failure> {
        let stored = self.open.conversation.as_deref();
        if stored.is_none() && self.open.resumed {
            self.shim.context_fresh("the agent never named its conversation");
        }
        let chosen = uuid::Uuid::new_v4().to_string();
        let fresh = Which::Fresh { id: &chosen };
        let first = stored.map_or(fresh, |id| Which::Resume { id });
        let attempt = match self.attempt(wishes, input, first).await? {
            Attempt::Lost(reason) => {
                self.shim.context_fresh(&reason);
                self.attempt(wishes, input, fresh).await?
            }
            other => other,
        };
        Ok(match attempt {
            Attempt::Over(outcome) => Some(outcome),
            Attempt::Lost(reason) => Some(Outcome::Failed { error: failure::of_agent(&reason) }),
            Attempt::Ended => None,
        })
    }

    async fn attempt(
        &self,
        wishes: &mut Wishes,
        input: &Input,
        which: Which<'_>,
    ) -> Result<Attempt, Failure> {
        let mode = self.shim.policies().mode();
        let command = command(self.preset, self.spec, mode, which);
        let env = self.env();
        let start = Start { command: &command, env: &env, workspace: &self.open.workspace };
        let (agent, stdin, stdout, stderr) = Agent::start_heard(&start)?;
        let mut talk = Talk {
            turn: self,
            which,
            agent,
            stream: (self.preset.stream)(),
            input: Some(writer(stdin)),
            asking: JoinSet::new(),
            asked: Vec::new(),
            conversation: self.open.conversation.clone(),
            said_anything: false,
            cancelled: false,
            done: false,
            failed: None,
            stuck: None,
            complaints: Vec::new(),
        };
        talk.begin(&input.text());
        talk.listen(wishes, stdout, stderr).await
    }

    /// The preset's variables, where the agent file has not set them.
    fn env(&self) -> Vec<(String, String)> {
        let careful = match self.shim.policies().mode() {
            greenroom_core::approval::Mode::Autonomous => &[][..],
            _ => self.preset.careful_env,
        };
        let all = self.preset.env.iter().chain(careful);
        all.filter(|(name, _)| std::env::var_os(name).is_none())
            .map(|(name, value)| ((*name).to_owned(), (*value).to_owned()))
            .collect()
    }
}

async fn sleep_until(at: Option<Instant>) {
    if let Some(at) = at {
        tokio::time::sleep_until(at.into()).await;
    }
}

/// Writes lines in their order, however slowly they are read. Dropped, it closes the input.
fn writer(mut stdin: ChildStdin) -> mpsc::UnboundedSender<Vec<u8>> {
    let (say, mut said) = mpsc::unbounded_channel::<Vec<u8>>();
    tokio::spawn(async move {
        while let Some(bytes) = said.recv().await {
            // Who no longer reads has ended, or will say so on its other streams.
            if stdin.write_all(&bytes).await.is_err() {
                return;
            }
        }
    });
    say
}

/// An agent that is being spoken with.
struct Talk<'a> {
    turn: &'a Turn<'a>,
    which: Which<'a>,
    agent: Agent,
    stream: Box<dyn Stream>,
    /// Closed when dropped.
    input: Option<mpsc::UnboundedSender<Vec<u8>>>,
    asking: JoinSet<(Question, Answer)>,
    asked: Vec<(String, AbortHandle)>,
    conversation: Option<String>,
    said_anything: bool,
    cancelled: bool,
    done: bool,
    failed: Option<RunError>,
    stuck: Option<Stuck>,
    /// The last lines of its standard error.
    complaints: Vec<String>,
}

/// An agent that asks what nobody can answer.
struct Stuck {
    since: Instant,
    /// What is wrong; none once it was told to end.
    error: Option<RunError>,
}

type Ended = Result<(), String>;

impl Talk<'_> {
    fn begin(&mut self, prompt: &str) {
        match self.turn.preset.feed {
            Feed::Prompt => {
                if let Some(input) = self.input.take() {
                    let _ = input.send(prompt.as_bytes().to_vec());
                }
            }
            Feed::Messages => {
                for line in self.stream.begin(prompt) {
                    self.tell(&line);
                }
            }
        }
    }

    fn tell(&self, line: &Value) {
        if let Some(input) = &self.input {
            let _ = input.send(format!("{line}\n").into_bytes());
        }
    }

    async fn listen(
        &mut self,
        wishes: &mut Wishes,
        stdout: ChildStdout,
        stderr: ChildStderr,
    ) -> Result<Attempt, Failure> {
        let (mut out, mut err) = (Lines::of(stdout), Lines::of(stderr));
        let (mut out_open, mut err_open) = (true, true);
        let mut told_to_end = false;
        let mut ended: Option<Ended> = None;
        let mut ended_at: Option<Instant> = None;
        while out_open || err_open || ended.is_none() {
            let gone = ended.is_some();
            let stuck = self.stuck.as_ref().map(|stuck| stuck.since + STUCK);
            if ended_at.is_some_and(|at| at.elapsed() > LONGEST_TAIL) {
                break;
            }
            tokio::select! {
                // However much the agent says, a wish is heard; and its end comes last.
                biased;
                wish = wishes.next(), if !told_to_end => match wish {
                    Wish::Cancel => self.cancel(),
                    Wish::End => {
                        told_to_end = true;
                        self.asking.abort_all();
                        self.input = None;
                        self.agent.terminate();
                    }
                    // One run is all there is.
                    Wish::Run { .. } => {}
                },
                line = out.next(), if out_open => match line {
                    Some(line) => self.heard(&line),
                    None => out_open = false,
                },
                line = err.next(), if err_open => match line {
                    Some(line) => self.complained(&line),
                    None => err_open = false,
                },
                Some(Ok((question, answer))) = self.asking.join_next(), if !self.asking.is_empty() => {
                    self.answered(&question, &answer);
                }
                how = self.agent.ended(), if !gone => {
                    ended = Some(how);
                    ended_at = Some(Instant::now());
                }
                () = tokio::time::sleep(SILENCE), if gone => break,
                () = sleep_until(stuck), if stuck.is_some() && !gone => self.give_up(),
            }
        }
        self.asking.abort_all();
        let rest = self.stream.over();
        rest.into_iter().for_each(|said| self.act_on(said));
        Ok(match (told_to_end, ended) {
            (true, _) => Attempt::Ended,
            (false, how) => self.conclude(how.unwrap_or(Ok(()))),
        })
    }

    fn heard(&mut self, line: &[u8]) {
        let line = String::from_utf8_lossy(line);
        let chosen = match self.which {
            Which::Fresh { id } if self.turn.preset.fresh.iter().any(|w| w.contains("{id}")) => {
                Some(id)
            }
            _ => None,
        };
        if let Some(id) = chosen {
            self.converses(id);
        }
        // What goes on does not wait.
        self.stuck = self.stuck.take().filter(|stuck| stuck.error.is_none());
        for said in self.stream.line(&line) {
            self.act_on(said);
        }
    }

    /// It waits for what nobody can give it.
    fn give_up(&mut self) {
        let Some(stuck) = &mut self.stuck else { return };
        stuck.since = Instant::now();
        match stuck.error.take() {
            Some(error) => {
                self.failed.get_or_insert(error);
                self.agent.terminate();
            }
            None => self.agent.signal(Signal::KILL),
        }
    }

    fn act_on(&mut self, said: Said) {
        let shim = self.turn.shim;
        match said {
            Said::Text(text) => {
                self.said_anything = true;
                shim.text(&text);
            }
            Said::Event(kind, data) => {
                self.said_anything |= kind != OutputKind::Log;
                shim.event(kind, data);
            }
            Said::Conversation(id) => self.converses(&id),
            Said::Ask(question) => self.ask(question),
            Said::AskOver(request) => {
                for (_, asking) in self.asked.iter().filter(|(id, _)| *id == request) {
                    asking.abort();
                }
            }
            Said::Reply(line) => self.tell(&line),
            Said::Failed(error) => {
                self.failed.get_or_insert(error);
            }
            Said::Stuck(error) => {
                self.stuck = Some(Stuck { since: Instant::now(), error: Some(error) });
            }
            Said::Done => {
                self.done = true;
                // One run is all there is: the end of its input tells it to go.
                self.input = None;
            }
        }
    }

    fn converses(&mut self, id: &str) {
        if !id.is_empty() && self.conversation.as_deref() != Some(id) {
            self.turn.shim.conversation(id);
            self.conversation = Some(id.to_owned());
        }
    }

    fn ask(&mut self, question: Question) {
        let shim = self.turn.shim.clone();
        let request = question.request.clone();
        let asking = self.asking.spawn(async move {
            let Question { tool, input, title, reads, .. } = &question;
            let ask = permission_ask(title.clone(), tool, input.clone());
            let answer = shim.permission(Use { tool, input, reads: *reads }, ask).await;
            (question, answer)
        });
        self.asked.push((request, asking));
    }

    fn answered(&mut self, question: &Question, answer: &Answer) {
        self.asked.retain(|(request, _)| *request != question.request);
        let answered = match answer.decision {
            Decision::Allow => Answered::Allow,
            Decision::Deny => Answered::Deny {
                reason: answer.reason.clone().unwrap_or_else(|| "a person said no".to_owned()),
            },
        };
        if let Some(line) = self.stream.answer(question, answered) {
            self.tell(&line);
        }
    }

    fn cancel(&mut self) {
        // A turn that is over has had its end.
        if self.done || std::mem::replace(&mut self.cancelled, true) {
            return;
        }
        self.asking.abort_all();
        match self.turn.preset.cancel {
            Cancel::Signal(signal) => self.agent.signal(signal),
            Cancel::Message => {
                if let Some(line) = self.stream.interrupt() {
                    self.tell(&line);
                }
            }
        }
    }

    /// What it says beside its stream goes on to whoever reads ours.
    fn complained(&mut self, line: &[u8]) {
        let mut stderr = std::io::stderr().lock();
        let _ = stderr.write_all(line).and_then(|()| stderr.flush());
        let text = failure::uncoloured(&String::from_utf8_lossy(line)).trim().to_owned();
        if !text.is_empty() {
            self.complaints.push(text);
        }
        if self.complaints.len() > 50 {
            self.complaints.remove(0);
        }
    }

    fn conclude(&mut self, how: Ended) -> Attempt {
        if self.cancelled {
            return Attempt::Over(Outcome::Stopped { error: None });
        }
        if let (Which::Resume { id }, false) = (self.which, self.said_anything)
            && let Some(words) = self.unknown()
        {
            return Attempt::Lost(format!("conversation {id} cannot be taken up: {words}"));
        }
        if let Some(error) = self.failed.take() {
            return Attempt::Over(Outcome::Failed { error });
        }
        let last_words = self.complaints.last().map_or("", String::as_str);
        Attempt::Over(match how {
            Ok(()) if self.done => Outcome::Completed { result: None },
            Ok(()) => {
                let text = "the agent ended without an answer";
                let unsaid = self.stream.unsaid();
                let error = unsaid.unwrap_or_else(|| failure::of_exit(text, last_words));
                Outcome::Failed { error }
            }
            Err(how) => Outcome::Failed { error: failure::of_exit(&how, last_words) },
        })
    }

    /// What it says about a conversation that it does not know.
    fn unknown(&self) -> Option<String> {
        let failed = self.failed.as_ref().map(|error| &error.message);
        let mut said = self.complaints.iter().chain(failed);
        let words = self.turn.preset.unknown;
        said.find(|line| words.iter().any(|word| line.contains(word))).cloned()
    }
}

/// Lines with their ends, as bytes: not all that agents write is text.
struct Lines<R> {
    from: BufReader<R>,
    /// What was read of the line in progress, should its reading be interrupted.
    line: Vec<u8>,
}

impl<R: tokio::io::AsyncRead + Unpin> Lines<R> {
    fn of(from: R) -> Self {
        Self { from: BufReader::new(from), line: Vec::new() }
    }

    async fn next(&mut self) -> Option<Vec<u8>> {
        // What it has read of a line when it is dropped, it has put there.
        let _ = self.from.read_until(b'\n', &mut self.line).await;
        let line = std::mem::take(&mut self.line);
        (!line.is_empty()).then_some(line)
    }
}
