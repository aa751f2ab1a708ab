//! What a real agent must be able to do under Greenroom, told once for all of them.

use std::path::Path;

use crate::coding::Coding;
use crate::endpoint::{self, Endpoint};
use crate::session::uid_of;
use crate::{Greenroom, Value, json, procs};

/// Answers for an agent that works in `folder`: WRITE writes a file there, HOLD holds
/// `mark` open for five minutes, RECALL only answers.
fn script(agent: Coding, folder: &Path, mark: &Path) -> Vec<Value> {
    let (write, written) = agent.write(&folder.join("out.txt"), "hello from a tool");
    let begun = folder.join("begun");
    let hold =
        format!("exec 9<'{}'; echo > '{}'; sleep 300; echo over", mark.display(), begun.display());
    let (shell, held) = agent.shell(&hold);
    // An interrupted prompt may be sent again together with the next one.
    let mut fixtures = vec![endpoint::says("RECALL", "I remember all of it.")];
    fixtures.extend(endpoint::uses("HOLD", shell, held, "It is over."));
    fixtures.extend(endpoint::uses("WRITE", write, written, "It is written."));
    fixtures.push(endpoint::otherwise("A title."));
    fixtures
}

fn types(log: &[Value]) -> Vec<&str> {
    log.iter().filter_map(|event| event["type"].as_str()).collect()
}

/// Prompt, tool, stop in the middle of a shell, resume.
#[track_caller]
pub fn works_stops_and_goes_on(agent: Coding) {
    let mut room = Greenroom::up().start();
    let (mark, _) = room.mark();
    let folder = room.root.join("shared");
    std::fs::create_dir(&folder).expect("a folder for the agent's files");
    let endpoint = Endpoint::start(&script(agent, &folder, &mark));
    room.write_agent(agent.word(), agent.described(&endpoint, &room.root));
    room.served(agent.word());

    let session = room.api.create(agent.word(), json!({ "prompt": "WRITE the file" }));
    let (id, uid) = (session["id"].as_str().expect("an id").to_owned(), uid_of(&session));
    let run = room.api.wait_run(&id, &session["run_id"]);
    assert_eq!(run["status"], "completed", "{run:#}\n{:#?}", room.api.log(&id));
    let written = std::fs::read_to_string(folder.join("out.txt")).expect("the tool's file");
    assert_eq!(written, "hello from a tool");
    assert!(room.api.said(&id).ends_with("It is written."), "{}", room.api.said(&id));
    assert_eq!(room.api.wait_rest(&id)["status"], "finished");

    let run = room.api.prompt(&id, "HOLD it");
    endpoint::wait_file(&folder.join("begun"));
    let held = procs::holding(&mark);
    assert!(!held.is_empty(), "the agent's shell runs");
    let receipt = room.api.stop(&id)["receipt"].clone();
    assert_eq!(receipt["survivors"], 0, "{receipt:#}");
    assert!(procs::holding(&mark).is_empty(), "{held:?} is gone");
    let run = room.api.wait_run(&id, &run["id"]);
    assert_eq!(run["status"], "stopped", "{run:#}");

    // The next one goes on, for another server too.
    room.kill9_and_restart();
    let run = room.api.prompt(&id, "RECALL what you did");
    let run = room.api.wait_run(&id, &run["id"]);
    assert_eq!(run["status"], "completed", "{run:#}");
    let sent = endpoint.last_asked("RECALL");
    for word in ["WRITE the file", "It is written.", "HOLD it"] {
        assert!(sent.contains(word), "{word:?} is not in what the model was sent: {sent}");
    }
    assert!(room.api.said(&id).ends_with("I remember all of it."), "{}", room.api.said(&id));
    assert_eq!(room.api.wait_rest(&id)["status"], "finished");
    let log = room.api.check(&id);
    assert!(!types(&log).contains(&"session.context_fresh"), "{log:#?}");
    let calls = types(&log).into_iter().filter(|kind| *kind == "tool_call").count();
    assert!(calls >= 1, "{log:#?}");
    // Copilot tells no tokens.
    assert!(agent == Coding::Copilot || types(&log).contains(&"usage"), "{log:#?}");
    assert!(procs::about(&room.workspace(&uid)).is_empty());
}
