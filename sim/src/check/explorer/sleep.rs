//! Who need not take a step from a state, since what comes of it is found otherwise: sleep sets (Godefroid,
//! *Partial-Order Methods for the Verification of Concurrent Systems*, LNCS 1032, 1996, §5), made for places that
//! exchange messages and for a search by levels. Steps are left out, states never.
//!
//! Let `a` be a step of place *i* that leads from `s` to `t`, the level after. Place *j* < *i* sleeps in `t` if `a`
//!
//! * sends nothing to *j*, so that *j* can do in `s` all that it can do in `t`;
//! * takes no packet that *j* has sent: *j* might send it again, and before or after makes a difference;
//! * observes nothing, unless the order of different nodes' facts is of no consequence ([`IS_ORDERED`]);
//! * is no request of a client: it may be what lets the client send its next one, to *j*.
//!
//! Then whatever step `b` of *j* is possible in `t`, it is possible in `s`, `a` is possible after it, and both orders
//! lead to the same state. (Budgets are sums: who can pay for one after the other can pay in the other order.)
//!
//! **Every state is found, at its level.** Suppose that all states up to a level are found, and let `v` be a state
//! of the next. Of all steps that lead from a state of that level to `v`, let `b`, from `t`, be one of the highest
//! place. If that place slept in `t`, because of a step `a` from `s`, then `b` and `a` could change places: `b`
//! would lead from `s` to some `u` of the same level as `t`, and `a` from `u` to `v`. But `a` is of a higher place
//! than `b`, and there is none. So it is awake, and `v` is found.
//!
//! What the other [reductions](crate::check::Reductions) leave out is the same before and after such a step, as it
//! depends on the place and on what it has under way itself.
//!
//! [`IS_ORDERED`]: coalmine_core::observation::History::IS_ORDERED

/// Places that sleep, a bit each. Places from the seventeenth on never do.
pub type Asleep = u16;

/// Whether a place sleeps.
pub fn is_asleep(asleep: Asleep, place: usize) -> bool {
    place < Asleep::BITS as usize && asleep >> place & 1 == 1
}

/// Who sleeps after a step of a place: what it takes was sent `from` there.
pub fn after(place: usize, from: Option<usize>, sent: &[(usize, u32)]) -> Asleep {
    let below = |place: usize| ((1_u32 << place.min(Asleep::BITS as usize)) - 1) as Asleep;
    let touched = sent.iter().map(|&(to, _)| to).chain(from);
    touched.fold(below(place), |asleep, place| asleep & !(below(place + 1) & !below(place)))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn whoever_is_below_and_not_touched_sleeps() {
        assert_eq!(after(3, None, &[]), 0b111);
        assert_eq!(after(3, Some(1), &[]), 0b101);
        assert_eq!(after(3, Some(0), &[(2, 7), (5, 7)]), 0b010);
        assert_eq!(after(0, None, &[]), 0);
        assert_eq!(after(40, Some(39), &[(20, 7)]), Asleep::MAX);
        assert!(is_asleep(0b10, 1) && !is_asleep(0b10, 0) && !is_asleep(Asleep::MAX, 16));
    }
}
