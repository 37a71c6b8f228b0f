//! Leaving out what is not needed, large pieces first: as delta debugging does (Zeller, Hildebrandt, *Simplifying and
//! Isolating Failure-Inducing Input*, TSE 2002).

use std::ops::Range;

/// Asks to leave out pieces of a list of so many, until no single one can be left out. `leave_out` says whether the piece
/// has gone; `None` ends it.
pub fn in_chunks(mut length: usize, mut leave_out: impl FnMut(Range<usize>) -> Option<bool>) -> Option<()> {
    let mut chunk = length.div_ceil(2);
    while chunk > 0 {
        let mut start = 0;
        while start < length {
            let end = (start + chunk).min(length);
            match leave_out(start..end)? {
                true => length -= end - start,
                false => start = end,
            }
        }
        chunk = if chunk == 1 { 0 } else { chunk.div_ceil(2) };
    }
    Some(())
}
