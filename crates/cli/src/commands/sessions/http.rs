//! `greenroom sessions http`.

use std::io::Read;

use greenroom_client::AgentRequest;

use super::Whose;
use crate::context::Context;
use crate::error::{CliError, Code};

/// Ask an agent that serves HTTP; a session at rest is brought up first
///
/// The answer's body goes to standard output as it comes. An answer of 400 and above is
/// exit code 1.
#[derive(Debug, clap::Args)]
#[command(after_help = "\
Examples:
  greenroom sessions http bot-1 /readiness
  greenroom sessions http bot-1 /invocations -d '{\"message\": \"hello\"}'
  greenroom sessions http bot-1 /responses -d @request.json --include")]
pub(crate) struct Args {
    /// Session
    id: String,
    /// Path at the agent, with its query
    path: String,
    /// Method; POST with a body, else GET
    #[arg(long, short = 'X', value_name = "METHOD")]
    method: Option<String>,
    /// Body: text, @FILE, or - for standard input. JSON is sent as that
    #[arg(long, short = 'd', value_name = "BODY")]
    data: Option<String>,
    /// Header
    #[arg(long, short = 'H', value_name = "NAME: VALUE")]
    header: Vec<String>,
    /// Print status and headers before the body
    #[arg(long, short = 'i')]
    include: bool,
}

pub(crate) async fn run(context: &Context, whose: &Whose, args: Args) -> Result<Code, CliError> {
    let client = context.client()?;
    let mut headers = Vec::new();
    for header in &args.header {
        let (name, value) = header.split_once(':').ok_or_else(|| {
            CliError::usage(format!("{header:?} is no header")).hint("write it as \"name: value\"")
        })?;
        headers.push((name.trim().to_owned(), value.trim().to_owned()));
    }
    let body = args.data.as_deref().map(read).transpose()?;
    let typed = headers.iter().any(|(name, _)| name.eq_ignore_ascii_case("content-type"));
    if let Some(body) = body.as_ref().filter(|_| !typed) {
        let json = serde_json::from_slice::<serde::de::IgnoredAny>(body).is_ok();
        let kind = if json { "application/json" } else { "text/plain; charset=utf-8" };
        headers.push(("content-type".to_owned(), kind.to_owned()));
    }
    let usual = if body.is_some() { "POST" } else { "GET" };
    let method = args.method.unwrap_or_else(|| usual.to_owned()).to_uppercase();
    whose.guard(&client, &args.id).await?;
    let request = AgentRequest { method, target: args.path, headers, body };
    let mut answer = client.ask_agent(&args.id, request).await?;
    if args.include {
        let mut head = format!("{}\n", answer.status());
        for (name, value) in answer.headers() {
            head.push_str(&format!("{name}: {value}\n"));
        }
        head.push('\n');
        context.ui.data(head.as_bytes())?;
    }
    while let Some(chunk) = answer.chunk().await? {
        context.ui.data(&chunk)?;
    }
    Ok(if answer.status() < 400 { Code::Done } else { Code::Failed })
}

fn read(data: &str) -> Result<Vec<u8>, CliError> {
    let mut bytes = Vec::new();
    let (name, done) = match data.strip_prefix('@') {
        _ if data == "-" => ("standard input", std::io::stdin().read_to_end(&mut bytes).map(drop)),
        Some(path) => (path, std::fs::read(path).map(|read| bytes = read)),
        None => return Ok(data.as_bytes().to_vec()),
    };
    done.map_err(|error| CliError::failed(format!("{name} cannot be read: {error}")))?;
    Ok(bytes)
}
