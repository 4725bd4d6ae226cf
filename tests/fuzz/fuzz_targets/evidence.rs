//! libFuzzer's door to the target `evidence`: a relay's database in which somebody wrote. What it does is in `gridbeat-fuzz`.

#![no_main]

gridbeat_fuzz_targets::target!("evidence");
