//! What a `loop` agent is: a model, the tools it may use, and how long it may go on.

use std::collections::{BTreeMap, BTreeSet};

use serde::{Deserialize, Serialize};
use serde_json::Number;
use utoipa::ToSchema;

use crate::ids::AgentName;
use crate::value::Ms;

/// Our own agent: a model that is called again and again until it needs no tool any more.
#[derive(Debug, Clone, PartialEq, Eq, Hash, Serialize, Deserialize, ToSchema)]
pub struct LoopSpec {
    /// The models, in the order in which they are tried: the first, then its fallbacks.
    pub models: Vec<ModelSpec>,
    /// What the model is told before all else.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub instruction: String,
    /// The tools it has of its own.
    pub tools: Vec<LoopTool>,
    /// MCP servers whose tools it has, too, by the name that goes before them.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub mcp: BTreeMap<String, McpSpec>,
    /// Agents it may hand work to, each in a session of its own.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub sub_agents: Vec<AgentName>,
    /// Agents that are described with it: a sub-agent of this name is one of these, in a
    /// session of the same agent.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    #[schema(no_recursion)]
    pub team: BTreeMap<AgentName, LoopSpec>,
    /// What the file that it stands in with its team calls it, where that is not `root`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub called: Option<AgentName>,
    /// Calls of the model that one run may take; 0 for any number.
    pub max_iterations: u32,
    /// How long a call of the model is tried again before its fault counts.
    pub retry_ms: Ms,
    /// The context, in tokens, from which older turns are summed up.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub compact_at: Option<u64>,
    /// Whether the model is told the date.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub add_date: bool,
    /// Whether the model is told where it works.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub add_environment_info: bool,
    /// Files of the workspace that are added to the instruction, where they are there.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub add_prompt_files: Vec<String>,
    /// Prompts by name: `/NAME words` stands for the text, with `$1`, `$2`, `${args}` filled in.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub commands: BTreeMap<String, String>,
    /// The name under which a provider is given the schema of the result.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub output_name: Option<String>,
    /// Models that a session may choose, by the names that its description gives them.
    /// `PROVIDER/*` stands for any other model there. Where there is none, those above and
    /// whatever else their endpoints have.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub choices: BTreeMap<String, ModelSpec>,
    /// What its description says and this build does not do. Said in the log at the start.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub warnings: Vec<String>,
}

impl LoopSpec {
    /// Calls of the model that one run may take, unless it is said otherwise.
    pub const MAX_ITERATIONS: u32 = 50;
    /// How long a call is tried again, unless it is said otherwise.
    pub const RETRY: Ms = Ms::secs(120);

    /// An agent of one model, with nothing but it.
    pub fn of(model: ModelSpec) -> Self {
        Self {
            models: vec![model],
            instruction: String::new(),
            tools: Vec::new(),
            mcp: BTreeMap::new(),
            sub_agents: Vec::new(),
            team: BTreeMap::new(),
            called: None,
            max_iterations: Self::MAX_ITERATIONS,
            retry_ms: Self::RETRY,
            compact_at: None,
            add_date: false,
            add_environment_info: false,
            add_prompt_files: Vec::new(),
            commands: BTreeMap::new(),
            output_name: None,
            choices: BTreeMap::new(),
            warnings: Vec::new(),
        }
    }

    /// Its models and those of its team.
    fn described(&self) -> impl Iterator<Item = &ModelSpec> {
        std::iter::once(self).chain(self.team.values()).flat_map(|agent| &agent.models)
    }

    /// The model that a session means by this name; none where its description does not know
    /// how it is reached. No prompt goes to an endpoint that the description does not name.
    pub fn choice(&self, name: &str) -> Option<ModelSpec> {
        let (provider, model) = name.split_once('/').unwrap_or((name, ""));
        if model == "*" {
            return None;
        }
        let exact = self.choices.get(name).or_else(|| self.described().find(|m| m.name() == name));
        if let Some(found) = exact {
            return Some(found.clone());
        }
        let any = match self.choices.is_empty() {
            true => self.described().find(|known| known.provider.as_str() == provider),
            false => self.choices.get(&format!("{provider}/*")),
        };
        let any = any.filter(|_| !model.trim().is_empty())?;
        // What else is said of that one may not fit another: its price, its temperature.
        Some(ModelSpec {
            base_url: any.base_url.clone(),
            key_env: any.key_env.clone(),
            silence_ms: any.silence_ms,
            ..ModelSpec::new(any.provider, model)
        })
    }

    /// What a session may choose, by name. `PROVIDER/*` stands for any other model there.
    pub fn known(&self) -> Vec<String> {
        let any = |model: &ModelSpec| format!("{}/*", model.provider.as_str());
        let mut known: BTreeSet<String> = self.described().map(ModelSpec::name).collect();
        match self.choices.is_empty() {
            true => known.extend(self.described().map(any)),
            false => known.extend(self.choices.keys().cloned()),
        }
        known.into_iter().collect()
    }
}

/// A model, and where it is.
#[derive(Debug, Clone, PartialEq, Eq, Hash, Serialize, Deserialize, ToSchema)]
pub struct ModelSpec {
    /// How its endpoint is spoken to.
    pub provider: Provider,
    /// Its name there.
    pub model: String,
    /// The endpoint, up to the version: `http://127.0.0.1:8080/v1`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub base_url: Option<String>,
    /// The variable that holds its key. Without one, no key is sent.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub key_env: Option<String>,
    /// The longest answer, in tokens.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub max_tokens: Option<u32>,
    /// How freely it chooses its words.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schema(value_type = Option<f64>)]
    pub temperature: Option<Number>,
    /// From how much of the likely words it chooses.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schema(value_type = Option<f64>)]
    pub top_p: Option<Number>,
    /// How long it may be silent.
    pub silence_ms: Ms,
    /// US dollars for a million tokens, in and out.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub price: Option<Price>,
}

impl ModelSpec {
    /// How long a model may be silent, unless it is said otherwise.
    pub const SILENCE: Ms = Ms::secs(120);

    /// A model without anything special.
    pub fn new(provider: Provider, model: impl Into<String>) -> Self {
        Self {
            provider,
            model: model.into(),
            base_url: None,
            key_env: None,
            max_tokens: None,
            temperature: None,
            top_p: None,
            silence_ms: Self::SILENCE,
            price: None,
        }
    }

    /// As it is named in agent files and in the log.
    pub fn name(&self) -> String {
        format!("{}/{}", self.provider.as_str(), self.model)
    }
}

/// What tokens cost, in US dollars a million.
#[derive(Debug, Clone, PartialEq, Eq, Hash, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct Price {
    /// What the model reads.
    #[schema(value_type = f64)]
    pub input: Number,
    /// What it writes.
    #[schema(value_type = f64)]
    pub output: Number,
}

/// How an endpoint is spoken to.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "snake_case")]
pub enum Provider {
    /// `POST …/chat/completions`, as OpenAI and most local servers have it.
    Openai,
    /// `POST …/responses`.
    OpenaiResponses,
    /// `POST …/messages`.
    Anthropic,
    /// `POST …/models/MODEL:streamGenerateContent`.
    Gemini,
}

impl Provider {
    /// All of them.
    pub const ALL: [Self; 4] = [Self::Openai, Self::OpenaiResponses, Self::Anthropic, Self::Gemini];

    /// The word in agent files.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Openai => "openai",
            Self::OpenaiResponses => "openai_responses",
            Self::Anthropic => "anthropic",
            Self::Gemini => "gemini",
        }
    }

    /// The provider of this word.
    pub fn of(word: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|provider| provider.as_str() == word)
    }

    /// Where it is, if nothing else is said.
    pub fn home(self) -> &'static str {
        match self {
            Self::Openai | Self::OpenaiResponses => "https://api.openai.com/v1",
            Self::Anthropic => "https://api.anthropic.com/v1",
            Self::Gemini => "https://generativelanguage.googleapis.com/v1beta",
        }
    }
}

/// Tools of our own.
#[derive(
    Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize, ToSchema,
)]
#[serde(rename_all = "snake_case")]
pub enum LoopTool {
    /// Runs a command.
    Shell,
    /// Reads a file.
    ReadFile,
    /// Writes a file.
    WriteFile,
    /// Replaces text in a file.
    EditFile,
    /// Lists a folder.
    List,
    /// Looks for text.
    Search,
    /// Gets a page.
    Fetch,
    /// Keeps a list of what is to be done.
    Todo,
}

impl LoopTool {
    /// All of them.
    pub const ALL: [Self; 8] = [
        Self::Shell,
        Self::ReadFile,
        Self::WriteFile,
        Self::EditFile,
        Self::List,
        Self::Search,
        Self::Fetch,
        Self::Todo,
    ];

    /// Its name, for the model too.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Shell => "shell",
            Self::ReadFile => "read_file",
            Self::WriteFile => "write_file",
            Self::EditFile => "edit_file",
            Self::List => "list",
            Self::Search => "search",
            Self::Fetch => "fetch",
            Self::Todo => "todo",
        }
    }

    /// Whether it changes nothing and reaches nobody.
    pub fn reads(self) -> bool {
        matches!(self, Self::ReadFile | Self::List | Self::Search | Self::Todo)
    }
}

/// An MCP server: a program spoken to on its standard streams, or an address.
#[derive(Debug, Clone, PartialEq, Eq, Hash, Serialize, Deserialize, ToSchema)]
pub struct McpSpec {
    /// Where it is.
    pub at: McpAt,
    /// The tools that are taken from it; all where absent.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub tools: Option<Vec<String>>,
}

/// Where an MCP server is.
#[derive(Debug, Clone, PartialEq, Eq, Hash, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "snake_case")]
pub enum McpAt {
    /// A program and its arguments.
    Stdio {
        /// The program and its arguments.
        command: Vec<String>,
        /// Its variables: each is given the value of a variable of the driver's.
        #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
        env: BTreeMap<String, String>,
    },
    /// An address that speaks streamable HTTP.
    Http {
        /// The address.
        url: String,
        /// Headers: each is given the value of a variable of the driver's.
        #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
        headers: BTreeMap<String, String>,
    },
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(provider: Provider, model: &str, url: &str) -> ModelSpec {
        ModelSpec {
            base_url: Some(url.to_owned()),
            temperature: Some(Number::from(1)),
            ..ModelSpec::new(provider, model)
        }
    }

    #[test]
    fn a_session_chooses_among_what_its_description_can_reach() {
        let mut spec = LoopSpec::of(at(Provider::Openai, "m", "http://here/v1"));
        assert_eq!(spec.known(), ["openai/*", "openai/m"]);
        assert_eq!(spec.choice("openai/m"), spec.models.first().cloned());
        let other = spec.choice("openai/other/one").expect("at the same endpoint");
        assert_eq!((other.model.as_str(), &other.temperature), ("other/one", &None));
        assert_eq!(other.base_url.as_deref(), Some("http://here/v1"));
        for unknown in ["anthropic/m", "openai", "openai/", "openai/*", "m", ""] {
            assert_eq!(spec.choice(unknown), None, "{unknown}");
        }
        // Names of a file come before words for formats.
        spec.choices.insert("fast".to_owned(), at(Provider::Gemini, "f", "http://there/v1"));
        spec.choices.insert("mistral/*".to_owned(), at(Provider::Openai, "", "http://else/v1"));
        assert_eq!(spec.known(), ["fast", "mistral/*", "openai/m"]);
        assert_eq!(spec.choice("fast").map(|model| model.name()).as_deref(), Some("gemini/f"));
        let other = spec.choice("mistral/small").expect("that provider is named");
        assert_eq!(other.base_url.as_deref(), Some("http://else/v1"));
        assert_eq!(spec.choice("openai/other"), None, "no endpoint is named for it");
    }
}
