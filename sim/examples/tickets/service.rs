//! The office as a program, on real sockets and disks.

use coalmine_sim::prelude::*;

use super::node::{Config, Office};

impl Service for Office {
    const NAME: &'static str = "tickets";
    type Settings = ();

    fn config(place: &Placement, (): &()) -> Result<Config, String> {
        Ok(Config { me: place.me, members: place.members() })
    }
}
