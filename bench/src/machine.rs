//! Where and when it was measured.

use std::fmt;
use std::fs;
use std::path::Path;
use std::process::Command;

use serde::Serialize;

/// Where and when it was measured.
#[derive(Debug, Serialize)]
pub(crate) struct Machine {
    /// RFC 3339 UTC.
    measured_at: String,
    /// Commit of the work tree; `+` where it has changes.
    commit: String,
    /// What `greenroom --version` says.
    greenroom: String,
    /// Its processor.
    cpu: String,
    /// How many of them.
    cores: usize,
    /// Memory in GiB.
    memory_gib: u64,
    /// Kernel.
    kernel: String,
    /// File system that the data folders were on.
    file_system: String,
}

impl Machine {
    /// This one, now.
    pub(crate) fn here(greenroom: &Path, data: &Path) -> Self {
        let commit = output("git", &["rev-parse", "--short", "HEAD"]);
        let changed = !output("git", &["status", "--porcelain"]).is_empty();
        let uname = rustix::system::uname();
        Self {
            measured_at: jiff::Timestamp::now().strftime("%FT%TZ").to_string(),
            commit: format!("{commit}{}", if changed { "+" } else { "" }),
            greenroom: output(&greenroom.to_string_lossy(), &["--version"]),
            cpu: field("/proc/cpuinfo", "model name"),
            cores: std::thread::available_parallelism().map_or(1, usize::from),
            memory_gib: number(&field("/proc/meminfo", "MemTotal")) / 1024 / 1024,
            kernel: format!(
                "{} {}",
                uname.sysname().to_string_lossy(),
                uname.release().to_string_lossy()
            ),
            file_system: output("stat", &["-f", "-c", "%T", &data.to_string_lossy()]),
        }
    }
}

impl fmt::Display for Machine {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            f,
            "{}, {} at commit {}\n{} cores of {}, {} GiB, {}, {}",
            self.measured_at,
            self.greenroom,
            self.commit,
            self.cores,
            self.cpu,
            self.memory_gib,
            self.kernel,
            self.file_system
        )
    }
}

/// What a program prints; nothing where it cannot be asked.
fn output(program: &str, args: &[&str]) -> String {
    let output = Command::new(program).args(args).output();
    output.map(|o| String::from_utf8_lossy(&o.stdout).trim().to_owned()).unwrap_or_default()
}

/// The value of the first `key: value` line.
fn field(path: &str, key: &str) -> String {
    let text = fs::read_to_string(path).unwrap_or_default();
    let found = text.lines().find_map(|line| line.strip_prefix(key)?.split_once(':'));
    found.map(|(_, value)| value.trim().to_owned()).unwrap_or_default()
}

/// The digits a text begins with, as a number.
fn number(text: &str) -> u64 {
    text.split_whitespace().next().and_then(|n| n.parse().ok()).unwrap_or(0)
}

/// Kilobytes a process has in memory, by a key of its `status`.
pub(crate) fn memory_kb(pid: u32, key: &str) -> u64 {
    number(&field(&format!("/proc/{pid}/status"), key))
}
