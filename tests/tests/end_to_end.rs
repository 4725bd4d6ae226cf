//! Real devices, a real relay, real sockets: what one officer saves, another sees, whatever the link
//! does in between.
//!
//! Everything waits for outcomes, never for a time to pass. How fast it is, the benches tell. Not
//! here: faults of disks and clocks (the simulator), processes (the demo).

mod enrolment;
mod limits;
mod outages;
mod positions;
mod privacy;
mod recovery;
mod sessions;
mod tcp;
mod trust;
mod wiping;
pub(crate) mod world;
