use super::*;
use crate::push::{PushError, push};
use greenroom_protocol::v1::PushRequest;
use std::fs;

fn in_repository(folder: &Path, args: &[&str]) -> String {
    let names = ["-c", "user.name=a", "-c", "user.email=a@b", "-c", "init.defaultBranch=main"];
    let output = git(folder).args(names).args(args).output().expect("git");
    assert!(output.status.success(), "{args:?}: {}", String::from_utf8_lossy(&output.stderr));
    String::from_utf8_lossy(&output.stdout).trim().to_owned()
}

/// A repository with `file` in two versions, the older one tagged `v1`, and a place for
/// a clone of it.
fn scene() -> (tempfile::TempDir, PathBuf, PathBuf) {
    let dir = tempfile::tempdir().expect("a folder");
    let (source, target) = (dir.path().join("source"), dir.path().join("work/workspace"));
    fs::create_dir_all(&source).expect("a folder");
    fs::create_dir_all(&target).expect("a folder");
    in_repository(&source, &["init", "--quiet"]);
    for (text, tag) in [("one\n", "v1"), ("two\n", "v2")] {
        fs::write(source.join("file"), text).expect("a file");
        in_repository(&source, &["add", "file"]);
        in_repository(&source, &["commit", "--quiet", "-m", text.trim()]);
        in_repository(&source, &["tag", tag]);
    }
    (dir, source, target)
}

fn try_clone(
    source: &Path,
    reference: Option<&str>,
    branch: &str,
    to: &Path,
) -> Result<Repository, GitError> {
    clone(source.to_str().expect("UTF-8"), reference, branch, to, &CancellationToken::new())
}

fn file(folder: &Path) -> String {
    fs::read_to_string(folder.join("file")).expect("a file")
}

#[test]
fn a_clone_is_on_a_branch_of_its_own() {
    for (reference, wanted) in [(None, "two\n"), (Some("main"), "two\n"), (Some("v1"), "one\n")] {
        let (_dir, source, target) = scene();
        try_clone(&source, reference, "greenroom/tidy", &target).expect("a clone");
        assert_eq!(file(&target), wanted);
        let branch = in_repository(&target, &["branch", "--show-current"]);
        assert_eq!(branch, "greenroom/tidy");
    }
    let (_dir, source, target) = scene();
    try_clone(&source, None, "greenroom/a..b.lock", &target).expect("a clone");
    assert_eq!(in_repository(&target, &["branch", "--show-current"]), "greenroom/session");
}

#[test]
fn a_patch_has_all_that_changed_and_applies() {
    let (dir, source, target) = scene();
    let made = try_clone(&source, None, "greenroom/tidy", &target).expect("a clone");
    let token = CancellationToken::new();
    let look = || diff(&made, &target, dir.path(), &token).expect("a diff");
    assert_eq!(look(), b"");
    fs::write(target.join("file"), "committed\n").expect("a file");
    in_repository(&target, &["commit", "--quiet", "-am", "x"]);
    fs::write(target.join("new"), "not even added\n").expect("a file");
    // What the agent has configured there is not run, nor what is in a repository within.
    let inner = target.join("inner");
    fs::create_dir(&inner).expect("a folder");
    in_repository(&inner, &["init", "--quiet"]);
    fs::write(inner.join("file"), "one\n").expect("a file");
    in_repository(&inner, &["add", "file"]);
    in_repository(&inner, &["commit", "--quiet", "-m", "x"]);
    in_repository(&target, &["-c", "advice.addEmbeddedRepo=false", "add", "inner"]);
    in_repository(&target, &["commit", "--quiet", "-m", "y"]);
    for place in [&target, &inner] {
        for key in ["diff.external", "filter.trap.clean", "core.fsmonitor", "diff.trap.textconv"] {
            let trap = format!("touch {}; cat", dir.path().join("was-here").display());
            in_repository(place, &["config", key, &trap]);
        }
    }
    for place in [&target, &inner] {
        fs::write(place.join(".gitattributes"), "* filter=trap diff=trap\n").expect("a file");
    }
    // Of the same length: only what the filter makes of it tells whether it changed.
    fs::write(inner.join("file"), "two\n").expect("a file");
    let index = fs::read(target.join(".git/index")).expect("its index");
    let patch = look();
    // As it is looked at for a push: with the repository within among what was committed.
    let changed = || {
        let tip = made.tip(&target, &token).expect("a tip").expect("a branch");
        let own = Scratch::make(dir.path(), &target, &target.join(".git"), &tip, &token);
        let own = own.expect("a repository");
        own.take(&tip).expect("taken");
        let names = own.differ(&tip, &["--name-only"]).expect("names");
        String::from_utf8(names).expect("UTF-8")
    };
    assert_eq!(changed(), ".gitattributes\nnew\n");
    assert!(!dir.path().join("was-here").exists());
    assert_eq!(fs::read(target.join(".git/index")).expect("its index"), index);
    let applied = dir.path().join("patch");
    fs::write(&applied, &patch).expect("a file");
    in_repository(&source, &["apply", applied.to_str().expect("UTF-8")]);
    assert_eq!(file(&source), "committed\n");
    assert!(source.join("new").exists());
    // A submodule that was never filled has not changed; one that is gone has.
    fs::remove_dir_all(&inner).expect("removed");
    fs::create_dir(&inner).expect("a folder");
    assert_eq!(changed(), ".gitattributes\nnew\n");
    fs::remove_dir(&inner).expect("removed");
    assert_eq!(changed(), ".gitattributes\ninner\nnew\n");
    let left = fs::read_dir(dir.path()).expect("it").count();
    assert_eq!(left, 3, "source, work and patch");
}

#[test]
fn a_push_has_the_commits_and_nothing_of_the_agents_runs() {
    let (dir, source, target) = scene();
    let made = try_clone(&source, None, "greenroom/tidy", &target).expect("a clone");
    let token = CancellationToken::new();
    let trap = dir.path().join("was-here");
    let command = format!("touch {}", trap.display());
    fs::write(target.join(".git/hooks/pre-push"), format!("#!/bin/sh\n{command}\n")).expect("it");
    for key in ["core.sshCommand", "credential.helper", "remote.origin.receivepack"] {
        in_repository(&target, &["config", key, &command]);
    }
    in_repository(&target, &["config", "remote.origin.pushurl", "/nowhere"]);
    let wish =
        |branch: Option<&str>| PushRequest { branch: branch.map(str::to_owned), remote: None };
    let to = |branch| push(&made, &wish(branch), &target, dir.path(), &token);
    fs::write(target.join("new"), "not added\n").expect("a file");
    assert!(matches!(to(None), Err(PushError::Nothing { uncommitted: 1, .. })));
    in_repository(&target, &["add", "new"]);
    in_repository(&target, &["commit", "--quiet", "-m", "x"]);
    fs::write(target.join("more"), "not added\n").expect("a file");
    fs::write(target.join("file"), "changed\n").expect("a file");
    let pushed = to(None).expect("pushed");
    assert_eq!((pushed.commits, pushed.uncommitted), (1, 2));
    assert_eq!(in_repository(&source, &["rev-parse", "greenroom/tidy"]), pushed.commit);
    assert_eq!(in_repository(&source, &["show", "greenroom/tidy:new"]), "not added");
    assert!(matches!(to(Some("a..b")), Err(PushError::Name(_))));
    // Never by force.
    in_repository(&target, &["commit", "--quiet", "--amend", "-m", "another"]);
    let refused = to(None).expect_err("not a descendant").to_string();
    assert!(refused.contains("rejected"), "{refused}");
    assert!(!refused.contains("hint:"), "{refused}");
    assert_eq!(in_repository(&source, &["rev-parse", "greenroom/tidy"]), pushed.commit);
    assert!(!trap.exists());
}

#[test]
fn words_are_gits_own_without_names_of_users() {
    let said =
        "hint: do it\nremote: no\nfatal: 'https://me:pw@host/x' and ssh://git@h/y: no\nbye\n";
    assert_eq!(words(said), "remote: no; fatal: 'https://host/x' and ssh://h/y: no");
    assert_eq!(words("first\nlast\n\n"), "last");
    assert_eq!(words(""), "no reason");
    assert_eq!(redacted("a@b of http://h/p@q"), "a@b of http://h/p@q");
}

#[test]
fn what_is_not_there_is_said() {
    let (_dir, source, target) = scene();
    let error = try_clone(Path::new("/no/such/place"), None, "b", &target).expect_err("none");
    assert!(error.to_string().contains("/no/such/place"), "{error}");
    let error = try_clone(&source, Some("v9"), "b", &target).expect_err("none");
    assert!(error.to_string().contains("v9"), "{error}");
}

#[test]
fn a_clone_that_is_not_wanted_any_more_ends() {
    let (_dir, source, target) = scene();
    let token = CancellationToken::new();
    token.cancel();
    let done = clone(source.to_str().expect("UTF-8"), None, "b", &target, &token);
    assert!(matches!(done, Err(GitError::Cancelled)), "{done:?}");
}
