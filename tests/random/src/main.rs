//! The checker is checked: draws random tiny systems, and looks for one on which its explorers disagree.

use std::process::ExitCode;

fn main() -> ExitCode {
    coalmine_random::command::main()
}
