//! libFuzzer's door to the target `device`: a device under a hostile relay. What it does is in `gridbeat-fuzz`.

#![no_main]

gridbeat_fuzz_targets::target!("device");
