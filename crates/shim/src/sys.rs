//! The only unsafe code: processes are made, told apart and reaped here.
#![allow(unsafe_code)]

use std::ffi::{CStr, CString, c_char, c_int};
use std::io;
use std::os::fd::{AsRawFd, BorrowedFd, FromRawFd, OwnedFd, RawFd};

use greenroom_core::receipt::Exit;
use rustix::process::{Pid, PidfdFlags, Signal};

fn check(result: c_int) -> io::Result<c_int> {
    if result < 0 { Err(io::Error::last_os_error()) } else { Ok(result) }
}

/// Everything a new process needs; nothing of it is looked up or allocated after the clone.
#[derive(Debug)]
pub(crate) struct Plan<'a> {
    /// What to execute: absolute, or relative to `directory`.
    pub(crate) program: &'a CStr,
    /// Its arguments, name first.
    pub(crate) argv: &'a [CString],
    /// Its environment.
    pub(crate) envp: &'a [CString],
    /// Its working directory.
    pub(crate) directory: &'a CStr,
    /// Its standard input, output and error.
    pub(crate) stdio: [BorrowedFd<'a>; 3],
    /// The cgroup v2 it is born in.
    pub(crate) cgroup: Option<BorrowedFd<'a>>,
    /// Whether it must wait before it executes anything, until [`Spawned::go`].
    pub(crate) held: bool,
    /// Its priority: not the supervisor's.
    pub(crate) nice: i32,
}

/// A process that was just made.
#[derive(Debug)]
pub(crate) struct Spawned {
    /// Its number.
    pub(crate) pid: Pid,
    /// Its handle: never another process.
    pub(crate) pidfd: OwnedFd,
    /// Says why the program could not be executed, or ends when it was.
    pub(crate) report: OwnedFd,
    hold: Option<OwnedFd>,
}

impl Spawned {
    /// Lets a held process go on.
    pub(crate) fn go(&mut self) -> io::Result<()> {
        if let Some(hold) = self.hold.take() {
            rustix::io::write(&hold, &[1])?;
        }
        Ok(())
    }
}

/// How far a new process came before it failed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Stage {
    /// It could not enter its working directory.
    Directory,
    /// Its standard streams could not be laid.
    Streams,
    /// The program could not be executed.
    Execute,
}

/// Reads what a child reported: `None` as long as it has not said anything, `Some(None)`
/// once the program runs, `Some(Some(…))` if it never will.
pub(crate) fn read_report(report: &OwnedFd) -> io::Result<Option<Option<(Stage, io::Error)>>> {
    let mut bytes = [0; 5];
    match rustix::io::read(report, &mut bytes) {
        Ok(5) => {
            let stage = match bytes[0] {
                0 => Stage::Directory,
                1 => Stage::Streams,
                _ => Stage::Execute,
            };
            let errno = i32::from_ne_bytes([bytes[1], bytes[2], bytes[3], bytes[4]]);
            Ok(Some(Some((stage, io::Error::from_raw_os_error(errno)))))
        }
        Ok(_) => Ok(Some(None)),
        Err(rustix::io::Errno::AGAIN | rustix::io::Errno::INTR) => Ok(None),
        Err(error) => Err(error.into()),
    }
}

/// From linux/sched.h; it does not fit the type libc gives its constant.
const CLONE_INTO_CGROUP: u64 = 0x2_0000_0000;

/// `clone3` as fork, with a pidfd and optionally right into a cgroup. 0 is the child.
///
/// # Safety
/// Like `fork`: until it executes something or exits, the child may only do what is
/// safe in a signal handler.
unsafe fn clone_process(cgroup: Option<BorrowedFd<'_>>) -> io::Result<(i32, RawFd)> {
    let mut pidfd: RawFd = -1;
    // SAFETY: all zeros is a valid clone_args.
    let mut args: libc::clone_args = unsafe { std::mem::zeroed() };
    args.flags = libc::CLONE_PIDFD as u64;
    args.pidfd = (&raw mut pidfd) as u64;
    args.exit_signal = libc::SIGCHLD as u64;
    if let Some(cgroup) = cgroup {
        args.flags |= CLONE_INTO_CGROUP;
        args.cgroup = cgroup.as_raw_fd() as u64;
    }
    // SAFETY: args is valid and of the size given; no CLONE_VM, so the child has its own stack.
    let pid = unsafe {
        libc::syscall(libc::SYS_clone3, &raw mut args, std::mem::size_of::<libc::clone_args>())
    };
    if pid >= 0 {
        return Ok((pid as i32, pidfd));
    }
    let error = io::Error::last_os_error();
    let no_clone3 = matches!(error.raw_os_error(), Some(libc::ENOSYS | libc::EPERM));
    if !no_clone3 || cgroup.is_some() {
        return Err(error);
    }
    // Container filters forbid clone3 here and there; without a cgroup fork does as well.
    // SAFETY: passed on to our caller.
    let pid = check(unsafe { libc::fork() })?;
    if pid == 0 {
        return Ok((0, -1));
    }
    let pidfd = Pid::from_raw(pid)
        .ok_or_else(|| io::Error::other("fork gave no pid"))
        .and_then(|pid| Ok(rustix::process::pidfd_open(pid, PidfdFlags::empty())?))?;
    Ok((pid, std::os::fd::IntoRawFd::into_raw_fd(pidfd)))
}

fn pointers(strings: &[CString]) -> Vec<*const c_char> {
    strings.iter().map(|s| s.as_ptr()).chain([std::ptr::null()]).collect()
}

/// Makes a process: own session, default signals, no descriptor but its three.
pub(crate) fn spawn(plan: &Plan<'_>) -> io::Result<Spawned> {
    use rustix::pipe::{PipeFlags, pipe_with};
    let argv = pointers(plan.argv);
    let envp = pointers(plan.envp);
    let (report, report_child) = pipe_with(PipeFlags::CLOEXEC)?;
    rustix::fs::fcntl_setfl(&report, rustix::fs::OFlags::NONBLOCK)?;
    let gate = if plan.held { Some(pipe_with(PipeFlags::CLOEXEC)?) } else { None };
    let raw = Child {
        program: plan.program.as_ptr(),
        argv: argv.as_ptr(),
        envp: envp.as_ptr(),
        directory: plan.directory.as_ptr(),
        stdio: plan.stdio.map(|fd| fd.as_raw_fd()),
        gate: gate.as_ref().map(|(read, write)| (read.as_raw_fd(), write.as_raw_fd())),
        report: report_child.as_raw_fd(),
        nice: plan.nice,
    };
    // SAFETY: `Child::run` is signal-safe and never returns; all it points to lives on
    // in the child's copy of our memory.
    let (pid, pidfd) = unsafe { clone_process(plan.cgroup)? };
    if pid == 0 {
        // SAFETY: we are the child of clone_process.
        unsafe { raw.run() }
    }
    // SAFETY: the kernel made this descriptor for us, and nobody else has it.
    let pidfd = unsafe { OwnedFd::from_raw_fd(pidfd) };
    let pid = Pid::from_raw(pid).ok_or_else(|| io::Error::other("clone gave no pid"))?;
    Ok(Spawned { pid, pidfd, report, hold: gate.map(|(_, write)| write) })
}

/// What the child needs, as bare values.
struct Child {
    program: *const c_char,
    argv: *const *const c_char,
    envp: *const *const c_char,
    directory: *const c_char,
    stdio: [RawFd; 3],
    gate: Option<(RawFd, RawFd)>,
    report: RawFd,
    nice: c_int,
}

/// Added to the agent's badness: when memory is short, it goes before its supervisor.
const OOM_SCORE: &[u8] = b"300";

impl Child {
    /// # Safety
    /// Only in a child fresh from the clone. Calls nothing but what is signal-safe.
    unsafe fn run(self) -> ! {
        // SAFETY: plain system calls on values that were checked or made by the parent.
        unsafe {
            libc::setsid();
            libc::setpriority(libc::PRIO_PROCESS, 0, self.nice);
            default_signals();
            if let Some((read, write)) = self.gate {
                libc::close(write);
                let mut byte = 0u8;
                // Without a word of the parent (it died, or gave up) nothing is executed.
                while libc::read(read, (&raw mut byte).cast(), 1) != 1 {
                    if *libc::__errno_location() != libc::EINTR {
                        libc::_exit(127);
                    }
                }
            }
            let score = libc::open(c"/proc/self/oom_score_adj".as_ptr(), libc::O_WRONLY);
            if score >= 0 {
                libc::write(score, OOM_SCORE.as_ptr().cast(), OOM_SCORE.len());
                libc::close(score);
            }
            if libc::chdir(self.directory) != 0 {
                self.fail(Stage::Directory);
            }
            for (target, source) in self.stdio.into_iter().enumerate() {
                if libc::dup2(source, target as c_int) < 0 {
                    self.fail(Stage::Streams);
                }
            }
            libc::syscall(libc::SYS_close_range, 3, u32::MAX, libc::CLOSE_RANGE_CLOEXEC);
            libc::execve(self.program, self.argv, self.envp);
            self.fail(Stage::Execute)
        }
    }

    /// # Safety
    /// As [`run`](Self::run).
    unsafe fn fail(&self, stage: Stage) -> ! {
        // SAFETY: as above.
        unsafe {
            let errno = (*libc::__errno_location()).to_ne_bytes();
            let report = [stage as u8, errno[0], errno[1], errno[2], errno[3]];
            libc::write(self.report, report.as_ptr().cast(), report.len());
            libc::_exit(127)
        }
    }
}

/// Every signal as a program expects to find it.
///
/// # Safety
/// Signal-safe; changes the whole process.
unsafe fn default_signals() {
    // The kernel's own form of "default, nothing else", on every architecture. Asked of
    // the kernel, because libc hides two signals that may have come to us ignored.
    let default = [0u64; 4];
    // SAFETY: valid for every number; those that cannot be set only fail.
    unsafe {
        for signal in 1..=64 {
            let none = std::ptr::null_mut::<u64>();
            libc::syscall(libc::SYS_rt_sigaction, signal, default.as_ptr(), none, 8usize);
        }
        let mut none: libc::sigset_t = std::mem::zeroed();
        libc::sigemptyset(&raw mut none);
        libc::sigprocmask(libc::SIG_SETMASK, &raw const none, std::ptr::null_mut());
    }
}

/// A child that does nothing, to try things on.
#[derive(Debug)]
pub(crate) struct PausedChild {
    pid: Pid,
    pidfd: OwnedFd,
}

/// Makes a child that does nothing until it is killed.
pub(crate) fn paused_child(cgroup: Option<BorrowedFd<'_>>) -> io::Result<PausedChild> {
    // SAFETY: the child calls nothing but signal-safe functions, and never returns. It
    // dies with the thread that made it, should that not live to end it.
    let (pid, pidfd) = unsafe { clone_process(cgroup)? };
    if pid == 0 {
        // SAFETY: plain system calls.
        unsafe {
            libc::prctl(libc::PR_SET_PDEATHSIG, libc::SIGKILL);
            loop {
                libc::pause();
            }
        }
    }
    // SAFETY: made for us by the kernel, and owned by nobody else.
    let pidfd = unsafe { OwnedFd::from_raw_fd(pidfd) };
    let pid = Pid::from_raw(pid).ok_or_else(|| io::Error::other("clone gave no pid"))?;
    Ok(PausedChild { pid, pidfd })
}

impl PausedChild {
    /// Its number.
    pub(crate) fn pid(&self) -> i32 {
        self.pid.as_raw_pid()
    }

    /// Whether it is dead (it may not be reaped yet).
    pub(crate) fn has_ended(&self) -> io::Result<bool> {
        let now = rustix::time::Timespec { tv_sec: 0, tv_nsec: 0 };
        let mut fds = [rustix::event::PollFd::new(&self.pidfd, rustix::event::PollFlags::IN)];
        Ok(rustix::event::poll(&mut fds, Some(&now))? == 1)
    }

    /// Kills and reaps it, and nobody else's child.
    pub(crate) fn end(&self) {
        use rustix::fd::AsFd;
        use rustix::process::{WaitId, WaitIdOptions, pidfd_send_signal, waitid};
        let _ = pidfd_send_signal(&self.pidfd, Signal::KILL);
        let _ = waitid(WaitId::PidFd(self.pidfd.as_fd()), WaitIdOptions::EXITED);
    }
}

/// What asking for an ended child can say. The difference between "none now" and "none
/// at all" is the proof that a tree is gone.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Reap {
    /// This one had ended; it is gone now.
    Reaped(i32, Exit),
    /// There are children, and none of them has ended.
    NoneEnded,
    /// There is no child.
    NoChild,
}

/// Reaps one ended child, of whatever kind, without waiting.
pub(crate) fn reap() -> io::Result<Reap> {
    loop {
        let mut status: c_int = 0;
        // SAFETY: status is ours.
        let pid = unsafe { libc::waitpid(-1, &raw mut status, libc::WNOHANG | libc::__WALL) };
        if pid == 0 {
            return Ok(Reap::NoneEnded);
        }
        if pid > 0 {
            let exit = match libc::WIFSIGNALED(status) {
                true => Exit::Signal(libc::WTERMSIG(status)),
                false => Exit::Code(libc::WEXITSTATUS(status)),
            };
            return Ok(Reap::Reaped(pid, exit));
        }
        match io::Error::last_os_error() {
            error if error.raw_os_error() == Some(libc::ECHILD) => return Ok(Reap::NoChild),
            error if error.raw_os_error() == Some(libc::EINTR) => {}
            error => return Err(error),
        }
    }
}

/// The signals a shim minds, as a descriptor.
#[derive(Debug)]
pub(crate) struct Signals {
    fd: OwnedFd,
}

/// Which signals came.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(crate) struct Came {
    /// A child ended.
    pub(crate) child: bool,
    /// Somebody wants us to go.
    pub(crate) term: bool,
}

impl Signals {
    /// From now on SIGCHLD and SIGTERM come by descriptor; HUP, INT and PIPE not at all.
    pub(crate) fn take() -> io::Result<Self> {
        // SAFETY: sets of signals of our own; dispositions without handlers.
        unsafe {
            for signal in [libc::SIGHUP, libc::SIGINT, libc::SIGPIPE] {
                libc::signal(signal, libc::SIG_IGN);
            }
            // An ignored SIGCHLD (inherited) would reap behind our back.
            libc::signal(libc::SIGCHLD, libc::SIG_DFL);
            libc::signal(libc::SIGTERM, libc::SIG_DFL);
            let mut set: libc::sigset_t = std::mem::zeroed();
            libc::sigemptyset(&raw mut set);
            libc::sigaddset(&raw mut set, libc::SIGCHLD);
            libc::sigaddset(&raw mut set, libc::SIGTERM);
            check(libc::sigprocmask(libc::SIG_SETMASK, &raw const set, std::ptr::null_mut()))?;
            let flags = libc::SFD_CLOEXEC | libc::SFD_NONBLOCK;
            let fd = check(libc::signalfd(-1, &raw const set, flags))?;
            Ok(Self { fd: OwnedFd::from_raw_fd(fd) })
        }
    }

    /// For poll.
    pub(crate) fn fd(&self) -> &OwnedFd {
        &self.fd
    }

    /// Takes all that came.
    pub(crate) fn read(&self) -> Came {
        const SIZE: usize = std::mem::size_of::<libc::signalfd_siginfo>();
        let mut came = Came::default();
        let mut buffer = [0u8; SIZE * 8];
        while let Ok(n) = rustix::io::read(&self.fd, &mut buffer) {
            for info in buffer[..n].chunks_exact(SIZE) {
                // ssi_signo is the first field.
                match u32::from_ne_bytes([info[0], info[1], info[2], info[3]]) as c_int {
                    libc::SIGCHLD => came.child = true,
                    libc::SIGTERM => came.term = true,
                    _ => {}
                }
            }
            if n < buffer.len() {
                break;
            }
        }
        came
    }
}

/// Every orphan of our tree becomes our child.
pub(crate) fn become_subreaper() -> io::Result<()> {
    // SAFETY: no memory is involved.
    check(unsafe { libc::prctl(libc::PR_SET_CHILD_SUBREAPER, 1, 0, 0, 0) }).map(|_| ())
}

/// Lets the threads of a server share their heaps. By itself the allocator makes up to eight
/// for each core, and whatever a flood has filled in one of them is of no use to the others.
/// To be called before there are other threads.
pub fn share_heaps() {
    #[cfg(target_env = "gnu")]
    {
        let cores = std::thread::available_parallelism().map_or(2, usize::from);
        // SAFETY: it sets a number; a refusal leaves everything as it was.
        unsafe { libc::mallopt(libc::M_ARENA_MAX, cores.clamp(2, 8) as c_int) };
    }
}

/// Tells who reads a list of processes what this one is: started through a link, it would
/// have that link's name.
pub(crate) fn take_name() {
    let _ = rustix::thread::set_name(c"greenroom-shim");
}

/// How much before others the supervisor is served: it must reap faster than a storm of
/// processes can die.
const HASTE: i32 = -10;

/// Serves this process before others, where that is allowed. Gives the priority it had,
/// which is its children's.
pub(crate) fn make_haste() -> i32 {
    let before = rustix::process::getpriority_process(None).unwrap_or(0);
    let _ = rustix::process::setpriority_process(None, before.min(HASTE));
    // Where each session is a group of its own to the scheduler, that alone says little.
    let _ = std::fs::write("/proc/self/autogroup", HASTE.to_string());
    before
}

/// Runs `f` with a umask that gives nothing to others. The process has one thread.
pub(crate) fn privately<T>(f: impl FnOnce() -> T) -> T {
    let before = rustix::process::umask(rustix::fs::Mode::from_raw_mode(0o177));
    let result = f();
    rustix::process::umask(before);
    result
}
