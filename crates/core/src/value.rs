//! Durations, sizes and times as people write them and as JSON carries them.

use std::fmt;
use std::str::FromStr;
use std::time::Duration;

use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use crate::integer;

/// A moment on some machine's wall clock, in RFC 3339 UTC. It is for people:
/// nothing is ordered or timed by it.
#[derive(
    Debug,
    Clone,
    Copy,
    Default,
    PartialEq,
    Eq,
    PartialOrd,
    Ord,
    Hash,
    Serialize,
    Deserialize,
    ToSchema,
)]
#[serde(transparent)]
#[schema(value_type = String, format = DateTime)]
pub struct Timestamp(pub jiff::Timestamp);

impl Timestamp {
    /// From milliseconds since 1970. What no calendar has becomes 1970.
    pub fn from_unix_ms(ms: i64) -> Self {
        Self(jiff::Timestamp::from_millisecond(ms).unwrap_or(jiff::Timestamp::UNIX_EPOCH))
    }

    /// Milliseconds since 1970.
    pub fn unix_ms(self) -> i64 {
        self.0.as_millisecond()
    }
}

impl fmt::Display for Timestamp {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

/// A value that does not read as a duration or a size.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{value:?} is not a {what}: write it like {examples}")]
pub struct BadValue {
    what: &'static str,
    value: String,
    examples: &'static str,
}

fn split_number(s: &str) -> Option<(u64, &str)> {
    let digits = s.bytes().take_while(u8::is_ascii_digit).count();
    let (number, unit) = s.split_at(digits);
    Some((number.parse().ok()?, unit))
}

/// A span of time in milliseconds. Text: `500ms`, `30s`, `15m`, `1h`, `30d`.
/// JSON: an integer, in fields that end in `_ms`.
#[derive(
    Debug,
    Clone,
    Copy,
    Default,
    PartialEq,
    Eq,
    PartialOrd,
    Ord,
    Hash,
    Serialize,
    Deserialize,
    ToSchema,
)]
#[serde(transparent)]
#[schema(value_type = u64)]
pub struct Ms(#[serde(deserialize_with = "integer::whole")] pub u64);

const TIME_UNITS: [(&str, u64); 5] =
    [("d", 86_400_000), ("h", 3_600_000), ("m", 60_000), ("s", 1_000), ("ms", 1)];

impl Ms {
    /// The longest span anything may be given: ten years.
    pub const MAX: Ms = Ms(315_360_000_000);

    /// Whole seconds as a span.
    pub const fn secs(n: u64) -> Self {
        Self(n * 1000)
    }
}

impl From<Ms> for Duration {
    fn from(ms: Ms) -> Self {
        Duration::from_millis(ms.0)
    }
}

impl FromStr for Ms {
    type Err = BadValue;
    fn from_str(s: &str) -> Result<Self, BadValue> {
        let read = || {
            let (n, unit) = split_number(s)?;
            let (_, factor) = TIME_UNITS.iter().find(|(u, _)| *u == unit)?;
            n.checked_mul(*factor).map(Ms).filter(|ms| *ms <= Ms::MAX)
        };
        read().ok_or_else(|| BadValue {
            what: "duration (ten years at most)",
            value: s.chars().take(40).collect(),
            examples: "500ms, 30s, 15m, 1h or 30d",
        })
    }
}

impl fmt::Display for Ms {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let exact =
            TIME_UNITS.iter().find(|(_, factor)| self.0.is_multiple_of(*factor) && self.0 > 0);
        let (unit, factor) = exact.unwrap_or(&("s", 1000));
        write!(f, "{}{unit}", self.0 / factor)
    }
}

/// A number of bytes. Text: `512`, `64KiB`, `512MiB`, `2GiB`, and the decimal
/// `kB`, `MB`, `GB`. JSON: an integer.
#[derive(
    Debug,
    Clone,
    Copy,
    Default,
    PartialEq,
    Eq,
    PartialOrd,
    Ord,
    Hash,
    Serialize,
    Deserialize,
    ToSchema,
)]
#[serde(transparent)]
#[schema(value_type = u64)]
pub struct Bytes(#[serde(deserialize_with = "integer::whole")] pub u64);

const SIZE_UNITS: [(&str, u64); 11] = [
    ("TiB", 1 << 40),
    ("GiB", 1 << 30),
    ("MiB", 1 << 20),
    ("KiB", 1 << 10),
    ("TB", 1_000_000_000_000),
    ("GB", 1_000_000_000),
    ("MB", 1_000_000),
    ("kB", 1_000),
    ("KB", 1_000),
    ("B", 1),
    ("", 1),
];

impl FromStr for Bytes {
    type Err = BadValue;
    fn from_str(s: &str) -> Result<Self, BadValue> {
        let read = || {
            let (n, unit) = split_number(s)?;
            let (_, factor) = SIZE_UNITS.iter().find(|(u, _)| *u == unit)?;
            n.checked_mul(*factor).map(Bytes)
        };
        read().ok_or_else(|| BadValue {
            what: "size",
            value: s.chars().take(40).collect(),
            examples: "64KiB, 512MiB or 2GiB",
        })
    }
}

impl fmt::Display for Bytes {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let exact =
            SIZE_UNITS.iter().find(|(_, factor)| self.0.is_multiple_of(*factor) && self.0 > 0);
        let (unit, factor) = exact.unwrap_or(&("B", 1));
        write!(f, "{}{unit}", self.0 / factor)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn durations_read_and_print() {
        for (text, ms) in [("500ms", 500), ("30s", 30_000), ("15m", 900_000), ("1h", 3_600_000)] {
            assert_eq!(text.parse::<Ms>(), Ok(Ms(ms)));
            assert_eq!(Ms(ms).to_string(), text);
        }
        for bad in ["", "s", "5", "-1s", "1.5h", "5 s", "99999999999999999999s", "4000000d"] {
            assert!(bad.parse::<Ms>().is_err(), "{bad}");
        }
    }

    #[test]
    fn a_whole_number_may_be_written_as_a_float() {
        for (text, ms) in [("30", 30), ("30.0", 30), ("3e1", 30), ("-0.0", 0)] {
            assert_eq!(serde_json::from_str::<Ms>(text).ok(), Some(Ms(ms)), "{text}");
        }
        for bad in ["30.5", "-1", "-1.0", "1e300", "\"30\"", "null", "true"] {
            assert!(serde_json::from_str::<Ms>(bad).is_err(), "{bad}");
        }
        let max = u64::MAX.to_string();
        assert_eq!(serde_json::from_str::<Bytes>(&max).ok(), Some(Bytes(u64::MAX)));
    }

    #[test]
    fn sizes_read_and_print() {
        for (text, n) in [("64KiB", 65536), ("512MiB", 512 << 20), ("1kB", 1000)] {
            assert_eq!(text.parse::<Bytes>(), Ok(Bytes(n)));
            assert_eq!(Bytes(n).to_string(), text);
        }
        assert!("5 GB".parse::<Bytes>().is_err());
    }
}
