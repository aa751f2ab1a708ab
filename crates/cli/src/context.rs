//! What every command knows: which coordinator, in whose name, and how to speak.

use std::path::PathBuf;

use clap::Args;
use greenroom_client::{Client, Secret};

use crate::data::{DataDir, Server};
use crate::error::CliError;
use crate::ui::{Output, Ui};

/// Where a coordinator is looked for last.
pub(crate) const DEFAULT_URL: &str = "http://127.0.0.1:7070";

/// Options of every command.
#[derive(Debug, Clone, Args)]
#[command(next_help_heading = "Global options")]
pub(crate) struct Global {
    /// Address of the coordinator [default: that of the data folder's server, else http://127.0.0.1:7070]
    #[arg(
        long,
        alias = "server",
        global = true,
        env = "GREENROOM_URL",
        value_name = "URL",
        hide_env_values = true
    )]
    pub(crate) url: Option<String>,
    /// Token to speak with [default: the data folder's `token` file]
    #[arg(
        long,
        global = true,
        env = "GREENROOM_TOKEN",
        value_name = "TOKEN",
        hide_env_values = true
    )]
    pub(crate) token: Option<String>,
    /// Data folder [default: $XDG_DATA_HOME/greenroom, else ~/.local/share/greenroom]
    #[arg(long, global = true, value_name = "DIR")]
    pub(crate) data: Option<PathBuf>,
    /// In what form data is shown
    #[arg(
        long,
        short,
        global = true,
        value_enum,
        default_value_t,
        value_name = "FORM",
        hide_possible_values = true,
        help = "Show data as table, json or jsonl"
    )]
    pub(crate) output: Output,
    /// Say nothing but data and errors; lists show ids only
    #[arg(long, short, global = true)]
    pub(crate) quiet: bool,
}

/// What every command knows.
#[derive(Debug)]
pub(crate) struct Context {
    pub(crate) ui: Ui,
    url: Option<String>,
    token: Option<String>,
    data: Option<PathBuf>,
    /// For which user it acts.
    user: Option<String>,
}

impl Context {
    pub(crate) fn new(global: Global) -> Self {
        let Global { url, token, data, output, quiet } = global;
        let some = |text: Option<String>| text.filter(|text| !text.trim().is_empty());
        Self { ui: Ui::new(output, quiet), url: some(url), token: some(token), data, user: None }
    }

    /// The same, for one of the caller's users.
    pub(crate) fn for_user(&self, user: Option<String>) -> Self {
        let Self { ui, url, token, data, .. } = self;
        Self { ui: *ui, url: url.clone(), token: token.clone(), data: data.clone(), user }
    }

    /// The data folder: the named one, or the default.
    pub(crate) fn data_dir(&self) -> Result<DataDir, CliError> {
        match &self.data {
            Some(path) => DataDir::at(path),
            None => DataDir::default_place(),
        }
    }

    /// Whether a data folder was named.
    pub(crate) fn names_data(&self) -> bool {
        self.data.is_some()
    }

    /// Whether a coordinator was named.
    pub(crate) fn names_url(&self) -> bool {
        self.url.is_some()
    }

    /// The token that was named.
    pub(crate) fn named_token(&self) -> Option<&str> {
        self.token.as_deref().map(str::trim)
    }

    /// `--data DIR` for a command that is to be repeated, where one was named.
    pub(crate) fn data_words(&self) -> String {
        match &self.data {
            Some(path) => format!(" --data {}", path.display()),
            None => String::new(),
        }
    }

    /// The coordinator's address.
    pub(crate) fn url(&self) -> Result<String, CliError> {
        if let Some(url) = &self.url {
            return Ok(url.clone());
        }
        match self.data_dir().and_then(|data| data.server()) {
            Ok(Server::Live(server)) => Ok(server.url),
            // A folder that was named must be usable; the default one need not exist.
            Err(error) if self.data.is_some() => Err(error),
            _ => Ok(DEFAULT_URL.to_owned()),
        }
    }

    /// The token for the coordinator at `url`.
    pub(crate) fn token_for(&self, url: &str) -> Result<Option<Secret>, CliError> {
        if let Some(token) = &self.token {
            return Ok(Some(Secret::new(token)));
        }
        // The default folder's token belongs to this machine, and is not handed to others.
        if self.data.is_none() && !is_here(url) {
            return Ok(None);
        }
        match self.data_dir() {
            Ok(data) => data.token(),
            Err(error) if self.data.is_some() => Err(error),
            Err(_) => Ok(None),
        }
    }

    /// The coordinator.
    pub(crate) fn client(&self) -> Result<Client, CliError> {
        let url = self.url()?;
        let token = self.token_for(&url)?;
        let client = Client::new(&url, token.as_ref())?;
        Ok(match &self.user {
            Some(user) => client.for_user(user)?,
            None => client,
        })
    }
}

/// Whether an address is one of this machine's own loopback.
fn is_here(url: &str) -> bool {
    let Ok(url) = reqwest::Url::parse(url) else { return false };
    let Some(host) = url.host_str() else { return false };
    let ip = host.trim_matches(['[', ']']).parse::<std::net::IpAddr>();
    host == "localhost" || ip.is_ok_and(|ip| ip.is_loopback() || ip.is_unspecified())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn context(url: Option<&str>, token: Option<&str>, data: Option<PathBuf>) -> Context {
        Context::new(Global {
            url: url.map(str::to_owned),
            token: token.map(str::to_owned),
            data,
            output: Output::Table,
            quiet: false,
        })
    }

    #[test]
    fn the_named_address_wins() {
        let named = context(Some("http://elsewhere:1"), None, None);
        assert_eq!(named.url().expect("named"), "http://elsewhere:1");
        let temp = tempfile::tempdir().expect("a folder");
        let empty = context(None, None, Some(temp.path().join("none")));
        assert_eq!(empty.url().expect("the default"), DEFAULT_URL);
    }

    #[test]
    fn a_server_of_the_folder_is_found() {
        let temp = tempfile::tempdir().expect("a folder");
        let data = DataDir::at(temp.path()).expect("a path");
        let lock = data.serve().expect("free");
        let url = "http://127.0.0.1:4711".to_owned();
        let said = crate::data::ServerFile { pid: 1, url: url.clone(), version: "1".into() };
        data.announce(&lock, &said).expect("written");
        let context = context(None, None, Some(temp.path().to_owned()));
        assert_eq!(context.url().expect("live"), url);
    }

    #[test]
    fn the_machines_own_token_stays_here() {
        for here in ["http://127.0.0.1:7070", "http://localhost", "http://[::1]:7070/"] {
            assert!(is_here(here), "{here}");
        }
        for away in ["http://10.0.0.1:7070", "https://greenroom.example", "nonsense"] {
            assert!(!is_here(away), "{away}");
        }
        let away = context(Some("https://greenroom.example"), None, None);
        assert!(away.token_for("https://greenroom.example").expect("none").is_none());
    }

    #[test]
    fn the_named_token_goes_anywhere() {
        let named = context(None, Some(" grt_x "), None);
        assert_eq!(named.named_token(), Some("grt_x"));
        assert!(named.token_for("https://greenroom.example").expect("named").is_some());
    }
}
