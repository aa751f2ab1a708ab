//! Tokens of a data folder that nobody serves, kept as a coordinator would keep them.

use greenroom_core::{Principal, Timestamp, TokenId};
use greenroom_protocol::Problem;
use greenroom_protocol::token::Role;
use greenroom_protocol::v1::{NewToken, Token};
use greenroom_store::{SqliteStore, Store, TokenRow};
use sha2::{Digest, Sha256};
use uuid::Uuid;

use crate::data::{DataDir, ServerLock};
use crate::error::CliError;

/// The store of a data folder, with the right to serve it.
pub(super) struct Offline {
    store: SqliteStore,
    _lock: ServerLock,
}

/// A secret, in the form that coordinators give.
fn new_secret() -> String {
    let bytes: [u8; 32] = rand::random();
    bytes.iter().fold("grt_".to_owned(), |text, byte| format!("{text}{byte:02x}"))
}

fn view(row: &TokenRow) -> Token {
    Token {
        id: row.id,
        role: row.role,
        principal: row.principal.to_string(),
        created_at: row.created_at,
    }
}

impl Offline {
    /// Opens it; nobody serves the folder meanwhile.
    pub(super) async fn open(data: &DataDir) -> Result<Self, CliError> {
        data.make()?;
        let lock = data.serve()?;
        let store = SqliteStore::open(&data.database()).await?;
        Ok(Self { store, _lock: lock })
    }

    pub(super) async fn create(
        &self,
        role: Role,
        principal: Option<String>,
    ) -> Result<NewToken, CliError> {
        let (id, secret) = (TokenId(Uuid::now_v7()), new_secret());
        let row = TokenRow {
            id,
            hash: Sha256::digest(secret.as_bytes()).into(),
            role,
            principal: Principal(principal.unwrap_or_else(|| id.to_string())),
            // A join token is exchanged once for a runner's own credential.
            once: role == Role::Runner,
            created_at: Timestamp(jiff::Timestamp::now()),
        };
        self.store.put_token(row.clone()).await?;
        Ok(NewToken { token: view(&row), secret })
    }

    pub(super) async fn list(&self) -> Result<Vec<Token>, CliError> {
        let rows = self.store.tokens().await?;
        // What else works once is a login link, and no token to people.
        Ok(rows.iter().filter(|row| !row.once || row.role == Role::Runner).map(view).collect())
    }

    pub(super) async fn revoke(&self, id: &str) -> Result<(), CliError> {
        let known = match id.parse::<TokenId>() {
            Ok(id) => self.store.revoke_token(id).await?,
            Err(_) => false,
        };
        match known {
            true => Ok(()),
            false => {
                let problem = Problem::not_found("token", id);
                Err(greenroom_client::ClientError::Problem(Box::new(problem)).into())
            }
        }
    }

    pub(super) async fn close(self) {
        self.store.close().await;
    }
}
