//! The quick starts for Python and TypeScript: the blocks of the pages, run as they stand
//! against a real server, with the clients that stock generators write.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use greenroom_tests::cli::run;
use greenroom_tests::{Greenroom, tools};

/// A page of the documentation.
fn page(name: &str) -> String {
    let docs = Path::new(env!("CARGO_MANIFEST_DIR")).join("../docs");
    fs::read_to_string(docs.join(name)).expect("the page")
}

/// Its blocks in this language, in order.
fn blocks(page: &str, language: &str) -> Vec<String> {
    let mut found = Vec::new();
    let mut open: Option<(bool, String)> = None;
    for line in page.lines() {
        match (&mut open, line.strip_prefix("```")) {
            (None, Some(word)) => open = Some((word == language, String::new())),
            (Some(_), Some(_)) => {
                let (is_ours, text) = open.take().expect("a block");
                found.extend(is_ours.then_some(text));
            }
            (Some((_, text)), None) => {
                text.push_str(line);
                text.push('\n');
            }
            (None, None) => {}
        }
    }
    assert!(open.is_none(), "every block ends");
    found
}

/// What a page's program says, run in a folder of its own with these programs at hand.
fn follow(name: &str, language: &str, file: &str, programs: &[PathBuf]) -> (Greenroom, String) {
    let page = page(name);
    let room = Greenroom::up().start();
    let [agent] = &blocks(&page, "yaml")[..] else { panic!("{name} has one agent") };
    fs::write(room.agent_file("notes"), agent).expect("the agent's file");
    room.served("notes");
    let folder = room.root.join("quickstart");
    fs::create_dir_all(&folder).expect("a folder");
    if language == "ts" {
        std::os::unix::fs::symlink(tools::outward(""), folder.join("node_modules"))
            .expect("a link");
        fs::write(folder.join("package.json"), "{ \"type\": \"module\" }\n").expect("a package");
    }
    fs::write(folder.join(file), blocks(&page, language).join("\n")).expect("the program");
    let path =
        std::env::join_paths(programs.iter().cloned().chain(["/usr/bin".into(), "/bin".into()]));
    let mut said = String::new();
    let steps = blocks(&page, "sh");
    assert_eq!(steps.len(), 2, "one writes the client, one runs the program");
    for step in steps {
        let mut command = Command::new("bash");
        command.args(["-euc", &step]).current_dir(&folder).env_clear();
        command.env("PATH", path.as_ref().expect("a path")).env("HOME", &folder);
        command.env("LANG", "C.UTF-8");
        command.env("GREENROOM_URL", format!("http://{}", room.api.host));
        command.env("GREENROOM_TOKEN", room.api.token.as_deref().expect("a token"));
        let ran = run(command, "").exits(0);
        assert!(!ran.out.contains("WARNING"), "the generator has no complaint: {}", ran.out);
        said = ran.out;
    }
    (room, said)
}

/// What a page says that its program says, but for what differs each time.
fn holds(name: &str, room: &Greenroom, said: &str) {
    let page = page(name);
    let [shown] = &blocks(&page, "text")[..] else { panic!("{name} shows what is said") };
    let constant = |text: &str| -> Vec<String> {
        let varies = |line: &&str| !line.starts_with("session ") && !line.starts_with("proof: ");
        text.lines().filter(varies).map(str::to_owned).collect()
    };
    assert_eq!(constant(said), constant(shown), "{said}");
    let proof = said.lines().find_map(|line| line.strip_prefix("proof: ")).expect("a proof");
    assert!(proof.contains("no_child_left"), "{said}");
    let sessions = room.api.get("/v1/sessions").expect(200);
    let id = sessions["items"][0]["id"].as_str().expect("a session").to_owned();
    assert!(said.contains(&id), "{said}");
    assert_eq!(room.api.wait_rest(&id)["status"], "finished");
    room.api.check(&id);
}

/// The folder a program is in.
fn beside(program: PathBuf) -> PathBuf {
    program.parent().expect("a folder").to_owned()
}

/// A page tells its reader to install what the tests have installed.
#[track_caller]
fn pins(name: &str, pins: &str, words: &[&str]) {
    let page = page(name);
    for word in words {
        assert!(page.contains(word), "{name} names {word}");
    }
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("tools").join(pins);
    let kept = fs::read_to_string(root).expect("the pins");
    for word in words {
        let plain = word.replace("==", " ").replace('@', " ");
        let (package, version) = plain.trim().rsplit_once(' ').expect("a version");
        let package = package.trim().replace(' ', "@");
        let fits = |line: &&str| line.contains(&package) && line.contains(version);
        assert!(kept.lines().any(|line| fits(&line)), "{word} is what {pins} has");
    }
}

#[test]
fn p10_the_python_quick_start_does_what_it_says() {
    let name = "quickstart-python.md";
    pins(name, "openapi/requirements.txt", &["openapi-python-client==0.29.1"]);
    let bin = beside(tools::openapi("openapi-python-client"));
    let (room, said) = follow(name, "python", "quickstart.py", &[bin]);
    holds(name, &room, &said);
}

#[test]
fn p10_the_typescript_quick_start_does_what_it_says() {
    let name = "quickstart-typescript.md";
    let words = ["openapi-fetch@0.17.0", "openapi-typescript@7.13.0", "typescript@5.9.3"];
    pins(name, "outward/package.json", &words);
    let bin = tools::outward(".bin");
    let (room, said) = follow(name, "ts", "quickstart.ts", &[beside(tools::node()), bin]);
    holds(name, &room, &said);
}
