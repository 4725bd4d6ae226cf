//! What one direction of a link does to packets, to the nanosecond and to the packet.
//!
//! No clock, no socket: time is an argument. The log's own arithmetic is tested in `src/curve.rs`.

use std::time::Duration;

use gridbeat_badlink::{
    Carriage, Delivery, Direction, LinkLog, LinkStep, OUTAGE_UNDER_KBPS, Profile, Refusal, Shaper,
    Synthetic, Traffic, Way,
};

const DATAGRAM: Carriage = Carriage::Datagram;
const STREAM: Carriage = Carriage::Stream;

fn ms(count: u64) -> Duration {
    Duration::from_millis(count)
}

/// A log of (milliseconds, kbit/s), without latency. 800 kbit/s are 100 bytes a millisecond.
fn log(steps: &[(u64, u32)]) -> LinkLog {
    let step = |&(milliseconds, bandwidth_kbps): &(u64, u32)| LinkStep {
        duration: ms(milliseconds),
        bandwidth_kbps,
        latency: Duration::ZERO,
    };
    LinkLog::new(steps.iter().map(step).collect()).expect("the test's steps last some time")
}

fn profile(steps: &[(u64, u32)], way: Way) -> Profile {
    Profile {
        up: way,
        down: way,
        ..Profile::mobile(log(steps), 7)
    }
}

fn shaper(steps: &[(u64, u32)], way: Way) -> Shaper<u64> {
    Shaper::new(&profile(steps, way), Direction::Up)
}

/// Everything that arrives in the next hour, as (packet, milliseconds).
fn arrivals(shaper: &mut Shaper<u64>) -> Vec<(u64, u64)> {
    let mut arrived = Vec::new();
    while let Some(delivery) = shaper.poll(Duration::from_hours(1)) {
        assert_eq!(delivery.at.as_nanos() % 1_000_000, 0, "{delivery:?}");
        arrived.push((delivery.packet, delivery.at.as_millis() as u64));
    }
    arrived
}

/// Sends a thousand datagrams of 100 bytes, a millisecond apart, and returns what arrived.
fn thousand(way: Way) -> (Vec<u64>, Traffic) {
    let mut shaper = shaper(&[(1000, 8000)], way);
    let mut arrived = Vec::new();
    for number in 0..1000 {
        while let Some(delivery) = shaper.poll(ms(number)) {
            arrived.push(delivery.packet);
        }
        assert_eq!(shaper.push(ms(number), 100, DATAGRAM, number), None);
    }
    while let Some(delivery) = shaper.poll(ms(5000)) {
        arrived.push(delivery.packet);
    }
    (arrived, shaper.traffic())
}

#[test]
fn packets_are_sent_one_after_another_at_the_rate() {
    let mut shaper = shaper(&[(1000, 800)], Way::CLEAN);
    for packet in 0..3 {
        assert_eq!(shaper.push(ms(0), 1000, DATAGRAM, packet), None);
    }
    assert_eq!(shaper.next_deadline(), Some(ms(10)));
    assert_eq!(shaper.poll(ms(10) - Duration::from_nanos(1)), None);
    assert_eq!(
        shaper.poll(ms(10)),
        Some(Delivery {
            packet: 0,
            at: ms(10)
        })
    );
    assert_eq!(shaper.push(ms(100), 1000, DATAGRAM, 3), None);
    assert_eq!(arrivals(&mut shaper), [(1, 20), (2, 30), (3, 110)]);
    assert_eq!(shaper.next_deadline(), None);
}

#[test]
fn a_packet_is_sent_exactly_while_the_rate_changes() {
    let mut shaper = shaper(&[(5, 800), (10, 80), (100, 1600)], Way::CLEAN);
    shaper.push(ms(0), 1000, DATAGRAM, 0);
    // 500 bytes in 5 ms, 100 in 10 ms, 400 in 2 ms.
    assert_eq!(arrivals(&mut shaper), [(0, 17)]);
}

#[test]
fn a_late_poll_delays_nothing_behind_it() {
    let mut shaper = shaper(
        &[(1000, 800)],
        Way {
            extra_latency: ms(50),
            ..Way::CLEAN
        },
    );
    shaper.push(ms(0), 1000, DATAGRAM, 0);
    shaper.push(ms(0), 1000, DATAGRAM, 1);
    assert_eq!(arrivals(&mut shaper), [(0, 60), (1, 70)]);
}

#[test]
fn half_of_the_round_trip_is_added_each_way() {
    let step = LinkStep {
        duration: ms(1000),
        bandwidth_kbps: 800,
        latency: ms(100),
    };
    let way = Way {
        extra_latency: ms(7),
        ..Way::CLEAN
    };
    let log = LinkLog::new(vec![step]).unwrap();
    let profile = Profile {
        up: way,
        ..Profile::mobile(log, 1)
    };
    let mut shaper = Shaper::new(&profile, Direction::Up);
    shaper.push(ms(0), 100, DATAGRAM, 0);
    assert_eq!(arrivals(&mut shaper), [(0, 1 + 50 + 7)]);
}

#[test]
fn a_direction_has_its_share_of_the_bandwidth() {
    let mut shaper = shaper(
        &[(1000, 800)],
        Way {
            rate_per_mille: 250,
            ..Way::CLEAN
        },
    );
    shaper.push(ms(0), 1000, DATAGRAM, 0);
    assert_eq!(arrivals(&mut shaper), [(0, 40)]);
    assert_eq!(shaper.bytes_per_second(Duration::from_hours(1)), 25_000);
}

#[test]
fn an_outage_drops_datagrams_and_stalls_streams() {
    let steps = [(100, 800), (100, 0), (100, 5), (100, 800)];
    let mut datagrams = shaper(&steps, Way::CLEAN);
    let mut stream = shaper(&steps, Way::CLEAN);
    // At 95 ms it would be sent at 105: the outage takes it, and what is behind it.
    let sizes = [
        (0, 1000),
        (95, 1000),
        (96, 100),
        (150, 100),
        (299, 100),
        (300, 100),
    ];
    for (at, size_bytes) in sizes {
        let refused = datagrams.push(ms(at), size_bytes, DATAGRAM, at);
        assert_eq!(refused.is_some(), (95..300).contains(&at), "{at}");
        assert_eq!(stream.push(ms(at), size_bytes * 10, STREAM, at), None);
    }
    assert_eq!(datagrams.traffic().dropped_outage, 4);
    assert_eq!(datagrams.next_deadline(), Some(ms(10)));
    assert_eq!(arrivals(&mut datagrams), [(0, 10), (300, 301)]);
    let expected = [
        (0, 100),
        (95, 400),
        (96, 410),
        (150, 420),
        (299, 430),
        (300, 440),
    ];
    assert_eq!(arrivals(&mut stream), expected);
}

#[test]
fn the_queue_is_empty_after_an_outage() {
    let mut shaper = shaper(&[(100, 800), (100, 0)], Way::CLEAN);
    assert_eq!(shaper.push(ms(0), 9000, DATAGRAM, 0), None);
    assert_eq!(shaper.push(ms(0), 9000, DATAGRAM, 1), Some(Refusal::Outage));
    assert_eq!(shaper.push(ms(200), 100, DATAGRAM, 2), None);
    assert_eq!(arrivals(&mut shaper), [(0, 90), (2, 201)]);
}

#[test]
fn a_full_queue_drops_the_newest_and_a_datagram_alone_always_fits() {
    let mut shaper = shaper(
        &[(1000, 800)],
        Way {
            queue_bytes: 1000,
            ..Way::CLEAN
        },
    );
    assert_eq!(shaper.push(ms(0), 1500, DATAGRAM, 0), None);
    assert_eq!(shaper.room_bytes(ms(0)), 0);
    assert_eq!(shaper.push(ms(0), 1, DATAGRAM, 1), Some(Refusal::QueueFull));
    assert_eq!(shaper.room_bytes(ms(10)), 500);
    assert_eq!(
        shaper.push(ms(10), 501, DATAGRAM, 2),
        Some(Refusal::QueueFull)
    );
    assert_eq!(shaper.push(ms(10), 500, DATAGRAM, 3), None);
    assert_eq!(arrivals(&mut shaper), [(0, 15), (3, 20)]);
    assert_eq!(shaper.traffic().dropped_queue, 2);
    assert_eq!(shaper.traffic().offered_bytes, 2502);
    assert_eq!(shaper.traffic().delivered_bytes, 2000);
}

#[test]
fn a_forced_outage_takes_what_waits_and_spares_what_flies() {
    let mut shaper = shaper(
        &[(1000, 800)],
        Way {
            extra_latency: ms(50),
            ..Way::CLEAN
        },
    );
    for packet in 0..3 {
        shaper.push(ms(0), 1000, DATAGRAM, packet);
    }
    shaper.set_up(ms(15), false);
    assert_eq!(shaper.push(ms(20), 10, DATAGRAM, 3), Some(Refusal::Outage));
    assert_eq!(shaper.next_deadline(), Some(ms(60)));
    shaper.set_up(ms(500), true);
    shaper.push(ms(500), 100, DATAGRAM, 4);
    assert_eq!(arrivals(&mut shaper), [(0, 60), (4, 551)]);
    assert_eq!(shaper.traffic().dropped_outage, 3);
}

#[test]
fn a_stream_goes_on_after_a_forced_outage_where_it_stopped() {
    let mut shaper = shaper(&[(1000, 800)], Way::CLEAN);
    shaper.push(ms(0), 1000, STREAM, 0);
    shaper.push(ms(0), 1000, DATAGRAM, 1);
    shaper.push(ms(0), 1000, STREAM, 2);
    shaper.set_up(ms(4), false);
    shaper.set_up(ms(5), false);
    assert_eq!(shaper.next_deadline(), None);
    shaper.push(ms(50), 1000, STREAM, 3);
    shaper.set_up(ms(104), true);
    assert_eq!(arrivals(&mut shaper), [(0, 110), (2, 120), (3, 130)]);
}

#[test]
fn another_profile_goes_on_with_what_waits() {
    let mut shaper = shaper(&[(1000, 800)], Way::CLEAN);
    for packet in 0..2 {
        shaper.push(ms(0), 1000, STREAM, packet);
    }
    shaper.push(ms(0), 2000, DATAGRAM, 2);
    let slower = profile(&[(20, 400), (20, 0)], Way::CLEAN);
    shaper.set_profile(ms(5), &slower, Direction::Up);
    // Half of the first is left: 10 ms. The second meets the outage, the datagram dies in it.
    assert_eq!(shaper.room_bytes(ms(5)), 1024 * 1024 - 1500);
    assert_eq!(arrivals(&mut shaper), [(0, 15), (1, 55)]);
    assert_eq!(shaper.traffic().dropped_outage, 1);
}

#[test]
fn a_dead_link_refuses_datagrams_and_never_wakes_for_streams() {
    let mut shaper = shaper(&[(1000, 0)], Way::CLEAN);
    assert_eq!(shaper.push(ms(0), 0, DATAGRAM, 0), Some(Refusal::Outage));
    assert_eq!(shaper.push(ms(0), 1, STREAM, 1), None);
    assert_eq!(shaper.next_deadline(), None);
    assert_eq!(arrivals(&mut shaper), []);
}

#[test]
fn the_seed_decides_how_many_are_lost() {
    let (arrived, traffic) = thousand(Way {
        loss_per_mille: 50,
        ..Way::CLEAN
    });
    assert_eq!(traffic.dropped_loss, 57);
    assert_eq!(arrived.len(), 1000 - 57);
    assert_eq!(traffic.delivered_packets, 1000 - 57);
    assert!(arrived.is_sorted());
    assert_eq!(
        thousand(Way {
            loss_per_mille: 1000,
            ..Way::CLEAN
        })
        .0
        .len(),
        0
    );
}

#[test]
fn a_lost_packet_still_takes_its_time() {
    let mut shaper = shaper(
        &[(1000, 800)],
        Way {
            loss_per_mille: 1000,
            ..Way::CLEAN
        },
    );
    shaper.push(ms(0), 1000, DATAGRAM, 0);
    shaper.push(ms(0), 1000, STREAM, 1);
    assert_eq!(arrivals(&mut shaper), [(1, 20)]);
}

#[test]
fn a_datagrams_luck_does_not_hang_on_other_kinds_of_faults() {
    let lossy = Way {
        loss_per_mille: 50,
        ..Way::CLEAN
    };
    let (alone, _) = thousand(lossy);
    let worse = Way {
        duplicate_per_mille: 500,
        reorder_per_mille: 500,
        ..lossy
    };
    let (mut among, traffic) = thousand(worse);
    among.sort_unstable();
    among.dedup();
    assert_eq!(among, alone);
    assert!(
        traffic.duplicated > 400 && traffic.reordered > 100,
        "{traffic:?}"
    );
}

#[test]
fn duplicates_come_twice_and_are_counted_apart() {
    let (arrived, traffic) = thousand(Way {
        duplicate_per_mille: 100,
        ..Way::CLEAN
    });
    assert_eq!(traffic.duplicated, 120);
    assert_eq!(traffic.delivered_packets, 1000);
    assert_eq!(arrived.len(), 1000 + 120);
    assert_eq!(traffic.reordered, 0);
}

#[test]
fn reordered_ones_are_those_that_arrive_after_a_later_one() {
    let (arrived, traffic) = thousand(Way {
        reorder_per_mille: 100,
        ..Way::CLEAN
    });
    let mut latest = 0;
    let mut overtaken = 0;
    for number in arrived {
        overtaken += u64::from(number < latest);
        latest = latest.max(number);
    }
    assert_eq!(traffic.reordered, overtaken);
    assert_eq!(overtaken, 124);
}

#[test]
fn jitter_delays_but_keeps_the_order() {
    let mut shaper = shaper(
        &[(1000, 8000)],
        Way {
            jitter: ms(30),
            ..Way::CLEAN
        },
    );
    for number in 0..100 {
        shaper.push(ms(number), 1000, DATAGRAM, number);
    }
    let mut longest = Duration::ZERO;
    for number in 0..100 {
        let delivery = shaper.poll(ms(5000)).unwrap();
        assert_eq!(delivery.packet, number);
        let late = delivery.at - ms(number + 1);
        assert!(late <= ms(30), "{late:?}");
        longest = longest.max(late);
    }
    assert!(longest > ms(20), "{longest:?}");
}

#[test]
fn over_any_log_no_more_is_delivered_than_it_lets_through() {
    let wishes = Synthetic::rough(Duration::from_mins(2));
    let profile = Profile::mobile(LinkLog::synthetic(3, &wishes).unwrap(), 3);
    let mut shaper = Shaper::new(&profile, Direction::Down);
    let mut delivered_bits = 0;
    let mut let_through_bits = 0;
    for at in 0..120_000 {
        // What the log lets through until `at`: one kbit/s is one bit a millisecond.
        while let Some(delivery) = shaper.poll(ms(at)) {
            delivered_bits += 1400 * 8;
            assert!(delivery.at <= ms(at));
        }
        assert!(
            delivered_bits <= let_through_bits,
            "{delivered_bits} at {at} ms"
        );
        let _refused = shaper.push(ms(at), 1400, DATAGRAM, at);
        let bits = u64::from(profile.log.step_at(ms(at)).bandwidth_kbps);
        let_through_bits += if bits < u64::from(OUTAGE_UNDER_KBPS) {
            0
        } else {
            bits
        };
    }
    // Kept busy, the link wastes only what an outage breaks off.
    assert!(
        delivered_bits * 100 > let_through_bits * 95,
        "{delivered_bits} of {let_through_bits}"
    );
}
