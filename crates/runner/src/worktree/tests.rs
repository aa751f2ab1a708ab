use super::*;

struct Scene {
    temp: tempfile::TempDir,
    folder: Folder,
    source: PathBuf,
}

/// A data folder and a repository.
fn scene() -> Scene {
    let temp = tempfile::tempdir().unwrap();
    let source = temp.path().join("source");
    fs::create_dir(&source).unwrap();
    let folder = Folder::open(&temp.path().join("data")).unwrap();
    let scene = Scene { temp, folder, source };
    scene.git(&scene.source, &["init", "--quiet"]);
    for text in ["one", "two"] {
        fs::write(scene.source.join("file"), text).unwrap();
        scene.git(&scene.source, &["add", "file"]);
        scene.git(&scene.source, &["commit", "--quiet", "-m", text]);
        scene.git(&scene.source, &["tag", text]);
    }
    scene
}

impl Scene {
    fn git(&self, folder: &Path, args: &[&str]) -> String {
        let names = ["-c", "user.name=a", "-c", "user.email=a@b", "-c", "init.defaultBranch=main"];
        let output = git::git(folder).args(names).args(args).output().unwrap();
        assert!(output.status.success(), "{args:?}: {}", String::from_utf8_lossy(&output.stderr));
        git::text(&output)
    }

    fn try_make(&self, uid: SessionUid, name: &str, path: &str) -> Result<PathBuf, GitError> {
        fs::create_dir_all(self.folder.work(uid)).unwrap();
        let token = CancellationToken::new();
        make(&self.folder, uid, &name.parse().unwrap(), path, None, &token)?;
        Ok(self.folder.work(uid).join("workspace"))
    }

    fn make(&self, name: &str) -> (SessionUid, PathBuf) {
        let uid = SessionUid(uuid::Uuid::now_v7());
        self.folder.make_compute(uid, greenroom_core::Epoch(1)).unwrap();
        let workspace = self.try_make(uid, name, self.source.to_str().unwrap()).unwrap();
        (uid, workspace)
    }

    fn registered(&self) -> usize {
        self.git(&self.source, &["worktree", "list"]).lines().count() - 1
    }

    fn branches(&self) -> String {
        self.git(&self.source, &["branch", "--list", "--format=%(refname:short)", "greenroom/*"])
    }
}

#[test]
fn a_worktree_goes_with_its_session_and_leaves_what_is_nowhere_else() {
    let scene = scene();
    let (idle, first) = scene.make("idle");
    let (busy, second) = scene.make("busy");
    assert_eq!(fs::read_to_string(first.join("file")).unwrap(), "two");
    assert_eq!(scene.git(&first, &["status", "--porcelain"]), "");
    assert_eq!(scene.git(&second, &["branch", "--show-current"]), "greenroom/busy");
    fs::write(second.join("file"), "three").unwrap();
    scene.git(&second, &["commit", "--quiet", "-am", "three"]);
    // Nobody's housekeeping takes it, even while its files cannot be seen.
    fs::rename(&second, scene.temp.path().join("elsewhere")).unwrap();
    scene.git(&scene.source, &["worktree", "prune", "--expire=now"]);
    fs::rename(scene.temp.path().join("elsewhere"), &second).unwrap();
    assert_eq!(scene.registered(), 2);

    assert!(remove::session(&scene.folder, idle).unwrap().is_nothing());
    assert_eq!((scene.registered(), scene.branches().as_str()), (1, "greenroom/busy"));
    assert!(!first.exists() && second.exists());
    assert!(remove::session(&scene.folder, busy).unwrap().is_nothing());
    assert_eq!((scene.registered(), scene.branches().as_str()), (0, "greenroom/busy"));
    assert_eq!(scene.git(&scene.source, &["show", "greenroom/busy:file"]), "three");
    assert!(scene.folder.repository(busy).unwrap().is_none());
    assert!(!scene.source.join(".git/worktrees").exists());

    // The name is taken now; the next session of it has another branch.
    let (again, third) = scene.make("busy");
    let branch = scene.git(&third, &["branch", "--show-current"]);
    assert!(branch.starts_with("greenroom/busy-"), "{branch}");
    assert_eq!(fs::read_to_string(third.join("file")).unwrap(), "two");
    assert!(remove::session(&scene.folder, again).unwrap().is_nothing());
    assert_eq!(scene.branches(), "greenroom/busy");
}

#[test]
fn nothing_that_is_configured_there_is_run() {
    let scene = scene();
    let trap = scene.temp.path().join("was-here");
    let command = format!("touch {}; cat", trap.display());
    for key in ["filter.trap.smudge", "filter.trap.clean", "core.fsmonitor", "core.sshCommand"] {
        scene.git(&scene.source, &["config", key, &command]);
    }
    scene.git(&scene.source, &["config", "core.hooksPath", "hooks"]);
    let hooks = scene.source.join("hooks");
    fs::create_dir(&hooks).unwrap();
    for hook in ["post-checkout", "reference-transaction", "post-index-change"] {
        use std::os::unix::fs::PermissionsExt;
        fs::write(hooks.join(hook), format!("#!/bin/sh\n{command}\n")).unwrap();
        fs::set_permissions(hooks.join(hook), fs::Permissions::from_mode(0o755)).unwrap();
    }
    fs::write(scene.source.join(".git/info/attributes"), "* filter=trap\n").unwrap();
    let (uid, workspace) = scene.make("tidy");
    assert_eq!(fs::read_to_string(workspace.join("file")).unwrap(), "two");
    fs::write(workspace.join("file"), "three").unwrap();
    let repository = scene.folder.repository(uid).unwrap().unwrap();
    let token = CancellationToken::new();
    let patch = git::diff(&repository, &workspace, &scene.folder.run(uid), &token).unwrap();
    assert!(String::from_utf8_lossy(&patch).contains("+three"));
    assert!(remove::session(&scene.folder, uid).unwrap().is_nothing());
    assert!(!trap.exists());
}

#[test]
fn an_attempt_that_ended_half_way_leaves_nothing() {
    let scene = scene();
    let (uid, workspace) = scene.make("tidy");
    // As if the place had not been written down: it is made anew, once.
    fs::write(workspace.join("half"), "x").unwrap();
    scene.try_make(uid, "tidy", scene.source.to_str().unwrap()).unwrap();
    assert!(!workspace.join("half").exists() && workspace.join("file").exists());
    assert_eq!((scene.registered(), scene.branches().as_str()), (1, "greenroom/tidy"));
    // A folder within a repository is not that repository.
    let inside = scene.source.join("inside");
    fs::create_dir(&inside).unwrap();
    for path in [inside.to_str().unwrap(), "/nowhere/at/all"] {
        let uid = SessionUid(uuid::Uuid::now_v7());
        let error = scene.try_make(uid, "none", path).unwrap_err().to_string();
        assert!(error.contains(path), "{error}");
        assert!(scene.folder.repository(uid).unwrap().is_none());
    }
}

#[test]
fn what_could_not_be_forgotten_is_tried_again() {
    let scene = scene();
    let (uid, _) = scene.make("tidy");
    // A repository in which git does not work for the moment.
    let (head, aside) = (scene.source.join(".git/HEAD"), scene.source.join(".git/aside"));
    fs::rename(&head, &aside).unwrap();
    assert!(remove::session(&scene.folder, uid).unwrap().is_nothing());
    assert!(scene.folder.repository(uid).unwrap().is_some());
    assert!(remove::old_worktrees(&scene.folder).is_err());
    fs::rename(&aside, &head).unwrap();
    remove::old_worktrees(&scene.folder).unwrap();
    assert_eq!((scene.registered(), scene.branches().as_str()), (0, ""));
    assert!(scene.folder.repository(uid).unwrap().is_none());
}
