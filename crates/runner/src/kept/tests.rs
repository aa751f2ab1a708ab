use std::fs;
use std::os::unix::fs::{PermissionsExt, symlink};
use std::path::{Path, PathBuf};

use greenroom_core::agent::WorkspaceFrom;
use greenroom_protocol::link::Look;
use greenroom_protocol::v1::FileInfo;
use tokio::io::AsyncReadExt;

use super::look::{Seen, look};
use super::*;
use crate::git::{self, Repository};

/// A runner's folder with a session in a clone, or in a worktree, of a repository with
/// `file`, which says `one`.
struct Scene {
    _temp: tempfile::TempDir,
    source: PathBuf,
    folder: Folder,
    uid: SessionUid,
    workspace: PathBuf,
    token: CancellationToken,
}

fn run_git(folder: &Path, args: &[&str]) -> String {
    let names = ["-c", "user.name=a", "-c", "user.email=a@b", "-c", "init.defaultBranch=main"];
    let mut command = git::git(folder);
    let output = command.args(names).args(args).output().expect("git");
    assert!(output.status.success(), "{args:?}: {}", String::from_utf8_lossy(&output.stderr));
    String::from_utf8_lossy(&output.stdout).trim().to_owned()
}

fn fresh() -> RunId {
    RunId(uuid::Uuid::now_v7())
}

impl Scene {
    fn of(worktree: bool) -> Self {
        Self::made(worktree, "sha1")
    }

    fn made(worktree: bool, format: &str) -> Self {
        let temp = tempfile::tempdir().expect("a folder");
        // Git has lists of paths that colons divide.
        let source = temp.path().join("a:\"source");
        fs::create_dir_all(&source).expect("a folder");
        run_git(&source, &["init", "--quiet", &format!("--object-format={format}")]);
        fs::write(source.join("file"), "one\n").expect("a file");
        fs::write(source.join("old"), "old\n").expect("a file");
        run_git(&source, &["add", "."]);
        run_git(&source, &["commit", "--quiet", "-m", "one"]);
        let folder = Folder::open(&temp.path().join("da:ta")).expect("a folder");
        let uid = SessionUid(uuid::Uuid::now_v7());
        let path = source.to_str().expect("UTF-8").to_owned();
        let from = match worktree {
            true => WorkspaceFrom::Worktree { path, reference: None },
            false => WorkspaceFrom::Git { url: path, reference: None },
        };
        let name = "tidy".parse().expect("a name");
        let token = CancellationToken::new();
        let made = crate::workspace::make(&folder, uid, &name, &from, &token);
        made.expect("a workspace");
        let workspace = folder.work(uid).join("workspace");
        Self { _temp: temp, source, folder, uid, workspace, token }
    }

    fn new() -> Self {
        Self::of(false)
    }

    fn write(&self, name: &str, text: &str) {
        fs::write(self.workspace.join(name), text).expect("a file");
    }

    fn git(&self, args: &[&str]) -> String {
        run_git(&self.workspace, args)
    }

    fn repository(&self) -> Repository {
        self.folder.repository(self.uid).expect("reads").expect("one of git")
    }

    fn shelf(&self) -> Shelf {
        Shelf::of(&self.folder.run(self.uid))
    }

    /// Keeps what there is, as of a new run.
    fn keep(&self) -> (RunId, String) {
        let run = fresh();
        let at = Timestamp::from_unix_ms(1_790_000_000_000);
        let kept = take(&self.folder, self.uid, run, at, &self.token).expect("kept");
        match kept {
            Some(RunFiles::Commit(commit)) => (run, commit),
            other => panic!("{other:?}"),
        }
    }

    fn look(&self, run: RunId, what: Look) -> crate::files::Files<Seen> {
        look(&self.folder, self.uid, run, &what, &self.token)
    }

    #[track_caller]
    fn refused(&self, run: RunId, what: Look) -> (u16, String) {
        match self.look(run, what) {
            Err(problem) => (problem.status, problem.code),
            Ok(_) => panic!("it is there"),
        }
    }

    fn stat(&self, run: RunId, path: &str) -> FileInfo {
        match self.look(run, Look::Stat { path: path.to_owned() }) {
            Ok(Seen::Stat(info)) => info,
            Ok(_) => panic!("no entry"),
            Err(problem) => panic!("{problem:?}"),
        }
    }

    fn list(&self, run: RunId, path: &str) -> Vec<String> {
        match self.look(run, Look::List { path: path.to_owned() }) {
            Ok(Seen::List(list)) => list.items.into_iter().map(|info| info.path).collect(),
            Ok(_) => panic!("no list"),
            Err(problem) => panic!("{problem:?}"),
        }
    }

    fn diff(&self, run: RunId, since: Option<RunId>) -> String {
        match self.look(run, Look::Diff { since }) {
            Ok(Seen::Diff(patch)) => String::from_utf8_lossy(&patch).into_owned(),
            Ok(_) => panic!("no patch"),
            Err(problem) => panic!("{problem:?}"),
        }
    }

    async fn read(&self, run: RunId, path: &str) -> String {
        let Ok(Seen::File(mut child, length)) = self.look(run, Look::Read { path: path.into() })
        else {
            panic!("no file {path:?}")
        };
        let mut text = String::new();
        let mut out = child.stdout.take().expect("a pipe");
        out.read_to_string(&mut text).await.expect("a text");
        assert_eq!(length, text.len() as u64);
        text
    }
}

#[tokio::test]
async fn each_run_has_its_own_files_and_no_others() {
    for worktree in [false, true] {
        let scene = Scene::of(worktree);
        scene.write("file", "two\n");
        scene.write("new", "new\n");
        let (first, _) = scene.keep();
        scene.write("file", "three\n");
        fs::remove_file(scene.workspace.join("new")).expect("removed");
        fs::remove_file(scene.workspace.join("old")).expect("removed");
        let (second, _) = scene.keep();
        scene.write("file", "later\n");
        assert_eq!(scene.read(first, "file").await, "two\n");
        assert_eq!(scene.read(second, "file").await, "three\n");
        assert_eq!(scene.list(first, ""), ["file", "new", "old"]);
        assert_eq!(scene.list(second, ""), ["file"]);
        let change = scene.diff(second, Some(first));
        assert!(change.contains("-two\n+three\n") && change.contains("-new\n"), "{change}");
        let whole = scene.diff(second, None);
        assert!(whole.contains("-one\n+three\n") && !whole.contains("new"), "{whole}");
        assert_eq!(scene.refused(fresh(), Look::Diff { since: None }).1, "no_files_kept");
        assert_eq!(scene.refused(first, Look::Diff { since: Some(fresh()) }).1, "no_files_kept");
        // Nothing of it is where it comes from.
        let refs = run_git(&scene.source, &["for-each-ref", "--format=%(refname)"]);
        assert!(!refs.contains("refs/greenroom"), "{refs}");
        assert_eq!(run_git(&scene.source, &["status", "--porcelain"]), "");
    }
}

#[tokio::test]
async fn it_is_the_same_patch_as_of_the_workspace() {
    let scene = Scene::new();
    scene.write("file", "two\n");
    fs::write(scene.workspace.join("bytes"), [0, 1, 2]).expect("a file");
    symlink("file", scene.workspace.join("link")).expect("a link");
    scene.git(&["add", "link"]);
    scene.git(&["commit", "--quiet", "-m", "a link"]);
    let (run, _) = scene.keep();
    let now = crate::files::diff(&scene.folder, scene.uid).expect("a patch");
    assert_eq!(scene.diff(run, None), String::from_utf8_lossy(&now));
}

#[tokio::test]
async fn what_did_not_change_is_kept_once() {
    let scene = Scene::new();
    let (run, commit) = scene.keep();
    assert_eq!(scene.diff(run, None), "");
    let (_, again) = scene.keep();
    assert_eq!(again, commit);
    scene.write("file", "two\n");
    let (changed, other) = scene.keep();
    assert_ne!(other, commit);
    // And back again.
    scene.write("file", "one\n");
    let (back, _) = scene.keep();
    assert_eq!(scene.diff(back, None), "");
    assert_eq!(scene.read(changed, "file").await, "two\n");
    // A run that is asked for twice is kept once.
    let at = Timestamp::from_unix_ms(0);
    scene.write("file", "three\n");
    let same = take(&scene.folder, scene.uid, changed, at, &scene.token).expect("kept");
    assert_eq!(same, Some(RunFiles::Commit(other)));
    assert_eq!(scene.read(changed, "file").await, "two\n");
}

#[tokio::test]
async fn it_outlives_what_the_agent_does_to_its_repository() {
    let scene = Scene::new();
    scene.write("file", "two\n");
    scene.write("committed", "text\n");
    scene.git(&["add", "."]);
    scene.git(&["commit", "--quiet", "-m", "two"]);
    let (first, _) = scene.keep();
    // History is written anew, and nothing of the old one is left.
    scene.git(&["rm", "-rq", "--cached", "."]);
    scene.git(&["checkout", "--quiet", "--orphan", "other"]);
    fs::remove_file(scene.workspace.join("committed")).expect("removed");
    scene.write("file", "three\n");
    scene.git(&["add", "."]);
    scene.git(&["commit", "--quiet", "-m", "anew"]);
    scene.git(&["remote", "remove", "origin"]);
    scene.git(&["branch", "--quiet", "-D", "greenroom/tidy", "main"]);
    scene.git(&["reflog", "expire", "--expire=now", "--all"]);
    scene.git(&["gc", "--quiet", "--prune=now"]);
    let base = scene.repository().base;
    let mut gone = git::git(&scene.workspace);
    assert!(!gone.args(["cat-file", "-e", &base]).output().expect("git").status.success());
    let (second, _) = scene.keep();
    // Not even without any of it.
    fs::remove_dir_all(scene.workspace.join(".git")).expect("removed");
    assert_eq!(scene.read(first, "committed").await, "text\n");
    assert_eq!(scene.read(first, "old").await, "old\n");
    assert_eq!(scene.read(second, "file").await, "three\n");
    assert!(scene.diff(second, None).contains("-one\n+three\n"));
    scene.write("file", "four\n");
    let (third, _) = scene.keep();
    assert_eq!(scene.read(third, "file").await, "four\n");
    let mut check = scene.shelf().git();
    let checked = check.args(["fsck", "--strict", "--no-dangling"]).output().expect("git");
    assert!(checked.status.success(), "{}", String::from_utf8_lossy(&checked.stderr));
}

#[test]
fn nothing_of_the_agents_is_run() {
    let scene = Scene::new();
    let trap = scene.workspace.with_file_name("trap");
    let spring = format!("touch '{}'; cat", trap.display());
    for key in ["filter.trap.clean", "filter.trap.process", "core.fsmonitor", "diff.external"] {
        scene.git(&["config", key, &spring]);
    }
    let hooks = scene.workspace.join(".git/hooks");
    fs::create_dir_all(&hooks).expect("a folder");
    for name in ["pre-commit", "post-index-change", "reference-transaction", "fsmonitor-watchman"] {
        let hook = hooks.join(name);
        fs::write(&hook, format!("#!/bin/sh\n{spring}\n")).expect("a hook");
        fs::set_permissions(&hook, fs::Permissions::from_mode(0o755)).expect("executable");
    }
    scene.write(".gitattributes", "* filter=trap diff=trap\n");
    scene.git(&["config", "diff.trap.textconv", &spring]);
    scene.write("file", "two\n");
    let mut works = git::git(&scene.workspace);
    works.args(["-c", "core.hooksPath=.git/hooks", "add", "."]).output().expect("git");
    assert!(trap.exists(), "the trap works on the agent itself");
    fs::remove_file(&trap).expect("removed");
    let (run, _) = scene.keep();
    scene.diff(run, None);
    assert!(!trap.exists(), "nothing of the agent's was run");
}

#[tokio::test]
async fn links_are_shown_and_lead_nowhere() {
    let scene = Scene::new();
    symlink("/etc/passwd", scene.workspace.join("out")).expect("a link");
    symlink("/etc", scene.workspace.join("dir")).expect("a link");
    fs::create_dir(scene.workspace.join("sub")).expect("a folder");
    scene.write("sub/run", "#!/bin/sh\n");
    let executable = fs::Permissions::from_mode(0o755);
    fs::set_permissions(scene.workspace.join("sub/run"), executable).expect("executable");
    let (run, _) = scene.keep();
    assert_eq!(scene.stat(run, "out").kind, "symlink");
    let read = |path: &str| Look::Read { path: path.to_owned() };
    assert_eq!(scene.refused(run, read("out")), (409, "is_a_link".to_owned()));
    assert_eq!(scene.refused(run, read("dir/passwd")), (404, "file_not_found".to_owned()));
    assert_eq!(scene.refused(run, read("../file")).0, 422);
    assert_eq!(scene.refused(run, read("/etc/passwd")).0, 422);
    assert_eq!(scene.refused(run, read("sub")), (409, "is_a_directory".to_owned()));
    let list = Look::List { path: "file".to_owned() };
    assert_eq!(scene.refused(run, list), (409, "not_a_directory".to_owned()));
    assert_eq!(
        (scene.stat(run, "").kind.as_str(), scene.stat(run, "sub").kind.as_str()),
        ("dir", "dir")
    );
    assert_eq!(scene.stat(run, "sub/run").mode, 0o755);
    assert_eq!(scene.stat(run, "file").mode, 0o644);
    assert_eq!(scene.list(run, "sub"), ["sub/run"]);
}

#[tokio::test]
async fn names_may_be_odd() {
    let scene = Scene::new();
    let names =
        ["a b", "ä→名", "new\nline", "tab\there", "-dash", ":(top)x", "*", "q\"uote", "b\\s"];
    for name in names {
        scene.write(name, name);
    }
    fs::create_dir(scene.workspace.join("d*")).expect("a folder");
    scene.write("d*/[x]", "deep");
    let (run, _) = scene.keep();
    for name in names {
        assert_eq!(scene.read(run, name).await, name);
        assert_eq!(scene.stat(run, name).path, name);
        assert!(scene.list(run, "").contains(&name.to_owned()), "{name:?}");
    }
    assert_eq!(scene.read(run, "d*/[x]").await, "deep");
    assert_eq!(scene.list(run, "d*"), ["d*/[x]"]);
}

#[tokio::test]
async fn what_is_ignored_is_left_out_from_then_on() {
    let scene = Scene::new();
    scene.write("built", "1");
    let (first, _) = scene.keep();
    scene.write(".gitignore", "built\nold\n");
    let (second, _) = scene.keep();
    assert_eq!(scene.list(first, ""), ["built", "file", "old"]);
    // What it began with stays, as in the patch.
    assert_eq!(scene.list(second, ""), [".gitignore", "file", "old"]);
    let now = crate::files::diff(&scene.folder, scene.uid).expect("a patch");
    assert_eq!(scene.diff(second, None), String::from_utf8_lossy(&now));
}

#[tokio::test]
async fn a_submodule_is_its_commit() {
    let scene = Scene::new();
    let library = scene.workspace.join("library");
    fs::create_dir(&library).expect("a folder");
    run_git(&library, &["init", "--quiet"]);
    fs::write(library.join("inside"), "1").expect("a file");
    run_git(&library, &["add", "."]);
    run_git(&library, &["commit", "--quiet", "-m", "1"]);
    let (first, _) = scene.keep();
    assert_eq!(scene.stat(first, "library").kind, "other");
    let read = Look::Read { path: "library".to_owned() };
    assert_eq!(scene.refused(first, read), (409, "not_a_file".to_owned()));
    let before = run_git(&library, &["rev-parse", "HEAD"]);
    run_git(&library, &["commit", "--quiet", "--allow-empty", "-m", "2"]);
    let after = run_git(&library, &["rev-parse", "HEAD"]);
    let (second, _) = scene.keep();
    let change = scene.diff(second, Some(first));
    assert!(change.contains(&before) && change.contains(&after), "{change}");
}

#[tokio::test]
async fn many_runs_share_few_packs() {
    let scene = Scene::new();
    let mut kept = Vec::new();
    for n in 0..53 {
        scene.write("file", &format!("{n}\n"));
        kept.push(scene.keep().0);
    }
    let packs = fs::read_dir(scene.shelf().root().join("git/objects/pack")).expect("a folder");
    let packs = packs.flatten().filter(|pack| pack.path().extension().is_some_and(|e| e == "pack"));
    assert!(packs.count() < 10);
    for (n, run) in kept.into_iter().enumerate() {
        assert_eq!(scene.read(run, "file").await, format!("{n}\n"));
    }
}

#[test]
fn one_that_was_cut_leaves_nothing_and_is_begun_anew() {
    let scene = Scene::new();
    scene.write("file", "two\n");
    let cancelled = CancellationToken::new();
    cancelled.cancel();
    let (run, at) = (fresh(), Timestamp::from_unix_ms(0));
    let cut = take(&scene.folder, scene.uid, run, at, &cancelled);
    assert!(matches!(cut, Err(KeepError::Git(GitError::Cancelled))), "{cut:?}");
    // What a runner that was killed leaves.
    let dead = scene.shelf().root().join(format!("{}dead", repository::TAKE));
    fs::create_dir_all(dead.join("objects")).expect("a folder");
    scene.keep();
    let left = fs::read_dir(scene.shelf().root()).expect("a folder");
    let mut left: Vec<_> = left.flatten().map(|entry| entry.file_name()).collect();
    left.sort();
    assert_eq!(left, ["git", "index"]);
}

#[tokio::test]
async fn objects_may_have_long_names() {
    let scene = Scene::made(false, "sha256");
    scene.write("file", "two\n");
    let (run, commit) = scene.keep();
    assert_eq!(commit.len(), 64);
    assert_eq!(scene.read(run, "file").await, "two\n");
}

#[tokio::test]
async fn a_power_cut_costs_no_later_run() {
    let scene = Scene::new();
    let (first, _) = scene.keep();
    let root = scene.shelf().root().to_owned();
    fs::write(root.join("index"), "").expect("written");
    for lock in ["git/refs/greenroom/last.lock", "git/packed-refs.lock"] {
        fs::write(root.join(lock), "").expect("written");
    }
    scene.write("file", "two\n");
    let (second, _) = scene.keep();
    assert_eq!(scene.read(second, "file").await, "two\n");
    assert_eq!(scene.diff(first, None), "");
    assert!(!root.join("git/refs/greenroom/last.lock").exists());
}

#[test]
fn it_goes_with_its_session() {
    let scene = Scene::of(true);
    let (run, _) = scene.keep();
    record::write(&scene.shelf(), run, &RunFiles::Commit("c".into())).expect("written");
    assert_eq!(record::unsaid(&scene.folder, scene.uid).expect("reads").len(), 1);
    assert!(crate::remove::session(&scene.folder, scene.uid).expect("removed").is_nothing());
    assert!(!scene.shelf().root().exists());
    assert_eq!(run_git(&scene.source, &["branch", "--list"]), "* main");
    assert_eq!(run_git(&scene.source, &["worktree", "list"]).lines().count(), 1);
}

#[test]
fn why_nothing_is_kept_is_said() {
    let said = |text: &str| {
        let error = GitError::Said { what: "add".to_owned(), said: text.to_owned() };
        match reason(&error.into(), false) {
            RunFiles::Reason { code, message } => {
                assert!(message.contains(text), "{message}");
                code
            }
            other => panic!("{other:?}"),
        }
    };
    assert_eq!(said("fatal: write error: No space left on device"), "no_space");
    assert_eq!(said("fatal: bad object"), "git_failed");
    let large = reason(&KeepError::TooLarge(3 << 30), false);
    assert!(
        matches!(large, RunFiles::Reason { code, message } if code == "too_large" && message.contains("3072 MiB"))
    );
}

#[tokio::test]
async fn the_next_start_waits_for_what_is_on_its_way_and_not_for_ever() {
    let (kept, uid) = (Arc::new(Kept::default()), SessionUid(uuid::Uuid::now_v7()));
    // Nothing is on its way.
    kept.settled_for_start(uid, Duration::ZERO).await;
    let awaited = kept.expect(uid);
    let other = kept.expect(uid);
    assert!(kept.is_open(uid));
    let session = awaited.session.clone();
    let start = tokio::spawn({
        let kept = kept.clone();
        async move { kept.settled_for_start(uid, Duration::from_secs(600)).await }
    });
    drop(awaited);
    assert!(!session.cancel.is_cancelled() && !start.is_finished());
    drop(other);
    start.await.expect("it starts");
    assert!(!kept.is_open(uid) && !session.cancel.is_cancelled());
    // One that takes too long is given up, and waited for.
    let awaited = kept.expect(uid);
    let session = awaited.session.clone();
    let given_up = session.cancel.clone();
    let work = tokio::spawn(async move {
        given_up.cancelled().await;
        drop(awaited);
    });
    kept.settled_for_start(uid, Duration::from_millis(1)).await;
    work.await.expect("it ends");
    assert_eq!(session.why.get(), Some(&GivenUp::NoWait));
    assert!(!kept.is_open(uid));
}
