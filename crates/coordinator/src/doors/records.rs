//! What a door keeps for itself, typed.

use greenroom_protocol::Problem;
use greenroom_store::DoorKey;
use serde::Serialize;
use serde::de::DeserializeOwned;

use crate::app::App;
use crate::doors::Door;
use crate::error::ApiResult;

/// Records of one kind.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Records {
    door: Door,
    kind: &'static str,
}

impl Records {
    /// Those of a door, of this kind.
    pub(crate) const fn of(door: Door, kind: &'static str) -> Self {
        Self { door, kind }
    }

    fn key(self, id: &str) -> DoorKey {
        DoorKey { door: self.door.as_str(), kind: self.kind, id: id.to_owned() }
    }

    /// Keeps one, in the place of an earlier one.
    pub(crate) async fn put<T: Serialize>(self, app: &App, id: &str, body: &T) -> ApiResult<()> {
        self.keep(app, id, body, false).await?;
        Ok(())
    }

    /// Keeps one where there is none of this name. Answers whether it did.
    pub(crate) async fn add<T: Serialize>(self, app: &App, id: &str, body: &T) -> ApiResult<bool> {
        self.keep(app, id, body, true).await
    }

    async fn keep<T: Serialize>(self, app: &App, id: &str, body: &T, new: bool) -> ApiResult<bool> {
        let body = serde_json::to_string(body).map_err(|error| self.broken(id, &error))?;
        Ok(app.store.put_door_record(self.key(id), body, app.clock.wall(), new).await?)
    }

    /// The one of this name.
    pub(crate) async fn get<T: DeserializeOwned>(
        self,
        app: &App,
        id: &str,
    ) -> ApiResult<Option<T>> {
        let Some(record) = app.store.door_record(&self.key(id)).await? else { return Ok(None) };
        Ok(Some(serde_json::from_str(&record.body).map_err(|error| self.broken(id, &error))?))
    }

    /// All of them, oldest first, with their names.
    pub(crate) async fn all<T: DeserializeOwned>(self, app: &App) -> ApiResult<Vec<(String, T)>> {
        let records = app.store.door_records(self.door.as_str(), self.kind).await?;
        let read = |record: greenroom_store::DoorRecord| {
            let body = serde_json::from_str(&record.body)
                .map_err(|error| self.broken(&record.id, &error))?;
            Ok((record.id, body))
        };
        records.into_iter().map(read).collect()
    }

    /// Removes one. Answers whether it was there.
    pub(crate) async fn remove(self, app: &App, id: &str) -> ApiResult<bool> {
        Ok(app.store.remove_door_record(self.key(id)).await?)
    }

    fn broken(self, id: &str, error: &serde_json::Error) -> Problem {
        let detail = format!(
            "the {} {id:?} of the door {} cannot be kept or read: {error}",
            self.kind,
            self.door.as_str()
        );
        Problem::new(500, "record_broken", detail)
    }
}
