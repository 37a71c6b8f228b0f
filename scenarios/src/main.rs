//! scratch
fn main() {
    let a: Vec<String> = std::env::args().collect();
    let s = coalmine::suite();
    let sc = s.find_scenario(&a[1]).unwrap();
    if a.len() == 3 {
        let o = sc.run(a[2].parse().unwrap(), true);
        println!("{}", o.story.unwrap());
        println!("{} {:016x} ev {} {:?} {:?}", o.verdict.tell(), o.digest, o.events, o.simulated, o.wall);
    } else {
        let r = coalmine_sim::sweep::sweep(
            sc,
            &coalmine_sim::sweep::SweepOptions {
                seeds: a[2].parse().unwrap()..a[3].parse().unwrap(),
                jobs: 1,
                check_determinism: a.len() > 4,
                max_failures: 10,
            },
            &|_, _| {},
        );
        println!("{}", serde_json::to_string(&r).unwrap());
    }
}
