//! Known mistakes of registers, each of which turns one rule off: made on purpose, to see that they are found.
//!
//! A new mistake is one row of the table, and an `if` in the server that makes it.

use serde::{Deserialize, Serialize};

/// Hands the table of mistakes to a macro that makes something of every row:
///
/// ```text
/// /// What is wrong, in one sentence.
/// Variant, "its-name", source "…", space { size: …, … };
/// ```
///
/// The space is a small one in which the checker finds it.
#[macro_export]
macro_rules! for_register_mistakes {
    ($make:ident) => {
        $make! {
            /// Whoever writes or reads is answered before a majority holds the value.
            AnswersUnheld, "hasty-answer",
                source "Attiya, Bar-Noy, Dolev 1995, §3: the second round", space { nodes: 3, operations: 1 };
            /// A leader proposes its own value, whatever those who promise have accepted.
            IgnoresAccepted, "stubborn-leader",
                source "Lamport 2001, §2.2: P2c", space { nodes: 3, operations: 2 };
        }
    };
}

macro_rules! mistakes {
    ($(
        #[doc = $about:literal]
        $mistake:ident, $name:literal, source $source:literal, space { $($key:ident: $times:literal),+ };
    )+) => {
        /// A rule that a server breaks.
        #[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
        #[serde(rename_all = "snake_case")]
        pub enum Mistake {
            $(#[doc = $about] $mistake,)+
        }

        impl Mistake {
            /// What it is called.
            pub fn name(self) -> &'static str {
                match self {
                    $(Self::$mistake => $name,)+
                }
            }

            /// What is wrong, in one sentence.
            pub fn about(self) -> &'static str {
                match self {
                    $(Self::$mistake => $about.trim_ascii(),)+
                }
            }

            /// Where it is known from.
            pub fn source(self) -> &'static str {
                match self {
                    $(Self::$mistake => $source,)+
                }
            }
        }
    };
}
for_register_mistakes!(mistakes);
