//! What the same work costs without Greenroom, measured in the same run.

pub(crate) mod batches;
pub(crate) mod commit;
pub(crate) mod group;
pub(crate) mod http;
pub(crate) mod spawn;
