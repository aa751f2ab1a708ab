//! What was acknowledged is there after a crash, and after the disk was full.

use std::collections::HashMap;
use std::io::{BufRead, BufReader};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::sync::Arc;

use greenroom_core::SessionUid;
use greenroom_store::conformance::fixtures::*;
use greenroom_store::{SqliteStore, Store, StoreError, Submission};

const CHILD: &str = "GREENROOM_STORE_TEST_DB";

/// Not a test of its own: the process that [`nothing_acknowledged_is_lost`] kills. It
/// writes for ever, and says on its output what was acknowledged.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn child() {
    let Some(path) = std::env::var_os(CHILD) else { return };
    let store = Arc::new(SqliteStore::open(Path::new(&path)).await.expect("opens"));
    let runner = join(&*store).await;
    let mut tasks = Vec::new();
    for _ in 0..8 {
        let store = Arc::clone(&store);
        tasks.push(tokio::spawn(async move {
            let name = format!("s{}", fresh());
            let (_, session) = running(&*store, &name, runner).await;
            println!("acknowledged {} {} 0", session.uid, session.last_seq);
            for index in 1.. {
                let text = message(None, &format!("{index}\n"));
                let records = vec![record(session.uid, 1, index, text)];
                store.append(runner, records, Vec::new()).await.expect("taken");
                println!("acknowledged {} {} {index}", session.uid, session.last_seq + index);
            }
        }));
    }
    for task in tasks {
        task.await.expect("a task goes on");
    }
}

/// Lets a child write until it has said so much, kills it, and answers what it had been
/// told: for each session the end of its log and of its journal.
fn write_and_kill(path: &Path, lines: usize) -> HashMap<SessionUid, (u64, u64)> {
    let mut child = Command::new(std::env::current_exe().expect("this test"))
        .args(["--exact", "child", "--nocapture", "--test-threads=1"])
        .env(CHILD, path)
        .stdout(Stdio::piped())
        .spawn()
        .expect("starts");
    let output = BufReader::new(child.stdout.take().expect("a pipe"));
    let mut acknowledged = HashMap::new();
    let mut seen = 0;
    for line in output.lines() {
        let line = line.expect("text");
        let Some((_, line)) = line.split_once("acknowledged ") else { continue };
        let parts: Vec<&str> = line.split(' ').collect();
        // The last line may have been cut off by the end.
        let [uid, seq, index] = parts.as_slice() else { continue };
        let (Ok(uid), Ok(seq), Ok(index)) = (uid.parse(), seq.parse(), index.parse()) else {
            continue;
        };
        acknowledged.insert(uid, (seq, index));
        seen += 1;
        if seen == lines {
            child.kill().expect("is killed");
        }
    }
    child.wait().expect("ends");
    assert!(seen >= lines, "it ended by itself after {seen} lines");
    acknowledged
}

#[tokio::test]
async fn nothing_acknowledged_is_lost() {
    let folder = tempfile::tempdir().expect("a folder");
    let path = folder.path().join("db");
    let mut acknowledged = HashMap::new();
    for round in 1..=6 {
        acknowledged.extend(write_and_kill(&path, 150 * round));
        let store = SqliteStore::open(&path).await.expect("opens after a crash");
        for (uid, (seq, index)) in &acknowledged {
            let session = store.session(*uid).await.expect("reads").expect("it was acknowledged");
            assert!(session.last_seq >= *seq, "the log ends at {}, not {seq}", session.last_seq);
            let mark = store.marks(*uid).await.expect("reads").first().map_or(0, |mark| mark.index);
            assert!(mark >= *index, "the mark is {mark}, not {index}");
            assert_eq!(session.last_seq - mark, seq - index, "log and mark are one commit");
            agrees(&store, *uid).await;
        }
        store.close().await;
    }
}

/// A small disk of its own; only root can make one.
struct SmallDisk(PathBuf);

impl SmallDisk {
    fn mount(at: &Path) -> Option<Self> {
        let mut mount = Command::new("mount");
        mount.args(["-t", "tmpfs", "-o", "size=4m", "greenroom-test"]).arg(at);
        mount.status().is_ok_and(|status| status.success()).then(|| Self(at.to_owned()))
    }
}

impl Drop for SmallDisk {
    fn drop(&mut self) {
        let unmounted = Command::new("umount").arg("-l").arg(&self.0).status();
        if !unmounted.is_ok_and(|status| status.success()) {
            eprintln!("{} is still mounted", self.0.display());
        }
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_full_disk_refuses_cleanly_and_recovers() {
    let folder = tempfile::tempdir().expect("a folder");
    let Some(disk) = SmallDisk::mount(folder.path()) else {
        eprintln!("skipped: a small disk can only be mounted by root");
        return;
    };
    let ballast = disk.0.join("ballast");
    std::fs::write(&ballast, vec![1; 1 << 20]).expect("writes");
    let store = Arc::new(SqliteStore::open(&disk.0.join("db")).await.expect("opens"));
    let runner = join(&*store).await;
    let mut sessions = Vec::new();
    for n in 0..4 {
        sessions.push(running(&*store, &format!("s{n}"), runner).await.1);
    }
    // All write at once until each was refused, so that batches of several are lost.
    let mut tasks = Vec::new();
    for session in &sessions {
        let (store, uid) = (Arc::clone(&store), session.uid);
        tasks.push(tokio::spawn(async move {
            for index in 1.. {
                let text = message(None, &"x".repeat(3000));
                let records = vec![record(uid, 1, index, text)];
                match store.append(runner, records, Vec::new()).await {
                    Ok(marks) => assert_eq!(marks[0].index, index),
                    Err(StoreError::Full) => return index - 1,
                    Err(other) => panic!("{other}"),
                }
            }
            0
        }));
    }
    let mut taken = Vec::new();
    for task in tasks {
        taken.push(task.await.expect("a task ends"));
    }
    assert!(taken.iter().sum::<u64>() > 10, "{taken:?}");
    let big = Submission::new(
        sessions[0].uid,
        at(1),
        vec![greenroom_core::Command::Prompt(prompt(&"y".repeat(2 << 20)))],
    );
    assert!(matches!(store.submit(big).await, Err(StoreError::Full)), "still full");

    // What was there is whole, and readable.
    for (session, taken) in sessions.iter().zip(&taken) {
        let now = store.session(session.uid).await.expect("reads").expect("exists");
        assert_eq!(now.last_seq, session.last_seq + taken);
        agrees(&*store, session.uid).await;
    }
    std::fs::remove_file(&ballast).expect("is removed");
    for (session, taken) in sessions.iter().zip(&taken) {
        let records = vec![record(session.uid, 1, taken + 1, message(None, "after\n"))];
        let marks = store.append(runner, records, Vec::new()).await.expect("there is room again");
        assert_eq!(marks[0].index, taken + 1);
    }
    store.ready().await.expect("is ready");
    store.close().await;
    let store = SqliteStore::open(&disk.0.join("db")).await.expect("opens");
    for (session, taken) in sessions.iter().zip(&taken) {
        let now = store.session(session.uid).await.expect("reads").expect("exists");
        assert_eq!(now.last_seq, session.last_seq + taken + 1);
        agrees(&store, session.uid).await;
    }
    store.close().await;
}
