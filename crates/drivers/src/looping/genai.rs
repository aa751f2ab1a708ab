//! Models by way of the crate `genai`, which knows the providers' formats. None of its
//! types leaves this module.

use std::time::Duration;

use async_trait::async_trait;
use futures::StreamExt;
use genai::adapter::AdapterKind;
use genai::chat::{
    ChatMessage, ChatOptions, ChatRequest, ChatStreamEvent, ContentPart, JsonSpec, MessageContent,
    StopReason, StreamEnd, ToolCall, ToolResponse,
};
use genai::resolver::{AuthData, Endpoint};
use genai::{Client, Headers, ModelIden, ServiceTarget};
use greenroom_core::loop_spec::{ModelSpec, Provider};
use serde_json::{Value, json};

use super::http::causes;
use super::model::*;

/// Of an error's text, so much is passed on.
const LONGEST_ERROR: usize = 2000;

/// A model at an endpoint.
pub struct Remote {
    client: Client,
    spec: ModelSpec,
    name: String,
    key: Option<String>,
}

impl Remote {
    /// The model of this description. Its key is looked up now, so that a missing one is
    /// said at the start.
    pub fn new(
        spec: ModelSpec,
        variable: impl Fn(&str) -> Option<String>,
        http: reqwest::Client,
    ) -> Result<Self, Fault> {
        let name = spec.name();
        let key = match &spec.key_env {
            None => None,
            Some(env) => match variable(env).filter(|key| !key.trim().is_empty()) {
                Some(key) => Some(key.trim().to_owned()),
                None => {
                    let message = format!("the key of model {name} is empty: variable {env}");
                    return Err(Fault::new(FaultKind::Auth, message));
                }
            },
        };
        let client = Client::builder().with_reqwest(http).build().map_err(|error| {
            Fault::new(FaultKind::Refused, format!("model {name} cannot be called: {error}"))
        })?;
        Ok(Self { client, spec, name, key })
    }

    fn base(&self) -> String {
        let base = self.spec.base_url.as_deref().unwrap_or(self.spec.provider.home());
        format!("{}/", base.trim_end_matches('/'))
    }

    fn target(&self) -> ServiceTarget {
        let kind = match self.spec.provider {
            Provider::Openai => AdapterKind::OpenAI,
            Provider::OpenaiResponses => AdapterKind::OpenAIResp,
            Provider::Anthropic => AdapterKind::Anthropic,
            Provider::Gemini => AdapterKind::Gemini,
        };
        let (base, model) = (self.base(), &self.spec.model);
        let auth = match &self.key {
            Some(key) => AuthData::from_single(key.clone()),
            // No key is no header, rather than an empty one.
            None => {
                let url = match self.spec.provider {
                    Provider::Openai => format!("{base}chat/completions"),
                    Provider::OpenaiResponses => format!("{base}responses"),
                    Provider::Anthropic => format!("{base}messages"),
                    Provider::Gemini => {
                        format!("{base}models/{model}:streamGenerateContent?alt=sse")
                    }
                };
                let headers = match self.spec.provider {
                    Provider::Anthropic => Headers::from(("anthropic-version", "2023-06-01")),
                    _ => Headers::default(),
                };
                AuthData::RequestOverride { url, headers }
            }
        };
        ServiceTarget {
            endpoint: Endpoint::from_owned(base),
            auth,
            model: ModelIden::new(kind, model.clone()),
        }
    }

    fn options(&self, request: &Request<'_>) -> ChatOptions {
        let silence = Duration::from_millis(self.spec.silence_ms.0.max(1));
        let mut options = ChatOptions::default()
            .with_stream_header_timeout(silence)
            .with_stream_read_timeout(silence)
            .with_capture_usage(true)
            .with_capture_content(false)
            .with_capture_tool_calls(true)
            .with_capture_reasoning_content(true);
        options.max_tokens = self.spec.max_tokens;
        options.temperature = self.spec.temperature.as_ref().and_then(|n| n.as_f64());
        options.top_p = self.spec.top_p.as_ref().and_then(|n| n.as_f64());
        if let Some(form) = request.form {
            options = options.with_response_format(JsonSpec::new(&form.name, form.schema.clone()));
        }
        options
    }

    fn fault(&self, error: &genai::Error) -> Fault {
        // A stream wraps what happened, sometimes more than once.
        if let genai::Error::WebStream { error: inner, cause, .. } = error {
            if let Some(inner) = inner.downcast_ref::<genai::Error>() {
                return self.fault(inner);
            }
            let silent =
                inner.downcast_ref::<reqwest::Error>().is_some_and(reqwest::Error::is_timeout)
                    || cause.contains("timed out");
            let (kind, what) = match silent {
                true => (FaultKind::Silent, "did not answer in time".to_owned()),
                false => {
                    let cause = causes(inner.as_ref());
                    (FaultKind::Broken, format!("broke off: {cause}"))
                }
            };
            return self.say(kind, &what);
        }
        if let Some(status) = error.status() {
            let body = match error {
                genai::Error::HttpError { body, .. } => message_in(body),
                other => other.to_string(),
            };
            let after = error.headers().and_then(|headers| {
                retry_after(|name| headers.get(name).and_then(|value| value.to_str().ok()))
            });
            let kind = kind_of(status.as_u16(), &body, after);
            return self.say(kind, &format!("answered {status}: {body}"));
        }
        match error {
            genai::Error::ChatResponse { body, .. } => {
                let text = message_in(&body.to_string());
                let kind = kind_of_stream_error(body);
                self.say(kind, &format!("broke off with an error: {text}"))
            }
            genai::Error::StreamParse { serde_error, .. } => {
                self.say(FaultKind::Broken, &format!("sent what does not read: {serde_error}"))
            }
            genai::Error::SerdeJson(error) => {
                self.say(FaultKind::Broken, &format!("sent what does not read: {error}"))
            }
            genai::Error::JsonValueExt(error) => {
                self.say(FaultKind::Broken, &format!("sent what does not read: {error}"))
            }
            other => self.say(FaultKind::Refused, &format!("cannot be called: {other}")),
        }
    }

    /// A fault whose text names the model and no key.
    fn say(&self, kind: FaultKind, what: &str) -> Fault {
        let mut text = format!("model {} at {} {what}", self.name, self.base());
        if let Some(key) = &self.key {
            text = text.replace(key.as_str(), "(the key)");
        }
        if text.len() > LONGEST_ERROR {
            let cut = (0..=LONGEST_ERROR).rev().find(|at| text.is_char_boundary(*at));
            text.truncate(cut.unwrap_or(0));
            text.push('…');
        }
        Fault::new(kind, text)
    }

    fn reply(&self, end: StreamEnd, said: bool) -> Result<Reply, Fault> {
        let stop = match &end.captured_stop_reason {
            Some(StopReason::MaxTokens(_)) => Stop::Length,
            Some(StopReason::ContentFilter(_)) => Stop::Filtered,
            Some(_) => Stop::Done,
            // Chat completions end with a frame of their own; where a connection just
            // closes, only the reason tells an end from a cut.
            None if self.spec.provider == Provider::Openai => Stop::Done,
            None if self.spec.provider == Provider::Anthropic => Stop::Done,
            None => {
                return Err(self.say(FaultKind::Broken, "broke off before the end of its answer"));
            }
        };
        let usage = end.captured_usage.unwrap_or_default();
        let count = |tokens: Option<i32>| tokens.and_then(|n| u64::try_from(n).ok()).unwrap_or(0);
        let cached = usage.prompt_tokens_details.as_ref().and_then(|d| d.cached_tokens);
        let usage = Usage {
            input: count(usage.prompt_tokens),
            output: count(usage.completion_tokens),
            cached: count(cached),
        };
        let (mut calls, mut state) = (Vec::new(), Vec::new());
        for part in end.captured_content.map(MessageContent::into_parts).unwrap_or_default() {
            match part {
                ContentPart::ToolCall(call) => {
                    if let Some(signatures) = &call.thought_signatures {
                        state.push(json!({ "call": calls.len(), "signatures": signatures }));
                    }
                    calls.push(Call {
                        id: call.call_id,
                        tool: call.fn_name,
                        input: input_of(call.fn_arguments),
                    });
                }
                ContentPart::Text(_) | ContentPart::Binary(_) | ContentPart::ToolResponse(_) => {}
                part => state.extend(serde_json::to_value(part).ok().map(|p| json!({ "part": p }))),
            }
        }
        if calls.is_empty() && matches!(end.captured_stop_reason, Some(StopReason::ToolCall(_))) {
            let what = "wants a tool used and does not say which in a way that reads";
            return Err(self.say(FaultKind::Broken, what));
        }
        if calls.is_empty() && !said && stop == Stop::Filtered {
            return Err(self.say(FaultKind::Refused, "refused to answer: its filter took it"));
        }
        let state = (!calls.is_empty() && !state.is_empty())
            .then(|| State { model: self.name.clone(), parts: Value::Array(state) });
        Ok(Reply { calls, state, usage, stop })
    }

    fn message(&self, message: &Message) -> ChatMessage {
        match message {
            Message::User(text) => ChatMessage::user(text.clone()),
            Message::Agent { text, calls, state } => {
                let state = state.as_ref().filter(|state| state.model == self.name);
                let state = state.and_then(|state| state.parts.as_array());
                let mut parts: Vec<ContentPart> = state
                    .into_iter()
                    .flatten()
                    .filter_map(|entry| serde_json::from_value(entry.get("part")?.clone()).ok())
                    .collect();
                // A text of spaces alone is refused by some.
                if !text.trim().is_empty() || calls.is_empty() {
                    parts.push(ContentPart::Text(text.clone()));
                }
                parts.extend(calls.iter().enumerate().map(|(at, call)| {
                    let signatures = state.into_iter().flatten().find_map(|entry| {
                        (entry.get("call")?.as_u64()? == at as u64).then(|| {
                            serde_json::from_value(entry.get("signatures")?.clone()).ok()
                        })?
                    });
                    ContentPart::ToolCall(ToolCall {
                        call_id: call.id.clone(),
                        fn_name: call.tool.clone(),
                        fn_arguments: match &call.input {
                            // Providers take objects alone.
                            Value::Object(_) => call.input.clone(),
                            other => json!({ "unreadable": other }),
                        },
                        thought_signatures: signatures,
                    })
                }));
                ChatMessage::assistant(MessageContent::from_parts(parts))
            }
            Message::Results(results) => {
                let parts = results.iter().map(|result| {
                    let output = match (result.is_error, result.output.is_empty()) {
                        (true, _) => format!("error: {}", result.output),
                        (false, true) => "(no output)".to_owned(),
                        (false, false) => result.output.clone(),
                    };
                    let response = ToolResponse::new(result.id.clone(), output);
                    ContentPart::ToolResponse(response.with_fn_name(result.tool.clone()))
                });
                ChatMessage::tool(MessageContent::from_parts(parts.collect::<Vec<_>>()))
            }
        }
    }
}

#[async_trait]
impl Model for Remote {
    fn name(&self) -> &str {
        &self.name
    }

    async fn call(&self, request: &Request<'_>, heard: Heard<'_>) -> Result<Reply, Fault> {
        let messages = request.messages.iter().map(|message| self.message(message)).collect();
        let mut chat = ChatRequest::new(messages);
        if !request.system.is_empty() {
            chat = chat.with_system(request.system);
        }
        if !request.tools.is_empty() {
            chat = chat.with_tools(request.tools.iter().map(|tool| {
                genai::chat::Tool::new(tool.name.clone())
                    .with_description(tool.description.clone())
                    .with_schema(tool.schema.clone())
            }));
        }
        let options = self.options(request);
        let response = self.client.exec_chat_stream(self.target(), chat, Some(&options)).await;
        let mut stream = response.map_err(|error| self.fault(&error))?.stream;
        let mut said = false;
        while let Some(event) = stream.next().await {
            match event.map_err(|error| self.fault(&error))? {
                ChatStreamEvent::Chunk(chunk) => {
                    said |= !chunk.content.is_empty();
                    heard(Piece::Text(&chunk.content));
                }
                ChatStreamEvent::ReasoningChunk(chunk) => heard(Piece::Thought(&chunk.content)),
                ChatStreamEvent::End(end) => return self.reply(end, said),
                _ => {}
            }
        }
        Err(self.say(FaultKind::Broken, "broke off before the end of its answer"))
    }
}

/// The input of a call as a model gave it: an object where it reads as one.
fn input_of(arguments: Value) -> Value {
    match arguments {
        Value::Null => json!({}),
        Value::String(text) if text.trim().is_empty() => json!({}),
        Value::String(text) => match serde_json::from_str(&text) {
            Ok(object @ Value::Object(_)) => object,
            _ => Value::String(text),
        },
        other => other,
    }
}

/// What kind of fault a status is.
fn kind_of(status: u16, body: &str, after: Option<Duration>) -> FaultKind {
    let body = body.to_ascii_lowercase();
    let too_long =
        ["context length", "context_length", "context size", "too long", "maximum context"];
    match status {
        401 | 403 => FaultKind::Auth,
        429 => FaultKind::Limited(after),
        413 => FaultKind::TooLong,
        400 | 422 if too_long.iter().any(|words| body.contains(words)) => FaultKind::TooLong,
        408 | 409 | 425 => FaultKind::Server,
        // Overloaded, and willing to say for how long.
        503 | 529 if after.is_some() => FaultKind::Limited(after),
        500.. => FaultKind::Server,
        _ => FaultKind::Refused,
    }
}

/// What kind of fault an error in the middle of a stream is.
fn kind_of_stream_error(body: &Value) -> FaultKind {
    let error = body.get("error").unwrap_or(body);
    let field =
        |name: &str| error.get(name).map(|v| v.as_str().map_or(v.to_string(), str::to_owned));
    let word = [field("type"), field("code"), field("status")].into_iter().flatten();
    let words = word.collect::<Vec<_>>().join(" ").to_ascii_lowercase();
    if words.contains("rate_limit") || words.contains("429") || words.contains("exhausted") {
        FaultKind::Limited(None)
    } else if words.contains("authentication") || words.contains("permission") {
        FaultKind::Auth
    } else if words.contains("invalid") {
        FaultKind::Refused
    } else {
        FaultKind::Server
    }
}

/// How long a provider wants to be left alone.
fn retry_after<'a>(header: impl Fn(&str) -> Option<&'a str>) -> Option<Duration> {
    let finite = |value: f64| (value.is_finite() && value >= 0.0).then(|| value.min(86_400.0));
    if let Some(ms) = header("retry-after-ms").and_then(|text| text.trim().parse().ok()) {
        return finite(ms).map(|ms| Duration::from_secs_f64(ms / 1000.0));
    }
    let text = header("retry-after")?.trim();
    if let Ok(secs) = text.parse::<f64>() {
        return finite(secs).map(Duration::from_secs_f64);
    }
    let until = jiff::fmt::rfc2822::parse(text).ok()?.timestamp();
    let wait = until.duration_since(jiff::Timestamp::now());
    Some(Duration::try_from(wait).unwrap_or_default())
}

/// What a body says in words, where it is JSON with words in it.
fn message_in(body: &str) -> String {
    let parsed: Value = serde_json::from_str(body).unwrap_or(Value::Null);
    // Gemini wraps its errors in a list.
    let parsed = parsed.get(0).unwrap_or(&parsed);
    let error = parsed.get("error").unwrap_or(parsed);
    let words = error.get("message").or(parsed.get("message")).unwrap_or(error);
    match words {
        Value::String(words) => words.clone(),
        _ if body.trim().is_empty() => "without a word".to_owned(),
        _ => body.trim().to_owned(),
    }
}
