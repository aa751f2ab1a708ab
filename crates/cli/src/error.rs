//! How a command ends: its exit code, and an error that says what to do.

use greenroom_client::ClientError;

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

/// Where to look for the right name of something that is not there.
fn list_command(code: &str) -> Option<&'static str> {
    Some(match code {
        "session_not_found" => "greenroom sessions ls",
        "run_not_found" => "greenroom runs ls SESSION",
        "agent_not_found" => "greenroom agents ls",
        "runner_not_found" => "greenroom runners ls",
        "token_not_found" => "greenroom token ls",
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
        if let Some(path) = problem.path.as_ref().filter(|path| !message.contains(path.as_str())) {
            message = format!("{message} (at {path})");
        }
        let listed = list_command(&problem.code).map(str::to_owned);
        let signed = (problem.status == 401).then(|| {
            "give a token with --token or GREENROOM_TOKEN, or name the server's data folder with --data".to_owned()
        });
        let told = Self::failed(message);
        match listed.or_else(|| problem.hint.clone()).or(signed) {
            Some(hint) => told.hint(hint),
            None => told,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use greenroom_protocol::Problem;

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
