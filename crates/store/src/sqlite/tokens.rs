//! Tokens, of which only hashes are kept.

use async_trait::async_trait;
use greenroom_core::{Principal, TokenId};
use greenroom_protocol::token::Role;
use sqlx::sqlite::SqliteRow;
use sqlx::{Row, SqlitePool};

use crate::{Result, TokenRow};

use super::fault::Do;
use super::load::{damaged, id, time};
use super::unit::Unit;
use super::writer::Work;

const INSERT: &str = "INSERT INTO token (id, hash, role, principal, once, created_at) \
    VALUES (?, ?, ?, ?, ?, ?)";
const EXISTS: &str = "SELECT 1 FROM token WHERE id = ?";
const DELETE: &str = "DELETE FROM token WHERE id = ?";
const BY_HASH: &str =
    "SELECT id, hash, role, principal, once, created_at FROM token WHERE hash = ?";
const ALL: &str =
    "SELECT id, hash, role, principal, once, created_at FROM token ORDER BY created_at, id";

fn row(row: &SqliteRow) -> Result<TokenRow> {
    let hash: &[u8] = row.try_get("hash")?;
    let role: &str = row.try_get("role")?;
    Ok(TokenRow {
        id: TokenId(id(row, "id")?),
        hash: hash.try_into().map_err(|error| damaged("a token's hash", error))?,
        role: role.parse::<Role>().map_err(|error| damaged("a token's role", error))?,
        principal: Principal(row.try_get("principal")?),
        once: row.try_get("once")?,
        created_at: time(row, "created_at")?,
    })
}

/// Keeps a token.
pub(super) struct Put(pub(super) TokenRow);

#[async_trait]
impl Work for Put {
    type Output = ();

    async fn run(self, unit: &mut Unit<'_>) -> Do<()> {
        let token = self.0;
        let writes = unit.writes.sql(INSERT).bind(token.id.0).bind(token.hash.to_vec());
        writes.bind(token.role.as_str()).bind(token.principal.0).bind(token.once);
        writes.bind(token.created_at);
        Ok(())
    }
}

/// Revokes a token. Of several who try at once, one is told that it was there.
pub(super) struct Revoke(pub(super) TokenId);

#[async_trait]
impl Work for Revoke {
    type Output = bool;

    async fn run(self, unit: &mut Unit<'_>) -> Do<bool> {
        let query = sqlx::query(EXISTS).bind(self.0.0.as_bytes().to_vec());
        let found = query.fetch_optional(unit.conn().await?).await?.is_some();
        if found {
            unit.writes.sql(DELETE).bind(self.0.0);
        }
        Ok(found)
    }
}

/// The token of a hash.
pub(super) async fn by_hash(pool: &SqlitePool, hash: [u8; 32]) -> Result<Option<TokenRow>> {
    let query = sqlx::query(BY_HASH).bind(hash.to_vec());
    query.fetch_optional(pool).await?.as_ref().map(row).transpose()
}

/// All tokens.
pub(super) async fn all(pool: &SqlitePool) -> Result<Vec<TokenRow>> {
    sqlx::query(ALL).fetch_all(pool).await?.iter().map(row).collect()
}
