//! How much of everything may happen in a world of the checker.

use std::fmt::{self, Display};

use coalmine_core::node::NodeId;
use serde::{Deserialize, Serialize, Serializer};

use super::budget::{Budget, for_budgets};
use super::mistake::MistakeName;

/// How disks behave.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Disk {
    /// A record is durable as soon as it is written. Crashes still fall between any two effects.
    Sync,
    /// Records become durable one by one, as actions of their own; a crash keeps any prefix of the others.
    Async,
}

/// What becomes of a packet that was delivered.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Network {
    /// It is gone; a second delivery is a duplicate, and costs.
    Datagrams,
    /// It stays: every message may be delivered any number of times, for free (Lamport's set of messages).
    Persistent,
}

macro_rules! limits {
    ($(
        $(#[doc = $help:literal])+
        $budget:ident, $key:ident: $type:ty = $none:expr, flag $flag:literal, word $one:literal $word:literal, $nature:ident
        $(, was $was:literal)?;
    )+) => {
        /// How much of everything may happen in one run: a field for each [`Budget`], and how the world is made.
        #[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
        pub struct Limits {
            $($(#[doc = $help])+ pub $key: $type,)+
            /// Who is down for ever when it is asked whether the system [settles](crate::spec::verdict::SETTLES).
            pub without: Option<NodeId>,
            /// How disks behave.
            pub disk: Disk,
            /// What becomes of delivered packets.
            pub network: Network,
        }

        impl Limits {
            /// Nothing goes wrong, and no timer fires. (A member that starts late is nothing that goes wrong.)
            pub const NONE: Self = Self {
                $($key: $none,)+
                without: None,
                disk: Disk::Sync,
                network: Network::Datagrams,
            };

            /// How much a budget allows; `None`: any number.
            pub fn of(&self, budget: Budget) -> Option<u8> {
                match budget {
                    $(Budget::$budget => self.$key.into(),)+
                }
            }

            /// Changes what a budget allows.
            pub fn set(&mut self, budget: Budget, times: u8) {
                match budget {
                    $(Budget::$budget => self.$key = times.into(),)+
                }
            }
        }

        /// How large a model is to be, as far as the command line says.
        #[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
        #[serde(default, deny_unknown_fields)]
        pub struct ModelArgs {
            /// How many nodes.
            pub nodes: Option<u32>,
            /// How many requests clients send.
            pub operations: Option<u32>,
            $($(#[doc = $help])+ $(#[serde(alias = $was)])? pub $key: Option<u8>,)+
            /// See [`Limits`].
            pub without: Option<u32>,
            /// See [`Limits`].
            pub disk: Option<Disk>,
            /// The mistake that the system makes on purpose.
            pub mistake: Option<MistakeName>,
        }

        impl ModelArgs {
            /// What is said of a budget.
            pub fn of(&self, budget: Budget) -> Option<u8> {
                match budget {
                    $(Budget::$budget => self.$key,)+
                }
            }

            /// Says something else of a budget, or nothing.
            pub fn set(&mut self, budget: Budget, times: Option<u8>) {
                match budget {
                    $(Budget::$budget => self.$key = times,)+
                }
            }
        }
    };
}
for_budgets!(limits);

impl Limits {
    /// More late boots than a system has members.
    pub const ANY: u8 = u8::MAX;

    /// These limits, but for what the command line says.
    pub fn with(mut self, args: &ModelArgs) -> Self {
        for budget in Budget::ALL {
            if let Some(times) = args.of(budget) {
                self.set(budget, times);
            }
        }
        self.without = args.without.map(NodeId).or(self.without);
        self.disk = args.disk.unwrap_or(self.disk);
        self
    }

    /// What is allowed, in words. What is not is told as [not tried](crate::check::CheckReport::not_tried).
    pub fn describe(&self) -> String {
        let mut told = String::new();
        for budget in Budget::spent() {
            let times = match self.of(budget) {
                Some(0) => continue,
                Some(1) => format!("1 {}", budget.one()),
                Some(times) => format!("{times} {}", budget.word()),
                None => format!("any number of {}", budget.word()),
            };
            told += &format!("{times}, ");
        }
        let boots = match self.late_boots {
            0 => "; all members start first".into(),
            Self::ANY => String::new(),
            some => format!("; all members but {some} start first"),
        };
        let without = self.without.map_or(String::new(), |id| format!("; settles without {id}"));
        format!("{told}disk {:?}{boots}{without}", self.disk)
    }
}

/// What a model's sizes are called besides, on the command line: `--rooms 3` may be `--nodes 3`.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct SizeFlags {
    /// The number of nodes.
    pub nodes: Option<&'static str>,
    /// The number of requests that clients send.
    pub operations: Option<&'static str>,
}

/// What must be allowed besides before a witness is to be expected.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Lack {
    /// So many nodes.
    Nodes(u32),
    /// So many requests of clients.
    Operations(u32),
    /// So much of a budget.
    Budget(Budget, u8),
}

/// As the command line has it.
impl Display for Lack {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Nodes(nodes) => write!(f, "--nodes {nodes}"),
            Self::Operations(operations) => write!(f, "--operations {operations}"),
            Self::Budget(budget, times) => write!(f, "--{} {times}", budget.flag()),
        }
    }
}

impl Serialize for Lack {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

impl Default for Limits {
    fn default() -> Self {
        Self::NONE
    }
}

impl ModelArgs {
    /// All that these limits say.
    pub fn all(limits: &Limits, nodes: u32, operations: u32) -> Self {
        let mut all = Self {
            nodes: Some(nodes),
            operations: Some(operations),
            without: limits.without.map(|NodeId(number)| number),
            disk: Some(limits.disk),
            ..Self::default()
        };
        Budget::ALL.into_iter().for_each(|budget| all.set(budget, limits.of(budget)));
        all
    }
}

impl Display for ModelArgs {
    /// As the command line has it, a space before each.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let sizes = [("nodes", self.nodes), ("operations", self.operations)];
        let budgets = Budget::ALL.map(|budget| (budget.flag(), self.of(budget).map(u32::from)));
        let all = sizes.into_iter().chain(budgets).chain([("without", self.without)]);
        for (name, value) in all.filter_map(|(name, value)| Some((name, value?))) {
            write!(f, " --{name} {value}")?;
        }
        if let Some(mistake) = self.mistake {
            write!(f, " --mistake {mistake}")?;
        }
        match self.disk {
            None => Ok(()),
            Some(Disk::Sync) => f.write_str(" --disk sync"),
            Some(Disk::Async) => f.write_str(" --disk async"),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::spec::budget::Nature;

    /// What is said of a budget, in whatever form, is what is allowed; a new row of the table has all of them.
    #[test]
    fn every_budget_has_its_key_its_flag_and_its_words() {
        for (number, budget) in Budget::ALL.into_iter().enumerate() {
            let times = u8::try_from(number).expect("few") + 7;
            let mut said = ModelArgs::default();
            said.set(budget, Some(times));
            let mut limits = Limits::NONE.with(&said);
            assert_eq!(
                Budget::ALL.map(|it| limits.of(it) == Limits::NONE.of(it)),
                Budget::ALL.map(|it| it != budget)
            );
            assert_eq!(limits.of(budget), Some(times));
            assert_eq!(said.to_string(), format!(" --{} {times}", budget.flag()));
            assert_eq!(ModelArgs::all(&limits, 1, 2).of(budget), Some(times));
            assert_eq!(serde_json::json!(limits)[budget.key()], times);
            for key in [Some(budget.key()), budget.was()].into_iter().flatten() {
                assert_eq!(toml::from_str::<ModelArgs>(&format!("{key} = {times}")), Ok(said), "{key}");
            }
            if budget.nature() != Nature::Beginning {
                let told = limits.describe();
                assert!(told.contains(&format!("{times} {}", budget.word())), "{told}");
                limits.set(budget, 1);
                let told = limits.describe();
                assert!(told.contains(&format!("1 {},", budget.one())), "{told}");
            }
        }
    }

    #[test]
    fn limits_are_told() {
        assert_eq!(Limits::NONE.describe(), "disk Sync");
        let some = Limits {
            crashes: 2,
            timeouts: None,
            cuts: 1,
            late_boots: 0,
            without: Some(NodeId(2)),
            ..Limits::NONE
        };
        let told = "2 crashes, 1 cut, any number of time-outs, disk Sync; all members start first; settles without n2";
        assert_eq!(some.describe(), told);
    }
}
