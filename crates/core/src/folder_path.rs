//! Folders of a runner's machine, as a client names them.

use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use crate::agent::DirMode;

/// No path is longer, and no name in it.
const MAX_PATH: usize = 4095;
const MAX_NAME: usize = 255;

/// The absolute path of a folder, without `.`, `..`, control characters or a slash too many.
/// What its links lead to, only the machine knows that it is of.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize, ToSchema)]
#[serde(try_from = "String", into = "String")]
#[schema(value_type = String)]
pub struct FolderPath(String);

/// Why a path was refused.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error(
    "{shown:?} {why}; give the absolute path of a folder on the runner's machine, such as /srv/app"
)]
pub struct BadPath {
    shown: String,
    why: &'static str,
}

impl FolderPath {
    /// The path as text.
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// Whether it is that folder, or beneath it, name by name.
    pub fn is_beneath(&self, root: &Self) -> bool {
        let root = if root.0 == "/" { "" } else { root.0.as_str() };
        match self.0.strip_prefix(root) {
            Some(rest) => rest.is_empty() || rest.starts_with('/'),
            None => false,
        }
    }
}

impl FromStr for FolderPath {
    type Err = BadPath;

    fn from_str(text: &str) -> Result<Self, BadPath> {
        let bad = |why| Err(BadPath { shown: text.chars().take(200).collect(), why });
        if !text.starts_with('/') {
            return bad("is not absolute");
        }
        if text.chars().any(char::is_control) {
            return bad("holds a control character");
        }
        let names: Vec<&str> =
            text.split('/').filter(|name| !name.is_empty() && *name != ".").collect();
        if names.contains(&"..") {
            return bad("holds \"..\"");
        }
        if text.len() > MAX_PATH || names.iter().any(|name| name.len() > MAX_NAME) {
            return bad("is too long");
        }
        Ok(Self(format!("/{}", names.join("/"))))
    }
}

impl TryFrom<String> for FolderPath {
    type Error = BadPath;

    fn try_from(text: String) -> Result<Self, BadPath> {
        text.parse()
    }
}

impl From<FolderPath> for String {
    fn from(path: FolderPath) -> Self {
        path.0
    }
}

impl fmt::Display for FolderPath {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// What a session works in instead of what its agent's description says. Its client has named
/// it, so it counts only where a runner's operator has allowed that.
#[derive(Debug, Clone, PartialEq, Eq, Hash, Serialize, Deserialize, ToSchema)]
#[serde(tag = "from", rename_all = "snake_case")]
pub enum SessionWorkspace {
    /// A folder of the runner's machine, beneath one of its `--working-dir-root`s.
    Dir {
        /// Its absolute path.
        path: FolderPath,
        /// Worked in where it is (default), or copied when the session first starts.
        #[serde(default = "in_place")]
        mode: DirMode,
    },
}

fn in_place() -> DirMode {
    DirMode::InPlace
}

impl SessionWorkspace {
    /// A folder that is worked in where it is.
    pub fn in_place(path: FolderPath) -> Self {
        Self::Dir { path, mode: DirMode::InPlace }
    }

    /// The folder.
    pub fn path(&self) -> &FolderPath {
        match self {
            Self::Dir { path, .. } => path,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;
    use serde_json::json;

    fn path(text: &str) -> FolderPath {
        text.parse().expect("a path")
    }

    #[test]
    fn paths_are_checked() {
        for (given, shown) in [("/", "/"), ("/a//b/./c/", "/a/b/c"), ("/a b/ü", "/a b/ü")] {
            assert_eq!(path(given).as_str(), shown);
        }
        let long = format!("/{}", "x".repeat(256));
        let deep = "/x".repeat(3000);
        for bad in ["", "a", "./a", "~/a", "/a/..", "/../a", "/a\0b", "/a\nb", &long, &deep] {
            assert!(bad.parse::<FolderPath>().is_err(), "{bad:?}");
        }
    }

    #[test]
    fn beneath_is_told_by_names() {
        for (folder, root) in [("/srv/a", "/srv"), ("/srv", "/srv"), ("/srv", "/"), ("/", "/")] {
            assert!(path(folder).is_beneath(&path(root)), "{folder} {root}");
        }
        for (folder, root) in [("/srv2", "/srv"), ("/sr", "/srv"), ("/", "/srv"), ("/a", "/a/b")] {
            assert!(!path(folder).is_beneath(&path(root)), "{folder} {root}");
        }
    }

    #[test]
    fn a_workspace_says_where_it_is_from() {
        let read = |value| serde_json::from_value::<SessionWorkspace>(value).ok();
        let folder = SessionWorkspace::in_place(path("/srv/a"));
        assert_eq!(read(json!({ "from": "dir", "path": "/srv//a" })), Some(folder.clone()));
        let said = serde_json::to_value(&folder).expect("JSON");
        assert_eq!(said, json!({ "from": "dir", "path": "/srv/a", "mode": "in_place" }));
        assert_eq!(read(json!({ "from": "dir", "path": "a" })), None);
        assert_eq!(read(json!({ "from": "git", "path": "/a" })), None);
        // As everywhere in the API: what is not known changes nothing.
        let more = json!({ "from": "dir", "path": "/srv/a", "url": "x" });
        assert_eq!(read(more), Some(folder));
    }

    proptest! {
        /// Whatever comes in, what comes out names one folder, and beneath is what the
        /// machine's own reading of paths says.
        #[test]
        fn any_path_is_one_folder(parts in proptest::collection::vec(
            prop_oneof![Just("..".to_owned()), Just(".".to_owned()), Just(String::new()),
                "[a-c]{1,2}", "\\PC{0,4}"], 0..7),
            root in "(/[a-c]{1,2}){0,3}/?") {
            let text = format!("/{}", parts.join("/"));
            if let Ok(folder) = text.parse::<FolderPath>() {
                prop_assert!(folder.as_str().starts_with('/'));
                prop_assert!(!folder.as_str().split('/').any(|name| name == ".." || name == "."));
                prop_assert_eq!(folder.as_str().parse::<FolderPath>(), Ok(folder.clone()));
                let root = path(&format!("/{root}"));
                let of = |path: &FolderPath| std::path::PathBuf::from(path.as_str());
                prop_assert_eq!(folder.is_beneath(&root), of(&folder).starts_with(of(&root)));
            }
        }
    }
}
