//! The pure heart of Greenroom: what a session is, what may happen to it, and
//! what follows.
//!
//! Nothing in here does I/O, reads a clock, or rolls a die. Three functions carry
//! everything: [`decide`] turns a wish or a report into facts (or a refusal),
//! [`apply`] folds a fact into a [`Session`], and [`Session::status`] says how the
//! session stands. Facts *are* the session's log.
//!
//! [`converge`] is the other half: what a runner does when an [`Assignment`] meets
//! what it has on its disk. Product and model checker call the very same functions.
#![forbid(unsafe_code)]

pub mod agent;
pub mod apply;
pub mod approval;
pub mod assignment;
pub mod command;
pub mod converge;
pub mod decide;
mod disuse;
pub mod drive;
pub mod fact;
pub mod folder_path;
pub mod ids;
pub mod integer;
pub mod limits;
pub mod loop_spec;
pub mod receipt;
pub mod record;
pub mod run;
pub mod session;
pub mod settings;
pub mod source_key;
pub mod status;
pub mod value;

pub use agent::AgentSpec;
pub use apply::apply;
pub use assignment::{Assignment, Order};
pub use command::{Command, Refusal};
pub use converge::converge;
pub use decide::decide;
pub use fact::{Event, Fact};
pub use folder_path::{FolderPath, SessionWorkspace};
pub use ids::*;
pub use limits::Limits;
pub use receipt::Receipt;
pub use record::{Record, RecordBody, RunFiles};
pub use session::Session;
pub use settings::Settings;
pub use status::Status;
pub use value::{Bytes, Ms, Timestamp};
