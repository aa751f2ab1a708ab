//! What `doctor` looks at.

use std::os::unix::fs::{MetadataExt, PermissionsExt};
use std::path::Path;

use greenroom_core::RunnerId;
use greenroom_protocol::v1::Runner;
use greenroom_shim::cgroup;
use greenroom_shim::local::Standing;
use uuid::Uuid;

use super::Finding;
use crate::commands::local;
use crate::context::Context;
use crate::data::{DataDir, Server};
use crate::error::CliError;
use crate::found;
use crate::human::count;

/// What an error says, in one line.
fn words(error: &CliError) -> String {
    match error {
        CliError::Told(told) => told.message.clone(),
        CliError::ClosedPipe => String::new(),
    }
}

/// The data folder and its token.
pub(super) fn folder(context: &Context) -> Vec<Finding> {
    let data = match context.data_dir() {
        Ok(data) => data,
        Err(error) => {
            return vec![Finding::broken("data folder", words(&error), "name one with --data DIR")];
        }
    };
    let place = data.path().display().to_string();
    let Ok(metadata) = std::fs::metadata(data.path()) else {
        return vec![Finding::ok(
            "data folder",
            format!("{place} does not exist yet; `greenroom up` makes it"),
        )];
    };
    let mut findings = Vec::new();
    let own = rustix::process::geteuid().as_raw();
    if !metadata.is_dir() {
        findings.push(Finding::broken(
            "data folder",
            format!("{place} is no folder"),
            "name another with --data DIR",
        ));
    } else if metadata.uid() != own {
        findings.push(Finding::broken(
            "data folder",
            format!("{place} belongs to user {}", metadata.uid()),
            "use it as that user, or another folder with --data DIR",
        ));
    } else if metadata.permissions().mode() & 0o077 != 0 {
        findings.push(Finding::weak(
            "data folder",
            format!("{place} is open to others"),
            format!("chmod 700 {place}"),
        ));
    } else {
        findings.push(Finding::ok("data folder", place));
    }
    findings.extend(token(&data));
    findings
}

fn token(data: &DataDir) -> Option<Finding> {
    let file = data.token_file();
    let place = file.display();
    let metadata = match std::fs::metadata(&file) {
        Ok(metadata) => metadata,
        // A runner's folder has none, and one that was never served neither.
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => return None,
        Err(error) => {
            return Some(Finding::broken(
                "token",
                format!("{place}: {error}"),
                "use the user whose folder it is",
            ));
        }
    };
    Some(match metadata.permissions().mode() & 0o077 {
        0 => Finding::ok("token", format!("{place}, readable by its owner only")),
        _ => Finding::broken(
            "token",
            format!("{place} can be read by others"),
            format!("chmod 600 {place}, then revoke the token and make a new one"),
        ),
    })
}

/// The coordinator and its runners.
pub(super) async fn coordinator(context: &Context) -> Vec<Finding> {
    let (client, url) = match context.client().and_then(|client| Ok((client, context.url()?))) {
        Ok(found) => found,
        Err(error) => {
            return vec![Finding::broken(
                "coordinator",
                words(&error),
                "give its address with --url",
            )];
        }
    };
    let health = match client.health().await {
        Ok(health) => health,
        Err(error) => {
            let error = CliError::from(error);
            return vec![Finding::weak(
                "coordinator",
                words(&error),
                "start one with `greenroom up`, or name one with --url",
            )];
        }
    };
    let own = env!("CARGO_PKG_VERSION");
    let mut findings = vec![match health.version == own {
        true => Finding::ok("coordinator", format!("{url}, greenroom {}", health.version)),
        false => Finding::weak(
            "coordinator",
            format!("{url} is greenroom {}, and this is {own}", health.version),
            "bring both to the same version",
        ),
    }];
    if let Err(error) = client.ready().await {
        let error = CliError::from(error);
        findings.push(Finding::broken(
            "store",
            words(&error),
            "look at the coordinator's log and at its disk",
        ));
    }
    match client.runners().await {
        Ok(runners) if runners.items.is_empty() => findings.push(Finding::weak(
            "runners",
            "none has joined",
            "`greenroom up` has one; others join with `greenroom runner --coordinator URL`",
        )),
        Ok(runners) => {
            findings.extend(runners.items.iter().flat_map(|runner| runner_findings(runner)))
        }
        Err(error) => {
            let error = CliError::from(error);
            findings.push(Finding::weak(
                "runners",
                words(&error),
                "a token of role admin or operator sees them",
            ));
        }
    }
    findings
}

fn runner_findings(runner: &Runner) -> Vec<Finding> {
    let name = format!("{} ({})", runner.name, runner.id);
    let mut findings = vec![match runner.status.as_str() {
        "connected" => Finding::ok("runner", format!("{name} is connected")),
        other => Finding::weak(
            "runner",
            format!("{name} is {other}"),
            "see that its machine and its process are up",
        ),
    }];
    if !runner.probe.outlives_runner {
        findings.push(Finding::weak(
            "outliving",
            format!("agents of {name} end with their runner"),
            "let another process be the first of its container (`docker run --init`)",
        ));
    }
    for unclaimed in &runner.unclaimed {
        findings.push(Finding::weak(
            "unclaimed",
            format!("{name} has a live compute that this coordinator does not know: {unclaimed}"),
            "`greenroom local ls` on that machine shows it, `greenroom local stop` ends it",
        ));
    }
    findings
}

/// What this machine can do for agents.
pub(super) async fn machine() -> Vec<Finding> {
    let probed = tokio::task::spawn_blocking(|| {
        let found = cgroup::probe(RunnerId(Uuid::now_v7()));
        found.remove();
        found
    });
    let Ok(found) = probed.await else {
        return vec![Finding::broken(
            "control",
            "the probe of control groups did not come back",
            "look at the kernel's log",
        )];
    };
    let kind =
        |dir: &Path| if cgroup::is_on_v2(dir) { "control group v2" } else { "control group v1" };
    let why = |word: &str| {
        let notes: Vec<&str> =
            found.notes.iter().map(String::as_str).filter(|note| note.contains(word)).collect();
        match notes.is_empty() {
            true => String::new(),
            false => format!(" ({})", notes.join("; ")),
        }
    };
    let mut findings = vec![match &found.kill {
        Some(_) => Finding::ok("stop", "by control group and supervisor: two proofs"),
        None => Finding::weak(
            "stop",
            format!("by the supervisor alone: one proof{}", why("cgroup v2")),
            "run where cgroup v2 is writable (a delegated systemd unit, or --cgroupns=private with a writable mount); until then, an agent whose supervisor is killed cannot be proven stopped",
        ),
    }];
    for (check, dir, word) in
        [("memory limit", &found.memory, "memory"), ("pids limit", &found.pids, "pids")]
    {
        findings.push(match dir {
            Some(dir) => Finding::ok(check, format!("by {}", kind(dir))),
            None => Finding::weak(
                check,
                format!("by sampling{}", why(word)),
                "short peaks may pass unseen; give the runner a control group with this controller",
            ),
        });
    }
    findings.push(outliving());
    findings
}

/// Whether agents outlive a runner that is started like this process.
fn outliving() -> Finding {
    let in_container = Path::new("/.dockerenv").exists()
        || Path::new("/run/.containerenv").exists()
        || std::env::var_os("container").is_some();
    let parent_is_first =
        rustix::process::getppid().is_some_and(|parent| parent.as_raw_nonzero().get() == 1);
    let unit = std::env::var_os("INVOCATION_ID").is_some();
    if std::process::id() == 1 {
        return Finding::weak(
            "outliving",
            "this is process 1 of its container: when a runner is that, its agents end with it",
            "let another process be the first (`docker run --init`)",
        );
    }
    if in_container {
        return Finding::ok(
            "outliving",
            "agents outlive a runner here, unless it is process 1; they end with the container",
        );
    }
    if unit && parent_is_first {
        return Finding::weak(
            "outliving",
            "this is part of a systemd unit, which may end its agents with it",
            "set KillMode=process in the unit",
        );
    }
    Finding::ok("outliving", "agents outlive a runner here")
}

/// The agents of the data folder.
pub(super) async fn agents(context: &Context) -> Vec<Finding> {
    let Ok(data) = context.data_dir() else { return Vec::new() };
    let found = match local::find(&data).await {
        Ok(found) => found,
        Err(error) => {
            return vec![Finding::broken(
                "agents",
                words(&error),
                "use the user whose folder it is",
            )];
        }
    };
    let live: Vec<_> = found.iter().filter(|found| local::is_live(found)).collect();
    let silent = live.iter().filter(|found| !matches!(found.standing, Standing::Live(_))).count();
    let served = !matches!(data.server(), Ok(Server::None));
    let are = if live.len() == 1 { "is" } else { "are" };
    let text = format!("{} {are} live in this data folder", count(live.len(), "agent"));
    vec![if silent > 0 {
        Finding::weak(
            "agents",
            format!("{text}, {silent} of them without a supervisor that answers"),
            "a runner on this folder ends and closes what has no supervisor",
        )
    } else if !live.is_empty() && !served {
        Finding::ok(
            "agents",
            format!(
                "{text}, without a server; `greenroom up` goes on with them, `greenroom local stop` ends them"
            ),
        )
    } else {
        Finding::ok("agents", text)
    }]
}

/// Coding agents that are installed here, and how to get the others.
pub(super) fn coding() -> Finding {
    let all = found::all(std::env::var_os("PATH").as_deref());
    let (here, missing): (Vec<_>, Vec<_>) = all.iter().partition(|agent| agent.program.is_some());
    let names = |agents: &[&found::Coding]| {
        agents.iter().map(|agent| agent.name()).collect::<Vec<_>>().join(", ")
    };
    let found = match here.is_empty() {
        true => "none of those that are known is in PATH".to_owned(),
        false => format!("in PATH: {}", names(&here)),
    };
    let mut advice: Vec<String> = here
        .iter()
        .filter_map(|agent| {
            let is_set = |name: &str| std::env::var_os(name).is_some_and(|v| !v.is_empty());
            // Whether it will be exposed is the business of `up`.
            let exposed: Vec<String> = std::env::vars().map(|(name, _)| name).collect();
            Some(format!("{} needs {}", agent.name(), agent.needs(&exposed, is_set)?))
        })
        .collect();
    advice.extend(missing.iter().map(|agent| format!("{}: {}", agent.name(), agent.install)));
    Finding {
        advice: Some(advice.join("\n                        ")),
        ..Finding::ok("coding", found)
    }
}
