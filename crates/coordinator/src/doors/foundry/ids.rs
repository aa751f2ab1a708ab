//! Ids that say of which session something is, so that whoever asks for it later need not.

use greenroom_core::SessionUid;
use rand::RngExt;
use uuid::Uuid;

const LETTERS: &[u8; 62] = b"0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz";
/// So many letters hold a uid.
const UID: usize = 22;
/// The part of an id that says what belongs together, and the part that makes it its own.
const PARTITION: usize = 18;
const ENTROPY: usize = 32;

fn chance(length: usize) -> String {
    let mut rng = rand::rng();
    (0..length).map(|_| LETTERS[rng.random_range(0..LETTERS.len())] as char).collect()
}

fn written(uid: SessionUid) -> String {
    let mut left = uid.0.as_u128();
    let mut digits = [b'0'; UID];
    for digit in digits.iter_mut().rev() {
        *digit = LETTERS[(left % 62) as usize];
        left /= 62;
    }
    digits.iter().map(|digit| *digit as char).collect()
}

fn read(text: &str) -> Option<SessionUid> {
    let digits = text.as_bytes().get(..UID)?;
    let number = digits.iter().try_fold(0u128, |number, letter| {
        let digit = LETTERS.iter().position(|known| known == letter)?;
        number.checked_mul(62)?.checked_add(digit as u128)
    })?;
    Some(SessionUid(Uuid::from_u128(number)))
}

/// The part of an id that says what belongs together, of an id that has one.
fn partition(of: Option<&str>) -> Option<String> {
    let (_, body) = of?.split_once('_')?;
    let whole = body.len() == PARTITION + ENTROPY && body.is_ascii();
    whole.then(|| body[..PARTITION].to_owned())
}

/// An id of this kind, of no session yet.
pub(super) fn fresh(kind: &str) -> String {
    format!("{kind}_{}{}", new_partition(), chance(ENTROPY))
}

fn new_partition() -> String {
    let bytes: [u8; 8] = rand::rng().random();
    let hex: String = bytes.iter().map(|byte| format!("{byte:02x}")).collect();
    format!("{hex}00")
}

/// A response of this session; `near` is what it belongs to.
pub(super) fn response(uid: SessionUid, near: Option<&str>) -> String {
    let partition = partition(near).unwrap_or_else(new_partition);
    format!("caresp_{partition}{}{}", written(uid), chance(ENTROPY - UID))
}

/// Of which session a response is.
pub(super) fn of_response(id: &str) -> Option<SessionUid> {
    let body = id.strip_prefix("caresp_")?;
    read(body.get(PARTITION..)?)
}

/// An invocation of this session.
pub(super) fn invocation(uid: SessionUid) -> String {
    format!("inv_{}{}", written(uid), chance(10))
}

/// Of which session an invocation is.
pub(super) fn of_invocation(id: &str) -> Option<SessionUid> {
    read(id.strip_prefix("inv_")?)
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    proptest! {
        #[test]
        fn an_id_says_its_session(number: u128, text in "\\PC{0,80}") {
            let uid = SessionUid(Uuid::from_u128(number));
            let first = response(uid, None);
            prop_assert_eq!(of_response(&first), Some(uid));
            prop_assert_eq!(first.len(), "caresp_".len() + PARTITION + ENTROPY);
            prop_assert!(first["caresp_".len()..].bytes().all(|b| b.is_ascii_alphanumeric()));
            let next = response(uid, Some(&first));
            prop_assert_eq!(&next[..25], &first[..25], "they belong together");
            prop_assert_ne!(&next, &first);
            prop_assert_eq!(of_invocation(&invocation(uid)), Some(uid));
            // What somebody makes up is read, or not, and breaks nothing.
            let _ = (of_response(&text), of_invocation(&text), response(uid, Some(&text)));
            let _ = (of_response(&format!("caresp_{text}")), of_invocation(&format!("inv_{text}")));
        }
    }
}
