//! Reads a value from a file that also holds other people's keys.
//!
//! A node's file has a part that all services share and a part of the service's own, side by side. Each is read from
//! the whole text with the other's keys left out, so that an error still names its line; `serde(flatten)` would
//! forget where everything was. A key that is nobody's is refused, whatever the type says about it.

use std::cell::Cell;
use std::fmt;
use std::marker::PhantomData;

use serde::Deserialize;
use serde::de::value::StringDeserializer;
use serde::de::{DeserializeSeed, Deserializer, Error, IgnoredAny, IntoDeserializer, MapAccess, Visitor};
use serde::forward_to_deserialize_any;

/// The keys that a type has fields for.
pub type Fields = &'static [&'static str];

/// What is to be read from a map of which some keys are others'. It may claim such a key by having a field of that
/// name; which fields it has is given back with it.
#[derive(Debug)]
pub struct OwnPart<T> {
    /// The keys that are others'.
    pub others: Fields,
    /// What is read.
    pub what: PhantomData<T>,
}

impl<'de, T: Deserialize<'de>> DeserializeSeed<'de> for OwnPart<T> {
    type Value = (T, Fields);

    fn deserialize<D: Deserializer<'de>>(self, inner: D) -> Result<(T, Fields), D::Error> {
        let fields = Cell::default();
        let own = T::deserialize(Own { inner, others: self.others, fields: &fields })?;
        Ok((own, fields.get()))
    }
}

struct Own<'a, D> {
    inner: D,
    others: Fields,
    fields: &'a Cell<Fields>,
}

impl<'de, D: Deserializer<'de>> Own<'_, D> {
    fn read<V: Visitor<'de>>(self, fields: Option<Fields>, visitor: V) -> Result<V::Value, D::Error> {
        self.fields.set(fields.unwrap_or_default());
        self.inner.deserialize_map(Entries { visitor, others: self.others, fields })
    }
}

impl<'de, D: Deserializer<'de>> Deserializer<'de> for Own<'_, D> {
    type Error = D::Error;

    fn deserialize_any<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, D::Error> {
        self.read(None, visitor)
    }

    fn deserialize_struct<V: Visitor<'de>>(
        self,
        _name: &'static str,
        fields: Fields,
        visitor: V,
    ) -> Result<V::Value, D::Error> {
        self.read(Some(fields), visitor)
    }

    /// Nothing: there must be no keys but the others'.
    fn deserialize_unit<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, D::Error> {
        self.read(Some(&[]), NoKeys(PhantomData::<V::Value>))?;
        visitor.visit_unit()
    }

    fn deserialize_newtype_struct<V: Visitor<'de>>(
        self,
        _name: &'static str,
        visitor: V,
    ) -> Result<V::Value, D::Error> {
        visitor.visit_newtype_struct(self)
    }

    forward_to_deserialize_any! {
        bool i8 i16 i32 i64 i128 u8 u16 u32 u64 u128 f32 f64 char str string bytes byte_buf option unit_struct
        seq tuple tuple_struct map enum identifier ignored_any
    }
}

/// Looks at every key and keeps none.
struct NoKeys<T>(PhantomData<T>);

impl<'de, T> Visitor<'de> for NoKeys<T> {
    type Value = ();

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a table")
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<(), A::Error> {
        while map.next_entry::<IgnoredAny, IgnoredAny>()?.is_some() {}
        Ok(())
    }
}

struct Entries<T> {
    visitor: T,
    others: Fields,
    fields: Option<Fields>,
}

impl<'de, V: Visitor<'de>> Visitor<'de> for Entries<V> {
    type Value = V::Value;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.visitor.expecting(f)
    }

    fn visit_map<A: MapAccess<'de>>(self, map: A) -> Result<V::Value, A::Error> {
        let Self { visitor, others, fields } = self;
        visitor.visit_map(Entries { visitor: map, others, fields })
    }
}

impl<'de, A: MapAccess<'de>> MapAccess<'de> for Entries<A> {
    type Error = A::Error;

    fn next_key_seed<K: DeserializeSeed<'de>>(&mut self, seed: K) -> Result<Option<K::Value>, A::Error> {
        let mut seed = Some(seed);
        loop {
            let key = Key { seed: &mut seed, others: self.others, fields: self.fields };
            match self.visitor.next_key_seed(key)? {
                Some(Some(own)) => return Ok(Some(own)),
                None => return Ok(None),
                Some(None) => {
                    self.visitor.next_value::<IgnoredAny>()?;
                }
            }
        }
    }

    fn next_value_seed<T: DeserializeSeed<'de>>(&mut self, seed: T) -> Result<T::Value, A::Error> {
        self.visitor.next_value_seed(seed)
    }
}

/// A key: `None` if it is another's.
struct Key<'a, K> {
    seed: &'a mut Option<K>,
    others: Fields,
    fields: Option<Fields>,
}

impl<'de, K: DeserializeSeed<'de>> DeserializeSeed<'de> for Key<'_, K> {
    type Value = Option<K::Value>;

    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<Self::Value, D::Error> {
        let key = String::deserialize(deserializer)?;
        let is_own = self.fields.is_some_and(|fields| fields.contains(&key.as_str()));
        if !is_own && self.others.contains(&key.as_str()) {
            return Ok(None);
        }
        if let Some(fields) = self.fields.filter(|_| !is_own) {
            let known: Vec<_> = self.others.iter().chain(fields).map(|known| format!("`{known}`")).collect();
            return Err(Error::custom(format!(
                "unknown field `{key}`, expected one of {}",
                known.join(", ")
            )));
        }
        let Some(seed) = self.seed.take() else { return Ok(None) };
        let key: StringDeserializer<D::Error> = key.into_deserializer();
        seed.deserialize(key).map(Some)
    }
}
