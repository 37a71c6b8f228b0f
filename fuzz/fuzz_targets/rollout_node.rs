#![no_main]
libfuzzer_sys::fuzz_target!(|data: &[u8]| coalmine_fuzz::rollout_node::run(data));
