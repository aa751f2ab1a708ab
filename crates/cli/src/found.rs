//! Coding agents that are installed on this machine: offered without an agent file.

use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::sync::{Arc, OnceLock};
use std::time::{Duration, Instant};

use greenroom_coordinator::Offered;
use greenroom_core::AgentSpec;
use greenroom_core::agent::{Driver, Preset, PresetSpec};

/// How long a program may take to say its version.
const PATIENCE: Duration = Duration::from_secs(10);

/// What is known of a coding agent beside its preset.
struct Known {
    preset: Preset,
    about: &'static str,
    /// Variables with a key, one of which it needs. A login of the user's own is in the user's
    /// HOME, and a session has another.
    keys: &'static [&'static str],
    /// How to get it.
    install: &'static str,
}

const KNOWN: [Known; 8] = [
    Known {
        preset: Preset::Claude,
        about: "Claude Code",
        keys: &["ANTHROPIC_API_KEY", "CLAUDE_CODE_OAUTH_TOKEN"],
        install: "npm install -g @anthropic-ai/claude-code",
    },
    Known {
        preset: Preset::Codex,
        about: "Codex",
        keys: &["CODEX_API_KEY", "OPENAI_API_KEY"],
        install: "npm install -g @openai/codex",
    },
    Known {
        preset: Preset::Opencode,
        about: "opencode",
        keys: &["ANTHROPIC_API_KEY", "OPENAI_API_KEY", "OPENCODE_CONFIG_CONTENT"],
        install: "npm install -g opencode-ai",
    },
    Known {
        preset: Preset::Pi,
        about: "pi",
        keys: &["ANTHROPIC_API_KEY", "OPENAI_API_KEY", "GEMINI_API_KEY"],
        install: "npm install -g @earendil-works/pi-coding-agent",
    },
    Known {
        preset: Preset::Qwen,
        about: "Qwen Code",
        keys: &["OPENAI_API_KEY"],
        install: "npm install -g @qwen-code/qwen-code (Node 22)",
    },
    Known {
        preset: Preset::Gemini,
        about: "Gemini CLI",
        keys: &["GEMINI_API_KEY"],
        install: "npm install -g @google/gemini-cli",
    },
    Known {
        preset: Preset::Copilot,
        about: "Copilot CLI",
        keys: &["COPILOT_PROVIDER_API_KEY", "GH_TOKEN"],
        install: "npm install -g @github/copilot",
    },
    Known {
        preset: Preset::DockerAgent,
        about: "docker-agent's own agent",
        keys: &["ANTHROPIC_API_KEY", "OPENAI_API_KEY", "GOOGLE_API_KEY", "MISTRAL_API_KEY"],
        install: "part of Docker Desktop, or a binary of its releases",
    },
];

/// A coding agent, here or not.
#[derive(Debug)]
pub(crate) struct Coding {
    preset: Preset,
    about: &'static str,
    /// Where it is, if it is.
    pub(crate) program: Option<PathBuf>,
    keys: &'static [&'static str],
    /// How to get it.
    pub(crate) install: &'static str,
}

/// All that are known, and where they are along this PATH.
pub(crate) fn all(path: Option<&std::ffi::OsStr>) -> Vec<Coding> {
    let find = |name: &str| {
        let dirs = path.into_iter().flat_map(std::env::split_paths);
        dirs.filter(|dir| dir.is_absolute()).map(|dir| dir.join(name)).find(|file| runs(file))
    };
    KNOWN
        .iter()
        .map(|known| Coding {
            preset: known.preset,
            about: known.about,
            program: find(known.preset.as_str()),
            keys: known.keys,
            install: known.install,
        })
        .collect()
}

fn runs(file: &Path) -> bool {
    file.is_file() && rustix::fs::access(file, rustix::fs::Access::EXEC_OK).is_ok()
}

impl Coding {
    /// Its name.
    pub(crate) fn name(&self) -> &'static str {
        self.preset.as_str()
    }

    /// What it lacks to work, where agents may see these variables.
    pub(crate) fn needs(
        &self,
        exposed: &[String],
        is_set: impl Fn(&str) -> bool,
    ) -> Option<String> {
        let usable = |key: &&&str| exposed.iter().any(|name| name == **key) && is_set(key);
        if self.keys.iter().any(|key| usable(&key)) {
            return None;
        }
        let keys = self.keys.join(" or ");
        Some(format!("a key: set {keys}, and start with --expose-env of that name"))
    }

    /// As an agent.
    pub(crate) fn offer(
        &self,
        exposed: &[String],
        is_set: impl Fn(&str) -> bool + Copy,
    ) -> Option<Offered> {
        let program = self.program.as_ref()?.to_str()?.to_owned();
        let needs = self.needs(exposed, is_set);
        let mine = self.keys.iter().filter(|key| exposed.iter().any(|n| n == *key) && is_set(key));
        let env = mine.map(|key| ((*key).to_owned(), format!("${{env:{key}}}"))).collect();
        let version = Arc::new(OnceLock::new());
        let (asked, told) = (PathBuf::from(&program), Arc::clone(&version));
        std::thread::spawn(move || {
            if let Some(text) = version_of(&asked) {
                let _ = told.set(text);
            }
        });
        let args = Vec::new();
        let driver = PresetSpec { preset: self.preset, program: Some(program), args };
        let spec = AgentSpec {
            description: Some(self.about.to_owned()),
            env,
            ..AgentSpec::new(self.name().parse().ok()?, Driver::Preset(driver))
        };
        Some(Offered { spec, needs, version })
    }
}

/// The first thing that looks like a version in what a program says of itself.
fn version_of(program: &Path) -> Option<String> {
    let mut child = Command::new(program)
        .arg("--version")
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .stderr(Stdio::null())
        .spawn()
        .ok()?;
    let begun = Instant::now();
    while child.try_wait().ok()?.is_none() {
        if begun.elapsed() > PATIENCE {
            let _ = child.kill();
            let _ = child.wait();
            return None;
        }
        std::thread::sleep(Duration::from_millis(50));
    }
    let mut text = String::new();
    std::io::Read::read_to_string(&mut std::io::Read::take(child.stdout.take()?, 4096), &mut text)
        .ok()?;
    let is_version =
        |word: &&str| word.starts_with(|c: char| c.is_ascii_digit()) && word.contains('.');
    let mut words = text.split(|c: char| c.is_whitespace() || matches!(c, 'v' | '(' | ')' | ','));
    words.find(is_version).map(str::to_owned)
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::os::unix::fs::PermissionsExt;

    fn program(dir: &Path, name: &str, script: &str) -> PathBuf {
        let path = dir.join(name);
        std::fs::write(&path, format!("#!/bin/sh\n{script}\n")).unwrap();
        std::fs::set_permissions(&path, std::fs::Permissions::from_mode(0o755)).unwrap();
        path
    }

    #[test]
    fn what_is_on_the_path_is_offered_with_what_it_needs() {
        let dir = tempfile::tempdir().unwrap();
        let claude = program(dir.path(), "claude", "echo '2.1.329 (Claude Code)'");
        std::fs::write(dir.path().join("codex"), "not executable").unwrap();
        let all = all(Some(dir.path().as_os_str()));
        let here: Vec<_> = all.iter().filter(|c| c.program.is_some()).map(Coding::name).collect();
        assert_eq!(here, ["claude"]);
        let found = &all[0];
        assert_eq!(found.program.as_ref(), Some(&claude));
        assert!(found.needs(&[], |_| true).unwrap().contains("ANTHROPIC_API_KEY"));
        let exposed = ["ANTHROPIC_API_KEY".to_owned()];
        assert!(found.needs(&exposed, |_| false).is_some(), "exposed, and not set");
        assert_eq!(found.needs(&exposed, |_| true), None);
        let offer = found.offer(&exposed, |name| name == "ANTHROPIC_API_KEY").unwrap();
        assert_eq!(offer.spec.env["ANTHROPIC_API_KEY"], "${env:ANTHROPIC_API_KEY}");
        assert_eq!(offer.spec.env.len(), 1);
        assert_eq!(version_of(&claude).as_deref(), Some("2.1.329"));
    }

    #[test]
    fn a_program_that_says_no_version_has_none() {
        let dir = tempfile::tempdir().unwrap();
        assert_eq!(version_of(&program(dir.path(), "pi", "echo hello")), None);
        assert_eq!(version_of(&program(dir.path(), "qwen", "exit 1")), None);
        assert_eq!(version_of(&dir.path().join("missing")), None);
    }
}
