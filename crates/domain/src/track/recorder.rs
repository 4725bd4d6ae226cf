//! Judges fixes as they come: marks and counts what is bad, and cuts the track into segments.
//!
//! The recorder has no storage of its own. Whoever has one keeps [`Recorder::started`] of it and goes on from that after a
//! kill; the same points make the same segment, so one that was finished twice is one blob.

use core::time::Duration;

use super::segment::POINTS_MAX;
use super::{Marks, Segment, TrackError, TrackPoint};

/// Beyond what a fix is bad, and when a segment is full.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Limits {
    /// The largest radius that a receiver may give, in decimetres.
    pub accuracy_dm_max: u16,
    /// The highest speed between two good fixes, in m/s.
    pub speed_m_s_max: f64,
    /// The longest time without a fix that is no gap.
    pub gap: Duration,
    /// Within how many metres of one place an officer stands.
    pub still_m: f64,
    /// For how long, before it is called standing.
    pub still_after: Duration,
    /// How many points a segment has, at most [`POINTS_MAX`].
    pub points: usize,
}

impl Default for Limits {
    /// For a bicycle in a city: 50 m, 25 m/s, a gap beyond 60 s, standing within 15 m for 60 s, 720 points (an hour at one
    /// in 5 s).
    fn default() -> Self {
        Self {
            accuracy_dm_max: 500,
            speed_m_s_max: 25.0,
            gap: Duration::from_secs(60),
            still_m: 15.0,
            still_after: Duration::from_secs(60),
            points: 720,
        }
    }
}

/// How many fixes have which mark: every rule has its counter, for the officer's screen.
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq)]
pub struct Quality {
    /// All fixes.
    pub fixes: u64,
    /// Those left out of lines and lengths, for one reason or more.
    pub bad: u64,
    counts: [u64; Marks::ALL.len()],
}

impl Quality {
    /// Counts the marks of points.
    pub fn of(points: &[TrackPoint]) -> Self {
        let mut quality = Self::default();
        points.iter().for_each(|point| quality.add(point.marks));
        quality
    }

    /// Returns each mark's name and how many fixes have it.
    pub fn counts(&self) -> impl Iterator<Item = (&'static str, u64)> {
        let names = Marks::ALL.iter().map(|(_, name)| *name);
        names.zip(self.counts)
    }

    fn add(&mut self, marks: Marks) {
        self.fixes += 1;
        self.bad += u64::from(marks.is_bad());
        for (count, (mark, _)) in self.counts.iter_mut().zip(Marks::ALL) {
            *count += u64::from(marks.has(mark));
        }
    }
}

/// Takes fixes in and gives segments out.
#[derive(Clone, Debug)]
pub struct Recorder {
    limits: Limits,
    started: Vec<TrackPoint>,
    /// The last fix, and the last good one, of this segment or the one before.
    last: Option<TrackPoint>,
    last_good: Option<TrackPoint>,
    /// Where the officer may be standing, since when.
    anchor: Option<TrackPoint>,
    quality: Quality,
}

impl Recorder {
    /// Begins a track.
    pub fn new(limits: Limits) -> Self {
        Self {
            limits,
            started: Vec::new(),
            last: None,
            last_good: None,
            anchor: None,
            quality: Quality::default(),
        }
    }

    /// Goes on with what was kept of [`Self::started`].
    ///
    /// # Errors
    ///
    /// [`TrackError`] if it is no segment.
    pub fn resume(limits: Limits, started: &[u8]) -> Result<Self, TrackError> {
        let mut recorder = Self::new(limits);
        for point in Segment::read(started)? {
            recorder.keep(point);
        }
        Ok(recorder)
    }

    /// Takes in a fix: marks it, and returns the segment before it if that is full now.
    ///
    /// Only [`Marks::MOCKED`] is asked of the caller; all else is found here.
    pub fn record(&mut self, mut fix: TrackPoint) -> Option<Segment> {
        let full = self.limits.points.clamp(1, POINTS_MAX);
        let finished = if self.started.len() >= full {
            self.finish()
        } else {
            None
        };
        fix.marks = self.judge(&fix);
        self.keep(fix);
        finished
    }

    /// Ends the segment that was begun; `None` if it has no fix.
    pub fn finish(&mut self) -> Option<Segment> {
        let segment = Segment::of(&self.started).ok();
        self.started.clear();
        segment
    }

    /// Returns the segment that was begun, to be kept; `None` if it has no fix.
    pub fn started(&self) -> Option<Vec<u8>> {
        Segment::of(&self.started).ok().map(|segment| segment.bytes)
    }

    /// Returns how good the fixes were so far, or since it was resumed with what it had.
    pub const fn quality(&self) -> &Quality {
        &self.quality
    }

    fn judge(&self, fix: &TrackPoint) -> Marks {
        let Limits {
            accuracy_dm_max,
            speed_m_s_max,
            gap,
            still_m,
            still_after,
            ..
        } = self.limits;
        let mut marks = if fix.marks.has(Marks::MOCKED) {
            Marks::MOCKED
        } else {
            Marks::default()
        };
        if fix
            .accuracy_dm
            .is_some_and(|accuracy| accuracy > accuracy_dm_max)
        {
            marks = marks.with(Marks::INACCURATE);
        }
        if let Some(last) = self.last {
            if fix.time <= last.time {
                marks = marks.with(Marks::OUT_OF_ORDER);
            } else if since(fix, &last) > gap {
                marks = marks.with(Marks::AFTER_GAP);
            }
        }
        if let Some(good) = self.last_good {
            let way_m = good.position.distance_m(fix.position);
            // After a clock that was ahead once, times tell nothing of how fast somebody was.
            let is_later = fix.time > good.time;
            if is_later && way_m > speed_m_s_max * since(fix, &good).as_secs_f64() {
                marks = marks.with(Marks::JUMP);
            }
        }
        if let Some(anchor) = self.anchor
            && anchor.position.distance_m(fix.position) <= still_m
            && since(fix, &anchor) >= still_after
        {
            marks = marks.with(Marks::STILL);
        }
        marks
    }

    fn keep(&mut self, fix: TrackPoint) {
        self.quality.add(fix.marks);
        self.started.push(fix);
        // Of whatever time: a clock that was far ahead once must not make all that follows late.
        self.last = Some(fix);
        if fix.marks.is_bad() {
            return;
        }
        self.last_good = Some(fix);
        let stays =
            |anchor: &TrackPoint| anchor.position.distance_m(fix.position) <= self.limits.still_m;
        if !self.anchor.as_ref().is_some_and(stays) {
            self.anchor = Some(fix);
        }
    }
}

/// Returns how much later a fix is than another; nothing if it is earlier.
fn since(fix: &TrackPoint, other: &TrackPoint) -> Duration {
    let millis = fix.time.millis().saturating_sub(other.time.millis());
    Duration::from_millis(u64::try_from(millis).unwrap_or(0))
}
