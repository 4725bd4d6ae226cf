//! What the targets share: how libFuzzer is given one of `gridbeat-fuzz`.
//!
//! libFuzzer's own hook ends the process at any panic. The gate contains those of the merge library, which is a part
//! of what is tested; so the hook is taken out, and only a panic that leaves the target ends the process.

pub use gridbeat_fuzz::TARGETS;
pub use libfuzzer_sys::fuzz_target;

/// Finds a target by name.
///
/// # Panics
///
/// If there is none.
pub fn find(name: &str) -> fn(&[u8]) {
    let found = TARGETS.into_iter().find(|target| target.name == name);
    found.expect("the target is in the list").run
}

/// Defines the program of one target.
#[macro_export]
macro_rules! target {
    ($name:literal) => {
        $crate::fuzz_target!(
            init: std::panic::set_hook(Box::new(|_| {})),
            |bytes: &[u8]| $crate::find($name)(bytes)
        );
    };
}
