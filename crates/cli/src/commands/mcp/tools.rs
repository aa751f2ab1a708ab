//! What can be done with sessions: names, words for models, and the forms of what goes in
//! and comes out.

use greenroom_protocol::token::Role;
use serde_json::{Value, json};

/// What a model is told of all of them.
pub(super) const INSTRUCTIONS: &str = "Greenroom keeps agent sessions. Start a session for a piece of work that another agent should do, \
    wait for it, read what it said, and stop it when it is not needed any more. A session keeps its \
    files and its memory: it goes on with the next prompt, also after a stop. A stop is proven: no \
    process of the session is left. A session that waits for a person goes on when its question is \
    answered, by whoever answers first.";

/// One wait is this long at most, in seconds.
pub(super) const LONGEST_WAIT: u64 = 300;

/// What a tool needs of its caller.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Need {
    /// To see.
    Read,
    /// To start, prompt and stop.
    Use,
    /// What only a person decides.
    Decide,
}

impl Need {
    /// Whether a token of this role has it. The coordinator decides; this only keeps from
    /// offering what it would refuse.
    fn is_met_by(self, role: Role) -> bool {
        match self {
            Self::Read => role != Role::Runner,
            Self::Use => matches!(role, Role::Admin | Role::Operator | Role::Agent),
            Self::Decide => matches!(role, Role::Admin | Role::Operator),
        }
    }
}

/// What using a tool means for what is there.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Effect {
    /// None.
    Reads,
    /// Something more is there.
    Adds,
    /// Something ends, or goes on that waited; once is as good as twice.
    Ends,
    /// Something is decided for good.
    Decides,
}

/// A tool.
pub(super) struct About {
    pub(super) name: &'static str,
    pub(super) title: &'static str,
    pub(super) about: &'static str,
    pub(super) need: Need,
    pub(super) effect: Effect,
    /// Schema of its arguments.
    pub(super) input: fn() -> Value,
    /// Schema of its answer.
    pub(super) output: fn() -> Value,
}

/// The tools that a token of this role can use.
pub(super) fn offered(role: Role) -> impl Iterator<Item = &'static About> {
    LIST.iter().filter(move |tool| tool.need.is_met_by(role))
}

/// An object of these properties, and no others where it goes in.
fn input(required: &[&str], properties: Value) -> Value {
    json!({ "type": "object", "required": required, "properties": properties,
        "additionalProperties": false })
}

fn output(required: &[&str], properties: Value) -> Value {
    json!({ "type": "object", "required": required, "properties": properties })
}

fn named(about: &str) -> Value {
    json!({ "type": "string", "description": about })
}

fn session_name() -> Value {
    named("The session's id")
}

/// How a session stands.
fn standing() -> Value {
    output(
        &["session", "agent", "status", "waiting_prompts", "waits_for_a_person", "held"],
        json!({
            "session": session_name(),
            "agent": named("Its agent"),
            "status": named("new, queued, starting, running, waiting, idle, stopping, stopped, finished, failed, interrupted, unreachable, stop_unconfirmed or deleting"),
            "reason": named("Why it stands so"),
            "title": named("A line for people"),
            "parent": named("The session that created it"),
            "run": named("Its run in progress, or the one that was just begun"),
            "waiting_prompts": { "type": "integer", "description": "Prompts that wait for their turn" },
            "waits_for_a_person": { "type": "boolean", "description": "Its agent has asked something" },
            "held": { "type": "boolean", "description": "Its prompts wait until a person resumes it" },
            "last_entry": { "type": "integer", "description": "The last entry of its log" },
        }),
    )
}

/// A question of an agent. `input`, what the tool would be given, and `schema`, the JSON
/// Schema of a form, can be anything, which is what a schema without them says.
fn question() -> Value {
    output(
        &["approval", "session", "kind", "title"],
        json!({
            "approval": named("Its id"), "session": session_name(),
            "kind": named("permission: may it use this tool; form: something to fill in; url: something to do on a page"),
            "title": named("What is asked"), "tool": named("The tool that would be used"),
            "options": { "type": "array", "items": { "type": "object" },
                "description": "What can be chosen, where the agent offers a choice" },
            "url": named("The page where it is answered"),
        }),
    )
}

fn with(mut schema: Value, required: &[&str], more: Value) -> Value {
    if let Some(list) = schema["required"].as_array_mut() {
        list.extend(required.iter().map(|name| Value::from(*name)));
    }
    if let (Some(into), Value::Object(from)) = (schema["properties"].as_object_mut(), more) {
        into.extend(from);
    }
    schema
}

fn list_of(name: &str, item: Value) -> Value {
    output(
        &[name],
        json!({ name: { "type": "array", "items": item },
            "next": named("`cursor` of the next page, where there is one") }),
    )
}

const LIST: [About; 11] = [
    About {
        name: "list_agents",
        title: "List agents",
        about: "List the agents that sessions can be started with, and what each is for.",
        need: Need::Read,
        effect: Effect::Reads,
        input: || input(&[], json!({})),
        output: || {
            let agent = output(
                &["name", "health"],
                json!({ "name": named("What start_session takes"),
                    "description": named("What it is for"), "health": named("ok, stale or missing"),
                    "needs": named("What it lacks to work") }),
            );
            list_of("agents", agent)
        },
    },
    About {
        name: "start_session",
        title: "Start a session",
        about: "Start a session with an agent and give it a prompt. Answers at once with its id and its run; wait_for_session waits for the end. Inside a session, what is started is its child.",
        need: Need::Use,
        effect: Effect::Adds,
        input: || {
            input(
                &["agent", "prompt"],
                json!({
                    "agent": named("Name of the agent, as list_agents says it"),
                    "prompt": named("What is to be done; the agent knows nothing else"),
                    "title": named("A line for people"),
                    "id": named("A name for it; made up if absent"),
                    "labels": { "type": "object", "additionalProperties": { "type": "string" },
                        "description": "Labels to find it by" },
                }),
            )
        },
        output: standing,
    },
    About {
        name: "send_prompt",
        title: "Send a prompt",
        about: "Send another prompt to a session; it goes on with its files and its memory, also after a stop or an end. `held` in the answer says that the prompt waits until a person resumes the session.",
        need: Need::Use,
        effect: Effect::Adds,
        input: || {
            input(
                &["session", "prompt"],
                json!({
                    "session": session_name(), "prompt": named("What is to be done"),
                    "mode": { "type": "string", "enum": ["enqueue", "interrupt", "reject", "steer"], "default": "enqueue",
                        "description": "If it is busy: wait for one's turn, end what is in progress, refuse, or become part of it" },
                }),
            )
        },
        output: || {
            output(
                &["run", "ahead", "held"],
                json!({ "run": named("What wait_for_session can wait for"),
                    "ahead": { "type": "integer", "description": "Prompts that come first" },
                    "held": { "type": "boolean" } }),
            )
        },
    },
    About {
        name: "wait_for_session",
        title: "Watch a session",
        about: "Wait until a run has ended, or without `run` until the session has nothing more to do; or until it waits for a person, or nothing can be known of it. `done` false in the answer says that the time was up: wait again. Says what happens meanwhile as progress, to clients that ask for it.",
        need: Need::Read,
        effect: Effect::Reads,
        input: || {
            input(
                &["session"],
                json!({
                    "session": session_name(),
                    "run": named("This run's end is enough; from start_session or send_prompt"),
                    "seconds": { "type": "integer", "minimum": 0, "maximum": LONGEST_WAIT, "default": 60 },
                }),
            )
        },
        output: || {
            let ended = output(
                &["run", "status"],
                json!({ "run": named("Its id"),
                    "status": named("completed, failed, stopped, withdrawn; or queued, dispatched, running, waiting"),
                    "error": { "type": "object", "description": "Why it did not complete" } }),
            );
            let more = json!({
                "done": { "type": "boolean" },
                "ended": ended,
                "questions": { "type": "array", "items": question(), "description": "What waits for a person" },
            });
            with(standing(), &["done", "questions"], more)
        },
    },
    About {
        name: "read_session",
        title: "Read a session's log",
        about: "Read what a session has said and done, from an entry of its log on: text as it is, everything else as [type] and a line. At most about 32 KiB at once; `next` says where to read on.",
        need: Need::Read,
        effect: Effect::Reads,
        input: || {
            input(
                &["session"],
                json!({
                    "session": session_name(),
                    "from": { "type": "integer", "minimum": 1, "default": 1,
                        "description": "`next` of the read before" },
                }),
            )
        },
        output: || {
            output(
                &["text", "next", "more"],
                json!({ "text": { "type": "string" },
                    "next": { "type": "integer", "description": "The entry to read from next" },
                    "more": { "type": "boolean", "description": "There is more already" } }),
            )
        },
    },
    About {
        name: "show_session",
        title: "Show a session and its receipt",
        about: "Everything that is known of a session, with the receipt of its last compute: who asked for the end, each step, how many processes were seen and survived, and by what that is proven.",
        need: Need::Read,
        effect: Effect::Reads,
        input: || input(&["session"], json!({ "session": session_name() })),
        output: || {
            let more = json!({
                "labels": { "type": "object" }, "usage": { "type": "object" },
                "created_at": { "type": "string" }, "last_active_at": { "type": "string" },
                "receipt": { "type": "object", "description": "The evidence that closed its last compute" },
            });
            with(standing(), &[], more)
        },
    },
    About {
        name: "list_sessions",
        title: "List sessions",
        about: "List the sessions there are, newest first: inside a session its children, elsewhere all one may see.",
        need: Need::Read,
        effect: Effect::Reads,
        input: || {
            input(
                &[],
                json!({
                    "status": { "type": "array", "items": { "type": "string" }, "description": "Of any of these statuses" },
                    "agent": named("Of this agent"),
                    "text": named("With this text in id, title or agent"),
                    "limit": { "type": "integer", "minimum": 1, "maximum": 1000, "default": 100 },
                    "cursor": named("`next` of the page before"),
                }),
            )
        },
        output: || list_of("sessions", standing()),
    },
    About {
        name: "stop_session",
        title: "Stop a session for certain",
        about: "Stop a session and its children for certain: `survivors` 0 is proven. Its files, its log and its memory stay; its waiting prompts are held. Legal in every status, and twice is as good as once.",
        need: Need::Use,
        effect: Effect::Ends,
        input: || {
            input(
                &["session"],
                json!({ "session": session_name(), "reason": named("Words for the log") }),
            )
        },
        output: || {
            let number = json!({ "type": "integer" });
            output(
                &["status", "already_stopped"],
                json!({ "status": named("stopped; stopping where the proof takes longer; or as it stood"),
                    "already_stopped": { "type": "boolean" }, "processes": number, "survivors": number,
                    "receipt": { "type": "object", "description": "The evidence" } }),
            )
        },
    },
    About {
        name: "resume_session",
        title: "Resume a session",
        about: "Lift the hold that a stop has set: the waiting prompts go on in order. A session without waiting prompts goes on with send_prompt alone.",
        need: Need::Decide,
        effect: Effect::Ends,
        input: || input(&["session"], json!({ "session": session_name() })),
        output: standing,
    },
    About {
        name: "list_approvals",
        title: "List open questions",
        about: "List what agents ask and what waits for an answer: of one session, or of all one may see.",
        need: Need::Decide,
        effect: Effect::Reads,
        input: || {
            input(
                &[],
                json!({ "session": session_name(), "cursor": named("`next` of the page before") }),
            )
        },
        output: || list_of("questions", question()),
    },
    About {
        name: "answer_approval",
        title: "Answer a question",
        about: "Answer what an agent asks, in the name of the person whose token this is: ask them first. The first answer counts, from wherever it comes.",
        need: Need::Decide,
        effect: Effect::Decides,
        input: || {
            input(
                &["session", "approval", "decision"],
                json!({
                    "session": session_name(), "approval": named("Its id, from list_approvals"),
                    "decision": { "type": "string", "enum": ["allow", "deny"] },
                    "reason": named("Why; the agent is told"),
                    "option": named("One of its options; without it, the narrowest that fits"),
                    "content": { "type": "object", "description": "What is filled in, for a form" },
                }),
            )
        },
        output: || {
            output(
                &["approval", "status", "decision"],
                json!({ "approval": named("Its id"), "status": named("answered, or delivered"),
                    "decision": named("What counts") }),
            )
        },
    },
];

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_role_is_offered_what_it_may() {
        let count = |role| offered(role).count();
        assert_eq!(count(Role::Admin), LIST.len());
        assert_eq!(count(Role::Operator), LIST.len());
        assert_eq!((count(Role::Agent), count(Role::Viewer), count(Role::Runner)), (8, 5, 0));
        assert!(offered(Role::Agent).all(|tool| tool.need != Need::Decide));
    }

    /// Every property that is required is there, on both sides.
    #[test]
    fn forms_are_whole() {
        for tool in &LIST {
            for schema in [(tool.input)(), (tool.output)()] {
                for name in schema["required"].as_array().expect("a list") {
                    let name = name.as_str().expect("a name");
                    assert!(schema["properties"].get(name).is_some(), "{}: {name}", tool.name);
                }
            }
        }
    }
}
