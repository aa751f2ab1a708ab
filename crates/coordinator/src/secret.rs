//! Secrets: made here, kept as hashes, compared in constant time.

use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use greenroom_core::{Epoch, SessionUid};
use hmac::{Hmac, KeyInit, Mac};
use sha2::{Digest, Sha256};
use uuid::Uuid;

/// What every token begins with that is kept as a hash.
const TOKEN: &str = "grt_";
/// What the credential of a runner begins with.
const CREDENTIAL: &str = "grr_";
/// What the token of an agent begins with.
const AGENT: &str = "gra_";

/// SHA-256 of a text.
pub(crate) fn hash(text: &str) -> [u8; 32] {
    Sha256::digest(text.as_bytes()).into()
}

/// A new token.
pub(crate) fn new_token() -> String {
    random(TOKEN)
}

/// A new credential of a runner.
pub(crate) fn new_credential() -> String {
    random(CREDENTIAL)
}

/// Whether a text is in the form of a runner's credential.
pub(crate) fn is_credential(text: &str) -> bool {
    text.starts_with(CREDENTIAL)
}

fn random(prefix: &str) -> String {
    let bytes: [u8; 32] = rand::random();
    format!("{prefix}{}", URL_SAFE_NO_PAD.encode(bytes))
}

/// The token of the agent of one compute. Nothing is kept of it: it can be checked with
/// the store's secret, and is valid while that epoch is the session's live one.
pub(crate) fn agent_token(secret: &[u8; 32], uid: SessionUid, epoch: Epoch) -> String {
    let claim = claim(uid, epoch);
    let tag = mac(secret, &claim).finalize().into_bytes();
    format!("{AGENT}{}{}", URL_SAFE_NO_PAD.encode(claim), URL_SAFE_NO_PAD.encode(tag))
}

/// Whose a token of an agent is, if it is one and was made here.
pub(crate) fn read_agent_token(secret: &[u8; 32], text: &str) -> Option<(SessionUid, Epoch)> {
    let body = text.strip_prefix(AGENT)?;
    // 20 bytes of claim are 27 characters.
    let (claim, tag) = body.split_at_checked(27)?;
    let claim = URL_SAFE_NO_PAD.decode(claim).ok()?;
    let tag = URL_SAFE_NO_PAD.decode(tag).ok()?;
    mac(secret, &claim).verify_slice(&tag).ok()?;
    let (uid, epoch) = claim.split_at_checked(16)?;
    let uid = SessionUid(Uuid::from_slice(uid).ok()?);
    Some((uid, Epoch(u32::from_be_bytes(epoch.try_into().ok()?))))
}

fn claim(uid: SessionUid, epoch: Epoch) -> Vec<u8> {
    let mut claim = uid.0.as_bytes().to_vec();
    claim.extend_from_slice(&epoch.0.to_be_bytes());
    claim
}

fn mac(secret: &[u8; 32], claim: &[u8]) -> Hmac<Sha256> {
    match <Hmac<Sha256> as KeyInit>::new_from_slice(secret) {
        Ok(mac) => mac.chain_update(b"agent").chain_update(claim),
        Err(_) => unreachable!("HMAC takes keys of any length"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn tokens_of_agents_read_back_and_cannot_be_made_up() {
        let (secret, uid) = ([7; 32], SessionUid(Uuid::now_v7()));
        let token = agent_token(&secret, uid, Epoch(3));
        assert_eq!(read_agent_token(&secret, &token), Some((uid, Epoch(3))));
        assert_eq!(read_agent_token(&[8; 32], &token), None);
        for cut in 0..token.len() {
            assert_eq!(read_agent_token(&secret, &token[..cut]), None);
        }
        assert_eq!(read_agent_token(&secret, "gra_ä"), None);
    }
}
