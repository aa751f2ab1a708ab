//! A registry of a test's own: Debian's `docker-registry`, on loopback, with a password.

use std::fs;
use std::io::{BufRead, BufReader, Read, Write};
use std::path::Path;
use std::process::{Child, Command, Stdio};

use serde_json::{Value, json};

use crate::http::{Api, Reply};

/// User and password, as they are written.
pub const LOGIN: &str = "ann:pa:ss";
/// The same, as the registry keeps them (bcrypt) and as a header says them (base64).
const KEPT: &str = "ann:$2b$04$bcjV1WjmrSE1UYjivwDpeud4f6UZQPA9nEgQ6bbkkMYp6DVdmDwWm\n";
const SAID: &str = "Basic YW5uOnBhOnNz";

const MANIFEST: &str = "application/vnd.oci.image.manifest.v1+json";

/// A registry. It ends with this value.
#[derive(Debug)]
pub struct Registry {
    /// Where it is: `127.0.0.1:port`.
    pub host: String,
    child: Child,
}

impl Registry {
    /// Starts one that keeps what it has in this folder, at this address; port 0 is a free one.
    pub fn start(folder: &Path, address: &str) -> Self {
        fs::create_dir_all(folder.join("files")).expect("a folder");
        fs::write(folder.join("passwords"), KEPT).expect("written");
        let config = json!({
            "version": "0.1",
            "log": {"level": "info"},
            "storage": {"filesystem": {"rootdirectory": folder.join("files")}},
            "http": {"addr": address},
            "auth": {"htpasswd": {"realm": "test", "path": folder.join("passwords")}},
        });
        let path = folder.join("config.yml");
        fs::write(&path, config.to_string()).expect("written");
        let mut command = Command::new("docker-registry");
        command.arg("serve").arg(path).stdin(Stdio::null()).stdout(Stdio::null());
        let mut child = command
            .stderr(Stdio::piped())
            .spawn()
            .expect("docker-registry starts; .ci/test-tools installs it");
        let mut log = BufReader::new(child.stderr.take().expect("a pipe"));
        let mut said = String::new();
        let host = loop {
            let mut line = String::new();
            let read = log.read_line(&mut line).expect("its log");
            assert!(read > 0, "the registry ended: {said}");
            if let Some((_, rest)) = line.split_once("listening on ") {
                let end = rest.find(|c: char| !c.is_ascii_digit() && !".:".contains(c));
                break rest[..end.unwrap_or(rest.len())].to_owned();
            }
            said.push_str(&line);
        };
        // A full pipe would stop it.
        std::thread::spawn(move || log.read_to_end(&mut Vec::new()));
        Self { host, child }
    }

    /// Keeps a text under this name and tag, and gives the digest of that.
    pub fn push(&self, name: &str, tag: &str, text: &str) -> String {
        let layer = self.blob(name, text);
        let config = self.blob(name, "{}");
        let manifest = json!({
            "schemaVersion": 2,
            "mediaType": MANIFEST,
            "config": described("application/vnd.oci.image.config.v1+json", &config, 2),
            "layers": [described("application/yaml", &layer, text.len())],
        });
        let path = format!("/v2/{name}/manifests/{tag}");
        let reply = self.send("PUT", &path, MANIFEST, manifest.to_string());
        assert_eq!(reply.status, 201, "{}", reply.text());
        reply.header("docker-content-digest").expect("a digest").to_owned()
    }

    fn blob(&self, name: &str, text: &str) -> String {
        let digest = sha256(text);
        let opened =
            self.send("POST", &format!("/v2/{name}/blobs/uploads/"), "text/plain", String::new());
        assert_eq!(opened.status, 202, "{}", opened.text());
        let place = opened.header("location").expect("a place");
        let path = place.split_once(&self.host).map_or(place, |(_, path)| path);
        let sign = if path.contains('?') { '&' } else { '?' };
        let path = format!("{path}{sign}digest={}", digest.replace(':', "%3A"));
        let kept = self.send("PUT", &path, "application/octet-stream", text.to_owned());
        assert_eq!(kept.status, 201, "{}", kept.text());
        digest
    }

    fn send(&self, method: &str, path: &str, kind: &str, body: String) -> Reply {
        let api = Api { host: self.host.clone(), token: None };
        let request = api.request(method, path).header("Authorization", SAID);
        request.header("Content-Type", kind).body(body.into_bytes()).send()
    }
}

fn described(kind: &str, digest: &str, size: usize) -> Value {
    json!({"mediaType": kind, "digest": digest, "size": size})
}

/// `sha256:…` of a text.
fn sha256(text: &str) -> String {
    let mut command = Command::new("sha256sum");
    let mut child =
        command.stdin(Stdio::piped()).stdout(Stdio::piped()).spawn().expect("sha256sum");
    child.stdin.take().expect("a pipe").write_all(text.as_bytes()).expect("written");
    let out = child.wait_with_output().expect("its end").stdout;
    let out = String::from_utf8(out).expect("text");
    format!("sha256:{}", out.split(' ').next().expect("a digest"))
}

impl Drop for Registry {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}
