//! The loop against a stub of ours that says every byte itself.

mod approvals;
mod children;
mod context;
mod faults;
mod fixture;
mod fold;
mod mcp;
mod settings;
mod stub;
mod tools;
mod turns;
mod wire;
