//! The typed client of Greenroom's API: plain calls, the live log of a session, and the
//! text that comes out of it, each byte once.
//!
//! [`Client`] is cheap to clone. Every call answers an [`Answer`], which is the typed body
//! together with the body as it was sent, so that a program can pass on exactly what the
//! API says.
#![forbid(unsafe_code)]

mod api;
mod error;
mod follow;
mod http;
mod route;
mod sse;
mod text;

pub use api::{
    AgentAnswer, AgentRequest, Bytes, Deletion, FileBody, Moment, SessionFilter, StopOutcome,
    Upload,
};
pub use error::ClientError;
pub use follow::{Delta, Follow, Live};
pub use http::{Answer, Client, Listing, Secret};
pub use route::not_found;
pub use sse::{Frame, SseParser};
pub use text::Transcript;
