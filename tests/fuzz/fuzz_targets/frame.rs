//! libFuzzer's door to the target `frame`: frames from anybody. What it does is in `gridbeat-fuzz`.

#![no_main]

gridbeat_fuzz_targets::target!("frame");
