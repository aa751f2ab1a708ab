//! `greenroom agents`.

use std::path::{Path, PathBuf};

use clap::Subcommand;
use greenroom_client::{Answer, ClientError};
use greenroom_coordinator::sources::{Reference, agent_file};
use greenroom_core::AgentSpec;
use greenroom_core::source_key::{is_url, redacted};
use greenroom_protocol::v1::Agent;

use crate::alias::{self, Meant};
use crate::commands::{agent_key, each, gravest};
use crate::context::Context;
use crate::error::{CliError, Code};
use crate::human::{ago, clean, moment, short};
use crate::ui::{Output, Row, Table, Tone};

/// List, add, remove and check agents
#[derive(Debug, clap::Args)]
#[command(after_help = "\
Examples:
  greenroom agents ls
  greenroom agents add ./agents/fixer.yaml
  greenroom agents add https://example.com/fixer.yaml
  greenroom agents check ./agents/*.yaml")]
pub(crate) struct Args {
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// List the agents in service
    #[command(visible_alias = "list")]
    Ls,
    /// Show agents
    #[command(visible_alias = "get")]
    Show {
        /// Agents
        #[arg(required = true, value_name = "NAME")]
        names: Vec<String>,
    },
    /// Add a file, a folder, a URL or an image as a source of agents
    Add {
        /// File or folder on the coordinator's machine, URL, or oci://IMAGE; with-query:URL
        /// where the query is part of what the source is; NAME, also alias:NAME, of an alias in
        /// docker-agent's configuration
        source: String,
    },
    /// Take agents out of service; their sessions keep what they have
    Rm {
        /// Agents
        #[arg(required = true, value_name = "NAME")]
        names: Vec<String>,
        /// Remove their sessions too, each stopped and proven first
        #[arg(long)]
        force: bool,
    },
    /// Have agents take nothing new; what is under way goes on to its end
    Disable {
        /// Agents
        #[arg(required = true, value_name = "NAME")]
        names: Vec<String>,
    },
    /// Have disabled agents take what is asked again
    Enable {
        /// Agents
        #[arg(required = true, value_name = "NAME")]
        names: Vec<String>,
    },
    /// Check agent files, without any coordinator
    Check {
        /// Agent files, or aliases of them in docker-agent's configuration
        #[arg(required = true, value_name = "FILE")]
        files: Vec<PathBuf>,
    },
    /// Print a source's key and its stable identity as JSON, without any coordinator
    Key(agent_key::Args),
}

pub(crate) async fn run(context: &Context, args: Args) -> Result<Code, CliError> {
    let ui = &context.ui;
    match args.command {
        Command::Ls => {
            let list = context.client()?.agents().await?;
            ui.list(&list, |agent| agent.name.to_string(), table)?;
            Ok(Code::Done)
        }
        Command::Show { names } => {
            let client = context.client()?;
            let (found, code) =
                each(context, &names, async |name| Ok(client.agent(name).await?)).await?;
            ui.several(&found, names.len() == 1, show)?;
            Ok(code)
        }
        Command::Add { source } => {
            let Meant { source, hint } = alias::meant(ui, &source)?;
            // The coordinator has another working directory.
            let source = match Path::new(&source).exists() {
                true => {
                    std::path::absolute(&source).map_or(source, |path| path.display().to_string())
                }
                false => source,
            };
            let added_there = context.client()?.add_agent(&source).await;
            let answer = added_there.map_err(|error| {
                let missing =
                    matches!(&error, ClientError::Problem(p) if p.code == "source_not_found");
                CliError::from(error).or_hint(hint.filter(|_| missing))
            })?;
            ui.one(&answer, |value| added(value, &redacted(&source)))?;
            Ok(Code::Done)
        }
        Command::Disable { names } => able(context, &names, true).await,
        Command::Enable { names } => able(context, &names, false).await,
        Command::Rm { names, force } => {
            let client = context.client()?;
            let remove = async |name: &str| {
                client.remove_agent(name, force).await?;
                ui.say(format!("Agent \"{name}\" is out of service."));
                Ok(())
            };
            Ok(each(context, &names, remove).await?.1)
        }
        Command::Check { files } => {
            let codes: Result<Vec<_>, _> = files.iter().map(|file| check(context, file)).collect();
            Ok(gravest(codes?))
        }
        Command::Key(args) => agent_key::run(context, &args),
    }
}

async fn able(context: &Context, names: &[String], disabled: bool) -> Result<Code, CliError> {
    let (client, ui) = (context.client()?, &context.ui);
    let change = async |name: &str| {
        client.disable_agent(name, disabled).await?;
        ui.say(match disabled {
            true => format!("Agent \"{name}\" is disabled: it takes nothing new."),
            false => format!("Agent \"{name}\" is enabled."),
        });
        Ok(())
    };
    Ok(each(context, names, change).await?.1)
}

fn table(agents: &[Answer<Agent>]) -> Table {
    let row = |agent: &Answer<Agent>| {
        let tone = if agent.health == "ok" { Tone::Live } else { Tone::Bad };
        let health = if agent.disabled { "disabled".to_owned() } else { agent.health.clone() };
        let about = about(agent);
        Row::new(
            tone,
            [
                agent.name.to_string(),
                health,
                agent.driver.clone(),
                format!("v{}", agent.version),
                ago(agent.updated_at),
                short(&agent.source, 50),
                short(&about, 60),
            ],
        )
    };
    let head = &["NAME", "HEALTH", "DRIVER", "VERSION", "AGE", "SOURCE", "ABOUT"];
    Table::new(head, agents.iter().map(row), "No agents. `greenroom agents add FILE` adds some.")
}

/// What there is to say of an agent, what is wrong with it first.
fn about(agent: &Agent) -> String {
    if let Some(error) = &agent.error {
        return error.clone();
    }
    let mut about = agent.description.clone().unwrap_or_default();
    if let Some(version) = &agent.program_version {
        about.push_str(&format!(" {version}"));
    }
    if let Some(needs) = &agent.needs {
        about.push_str(&format!("; needs {needs}"));
    }
    about
}

fn show(agent: &Agent) -> String {
    let mut text = String::new();
    let mut add =
        |name: &str, value: &str| text.push_str(&format!("{name:<12}  {}\n", clean(value)));
    add("Agent", agent.name.as_str());
    if let Some(description) = &agent.description {
        add("About", description);
    }
    add("Driver", &format!("{}, {}", agent.driver, agent.lifecycle));
    if let Some(version) = &agent.program_version {
        add("Program", version);
    }
    if let Some(needs) = &agent.needs {
        add("Needs", needs);
    }
    add("Source", &agent.source);
    add("Key", &agent.source_key);
    if let Some(stable) = &agent.stable_key {
        add("Identity", stable);
    }
    if let Some(at) = agent.fetched_at {
        add("Fetched", &format!("{} ({} ago)", moment(at), ago(at)));
    }
    add("Version", &agent.version.to_string());
    add("Digest", &agent.digest);
    add("Health", &agent.health);
    if agent.disabled {
        add("Disabled", "it takes nothing new");
    }
    if let Some(error) = &agent.error {
        add("Error", error);
    }
    if let Some(schema) = &agent.input_schema {
        add("Input", &schema.to_string());
    }
    add("Since", &moment(agent.updated_at));
    text
}

/// The agents that a new source has brought.
fn added(value: &serde_json::Value, source: &str) -> String {
    let items = value.get("items").unwrap_or(value);
    let one = std::slice::from_ref(items);
    let all = items.as_array().map_or(one, Vec::as_slice);
    let names: Vec<String> = all
        .iter()
        .filter_map(|agent| agent.get("name")?.as_str())
        .map(|name| format!("\"{}\"", clean(name)))
        .collect();
    match names.is_empty() {
        true => format!("Added {source}; it has no agents yet.\n"),
        false => format!("Added {source}: {}.\n", names.join(", ")),
    }
}

/// An agent file, by its path or an alias.
fn read(context: &Context, file: &Path) -> Result<(String, AgentSpec), CliError> {
    let meant = file.to_str().map(|word| alias::meant(&context.ui, word)).transpose()?;
    let (path, hint) = match &meant {
        Some(meant) => (Path::new(&meant.source), meant.hint.as_ref()),
        None => (file, None),
    };
    let reference = meant.as_ref().and_then(|meant| Reference::parse(&meant.source).ok());
    let elsewhere = match (&meant, reference) {
        (_, Some(reference)) => reference.path().is_none().then(|| reference.shown()),
        // One that is refused, and may have a password all the same.
        (Some(meant), None) if is_url(meant.source.as_bytes()) => Some(redacted(&meant.source)),
        _ => None,
    };
    if let Some(elsewhere) = elsewhere {
        let message = format!("{} is no file, and files are checked", clean(&elsewhere));
        return Err(
            CliError::failed(message).hint("`greenroom agents add` says what is wrong with it")
        );
    }
    let text = std::fs::read_to_string(path)
        .map_err(|error| CliError::io("read", path, &error).or_hint(hint))?;
    let name = path.display().to_string();
    let spec = agent_file::parse(&text, &name);
    spec.map(|spec| (name, spec)).map_err(|error| CliError::failed(error.to_string()))
}

fn check(context: &Context, file: &Path) -> Result<Code, CliError> {
    let ui = &context.ui;
    match read(context, file) {
        Ok((name, spec)) if ui.output == Output::Table => {
            ui.line(format!("{name}: agent \"{}\" is fine.", spec.name))?;
            Ok(Code::Done)
        }
        Ok((name, spec)) => {
            let json = serde_json::json!({"file": name, "ok": true, "agent": spec});
            ui.line(json.to_string())?;
            Ok(Code::Done)
        }
        Err(error) => {
            ui.complain(&error);
            Ok(error.code())
        }
    }
}
