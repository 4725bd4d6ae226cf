//! libFuzzer's door to the target `gate`: any change at the gate. What it does is in `gridbeat-fuzz`.

#![no_main]

gridbeat_fuzz_targets::target!("gate");
