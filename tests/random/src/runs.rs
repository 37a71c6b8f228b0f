//! Runs plans.
use crate::Spec;
use crate::compare::Known;

/// Runs
pub fn stay_within(_: &Spec, _: &Known) -> Result<(), String> {
    Ok(())
}
