//! Finding the source that is meant: by its exact key, else by the one identity that fits.
//!
//! Only URLs have an identity beside their key, so nothing on this machine can pass for one.

use greenroom_core::AgentName;

use super::keys::Identity;
use super::{Reference, Sources};

/// A source that is named now.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Live {
    /// As it is kept.
    pub(crate) source: String,
    pub(crate) identity: Identity,
    /// Its last good description; `None` until it has given one.
    pub(crate) agent: Option<(AgentName, u32)>,
}

/// What was found.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Resolved {
    /// This one.
    One(Live),
    /// Several, and nothing says which.
    Many(Vec<Live>),
    /// None.
    None,
}

impl Sources {
    /// The sources elsewhere that are named now.
    pub(crate) fn live(&self) -> Vec<Live> {
        let found = crate::hub::lock(&self.found);
        let sources = self.references().into_iter().filter_map(|reference| reference.remote());
        let live = sources.map(|source| Live {
            identity: Identity::of(&source),
            agent: found.get(&source).and_then(|found| found.agent.clone()),
            source,
        });
        live.collect()
    }

    /// The source that a session had, or the one that stands for it now.
    pub(crate) fn of_session(&self, source: &str) -> Resolved {
        let identity = Identity::of(source);
        match identity.stable {
            Some(_) => choose(self.live(), &identity),
            // It is itself and nothing else, whatever its key looks like.
            None => {
                let same = self.live().into_iter().find(|live| live.source == source);
                same.map_or(Resolved::None, Resolved::One)
            }
        }
    }

    /// The description that a source on this machine has now.
    pub(crate) fn local(&self, source: &str) -> Option<(AgentName, u32)> {
        crate::hub::lock(&self.found).get(source)?.agent.clone()
    }

    /// The source that a client means by a key, or by a URL.
    pub(crate) fn of_client(&self, received: &str) -> Resolved {
        find(self.live(), received)
    }
}

fn choose(live: Vec<Live>, wanted: &Identity) -> Resolved {
    let exact = |one: &&Live| one.identity.stable.is_some() && one.identity.key == wanted.key;
    if let Some(exact) = live.iter().find(exact) {
        return Resolved::One(exact.clone());
    }
    let mut fitting: Vec<Live> = live
        .into_iter()
        .filter(|one| one.identity.stable.is_some() && one.identity.stable == wanted.stable)
        .collect();
    match fitting.len() {
        0 => Resolved::None,
        1 => Resolved::One(fitting.remove(0)),
        _ => Resolved::Many(fitting),
    }
}

/// A key travels in paths, where some clients escape it once more than others: each form is
/// tried, and an exact key wins over any identity.
fn find(live: Vec<Live>, received: &str) -> Resolved {
    use greenroom_core::source_key;
    let decoded = |text: &str| {
        let text = percent_encoding::percent_decode_str(text).decode_utf8().ok()?;
        Some(text.into_owned())
    };
    let once = decoded(received);
    let twice = once.as_deref().and_then(decoded);
    let escaped =
        source_key::is_url(received.as_bytes()).then(|| source_key::of_url(received.as_bytes()));
    let forms: Vec<String> =
        [Some(received.to_owned()), once, twice, escaped].into_iter().flatten().collect();
    let source = Reference::parse(received).ok().and_then(|reference| reference.remote());
    let exact =
        |one: &&Live| source.as_ref() == Some(&one.source) || forms.contains(&one.identity.key);
    if let Some(exact) = live.iter().find(exact) {
        return Resolved::One(exact.clone());
    }
    for form in forms {
        let stable = source_key::stable(form.as_bytes());
        if !source_key::is_url(&stable) {
            continue;
        }
        let stable = String::from_utf8_lossy(&stable).into_owned();
        let wanted = Identity { key: form, stable: Some(stable), shown: String::new() };
        match choose(live.clone(), &wanted) {
            Resolved::None => {}
            found => return found,
        }
    }
    Resolved::None
}

#[cfg(test)]
mod tests {
    use super::*;

    fn live(sources: &[&str]) -> Vec<Live> {
        let one = |source: &&str| Live {
            source: (*source).to_owned(),
            identity: Identity::of(source),
            agent: None,
        };
        sources.iter().map(one).collect()
    }

    fn key(url: &str) -> String {
        greenroom_core::source_key::of_url(url.as_bytes())
    }

    /// What was found, in a word.
    fn word(resolved: Resolved) -> String {
        match resolved {
            Resolved::One(one) => one.source,
            Resolved::Many(many) => format!("{} fit", many.len()),
            Resolved::None => "none".to_owned(),
        }
    }

    const U: &str = "https://ex.com/a.yaml";

    #[test]
    fn an_exact_key_wins_and_else_the_only_identity() {
        let url = |query: &str| format!("url:{U}{query}");
        let cases: [(&[&str], &str, &str); 8] = [
            (&["?t=light", "?t=dev"], "?t=dev", "?t=dev"),
            (&["?t=dev"], "?t=light", "?t=dev"),
            (&["?t=light", "?t=dev"], "?t=canary", "2 fit"),
            (&["", "?t=dev"], "", ""),
            (&["?t=dev"], "", "?t=dev"),
            (&["?t=dev"], "#s", "?t=dev"),
            (&["/other?t=dev"], "?t=dev", "none"),
            (&[], "", "none"),
        ];
        for (present, asked, expected) in cases {
            let present: Vec<String> = present.iter().map(|query| url(query)).collect();
            let present: Vec<&str> = present.iter().map(String::as_str).collect();
            let expected = match expected {
                "2 fit" | "none" => expected.to_owned(),
                query => url(query),
            };
            let by_session = choose(live(&present), &Identity::of(&url(asked)));
            assert_eq!(word(by_session), expected, "{asked} among {present:?}");
            let full = format!("{U}{asked}");
            for received in [key(&full), key(&key(&full)), full] {
                let by_client = find(live(&present), &received);
                assert_eq!(word(by_client), expected, "{received} among {present:?}");
            }
        }
    }

    #[test]
    fn nothing_else_has_an_identity() {
        // A file whose name is a key, and its own key, which reads like one of a URL.
        let file = "file:/agents/https%3A%2F%2Fex.com%2Fa.yaml.yaml";
        assert_eq!(Identity::of(file).stable, None);
        let present = live(&["url:https://ex.com/a.yaml?t=1"]);
        assert_eq!(choose(present.clone(), &Identity::of(file)), Resolved::None);
        for received in ["", "fixer", "what?", "100%25", "a.yaml", "%zz", "https%3A%2F%2F"] {
            assert_eq!(word(find(present.clone(), received)), "none", "{received}");
        }
    }

    #[test]
    fn a_query_can_be_significant() {
        let present = live(&["url+query:https://ex.com/a.yaml?tenant=a"]);
        let asked = |source: &str| word(choose(present.clone(), &Identity::of(source)));
        assert_eq!(asked("url+query:https://ex.com/a.yaml?tenant=b"), "none");
        assert_eq!(asked("url:https://ex.com/a.yaml?tenant=b"), "none");
        assert_eq!(asked("url:https://ex.com/a.yaml"), "none");
        let same = "url+query:https://ex.com/a.yaml?tenant=a";
        assert_eq!(asked(&format!("{same}#f")), same);
        assert_eq!(asked("url:https://ex.com/a.yaml?tenant=a"), same, "the same key");
    }

    #[test]
    fn user_and_password_are_part_of_the_identity() {
        let present = live(&["url:https://u:p@ex.com/a?2"]);
        assert_eq!(word(choose(present.clone(), &Identity::of("url:https://ex.com/a?1"))), "none");
        let same = choose(present, &Identity::of("url:https://u:p@ex.com/a?1"));
        assert_eq!(word(same), "url:https://u:p@ex.com/a?2");
    }
}
