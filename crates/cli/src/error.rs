//! How a command ends: its exit code, and an error that says what to do.

use greenroom_client::ClientError;
use greenroom_coordinator::StartError;
use greenroom_protocol::Problem;
use greenroom_store::StoreError;

/// Exit codes. With several ids a command ends with the highest.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Code {
    /// Done, or already so.
    Done = 0,
    /// The run failed, or the command did.
    Failed = 1,
    /// The command line does not fit.
    Usage = 2,
    /// The run was stopped.
    Stopped = 3,
    /// Not proven in time.
    Unproven = 4,
    /// No coordinator.
    NoCoordinator = 5,
}

impl From<Code> for std::process::ExitCode {
    fn from(code: Code) -> Self {
        Self::from(code as u8)
    }
}

/// Why a command ends early.
#[derive(Debug)]
pub(crate) enum CliError {
    /// Nobody reads standard output any more: there is nothing left to do or say.
    ClosedPipe,
    /// Something to say.
    Told(Box<Told>),
}

/// What went wrong, with what, and what to do.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Told {
    pub(crate) code: Code,
    pub(crate) message: String,
    pub(crate) hint: Option<String>,
}

impl CliError {
    pub(crate) fn new(code: Code, message: impl Into<String>) -> Self {
        Self::Told(Box::new(Told { code, message: message.into(), hint: None }))
    }

    /// A failure.
    pub(crate) fn failed(message: impl Into<String>) -> Self {
        Self::new(Code::Failed, message)
    }

    /// A command line that does not fit.
    pub(crate) fn usage(message: impl Into<String>) -> Self {
        Self::new(Code::Usage, message)
    }

    /// With what to do.
    pub(crate) fn hint(self, hint: impl Into<String>) -> Self {
        match self {
            Self::Told(mut told) => {
                told.hint = Some(hint.into());
                Self::Told(told)
            }
            Self::ClosedPipe => self,
        }
    }

    /// With what to do, unless that is said already.
    pub(crate) fn or_hint(self, hint: Option<impl Into<String>>) -> Self {
        match (&self, hint) {
            (Self::Told(told), Some(hint)) if told.hint.is_none() => self.hint(hint),
            _ => self,
        }
    }

    /// The exit code.
    pub(crate) fn code(&self) -> Code {
        match self {
            Self::ClosedPipe => Code::Done,
            Self::Told(told) => told.code,
        }
    }

    /// Something of this machine could not be read or written.
    pub(crate) fn io(what: &str, path: &std::path::Path, error: &std::io::Error) -> Self {
        Self::failed(format!("cannot {what} {}: {error}", path.display()))
    }
}

/// What to do about a problem, in the words of this command line.
fn advice(problem: &Problem) -> Option<&'static str> {
    Some(match problem.code.as_str() {
        "session_not_found" => "greenroom sessions ls",
        "run_not_found" => "greenroom runs ls SESSION",
        "agent_not_found" => "greenroom agents ls",
        "runner_not_found" => "greenroom runners ls",
        "token_not_found" => "greenroom token ls",
        "session_exists" => "choose another --id, or leave it out to get one",
        "session_busy" => "leave --mode out to let it wait, or give --mode interrupt",
        "session_deleting" => "it will be gone in a moment; greenroom sessions ls",
        "nothing_to_resume" => "greenroom sessions send ID PROMPT gives it something to do",
        "nothing_to_abandon" => "greenroom sessions show ID says how it stands",
        "run_started" => "greenroom runs stop RUN ends it",
        "run_ended" => "greenroom runs show RUN says how",
        "runner_is_home" => "delete its sessions first, or give --force: their files are lost then",
        "unauthorized" => {
            "give a token with --token or GREENROOM_TOKEN, or name the server's data folder with --data"
        }
        _ => return None,
    })
}

/// What to do about a problem that says nothing of it itself.
fn general_advice(status: u16) -> Option<&'static str> {
    Some(match status {
        403 => "use a token of another role; greenroom token create makes one",
        422 => "--help says what a command takes",
        500.. => "look at the coordinator's log; greenroom doctor may say more",
        _ => return None,
    })
}

impl From<ClientError> for CliError {
    fn from(error: ClientError) -> Self {
        if error.is_no_coordinator() {
            return Self::new(Code::NoCoordinator, error.to_string())
                .hint("start one with `greenroom up`, or name another with --url or --data");
        }
        let ClientError::Problem(problem) = &error else {
            let usage = matches!(error, ClientError::BadUrl { .. });
            let code = if usage { Code::Usage } else { Code::Failed };
            return Self::new(code, error.to_string());
        };
        let mut message = problem.detail.clone();
        let pointer = problem.path.as_ref().filter(|path| path.starts_with('/'));
        if let Some(path) = pointer.filter(|path| !message.contains(path.as_str())) {
            message = format!("{message} (at {path})");
        }
        let own = advice(problem).map(str::to_owned);
        let theirs = || problem.hint.clone();
        let general = || general_advice(problem.status).map(str::to_owned);
        Self::failed(message).or_hint(own.or_else(theirs).or_else(general))
    }
}

impl From<StoreError> for CliError {
    fn from(error: StoreError) -> Self {
        let hint = match error {
            StoreError::Full => "free space on the disk of the data folder",
            _ => "greenroom doctor looks at the data folder; --data DIR names another",
        };
        Self::failed(error.to_string()).hint(hint)
    }
}

impl From<StartError> for CliError {
    fn from(error: StartError) -> Self {
        match error {
            StartError::NoAuthBeyondLoopback(address) => {
                Self::failed(format!("--no-auth works on loopback only, and {address} is not"))
                    .hint("leave --no-auth out, or listen on 127.0.0.1")
            }
            StartError::Listen { address, source } => {
                Self::failed(format!("cannot listen on {address}: {source}"))
                    .hint("choose another address with --listen, or end what has this one")
            }
            StartError::Socket { path, reason } => {
                Self::failed(format!("cannot listen on the socket {}: {reason}", path.display()))
                    .hint("name another path with --listen-unix")
            }
            StartError::Store(error) => error.into(),
            StartError::Source { .. } => {
                Self::failed(error.to_string()).hint("name agent files, folders of them, or URLs")
            }
            StartError::TokenFile { .. } => Self::failed(error.to_string())
                .hint("use the user whose data folder it is, or another folder with --data DIR"),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn told(error: ClientError) -> Told {
        match CliError::from(error) {
            CliError::Told(told) => *told,
            CliError::ClosedPipe => panic!("nothing was told"),
        }
    }

    #[test]
    fn what_is_not_there_says_where_to_look() {
        let problem = Problem::not_found("session", "x").hint("something else");
        let told = told(ClientError::Problem(Box::new(problem)));
        assert_eq!(told.code, Code::Failed);
        assert_eq!(told.message, "session \"x\" not found or has been deleted");
        assert_eq!(told.hint.as_deref(), Some("greenroom sessions ls"));
    }

    #[test]
    fn no_coordinator_is_a_code_of_its_own() {
        let (url, why) = ("http://127.0.0.1:1".to_owned(), "refused".to_owned());
        assert_eq!(told(ClientError::Unreachable { url, why }).code, Code::NoCoordinator);
    }

    #[test]
    fn codes_are_ordered_by_gravity() {
        assert!(Code::Done < Code::Failed && Code::Stopped < Code::Unproven);
        assert!(Code::Unproven < Code::NoCoordinator);
    }
}
