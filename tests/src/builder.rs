//! How a Greenroom is to be started, in sentences.

use std::fs;
use std::path::{Path, PathBuf};

use serde_json::Value;

use crate::http::Api;
use crate::room::{Greenroom, binary};

/// How to start it.
#[derive(Debug, Clone)]
pub struct Builder {
    pub(crate) whole: bool,
    pub(crate) agents: Vec<(String, Value)>,
    pub(crate) args: Vec<String>,
    pub(crate) env: Vec<(String, String)>,
    pub(crate) runner_env: Vec<(String, String)>,
    pub(crate) runner_args: Vec<String>,
    pub(crate) runners: Vec<String>,
    pub(crate) binary: PathBuf,
    pub(crate) data: Option<PathBuf>,
    pub(crate) through: Vec<String>,
}

impl Builder {
    pub(crate) fn new(whole: bool) -> Self {
        Self {
            whole,
            agents: Vec::new(),
            args: Vec::new(),
            env: Vec::new(),
            runner_env: Vec::new(),
            runner_args: Vec::new(),
            runners: Vec::new(),
            binary: binary(),
            data: None,
            through: Vec::new(),
        }
    }

    /// With an agent; `name` and `driver` are filled in.
    #[must_use]
    pub fn agent(mut self, name: &str, description: Value) -> Self {
        self.agents.push((name.to_owned(), description));
        self
    }

    /// With so many places.
    #[must_use]
    pub fn slots(self, slots: u32) -> Self {
        let slots = slots.to_string();
        if self.whole {
            self.args(&["--slots", &slots])
        } else {
            self.runner_args(&["--slots", &slots])
        }
    }

    /// With further arguments of the server.
    #[must_use]
    pub fn args(mut self, args: &[&str]) -> Self {
        self.args.extend(args.iter().map(|arg| (*arg).to_owned()));
        self
    }

    /// With these arguments, and no others, of the server from its next start on.
    pub fn set_args(&mut self, args: &[&str]) {
        self.args = args.iter().map(|arg| (*arg).to_owned()).collect();
    }

    /// With further arguments of each runner.
    #[must_use]
    pub fn runner_args(mut self, args: &[&str]) -> Self {
        self.runner_args.extend(args.iter().map(|arg| (*arg).to_owned()));
        self
    }

    /// With these arguments, and no others, of each runner that is added from now on.
    pub fn set_runner_args(&mut self, args: &[&str]) {
        self.runner_args = args.iter().map(|arg| (*arg).to_owned()).collect();
    }

    /// With this value of `FAILPOINTS` for the server from its next start on, or without one.
    pub fn set_failpoints(&mut self, points: Option<&str>) {
        self.env.retain(|(name, _)| name != "FAILPOINTS");
        self.env.extend(points.map(|points| ("FAILPOINTS".to_owned(), points.to_owned())));
    }

    /// As [`Builder::set_failpoints`], for runners.
    pub fn set_runner_failpoints(&mut self, points: Option<&str>) {
        self.runner_env.retain(|(name, _)| name != "FAILPOINTS");
        self.runner_env.extend(points.map(|points| ("FAILPOINTS".to_owned(), points.to_owned())));
    }

    /// With a variable of the server.
    #[must_use]
    pub fn env(mut self, name: &str, value: &str) -> Self {
        self.env.push((name.to_owned(), value.to_owned()));
        self
    }

    /// With a variable of each runner.
    #[must_use]
    pub fn runner_env(mut self, name: &str, value: &str) -> Self {
        self.runner_env.push((name.to_owned(), value.to_owned()));
        self
    }

    /// With a runner of this name (only beside `serve`).
    #[must_use]
    pub fn runner(mut self, name: &str) -> Self {
        self.runners.push(name.to_owned());
        self
    }

    /// From this binary.
    #[must_use]
    pub fn binary(mut self, path: &Path) -> Self {
        self.binary = path.to_owned();
        self
    }

    /// With the server started by another program: its words come before the binary's path.
    #[must_use]
    pub fn through(mut self, words: &[&str]) -> Self {
        self.through = words.iter().map(|word| (*word).to_owned()).collect();
        self
    }

    /// As [`Builder::through`], from the server's next start on.
    pub fn set_through(&mut self, words: &[&str]) {
        self.through = words.iter().map(|word| (*word).to_owned()).collect();
    }

    /// On this data folder.
    #[must_use]
    pub fn data(mut self, path: &Path) -> Self {
        self.data = Some(path.to_owned());
        self
    }

    /// Starts it, and returns when it is ready.
    pub fn start(self) -> Greenroom {
        let short = uuid::Uuid::now_v7().simple().to_string();
        let root = PathBuf::from(format!("/tmp/gr-{}", &short[20..]));
        fs::create_dir_all(root.join("agents")).expect("a folder for the test");
        let data = self.data.clone().unwrap_or_else(|| root.join("data"));
        let host = format!("127.0.0.1:{}", free_port());
        let api = Api { host, token: None };
        let runners = self.runners.clone();
        let mut room = Greenroom::unstarted(root, data, api, self);
        for (name, description) in room.builder.agents.clone() {
            room.write_agent(&name, description);
        }
        room.start_server();
        for name in runners {
            room.add_runner(&name);
        }
        room
    }
}

/// A port that nobody listens on, outside the range of outgoing connections.
fn free_port() -> u16 {
    let seed = uuid::Uuid::now_v7().as_u128();
    (0..1000u128)
        .map(|step| u16::try_from(10_000 + (seed + step * 7919) % 20_000).expect("fits"))
        .find(|port| std::net::TcpListener::bind(("127.0.0.1", *port)).is_ok())
        .expect("a free port")
}
