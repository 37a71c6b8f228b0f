//! What the tables of known mistakes have in common.

/// Makes the type of a protocol's mistakes of their table. A row is the doc comment, whose first line says what is wrong
/// in one sentence; the variant, its name and where it is known from; and a small space in which the checker finds it,
/// which is for the harness.
macro_rules! mistakes {
    ($(
        #[doc = $about:literal]
        $(#[doc = $why:literal])*
        $mistake:ident, $name:literal, source $source:literal, space { $($key:ident: $times:expr),* };
    )+) => {
        /// A rule that is broken on purpose.
        #[derive(Clone, Copy, Debug, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
        #[serde(rename_all = "snake_case")]
        pub enum Mistake {
            $(#[doc = $about] $(#[doc = $why])* $mistake,)+
        }

        impl Mistake {
            /// All of them.
            pub const ALL: [Self; [$($name),+].len()] = [$(Self::$mistake),+];

            /// The one of this name.
            pub fn named(name: &str) -> Option<Self> {
                Self::ALL.into_iter().find(|mistake| mistake.name() == name)
            }

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
pub(crate) use mistakes;
