//! What a path means. It is taken apart as it was sent, and each part is decoded once: a name
//! may hold what is a separator in a path.

use percent_encoding::percent_decode_str;

/// What a request is about.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Target {
    /// All agents.
    Agents,
    /// One agent.
    Agent(String),
    /// A verb on an agent.
    AgentVerb(String, String),
    /// Its versions.
    Versions(String),
    /// One of them.
    Version(String, String),
    /// The code of an agent.
    Code(String),
    /// The sessions of an agent.
    Sessions(String),
    /// One of them.
    Session(String, String),
    /// A verb on a session.
    SessionVerb(String, String, String),
    /// The log of a session, as it goes on.
    Logs(String, String),
    /// The files of a session: a folder, or what is removed.
    Files(String, String),
    /// A file's bytes.
    Content(String, String),
    /// A new folder.
    Mkdir(String, String),
    /// One entry.
    Stat(String, String),
    /// What an agent serves, by a path of its own, as it was sent.
    Protocol(String, String),
}

/// A part of a path, decoded. What is not text is no name of anything.
fn decoded(part: &str) -> Option<String> {
    Some(percent_decode_str(part).decode_utf8().ok()?.into_owned())
}

/// A name and the verb behind it, which is split off before anything is decoded: what is
/// behind the last colon that was sent as one.
fn with_verb(part: &str) -> Option<(String, Option<String>)> {
    match part.rsplit_once(':') {
        Some((name, verb)) => Some((decoded(name)?, Some(decoded(verb)?))),
        None => Some((decoded(part)?, None)),
    }
}

/// What a path beneath the door means.
pub(super) fn parse(path: &str) -> Option<Target> {
    let rest = path.strip_prefix("/api/projects/")?;
    let (project, rest) = rest.split_once('/')?;
    if decoded(project)?.is_empty() {
        return None;
    }
    let parts: Vec<&str> = rest.split('/').collect();
    let agent = |part: &str| decoded(part).filter(|name| !name.is_empty());
    Some(match parts.as_slice() {
        ["agents"] => Target::Agents,
        ["agents", one] => match with_verb(one)? {
            (name, Some(verb)) => Target::AgentVerb(name, verb),
            (name, None) => Target::Agent(name),
        },
        ["agents", a, "versions"] => Target::Versions(agent(a)?),
        ["agents", a, "versions", version] => Target::Version(agent(a)?, decoded(version)?),
        ["agents", a, "code:download"] => Target::Code(agent(a)?),
        ["agents", a, "versions", _, "sessions", one] | ["agents", a, "sessions", one] => {
            match with_verb(one)? {
                (session, Some(verb)) if verb == "logstream" => Target::Logs(agent(a)?, session),
                _ => return None,
            }
        }
        ["agents", a, "endpoint", "sessions"] => Target::Sessions(agent(a)?),
        ["agents", a, "endpoint", "sessions", one] => match with_verb(one)? {
            (session, Some(verb)) => Target::SessionVerb(agent(a)?, session, verb),
            (session, None) => Target::Session(agent(a)?, session),
        },
        ["agents", a, "endpoint", "sessions", s, "files"] => Target::Files(agent(a)?, decoded(s)?),
        ["agents", a, "endpoint", "sessions", s, "files", what] => {
            let (agent, session) = (agent(a)?, decoded(s)?);
            match *what {
                "content" => Target::Content(agent, session),
                "mkdir" => Target::Mkdir(agent, session),
                "stat" => Target::Stat(agent, session),
                _ => return None,
            }
        }
        ["agents", a, "endpoint", "protocols", inner @ ..] if !inner.is_empty() => {
            Target::Protocol(agent(a)?, format!("/{}", inner.join("/")))
        }
        _ => return None,
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn of(rest: &str) -> Option<Target> {
        parse(&format!("/api/projects/p/{rest}"))
    }

    fn session(id: &str) -> Option<Target> {
        Some(Target::Session("a".into(), id.into()))
    }

    #[test]
    fn a_verb_is_split_off_before_anything_is_decoded() {
        let verb =
            |id: &str, verb: &str| Some(Target::SessionVerb("a".into(), id.into(), verb.into()));
        for (path, expected) in [
            ("agents/a/endpoint/sessions/s-1", session("s-1")),
            ("agents/a/endpoint/sessions/s-1:stop", verb("s-1", "stop")),
            // As the libraries for Python and JavaScript send it, and once more escaped by azd.
            ("agents/a/endpoint/sessions/a%2Fb%20c%3Ad%25e", session("a/b c:d%e")),
            ("agents/a/endpoint/sessions/a%2Fb%20c%3Ad%25e:stop", verb("a/b c:d%e", "stop")),
            (
                "agents/a/endpoint/sessions/a%252Fb%2520c:d%2525e:stop",
                verb("a%2Fb%20c:d%25e", "stop"),
            ),
            ("agents/a/endpoint/sessions/s%3Astop", session("s:stop")),
            ("agents/a/endpoint/sessions/a/b%20c:d%25e", None),
            ("agents/a/endpoint/sessions/%ff", None),
            ("agents/a/endpoint/sessions/", session("")),
            ("agents/a/endpoint/sessions//files", Some(Target::Files("a".into(), String::new()))),
        ] {
            assert_eq!(of(path), expected, "{path}");
        }
    }

    #[test]
    fn both_streams_of_logs_are_one() {
        let logs = Some(Target::Logs("a".into(), "s".into()));
        assert_eq!(of("agents/a/sessions/s:logstream"), logs);
        assert_eq!(of("agents/a/versions/3/sessions/s:logstream"), logs);
        assert_eq!(of("agents/a/sessions/s"), None);
        assert_eq!(of("agents/a/sessions/s:stop"), None);
    }

    #[test]
    fn what_an_agent_serves_keeps_its_path() {
        let path = "agents/a/endpoint/protocols/openai/responses/x%2Fy";
        let kept = Target::Protocol("a".into(), "/openai/responses/x%2Fy".into());
        assert_eq!(of(path), Some(kept));
        assert_eq!(of("agents/a:enable"), Some(Target::AgentVerb("a".into(), "enable".into())));
        assert_eq!(of("agents/a%3Aenable"), Some(Target::Agent("a:enable".into())));
        assert_eq!(parse("/api/projects//agents"), None);
        assert_eq!(parse("/api/projects/p"), None);
    }

    proptest! {
        #[test]
        fn any_path_is_read_or_not(path in "(/api/projects/p/agents)?[/a-z:%0-9A-F\\PC]{0,120}") {
            let _ = parse(&path);
        }

        #[test]
        fn any_id_comes_through(id in "\\PC{1,60}") {
            let set = percent_encoding::NON_ALPHANUMERIC;
            let sent = percent_encoding::utf8_percent_encode(&id, set);
            prop_assert_eq!(of(&format!("agents/a/endpoint/sessions/{sent}")), session(&id));
        }
    }
}
