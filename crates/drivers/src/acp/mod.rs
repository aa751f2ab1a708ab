//! Agents that speak the Agent Client Protocol.

use greenroom_core::agent::AcpSpec;
use greenroom_core::drive::Open;

use crate::Failure;
use crate::shim::{Shim, Wishes};

/// Drives one.
pub async fn drive(
    _shim: Shim,
    _wishes: Wishes,
    _open: Open,
    _spec: AcpSpec,
) -> Result<(), Failure> {
    Err(Failure::new("start_error", "driver \"acp\" is not supported by this build"))
}
