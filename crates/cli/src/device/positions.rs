//! Positions in the units of apps, metres and seconds, and in those of the engine.

use gridbeat_device::{SeenDevice, Whereabouts};

use super::protocol::{PositionLine, SeenLine};

/// Returns what an app says of where the device is, in whole steps of the engine's units.
pub(crate) fn whereabouts(line: &PositionLine) -> Whereabouts {
    Whereabouts {
        position: line.position,
        accuracy_dm: whole(line.accuracy_m * 10.0),
        speed_cm_s: line.speed_m_s.map(|speed| whole(speed * 100.0)),
        heading_deg: line.heading_deg,
        battery_percent: line.battery_percent,
        receiver_time: line.receiver_time_ms,
    }
}

/// Returns where another device was, as an app is told.
pub(crate) fn line(seen: &SeenDevice) -> SeenLine {
    let fix = &seen.fix;
    SeenLine {
        device: seen.device,
        age_s: seen.age.as_secs(),
        is_stale: seen.is_stale,
        is_exact: seen.is_exact,
        waiting: fix.waiting,
        taken_ms: seen.taken,
        device_time_ms: fix.device_time,
        at: PositionLine {
            position: fix.position,
            accuracy_m: f64::from(fix.accuracy_dm) / 10.0,
            speed_m_s: fix.speed_cm_s.map(|speed| f64::from(speed) / 100.0),
            heading_deg: fix.heading_deg,
            battery_percent: fix.battery_percent,
            receiver_time_ms: fix.receiver_time,
        },
    }
}

#[expect(
    clippy::cast_possible_truncation,
    clippy::cast_sign_loss,
    reason = "a cast of a float ends at the ends of the range, and not a number is 0"
)]
fn whole(value: f64) -> u32 {
    value.round() as u32
}

#[cfg(test)]
mod tests {
    use gridbeat_base::Position;

    use super::*;

    #[test]
    fn units_are_those_of_the_engine_and_what_cannot_be_is_at_the_end_of_the_range() {
        let line = PositionLine {
            position: Position::from_degrees(29.9, 121.7).unwrap(),
            accuracy_m: 4.84,
            speed_m_s: Some(-1.0),
            heading_deg: Some(90),
            battery_percent: None,
            receiver_time_ms: None,
        };
        let said = whereabouts(&line);
        assert_eq!((said.accuracy_dm, said.speed_cm_s), (48, Some(0)));
        let far = PositionLine {
            accuracy_m: f64::INFINITY,
            speed_m_s: Some(4.126),
            ..line
        };
        let said = whereabouts(&far);
        assert_eq!((said.accuracy_dm, said.speed_cm_s), (u32::MAX, Some(413)));
    }
}
