//! Files of a session: any name, any time, and never anything outside the workspace.

use std::ffi::CString;
use std::fs;
use std::io::Read;
use std::os::unix::fs::symlink;
use std::path::PathBuf;

use greenroom_tests::http::encode;
use greenroom_tests::session::{id_of, uid_of};
use greenroom_tests::{Greenroom, Reply, agents, json, scaled};

struct Files {
    room: Greenroom,
    id: String,
    workspace: PathBuf,
}

impl Files {
    fn start() -> Self {
        let room = Greenroom::up().agent("echo", agents::echo()).start();
        let session = room.api.create("echo", json!({"prompt": "hello"}));
        let id = id_of(&session);
        room.api.wait_status(&id, "finished");
        let workspace = room.workspace(&uid_of(&session));
        Self { room, id, workspace }
    }

    fn path(&self, path: &str) -> String {
        let path: Vec<String> = path.split('/').map(encode).collect();
        format!("/v1/sessions/{}/files/content/{}", self.id, path.join("/"))
    }

    fn get(&self, path: &str) -> Reply {
        self.room.api.get(&self.path(path))
    }

    fn put(&self, path: &str, text: &[u8]) -> Reply {
        self.room.api.request("PUT", &self.path(path)).body(text).send()
    }

    fn delete(&self, path: &str, query: &str) -> Reply {
        self.room.api.delete(&format!("{}{query}", self.path(path)))
    }

    fn list(&self, path: &str) -> Reply {
        self.room.api.get(&format!("/v1/sessions/{}/files?path={}", self.id, encode(path)))
    }
}

#[test]
fn p2_files_of_any_name() {
    let files = Files::start();
    for name in
        ["plain.txt", "a b c:d%e", "ünï 漢字 🦀", "-rf", "%2e%2e", "a?b#c&d=e", "new\nline", "..."]
    {
        let text = format!("content of {name}");
        files.put(name, text.as_bytes()).granted();
        assert_eq!(fs::read_to_string(files.workspace.join(name)).expect("the file"), text);
        let got = files.get(name);
        assert_eq!((got.status, got.text()), (200, text), "{name}");
        let path = format!("/v1/sessions/{}/files/stat?path={}", files.id, encode(name));
        let stat = files.room.api.get(&path).expect(200);
        assert_eq!(
            (stat["name"].as_str(), stat["kind"].as_str()),
            (Some(name), Some("file")),
            "{stat}"
        );
    }
    let nested = "a/b c:d%e";
    let mkdir = format!("/v1/sessions/{}/files/mkdir", files.id);
    files.room.api.post(&mkdir, json!({"path": "a"})).granted();
    files.put(nested, b"nested").granted();
    assert_eq!(files.get(nested).text(), "nested");
    let list = files.list("a").expect(200);
    assert_eq!(list["items"][0]["path"], nested, "{list:#}");
    files.delete("a", "").refused(409);
    assert!(matches!(files.delete("a", "?recursive=true").status, 200 | 204));
    assert!(!files.workspace.join("a").exists());
    files.delete("a", "").refused(404);
    files.get("nothing").refused(404);
    files.list("nothing").refused(404);
    // The same names through the command line.
    let id = files.id.as_str();
    let source = files.room.root.join("up load");
    fs::write(&source, "by hand").expect("written");
    files.room.cli(&["sessions", "files", "put", id, "x/y z:%.txt", &source.to_string_lossy()]);
    let ran = files.room.cli(&["sessions", "files", "ls", id]).exits(0);
    assert!(ran.out.contains("a b c:d%e"), "{}", ran.out);
    assert_eq!(
        files.room.cli(&["sessions", "files", "get", id, "a b c:d%e"]).exits(0).out,
        "content of a b c:d%e"
    );
}

#[test]
fn p8_nothing_leaves_the_workspace() {
    let files = Files::start();
    let outside = files.room.root.join("outside");
    fs::create_dir(&outside).expect("a folder");
    fs::write(outside.join("secret"), "not yours").expect("written");
    symlink(&outside, files.workspace.join("link")).expect("a link");
    symlink("/etc/passwd", files.workspace.join("passwd")).expect("a link");
    symlink("../../../../../../etc/passwd", files.workspace.join("up")).expect("a link");
    symlink("loop", files.workspace.join("loop")).expect("a link");
    let base = format!("/v1/sessions/{}/files", files.id);
    let api = &files.room.api;
    let mut bad = Vec::new();
    for path in [
        "link/secret",
        "passwd",
        "up",
        "loop",
        "%2E%2E/%2E%2E/token",
        "..%2F..%2Ftoken",
        "%2Fetc%2Fpasswd",
        "x%00y",
        "%2E%2E%2Ftoken",
        "%2Fproc%2Fself%2Fenviron",
    ] {
        bad.push(api.get(&format!("{base}/content/{path}")));
        bad.push(api.request("PUT", &format!("{base}/content/{path}")).body("overwritten").send());
        bad.push(api.delete(&format!("{base}/content/{path}/secret")));
        bad.push(api.get(&format!("{base}?path={path}")));
        bad.push(api.post(
            &format!("{base}/mkdir"),
            json!({"path": path.replace("%2F", "/").replace("%2E", ".").replace("%00", "\0")}),
        ));
    }
    for reply in &bad {
        assert!(
            (400..500).contains(&reply.status) || reply.status < 300,
            "{} {}",
            reply.status,
            reply.text()
        );
        let text = reply.text();
        assert!(!text.contains("not yours") && !text.contains("root:"), "{text}");
    }
    assert_eq!(fs::read_to_string(outside.join("secret")).expect("the file"), "not yours");
    assert_eq!(fs::read_dir(&outside).expect("the folder").count(), 1, "nothing was made there");
    let passwd = fs::read_to_string("/etc/passwd").expect("the file");
    assert!(passwd.contains("root:"), "it is as it was");
    assert!(
        fs::read_to_string(files.room.data.join("token"))
            .is_ok_and(|token| !token.contains("overwritten"))
    );

    // Removing a link removes the link, and a folder that holds one keeps what it points to.
    files.delete("link", "?recursive=true");
    assert_eq!(fs::read_to_string(outside.join("secret")).expect("the file"), "not yours");
}

#[test]
fn p8_special_files_block_nobody() {
    let files = Files::start();
    let fifo =
        CString::new(files.workspace.join("fifo").to_string_lossy().as_bytes()).expect("no NUL");
    rustix::fs::mknodat(rustix::fs::CWD, &fifo, rustix::fs::FileType::Fifo, 0o600.into(), 0)
        .expect("a FIFO");
    let _socket =
        std::os::unix::net::UnixListener::bind(files.workspace.join("sock")).expect("a socket");
    for name in ["fifo", "sock"] {
        let reply = files.get(name);
        assert!((400..500).contains(&reply.status), "{name}: {} {}", reply.status, reply.text());
        let list = files.list("").expect(200);
        let kind = list["items"]
            .as_array()
            .and_then(|all| all.iter().find(|f| f["name"] == name))
            .map(|f| f["kind"].clone());
        assert_eq!(kind, Some(json!("other")), "{list:#}");
    }
    files.put("fine", b"fine").granted();
    assert_eq!(files.get("fine").text(), "fine");
    assert_eq!(files.room.api.delete(&format!("/v1/sessions/{}", files.id)).status, 204);
    assert!(!files.workspace.exists());
}

#[test]
fn p2_large_files_stream() {
    let files = Files::start();
    let size = scaled(64, 1024) << 20;
    let chunk = (0..251u8).cycle().take(size).collect::<Vec<u8>>();
    let before = greenroom_tests::procs::rss_kib(files.room.server_pid());
    files.put("large", &chunk).granted();
    assert_eq!(fs::metadata(files.workspace.join("large")).expect("the file").len(), size as u64);
    let mut open = files.room.api.request("GET", &files.path("large")).open();
    assert_eq!(open.status, 200);
    let (mut at, mut buffer) = (0, vec![0; 1 << 16]);
    loop {
        let n = open.body.read(&mut buffer).expect("the bytes");
        if n == 0 {
            break;
        }
        assert_eq!(buffer[..n], chunk[at..at + n], "at {at}");
        at += n;
    }
    assert_eq!(at, size);
    let after = greenroom_tests::procs::rss_kib(files.room.server_pid());
    assert!(after < before + 48 * 1024, "from {before} to {after} KiB for {size} bytes");
    // A reader that goes away in the middle leaves no trace.
    for _ in 0..5 {
        drop(files.room.api.request("GET", &files.path("large")).open());
    }
    assert_eq!(files.get("large").body.len(), size);
}

#[test]
fn p1_delete_does_not_cross_mounts() {
    let files = Files::start();
    let outside = files.room.root.join("host");
    fs::create_dir(&outside).expect("a folder");
    fs::write(outside.join("precious"), "keep").expect("written");
    let inside = files.workspace.join("mounted");
    fs::create_dir(&inside).expect("a folder");
    let mount = |args: &[&str], path: &PathBuf| {
        std::process::Command::new(args[0])
            .args(&args[1..])
            .arg(path)
            .status()
            .is_ok_and(|s| s.success())
    };
    assert!(mount(&["mount", "--bind", &outside.to_string_lossy()], &inside));
    let reply =
        files.room.api.request("DELETE", &format!("/v1/sessions/{}?wait=3s", files.id)).send();
    assert!(matches!(reply.status, 202 | 204), "{}", reply.text());
    assert_eq!(fs::read_to_string(outside.join("precious")).expect("the file"), "keep");
    // It was moved to the trash with its mount; take that away again.
    let mounts = fs::read_to_string("/proc/self/mounts").unwrap_or_default();
    let root = files.room.root.to_string_lossy().into_owned();
    for point in
        mounts.lines().filter_map(|line| line.split(' ').nth(1)).filter(|p| p.starts_with(&root))
    {
        assert!(mount(&["umount", "-l"], &PathBuf::from(point)));
    }
}

#[test]
fn p8_an_upload_that_races_with_a_delete_leaves_nothing() {
    let room = Greenroom::up().agent("echo", agents::echo()).start();
    for turn in 0..scaled(10, 100) {
        let session = room.api.create("echo", json!({"prompt": "hello"}));
        let id = id_of(&session);
        room.api.wait_status(&id, "finished");
        let workspace = room.workspace(&uid_of(&session));
        let gone = std::thread::scope(|scope| {
            for thread in 0..3 {
                let (room, id) = (&room, &id);
                scope.spawn(move || {
                    for n in 0.. {
                        let path = format!("/v1/sessions/{id}/files/content/new-{thread}-{n}");
                        let reply = room.api.request("PUT", &path).body(vec![7; 100_000]).send();
                        assert!(reply.status < 500, "{}", reply.text());
                        if reply.status >= 400 {
                            return;
                        }
                    }
                });
            }
            room.api.delete(&format!("/v1/sessions/{id}"))
        });
        assert_eq!(gone.status, 204, "turn {turn}: {}", gone.text());
        let work = workspace.parent().expect("the session's folder");
        assert!(!work.exists(), "turn {turn}: {} came back", work.display());
    }
}
