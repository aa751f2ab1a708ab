//! MCP servers by way of the crate `rmcp`. None of its types leaves this module.

use std::collections::{BTreeMap, HashMap};
use std::path::Path;
use std::time::Duration;

use greenroom_core::ApprovalId;
use greenroom_core::approval::{Answer, Ask, AskKind, Decision};
use greenroom_core::loop_spec::{McpAt, McpSpec};
use rmcp::model::{
    CallToolRequestParams, CallToolResult, ClientCapabilities, ClientConfig, ContentBlock,
    ElicitRequestParams, ElicitResult, ElicitationAction, ElicitationCapability,
    FormElicitationCapability, Implementation, ResourceContents, UrlElicitationCapability,
};
use rmcp::service::{RequestContext, RoleClient, RunningService, ServiceError};
use rmcp::transport::TokioChildProcess;
use rmcp::transport::streamable_http_client::{
    StreamableHttpClientTransport, StreamableHttpClientTransportConfig,
};
use serde_json::Value;

use super::http;
use super::model::Tool;
use crate::shim::Shim;

/// A server is up, and has said what it can do, within this.
const START: Duration = Duration::from_secs(30);
/// How long one is given to end by itself.
const END: Duration = Duration::from_secs(1);
/// Names of tools are no longer than this: some providers refuse more.
const LONGEST_NAME: usize = 64;

/// What is between a server and people: its questions become those of the session.
#[derive(Clone)]
pub struct People {
    /// Who is told.
    pub shim: Shim,
}

/// How often a tool may send a person to a page before it is given up.
const MOST_VISITS: u32 = 3;
/// A tool wants a page visited first, and to be called again then (MCP, "URL Elicitation
/// Required Error").
const VISIT_FIRST: i32 = -32042;

/// The pages a server wants visited first, with its words for each.
fn pages(error: &ServiceError) -> Vec<(String, String)> {
    let ServiceError::McpError(error) = error else { return Vec::new() };
    let wanted = error.data.as_ref().and_then(|data| data["elicitations"].as_array());
    let text = |page: &Value, key: &str| page[key].as_str().unwrap_or_default().to_owned();
    wanted
        .filter(|_| error.code.0 == VISIT_FIRST)
        .into_iter()
        .flatten()
        .filter(|page| page["mode"] == "url" && page["url"].is_string())
        .map(|page| (text(page, "message"), text(page, "url")))
        .collect()
}

impl People {
    /// Asks a person to do something on a page.
    async fn ask_url(&self, title: String, url: String) -> Answer {
        self.ask(AskKind::Url, title, None, Some(url)).await
    }

    async fn ask(
        &self,
        kind: AskKind,
        title: String,
        schema: Option<Value>,
        url: Option<String>,
    ) -> Answer {
        let id = ApprovalId(uuid::Uuid::now_v7());
        let (tool, input, options) = (None, None, Vec::new());
        let ask = Ask { id, kind, title, tool, input, options, schema, url };
        self.shim.ask(ask).await
    }
}

impl rmcp::ClientHandler for People {
    fn get_info(&self) -> ClientConfig {
        let mut capabilities = ClientCapabilities::default();
        let asks = ElicitationCapability::new()
            .with_form(FormElicitationCapability::new())
            .with_url(UrlElicitationCapability::new());
        capabilities.elicitation = Some(asks);
        let name = Implementation::new("greenroom", env!("CARGO_PKG_VERSION"));
        ClientConfig::new(capabilities, name)
    }

    async fn create_elicitation(
        &self,
        request: ElicitRequestParams,
        context: RequestContext<RoleClient>,
    ) -> Result<ElicitResult, rmcp::ErrorData> {
        let (kind, title, schema, url) = match request {
            ElicitRequestParams::FormElicitationParams { message, requested_schema, .. } => {
                (AskKind::Form, message, serde_json::to_value(requested_schema).ok(), None)
            }
            ElicitRequestParams::UrlElicitationParams { message, url, .. } => {
                (AskKind::Url, message, None, Some(url))
            }
            _ => return Ok(ElicitResult::new(ElicitationAction::Decline)),
        };
        // Dropped, it is withdrawn.
        let answer = tokio::select! {
            answer = self.ask(kind, title, schema, url) => answer,
            () = context.ct.cancelled() => {
                return Ok(ElicitResult::new(ElicitationAction::Cancel));
            }
        };
        Ok(match (answer.decision, kind) {
            (Decision::Allow, AskKind::Form) => {
                let content = answer.content.unwrap_or_else(|| Value::Object(Default::default()));
                ElicitResult::new(ElicitationAction::Accept).with_content(content)
            }
            (Decision::Allow, _) => ElicitResult::new(ElicitationAction::Accept),
            (Decision::Deny, _) => ElicitResult::new(ElicitationAction::Decline),
        })
    }
}

type Server = RunningService<RoleClient, People>;

/// The servers, connected.
#[derive(Default)]
pub struct Mcp {
    servers: Vec<Server>,
    tools: BTreeMap<String, Known>,
}

/// A tool of a server.
struct Known {
    server: usize,
    /// Its name there.
    name: String,
    tool: Tool,
}

impl Mcp {
    /// Connects to all of them, at once. What cannot be reached is an error that names it.
    pub async fn connect(
        specs: &BTreeMap<String, McpSpec>,
        workspace: &Path,
        hidden: &[String],
        people: &People,
        variable: impl Fn(&str) -> Option<String>,
    ) -> Result<Self, String> {
        let begun = specs.iter().map(|(name, spec)| {
            let connecting = connect(spec, workspace, hidden, people, &variable);
            async move {
                let connected = tokio::time::timeout(START, connecting).await;
                let connected = connected
                    .unwrap_or_else(|_| Err(format!("not ready within {} s", START.as_secs())));
                connected.map_err(|error| format!("MCP server {name:?}: {error}"))
            }
        });
        let mut mcp = Self::default();
        let connected = futures::future::try_join_all(begun).await?;
        for ((name, spec), (server, tools)) in specs.iter().zip(connected) {
            mcp.add(name, spec, server, tools)?;
        }
        Ok(mcp)
    }

    fn add(
        &mut self,
        name: &str,
        spec: &McpSpec,
        server: Server,
        tools: Vec<rmcp::model::Tool>,
    ) -> Result<(), String> {
        if let Some(wanted) = &spec.tools {
            let missing = wanted.iter().find(|want| !tools.iter().any(|tool| tool.name == **want));
            if let Some(missing) = missing {
                return Err(format!("MCP server {name:?} has no tool {missing:?}"));
            }
        }
        let index = self.servers.len();
        self.servers.push(server);
        for tool in tools {
            if spec.tools.as_ref().is_some_and(|wanted| !wanted.iter().any(|w| tool.name == *w)) {
                continue;
            }
            let full = full_name(name, &tool.name);
            let described = Tool {
                name: full.clone(),
                description: tool.description.as_deref().unwrap_or_default().to_owned(),
                schema: Value::Object((*tool.input_schema).clone()),
            };
            let known = Known { server: index, name: tool.name.into_owned(), tool: described };
            if let Some(other) = self.tools.insert(full, known) {
                return Err(format!(
                    "MCP server {name:?} has two tools that would be called {:?}: name the ones \
                     you want in mcp.{name}.tools",
                    other.tool.name
                ));
            }
        }
        Ok(())
    }

    /// The tools, for the model.
    pub fn tools(&self) -> impl Iterator<Item = &Tool> {
        self.tools.values().map(|known| &known.tool)
    }

    /// Whether there is such a tool.
    pub fn has(&self, tool: &str) -> bool {
        self.tools.contains_key(tool)
    }

    /// Uses a tool. Dropped, the server is told that nobody waits.
    pub async fn call(&self, tool: &str, input: &Value) -> Result<String, String> {
        let known = self.tools.get(tool).ok_or_else(|| format!("there is no tool {tool:?}"))?;
        let mut params = CallToolRequestParams::new(known.name.clone());
        params.arguments = input.as_object().cloned();
        let server = self.servers.get(known.server).ok_or("its server is gone")?;
        let mut error = match server.call_tool(params.clone()).await {
            Ok(result) => return told(result),
            Err(error) => error,
        };
        for _ in 0..MOST_VISITS {
            let pages = pages(&error);
            if pages.is_empty() {
                break;
            }
            for (title, url) in pages {
                let answer = server.service().ask_url(title, url).await;
                if answer.decision == Decision::Deny {
                    return Err(format!(
                        "the MCP server did not do it: {error}, and that was declined"
                    ));
                }
            }
            error = match server.call_tool(params.clone()).await {
                Ok(result) => return told(result),
                Err(error) => error,
            };
        }
        Err(format!("the MCP server did not do it: {error}"))
    }

    /// Ends the connections, and with them the servers that were started.
    pub async fn close(&mut self) {
        let ends = self.servers.iter_mut().map(|server| server.close_with_timeout(END));
        futures::future::join_all(ends).await;
    }
}

type Connected = (Server, Vec<rmcp::model::Tool>);

async fn connect(
    spec: &McpSpec,
    workspace: &Path,
    hidden: &[String],
    people: &People,
    variable: &impl Fn(&str) -> Option<String>,
) -> Result<Connected, String> {
    let value = |name: &String| variable(name).ok_or(format!("variable {name} is not set"));
    let server = match &spec.at {
        McpAt::Stdio { command, env } => {
            let [program, args @ ..] = command.as_slice() else {
                return Err("its command is empty".to_owned());
            };
            let mut start = tokio::process::Command::new(program);
            start.args(args).current_dir(workspace);
            for name in hidden {
                start.env_remove(name);
            }
            for (name, from) in env {
                start.env(name, value(from)?);
            }
            let child = TokioChildProcess::new(start)
                .map_err(|error| format!("program {program:?} cannot be started: {error}"))?;
            rmcp::serve_client(people.clone(), child).await
        }
        McpAt::Http { url, headers } => {
            let mut custom = HashMap::new();
            for (name, from) in headers {
                let header = reqwest::header::HeaderName::try_from(name.as_str())
                    .map_err(|_| format!("{name:?} is not the name of a header"))?;
                let mut value = reqwest::header::HeaderValue::try_from(value(from)?)
                    .map_err(|_| format!("header {name:?} holds what no header may"))?;
                value.set_sensitive(true);
                custom.insert(header, value);
            }
            let client = http::client(|builder| {
                builder.pool_max_idle_per_host(0).redirect(reqwest::redirect::Policy::none())
            })?;
            let config =
                StreamableHttpClientTransportConfig::with_uri(url.as_str()).custom_headers(custom);
            let transport = StreamableHttpClientTransport::with_client(client, config);
            rmcp::serve_client(people.clone(), transport).await
        }
    };
    let server = server.map_err(|error| format!("did not begin: {error}"))?;
    let tools = server.list_all_tools().await;
    let tools = tools.map_err(|error| format!("did not say what tools it has: {error}"))?;
    Ok((server, tools))
}

/// `SERVER__TOOL`, in letters every provider takes.
fn full_name(server: &str, tool: &str) -> String {
    let plain = |c: char| c.is_ascii_alphanumeric() || matches!(c, '_' | '-');
    let name = format!("{server}__{tool}");
    name.chars().map(|c| if plain(c) { c } else { '_' }).take(LONGEST_NAME).collect()
}

/// A result as text.
fn told(result: CallToolResult) -> Result<String, String> {
    let mut parts: Vec<String> = Vec::new();
    for block in &result.content {
        parts.push(match block {
            ContentBlock::Text(text) => text.text.clone(),
            ContentBlock::Image(image) => format!("[an image of type {}]", image.mime_type),
            ContentBlock::Audio(audio) => format!("[sound of type {}]", audio.mime_type),
            ContentBlock::Resource(resource) => match &resource.resource {
                ResourceContents::TextResourceContents { text, .. } => text.clone(),
                ResourceContents::BlobResourceContents { uri, .. } => format!("[bytes of {uri}]"),
                _ => "[a resource]".to_owned(),
            },
            ContentBlock::ResourceLink(link) => format!("[see {}]", link.uri),
            _ => "[something this build does not know]".to_owned(),
        });
    }
    if parts.is_empty()
        && let Some(structured) = &result.structured_content
    {
        parts.push(structured.to_string());
    }
    let text = parts.join("\n");
    match result.is_error {
        Some(true) => Err(text),
        _ => Ok(text),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_fit_every_provider() {
        assert_eq!(full_name("lab", "echo"), "lab__echo");
        assert_eq!(full_name("lab", "a.b/c é"), "lab__a_b_c__");
        assert_eq!(full_name("lab", &"x".repeat(100)).len(), LONGEST_NAME);
    }
}
