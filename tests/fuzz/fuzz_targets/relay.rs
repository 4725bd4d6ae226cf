//! libFuzzer's door to the target `relay`: a relay among hostile devices. What it does is in `gridbeat-fuzz`.

#![no_main]

gridbeat_fuzz_targets::target!("relay");
