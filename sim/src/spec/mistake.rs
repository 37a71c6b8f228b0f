//! What names a mistake that a system can make on purpose. Whatever is written to a file says which one was made, so
//! that it can be run again.

use std::fmt::{self, Debug, Display, Formatter};

use serde::{Deserialize, Serialize};

/// How long a name may be.
const LONGEST: usize = 32;

/// The name of a mistake, to be copied.
#[derive(Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct MistakeName {
    bytes: [u8; LONGEST],
    len: usize,
}

impl MistakeName {
    /// As text.
    pub fn as_str(&self) -> &str {
        std::str::from_utf8(&self.bytes[..self.len]).expect("it was made of text")
    }
}

impl TryFrom<&str> for MistakeName {
    type Error = String;

    fn try_from(name: &str) -> Result<Self, String> {
        let (mut bytes, len) = ([0; LONGEST], name.len());
        match bytes.get_mut(..len) {
            Some(part) if len > 0 => part.copy_from_slice(name.as_bytes()),
            Some(_) | None => {
                return Err(format!("no mistake is called {name:?}: it takes 1 to {LONGEST} letters"));
            }
        }
        Ok(Self { bytes, len })
    }
}

impl TryFrom<String> for MistakeName {
    type Error = String;

    fn try_from(name: String) -> Result<Self, String> {
        Self::try_from(name.as_str())
    }
}

impl From<MistakeName> for String {
    fn from(name: MistakeName) -> Self {
        name.as_str().into()
    }
}

impl Debug for MistakeName {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        Debug::fmt(self.as_str(), f)
    }
}

impl Display for MistakeName {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}
