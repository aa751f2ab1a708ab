//! The command line.

use std::str::FromStr;

use clap::{Parser, Subcommand};

use crate::commands;
use crate::context::Global;

/// Keeps AI-agent sessions: starts them, shows them live, stops them for certain, and
/// picks them up again.
#[derive(Debug, Parser)]
#[command(name = "greenroom", version, max_term_width = 100, after_help = EXAMPLES)]
pub(crate) struct Cli {
    #[command(flatten)]
    pub(crate) global: Global,
    #[command(subcommand)]
    pub(crate) command: Command,
}

const EXAMPLES: &str = "\
Examples:
  greenroom up --agents ./agents        start everything on this machine
  greenroom run fixer 'fix the tests'   start an agent and watch it
  greenroom sessions ls                 what is there
  greenroom sessions stop fix-1         stop it, and see the receipt

Exit codes: 0 done or already so, 1 failed, 2 usage, 3 the run was stopped,
4 not proven in time, 5 no coordinator.";

/// What to do.
#[derive(Debug, Subcommand)]
pub(crate) enum Command {
    Up(commands::up::Args),
    Serve(commands::serve::Args),
    Runner(commands::runner::Args),
    Run(commands::run::Args),
    Sessions(commands::sessions::Args),
    Runs(commands::runs::Args),
    Approvals(commands::approvals::Args),
    Agents(commands::agents::Args),
    Runners(commands::runners::Args),
    Token(commands::token::Args),
    Local(commands::local::Args),
    Gc(commands::gc::Args),
    Mcp(commands::mcp::Args),
    Acp(commands::acp::Args),
    Down(commands::down::Args),
    Doctor(commands::doctor::Args),
    Completions(commands::completions::Args),
    Admin(commands::admin::Args),
    Shim(commands::shim::Args),
}

/// A label: `key=value`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Label {
    pub(crate) key: String,
    pub(crate) value: String,
}

impl FromStr for Label {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        match text.split_once('=') {
            Some((key, value)) if !key.is_empty() => {
                Ok(Self { key: key.to_owned(), value: value.to_owned() })
            }
            _ => Err("write it like team=web".to_owned()),
        }
    }
}

impl Label {
    /// Labels as the API has them; the last of a key counts.
    pub(crate) fn map(labels: &[Self]) -> std::collections::BTreeMap<String, String> {
        labels.iter().map(|label| (label.key.clone(), label.value.clone())).collect()
    }

    /// As a filter has it.
    pub(crate) fn text(&self) -> String {
        format!("{}={}", self.key, self.value)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use clap::CommandFactory;

    #[test]
    fn the_command_line_is_sound() {
        Cli::command().debug_assert();
    }

    #[test]
    fn labels_have_a_key() {
        assert_eq!("a=b=c".parse::<Label>().expect("a label").text(), "a=b=c");
        for bad in ["a", "=b", ""] {
            assert!(bad.parse::<Label>().is_err(), "{bad}");
        }
    }

    /// Every page of help, in one snapshot each.
    #[test]
    fn help_pages() {
        fn walk(path: &str, command: &mut clap::Command) {
            let name = path.replace(' ', "_");
            let help = command.clone().term_width(100).render_long_help().to_string();
            insta::assert_snapshot!(format!("help_{name}"), help);
            let names: Vec<String> = command
                .get_subcommands()
                .filter(|sub| !sub.is_hide_set() && sub.get_name() != "help")
                .map(|sub| sub.get_name().to_owned())
                .collect();
            for name in names {
                if let Some(sub) = command.find_subcommand_mut(&name) {
                    walk(&format!("{path} {name}"), sub);
                }
            }
        }
        let mut command = Cli::command().term_width(100);
        command.build();
        walk("greenroom", &mut command);
    }
}
