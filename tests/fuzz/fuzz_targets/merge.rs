//! libFuzzer's door to the target `merge`: what the gate admits, merged with honest work. What it does is in `gridbeat-fuzz`.

#![no_main]

gridbeat_fuzz_targets::target!("merge");
