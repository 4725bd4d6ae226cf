//! For fuzzing alone: what a relay answers to whoever wants to be enrolled, without a network. Feature `fuzz`.

use std::net::IpAddr;
use std::sync::Arc;
use std::time::Duration;

use gridbeat_base::WallTime;
use gridbeat_link::Identified;
use gridbeat_relay_store::SqliteStore;
use gridbeat_sync_protocol::{EnrolAnswer, EnrolRequest};

use crate::applicants::Place;
use crate::authority::Authority;
use crate::enrol::Enrolments;

/// A relay's answers to applicants, as its connections hand them on.
#[derive(Debug)]
pub struct EnrolmentDesk(Enrolments);

impl EnrolmentDesk {
    /// Makes one that issues leases of an authority.
    pub fn new(authority: Arc<Authority>, lease: Duration) -> Self {
        Self(Enrolments::new(authority, lease))
    }

    /// Answers a request that came from an address; `holder` is whose certificate was shown, if one was.
    pub fn answer(
        &self,
        store: &mut SqliteStore,
        request: &EnrolRequest,
        holder: Option<Identified>,
        from: IpAddr,
        now: WallTime,
    ) -> EnrolAnswer {
        let place = Place::of(from);
        self.0.answer(store, request, holder, place.address(), now)
    }
}
