//! `greenroom token`.

use clap::{Subcommand, ValueEnum};
use greenroom_client::Answer;
use greenroom_protocol::token::Role;
use greenroom_protocol::v1::{CreateToken, List, NewToken, Token};

use crate::commands::each;
use crate::context::Context;
use crate::data::Server;
use crate::error::{CliError, Code};
use crate::human::ago;
use crate::ui::{Output, Row, Table, Tone};

mod offline;

use offline::Offline;

/// Create, list and revoke access tokens
///
/// Works through the coordinator; with --data of a folder that nobody serves, directly on
/// that folder.
#[derive(Debug, clap::Args)]
#[command(after_help = "\
Examples:
  greenroom token create --role operator --principal ann
  greenroom token create --role runner            joins one machine
  greenroom token ls
  greenroom token revoke 0198a3c4-…")]
pub(crate) struct Args {
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Make a token and print its secret, this once
    Create {
        /// What it allows
        #[arg(long, short, value_enum, value_name = "ROLE")]
        role: GivenRole,
        /// Whom it speaks for; tokens of one principal share their sessions [default: itself]
        #[arg(long, short, value_name = "NAME")]
        principal: Option<String>,
    },
    /// List tokens, without their secrets
    #[command(visible_alias = "list")]
    Ls,
    /// Revoke tokens
    #[command(visible_alias = "rm")]
    Revoke {
        /// Tokens, by id
        #[arg(required = true, value_name = "ID")]
        ids: Vec<String>,
    },
}

/// Roles that are given; those of agents are made by Greenroom itself.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
enum GivenRole {
    /// Everything
    Admin,
    /// Own and shared sessions
    Operator,
    /// Look at own and shared sessions
    Viewer,
    /// Join one machine
    Runner,
}

impl From<GivenRole> for Role {
    fn from(role: GivenRole) -> Self {
        match role {
            GivenRole::Admin => Self::Admin,
            GivenRole::Operator => Self::Operator,
            GivenRole::Viewer => Self::Viewer,
            GivenRole::Runner => Self::Runner,
        }
    }
}

pub(crate) async fn run(context: &Context, args: Args) -> Result<Code, CliError> {
    if context.names_data() && !context.names_url() {
        let data = context.data_dir()?;
        if matches!(data.server()?, Server::None) {
            let offline = Offline::open(&data).await?;
            let done = on_folder(context, &offline, args.command).await;
            offline.close().await;
            return done;
        }
    }
    through_api(context, args.command).await
}

async fn through_api(context: &Context, command: Command) -> Result<Code, CliError> {
    let (client, ui) = (context.client()?, &context.ui);
    match command {
        Command::Create { role, principal } => {
            let made = client.create_token(&CreateToken { role: role.into(), principal }).await?;
            match ui.output {
                Output::Table => say_made(context, &made)?,
                Output::Json | Output::Jsonl => ui.line(made.json().get())?,
            }
            Ok(Code::Done)
        }
        Command::Ls => {
            let list = client.tokens().await?;
            ui.list(
                &list,
                |token| token.id.to_string(),
                |tokens| table(tokens.iter().map(|token: &Answer<Token>| &**token)),
            )?;
            Ok(Code::Done)
        }
        Command::Revoke { ids } => {
            let revoke = async |id: &str| {
                client.revoke_token(id).await?;
                ui.say(format!("Token {id} is revoked."));
                Ok(())
            };
            Ok(each(context, &ids, revoke).await?.1)
        }
    }
}

async fn on_folder(
    context: &Context,
    offline: &Offline,
    command: Command,
) -> Result<Code, CliError> {
    let ui = &context.ui;
    match command {
        Command::Create { role, principal } => {
            let made = offline.create(role.into(), principal).await?;
            match ui.output {
                Output::Table => say_made(context, &made)?,
                Output::Json | Output::Jsonl => ui.line(json(&made))?,
            }
            Ok(Code::Done)
        }
        Command::Ls => {
            let tokens = offline.list().await?;
            match ui.output {
                Output::Table => ui.data(table(tokens.iter()).render(ui.paint))?,
                Output::Json => ui.line(json(&List::whole(tokens)))?,
                Output::Jsonl => tokens.iter().try_for_each(|token| ui.line(json(token)))?,
            }
            Ok(Code::Done)
        }
        Command::Revoke { ids } => {
            let revoke = async |id: &str| {
                offline.revoke(id).await?;
                ui.say(format!("Token {id} is revoked."));
                Ok(())
            };
            Ok(each(context, &ids, revoke).await?.1)
        }
    }
}

/// The protocol's own types have no maps with keys that are not text.
fn json(value: &impl serde::Serialize) -> String {
    serde_json::to_string(value).unwrap_or_default()
}

/// The secret is data, so that a script can take it; what it is, is talk.
fn say_made(context: &Context, made: &NewToken) -> Result<(), CliError> {
    let token = &made.token;
    context.ui.aside(format!(
        "token {} of role {} for {}",
        token.id,
        token.role.as_str(),
        token.principal
    ));
    context.ui.line(&made.secret)
}

fn table<'a>(tokens: impl Iterator<Item = &'a Token>) -> Table {
    let row = |token: &Token| {
        Row::new(
            Tone::Plain,
            [
                token.id.to_string(),
                token.role.as_str().to_owned(),
                token.principal.clone(),
                ago(token.created_at),
            ],
        )
    };
    Table::new(&["ID", "ROLE", "PRINCIPAL", "AGE"], tokens.map(row), "No tokens.")
}
