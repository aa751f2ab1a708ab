//! How runs and computes end: from what was observed to what is said about it.

use greenroom_core::receipt::{EndReason, Exit};
use greenroom_core::record::{Outcome, RunError};
use serde_json::Value;

fn signal_name(signal: i32) -> &'static str {
    match signal {
        libc::SIGHUP => " (SIGHUP)",
        libc::SIGINT => " (SIGINT)",
        libc::SIGQUIT => " (SIGQUIT)",
        libc::SIGILL => " (SIGILL)",
        libc::SIGABRT => " (SIGABRT)",
        libc::SIGBUS => " (SIGBUS)",
        libc::SIGFPE => " (SIGFPE)",
        libc::SIGKILL => " (SIGKILL)",
        libc::SIGSEGV => " (SIGSEGV)",
        libc::SIGPIPE => " (SIGPIPE)",
        libc::SIGALRM => " (SIGALRM)",
        libc::SIGTERM => " (SIGTERM)",
        libc::SIGXCPU => " (SIGXCPU)",
        libc::SIGSYS => " (SIGSYS)",
        _ => "",
    }
}

/// An exit, in words.
pub(crate) fn in_words(exit: Exit) -> String {
    match exit {
        Exit::Code(code) => format!("exited with code {code}"),
        Exit::Signal(signal) => format!("was ended by signal {signal}{}", signal_name(signal)),
    }
}

/// Why a compute ends whose agent ended by itself.
pub(crate) fn reason_of(exit: Exit, answered: bool, oom: bool) -> EndReason {
    match exit {
        _ if oom => EndReason::Oom,
        Exit::Code(0) if answered => EndReason::Done,
        Exit::Code(_) => EndReason::Exit,
        Exit::Signal(_) => EndReason::Signal,
    }
}

/// The run of an agent that is started for one run and has ended by itself.
pub(crate) fn of_one_run(program: &str, exit: Exit, oom: bool, result: Option<Value>) -> Outcome {
    let failed = |code: &str| {
        let message = format!("{program} {}", in_words(exit));
        Outcome::Failed { error: RunError::new(code, message) }
    };
    match exit {
        _ if oom => out_of_memory(),
        Exit::Code(0) => Outcome::Completed { result },
        Exit::Code(_) => failed("exit"),
        Exit::Signal(_) => failed("signal"),
    }
}

/// The run of an agent that should have stayed and ended by itself.
pub(crate) fn without_result(program: &str, exit: Exit, oom: bool) -> Outcome {
    let code = match exit {
        _ if oom => return out_of_memory(),
        Exit::Code(_) => "exit",
        Exit::Signal(_) => "signal",
    };
    let message = format!("{program} ended without a result: it {}", in_words(exit));
    Outcome::Failed { error: RunError::new(code, message) }
}

fn out_of_memory() -> Outcome {
    let message = "the agent used more memory than its limit allows";
    Outcome::Failed { error: RunError::new("oom", message) }
}

/// The run of a compute that is ended, whoever ends it.
pub(crate) fn cut_short(reason: EndReason, detail: Option<&str>) -> Outcome {
    let error = |code, otherwise: &str| RunError::new(code, detail.unwrap_or(otherwise));
    let failed = |code, otherwise| Outcome::Failed { error: error(code, otherwise) };
    let stopped = |code, otherwise| Outcome::Stopped { error: Some(error(code, otherwise)) };
    match reason {
        EndReason::Oom => out_of_memory(),
        EndReason::StartError => failed("start_error", "the agent could not be started"),
        EndReason::StartTimeout => failed("start_timeout", "the agent did not come up in time"),
        EndReason::Limit if detail.is_some() => stopped("limit", ""),
        EndReason::Shutdown if detail.is_some() => stopped("interrupted", ""),
        _ => Outcome::Stopped { error: None },
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ends_are_told_apart() {
        let code = |outcome: &Outcome| match outcome {
            Outcome::Failed { error } => error.code.clone(),
            other => format!("{other:?}"),
        };
        let run = |exit, oom| of_one_run("fix.py", exit, oom, None);
        assert_eq!(run(Exit::Code(0), false), Outcome::Completed { result: None });
        assert_eq!(code(&run(Exit::Code(3), false)), "exit");
        assert_eq!(code(&run(Exit::Signal(9), false)), "signal");
        assert_eq!(code(&run(Exit::Signal(9), true)), "oom");
        let Outcome::Failed { error } = run(Exit::Code(3), false) else { panic!() };
        assert_eq!(error.message, "fix.py exited with code 3");
        assert_eq!(code(&without_result("fix.py", Exit::Code(0), false)), "exit");
        assert_eq!(reason_of(Exit::Code(0), true, false), EndReason::Done);
        assert_eq!(reason_of(Exit::Code(0), false, false), EndReason::Exit);
        assert_eq!(reason_of(Exit::Signal(11), true, false), EndReason::Signal);
    }
}
