//! libFuzzer's door to the target `enrolment`: anybody where a relay enrols devices. What it does is in `gridbeat-fuzz`.

#![no_main]

gridbeat_fuzz_targets::target!("enrolment");
