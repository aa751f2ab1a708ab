//! HTTP clients of this process.

use std::sync::Once;
use std::time::Duration;

/// A client. `shape` says what is special about it.
pub fn client(
    shape: impl FnOnce(reqwest::ClientBuilder) -> reqwest::ClientBuilder,
) -> Result<reqwest::Client, String> {
    static TLS: Once = Once::new();
    TLS.call_once(|| {
        // An error says that the program has chosen already.
        let _ = rustls::crypto::ring::default_provider().install_default();
    });
    let builder = reqwest::Client::builder()
        .user_agent(concat!("greenroom/", env!("CARGO_PKG_VERSION")))
        .connect_timeout(Duration::from_secs(10));
    shape(builder).build().map_err(|error| format!("no HTTP client can be made: {error}"))
}

/// An error with what is behind it.
pub fn causes(error: &dyn std::error::Error) -> String {
    let mut text = error.to_string();
    let mut next = error.source();
    while let Some(cause) = next {
        text = format!("{text}: {cause}");
        next = cause.source();
    }
    text
}
