//! What the sizes of a model are called besides: options that only this model has. No help shows them, because what
//! there is to say of them is what is said of `--nodes` and `--operations`.

use std::collections::BTreeSet;
use std::ops::RangeInclusive;

use clap::error::ErrorKind;
use clap::{Arg, ArgMatches, Command, Error};

use super::args::{self, Cli, SpaceArgs};
use crate::spec::limits::SizeFlags;
use crate::suite::{NODES, OPERATIONS, Suite};

/// The commands that ask how large a model is.
pub const COMMANDS: [&str; 2] = ["check", "explore"];

/// A size: what it is called by all, how large it may be, what a model calls it, and where it is kept.
type Size = (
    &'static str,
    RangeInclusive<u32>,
    fn(SizeFlags) -> Option<&'static str>,
    fn(&mut SpaceArgs) -> &mut Option<u32>,
);

const SIZES: [Size; 2] = [
    ("nodes", NODES, |flags| flags.nodes, |space| &mut space.nodes),
    ("operations", OPERATIONS, |flags| flags.operations, |space| &mut space.operations),
];

/// The options of all models.
pub fn add(suite: &Suite, command: Command) -> Command {
    let mut known: BTreeSet<_> = SIZES.iter().map(|(name, ..)| *name).collect();
    let mut options = Vec::new();
    for (name, range, flag, _) in &SIZES {
        for flag in suite.models.iter().filter_map(|model| flag(model.size_flags())) {
            if known.insert(flag) {
                let option = Arg::new(flag).long(flag).hide(true).conflicts_with(name);
                options.push(option.value_name("N").value_parser(args::size(range)));
            }
        }
    }
    command.args(options)
}

/// The command line with the sizes that it calls as the model does. `Err` names an option that is another model's.
pub fn named(suite: &Suite, mut cli: Cli, matches: &ArgMatches) -> Result<Cli, Error> {
    let (name, space) = match &mut cli.command {
        args::Command::Check(args) => (&args.name, &mut args.space),
        args::Command::Explore(args) => (&args.name, &mut args.space),
        args::Command::List
        | args::Command::Sim(_)
        | args::Command::Merge(_)
        | args::Command::Replay(_)
        | args::Command::Verify(_)
        | args::Command::Linearize(_)
        | args::Command::Plan(_)
        | args::Command::Shrink(_)
        | args::Command::Mutants(_)
        | args::Command::Run(_) => return Ok(cli),
    };
    let Some((_, matches)) = matches.subcommand() else { return Ok(cli) };
    let own = suite.find_model(name).map(|model| model.size_flags()).unwrap_or_default();
    for (_, _, flag, size) in &SIZES {
        for other in suite.models.iter().filter_map(|model| flag(model.size_flags())) {
            let Ok(Some(said)) = matches.try_get_one::<u32>(other) else { continue };
            if flag(own) != Some(other) {
                let why = format!("unexpected argument '--{other}' found: {name} has no such option\n");
                return Err(Error::raw(ErrorKind::UnknownArgument, why));
            }
            *size(space) = Some(*said);
        }
    }
    Ok(cli)
}
