//! The suite's agents: small programs that behave as agents do, well or badly.
//!
//! | call | what it does |
//! |---|---|
//! | `hold MARK` | says `holding`, keeps MARK open, waits for ever |
//! | `hold-stubborn MARK` | the same, and ignores SIGTERM |
//! | `daemons N stay\|leave MARK` | starts N daemons that have left everything behind, then waits or ends |
//! | `ticks N MICROS` | says `tick 1` … `tick N`, MICROS apart |
//! | `persistent` | answers one JSON line a run |
//! | `hog BYTES` | uses so much memory, says `hogged`, waits |
//! | `forks N` | starts up to N children that wait, says how many it got, waits |
//! | `flood BYTES` | says so many bytes in lines |
//! | `bytes` | says bytes that are no UTF-8 |

#![forbid(unsafe_code)]

use std::fs::File;
use std::io::{self, BufRead, Read, Write};
use std::os::unix::process::CommandExt;
use std::process::{Command, ExitCode, Stdio};
use std::sync::Arc;
use std::sync::atomic::AtomicBool;
use std::time::Duration;

/// A daemon's name. Nothing of its command line says whose it is.
const DISGUISE: &str = "kworker/u9:3-events";
/// What stands between an agent and its daemon, and ends at once.
const BETWEEN: &str = "kworker/u9:2-events";

fn main() -> ExitCode {
    let args: Vec<String> = std::env::args().collect();
    let words: Vec<&str> = args.iter().map(String::as_str).collect();
    let done = match words.as_slice() {
        [DISGUISE] => daemon(),
        [BETWEEN] => between(),
        [_, "hold", mark] => hold(mark, false),
        [_, "hold-stubborn", mark] => hold(mark, true),
        [_, "daemons", count, then, mark] => daemons(number(count), mark, *then == "stay"),
        [_, "ticks", count, micros] => ticks(number(count), number(micros)),
        [_, "persistent"] => persistent(),
        [_, "hog", bytes] => hog(number(bytes)),
        [_, "forks", count] => forks(number(count)),
        [_, "flood", bytes] => flood(number(bytes)),
        [_, "bytes"] => bytes(),
        _ => Err(io::Error::other(format!("not understood: {words:?}"))),
    };
    match done {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("{error}");
            ExitCode::FAILURE
        }
    }
}

fn number(word: &str) -> u64 {
    word.parse().expect("a number")
}

fn wait_for_ever() -> ! {
    loop {
        std::thread::park();
    }
}

fn ignore_signals() -> io::Result<()> {
    use signal_hook::consts::{SIGHUP, SIGINT, SIGQUIT, SIGTERM, SIGUSR1};
    let seen = Arc::new(AtomicBool::new(false));
    for signal in [SIGTERM, SIGINT, SIGHUP, SIGQUIT, SIGUSR1] {
        signal_hook::flag::register(signal, Arc::clone(&seen))?;
    }
    Ok(())
}

fn hold(mark: &str, stubborn: bool) -> io::Result<()> {
    let _held = File::open(mark)?;
    if stubborn {
        ignore_signals()?;
    }
    println!("holding");
    io::stdout().flush()?;
    wait_for_ever()
}

/// Starts daemons: each twice removed, in a session of its own, deaf, disguised, without
/// environment. Their standard input is the mark, by which the test finds them again.
fn daemons(count: u64, mark: &str, stay: bool) -> io::Result<()> {
    ignore_signals()?;
    let (mut up, say) = io::pipe()?;
    for _ in 0..count {
        let mut between = Command::new(std::env::current_exe()?);
        between.arg0(BETWEEN).env_clear().current_dir("/").stdin(File::open(mark)?);
        between.stdout(say.try_clone()?).stderr(Stdio::null());
        between.spawn()?.wait()?;
    }
    // Each says one byte when it is deaf.
    let mut all = vec![0; usize::try_from(count).map_err(io::Error::other)?];
    up.read_exact(&mut all)?;
    println!("{} daemons", all.len());
    io::stdout().flush()?;
    if stay { wait_for_ever() } else { Ok(()) }
}

fn between() -> io::Result<()> {
    rustix::process::setsid()?;
    Command::new(std::env::current_exe()?).arg0(DISGUISE).env_clear().spawn()?;
    Ok(())
}

fn daemon() -> io::Result<()> {
    rustix::process::setsid()?;
    ignore_signals()?;
    rustix::thread::set_name(c"kworker/u9:3")?;
    io::stdout().write_all(b".")?;
    io::stdout().flush()?;
    wait_for_ever()
}

fn ticks(count: u64, micros: u64) -> io::Result<()> {
    let mut out = io::stdout().lock();
    for tick in 1..=count {
        writeln!(out, "tick {tick}")?;
        out.flush()?;
        if micros > 0 {
            std::thread::sleep(Duration::from_micros(micros));
        }
    }
    Ok(())
}

fn persistent() -> io::Result<()> {
    let mut out = io::stdout().lock();
    for (count, line) in io::stdin().lock().lines().enumerate() {
        let asked: serde_json::Value = serde_json::from_str(&line?)?;
        let text =
            asked["prompt"].as_str().map_or_else(|| asked["input"].to_string(), str::to_owned);
        match text.split_once(' ') {
            Some(("exit", code)) => std::process::exit(code.parse().unwrap_or(9)),
            Some(("ticks", many)) => {
                for tick in 1..=number(many) {
                    writeln!(out, "tick {tick}")?;
                }
            }
            _ if text == "hang" => {
                writeln!(out, "hanging")?;
                out.flush()?;
                wait_for_ever();
            }
            _ if text == "pid" => writeln!(out, "pid {}", std::process::id())?,
            _ => {
                let said = serde_json::json!({"type": "message", "text": format!("{text}\n")});
                writeln!(out, "{said}")?;
            }
        }
        let result =
            serde_json::json!({"type": "result", "result": {"text": text, "count": count + 1}});
        writeln!(out, "{result}")?;
        out.flush()?;
    }
    Ok(())
}

fn hog(bytes: u64) -> io::Result<()> {
    let mut held = Vec::new();
    for _ in 0..bytes >> 20 {
        // Written to, so that it is really there.
        held.push(vec![7u8; 1 << 20]);
    }
    println!("hogged {}", held.iter().map(|chunk| chunk.len()).sum::<usize>());
    io::stdout().flush()?;
    wait_for_ever()
}

fn forks(count: u64) -> io::Result<()> {
    let mut children = Vec::new();
    while (children.len() as u64) < count {
        match Command::new("/bin/sleep").arg("1000").spawn() {
            Ok(child) => children.push(child),
            Err(_) => break,
        }
    }
    println!("{} children", children.len());
    io::stdout().flush()?;
    wait_for_ever()
}

fn flood(bytes: u64) -> io::Result<()> {
    let line = [&[b'x'; 1023][..], b"\n"].concat().repeat(64);
    let mut out = io::stdout().lock();
    for _ in 0..bytes / line.len() as u64 {
        out.write_all(&line)?;
    }
    out.flush()
}

fn bytes() -> io::Result<()> {
    let mut out = io::stdout().lock();
    out.write_all(b"good \xc3\xa9\nbad \xff\xfe\xc3(\nnul \0 end\n")?;
    out.write_all("split é".as_bytes())?;
    out.flush()
}
