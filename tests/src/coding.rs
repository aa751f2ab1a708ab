//! Real coding agents, set up against a scripted endpoint.

use std::path::Path;

use serde_json::{Value, json};

use crate::endpoint::Endpoint;
use crate::{agents, tools};

/// A coding agent: how it is described, and how its tools are called.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Coding {
    /// Claude Code.
    Claude,
    /// Codex.
    Codex,
    /// opencode.
    Opencode,
    /// Qwen Code.
    Qwen,
    /// Gemini CLI.
    Gemini,
    /// Copilot CLI.
    Copilot,
    /// pi.
    Pi,
    /// Cline, which has no preset.
    Cline,
}

const KEY: &str = "key-of-the-scripted-endpoint";

impl Coding {
    /// All of them.
    pub const ALL: [Self; 8] = [
        Self::Codex,
        Self::Claude,
        Self::Opencode,
        Self::Qwen,
        Self::Gemini,
        Self::Copilot,
        Self::Pi,
        Self::Cline,
    ];

    /// Its name.
    pub fn word(self) -> &'static str {
        match self {
            Self::Claude => "claude",
            Self::Codex => "codex",
            Self::Opencode => "opencode",
            Self::Qwen => "qwen",
            Self::Gemini => "gemini",
            Self::Copilot => "copilot",
            Self::Pi => "pi",
            Self::Cline => "cline",
        }
    }

    /// Its program.
    pub fn program(self) -> String {
        let path = match self {
            Self::Claude => tools::core("@anthropic-ai/claude-code-linux-x64/claude"),
            Self::Codex => tools::core("@openai/codex/vendor/x86_64-unknown-linux-musl/bin/codex"),
            Self::Opencode => tools::core("opencode-linux-x64-baseline/bin/opencode"),
            Self::Qwen => tools::more(".bin/qwen"),
            Self::Gemini => tools::more(".bin/gemini"),
            Self::Copilot => tools::more("@github/copilot-linux-x64/copilot"),
            Self::Pi => tools::more(".bin/pi"),
            Self::Cline => tools::more(".bin/cline"),
        };
        path.to_str().expect("a path of UTF-8").to_owned()
    }

    /// Arguments of every run.
    pub fn args(self, endpoint: &Endpoint) -> Vec<String> {
        let url = endpoint.url();
        let provider = format!(
            "model_providers.scripted={{name=\"scripted\", base_url=\"{url}/v1\", \
             env_key=\"OPENAI_API_KEY\", wire_api=\"responses\", supports_websockets=false, \
             request_max_retries=0, stream_max_retries=0}}"
        );
        let args: &[&str] = match self {
            Self::Codex => {
                &["-c", "model_provider=\"scripted\"", "-c", "model=\"scripted\"", "-c", &provider]
            }
            Self::Gemini => &["--model", "gemini-2.5-flash"],
            Self::Pi => &["--provider", "scripted", "--model", "m"],
            _ => &[],
        };
        args.iter().map(|arg| (*arg).to_owned()).collect()
    }

    /// Codex's settings, as a file.
    pub fn settings(self, endpoint: &Endpoint) -> String {
        let url = endpoint.url();
        format!(
            "model = \"scripted\"\nmodel_provider = \"scripted\"\n\
             approval_policy = \"never\"\nsandbox_mode = \"danger-full-access\"\n\
             [model_providers.scripted]\nname = \"scripted\"\nbase_url = \"{url}/v1\"\n\
             env_key = \"OPENAI_API_KEY\"\nwire_api = \"responses\"\n\
             supports_websockets = false\nrequest_max_retries = 0\nstream_max_retries = 0\n"
        )
    }

    /// Its variables.
    pub fn env(self, endpoint: &Endpoint) -> Vec<(&'static str, String)> {
        let url = endpoint.url();
        let v1 = format!("{url}/v1");
        let own = |pairs: &[(&'static str, &str)]| -> Vec<(&'static str, String)> {
            pairs.iter().map(|(name, value)| (*name, (*value).to_owned())).collect()
        };
        let mut env = match self {
            Self::Claude => own(&[
                ("ANTHROPIC_BASE_URL", &url),
                ("ANTHROPIC_API_KEY", KEY),
                ("CLAUDE_CODE_DISABLE_NONESSENTIAL_TRAFFIC", "1"),
                ("CLAUDE_CODE_MAX_RETRIES", "0"),
            ]),
            Self::Codex => own(&[("OPENAI_API_KEY", KEY)]),
            Self::Opencode => {
                let provider = json!({
                    "npm": "@ai-sdk/openai-compatible", "name": "Scripted",
                    "options": { "baseURL": v1, "apiKey": KEY },
                    "models": { "m": { "name": "m" } },
                });
                let config = json!({ "model": "scripted/m", "provider": { "scripted": provider } });
                own(&[("OPENCODE_CONFIG_CONTENT", &config.to_string())])
            }
            Self::Qwen => {
                own(&[("OPENAI_BASE_URL", &v1), ("OPENAI_API_KEY", KEY), ("OPENAI_MODEL", "m")])
            }
            Self::Gemini => own(&[("GOOGLE_GEMINI_BASE_URL", &url), ("GEMINI_API_KEY", KEY)]),
            Self::Copilot => own(&[
                ("COPILOT_OFFLINE", "true"),
                ("COPILOT_PROVIDER_BASE_URL", &v1),
                ("COPILOT_PROVIDER_API_KEY", KEY),
                ("COPILOT_MODEL", "m"),
            ]),
            Self::Pi => own(&[("PI_OFFLINE", "1")]),
            Self::Cline => Vec::new(),
        };
        let node = tools::node();
        let node = node.parent().expect("a folder").display();
        env.push(("PATH", format!("{node}:/usr/local/bin:/usr/bin:/bin")));
        env
    }

    /// Its description, with approvals of this mode.
    pub fn agent(self, endpoint: &Endpoint, mode: &str) -> Value {
        let env: serde_json::Map<_, _> = self
            .env(endpoint)
            .into_iter()
            .map(|(name, value)| (name.to_owned(), value.into()))
            .collect();
        json!({
            "preset": self.word(),
            "command": [self.program()],
            "args": self.args(endpoint),
            "approvals": { "mode": mode },
            "env": env,
        })
    }

    /// Its tool that writes a file, with what it is given.
    pub fn write(self, file: &Path, text: &str) -> (&'static str, Value) {
        match self {
            Self::Claude => ("Write", json!({ "file_path": file, "content": text })),
            Self::Opencode => ("write", json!({ "filePath": file, "content": text })),
            _ => self.shell(&format!("printf '%s' '{text}' > '{}'", file.display())),
        }
    }

    /// Its shell tool, with this script. It waits for five minutes where it has a say.
    pub fn shell(self, script: &str) -> (&'static str, Value) {
        let input = json!({ "command": script, "description": "it", "timeout": 300_000 });
        match self {
            Self::Claude => ("Bash", input),
            Self::Codex => ("exec_command", json!({ "cmd": script, "yield_time_ms": 300_000 })),
            Self::Opencode => ("bash", input),
            Self::Pi => ("bash", json!({ "command": script })),
            Self::Qwen => {
                ("run_shell_command", json!({ "command": script, "is_background": false }))
            }
            Self::Gemini => ("run_shell_command", json!({ "command": script })),
            Self::Copilot => {
                let wait = json!({ "initial_wait": 300, "mode": "sync" });
                ("bash", agents::with(json!({ "command": script, "description": "it" }), wait))
            }
            Self::Cline => ("run_commands", json!({ "commands": [script] })),
        }
    }
}

impl Coding {
    /// Writes what it wants to find in its HOME.
    pub fn prepare(self, home: &Path, endpoint: &Endpoint) {
        let write = |name: &str, text: String| {
            let path = home.join(name);
            std::fs::create_dir_all(path.parent().expect("a folder")).expect("a folder");
            std::fs::write(path, text).expect("a file");
        };
        let url = endpoint.url();
        match self {
            Self::Pi => {
                let provider = json!({
                    "baseUrl": format!("{url}/v1"), "api": "openai-completions",
                    "apiKey": KEY, "models": [{ "id": "m" }],
                });
                let models = json!({ "providers": { "scripted": provider } });
                write(".pi/agent/models.json", models.to_string());
            }
            Self::Gemini => {
                let auth = json!({ "security": { "auth": { "selectedType": "gemini-api-key" } } });
                write(".gemini/settings.json", auth.to_string());
            }
            Self::Cline => {
                let log_in = std::process::Command::new(self.program())
                    .args(["auth", "--provider", "openai", "--apikey", KEY, "--modelid", "m"])
                    .args(["--baseurl", &format!("{url}/v1")])
                    .env_clear()
                    .envs(self.env(endpoint))
                    .env("HOME", home)
                    .output()
                    .expect("cline starts");
                assert!(log_in.status.success(), "{log_in:?}");
            }
            _ => {}
        }
    }

    /// Its description for Greenroom, free to do as it likes. Without a preset, it is a
    /// command; what must be in its HOME is put there by a script in `root` before it.
    pub fn described(self, endpoint: &Endpoint, root: &Path) -> Value {
        let files = root.join("home-of-agents");
        self.prepare(&files, endpoint);
        let script = root.join("start");
        let text = format!(
            "#!/bin/sh\ncp -r '{}/.' \"$HOME\"\nexec '{}' \"$@\"\n",
            files.display(),
            self.program()
        );
        std::fs::write(&script, text).expect("a script");
        let mode = std::os::unix::fs::PermissionsExt::from_mode(0o755);
        std::fs::set_permissions(&script, mode).expect("a script");
        let mut agent_file = self.agent(endpoint, "autonomous");
        match self {
            Self::Cline => {
                let env = agent_file["env"].clone();
                agents::with(
                    json!({ "command": [script, "--json"], "prompt_via": "arg" }),
                    json!({ "env": env }),
                )
            }
            Self::Pi => {
                agent_file["command"] = json!([script]);
                agent_file
            }
            _ => agent_file,
        }
    }
}
