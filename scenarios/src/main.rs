//! scratch
use coalmine_sim::check::*;
use coalmine_sim::world::*;
fn main() {
    let a: Vec<String> = std::env::args().collect();
    let o = CheckOptions { threads: 1, max_states: None };
    if a[1] == "tp" {
        for n in [3, 5, 7] {
            let r = check(
                "twophase",
                Rules::new(
                    coalmine::twophase::TwoPhaseSystem { resource_managers: n },
                    coalmine::twophase::LIMITS,
                ),
                o,
                |_| {},
            )
            .0;
            println!("{}", serde_json::to_string(&r).unwrap());
        }
    } else {
        let p = |i: usize| a[i].parse::<u8>().unwrap();
        let l = Limits {
            crashes: p(2),
            drops: p(3),
            timeouts: Some(p(4)),
            periodic: p(5),
            disk: if a.get(6).is_some() { Disk::Async } else { Disk::Sync },
            ..coalmine::rollout::LIMITS
        };
        let (r, c) = check(
            "rollout",
            Rules::new(
                coalmine::rollout::RolloutSystem::<coalmine_core::rollout::variant::Sound>::new(3, 1),
                l,
            ),
            o,
            |_| {},
        );
        println!("{}", serde_json::to_string(&r).unwrap());
        if let Some(c) = c {
            println!("{} {}", c.invariant, c.why);
            let rules = Rules::new(
                coalmine::rollout::RolloutSystem::<coalmine_core::rollout::variant::Sound>::new(3, 1),
                l,
            );
            for s in c.steps {
                println!("{}", rules.tell(&s.action));
            }
        }
    }
}
