//! Values of a node's vocabulary in files that people read: in TOML's words where it has some.

use coalmine_core::node::Data;
use serde::de::DeserializeOwned;
use serde::{Deserialize, Deserializer, Serialize, Serializer};
use serde_json::Value;

/// A piece of a node's vocabulary, as data. What TOML has no words for is JSON in a string, and so is a number that
/// JavaScript would round: half of all seeds and ids are beyond 2^53.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Piece<T>(pub T);

impl<T: Data> Serialize for Piece<T> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        piece::serialize(&self.0, serializer)
    }
}

impl<'de, T: DeserializeOwned> Deserialize<'de> for Piece<T> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        piece::deserialize(deserializer).map(Self)
    }
}

/// The same for a field that is no [`Piece`]: `#[serde(with = "piece")]`.
pub mod piece {
    use serde::{de, ser};

    use super::{
        Data, Deserialize, DeserializeOwned, Deserializer, Serialize, Serializer, Value, without_nulls,
    };

    /// As data that TOML has words for.
    pub fn serialize<T: Data, S: Serializer>(piece: &T, serializer: S) -> Result<S::Ok, S::Error> {
        let json = serde_json::to_value(piece).map_err(ser::Error::custom)?;
        let plain = without_nulls(json.clone());
        let means_the_same = is_exact(&plain)
            && toml::Value::try_from(&plain).is_ok()
            && serde_json::from_value::<T>(plain.clone()).is_ok_and(|it| it == *piece);
        if means_the_same { plain.serialize(serializer) } else { json.to_string().serialize(serializer) }
    }

    /// Whether all readers of JSON read the same: many have no numbers but those with 53 binary digits.
    fn is_exact(value: &Value) -> bool {
        const MOST: u64 = 1 << 53;
        match value {
            Value::Number(number) if number.is_f64() => true,
            Value::Number(number) => number
                .as_u64()
                .or_else(|| number.as_i64().map(i64::unsigned_abs))
                .is_some_and(|magnitude| magnitude <= MOST),
            Value::Array(items) => items.iter().all(is_exact),
            Value::Object(map) => map.values().all(is_exact),
            Value::Null | Value::Bool(_) | Value::String(_) => true,
        }
    }

    /// From data, or JSON in a string.
    pub fn deserialize<'de, T: DeserializeOwned, D: Deserializer<'de>>(
        deserializer: D,
    ) -> Result<T, D::Error> {
        let value = Value::deserialize(deserializer)?;
        let text = value.as_str().map(ToOwned::to_owned);
        let plain = serde_json::from_value(value);
        let piece = plain.or_else(|why| match text {
            Some(text) => serde_json::from_str(&text).map_err(|_| why),
            None => Err(why),
        });
        piece.map_err(de::Error::custom)
    }
}

/// The same for lists: `#[serde(with = "pieces")]`.
pub mod pieces {
    use super::{Data, Deserialize, DeserializeOwned, Deserializer, Piece, Serialize, Serializer};

    /// As data that TOML has words for.
    pub fn serialize<T: Data, S: Serializer>(all: &[T], serializer: S) -> Result<S::Ok, S::Error> {
        all.iter().cloned().map(Piece).collect::<Vec<_>>().serialize(serializer)
    }

    /// From data, or JSON in strings.
    pub fn deserialize<'de, T: DeserializeOwned, D: Deserializer<'de>>(
        deserializer: D,
    ) -> Result<Vec<T>, D::Error> {
        Ok(Vec::<Piece<T>>::deserialize(deserializer)?.into_iter().map(|Piece(it)| it).collect())
    }
}

/// TOML has no null: a missing key says the same.
pub(crate) fn without_nulls(value: Value) -> Value {
    match value {
        Value::Object(map) => {
            let kept = map.into_iter().filter(|(_, value)| !value.is_null());
            Value::Object(kept.map(|(key, value)| (key, without_nulls(value))).collect())
        }
        Value::Array(items) => Value::Array(items.into_iter().map(without_nulls).collect()),
        Value::Null | Value::Bool(_) | Value::Number(_) | Value::String(_) => value,
    }
}

#[cfg(test)]
mod tests {
    use coalmine_core::node::RequestId;

    use super::*;

    /// TOML's numbers end at half of what a client may call itself.
    #[test]
    fn the_largest_numbers_come_back() {
        #[derive(Debug, PartialEq, Serialize, Deserialize)]
        struct Asked {
            id: Piece<RequestId>,
        }
        for client in [7, u64::MAX] {
            let asked = Asked { id: Piece(RequestId { client, sequence: 1 }) };
            let text = toml::to_string(&asked).expect("every piece can be written");
            assert_eq!(toml::from_str::<Asked>(&text), Ok(asked), "{text}");
        }
    }
}
