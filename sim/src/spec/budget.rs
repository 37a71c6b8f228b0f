//! The budgets of the checker: one table. From it follow the fields of [`Limits`](crate::spec::limits::Limits) and
//! [`ModelArgs`](crate::spec::limits::ModelArgs), and so the keys in files and reports; the flags of the command line
//! with their help; what a world has spent, what a step costs, and the words for all that.
//!
//! A new budget is one row here, and what it allows in the rules of the world. New rows of what is spent go below the
//! others: what worlds hash to follows from the order.

/// Hands the table to a macro that makes something of every row:
///
/// ```text
/// /// The help of its flag, and the doc comment of its fields.
/// Variant, field and key: type of the limit = limit if nothing goes wrong, flag "…", word "one" "many", nature, was "…";
/// ```
///
/// What a flag and a key once *was* is still understood, and shown nowhere.
macro_rules! for_budgets {
    ($make:ident) => {
        $make! {
            /// How many crashes there may be in one run, at any point of any step.
            Crashes, crashes: u8 = 0, flag "crashes", word "crash" "crashes", Spent;
            /// How many crashes there may be besides after which the node starts again with an empty disk.
            Wipes, wipes: u8 = 0, flag "wipes", word "wipe" "wipes", Spent;
            /// How many times the link between two nodes may be cut, one way or both ways. Healing is free.
            Cuts, cuts: u8 = 0, flag "cuts", word "cut" "cuts", Spent;
            /// How many packets may be lost in one run.
            Drops, drops: u8 = 0, flag "drops", word "drop" "drops", Spent;
            /// How many packets may be delivered a second time.
            Duplicates, duplicates: u8 = 0, flag "dups", word "duplicate" "duplicates", Spent;
            /// How many timers may fire in one run.
            Timeouts, timeouts: Option<u8> = Some(0), flag "timeouts", word "time-out" "time-outs", Spent;
            /// How many periodic timers, those that are armed for ever, may fire besides.
            Periodic, periodic: u8 = 0, flag "periodic", word "periodic timer" "periodic timers", Spent, was "heartbeats";
            /// How many requests a client may send again.
            Retries, retries: u8 = 0, flag "retries", word "retry" "retries", Spent;
            /// How many inputs may tell a member something from outside, such as that it does badly, at any moment.
            Inputs, inputs: u8 = 0, flag "inputs", word "input" "inputs", Spent, was "unhealthy";
            /// How many members may start for the first time when others have begun already; all, for most models. All
            /// others start before anything else happens, in any order.
            LateBoots, late_boots: u8 = Limits::ANY, flag "late-boots", word "late boot" "late boots", Beginning;
        }
    };
}
pub(crate) use for_budgets;

/// What a budget is for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Nature {
    /// Something is spent of it.
    Spent,
    /// How a world begins: nothing is spent of it, and it is told in words of its own.
    Beginning,
}

/// What is to be known of a budget.
struct Row {
    key: &'static str,
    flag: &'static str,
    help: &'static str,
    one: &'static str,
    word: &'static str,
    nature: Nature,
    was: Option<&'static str>,
}

macro_rules! or_none {
    () => {
        None
    };
    ($value:literal) => {
        Some($value)
    };
}

macro_rules! rows {
    ($(
        $(#[doc = $help:literal])+
        $budget:ident, $key:ident: $type:ty = $none:expr, flag $flag:literal, word $one:literal $word:literal, $nature:ident
        $(, was $was:literal)?;
    )+) => {
        /// A budget of the checker.
        #[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
        pub enum Budget {
            $($(#[doc = $help])+ $budget,)+
        }

        impl Budget {
            /// All of them.
            pub const ALL: [Self; [$(stringify!($key)),+].len()] = [$(Self::$budget),+];
        }

        const ROWS: [Row; Budget::COUNT] = [$(Row {
            key: stringify!($key),
            flag: $flag,
            help: concat!($($help),+),
            one: $one,
            word: $word,
            nature: Nature::$nature,
            was: or_none!($($was)?),
        }),+];
    };
}
for_budgets!(rows);

impl Budget {
    /// How many there are.
    pub const COUNT: usize = Self::ALL.len();

    fn row(self) -> &'static Row {
        &ROWS[self as usize]
    }

    /// Its key in files and reports.
    pub fn key(self) -> &'static str {
        self.row().key
    }

    /// Its option on the command line, without the dashes.
    pub fn flag(self) -> &'static str {
        self.row().flag
    }

    /// What the command line says of it.
    pub fn help(self) -> &'static str {
        self.row().help.trim().trim_end_matches('.')
    }

    /// What it allows, one of it.
    pub fn one(self) -> &'static str {
        self.row().one
    }

    /// What it allows, in the plural.
    pub fn word(self) -> &'static str {
        self.row().word
    }

    /// What it is for.
    pub fn nature(self) -> Nature {
        self.row().nature
    }

    /// Its key and its flag in former versions, if it had others.
    pub fn was(self) -> Option<&'static str> {
        self.row().was
    }

    /// Those of which something is spent.
    pub fn spent() -> impl Iterator<Item = Self> {
        Self::ALL.into_iter().filter(|budget| budget.nature() != Nature::Beginning)
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::*;

    #[test]
    fn names_are_told_apart() {
        let names =
            |name: fn(Budget) -> &'static str| Budget::ALL.into_iter().map(name).collect::<BTreeSet<_>>();
        for distinct in [names(Budget::key), names(Budget::flag), names(Budget::help), names(Budget::word)] {
            assert_eq!(distinct.len(), Budget::COUNT, "{distinct:?}");
        }
    }
}
