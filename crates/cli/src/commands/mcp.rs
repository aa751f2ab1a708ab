//! `greenroom mcp`: Greenroom as an MCP server, so that agents and editors can start, watch
//! and stop sessions.
//!
//! * [`tools`]: what is offered, in words and schemas
//! * [`acts`], [`watch`]: what each does
//! * [`server`]: the protocol, and its crate
//! * [`http`]: the door over HTTP

mod acts;
mod http;
mod server;
mod tools;
mod watch;

use std::net::SocketAddr;

use crate::context::Context;
use crate::error::{CliError, Code};

/// Serve MCP: sessions as tools for agents and editors
///
/// On standard input and output, or with --listen over streamable HTTP. It does what its token
/// allows and nothing else: with a person's token what that person may, approvals too; inside a
/// session, that session's children, and no approval. Over HTTP each request brings a token of
/// its own, and the server has none.
#[derive(Debug, clap::Args)]
#[command(after_help = "\
Examples:
  claude mcp add greenroom -- greenroom mcp
  greenroom mcp --listen 127.0.0.1:7071
  claude mcp add --transport http greenroom http://127.0.0.1:7071/mcp \\
    --header \"Authorization: Bearer $(cat ~/.local/share/greenroom/token)\"
  npx @modelcontextprotocol/inspector --cli greenroom mcp --method tools/list")]
pub(crate) struct Args {
    /// Serve streamable HTTP at this address, on loopback; port 0 takes a free one
    #[arg(long, value_name = "ADDRESS:PORT", value_parser = http::address)]
    listen: Option<SocketAddr>,
    /// Another name it is reached by, as NAME or NAME:PORT, behind a proxy; may be repeated
    #[arg(long = "allowed-host", value_name = "HOST", requires = "listen")]
    allowed_hosts: Vec<String>,
}

pub(crate) async fn run(context: &Context, args: Args) -> Result<Code, CliError> {
    if let Some(listen) = args.listen {
        return http::serve(context, listen, &args.allowed_hosts).await;
    }
    let parent = std::env::var("GREENROOM_SESSION").ok().filter(|id| !id.is_empty());
    server::over_stdio(context.client()?, parent).await?;
    Ok(Code::Done)
}
