//! The names of an enum's variants, as serde knows them: `derive(Deserialize)` hands them to the deserialiser
//! before it asks for a value. This one notes them, and then has no value.

use std::fmt::{self, Display};

use serde::de::{DeserializeOwned, Deserializer, Error, Visitor};
use serde::forward_to_deserialize_any;

/// The names; none for what is no enum, or one that serde tells apart by a field.
pub fn of<T: DeserializeOwned>() -> Vec<String> {
    match T::deserialize(Names) {
        Err(Noted(names)) => names.iter().map(ToString::to_string).collect(),
        Ok(_) => Vec::new(),
    }
}

struct Names;

/// The error that ends it all.
#[derive(Debug)]
struct Noted(&'static [&'static str]);

impl Display for Noted {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "variants: {:?}", self.0)
    }
}

impl std::error::Error for Noted {}

impl Error for Noted {
    fn custom<T: Display>(_: T) -> Self {
        Self(&[])
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
        Err(Noted(variants))
    }

    fn deserialize_any<V: Visitor<'de>>(self, _visitor: V) -> Result<V::Value, Noted> {
        Err(Noted(&[]))
    }

    forward_to_deserialize_any! {
        bool i8 i16 i32 i64 i128 u8 u16 u32 u64 u128 f32 f64 char str string bytes byte_buf option unit
        unit_struct newtype_struct seq tuple tuple_struct map struct identifier ignored_any
    }
}

#[cfg(test)]
mod tests {
    use super::of;
    use coalmine_core::twophase::{Message, Timer};

    #[test]
    fn enums_have_variants_and_others_have_none() {
        assert_eq!(of::<Message>(), ["Prepared", "Commit", "Abort"]);
        assert_eq!(of::<Timer>().len(), 4);
        assert!(of::<()>().is_empty() && of::<(u8, String)>().is_empty());
    }
}
