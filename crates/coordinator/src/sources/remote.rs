//! Sources that are not on this machine. Each is asked in the background; what it said last
//! is kept in the store, and serves while it cannot be reached.

use std::collections::BTreeMap;
use std::sync::Mutex;

use async_trait::async_trait;
use futures::future::join_all;
use greenroom_core::{Ms, Timestamp};
use greenroom_store::SourceCopy;

use super::fetch::{Fetched, Fetcher};
use super::keys::Identity;
use super::local::Local;
use super::oci::{self, Oci};
use super::{Content, Document, Loaded, Reading, Reference, Source, Sources, file_error};
use crate::app::App;
use crate::error::ApiResult;
use crate::hub::lock;

/// That a copy was found unchanged is written down this often.
const NOTED: Ms = Ms::secs(600);

/// A URL.
struct Http<'a> {
    fetcher: &'a Fetcher,
    url: &'a str,
    source: &'a str,
}

#[async_trait]
impl Source for Http<'_> {
    async fn read(&self, known: Option<&SourceCopy>) -> Result<Reading, String> {
        let tag = known.and_then(|copy| copy.tag.as_deref());
        Ok(match self.fetcher.get(self.url, tag).await? {
            Fetched::Same => Reading::Same,
            Fetched::New { text, tag } => Reading::Documents(vec![Document {
                source: self.source.to_owned(),
                name: Identity::of(self.source).shown,
                content: Ok(Content::Text(text)),
                tag,
            }]),
        })
    }
}

/// What is known of a source elsewhere.
#[derive(Debug, Clone, Default)]
pub(super) struct Known {
    copy: Option<SourceCopy>,
    /// When the store was told of it.
    noted: Option<Timestamp>,
    /// Why it could not be asked the last time.
    error: Option<String>,
}

/// All that is known of sources elsewhere, by source.
pub(super) type Remotes = Mutex<BTreeMap<String, Known>>;

impl Sources {
    /// Takes up what sources said before this start.
    pub(crate) async fn recall(&self, app: &App, reference: &Reference) -> ApiResult<()> {
        let Some(source) = reference.remote() else { return Ok(()) };
        let copy = app.store.source_copy(&source).await?;
        let noted = copy.as_ref().map(|copy| copy.fetched_at);
        lock(&self.remotes).entry(source).or_insert(Known { copy, noted, error: None });
        Ok(())
    }

    /// Asks every source elsewhere, all at once.
    pub(crate) async fn ask_all(&self, app: &App) {
        let references = self.references();
        let asking = references.iter().map(|reference| self.ask(app, reference));
        for error in join_all(asking).await.into_iter().filter_map(Result::err) {
            tracing::warn!(error = %error.0, "a copy of a source could not be kept");
        }
    }

    /// Asks a source elsewhere, and keeps what it says. `false` where it could not be asked.
    pub(crate) async fn ask(&self, app: &App, reference: &Reference) -> ApiResult<bool> {
        let Some(source) = reference.remote() else { return Ok(true) };
        let known = lock(&self.remotes).get(&source).cloned().unwrap_or_default();
        let reading = self.elsewhere(reference, &source).read(known.copy.as_ref()).await;
        let at = app.clock.wall();
        let next = match reading {
            Ok(Reading::Same) => {
                let copy = known.copy.map(|copy| SourceCopy { fetched_at: at, ..copy });
                Known { copy, error: None, ..known }
            }
            Ok(Reading::Documents(documents)) => {
                let document = documents.into_iter().next();
                let copy = document.and_then(|document| match document.content {
                    Ok(Content::Text(text)) => Some(SourceCopy {
                        source: source.clone(),
                        tag: document.tag,
                        text,
                        fetched_at: at,
                    }),
                    _ => None,
                });
                let same = |before: &SourceCopy| {
                    copy.as_ref().is_some_and(|copy| copy.text == before.text)
                };
                let noted = known.noted.filter(|_| known.copy.as_ref().is_some_and(same));
                Known { copy, noted, error: None }
            }
            Err(error) => {
                if known.error.as_ref() != Some(&error) {
                    tracing::warn!(source = %reference.shown(), %error, "a source cannot be reached");
                }
                Known { error: Some(error), ..known }
            }
        };
        let reached = next.error.is_none();
        self.keep(app, &source, next).await?;
        Ok(reached)
    }

    fn elsewhere<'a>(&'a self, reference: &'a Reference, source: &'a str) -> Box<dyn Source + 'a> {
        match reference {
            Reference::Path(path) => Box::new(Local(path)),
            Reference::Url { url, .. } => Box::new(Http { fetcher: &self.fetcher, url, source }),
            Reference::Oci(image) => {
                let host = oci::registry(image).unwrap_or_default();
                let secret = self.fetcher.secret(&host).cloned();
                Box::new(Oci { image, source, secret })
            }
        }
    }

    async fn keep(&self, app: &App, source: &str, mut next: Known) -> ApiResult<()> {
        if let Some(copy) = &next.copy {
            let age = |noted: Timestamp| copy.fetched_at.unix_ms() - noted.unix_ms();
            if next.noted.is_none_or(|noted| age(noted) >= NOTED.0 as i64) {
                app.store.keep_source_copy(copy.clone()).await?;
                next.noted = Some(copy.fetched_at);
            }
        }
        lock(&self.remotes).insert(source.to_owned(), next);
        Ok(())
    }

    /// Puts into service what is known of a source elsewhere.
    pub(super) async fn load_remote(
        &self,
        app: &App,
        source: &str,
        loaded: &mut Loaded,
    ) -> ApiResult<()> {
        let known = lock(&self.remotes).get(source).cloned().unwrap_or_default();
        let name = Identity::of(source).shown;
        let trouble = known.error.map(|error| match &known.copy {
            Some(copy) => format!("{error}; the copy of {} goes on serving", copy.fetched_at),
            None => error,
        });
        let content = match (known.copy, &trouble) {
            (Some(copy), _) => Ok(Content::Text(copy.text)),
            (None, Some(trouble)) => Err(trouble.clone()),
            // Nobody has asked yet.
            (None, None) => return Ok(()),
        };
        let trouble = trouble.map(|trouble| file_error(&name, trouble));
        let document = Document { source: source.to_owned(), name, content, tag: None };
        self.load_document(app, document, trouble, loaded).await
    }

    /// When a source elsewhere last said what it serves.
    pub(crate) fn fetched_at(&self, source: &str) -> Option<Timestamp> {
        let remotes = lock(&self.remotes);
        Some(remotes.get(source)?.copy.as_ref()?.fetched_at)
    }

    /// Why a source elsewhere has nothing to offer yet.
    pub(crate) fn waits_for(&self, source: &str) -> String {
        let error = lock(&self.remotes).get(source).and_then(|known| known.error.clone());
        error.unwrap_or_else(|| "it has not answered yet".to_owned())
    }
}
