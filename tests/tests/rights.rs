//! Who may do what: at the relay as it ships, for every role and every relation to a record.
//!
//! - `door`: whom the relay lets begin a session, and whom only renew
//! - `matrix`: each cell of the table `matrix.txt`, asked of the relay
//! - `revoked`: what becomes of a revoked device's open, new and early connections
//! - `unseen`: what a device receives does not change with what is outside its grants
//! - `office`: a relay and whoever talks to it, frame by frame
//!
//! Devices here are no more than their frames: what an honest device would not even save is sent all the same.

mod door;
mod matrix;
mod office;
mod revoked;
mod unseen;
