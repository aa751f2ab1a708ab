//! What an operator names: a file, a folder, a URL, an image of a registry.

use std::path::{Path, PathBuf};

use greenroom_core::source_key;

use super::keys::WITH_QUERY;

/// A source, as an operator names it.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub enum Reference {
    /// A file or folder of the coordinator's machine.
    Path(PathBuf),
    /// An address to fetch from.
    Url {
        /// As it was written.
        url: String,
        /// Its query is part of its identity.
        with_query: bool,
    },
    /// An image of a registry, without `oci://`.
    Oci(String),
}

impl Reference {
    /// Reads a reference. A path is made absolute, so that it is the same one later.
    pub fn parse(text: &str) -> Result<Self, String> {
        let bare = text.strip_prefix(WITH_QUERY).unwrap_or(text);
        if source_key::is_url(bare.as_bytes()) {
            check_url(bare)?;
            return Ok(Self::Url { url: bare.to_owned(), with_query: bare != text });
        }
        let path = match text.split_once(':') {
            Some(("file" | "dir", path)) => path,
            Some(("oci", image)) => {
                let image = image.strip_prefix("//").unwrap_or(image);
                super::oci::registry(image)?;
                return Ok(Self::Oci(image.to_owned()));
            }
            Some((scheme, rest)) if rest.starts_with("//") => {
                return Err(format!(
                    "sources of kind {scheme:?} are not supported: use a file, a folder, a URL that begins with https://, or oci://"
                ));
            }
            _ => text,
        };
        if path.is_empty() || path.contains('\0') {
            return Err("a source is the path of a file or a folder, or a URL".to_owned());
        }
        let absolute =
            std::path::absolute(path).map_err(|e| format!("{path:?} is not a path: {e}"))?;
        // The real path, where there is one: a folder may be reached in many ways.
        Ok(Self::Path(absolute.canonicalize().unwrap_or(absolute)))
    }

    /// As it is kept: [`Self::parse`] reads it back. It may hold a password.
    pub fn text(&self) -> String {
        match self {
            Self::Path(path) => path.to_string_lossy().into_owned(),
            Self::Url { url, with_query: false } => url.clone(),
            Self::Url { url, with_query: true } => format!("{WITH_QUERY}{url}"),
            Self::Oci(image) => format!("oci://{image}"),
        }
    }

    /// As people may see it.
    pub fn shown(&self) -> String {
        source_key::redacted(&self.text())
    }

    /// The path, of one that is on this machine.
    pub fn path(&self) -> Option<&Path> {
        match self {
            Self::Path(path) => Some(path),
            Self::Url { .. } | Self::Oci(_) => None,
        }
    }

    /// The one source it stands for, as `kind:key`; none for a path, which may be many.
    pub fn remote(&self) -> Option<String> {
        match self {
            Self::Path(_) => None,
            Self::Url { url, with_query: false } => Some(format!("url:{url}")),
            Self::Url { url, with_query: true } => Some(format!("url+query:{url}")),
            Self::Oci(image) => Some(format!("oci:{image}")),
        }
    }

    /// Whether nothing is there. What is elsewhere may come later.
    pub fn is_missing(&self) -> bool {
        self.path().is_some_and(|path| !path.exists())
    }
}

/// A URL as operators may show one that was refused: it may be written wrongly, and hold a
/// password.
pub(crate) fn shown(text: &str) -> String {
    source_key::redacted(text)
}

fn check_url(text: &str) -> Result<(), String> {
    let url = reqwest::Url::parse(text).map_err(|error| format!("it is not a URL: {error}"))?;
    if url.scheme() == "http" && !super::dial::is_loopback_host(&url) {
        return Err("agents are fetched by https, or by http from this machine's own loopback \
            address; write https://"
            .to_owned());
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn references_read_back() {
        for text in [
            "https://u:p@ex.com/a.yaml?tag=v1#f",
            "with-query:https://ex.com/a.yaml?t=1",
            "http://127.0.0.1:80/a.yaml",
            "http://localhost/a.yaml",
            "http://[::1]:80/a.yaml",
            "/nowhere/at/all.yaml",
            "oci://ex.com/org/a:v1",
        ] {
            let read = Reference::parse(text).expect("a reference");
            assert_eq!(read.text(), text);
            assert_eq!(Reference::parse(&read.text()), Ok(read));
        }
        let secret = Reference::parse("with-query:https://u:p@ex.com/a").expect("one");
        assert_eq!(secret.shown(), "with-query:https://***@ex.com/a");
        assert_eq!(secret.remote().as_deref(), Some("url+query:https://u:p@ex.com/a"));
    }

    #[test]
    fn what_is_not_supported_is_refused() {
        for text in [
            "http://ex.com/a.yaml",
            "http://10.0.0.1/a.yaml",
            "http://localhost.ex.com/a.yaml",
            "https://",
            "oci:",
            "oci://ex.com/UPPER",
            "git://ex.com/a",
            "HTTPS://ex.com/a",
            "",
            "file:",
        ] {
            assert!(Reference::parse(text).is_err(), "{text}");
        }
    }
}
