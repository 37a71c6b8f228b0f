//! Known mistakes of registers, each of which turns one rule off: made on purpose, to see that they are found.
//!
//! A new mistake is one row of the table, and an `if` in the server that makes it.

use crate::mistakes::mistakes;

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

for_register_mistakes!(mistakes);
