//! The promises of Gridbeat to its users, one module each, in one binary.
//!
//! - `at_rest`: what lies on a device's disk tells nothing without its key, and is gone when it is wiped
//! - `drafts`: what an officer has begun survives a kill
//! - `durability`: what an officer saw saved stays saved, whatever the disk or the system does
//! - `end_to_end`: real devices, a real relay and real sockets
//! - `evidence`: who pushed what is proven, and no edit of a relay's file goes unnoticed
//! - `hostile`: what a hostile device or relay sends harms nobody else
//! - `leaving`: who loses a grant hands over what he saved, keeps nothing else, and signs for it
//! - `lessons`: what users of other systems suffered does not happen here
//! - `links`: what is saved on any link arrives, whatever the link does
//! - `photos`: what is attached arrives, whatever cuts it off, and nobody else has it
//! - `privacy`: no name, text or place reaches a log line
//! - `rights`: each role may do what the table says, and sees nothing beyond its grants
//! - `pump`: devices and a relay in one process, carried by hand; what the above share
//!
//! `tidy` holds the promises to its contributors: who depends on whom, what files look like. Each
//! module is marked `cfg(test)`, by which clippy knows that its helpers may `unwrap`.

#[cfg(test)]
mod at_rest;
#[cfg(test)]
mod drafts;
#[cfg(test)]
mod durability;
#[cfg(test)]
mod end_to_end;
#[cfg(test)]
mod evidence;
#[cfg(test)]
mod hostile;
#[cfg(test)]
mod leaving;
#[cfg(test)]
mod lessons;
#[cfg(test)]
mod links;
#[cfg(test)]
mod photos;
#[cfg(test)]
mod privacy;
#[cfg(test)]
mod pump;
#[cfg(test)]
mod rights;
#[cfg(test)]
mod snapshot;
#[cfg(test)]
mod tidy;
