//! The names of an enum's variants: `derive(Deserialize)` hands them to the deserialiser before it asks for a
//! value. This one notes them, and then has no value. An enum that is told apart by a field, such as `type`, names
//! the field when it is missing, and the variants when the field names none of them.
//!
//! serde knows them as `rename_all` writes them, in snake case or in capitals; here they are as Rust writes them,
//! which is what a [variant's name](coalmine_core::node::variant_name) is.

use std::fmt::{self, Display};

use serde::de::value::MapDeserializer;
use serde::de::{DeserializeOwned, Deserializer, Error, Visitor};
use serde::forward_to_deserialize_any;

/// The names; none for what is no enum.
pub fn of<T: DeserializeOwned>() -> Vec<String> {
    let noted = match T::deserialize(Names { tag: None }) {
        Err(Noted { tag: Some(tag), .. }) => T::deserialize(Names { tag: Some(tag) }).err(),
        Err(noted) => Some(noted),
        Ok(_) => None,
    };
    noted.map_or_else(Vec::new, |noted| noted.names.iter().map(|name| rust_name(name)).collect())
}

/// A variant's name as Rust writes it: `PREPARE_REQ` and `prepare_req` are `PrepareReq`.
fn rust_name(name: &str) -> String {
    let capitals = !name.contains(char::is_lowercase);
    let word = |word: &str| {
        let mut letters = word.chars();
        let first = letters.next().into_iter().flat_map(char::to_uppercase);
        let rest = letters.as_str();
        first.chain(if capitals { rest.to_lowercase() } else { rest.to_owned() }.chars()).collect::<String>()
    };
    name.split(['_', '-']).map(word).collect()
}

/// Has no value, or one field with nobody's name.
struct Names {
    tag: Option<&'static str>,
}

/// The error that ends it all.
#[derive(Debug, Default)]
struct Noted {
    names: &'static [&'static str],
    tag: Option<&'static str>,
}

impl Display for Noted {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{self:?}")
    }
}

impl std::error::Error for Noted {}

impl Error for Noted {
    fn custom<T: Display>(_: T) -> Self {
        Self::default()
    }

    fn missing_field(field: &'static str) -> Self {
        Self { tag: Some(field), ..Self::default() }
    }

    fn unknown_variant(_: &str, names: &'static [&'static str]) -> Self {
        Self { names, ..Self::default() }
    }
}

impl<'de> Deserializer<'de> for Names {
    type Error = Noted;

    fn deserialize_enum<V: Visitor<'de>>(
        self,
        _name: &'static str,
        variants: &'static [&'static str],
        _visitor: V,
    ) -> Result<V::Value, Noted> {
        Err(Noted { names: variants, tag: None })
    }

    /// What asks for anything is an enum that is told apart by a field.
    fn deserialize_any<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Noted> {
        visitor.visit_map(MapDeserializer::new(self.tag.map(|tag| (tag, "")).into_iter()))
    }

    forward_to_deserialize_any! {
        bool i8 i16 i32 i64 i128 u8 u16 u32 u64 u128 f32 f64 char str string bytes byte_buf option unit
        unit_struct newtype_struct seq tuple tuple_struct identifier ignored_any
    }

    /// A struct: it has fields, and no variants.
    fn deserialize_struct<V: Visitor<'de>>(
        self,
        _name: &'static str,
        _fields: &'static [&'static str],
        _visitor: V,
    ) -> Result<V::Value, Noted> {
        Err(Noted::default())
    }

    /// A map; or a struct into which an enum is flattened.
    fn deserialize_map<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Noted> {
        self.deserialize_any(visitor)
    }
}

#[cfg(test)]
mod tests {
    use super::of;
    use coalmine_core::node::RequestId;
    use coalmine_core::twophase::{Message, Timer};
    use serde::Deserialize;

    #[derive(Deserialize)]
    #[serde(tag = "type", rename_all = "SCREAMING_SNAKE_CASE")]
    #[expect(dead_code, reason = "only its names are asked for")]
    enum Tagged {
        TakeTicket { number: u64 },
        TicketTaken,
    }

    #[derive(Deserialize)]
    #[serde(rename_all = "snake_case")]
    #[expect(dead_code, reason = "only its names are asked for")]
    enum Snake {
        TakenTicket(u64),
    }

    #[derive(Deserialize)]
    #[expect(dead_code, reason = "only its names are asked for")]
    struct Envelope {
        #[serde(flatten)]
        inside: Tagged,
        sender: Option<u64>,
    }

    #[test]
    fn enums_have_variants_and_others_have_none() {
        assert_eq!(of::<Message>(), ["Prepared", "Commit", "Abort"]);
        assert_eq!(of::<Timer>().len(), 4);
        assert_eq!(of::<Tagged>(), ["TakeTicket", "TicketTaken"], "told apart by a field");
        assert_eq!(of::<Envelope>(), ["TakeTicket", "TicketTaken"], "inside an envelope");
        assert_eq!(of::<Snake>(), ["TakenTicket"], "in snake case");
        assert!(of::<()>().is_empty() && of::<RequestId>().is_empty() && of::<(u8, String)>().is_empty());
    }
}
