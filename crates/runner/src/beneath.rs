//! Opening things beneath a folder: nothing on the way leads out of it.

use std::io;
use std::os::fd::{AsFd, OwnedFd};
use std::path::Path;

use greenroom_protocol::Problem;
use rustix::fs::{FileType, Mode, OFlags, ResolveFlags, openat2};

/// No path is longer.
const MAX_PATH: usize = 4095;
/// No name is longer.
const MAX_NAME: usize = 255;

/// A path beneath a workspace, without `.`, `..`, NUL or a slash too many. Empty is the
/// workspace itself.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct RelPath {
    text: String,
}

impl RelPath {
    /// Checks a path as it came from a client.
    pub(crate) fn parse(path: &str) -> Result<Self, Box<Problem>> {
        let bad = |why: &str| {
            let shown: String = path.chars().take(200).collect();
            let problem = Problem::invalid(format!("the path {shown:?} {why}"))
                .hint("give a path beneath the workspace, with / between names")
                .at("path");
            Err(Box::new(problem))
        };
        if path.starts_with('/') {
            return bad("is absolute");
        }
        if path.contains('\0') {
            return bad("holds a NUL byte");
        }
        let names: Vec<&str> =
            path.split('/').filter(|name| !name.is_empty() && *name != ".").collect();
        if names.contains(&"..") {
            return bad("leads out of the workspace");
        }
        if path.len() > MAX_PATH || names.iter().any(|name| name.len() > MAX_NAME) {
            return bad("is too long");
        }
        Ok(Self { text: names.join("/") })
    }

    /// The path, `.` for the workspace itself.
    pub(crate) fn as_path(&self) -> &str {
        if self.text.is_empty() { "." } else { &self.text }
    }

    /// The path as a client writes it.
    pub(crate) fn as_str(&self) -> &str {
        &self.text
    }

    /// Whether it is the workspace itself.
    pub(crate) fn is_root(&self) -> bool {
        self.text.is_empty()
    }

    /// The last name.
    pub(crate) fn name(&self) -> &str {
        self.text.rsplit('/').next().unwrap_or_default()
    }

    /// The folder it is in.
    pub(crate) fn parent(&self) -> Self {
        let text = self.text.rsplit_once('/').map_or("", |(parent, _)| parent);
        Self { text: text.to_owned() }
    }

    /// This path and each one above it but the workspace, the highest first.
    pub(crate) fn prefixes(&self) -> impl Iterator<Item = Self> + '_ {
        let ends = self.text.match_indices('/').map(|(at, _)| at).chain([self.text.len()]);
        ends.filter(|end| *end > 0).map(|end| Self { text: self.text[..end].to_owned() })
    }

    /// The path of an entry in this folder.
    pub(crate) fn join(&self, name: &str) -> String {
        if self.text.is_empty() { name.to_owned() } else { format!("{}/{name}", self.text) }
    }
}

/// A folder beneath which things are opened.
#[derive(Debug)]
pub(crate) struct Root {
    fd: OwnedFd,
}

impl Root {
    /// Opens the folder itself; its path is the runner's own.
    pub(crate) fn open(path: &Path) -> io::Result<Self> {
        let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::CLOEXEC;
        Ok(Self { fd: rustix::fs::open(path, flags, Mode::empty())? })
    }

    /// Opens something beneath it. Links are followed as long as they stay beneath.
    pub(crate) fn open_at(&self, path: &RelPath, flags: OFlags) -> io::Result<OwnedFd> {
        open_beneath(&self.fd, path.as_path(), flags, ResolveFlags::empty())
    }
}

/// Opens `path` beneath `dir`, with further restrictions.
pub(crate) fn open_beneath(
    dir: impl AsFd,
    path: impl rustix::path::Arg + Copy,
    flags: OFlags,
    more: ResolveFlags,
) -> io::Result<OwnedFd> {
    let resolve = ResolveFlags::BENEATH | ResolveFlags::NO_MAGICLINKS | more;
    // Something was renamed on the way, so that the kernel cannot tell whether the way
    // stayed beneath: it asks for another try.
    for _ in 0..64 {
        match openat2(dir.as_fd(), path, flags | OFlags::CLOEXEC, Mode::empty(), resolve) {
            Err(rustix::io::Errno::AGAIN) => {}
            done => return Ok(done?),
        }
    }
    Err(io::Error::other("the folder is being renamed all the time"))
}

/// Opens a regular file for reading, and nothing else: pipes and devices are told by looking
/// at them before they are opened, since opening alone can block or do things.
pub(crate) fn open_regular(root: &Root, path: &RelPath) -> io::Result<Result<OwnedFd, FileType>> {
    let looked = root.open_at(path, OFlags::PATH)?;
    let kind = FileType::from_raw_mode(rustix::fs::fstat(&looked)?.st_mode);
    if kind != FileType::RegularFile {
        return Ok(Err(kind));
    }
    use std::os::fd::AsRawFd;
    let again = format!("/proc/self/fd/{}", looked.as_raw_fd());
    let flags = OFlags::RDONLY | OFlags::NONBLOCK | OFlags::CLOEXEC | OFlags::NOCTTY;
    Ok(Ok(rustix::fs::open(again, flags, Mode::empty())?))
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn paths_are_checked() {
        for (given, path) in [
            ("", ""),
            (".", ""),
            ("a/b", "a/b"),
            ("./a//b/", "a/b"),
            ("a b/c:d%e/…", "a b/c:d%e/…"),
        ] {
            assert_eq!(RelPath::parse(given).unwrap().as_str(), path);
        }
        let long = "x".repeat(256);
        for bad in ["/", "/etc", "..", "a/../b", "a\0b", "a/..", &long, &"a/".repeat(3000)] {
            assert_eq!(RelPath::parse(bad).unwrap_err().status, 422, "{bad:?}");
        }
        let path = RelPath::parse("a/b/c").unwrap();
        assert_eq!((path.name(), path.parent().as_str()), ("c", "a/b"));
        let prefixes: Vec<_> = path.prefixes().map(|prefix| prefix.as_str().to_owned()).collect();
        assert_eq!(prefixes, ["a", "a/b", "a/b/c"]);
        assert_eq!(RelPath::parse("").unwrap().prefixes().count(), 0);
    }

    proptest! {
        /// Whatever comes in, what comes out stays beneath.
        #[test]
        fn no_parsed_path_leaves(parts in proptest::collection::vec(
            prop_oneof![Just("..".to_owned()), Just(".".to_owned()), Just(String::new()),
                "\\PC{0,8}", "[a-z%: ]{1,4}"], 0..8)) {
            let text = parts.join("/");
            if let Ok(path) = RelPath::parse(&text) {
                let names = || path.as_str().split('/');
                prop_assert!(!path.as_str().starts_with('/') && !path.as_str().contains('\0'));
                prop_assert!(path.is_root() || names().all(|n| !n.is_empty() && n != "." && n != ".."));
                prop_assert_eq!(RelPath::parse(path.as_str()).unwrap(), path.clone());
                prop_assert_eq!(path.parent().join(path.name()), path.as_str());
            }
        }
    }
}
