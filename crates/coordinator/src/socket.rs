//! The server's socket on its own machine: made for its own user, and for nobody else.

use std::fs::{self, File, OpenOptions};
use std::io;
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::{FileTypeExt, MetadataExt, OpenOptionsExt};
use std::path::{Path, PathBuf};

use http::HeaderName;
use http::header::{FORWARDED, ORIGIN, VIA};
use http::request::Parts;
use rustix::fs::{FlockOperation, Mode, OFlags, fchmod, flock};
use rustix::io::Errno;
use rustix::net::{AddressFamily, SocketAddrUnix, SocketFlags, SocketType, bind, connect, listen};
use tokio::net::{UnixListener, UnixStream};

/// The system's limit of a socket's path, with the NUL at its end.
const MAX_PATH: usize = 108;
/// Connections that wait to be accepted.
const BACKLOG: i32 = 1024;

/// A socket that is listened on. Its file goes with it.
#[derive(Debug)]
pub(crate) struct Socket {
    listener: UnixListener,
    path: PathBuf,
    /// Device and inode of its file: what somebody else has put there is not removed.
    file: (u64, u64),
    lock: Lock,
}

/// Says that a server has the socket, for as long as its process lives.
#[derive(Debug)]
struct Lock {
    _held: File,
    path: PathBuf,
}

/// That a request came by the socket.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct BySocket {
    /// Whether its peer is of the server's own user, as the kernel says.
    own: bool,
}

/// Headers of requests that somebody passes on, or that a browser sends.
const OF_OTHERS: [HeaderName; 5] = [
    ORIGIN,
    FORWARDED,
    VIA,
    HeaderName::from_static("sec-fetch-site"),
    HeaderName::from_static("x-real-ip"),
];

impl BySocket {
    /// Whether a request came from the server's own user, and for nobody else.
    pub(crate) fn is_own(parts: &Parts) -> bool {
        parts.extensions.get::<Self>().is_some_and(|by| by.own)
            && !OF_OTHERS.iter().any(|header| parts.headers.contains_key(header))
            && !parts.headers.keys().any(|header| header.as_str().starts_with("x-forwarded-"))
    }
}

impl Socket {
    /// Makes a socket at this path, in place of one whose server is gone. Errors are words.
    pub(crate) fn listen(path: &Path) -> Result<Self, String> {
        let path = std::path::absolute(path).map_err(|error| error.to_string())?;
        let length = path.as_os_str().len();
        if length >= MAX_PATH {
            return Err(format!(
                "its path has {length} bytes and a socket's has {} at most: choose a shorter one",
                MAX_PATH - 1
            ));
        }
        let lock = Lock::take(&path)?;
        clear(&path)?;
        let said = |error: Errno| format!("it cannot be made: {error}");
        let flags = SocketFlags::CLOEXEC | SocketFlags::NONBLOCK;
        let socket = rustix::net::socket_with(AddressFamily::UNIX, SocketType::STREAM, flags, None)
            .map_err(said)?;
        // Before it has a name: it never is anybody else's to open.
        fchmod(&socket, Mode::RUSR | Mode::WUSR).map_err(said)?;
        bind(&socket, &SocketAddrUnix::new(&path).map_err(said)?).map_err(said)?;
        let made = fs::symlink_metadata(&path).map_err(|error| error.to_string())?;
        let file = (made.dev(), made.ino());
        if made.mode() & 0o177 != 0 {
            remove_if(&path, file);
            return Err("others could open it: this file system keeps no modes".to_owned());
        }
        listen(&socket, BACKLOG).map_err(said)?;
        let listener = UnixListener::from_std(socket.into()).map_err(|error| error.to_string())?;
        Ok(Self { listener, path, file, lock })
    }

    /// Where it is.
    pub(crate) fn path(&self) -> &Path {
        &self.path
    }

    /// The next connection, and whose it is.
    pub(crate) async fn accept(&self) -> io::Result<(UnixStream, BySocket)> {
        let (stream, _) = self.listener.accept().await?;
        let own = rustix::process::geteuid().as_raw();
        // Who cannot be told is nobody of ours.
        let own = stream.peer_cred().is_ok_and(|peer| peer.uid() == own);
        Ok((stream, BySocket { own }))
    }
}

impl Drop for Socket {
    fn drop(&mut self) {
        remove_if(&self.path, self.file);
        // Held until the socket is gone.
        let _ = fs::remove_file(&self.lock.path);
    }
}

impl Lock {
    fn take(socket: &Path) -> Result<Self, String> {
        let mut name = socket.as_os_str().to_owned();
        name.push(".lock");
        let path = PathBuf::from(name);
        let failed =
            |error: io::Error| format!("its lock {} cannot be taken: {error}", path.display());
        loop {
            let held = OpenOptions::new()
                .write(true)
                .create(true)
                .truncate(false)
                .mode(0o600)
                .custom_flags(OFlags::NOFOLLOW.bits().cast_signed())
                .open(&path)
                .map_err(failed)?;
            match flock(&held, FlockOperation::NonBlockingLockExclusive) {
                Ok(()) => {}
                Err(Errno::WOULDBLOCK) => return Err(live()),
                Err(error) => return Err(failed(error.into())),
            }
            // One that ended a moment ago may have removed what was opened here.
            let opened = held.metadata().map_err(failed)?;
            let there = fs::symlink_metadata(&path);
            if there.is_ok_and(|now| (now.dev(), now.ino()) == (opened.dev(), opened.ino())) {
                return Ok(Self { _held: held, path });
            }
        }
    }
}

fn live() -> String {
    "another server listens on it: end that one, or choose another path".to_owned()
}

/// Removes the socket of a server that is gone. Whatever else is there stays.
fn clear(path: &Path) -> Result<(), String> {
    let there = match fs::symlink_metadata(path) {
        Ok(there) => there,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(()),
        Err(error) => return Err(error.to_string()),
    };
    let kind = there.file_type();
    if kind.is_symlink() {
        return Err("it is a link, and links are not followed: name the place itself".to_owned());
    }
    if !kind.is_socket() {
        return Err("something else is there: choose another path, or remove it".to_owned());
    }
    if there.uid() != rustix::process::geteuid().as_raw() {
        return Err("it is another user's: choose another path".to_owned());
    }
    if is_live(path)? {
        return Err(live());
    }
    remove_if(path, (there.dev(), there.ino()));
    Ok(())
}

/// Whether somebody listens. Never waits for an answer.
fn is_live(path: &Path) -> Result<bool, String> {
    let said = |error: Errno| format!("whether it is in use cannot be told: {error}");
    let flags = SocketFlags::CLOEXEC | SocketFlags::NONBLOCK;
    let socket = rustix::net::socket_with(AddressFamily::UNIX, SocketType::STREAM, flags, None)
        .map_err(said)?;
    let address = SocketAddrUnix::new(path.as_os_str().as_bytes()).map_err(said)?;
    match connect(&socket, &address) {
        Err(Errno::CONNREFUSED | Errno::NOENT) => Ok(false),
        // So many wait that no more are taken: somebody does listen.
        Ok(()) | Err(Errno::AGAIN | Errno::INPROGRESS) => Ok(true),
        Err(error) => Err(said(error)),
    }
}

fn remove_if(path: &Path, file: (u64, u64)) {
    let same = fs::symlink_metadata(path).is_ok_and(|now| (now.dev(), now.ino()) == file);
    if same && let Err(error) = fs::remove_file(path) {
        tracing::warn!(path = %path.display(), %error, "a socket could not be removed");
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::os::unix::fs::symlink;

    fn folder() -> tempfile::TempDir {
        tempfile::tempdir().expect("a folder")
    }

    #[tokio::test]
    async fn it_is_its_users_alone_and_goes_at_the_end() {
        let folder = folder();
        let path = folder.path().join("s");
        let socket = Socket::listen(&path).expect("a socket");
        assert_eq!(fs::metadata(&path).expect("a file").mode() & 0o777, 0o600);
        let client = UnixStream::connect(&path).await.expect("connected");
        let (_, by) = socket.accept().await.expect("a connection");
        assert_eq!(by, BySocket { own: true });
        drop((client, socket));
        assert_eq!(fs::read_dir(folder.path()).expect("a folder").count(), 0);
    }

    #[tokio::test]
    async fn what_is_stale_is_replaced_and_what_lives_is_not() {
        let folder = folder();
        let path = folder.path().join("s");
        // Its server is gone, and has left it: what `kill -9` does.
        drop(std::os::unix::net::UnixListener::bind(&path).expect("a socket"));
        let first = Socket::listen(&path).expect("replaced");
        let refused = Socket::listen(&path).expect_err("it lives");
        assert!(refused.contains("another server"), "{refused}");
        UnixStream::connect(&path).await.expect("it still answers");
        drop(first);
        // A server that is none of ours has no lock, and lives all the same.
        let other = std::os::unix::net::UnixListener::bind(&path).expect("a socket");
        let refused = Socket::listen(&path).expect_err("it lives");
        assert!(refused.contains("another server"), "{refused}");
        drop(other);
        Socket::listen(&path).expect("replaced");
    }

    #[tokio::test]
    async fn links_and_other_files_stay_as_they_are() {
        let folder = folder();
        let at = |name: &str| folder.path().join(name);
        fs::write(at("file"), "text").expect("a file");
        symlink(at("target"), at("dangling")).expect("a link");
        symlink(at("stale"), at("link")).expect("a link");
        drop(std::os::unix::net::UnixListener::bind(at("stale")).expect("a socket"));
        fs::write(at("victim"), "text").expect("a file");
        symlink(at("victim"), at("locked.lock")).expect("a link");
        for (name, why) in [
            ("file", "something else"),
            ("dangling", "a link"),
            ("link", "a link"),
            ("locked", "lock"),
            ("missing/s", "lock"),
            (&"x".repeat(120), "shorter"),
        ] {
            let refused = Socket::listen(&at(name)).expect_err("refused");
            assert!(refused.contains(why), "{name}: {refused}");
        }
        assert_eq!(fs::read_to_string(at("file")).expect("a file"), "text");
        assert!(!at("target").exists() && at("stale").exists());
    }

    #[tokio::test]
    async fn what_somebody_else_has_put_there_is_not_removed() {
        let folder = folder();
        let path = folder.path().join("s");
        let socket = Socket::listen(&path).expect("a socket");
        fs::remove_file(&path).expect("removed");
        fs::write(&path, "text").expect("a file");
        drop(socket);
        assert_eq!(fs::read_to_string(&path).expect("a file"), "text");
    }

    #[test]
    fn what_is_passed_on_is_nobodys_own() {
        let of = |own: Option<bool>, header: Option<&'static str>| {
            let mut request = http::Request::new(());
            request.extensions_mut().extend(extension(own));
            if let Some(header) = header {
                request.headers_mut().insert(header, http::HeaderValue::from_static("x"));
            }
            BySocket::is_own(&request.into_parts().0)
        };
        assert!(of(Some(true), None) && of(Some(true), Some("host")));
        assert!(!of(Some(false), None) && !of(None, None));
        for header in OF_OTHERS {
            let mut request = http::Request::new(());
            request.extensions_mut().insert(BySocket { own: true });
            request.headers_mut().insert(header, http::HeaderValue::from_static("x"));
            assert!(!BySocket::is_own(&request.into_parts().0));
        }
    }

    fn extension(own: Option<bool>) -> http::Extensions {
        let mut all = http::Extensions::new();
        if let Some(own) = own {
            all.insert(BySocket { own });
        }
        all
    }
}
