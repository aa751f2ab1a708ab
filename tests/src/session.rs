//! What a test does with sessions, in the words of the contract.

use std::time::{Duration, Instant};

use serde_json::{Value, json};

use crate::PATIENCE;
use crate::http::{Api, Reply, encode};
use crate::sse::Sse;

impl Api {
    /// Creates a session, with these fields beside its agent.
    #[track_caller]
    pub fn create(&self, agent: &str, more: Value) -> Value {
        let mut body = json!({"agent": agent});
        if let (Value::Object(into), Value::Object(from)) = (&mut body, more) {
            into.extend(from);
        }
        self.post("/v1/sessions", body).expect(201)
    }

    /// Creates a session with a first prompt, and gives its id.
    #[track_caller]
    pub fn begin(&self, agent: &str, prompt: &str) -> String {
        id_of(&self.create(agent, json!({"prompt": prompt})))
    }

    /// A session as it stands.
    #[track_caller]
    pub fn session(&self, id: &str) -> Value {
        self.get(&format!("/v1/sessions/{}", encode(id))).expect(200)
    }

    /// A session's status.
    #[track_caller]
    pub fn status(&self, id: &str) -> String {
        self.session(id)["status"].as_str().unwrap_or_default().to_owned()
    }

    /// Prompts, and gives the accepted run.
    #[track_caller]
    pub fn prompt(&self, id: &str, text: &str) -> Value {
        self.prompt_with(id, text, json!({})).expect(202)
    }

    /// Prompts with further fields.
    pub fn prompt_with(&self, id: &str, text: &str, more: Value) -> Reply {
        let mut body = json!({"prompt": text});
        if let (Value::Object(into), Value::Object(from)) = (&mut body, more) {
            into.extend(from);
        }
        self.post(&format!("/v1/sessions/{}/runs", encode(id)), body)
    }

    /// Stops and waits for the receipt.
    #[track_caller]
    pub fn stop(&self, id: &str) -> Value {
        self.stop_with(id, "30s", json!({})).expect(200)
    }

    /// Stops with this wait and body.
    pub fn stop_with(&self, id: &str, wait: &str, body: Value) -> Reply {
        let query = if wait.is_empty() { String::new() } else { format!("?wait={wait}") };
        let path = format!("/v1/sessions/{}/stop{query}", encode(id));
        self.request("POST", &path).json(&body).within(Duration::from_secs(90)).send()
    }

    /// A run as it stands.
    #[track_caller]
    pub fn run(&self, run: &Value) -> Value {
        let run = run.as_str().unwrap_or_else(|| panic!("a run's id, not {run}"));
        self.get(&format!("/v1/runs/{run}")).expect(200)
    }

    /// The runs of a session, whole.
    #[track_caller]
    pub fn runs(&self, id: &str) -> Vec<Value> {
        let page = self.get(&format!("/v1/sessions/{}/runs?limit=1000", encode(id))).expect(200);
        page["items"].as_array().cloned().unwrap_or_default()
    }

    /// Waits until the session stands so, and gives it. It follows the session's own log.
    #[track_caller]
    pub fn wait_status(&self, id: &str, status: &str) -> Value {
        self.wait_session(id, &format!("status {status}"), |session| session["status"] == status)
    }

    /// Waits until the session is at rest, and gives it.
    #[track_caller]
    pub fn wait_rest(&self, id: &str) -> Value {
        self.wait_session(id, "rest", |session| {
            let status = session["status"].as_str().unwrap_or("");
            matches!(status, "stopped" | "finished" | "failed" | "interrupted")
        })
    }

    /// Waits until the session fits, and gives it. It looks again after each entry of its log.
    #[track_caller]
    pub fn wait_session(&self, id: &str, what: &str, fits: impl Fn(&Value) -> bool) -> Value {
        let begun = Instant::now();
        let mut session = self.session(id);
        while !fits(&session) {
            assert!(begun.elapsed() < PATIENCE, "{what} did not come: {session:#}");
            // Subscribe to what follows what was just seen, so that nothing is missed.
            let next = session["last_seq"].as_u64().unwrap_or(0) + 1;
            let path = format!("/v1/sessions/{}/events?from={next}", encode(id));
            if let Ok(mut events) = Sse::try_open(self, &path, None) {
                let left = PATIENCE.saturating_sub(begun.elapsed()).max(Duration::from_millis(50));
                events.within(left);
                while let Ok(Some(frame)) = events.try_next() {
                    // Output alone changes nothing that is asked for.
                    if frame.id.is_some() && !matches!(frame.event.as_str(), "message" | "log") {
                        break;
                    }
                }
            }
            session = self.session(id);
        }
        session
    }

    /// Waits until the run has ended, and gives it.
    #[track_caller]
    pub fn wait_run(&self, id: &str, run: &Value) -> Value {
        self.wait_session(id, &format!("the end of run {run}"), |_| {
            let status = self.run(run)["status"].as_str().unwrap_or("").to_owned();
            matches!(status.as_str(), "completed" | "failed" | "stopped" | "withdrawn")
        });
        self.run(run)
    }

    /// Waits until the agent has said a text that contains `words`.
    #[track_caller]
    pub fn wait_text(&self, id: &str, words: &str) {
        let path = format!("/v1/sessions/{}/events", encode(id));
        Sse::open(self, &path).until(words, |frame| {
            frame.event == "message"
                && frame.id.is_some()
                && frame.data["data"]["text"].as_str().is_some_and(|text| text.contains(words))
        });
    }

    /// Waits for an event of this type from `seq` on, and gives the frame's data.
    #[track_caller]
    pub fn wait_event(&self, id: &str, seq: u64, kind: &str) -> Value {
        let path = format!("/v1/sessions/{}/events?from={seq}", encode(id));
        Sse::open(self, &path).until(kind, |frame| frame.event == kind).data
    }

    /// Waits until the runner of this name fits. It follows the feed over everything.
    #[track_caller]
    pub fn wait_runner(&self, name: &str, fits: impl Fn(&Value) -> bool) -> Value {
        let begun = Instant::now();
        let mut feed = Sse::open(self, "/v1/events");
        loop {
            let list = self.get("/v1/runners").expect(200);
            let items = list["items"].as_array().cloned().unwrap_or_default();
            if let Some(runner) = items.into_iter().find(|r| r["name"] == name && fits(r)) {
                return runner;
            }
            assert!(begun.elapsed() < PATIENCE, "runner {name} did not get there: {list:#}");
            feed.within(PATIENCE.saturating_sub(begun.elapsed()));
            let _ = feed.try_next();
        }
    }
}

/// A session's id.
#[track_caller]
pub fn id_of(session: &Value) -> String {
    session["id"].as_str().unwrap_or_else(|| panic!("no id: {session}")).to_owned()
}

/// A session's inner identity.
#[track_caller]
pub fn uid_of(session: &Value) -> String {
    session["uid"].as_str().unwrap_or_else(|| panic!("no uid: {session}")).to_owned()
}
