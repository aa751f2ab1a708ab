//! Coding agents with a command line and no protocol of their own: known flags, known
//! streams.

use greenroom_core::agent::PresetSpec;
use greenroom_core::drive::Open;

use crate::Failure;
use crate::shim::{Shim, Wishes};

/// Drives one.
pub async fn drive(
    _shim: Shim,
    _wishes: Wishes,
    _open: Open,
    spec: PresetSpec,
) -> Result<(), Failure> {
    let text = format!("preset {} is not supported by this build", spec.preset.as_str());
    Err(Failure::new("start_error", text))
}
