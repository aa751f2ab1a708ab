//! A past moment of a session, as it is named on the command line.

use greenroom_client::Moment;
use greenroom_core::Seq;

/// The files as they were, where the session works in a git repository
#[derive(Debug, Clone, Default, clap::Args)]
#[group(skip)]
pub(crate) struct At {
    /// As it was at the end of this run
    #[arg(long, value_name = "RUN")]
    run: Option<String>,
    /// As it was by this entry of the log: at the end of the last run that had ended
    #[arg(long, value_name = "SEQ", conflicts_with = "run")]
    seq: Option<Seq>,
}

impl From<At> for Moment {
    fn from(At { run, seq }: At) -> Self {
        Self { run, seq }
    }
}
