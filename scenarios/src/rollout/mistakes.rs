//! The mistakes that the nodes of a rollout can make on purpose, each with a space in which it shows: what their table
//! ([`coalmine_core::rollout::mistake`]) says, for the harness.

use coalmine_core::for_rollout_mistakes;
use coalmine_core::rollout::mistake::Mistake;
use coalmine_sim::spec::limits::ModelArgs;
use coalmine_sim::spec::system;

macro_rules! spaces {
    ($(
        $(#[doc = $about:literal])+
        $mistake:ident, $name:literal, source $source:literal, space { $($key:ident: $times:literal),+ };
    )+) => {
        /// A small space in which it shows.
        pub fn space(mistake: Mistake) -> ModelArgs {
            let quiet =
                ModelArgs { crashes: Some(0), drops: Some(0), timeouts: Some(0), ..ModelArgs::default() };
            match mistake {
                $(Mistake::$mistake => ModelArgs { $($key: Some($times),)+ ..quiet },)+
            }
        }
    };
}
for_rollout_mistakes!(spaces);

/// All of them.
pub fn all() -> Vec<system::Mistake> {
    let listed = |mistake: Mistake| system::Mistake {
        name: mistake.name(),
        about: mistake.about(),
        source: mistake.source(),
        space: space(mistake),
        scenario: Some("rollout-chaos"),
    };
    Mistake::ALL.into_iter().map(listed).collect()
}
