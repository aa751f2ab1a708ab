//! Tokens.

use greenroom_protocol::v1::{CreateToken, Login, NewToken, Token};
use reqwest::Method;

use crate::http::{Answer, Call, Listing};
use crate::route::Route;
use crate::{Client, ClientError};

impl Client {
    /// For whom the client's own token speaks, and with which rights.
    pub async fn who(&self) -> Result<Answer<Login>, ClientError> {
        self.get(Route::to("v1/login")).await
    }

    /// All tokens, without their secrets.
    pub async fn tokens(&self) -> Result<Listing<Token>, ClientError> {
        self.list(Route::to("v1/tokens")).await
    }

    /// Makes a token. Its secret is said once, here.
    pub async fn create_token(&self, token: &CreateToken) -> Result<Answer<NewToken>, ClientError> {
        // Without a key: an answer with a secret is not one to keep for repetition.
        self.call(Method::POST, Route::to("v1/tokens"), Call::json(token)).await
    }

    /// Revokes a token.
    pub async fn revoke_token(&self, id: &str) -> Result<(), ClientError> {
        let route = Route::to("v1/tokens").name("token", id)?;
        self.call_plain(Method::DELETE, route, Call::default()).await.map(drop)
    }
}
