//! What the tables of known mistakes say to the harness.

/// Makes, of a protocol's table, what a [`System`](coalmine_sim::spec::system::System) lists: `listed` for a mistake, with
/// a space in which nothing is possible but what its row names and what `quiet` allows.
macro_rules! listed {
    ($(
        $(#[doc = $about:literal])+
        $mistake:ident, $name:literal, source $source:literal, space { $($key:ident: $times:expr),* };
    )+) => {
        /// A small space in which it shows.
        pub fn space(mistake: Mistake) -> coalmine_sim::spec::limits::ModelArgs {
            match mistake {
                $(Mistake::$mistake => coalmine_sim::spec::limits::ModelArgs {
                    $($key: Some($times),)*
                    ..quiet()
                },)+
            }
        }

        /// As the system lists it.
        fn listed(mistake: Mistake, scenario: Option<&'static str>) -> coalmine_sim::spec::system::Mistake {
            let (name, about, source) = (mistake.name(), mistake.about(), mistake.source());
            coalmine_sim::spec::system::Mistake { name, about, source, space: space(mistake), scenario }
        }
    };
}
pub(crate) use listed;
