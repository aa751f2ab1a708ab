//! Who asks, and what they may do.

use std::collections::HashMap;
use std::marker::PhantomData;
use std::sync::{Arc, Mutex};

use axum::extract::FromRequestParts;
use greenroom_core::command::Actor;
use greenroom_core::{Principal, RunnerId, Session, SessionId, SessionUid, TokenId};
use greenroom_protocol::Problem;
use greenroom_protocol::token::Role;
use greenroom_store::{Store, TokenRow};
use http::request::Parts;
use http::{HeaderName, Method, header};
use tokio_util::sync::CancellationToken;

use crate::app::App;
use crate::error::{ApiError, ApiResult};
use crate::hub::{About, lock};
use crate::secret;
use crate::socket::BySocket;

/// Name of the cookie that stands for a bearer token after a login.
pub(crate) const COOKIE: &str = "greenroom";

/// Who asks.
#[derive(Debug, Clone)]
pub(crate) struct Caller {
    /// For whom they speak: owns the sessions they create.
    pub principal: Principal,
    /// What their token allows.
    pub role: Role,
    /// What kind of caller they are.
    pub who: Who,
    /// For which of the principal's users they act, where they say so: then they see that
    /// user's sessions and no others, and create sessions for that user.
    pub user: Option<String>,
    /// Cancelled when their token is revoked.
    pub revoked: CancellationToken,
}

/// What kind of caller.
#[derive(Debug, Clone)]
pub(crate) enum Who {
    /// A person, or a program that acts for one.
    Person,
    /// The agent of a session.
    Agent {
        /// Its session.
        uid: SessionUid,
        /// Its session's name.
        id: SessionId,
    },
    /// A runner with a credential of its own.
    Runner(RunnerId),
}

/// What a call needs beyond a session one may see.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Right {
    /// To see sessions and agents.
    Read,
    /// To create sessions, prompt them, stop them, and use their files.
    Use,
    /// What only a person decides: holds, a word in place of a proof.
    Decide,
    /// To see runners and figures.
    Operate,
    /// To change agents, runners and tokens.
    Administer,
}

/// Whether a role has a right.
pub(crate) fn allows(role: Role, right: Right) -> bool {
    match right {
        Right::Read => matches!(role, Role::Admin | Role::Operator | Role::Viewer | Role::Agent),
        Right::Use => matches!(role, Role::Admin | Role::Operator | Role::Agent),
        Right::Decide => matches!(role, Role::Admin | Role::Operator),
        Right::Operate => matches!(role, Role::Admin | Role::Operator | Role::Viewer),
        Right::Administer => role == Role::Admin,
    }
}

impl Caller {
    /// Refuses a caller without a right.
    pub(crate) fn require(&self, right: Right) -> ApiResult<()> {
        if allows(self.role, right) {
            return Ok(());
        }
        let detail = format!("a token of role {} may not do this", self.role.as_str());
        Err(Problem::forbidden(detail)
            .hint("use a token with more rights: greenroom token create")
            .into())
    }

    /// Whether they may see a session.
    pub(crate) fn sees(&self, about: &About) -> bool {
        if self.user.is_some() && about.user != self.user {
            return false;
        }
        match (&self.who, self.role) {
            (Who::Agent { uid, .. }, _) => about.uid == *uid || about.parent == Some(*uid),
            (Who::Runner(_), _) => false,
            (Who::Person, Role::Admin) => true,
            (Who::Person, Role::Operator | Role::Viewer) => {
                about.shared || about.owner == self.principal
            }
            (Who::Person, Role::Runner | Role::Agent) => false,
        }
    }

    /// Whether they may see a session.
    pub(crate) fn sees_session(&self, session: &Session) -> bool {
        self.sees(&About::of(session))
    }

    /// How they are shown in the log.
    pub(crate) fn actor(&self) -> Actor {
        match &self.who {
            Who::Person => Actor::person(self.principal.0.clone()),
            Who::Agent { id, .. } => Actor::machine(format!("session {id}")),
            Who::Runner(id) => Actor::machine(format!("runner {id}")),
        }
    }

    /// What keeps their idempotency keys apart from those of others.
    pub(crate) fn scope(&self) -> String {
        match &self.who {
            Who::Person if self.user.is_some() => {
                let user = self.user.as_deref().unwrap_or_default();
                format!("principal {} for {user}", self.principal)
            }
            Who::Person => format!("principal {}", self.principal),
            Who::Agent { uid, .. } => format!("agent {uid}"),
            Who::Runner(id) => format!("runner {id}"),
        }
    }

    /// A runner with a credential of its own.
    fn runner(id: RunnerId) -> Self {
        Self {
            principal: Principal(format!("runner {id}")),
            role: Role::Runner,
            who: Who::Runner(id),
            user: None,
            revoked: CancellationToken::new(),
        }
    }

    /// The one caller there is without tokens.
    fn local(user: Option<String>) -> Self {
        Self::admin("local", user)
    }

    fn admin(principal: &str, user: Option<String>) -> Self {
        Self {
            principal: Principal(principal.into()),
            role: Role::Admin,
            who: Who::Person,
            user,
            revoked: CancellationToken::new(),
        }
    }
}

/// Tokens that were looked up, and whom to tell when one is revoked.
#[derive(Default)]
pub struct Auth {
    known: Mutex<HashMap<[u8; 32], (TokenRow, CancellationToken)>>,
    runners: Mutex<HashMap<[u8; 32], RunnerId>>,
}

impl Auth {
    /// The token of this secret.
    pub async fn token(
        &self,
        store: &dyn Store,
        text: &str,
    ) -> ApiResult<Option<(TokenRow, CancellationToken)>> {
        let hash = secret::hash(text);
        if let Some(known) = lock(&self.known).get(&hash) {
            return Ok(Some(known.clone()));
        }
        let Some(row) = store.token_by_hash(hash).await? else { return Ok(None) };
        let mut known = lock(&self.known);
        let entry = known.entry(hash).or_insert_with(|| (row, CancellationToken::new()));
        Ok(Some(entry.clone()))
    }

    /// The runner of this credential.
    pub async fn runner(&self, store: &dyn Store, text: &str) -> ApiResult<Option<RunnerId>> {
        let hash = secret::hash(text);
        if let Some(id) = lock(&self.runners).get(&hash) {
            return Ok(Some(*id));
        }
        let Some(row) = store.runner_by_credential(hash).await? else { return Ok(None) };
        lock(&self.runners).insert(hash, row.id);
        Ok(Some(row.id))
    }

    /// Forgets the credentials of a runner that was removed or has joined anew.
    pub fn forget_runner(&self, id: RunnerId) {
        lock(&self.runners).retain(|_, runner| *runner != id);
    }

    /// Forgets a token, and ends what was opened with it.
    pub fn revoke(&self, id: TokenId) {
        lock(&self.known).retain(|_, (row, revoked)| {
            let gone = row.id == id;
            if gone {
                revoked.cancel();
            }
            !gone
        });
    }
}

/// The secret a request brings, and whether a browser brought it by itself.
fn presented(parts: &Parts) -> Option<(&str, bool)> {
    let bearer = parts.headers.get(header::AUTHORIZATION).map(|value| {
        let text = value.to_str().unwrap_or_default();
        match text.split_once(' ') {
            Some((scheme, token)) if scheme.eq_ignore_ascii_case("bearer") => token.trim(),
            _ => "",
        }
    });
    if let Some(token) = bearer {
        return Some((token, false));
    }
    cookie_of(parts).map(|token| (token, true))
}

/// The secret in a browser's cookie.
pub(crate) fn cookie_of(parts: &Parts) -> Option<&str> {
    let cookies = parts.headers.get_all(header::COOKIE).iter();
    cookies
        .filter_map(|value| value.to_str().ok())
        .flat_map(|value| value.split(';'))
        .filter_map(|pair| pair.trim().split_once('='))
        .find(|(name, _)| *name == COOKIE)
        .map(|(_, token)| token)
}

/// Names one of the principal's users.
pub(crate) const USER: HeaderName = HeaderName::from_static("x-greenroom-user");

/// For which of their users somebody acts. It travels in headers, to agents too.
fn user(parts: &Parts) -> ApiResult<Option<String>> {
    let Some(value) = parts.headers.get(USER) else { return Ok(None) };
    match value.to_str() {
        Ok(user) if (1..=256).contains(&user.len()) && !user.contains('\t') => {
            return Ok(Some(user.to_owned()));
        }
        _ => {}
    }
    let detail = "a user identity has 1 to 256 characters, all of them printable ASCII";
    Err(Problem::invalid(detail).at(USER.as_str()).into())
}

/// No token, or none that is known.
fn unauthorised(detail: &str) -> ApiError {
    Problem::new(401, "unauthorized", detail)
        .hint("send Authorization: Bearer TOKEN; on this machine the token is in DATA/token")
        .into()
}

/// A cookie is sent by a browser whoever has made it ask, so what changes anything must
/// come from a page of ours. The guard has checked the Origin that is there.
fn check_cookie_origin(parts: &Parts) -> ApiResult<()> {
    let reads = matches!(parts.method, Method::GET | Method::HEAD);
    if reads || parts.headers.contains_key(header::ORIGIN) {
        return Ok(());
    }
    Err(Problem::forbidden("a request with a cookie must say its Origin").into())
}

impl FromRequestParts<Arc<App>> for Caller {
    type Rejection = ApiError;

    async fn from_request_parts(parts: &mut Parts, app: &Arc<App>) -> Result<Self, ApiError> {
        if app.no_auth {
            // A runner has a credential of its own with or without tokens for people.
            let credential = presented(parts).filter(|(text, _)| secret::is_credential(text));
            let agent = presented(parts).filter(|(text, _)| text.starts_with("gra_"));
            if credential.is_none() && agent.is_none() {
                return Ok(Self::local(user(parts)?));
            }
        }
        let Some((text, cookie)) = presented(parts) else {
            if BySocket::is_own(parts) {
                // Who could read the admin token is who it is for.
                return Ok(Self::admin("admin", user(parts)?));
            }
            return Err(unauthorised("this call needs a token"));
        };
        if cookie {
            check_cookie_origin(parts)?;
        }
        if let Some((uid, epoch)) = secret::read_agent_token(&app.identity.secret, text) {
            return agent(app, uid, epoch).await;
        }
        if secret::is_credential(text) {
            let Some(id) = app.auth.runner(&*app.store, text).await? else {
                return Err(unauthorised("this credential is of no runner that is known"));
            };
            return Ok(Self::runner(id));
        }
        match app.auth.token(&*app.store, text).await? {
            // A code for a login is no bearer token: it is worth one use, at /login.
            Some((row, _)) if row.once && row.role != Role::Runner => {
                Err(unauthorised("this is a login code: open it at /login"))
            }
            Some((row, revoked)) => {
                let user = user(parts)?;
                Ok(Self {
                    principal: row.principal,
                    role: row.role,
                    who: Who::Person,
                    user,
                    revoked,
                })
            }
            // A join token may have become the credential of the runner that has joined by it.
            None => match app.auth.runner(&*app.store, text).await? {
                Some(id) => Ok(Self::runner(id)),
                None => Err(unauthorised("this token is not known, or was revoked")),
            },
        }
    }
}

/// What a call needs, as a type: a handler that takes [`Allowed`] is not reached without
/// it, whatever the body says.
pub(crate) trait Need: Send {
    /// The right.
    const RIGHT: Right;
}

macro_rules! needs {
    ($($(#[$doc:meta])* $name:ident = $right:ident;)*) => {$(
        $(#[$doc])*
        pub(crate) struct $name;
        impl Need for $name {
            const RIGHT: Right = Right::$right;
        }
    )*};
}

needs! {
    /// To see sessions and agents.
    ToRead = Read;
    /// To create sessions, prompt them, stop them, and use their files.
    ToUse = Use;
    /// What only a person decides.
    ToDecide = Decide;
    /// To see runners and figures.
    ToOperate = Operate;
    /// To change agents, runners and tokens.
    ToAdminister = Administer;
}

/// A caller who has a right.
pub(crate) struct Allowed<N> {
    /// Who.
    pub(crate) caller: Caller,
    need: PhantomData<N>,
}

impl<N: Need> FromRequestParts<Arc<App>> for Allowed<N> {
    type Rejection = ApiError;

    async fn from_request_parts(parts: &mut Parts, app: &Arc<App>) -> Result<Self, ApiError> {
        let caller = Caller::from_request_parts(parts, app).await?;
        caller.require(N::RIGHT)?;
        Ok(Self { caller, need: PhantomData })
    }
}

/// The runner that calls.
pub(crate) struct LinkCaller(pub(crate) RunnerId);

impl FromRequestParts<Arc<App>> for LinkCaller {
    type Rejection = ApiError;

    async fn from_request_parts(parts: &mut Parts, app: &Arc<App>) -> Result<Self, ApiError> {
        match Caller::from_request_parts(parts, app).await?.who {
            Who::Runner(id) => Ok(Self(id)),
            _ => {
                Err(Problem::forbidden("this call is for runners, with a credential of their own")
                    .into())
            }
        }
    }
}

/// The join token a runner brings, which is worth one credential.
pub(crate) struct JoinToken(pub(crate) String);

impl FromRequestParts<Arc<App>> for JoinToken {
    type Rejection = ApiError;

    async fn from_request_parts(parts: &mut Parts, app: &Arc<App>) -> Result<Self, ApiError> {
        let token = presented(parts).map_or("", |(token, _)| token).to_owned();
        match app.auth.token(&*app.store, &token).await? {
            Some((row, _)) if row.role == Role::Runner => Ok(Self(token)),
            // Known in another way, or not known at all.
            _ => {
                Caller::from_request_parts(parts, app).await?;
                Err(Problem::forbidden("a runner joins with a token of role runner").into())
            }
        }
    }
}

async fn agent(app: &Arc<App>, uid: SessionUid, epoch: greenroom_core::Epoch) -> ApiResult<Caller> {
    let session = app.store.session(uid).await?;
    let live = session.filter(|session| session.compute.as_ref().is_some_and(|c| c.epoch == epoch));
    let Some(session) = live else {
        return Err(unauthorised("this token was of a compute that has ended"));
    };
    Ok(Caller {
        principal: session.owner.clone(),
        role: Role::Agent,
        who: Who::Agent { uid, id: session.id.clone() },
        // It is confined to its own session and that one's children as it is.
        user: None,
        revoked: CancellationToken::new(),
    })
}
