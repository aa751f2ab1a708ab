//! Folders beneath which clients may name one for a session to work in.

use std::io;
use std::path::{Path, PathBuf};

use greenroom_core::FolderPath;

use crate::error::RunnerError;

/// What the operator has allowed.
#[derive(Debug, Default)]
pub(crate) struct Roots {
    /// As they really are, without links.
    real: Vec<PathBuf>,
    /// As they were named, and as they really are where that is something else.
    announced: Vec<FolderPath>,
    /// The runner's own folder, which no session works in.
    data: PathBuf,
}

/// Why a folder is not worked in, in words for the one who has named it.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("the working directory {path} cannot be used: {why}")]
pub(crate) struct Refused {
    path: FolderPath,
    why: String,
}

impl Roots {
    /// Checks what the operator has named.
    pub(crate) fn open(named: &[PathBuf], data: &Path) -> Result<Self, RunnerError> {
        let mut roots =
            Self { data: data.canonicalize().unwrap_or(data.into()), ..Self::default() };
        for root in named {
            let bad = |reason: String| RunnerError::BadRoot { path: root.clone(), reason };
            let absolute = std::path::absolute(root).map_err(|error| bad(error.to_string()))?;
            let real = absolute.canonicalize().map_err(|error| bad(error.to_string()))?;
            if !real.is_dir() {
                return Err(bad("it is no folder".to_owned()));
            }
            for path in [&absolute, &real] {
                let text = path.to_str().ok_or_else(|| bad("it is no text".to_owned()))?;
                let path = text.parse().map_err(|error| bad(format!("{error}")))?;
                if !roots.announced.contains(&path) {
                    roots.announced.push(path);
                }
            }
            roots.real.push(real);
        }
        Ok(roots)
    }

    /// What the coordinator is told.
    pub(crate) fn announced(&self) -> &[FolderPath] {
        &self.announced
    }

    /// The folder that a client has named, as it really is: every link on the way is followed,
    /// and what that comes to must be a folder beneath a root. Blocks.
    pub(crate) fn resolve(&self, path: &FolderPath) -> Result<PathBuf, Refused> {
        let refused = |why: String| Refused { path: path.clone(), why };
        let named: Vec<&str> = self.announced.iter().map(FolderPath::as_str).collect();
        let allowed = match named.is_empty() {
            true => "this runner allows none; its operator can, with --working-dir-root".to_owned(),
            false => format!(
                "choose a folder beneath one of {}, or let the runner's operator allow more with \
                 --working-dir-root",
                named.join(", ")
            ),
        };
        if !self.announced.iter().any(|root| path.is_beneath(root)) {
            return Err(refused(format!("it is beneath no folder that is allowed; {allowed}")));
        }
        let real = Path::new(path.as_str()).canonicalize().map_err(|error| {
            refused(match error.kind() {
                io::ErrorKind::NotFound => "there is no such folder; make it first".to_owned(),
                io::ErrorKind::NotADirectory => "a file is in its way".to_owned(),
                _ => error.to_string(),
            })
        })?;
        if !self.real.iter().any(|root| real.starts_with(root)) {
            return Err(refused(format!("a link leads out of what is allowed; {allowed}")));
        }
        if !real.is_dir() {
            return Err(refused("it is no folder; choose the one it is in".to_owned()));
        }
        if real.starts_with(&self.data) || self.data.starts_with(&real) {
            let why = "the runner's data folder is in it, or around it; choose another";
            return Err(refused(why.to_owned()));
        }
        Ok(real)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;
    use std::fs;
    use std::os::unix::fs::symlink;

    struct Scene {
        temp: tempfile::TempDir,
        roots: Roots,
    }

    /// `allowed/{app,app/sub,file}`, `other`, `link -> allowed`, and links within.
    fn scene(named: &[&str]) -> Scene {
        let temp = tempfile::tempdir().unwrap();
        let at = |path: &str| temp.path().join(path);
        for folder in ["allowed/app/sub", "allowed2", "other/deep", "data"] {
            fs::create_dir_all(at(folder)).unwrap();
        }
        fs::write(at("allowed/file"), "").unwrap();
        symlink(at("allowed"), at("link")).unwrap();
        symlink("app", at("allowed/within")).unwrap();
        symlink("../other", at("allowed/out")).unwrap();
        symlink(at("other"), at("allowed/app/out")).unwrap();
        symlink("nowhere", at("allowed/dangling")).unwrap();
        symlink("loop", at("allowed/loop")).unwrap();
        symlink("../data", at("allowed/data")).unwrap();
        let named: Vec<PathBuf> = named.iter().map(|name| at(name)).collect();
        let roots = Roots::open(&named, &at("data")).unwrap();
        Scene { temp, roots }
    }

    impl Scene {
        fn real(&self, path: &str) -> PathBuf {
            self.temp.path().canonicalize().unwrap().join(path)
        }

        fn resolve(&self, path: &str) -> Result<PathBuf, String> {
            let path = self.temp.path().join(path);
            let path = path.to_str().unwrap().parse().unwrap();
            self.roots.resolve(&path).map_err(|refused| refused.to_string())
        }
    }

    #[test]
    fn what_is_beneath_is_found_as_it_really_is() {
        let scene = scene(&["allowed"]);
        for (path, real) in [
            ("allowed", "allowed"),
            ("allowed/app", "allowed/app"),
            ("allowed/app/sub", "allowed/app/sub"),
            ("allowed/within/sub", "allowed/app/sub"),
        ] {
            assert_eq!(scene.resolve(path), Ok(scene.real(real)), "{path}");
        }
    }

    #[test]
    fn what_is_not_beneath_is_refused_with_the_reason() {
        let scene = scene(&["allowed"]);
        for (path, why) in [
            ("other", "beneath no folder"),
            ("allowed2", "beneath no folder"),
            ("", "beneath no folder"),
            ("link/app", "beneath no folder"),
            ("allowed/out", "a link leads out"),
            ("allowed/out/deep", "a link leads out"),
            ("allowed/within/out", "a link leads out"),
            ("allowed/missing", "no such folder"),
            ("allowed/dangling", "no such folder"),
            ("allowed/file/x", "a file is in its way"),
            ("allowed/file", "it is no folder"),
            ("allowed/data", "a link leads out"),
        ] {
            let refused = scene.resolve(path).unwrap_err();
            assert!(refused.contains(why), "{path}: {refused}");
        }
        assert!(scene.resolve("allowed/loop").is_err());
    }

    #[test]
    fn a_root_may_be_named_by_a_link() {
        let scene = scene(&["link"]);
        assert_eq!(scene.resolve("link/app"), Ok(scene.real("allowed/app")));
        assert_eq!(scene.resolve("allowed/app"), Ok(scene.real("allowed/app")));
    }

    #[test]
    fn nobody_works_in_the_runners_own_folder() {
        let scene = scene(&[""]);
        fs::create_dir(scene.temp.path().join("data/work")).unwrap();
        for path in ["", "data", "data/work", "allowed/data"] {
            let refused = scene.resolve(path).unwrap_err();
            assert!(refused.contains("data folder"), "{path}: {refused}");
        }
        assert_eq!(scene.resolve("other"), Ok(scene.real("other")));
    }

    #[test]
    fn none_are_allowed_by_default_and_bad_ones_are_said() {
        let scene = scene(&[]);
        assert!(scene.resolve("other").unwrap_err().contains("--working-dir-root"));
        for bad in ["missing", "allowed/file"] {
            let named = [scene.temp.path().join(bad)];
            assert!(Roots::open(&named, scene.temp.path()).is_err(), "{bad}");
        }
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(64))]
        /// Whatever is named, what comes out is a real folder beneath the root, and not the
        /// runner's own.
        #[test]
        fn nothing_leads_out(parts in proptest::collection::vec(prop_oneof![
            Just("allowed"), Just("app"), Just("sub"), Just("within"), Just("out"), Just("deep"),
            Just("link"), Just("file"), Just("data"), Just("."), Just(".."), Just("")], 0..6)) {
            let scene = scene(&["allowed", "link"]);
            let text = format!("{}/{}", scene.temp.path().display(), parts.join("/"));
            if let Ok(path) = text.parse::<FolderPath>()
                && let Ok(real) = scene.roots.resolve(&path)
            {
                prop_assert!(real.starts_with(scene.real("allowed")) && real.is_dir());
                prop_assert_eq!(real.canonicalize().unwrap(), real);
            }
        }
    }
}
