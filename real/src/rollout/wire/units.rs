//! Shares and rates: basis points in the protocol, percent or decimals outside.

use coalmine_core::rollout::state::WHOLE_BP;

/// Basis points as percent.
pub fn percent_of_bp(bp: u32) -> f64 {
    f64::from(bp) / 100.0
}

/// Percent as basis points; `Err` says what is wrong. How large a share may be is for the node to say.
pub fn bp_of_percent(percent: f64) -> Result<u32, String> {
    let whole = (percent * 100.0).round();
    if (0.0..=f64::from(u32::MAX)).contains(&whole) && (percent * 100.0 - whole).abs() < 1e-6 {
        Ok(whole as u32)
    } else {
        Err(format!("{percent}: must be a percentage from 0.01 to 100 in steps of 0.01"))
    }
}

/// Basis points as a decimal.
pub fn decimal_of_bp(bp: u32) -> f64 {
    f64::from(bp) / f64::from(WHOLE_BP)
}

/// A decimal as basis points, rounded up, so that a limit is never met by rounding.
pub fn bp_of_decimal(decimal: f64) -> Result<u32, String> {
    if (0.0..=1.0).contains(&decimal) {
        Ok((decimal * f64::from(WHOLE_BP) - 1e-6).ceil() as u32)
    } else {
        Err(format!("{decimal}: must lie in 0..=1"))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn percents_keep_two_digits_and_no_more() {
        for bp in [0, 1, 5, 57, 500, 2_900, 9_999, 10_000, 20_000, u32::MAX] {
            assert_eq!(bp_of_percent(percent_of_bp(bp)), Ok(bp));
        }
        for percent in [0.005, 33.333, -1.0, f64::NAN, f64::INFINITY, 1e300] {
            assert!(bp_of_percent(percent).is_err(), "{percent}");
        }
    }

    #[test]
    fn error_rates_are_rounded_up() {
        for bp in 0..=WHOLE_BP {
            assert_eq!(bp_of_decimal(decimal_of_bp(bp)), Ok(bp));
        }
        assert_eq!(bp_of_decimal(0.050_01), Ok(501));
        for rate in [-0.1, 1.1, f64::NAN] {
            assert!(bp_of_decimal(rate).is_err(), "{rate}");
        }
    }
}
