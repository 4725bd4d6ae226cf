//! libFuzzer's door to the target `count`: the gate's count of operations beside Automerge's. What it does is in `gridbeat-fuzz`.

#![no_main]

gridbeat_fuzz_targets::target!("count");
