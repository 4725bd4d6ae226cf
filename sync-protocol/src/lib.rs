//! The wire between devices and relays, and both ends of a session; carries opaque changes.
//!
//! - [`frame`]: every frame in one enum

mod frame;

pub use frame::{
    Ack, Applied, Close, Compare, CompareDocument, Compared, ComparedDocument, Entry, Feed,
    FeedChange, Frame, Grant, Held, Hello, Push, PushChange, PushDocument, Reason, Reconcile,
    ScopeGreeting, ScopeMark, Verdict, Versions, Welcome,
};
