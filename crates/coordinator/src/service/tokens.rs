//! Tokens: made here, said once, kept as hashes.

use greenroom_core::{Principal, TokenId};
use greenroom_protocol::token::Role;
use greenroom_protocol::{Problem, v1};
use greenroom_store::TokenRow;

use crate::app::{App, fresh};
use crate::auth::{Caller, Right};
use crate::error::ApiResult;
use crate::secret;
use crate::service::views;

/// Makes a token of a role, for a principal.
pub(crate) async fn make(
    app: &App,
    role: Role,
    principal: Option<String>,
    once: bool,
) -> ApiResult<(TokenRow, String)> {
    let secret = secret::new_token();
    let id = fresh::token();
    let row = TokenRow {
        id,
        hash: secret::hash(&secret),
        role,
        principal: Principal(principal.unwrap_or_else(|| id.to_string())),
        once,
        created_at: app.clock.wall(),
    };
    app.store.put_token(row.clone()).await?;
    Ok((row, secret))
}

/// Makes a token for a caller.
pub(crate) async fn create(
    app: &App,
    caller: &Caller,
    request: v1::CreateToken,
) -> ApiResult<v1::NewToken> {
    caller.require(Right::Administer)?;
    if request.role == Role::Agent {
        return Err(Problem::invalid(
            "/role: tokens of role agent are made by Greenroom for its own agents",
        )
        .at("/role")
        .into());
    }
    if let Some(principal) = &request.principal {
        let length = principal.chars().count();
        if length == 0 || length > 200 || principal.chars().any(char::is_control) {
            return Err(Problem::invalid("/principal has 1 to 200 characters that can be printed")
                .at("/principal")
                .into());
        }
    }
    // A join token is exchanged once for the runner's own credential.
    let once = request.role == Role::Runner;
    let (row, secret) = make(app, request.role, request.principal, once).await?;
    Ok(v1::NewToken { token: views::token(&row), secret })
}

/// All tokens, without their secrets. Codes that wait for a login are not shown.
pub(crate) async fn list(app: &App, caller: &Caller) -> ApiResult<Vec<v1::Token>> {
    caller.require(Right::Administer)?;
    let rows = app.store.tokens().await?;
    Ok(rows.iter().filter(|row| !row.once || row.role == Role::Runner).map(views::token).collect())
}

/// Revokes a token, and ends what was opened with it.
pub(crate) async fn revoke(app: &App, caller: &Caller, id: &str) -> ApiResult<()> {
    caller.require(Right::Administer)?;
    let not_found = || Problem::not_found("token", &id.chars().take(80).collect::<String>());
    let id: TokenId = id.parse().map_err(|_| not_found())?;
    let known = app.store.revoke_token(id).await?;
    app.auth.revoke(id);
    if known { Ok(()) } else { Err(not_found().into()) }
}

/// What a login is made of.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Takes {
    /// Codes that are good once.
    CodesAlone,
    /// Those, and tokens that last.
    Tokens,
}

/// A browser's login.
pub(crate) struct Login {
    /// Who is logged in.
    pub(crate) who: v1::Login,
    /// What its browser keeps: a token of its own, listed and revoked like any.
    pub(crate) secret: String,
}

/// Makes a token or a code into a login with the same rights.
pub(crate) async fn log_in(app: &App, text: &str, takes: Takes) -> ApiResult<Login> {
    let refused = || {
        Problem::new(401, "unauthorized", "this token or login code is not known, or was used")
            .hint("restart greenroom up for a new link, or use the token in DATA/token")
    };
    let good = |row: &TokenRow| row.role != Role::Runner && (row.once || takes == Takes::Tokens);
    let found = app.auth.token(&*app.store, text).await?;
    let Some((row, _)) = found.filter(|(row, _)| good(row)) else { return Err(refused().into()) };
    if row.once {
        // Whoever revokes it first has it: a code is good once, also in the same moment.
        if !app.store.revoke_token(row.id).await? {
            return Err(refused().into());
        }
        app.auth.revoke(row.id);
    }
    let (_, secret) = make(app, row.role, Some(row.principal.0.clone()), false).await?;
    Ok(Login {
        who: v1::Login { principal: row.principal.0, role: row.role, quotas: Vec::new() },
        secret,
    })
}
