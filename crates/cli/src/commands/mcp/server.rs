//! The protocol. The one module that knows its crate.

use greenroom_client::Client;
use greenroom_protocol::token::Role;
use rmcp::model::{
    CallToolRequestParams, CallToolResponse, CallToolResult, ContentBlock, ErrorCode,
    Implementation, ListToolsResult, MetaObject, PaginatedRequestParams, ProgressNotificationParam,
    ServerCapabilities, ServerConfig, Tool, ToolAnnotations,
};
use rmcp::service::{Peer, RequestContext, RoleServer};
use rmcp::transport::streamable_http_server::session::never::NeverSessionManager;
use rmcp::transport::streamable_http_server::{StreamableHttpServerConfig, StreamableHttpService};
use rmcp::{ErrorData, ServerHandler, ServiceExt};
use serde_json::Value;
use tokio::sync::mpsc;
use tokio_util::sync::CancellationToken;

use super::acts::{Refused, Tools};
use super::tools::{self, About, Effect};
use super::watch::{Progress, Step};
use crate::error::CliError;

/// The key beneath which an error's `application/problem+json` is repeated for programs.
const PROBLEM: &str = "greenroom/problem";

/// In whose name the tools are used.
#[derive(Debug, Clone)]
enum Caller {
    /// One for the whole connection, and the session it is inside of.
    Fixed { client: Client, parent: Option<String> },
    /// Each request brings its own.
    Each,
}

struct Server {
    caller: Caller,
}

impl Server {
    fn tools(&self, context: &RequestContext<RoleServer>) -> Result<Tools, ErrorData> {
        match &self.caller {
            Caller::Fixed { client, parent } => {
                Ok(Tools { client: client.clone(), parent: parent.clone() })
            }
            Caller::Each => {
                let parts = context.extensions.get::<http::request::Parts>();
                let client = parts.and_then(|parts| parts.extensions.get::<Client>()).cloned();
                let missing = || ErrorData::internal_error("the request has no caller", None);
                Ok(Tools { client: client.ok_or_else(missing)?, parent: None })
            }
        }
    }
}

fn described(about: &About) -> Tool {
    let object = |schema: Value| schema.as_object().cloned().unwrap_or_default();
    let mut tool = Tool::new(about.name, about.about, object((about.input)()));
    tool.title = Some(about.title.to_owned());
    tool.output_schema = Some(std::sync::Arc::new(object((about.output)())));
    let reads = about.effect == Effect::Reads;
    let mut hints = ToolAnnotations::default();
    hints.read_only_hint = Some(reads);
    hints.destructive_hint = Some(matches!(about.effect, Effect::Ends | Effect::Decides));
    hints.idempotent_hint = Some(matches!(about.effect, Effect::Reads | Effect::Ends));
    // What an agent does in its session can be anything.
    hints.open_world_hint = Some(about.effect == Effect::Adds);
    tool.annotations = Some(hints);
    tool
}

/// An error that a model can do something about. It has no structured content: that would
/// have to fit the tool's output schema.
fn refusal(refused: Refused) -> CallToolResult {
    let mut result = CallToolResult::error(vec![ContentBlock::text(refused.words)]);
    if let Some(problem) = refused.problem
        && let Ok(problem) = serde_json::to_value(problem)
    {
        let mut meta = MetaObject::default();
        meta.insert(PROBLEM.to_owned(), problem);
        result.meta = Some(meta);
    }
    result
}

/// Passes on how far a wait is, until it ends.
async fn tell(
    peer: Peer<RoleServer>,
    token: rmcp::model::ProgressToken,
    mut steps: mpsc::UnboundedReceiver<Step>,
) {
    let mut last = -1.0;
    while let Some(step) = steps.recv().await {
        // Progress has to increase, and two events can share a moment.
        last = if step.seconds > last { step.seconds } else { last + 0.001 };
        let told = ProgressNotificationParam::new(token.clone(), last)
            .with_total(step.limit.max(last))
            .with_message(step.words);
        if peer.notify_progress(told).await.is_err() {
            return;
        }
    }
}

impl ServerHandler for Server {
    fn get_info(&self) -> ServerConfig {
        let mut info = ServerConfig::default();
        info.capabilities = ServerCapabilities::builder().enable_tools().build();
        info.server_info = Implementation::new("greenroom", env!("CARGO_PKG_VERSION"));
        info.server_info.title = Some("Greenroom".to_owned());
        info.instructions = Some(tools::INSTRUCTIONS.to_owned());
        info
    }

    async fn list_tools(
        &self,
        _request: Option<PaginatedRequestParams>,
        context: RequestContext<RoleServer>,
    ) -> Result<ListToolsResult, ErrorData> {
        let role = match self.tools(&context)?.client.who().await {
            Ok(who) => who.role,
            // Without its coordinator it offers all, and each call says what is wrong.
            Err(error) if error.is_no_coordinator() => Role::Admin,
            Err(error) => {
                let Refused { words, .. } = Refused::from(error);
                return Err(ErrorData::new(ErrorCode::INVALID_REQUEST, words, None));
            }
        };
        Ok(ListToolsResult::with_all_items(tools::offered(role).map(described).collect()))
    }

    async fn call_tool(
        &self,
        request: CallToolRequestParams,
        context: RequestContext<RoleServer>,
    ) -> Result<CallToolResponse, ErrorData> {
        let tools = self.tools(&context)?;
        let arguments = Value::Object(request.arguments.unwrap_or_default());
        let (progress, telling) = match context.meta.get_progress_token() {
            Some(token) => {
                let (say, steps) = mpsc::unbounded_channel();
                let telling = tokio::spawn(tell(context.peer.clone(), token, steps));
                (Progress(Some(say)), Some(telling))
            }
            None => (Progress(None), None),
        };
        let done = tokio::select! {
            done = tools.call(&request.name, arguments, &progress) => done,
            () = context.ct.cancelled() => Err(Refused::new("the call was cancelled")),
        };
        drop(progress);
        if let Some(telling) = telling {
            // What was said before the answer goes out before it.
            let _ = telling.await;
        }
        Ok(match done {
            Ok(value) => CallToolResult::structured(value),
            Err(refused) => refusal(refused),
        }
        .into())
    }
}

/// Serves one client on standard input and output, until it closes them.
pub(super) async fn over_stdio(client: Client, parent: Option<String>) -> Result<(), CliError> {
    let failed = |error: String| CliError::failed(format!("the MCP connection failed: {error}"));
    let server = Server { caller: Caller::Fixed { client, parent } };
    let service = match server.serve(rmcp::transport::io::stdio()).await {
        Ok(service) => service,
        // Whoever opened it has gone again before a word.
        Err(rmcp::service::ServerInitializeError::ConnectionClosed(_)) => return Ok(()),
        Err(error) => return Err(failed(error.to_string())),
    };
    service.waiting().await.map_err(|error| failed(error.to_string()))?;
    Ok(())
}

/// Serves streamable HTTP, each request by itself: it has a [`Client`] among its extensions.
pub(super) fn over_http(
    ends: CancellationToken,
) -> impl tower::Service<
    axum::extract::Request,
    Response = impl axum::response::IntoResponse,
    Error = std::convert::Infallible,
    Future = impl Send + 'static,
> + Clone
+ Send
+ Sync
+ 'static {
    let config = StreamableHttpServerConfig::default()
        // Nothing is kept between requests: none can use what another was allowed.
        .with_legacy_session_mode(false)
        .with_cancellation_token(ends)
        // The guard in front of it has looked at both.
        .disable_allowed_hosts();
    StreamableHttpService::new(
        || Ok(Server { caller: Caller::Each }),
        NeverSessionManager::default().into(),
        config,
    )
}
