//! `models` and `providers`: names, addresses and keys of models.

use std::collections::BTreeMap;

use greenroom_core::loop_spec::{ModelSpec, Provider};
use serde_json::Number;

use super::keys::{Keys, Wrong};
use crate::sources::loop_file::{Carried, between, check_url};

/// What is known of providers by name: the format, the address, and whose key it takes.
const KNOWN: [(&str, Provider, Option<&str>, Option<&str>); 8] = [
    ("openai", Provider::Openai, None, Some("OPENAI_API_KEY")),
    ("anthropic", Provider::Anthropic, None, Some("ANTHROPIC_API_KEY")),
    ("google", Provider::Gemini, None, Some("GOOGLE_API_KEY")),
    ("mistral", Provider::Openai, Some("https://api.mistral.ai/v1"), Some("MISTRAL_API_KEY")),
    ("xai", Provider::Openai, Some("https://api.x.ai/v1"), Some("XAI_API_KEY")),
    ("nebius", Provider::Openai, Some("https://api.studio.nebius.com/v1"), Some("NEBIUS_API_KEY")),
    ("ollama", Provider::Openai, Some("http://localhost:11434/v1"), None),
    ("dmr", Provider::Openai, Some("http://127.0.0.1:12434/engines/v1"), None),
];

/// Keys of a model that change how it answers a little, and that this build does not send.
const WARNED: [(&str, &str); 7] = [
    ("frequency_penalty", "it is not sent to the model"),
    ("presence_penalty", "it is not sent to the model"),
    ("parallel_tool_calls", "the model decides, and calls are done one after another"),
    ("provider_opts", "they are not sent to the model"),
    ("thinking_budget", "the model decides"),
    ("track_usage", "usage is always said"),
    ("capabilities", "they are not looked at"),
];

/// A provider of the file's own.
#[derive(Debug)]
struct Custom {
    provider: Provider,
    base_url: String,
    token_key: Option<String>,
}

/// All models and providers of a file.
#[derive(Debug, Default)]
pub(super) struct Models {
    providers: BTreeMap<String, Custom>,
    models: BTreeMap<String, ModelSpec>,
    keys: BTreeMap<String, String>,
    /// Any model of a provider that is used, by `PROVIDER/*`.
    any: BTreeMap<String, ModelSpec>,
}

impl Models {
    /// Reads both.
    pub(super) fn read(
        file: &mut Keys,
        carried: &mut Carried,
        warnings: &mut Vec<String>,
    ) -> Result<Self, Wrong> {
        let mut all = Self::default();
        for (name, mut keys) in file.take_entries("providers")? {
            let url: Option<String> = keys.take("base_url")?;
            let base_url = url.ok_or_else(|| keys.wrong("base_url", "is required"))?;
            check_url(&base_url).map_err(|message| keys.wrong("base_url", message))?;
            let api: Option<String> = keys.take("api_type")?;
            let provider = match api.as_deref() {
                None | Some("openai_chatcompletions") => Provider::Openai,
                Some("openai_responses") => Provider::OpenaiResponses,
                Some(_) => {
                    let known = "must be openai_chatcompletions or openai_responses";
                    return Err(keys.wrong("api_type", known));
                }
            };
            let token_key = keys.take("token_key")?;
            keys.end(&[])?;
            all.providers.insert(name, Custom { provider, base_url, token_key });
        }
        for (name, mut keys) in file.take_entries("models")? {
            let word: Option<String> = keys.take("provider")?;
            let word = word.ok_or_else(|| keys.wrong("provider", "is required"))?;
            let model: Option<String> = keys.take("model")?;
            let model = model.ok_or_else(|| keys.wrong("model", "is required"))?;
            let base_url: Option<String> = keys.take("base_url")?;
            let token_key: Option<String> = keys.take("token_key")?;
            let made = all.make(&word, &model, base_url, token_key, carried);
            let mut spec = made.map_err(|message| keys.wrong("provider", message))?;
            if let Some(url) = &spec.base_url {
                check_url(url).map_err(|message| keys.wrong("base_url", message))?;
            }
            spec.max_tokens = keys.take("max_tokens")?;
            spec.temperature = keys.take::<Number>("temperature")?;
            spec.top_p = keys.take::<Number>("top_p")?;
            between(&spec.temperature, 2.0).map_err(|m| keys.wrong("temperature", m))?;
            between(&spec.top_p, 1.0).map_err(|m| keys.wrong("top_p", m))?;
            keys.warn(&WARNED, warnings);
            keys.end(&["routing", "first_available", "flavors"])?;
            all.models.insert(name, spec);
        }
        Ok(all)
    }

    /// What a session may choose: what has a name, and whatever else its providers have whose
    /// keys the agent has anyway.
    pub(super) fn choices(&self) -> BTreeMap<String, ModelSpec> {
        self.any
            .iter()
            .chain(&self.models)
            .map(|(name, spec)| (name.clone(), spec.clone()))
            .collect()
    }

    /// A model by its name in the file, or by `PROVIDER/MODEL`.
    pub(super) fn find(&mut self, name: &str, carried: &mut Carried) -> Result<ModelSpec, String> {
        if let Some(spec) = self.models.get(name) {
            return Ok(spec.clone());
        }
        if name == "auto" {
            return Err(
                "\"auto\" is not served: name a model, such as openai/gpt-5-mini".to_owned()
            );
        }
        if name.contains(',') {
            return Err("several models at once are not served: name one, and the others in \
                        fallback.models"
                .to_owned());
        }
        let Some((provider, model)) = name.split_once('/') else {
            return Err(format!("{name:?} is neither in models nor PROVIDER/MODEL"));
        };
        self.make(provider, model, None, None, carried)
    }

    fn make(
        &mut self,
        word: &str,
        model: &str,
        base_url: Option<String>,
        token_key: Option<String>,
        carried: &mut Carried,
    ) -> Result<ModelSpec, String> {
        if model.trim().is_empty() {
            return Err("names no model".to_owned());
        }
        let (provider, home, key) = match self.providers.get(word) {
            Some(custom) => {
                (custom.provider, Some(custom.base_url.clone()), custom.token_key.clone())
            }
            None => {
                let Some((_, provider, home, key)) = KNOWN.iter().find(|known| known.0 == word)
                else {
                    let known = KNOWN.map(|known| known.0).join(", ");
                    return Err(format!(
                        "{word:?} is neither in providers nor one of {known}: a provider that \
                         speaks like OpenAI can be put into providers with its base_url"
                    ));
                };
                (*provider, home.map(str::to_owned), key.map(str::to_owned))
            }
        };
        let mut spec = ModelSpec::new(provider, model);
        let is_the_providers = base_url.is_none() && token_key.is_none();
        spec.base_url = base_url.or(home);
        spec.key_env = match token_key.or(key) {
            None => None,
            Some(variable) => Some(self.key(&variable, carried)?),
        };
        if is_the_providers {
            let any = ModelSpec { model: "*".to_owned(), ..spec.clone() };
            self.any.insert(format!("{word}/*"), any);
        }
        Ok(spec)
    }

    /// The variable that holds the value of this one of the runner's.
    fn key(&mut self, variable: &str, carried: &mut Carried) -> Result<String, String> {
        if let Some(known) = self.keys.get(variable) {
            return Ok(known.clone());
        }
        let name = format!("LOOP_MODEL_KEY_{}", self.keys.len());
        let name = carried.carry(name, &format!("${{env:{variable}}}"))?;
        self.keys.insert(variable.to_owned(), name.clone());
        Ok(name)
    }
}
