//! The options for budgets: one for each row of the [table](crate::spec::budget).

use clap::{Arg, ArgMatches, Args, Command, Error, FromArgMatches, value_parser};

use crate::spec::budget::Budget;

/// What the command line says of each budget.
#[derive(Clone, Copy, Debug, Default)]
pub struct BudgetArgs([Option<u8>; Budget::COUNT]);

impl BudgetArgs {
    /// What it says of this one.
    pub fn of(&self, budget: Budget) -> Option<u8> {
        self.0[budget as usize]
    }
}

fn option(budget: Budget) -> Arg {
    let option = Arg::new(budget.key()).long(budget.flag()).help(budget.help());
    option.alias(budget.was()).value_name("N").value_parser(value_parser!(u8))
}

impl Args for BudgetArgs {
    fn augment_args(command: Command) -> Command {
        command.args(Budget::ALL.map(option))
    }

    fn augment_args_for_update(command: Command) -> Command {
        Self::augment_args(command)
    }
}

impl FromArgMatches for BudgetArgs {
    fn from_arg_matches(matches: &ArgMatches) -> Result<Self, Error> {
        Ok(Self(Budget::ALL.map(|budget| matches.get_one(budget.key()).copied())))
    }

    fn update_from_arg_matches(&mut self, matches: &ArgMatches) -> Result<(), Error> {
        *self = Self::from_arg_matches(matches)?;
        Ok(())
    }
}
