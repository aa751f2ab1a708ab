//! `cgroup.kill` without anything around it.

use std::fs::{self, File};
use std::io::{BufRead, BufReader, Read, Seek};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::Instant;

use anyhow::{Context, bail};
use rustix::event::{PollFd, PollFlags, poll};

use crate::server::{DAEMONS, mark};
use crate::stats::since;

/// A control group of one's own, where this process may make one.
pub(crate) struct Group(PathBuf);

impl Group {
    /// Makes one beneath the position of this process.
    pub(crate) fn make() -> anyhow::Result<Self> {
        let mounts = fs::read_to_string("/proc/self/mountinfo")?;
        let mount = mounts.lines().find_map(|line| {
            let (head, tail) = line.split_once(" - ")?;
            tail.starts_with("cgroup2 ").then(|| head.split(' ').nth(4))?
        });
        let mount = mount.context("this machine has no cgroup v2")?;
        let own = fs::read_to_string("/proc/self/cgroup")?;
        let own = own.lines().find_map(|line| line.strip_prefix("0::")).unwrap_or("/");
        let path = Path::new(mount)
            .join(own.trim_start_matches('/'))
            .join(format!("bench-{}", std::process::id()));
        fs::create_dir(&path).with_context(|| format!("failed to make {path:?}"))?;
        Ok(Self(path))
    }

    /// Fills it with stubborn daemons, then kills it, in milliseconds.
    pub(crate) fn kill_daemons(&self, agent: &Path) -> anyhow::Result<f64> {
        let mut leader = Command::new(agent)
            .arg("join")
            .arg(&self.0)
            .args(["daemons", &DAEMONS.to_string(), &mark()])
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .spawn()?;
        let mut line = String::new();
        let stdout = leader.stdout.take().context("no standard output")?;
        BufReader::new(stdout).read_line(&mut line)?;
        let members = fs::read_to_string(self.0.join("cgroup.procs"))?.lines().count();
        if !line.contains("ready") || members != DAEMONS + 1 {
            bail!("the group has {members} members, and the leader said {line:?}");
        }
        let mut events = File::open(self.0.join("cgroup.events"))?;
        let started = Instant::now();
        fs::write(self.0.join("cgroup.kill"), "1")?;
        loop {
            // Reading arms the next poll.
            let mut text = String::new();
            events.rewind()?;
            events.read_to_string(&mut text)?;
            if text.contains("populated 0") {
                break;
            }
            poll(&mut [PollFd::new(&events, PollFlags::PRI)], None)?;
        }
        let took = since(started);
        leader.wait()?;
        Ok(took)
    }
}

impl Drop for Group {
    fn drop(&mut self) {
        let _ = fs::write(self.0.join("cgroup.kill"), "1");
        let _ = fs::remove_dir(&self.0);
    }
}
