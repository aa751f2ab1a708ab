use std::fs;
use std::io::{Read, Write};
use std::os::unix::fs::{PermissionsExt, symlink};
use std::os::unix::net::UnixListener;
use std::path::PathBuf;

use super::*;
use crate::folder::Place;

struct Fixture {
    temp: tempfile::TempDir,
    root: Root,
}

/// A workspace, and beside it what must not be reached.
fn fixture() -> Fixture {
    let temp = tempfile::tempdir().unwrap();
    fs::create_dir(temp.path().join("ws")).unwrap();
    fs::create_dir(temp.path().join("outside")).unwrap();
    fs::write(temp.path().join("outside/secret"), "secret").unwrap();
    let root = Root::open(&temp.path().join("ws")).unwrap();
    Fixture { temp, root }
}

impl Fixture {
    fn ws(&self, path: &str) -> PathBuf {
        self.temp.path().join("ws").join(path)
    }

    fn read(&self, path: &str) -> Files<String> {
        let (mut file, length) = read(&self.root, &RelPath::parse(path)?)?;
        let mut text = String::new();
        file.read_to_string(&mut text).unwrap();
        assert_eq!(text.len() as u64, length);
        Ok(text)
    }

    fn write(&self, path: &str, text: &str) -> Files<FileInfo> {
        let (upload, mut file) = Upload::begin(&self.root, &RelPath::parse(path)?)?;
        file.write_all(text.as_bytes()).unwrap();
        upload.finish(&file)
    }

    fn stat(&self, path: &str) -> Files<FileInfo> {
        stat(&self.root, &RelPath::parse(path)?)
    }

    fn list(&self, path: &str) -> Files<Vec<(String, String)>> {
        let list = list(&self.root, &RelPath::parse(path)?)?;
        Ok(list.items.into_iter().map(|info| (info.path, info.kind)).collect())
    }

    fn delete(&self, path: &str, recursive: bool) -> Files<()> {
        delete(&self.root, &RelPath::parse(path)?, recursive)
    }

    fn mkdir(&self, path: &str) -> Files<FileInfo> {
        mkdir(&self.root, &RelPath::parse(path)?)
    }
}

fn code<T: std::fmt::Debug>(result: Files<T>) -> (u16, String) {
    let problem = result.unwrap_err();
    (problem.status, problem.code)
}

fn is(result: (u16, String), status: u16, code: &str) {
    assert_eq!((result.0, result.1.as_str()), (status, code));
}

#[test]
fn odd_names_go_through_all_verbs() {
    let f = fixture();
    let odd = "a b c:d%e/ü\n\"'\\/--rf *?";
    let info = f.write(odd, "text").unwrap();
    assert_eq!((info.size, info.kind.as_str(), info.path.as_str()), (4, "file", odd));
    assert_eq!(f.read(odd).unwrap(), "text");
    assert_eq!(f.write(odd, "longer text").unwrap().size, 11);
    assert_eq!(f.read(odd).unwrap(), "longer text");
    assert_eq!(f.stat(odd).unwrap().name, "--rf *?");
    assert_eq!(f.list("").unwrap(), [("a b c:d%e".to_owned(), "dir".to_owned())]);
    assert_eq!(f.list("a b c:d%e/ü\n\"'\\").unwrap(), [(odd.to_owned(), "file".to_owned())]);
    is(code(f.delete("a b c:d%e", false)), 409, "not_empty");
    f.delete("a b c:d%e", true).unwrap();
    is(code(f.stat("a b c:d%e")), 404, "file_not_found");
    is(code(f.delete("a b c:d%e", true)), 404, "file_not_found");
}

#[test]
fn links_that_leave_are_not_followed_by_any_verb() {
    let f = fixture();
    let outside = f.temp.path().join("outside");
    symlink(&outside, f.ws("abs")).unwrap();
    symlink("../outside", f.ws("rel")).unwrap();
    symlink("../outside/secret", f.ws("file")).unwrap();
    symlink("/proc/self/root", f.ws("magic")).unwrap();
    for path in ["abs/secret", "rel/secret", "file", "magic/etc/passwd"] {
        is(code(f.read(path)), 422, "outside_workspace");
    }
    for path in ["abs", "rel"] {
        is(code(f.list(path)), 422, "outside_workspace");
        is(code(f.write(&format!("{path}/new"), "x")), 422, "outside_workspace");
        is(code(f.mkdir(&format!("{path}/new"))), 422, "outside_workspace");
        is(code(f.delete(&format!("{path}/secret"), true)), 422, "outside_workspace");
    }
    is(code(f.write("file", "x")), 409, "is_a_link");
    assert_eq!(f.stat("file").unwrap().kind, "symlink");
    f.delete("abs", true).unwrap();
    assert_eq!(fs::read_to_string(outside.join("secret")).unwrap(), "secret");
    assert_eq!(fs::read_dir(&outside).unwrap().count(), 1);
}

#[test]
fn links_that_stay_are_followed_and_loops_are_said() {
    let f = fixture();
    f.write("dir/file", "here").unwrap();
    symlink("dir/file", f.ws("link")).unwrap();
    symlink("dir", f.ws("folder")).unwrap();
    symlink("loop", f.ws("loop")).unwrap();
    assert_eq!(f.read("link").unwrap(), "here");
    assert_eq!(f.read("folder/file").unwrap(), "here");
    assert_eq!(f.write("folder/two", "2").unwrap().size, 1);
    assert!(f.ws("dir/two").exists());
    is(code(f.read("loop")), 409, "is_a_link");
    is(code(f.write("link/x", "x")), 409, "not_a_directory");
}

#[test]
fn pipes_sockets_and_folders_are_no_files() {
    let f = fixture();
    let mode = Mode::from_raw_mode(0o600);
    let path = f.ws("pipe");
    rustix::fs::mknodat(rustix::fs::CWD, &path, FileType::Fifo, mode, 0).unwrap();
    let _socket = UnixListener::bind(f.ws("socket")).unwrap();
    fs::create_dir(f.ws("dir")).unwrap();
    for path in ["pipe", "socket"] {
        is(code(f.read(path)), 409, "not_a_file");
        is(code(f.write(path, "x")), 409, "not_a_file");
        assert_eq!(f.stat(path).unwrap().kind, "other");
    }
    is(code(f.read("dir")), 409, "is_a_directory");
    is(code(f.write("dir", "x")), 409, "is_a_directory");
    is(code(f.list("pipe")), 409, "not_a_directory");
    f.delete("pipe", false).unwrap();
    is(code(f.read("gone")), 404, "file_not_found");
    is(code(f.delete("", true)), 422, "invalid");
    is(code(f.write("", "x")), 409, "is_a_directory");
    for bad in ["..", "/etc/passwd", "dir/../../outside/secret", "a\0b"] {
        is(code(f.read(bad)), 422, "invalid");
        is(code(f.write(bad, "x")), 422, "invalid");
        is(code(f.delete(bad, true)), 422, "invalid");
    }
}

#[test]
fn an_upload_that_is_cut_never_was() {
    let f = fixture();
    f.write("file", "old").unwrap();
    fs::set_permissions(f.ws("file"), fs::Permissions::from_mode(0o755)).unwrap();
    let (upload, mut file) = Upload::begin(&f.root, &RelPath::parse("file").unwrap()).unwrap();
    file.write_all(b"half of the n").unwrap();
    drop(upload);
    assert_eq!(f.read("file").unwrap(), "old");
    assert_eq!(f.list("").unwrap().len(), 1);
    assert_eq!(f.write("file", "new").unwrap().mode, 0o755);
    assert_eq!(f.list("").unwrap().len(), 1);
}

#[test]
fn what_a_dead_writer_left_is_put_away() {
    let f = fixture();
    f.write("dir/file", "old").unwrap();
    let dead = format!("dir/{PART}{}", uuid::Uuid::now_v7().simple());
    let alike = format!("dir/{PART}notes");
    fs::write(f.ws(&dead), "half").unwrap();
    fs::write(f.ws(&alike), "mine").unwrap();
    // One that is being written is not seen, and stays.
    let (upload, file) = Upload::begin(&f.root, &RelPath::parse("dir/new").unwrap()).unwrap();
    assert!(!f.ws(&dead).exists());
    fs::write(f.ws(&dead), "half").unwrap();
    let seen: Vec<_> = f.list("dir").unwrap().into_iter().map(|(path, _)| path).collect();
    assert_eq!(seen, [alike.as_str(), "dir/file"]);
    assert!(!f.ws(&dead).exists());
    upload.finish(&file).unwrap();
    assert!(f.ws("dir/new").exists() && f.ws(&alike).exists());
}

#[test]
fn a_mount_is_not_removed_with_its_folder() {
    let f = fixture();
    fs::create_dir_all(f.ws("dir/inside")).unwrap();
    let outside = f.temp.path().join("outside");
    if let Err(error) = rustix::mount::mount_bind(&outside, f.ws("dir/inside")) {
        eprintln!("nothing to test where one may not mount: {error}");
        return;
    }
    let above = f.delete("dir", true);
    let itself = f.delete("dir/inside", true);
    rustix::mount::unmount(f.ws("dir/inside"), rustix::mount::UnmountFlags::DETACH).unwrap();
    is(code(above), 409, "is_a_mount");
    is(code(itself), 409, "is_a_mount");
    assert_eq!(fs::read_to_string(outside.join("secret")).unwrap(), "secret");
}

#[test]
fn the_workspace_is_where_the_folder_says() {
    let f = fixture();
    let folder = Folder::open(&f.temp.path().join("data")).unwrap();
    let uid = SessionUid(uuid::Uuid::now_v7());
    is(code(workspace(&folder, uid)), 404, "workspace_not_found");
    folder.set_place(uid, &Place { path: f.ws(""), in_place: true }).unwrap();
    f.write("file", "x").unwrap();
    assert_eq!(
        list(&workspace(&folder, uid).unwrap(), &RelPath::parse("").unwrap()).unwrap().items.len(),
        1
    );
}
