//! libFuzzer's door to the target `track`: segments of tracks from anybody. What it does is in `gridbeat-fuzz`.

#![no_main]

gridbeat_fuzz_targets::target!("track");
