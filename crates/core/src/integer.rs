//! Reading whole numbers as JSON Schema means them: `30.0` is the integer 30.

use std::fmt;
use std::marker::PhantomData;

use serde::Deserializer;
use serde::de::{Error, Unexpected, Visitor};

/// Past this a double no longer holds every integer, so that its value is a guess.
const EXACT: f64 = 9_007_199_254_740_992.0;

/// A whole number that is not negative and fits `T`.
pub fn whole<'de, D, T>(from: D) -> Result<T, D::Error>
where
    D: Deserializer<'de>,
    T: TryFrom<u64>,
{
    struct Whole<T>(PhantomData<T>);

    impl<T: TryFrom<u64>> Visitor<'_> for Whole<T> {
        type Value = T;

        fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
            f.write_str("a whole number that is not negative")
        }

        fn visit_u64<E: Error>(self, n: u64) -> Result<T, E> {
            T::try_from(n).map_err(|_| E::custom(format!("{n} is too large")))
        }

        fn visit_i64<E: Error>(self, n: i64) -> Result<T, E> {
            match u64::try_from(n) {
                Ok(n) => self.visit_u64(n),
                Err(_) => Err(E::invalid_value(Unexpected::Signed(n), &self)),
            }
        }

        #[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "checked")]
        fn visit_f64<E: Error>(self, n: f64) -> Result<T, E> {
            if n.fract() == 0.0 && (0.0..=EXACT).contains(&n) {
                self.visit_u64(n as u64)
            } else {
                Err(E::invalid_value(Unexpected::Float(n), &self))
            }
        }
    }

    from.deserialize_any(Whole(PhantomData))
}

/// The same for a field that may be absent or null.
pub fn optional<'de, D, T>(from: D) -> Result<Option<T>, D::Error>
where
    D: Deserializer<'de>,
    T: TryFrom<u64>,
{
    struct Field<T>(T);

    impl<'de, T: TryFrom<u64>> serde::Deserialize<'de> for Field<T> {
        fn deserialize<D: Deserializer<'de>>(from: D) -> Result<Self, D::Error> {
            whole(from).map(Self)
        }
    }

    let field = <Option<Field<T>> as serde::Deserialize>::deserialize(from)?;
    Ok(field.map(|Field(n)| n))
}
