//! The agent's environment, built from nothing.

use std::collections::BTreeMap;
use std::fs::File;
use std::io::{self, Read};
use std::os::unix::fs::{MetadataExt, OpenOptionsExt};
use std::path::Path;

use greenroom_shim::wire::Secret;

/// What of the runner's own environment every agent gets.
const INHERITED: [&str; 4] = ["PATH", "LANG", "TERM", "TMPDIR"];
/// For a runner without one.
const DEFAULT_PATH: &str = "/usr/local/bin:/usr/bin:/bin";
/// No secret is larger: an environment has its limits too.
const MAX_SECRET: u64 = 128 << 10;

/// The variable with the agent's own token.
const TOKEN: &str = "GREENROOM_TOKEN";

/// An agent's environment.
#[derive(Debug)]
pub(crate) struct Environment {
    /// Names and values.
    pub(crate) variables: BTreeMap<String, String>,
    /// What of the values must not be said by anybody.
    pub(crate) secrets: Vec<Secret>,
}

/// What values may refer to.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Sources<'a> {
    /// Names that `${env:X}` may read.
    pub(crate) exposed: &'a [String],
    /// The folder that `${secret:X}` reads.
    pub(crate) secrets: &'a Path,
    /// The runner's own environment.
    pub(crate) own: fn(&str) -> Option<String>,
}

/// What could not be resolved. It names the variable, and never a value.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("the variable {variable} cannot be set: {reason}")]
pub(crate) struct Unresolved {
    variable: String,
    reason: String,
}

/// The whole environment: what is inherited, HOME, what the agent's file names, and
/// Greenroom's own, which nothing can replace.
pub(crate) fn build(
    home: &Path,
    named: &BTreeMap<String, String>,
    greenroom: &BTreeMap<String, String>,
    sources: Sources<'_>,
) -> Result<Environment, Unresolved> {
    let mut secrets = Vec::new();
    let mut env: BTreeMap<String, String> = INHERITED
        .iter()
        .filter_map(|name| Some(((*name).to_owned(), (sources.own)(name)?)))
        .collect();
    env.entry("PATH".to_owned()).or_insert_with(|| DEFAULT_PATH.to_owned());
    env.insert("HOME".to_owned(), home.to_string_lossy().into_owned());
    for (name, value) in named {
        let unresolved = |reason| Unresolved { variable: name.clone(), reason };
        if name.is_empty() || name.contains(['=', '\0']) {
            return Err(unresolved("this is no name for a variable".to_owned()));
        }
        let value = expand(value, sources, &mut secrets).map_err(unresolved)?;
        if value.contains('\0') {
            return Err(unresolved("its value holds a NUL byte".to_owned()));
        }
        env.insert(name.clone(), value);
    }
    env.extend(greenroom.iter().map(|(name, value)| (name.clone(), value.clone())));
    if let Some(token) = greenroom.get(TOKEN) {
        secrets.push(Secret { name: TOKEN.to_owned(), value: token.clone() });
    }
    Ok(Environment { variables: env, secrets })
}

/// Puts values in the place of `${env:X}` and `${secret:X}`. What else looks like a
/// reference is text: programs have their own. Secrets that were read are noted.
fn expand(text: &str, sources: Sources<'_>, secrets: &mut Vec<Secret>) -> Result<String, String> {
    let mut out = String::new();
    let mut rest = text;
    while let Some(at) = rest.find("${") {
        let (before, reference) = rest.split_at(at);
        out.push_str(before);
        let inner = reference[2..].split_once('}');
        let known = inner.and_then(|(inner, after)| {
            let (kind, name) = inner.split_once(':')?;
            matches!(kind, "env" | "secret").then_some((kind, name, after))
        });
        match known {
            Some(("env", name, after)) => {
                out.push_str(&read_env(name, sources)?);
                rest = after;
            }
            Some((_, name, after)) => {
                let value = read_secret(name, sources.secrets)?;
                out.push_str(&value);
                secrets.push(Secret { name: name.to_owned(), value });
                rest = after;
            }
            None => {
                out.push_str("${");
                rest = &reference[2..];
            }
        }
    }
    out.push_str(rest);
    Ok(out)
}

fn read_env(name: &str, sources: Sources<'_>) -> Result<String, String> {
    if !sources.exposed.iter().any(|exposed| exposed == name) {
        return Err(format!(
            "${{env:{name}}} is not exposed by this runner; start it with --expose-env {name}"
        ));
    }
    (sources.own)(name).ok_or_else(|| format!("the runner itself has no variable {name}"))
}

fn read_secret(name: &str, secrets: &Path) -> Result<String, String> {
    let good = |byte: u8| byte.is_ascii_alphanumeric() || matches!(byte, b'.' | b'_' | b'-');
    if name.is_empty() || name.starts_with('.') || !name.bytes().all(good) {
        return Err(format!("{name:?} is no name for a secret"));
    }
    let path = secrets.join(name);
    let file = rustix::fs::OFlags::NOFOLLOW | rustix::fs::OFlags::NONBLOCK;
    let fail = |error: io::Error| match error.kind() {
        io::ErrorKind::NotFound => {
            format!("the runner has no secret {name:?}: there is no file {}", path.display())
        }
        _ => format!("the secret {name:?} cannot be read from {}: {error}", path.display()),
    };
    let file = File::options()
        .read(true)
        .custom_flags(file.bits().cast_signed())
        .open(&path)
        .map_err(fail)?;
    let meta = file.metadata().map_err(fail)?;
    let own = meta.uid() == rustix::process::geteuid().as_raw();
    if !meta.is_file() || !own || meta.mode() & 0o077 != 0 {
        return Err(format!(
            "the secret {name:?} must be a file of the runner's own user that nobody else may \
             read: chmod 600 {}",
            path.display()
        ));
    }
    if meta.len() > MAX_SECRET {
        return Err(format!("the secret {name:?} is larger than {MAX_SECRET} bytes"));
    }
    let mut text = String::new();
    file.take(MAX_SECRET).read_to_string(&mut text).map_err(fail)?;
    if text.ends_with('\n') {
        text.pop();
        if text.ends_with('\r') {
            text.pop();
        }
    }
    Ok(text)
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::os::unix::fs::PermissionsExt;

    fn own(name: &str) -> Option<String> {
        let value = match name {
            "PATH" => "/bin",
            "KEY" => "k3y",
            "LD_PRELOAD" => "evil",
            _ => return None,
        };
        Some(value.to_owned())
    }

    fn try_build(secrets: &Path, value: &str) -> Result<String, String> {
        let exposed = ["KEY".to_owned(), "GONE".to_owned()];
        let sources = Sources { exposed: &exposed, secrets, own };
        let named = BTreeMap::from([("V".to_owned(), value.to_owned())]);
        let greenroom = BTreeMap::from([(TOKEN.to_owned(), "gra_1".to_owned())]);
        let env = build(Path::new("/h"), &named, &greenroom, sources).map_err(|e| e.to_string())?;
        let names: Vec<_> = env.variables.keys().map(String::as_str).collect();
        assert_eq!(names, ["GREENROOM_TOKEN", "HOME", "PATH", "V"]);
        let secrets = env.secrets.iter().map(|s| (s.name.as_str(), s.value.as_str()));
        let of_the_file = value.contains("${secret:").then_some(("api-key", "hush hush"));
        let expected: Vec<_> = of_the_file.into_iter().chain([(TOKEN, "gra_1")]).collect();
        assert_eq!(secrets.collect::<Vec<_>>(), expected);
        Ok(env.variables["V"].clone())
    }

    #[test]
    fn resolves_what_it_may_and_names_what_it_may_not() {
        let temp = tempfile::tempdir().unwrap();
        let secret = temp.path().join("api-key");
        std::fs::write(&secret, "hush hush\n").unwrap();
        std::fs::set_permissions(&secret, PermissionsExt::from_mode(0o600)).unwrap();
        let get = |value: &str| try_build(temp.path(), value);
        assert_eq!(get("a${env:KEY}b${secret:api-key}c").unwrap(), "ak3ybhush hushc");
        assert_eq!(get("${HOME} $5 ${x:y} ${env").unwrap(), "${HOME} $5 ${x:y} ${env");
        for bad in
            ["${env:LD_PRELOAD}", "${env:GONE}", "${secret:no}", "${secret:../x}", "${secret:}"]
        {
            let error = get(bad).unwrap_err();
            assert!(error.starts_with("the variable V cannot be set"), "{error}");
        }
        std::fs::set_permissions(&secret, PermissionsExt::from_mode(0o644)).unwrap();
        let error = get("${secret:api-key}").unwrap_err();
        assert!(error.contains("chmod 600") && !error.contains("hush"), "{error}");
        std::os::unix::fs::symlink(&secret, temp.path().join("link")).unwrap();
        assert!(get("${secret:link}").is_err());
        rustix::fs::mknodat(
            rustix::fs::CWD,
            temp.path().join("fifo"),
            rustix::fs::FileType::Fifo,
            rustix::fs::Mode::from_raw_mode(0o600),
            0,
        )
        .unwrap();
        assert!(get("${secret:fifo}").is_err());
    }
}
