//! A session that came in by any door is stopped through every other, and its receipt is the
//! same everywhere.

use std::fs;
use std::path::Path;

use greenroom_tests::session::{id_of, uid_of};
use greenroom_tests::{Greenroom, Value, json, procs};

/// The agent of `examples/hosted`, which every door can have.
fn room() -> Greenroom {
    let room = Greenroom::up().start();
    let program = Path::new(env!("CARGO_MANIFEST_DIR")).join("../examples/hosted/agent.py");
    let program = fs::canonicalize(program).expect("the example");
    let description = json!({ "driver": "hosted", "command": ["python3", program] });
    let body = json!({ "description": description });
    room.api.post("/v1/agents/helper/versions", body).expect(201);
    room
}

/// A way to make sessions, and to stop them.
#[derive(Debug, Clone, Copy, PartialEq)]
enum Way {
    V1,
    Cli,
    Foundry,
    Orchestrator,
    DockerAgent,
}

const WAYS: [Way; 5] = [Way::V1, Way::Cli, Way::Foundry, Way::Orchestrator, Way::DockerAgent];
const FOUNDRY: &str = "/foundry/api/projects/p/agents/helper/endpoint/sessions";
const ORCHESTRATOR: &str = "/orchestrator";
const DOCKER: &str = "/docker-agent/api/sessions";

impl Way {
    /// A session with a live compute.
    fn make(self, room: &Greenroom) -> String {
        let id = match self {
            Self::V1 => id_of(&room.api.create("helper", json!({ "prompt": "hello" }))),
            Self::Cli => {
                let made = room.cli(&["sessions", "create", "helper", "hello"]).exits(0);
                made.out.trim().to_owned()
            }
            Self::Foundry => {
                let version = json!({ "type": "version_ref", "agent_version": "1" });
                let made = room.api.post(FOUNDRY, json!({ "version_indicator": version }));
                let made = made.expect(201);
                made["agent_session_id"].as_str().expect("an id").to_owned()
            }
            Self::Orchestrator => {
                let asked = json!({
                    "type": "start_session",
                    "agent_name": "helper",
                    "parameters": { "prompt": "hello" },
                });
                let made = room.api.post(&format!("{ORCHESTRATOR}/runs"), asked).expect(201);
                made["session_id"].as_str().expect("an id").to_owned()
            }
            Self::DockerAgent => {
                let made = room.api.post(DOCKER, json!({})).granted();
                let id = made["id"].as_str().expect("an id").to_owned();
                let asked = json!({ "messages": [{ "role": "user", "content": "hello" }] });
                let turn = room.api.post(&format!("{DOCKER}/{id}/agent/helper"), asked);
                assert!(turn.text().contains("you said hello"), "{}", turn.text());
                id
            }
        };
        room.api.wait_status(&id, "idle");
        id
    }

    /// Stops it, for certain.
    fn stop(self, room: &Greenroom, id: &str) {
        match self {
            Self::V1 => drop(room.api.stop(id)),
            Self::Cli => drop(room.cli(&["sessions", "stop", id]).exits(0)),
            Self::Foundry => {
                let stop = format!("{FOUNDRY}/{id}:stop");
                assert_eq!(room.api.request("POST", &stop).send().status, 204);
            }
            Self::Orchestrator => {
                // Its answer does not wait, its status does not run ahead.
                let path = format!("{ORCHESTRATOR}/sessions/{id}");
                let said = room.api.request("POST", &format!("{path}/stop")).send().expect(200);
                assert_eq!(said["session_id"], id, "{said:#}");
                room.api.wait_status(id, "stopped");
                let session = room.api.get(&path).expect(200);
                assert_eq!(session["session"]["status"], "stopped", "{session:#}");
            }
            Self::DockerAgent => {
                let stopped = room.api.request("POST", &format!("{DOCKER}/{id}/stop")).send();
                assert_eq!(stopped.expect(200)["receipt"]["survivors"], 0);
            }
        }
    }

    /// Its receipt. The orchestrator's clients know none.
    fn receipt(self, room: &Greenroom, id: &str) -> Value {
        match self {
            Self::V1 | Self::Orchestrator => room.api.session(id)["receipt"].clone(),
            Self::Cli => {
                let shown = room.cli(&["sessions", "show", id, "--output", "json"]).exits(0);
                let shown: Value = serde_json::from_str(&shown.out).expect("JSON");
                shown["receipt"].clone()
            }
            Self::Foundry => {
                room.api.get(&format!("{FOUNDRY}/{id}")).expect(200)["receipt"].clone()
            }
            Self::DockerAgent => {
                // What has ended answers with the receipt of its end.
                let again = room.api.request("POST", &format!("{DOCKER}/{id}/stop")).send();
                again.expect(200)["receipt"].clone()
            }
        }
    }
}

#[test]
fn p10_what_came_in_by_one_door_is_stopped_through_every_other() {
    let room = room();
    for made in WAYS {
        for stopped in WAYS {
            let id = made.make(&room);
            let workspace = room.workspace(&uid_of(&room.api.session(&id)));
            assert!(!procs::about(&workspace).is_empty(), "{made:?}: it lives");
            stopped.stop(&room, &id);
            assert!(procs::about(&workspace).is_empty(), "{made:?}, {stopped:?}");
            let receipt = Way::V1.receipt(&room, &id);
            assert_eq!(receipt["survivors"], 0, "{made:?}, {stopped:?}: {receipt:#}");
            assert!(receipt["processes_seen"].as_u64() >= Some(1), "{receipt:#}");
            for told in WAYS {
                assert_eq!(told.receipt(&room, &id), receipt, "{made:?}, {stopped:?}, {told:?}");
            }
            room.api.check(&id);
        }
    }
}
