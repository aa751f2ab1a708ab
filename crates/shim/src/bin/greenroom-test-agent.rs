//! The agents the tests need: none of them wants to end.
//!
//! `daemons N MARK`: N processes that leave by double fork and setsid, ignore all polite
//! signals, have another name and no environment; then it waits itself.
//! `movers N MARK`: the same, but each forks and exits for ever, so that no walk is sure
//! to see it. `flood BYTES`: lines on standard output. `eat BYTES`: memory.
#![allow(unsafe_code)]

use std::ffi::CString;
use std::io::Write;

fn main() {
    let args: Vec<String> = std::env::args().collect();
    let number = |at: usize| args.get(at).and_then(|n| n.parse::<u64>().ok()).unwrap_or(0);
    match args.get(1).map(String::as_str) {
        Some("daemons") => leave_behind(number(2), "wait", &args[3]),
        Some("movers") => leave_behind(number(2), "move", &args[3]),
        Some("wait") => pause(),
        Some("move") => move_on(),
        Some("flood") => flood(number(2)),
        Some("eat") => eat(number(2)),
        other => panic!("no such agent: {other:?}"),
    }
}

fn pause() -> ! {
    loop {
        // SAFETY: waits for a signal.
        unsafe { libc::pause() };
    }
}

fn ignore_polite_signals() {
    for signal in [libc::SIGTERM, libc::SIGHUP, libc::SIGINT, libc::SIGQUIT, libc::SIGUSR1] {
        // SAFETY: no handler.
        unsafe { libc::signal(signal, libc::SIG_IGN) };
    }
}

fn leave_behind(count: u64, what: &str, mark: &str) -> ! {
    ignore_polite_signals();
    let program = CString::new("/proc/self/exe").unwrap();
    let argv: Vec<CString> =
        ["[kworker/0:1]", what, mark].iter().map(|arg| CString::new(*arg).unwrap()).collect();
    let mut argv: Vec<_> = argv.iter().map(|arg| arg.as_ptr()).collect();
    argv.push(std::ptr::null());
    let envp = [std::ptr::null()];
    for _ in 0..count {
        // SAFETY: one thread; the children only call what is signal-safe.
        unsafe {
            let child = libc::fork();
            if child == 0 {
                libc::setsid();
                if libc::fork() == 0 {
                    libc::setsid();
                    libc::close(0);
                    libc::close(1);
                    libc::close(2);
                    libc::execve(program.as_ptr(), argv.as_ptr(), envp.as_ptr());
                }
                libc::_exit(0);
            }
            libc::waitpid(child, std::ptr::null_mut(), 0);
        }
    }
    println!("ready");
    pause()
}

fn move_on() -> ! {
    ignore_polite_signals();
    loop {
        // SAFETY: one thread.
        unsafe {
            if libc::fork() > 0 {
                libc::_exit(0);
            }
            libc::usleep(200);
        }
    }
}

fn flood(bytes: u64) {
    let mut line = vec![b'f'; 99];
    line.push(b'\n');
    let chunk = line.repeat(640);
    let mut out = std::io::stdout().lock();
    let mut left = bytes;
    while left > 0 {
        let n = left.min(chunk.len() as u64);
        out.write_all(&chunk[..n as usize]).unwrap();
        left -= n;
    }
}

fn eat(bytes: u64) -> ! {
    let mut memory = Vec::new();
    for _ in 0..bytes / (1 << 20) {
        memory.push(vec![1u8; 1 << 20]);
    }
    println!("ate {}", memory.len());
    pause()
}
