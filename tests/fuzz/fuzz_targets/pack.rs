//! libFuzzer's door to the target `pack`: bodies of packs from anybody. What it does is in `gridbeat-fuzz`.

#![no_main]

gridbeat_fuzz_targets::target!("pack");
