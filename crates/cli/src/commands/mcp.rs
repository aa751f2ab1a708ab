//! `greenroom mcp`: Greenroom as an MCP server on standard input and output, so that an
//! agent can start, watch and stop sessions. The one module that knows the protocol's crate.

mod tools;

use rmcp::model::{
    CallToolRequestParams, CallToolResponse, CallToolResult, ContentBlock, Implementation,
    ListToolsResult, PaginatedRequestParams, ServerCapabilities, ServerConfig, Tool,
};
use rmcp::service::{RequestContext, RoleServer};
use rmcp::{ErrorData, ServerHandler, ServiceExt};

use self::tools::Tools;
use crate::context::Context;
use crate::error::{CliError, Code};

/// Serve MCP on standard input and output: sessions as tools for agents
///
/// Inside a session it starts, watches and stops that session's children, and nothing else: its
/// token allows no more. Elsewhere it does what the given token allows. It can answer no approval.
#[derive(Debug, clap::Args)]
#[command(after_help = "\
Examples:
  claude mcp add greenroom -- greenroom mcp
  greenroom mcp < /dev/null")]
pub(crate) struct Args {}

struct Server {
    tools: Tools,
}

impl ServerHandler for Server {
    fn get_info(&self) -> ServerConfig {
        let mut info = ServerConfig::default();
        info.capabilities = ServerCapabilities::builder().enable_tools().build();
        info.server_info = Implementation::new("greenroom", env!("CARGO_PKG_VERSION"));
        info.instructions = Some(tools::INSTRUCTIONS.to_owned());
        info
    }

    async fn list_tools(
        &self,
        _request: Option<PaginatedRequestParams>,
        _context: RequestContext<RoleServer>,
    ) -> Result<ListToolsResult, ErrorData> {
        let tools = tools::LIST.iter().map(|tool| {
            let schema = (tool.schema)().as_object().cloned().unwrap_or_default();
            Tool::new(tool.name, tool.about, schema)
        });
        Ok(ListToolsResult::with_all_items(tools.collect()))
    }

    async fn call_tool(
        &self,
        request: CallToolRequestParams,
        _context: RequestContext<RoleServer>,
    ) -> Result<CallToolResponse, ErrorData> {
        let arguments = serde_json::Value::Object(request.arguments.unwrap_or_default());
        let done = self.tools.call(&request.name, arguments).await;
        let text = |text: String| vec![ContentBlock::text(text)];
        Ok(match done {
            Ok(value) => CallToolResult::success(text(value.to_string())),
            // The agent can do something about it; the connection is fine.
            Err(error) => CallToolResult::error(text(error)),
        }
        .into())
    }
}

pub(crate) async fn run(context: &Context, _args: Args) -> Result<Code, CliError> {
    let parent = std::env::var("GREENROOM_SESSION").ok().filter(|id| !id.is_empty());
    let server = Server { tools: Tools { client: context.client()?, parent } };
    let failed = |error: String| CliError::failed(format!("the MCP connection failed: {error}"));
    let service = server.serve(rmcp::transport::io::stdio()).await;
    let service = match service {
        Ok(service) => service,
        // Whoever opened it has gone again before a word.
        Err(rmcp::service::ServerInitializeError::ConnectionClosed(_)) => return Ok(Code::Done),
        Err(error) => return Err(failed(error.to_string())),
    };
    service.waiting().await.map_err(|error| failed(error.to_string()))?;
    Ok(Code::Done)
}
