//! A registry: the description is the only layer of an artifact.

use std::path::PathBuf;
use std::time::Duration;

use async_trait::async_trait;
use futures::StreamExt;
use greenroom_store::SourceCopy;
use oci_client::client::{ClientConfig, ClientProtocol};
use oci_client::secrets::RegistryAuth;
use oci_client::{Client, Reference};

use super::agent_file::MAX_BYTES;
use super::{Content, Document, Reading, Source};

/// Time to reach a registry.
const CONNECT: Duration = Duration::from_secs(5);
/// Time for everything.
const TOTAL: Duration = Duration::from_secs(20);

/// An image of a registry.
pub(super) struct Oci<'a> {
    pub(super) image: &'a str,
    pub(super) source: &'a str,
    /// File with what the registry is sent: `user:password`, or a token.
    pub(super) secret: Option<PathBuf>,
}

/// The registry of an image, where it is one.
pub(super) fn registry(image: &str) -> Result<String, String> {
    let image: Reference =
        image.parse().map_err(|error| format!("it is no reference of an image: {error}"))?;
    Ok(image.resolve_registry().to_owned())
}

#[async_trait]
impl Source for Oci<'_> {
    async fn read(&self, known: Option<&SourceCopy>) -> Result<Reading, String> {
        match tokio::time::timeout(TOTAL, self.pull(known)).await {
            Ok(read) => read,
            Err(_) => Err(format!("no whole answer within {} s", TOTAL.as_secs())),
        }
    }
}

impl Oci<'_> {
    async fn pull(&self, known: Option<&SourceCopy>) -> Result<Reading, String> {
        let image: Reference = self.image.parse().map_err(|error| format!("{error}"))?;
        // What is named by its digest can never be anything else.
        if image.digest().is_some() && known.is_some() {
            return Ok(Reading::Same);
        }
        let auth = self.auth()?;
        let client = client(image.resolve_registry())?;
        let digest = client.fetch_manifest_digest(&image, &auth).await;
        let digest = digest.map_err(|error| error.to_string())?;
        if known.is_some_and(|copy| copy.tag.as_ref() == Some(&digest)) {
            return Ok(Reading::Same);
        }
        // By the digest, so that what is kept is what was asked for, whatever the tag says now.
        let image = image.clone_with_digest(digest.clone());
        let (manifest, _) =
            client.pull_image_manifest(&image, &auth).await.map_err(|error| error.to_string())?;
        let [layer] = manifest.layers.as_slice() else {
            let count = manifest.layers.len();
            return Err(format!("it has {count} layers: an agent is one, its file as it is"));
        };
        let blob = client.pull_blob_stream(&image, layer).await;
        let mut blob = blob.map_err(|error| error.to_string())?.stream;
        let mut bytes = Vec::new();
        while let Some(chunk) = blob.next().await {
            let chunk = chunk.map_err(|error| error.to_string())?;
            if bytes.len() + chunk.len() > MAX_BYTES {
                return Err("an agent file has 1 MiB at most".to_owned());
            }
            bytes.extend_from_slice(&chunk);
        }
        let text = String::from_utf8(bytes).map_err(|_| "it is not UTF-8 text".to_owned())?;
        Ok(Reading::Documents(vec![Document {
            source: self.source.to_owned(),
            name: self.source.to_owned(),
            content: Ok(Content::Text(text)),
            tag: Some(digest),
        }]))
    }

    fn auth(&self) -> Result<RegistryAuth, String> {
        let Some(file) = &self.secret else { return Ok(RegistryAuth::Anonymous) };
        let secret = std::fs::read_to_string(file)
            .map_err(|error| format!("what the registry is sent cannot be read: {error}"))?;
        Ok(match secret.trim().split_once(':') {
            Some((user, password)) => RegistryAuth::Basic(user.to_owned(), password.to_owned()),
            None => RegistryAuth::Bearer(secret.trim().to_owned()),
        })
    }
}

/// A client that speaks `http:` with this machine only.
fn client(registry: &str) -> Result<Client, String> {
    super::fetch::choose_tls();
    let host = registry.rsplit_once(':').map_or(registry, |(host, _)| host);
    let ip = host.trim_matches(['[', ']']).parse::<std::net::IpAddr>();
    let near = host == "localhost" || ip.is_ok_and(|ip| ip.is_loopback());
    let protocol = match near {
        true => ClientProtocol::HttpsExcept(vec![registry.to_owned()]),
        false => ClientProtocol::Https,
    };
    let config = ClientConfig {
        protocol,
        connect_timeout: Some(CONNECT),
        read_timeout: Some(TOTAL),
        user_agent: concat!("greenroom/", env!("CARGO_PKG_VERSION")),
        ..ClientConfig::default()
    };
    Client::try_from(config).map_err(|error| error.to_string())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn registries_are_named_or_implied() {
        assert_eq!(registry("localhost:5000/a:v1").as_deref(), Ok("localhost:5000"));
        assert_eq!(registry("ghcr.io/org/a@sha256:0").ok(), None);
        assert_eq!(registry("ghcr.io/org/a").as_deref(), Ok("ghcr.io"));
        assert!(registry("").is_err() && registry("ex.com/UPPER").is_err());
    }

    #[test]
    fn secrets_are_a_user_and_password_or_a_token() {
        let folder = tempfile::tempdir().expect("a folder");
        let file = folder.path().join("s");
        let auth = |text: &str| {
            std::fs::write(&file, text).expect("written");
            let oci = Oci { image: "x", source: "oci:x", secret: Some(file.clone()) };
            oci.auth().expect("reads")
        };
        assert_eq!(auth("u:p:q\n"), RegistryAuth::Basic("u".into(), "p:q".into()));
        assert_eq!(auth("t0k3n\n"), RegistryAuth::Bearer("t0k3n".into()));
        let oci = Oci { image: "x", source: "oci:x", secret: None };
        assert_eq!(oci.auth(), Ok(RegistryAuth::Anonymous));
    }
}
