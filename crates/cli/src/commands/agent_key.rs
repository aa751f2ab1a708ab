//! `greenroom agents key`.

use std::ffi::OsString;
use std::os::unix::ffi::OsStrExt;

use greenroom_coordinator::sources::keys;
use greenroom_core::source_key;
use serde_json::json;

use crate::context::Context;
use crate::error::{CliError, Code};

#[derive(Debug, clap::Args)]
pub(crate) struct Args {
    /// A URL, a file, an OCI reference or a name; with --received, a key
    #[arg(value_name = "REF")]
    reference: OsString,
    /// Take REF as a key that a client has sent
    #[arg(long)]
    received: bool,
}

/// Both values are raw: what a URL says of user and password is shown.
pub(crate) fn run(context: &Context, args: &Args) -> Result<Code, CliError> {
    let reference = args.reference.as_bytes();
    let (key, stable) = match args.received {
        true => (reference.to_vec(), source_key::stable(reference)),
        false => keys::of(reference),
    };
    let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
    context.ui.line(json!({"key": text(&key), "stable": text(&stable)}).to_string())?;
    Ok(Code::Done)
}
