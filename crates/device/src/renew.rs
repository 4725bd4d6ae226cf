//! Renewing a device's certificate: the same device, the same key, another lease.
//!
//! Goes on beside whatever the link does, from a socket of its own. Not here: when it is time (`lease`), what
//! goes on meanwhile (`dialer`).

use std::path::PathBuf;
use std::time::Duration;

use gridbeat_base::Now;
use gridbeat_link::{BundleError, DeviceBundle, End, EnrolTls, ExchangeError, TlsError};
use gridbeat_sync_protocol::{DecodeError, EnrolAnswer, EnrolRefusal, EnrolRequest, Reason};
use tokio::task::JoinHandle;

use crate::ask::ask_relay;
use crate::lease::{Due, Lease};

/// How long a renewal that is under way is waited for at the end: the two round trips it takes on most links.
/// An app that runs for seconds a day would otherwise never come to the end of one.
const LAST: Duration = Duration::from_secs(3);

/// What became of a renewal.
#[derive(Debug)]
pub(crate) enum Renewed {
    /// There is another certificate.
    Done(Box<DeviceBundle>),
    /// Nobody answered, or not as the protocol has it.
    NoAnswer,
    /// The relay wants to be asked later.
    Later(Duration),
    /// The relay refused.
    Refused(Reason),
}

/// Keeps a device's certificate young.
#[derive(Debug)]
pub(crate) struct Renewal {
    pub(crate) lease: Lease,
    /// Where a renewed bundle is kept, if it is.
    file: Option<PathBuf>,
    under_way: Option<JoinHandle<Renewed>>,
}

impl Renewal {
    pub(crate) const fn new(bundle: &DeviceBundle, file: Option<PathBuf>) -> Self {
        Self {
            lease: Lease::new(bundle),
            file,
            under_way: None,
        }
    }

    /// Begins one if it is due and none is under way.
    pub(crate) fn look(&mut self, bundle: &DeviceBundle, now: Now) {
        if self.under_way.is_none() && self.lease.due(now).is_some() {
            self.under_way = Some(tokio::spawn(renew(bundle.clone(), self.file.clone())));
        }
    }

    /// Returns whether the relay is not to be dialled before one is over: begun by [`Self::look`].
    pub(crate) fn comes_first(&self, now: Now) -> bool {
        self.under_way.is_some() && self.lease.due(now) == Some(Due::First)
    }

    /// Waits for the end of the one that is under way; for ever if there is none.
    pub(crate) async fn over(&mut self) -> Renewed {
        let Some(under_way) = &mut self.under_way else {
            return std::future::pending().await;
        };
        let renewed = under_way.await;
        self.under_way = None;
        renewed.unwrap_or(Renewed::NoAnswer)
    }

    /// Gives the one that is under way the time to come to its end.
    pub(crate) async fn finish(&mut self) {
        if self.under_way.is_some() {
            // What comes of it is in the bundle's file then.
            let _ = tokio::time::timeout(LAST, self.over()).await;
        }
    }
}

/// Asks the relay for another certificate, and writes it into the bundle's file if there is one.
async fn renew(bundle: DeviceBundle, file: Option<PathBuf>) -> Renewed {
    match ask_and_keep(&bundle, file).await {
        Ok(renewed) => renewed,
        Err(error) => {
            tracing::info!(%error, "the device's certificate was not renewed");
            Renewed::NoAnswer
        }
    }
}

async fn ask_and_keep(bundle: &DeviceBundle, file: Option<PathBuf>) -> Result<Renewed, RenewError> {
    let tls = EnrolTls::renewing(bundle)?;
    let answer = ask_relay(&bundle.relay, &tls, &EnrolRequest::Renew).await;
    let issued = match answer {
        Ok(EnrolAnswer::Issued(issued)) => issued,
        Ok(EnrolAnswer::Waiting { retry_after_s, .. }) => {
            return Ok(Renewed::Later(seconds(retry_after_s)));
        }
        Ok(EnrolAnswer::Refused {
            reason,
            retry_after_s: Some(after),
        }) => {
            tracing::info!(code = reason.code, "the renewal was put off");
            return Ok(Renewed::Later(seconds(after)));
        }
        Ok(EnrolAnswer::Refused { reason, .. }) => return Ok(Renewed::Refused(reason)),
        Err(ExchangeError::Ended(End::Words(close))) => {
            return Ok(Renewed::Later(seconds(close.retry_after_s)));
        }
        // The relay does not even listen to whose certificate ended so long ago.
        Err(ExchangeError::Ended(End::OurLease)) => {
            return Ok(Renewed::Refused(EnrolRefusal::TooLate.reason()));
        }
        Err(ExchangeError::Ended(end)) => return Err(RenewError::Link(end)),
        Err(ExchangeError::Unreadable(error)) => return Err(error.into()),
        Err(_) => return Err(RenewError::Link(End::RuleBroken)),
    };
    let renewed = DeviceBundle::from_issued(&bundle.relay, &issued, &bundle.key)?;
    if renewed.device != bundle.device {
        return Err(RenewError::OtherDevice);
    }
    if let Some(file) = file {
        let written = renewed.clone();
        let writing = tokio::task::spawn_blocking(move || written.write(&file)).await;
        if !matches!(writing, Ok(Ok(()))) {
            // It serves as long as the program runs; the next run renews the one in the file.
            tracing::warn!(?writing, "the renewed certificate could not be kept");
        }
    }
    Ok(Renewed::Done(Box::new(renewed)))
}

fn seconds(seconds: u32) -> Duration {
    Duration::from_secs(seconds.into())
}

/// Why a renewal led to nothing, for the log: it is tried again.
#[derive(Debug, thiserror::Error)]
enum RenewError {
    #[error("the bundle is of no use")]
    Bundle(#[from] BundleError),
    #[error("TLS cannot be set up")]
    Tls(#[from] TlsError),
    #[error("{0}")]
    Link(End),
    #[error("the relay does not keep to the protocol")]
    Unreadable(#[from] DecodeError),
    #[error("the relay gave another device's certificate")]
    OtherDevice,
}
