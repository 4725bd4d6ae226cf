//! Devices that come and go while the relay crashes, its disk fails and documents are moved about;
//! then calm, after which everybody holds the same and nothing acknowledged is missing.

use std::time::Duration;

use gridbeat_base::{DocumentId, Random, Scope};
use gridbeat_relay_core::SessionId;

use crate::device::Device;
use crate::world::{World, scope};

const SEEDS: u64 = 12;
const STEPS: usize = 150;

struct Storm {
    random: Random,
    world: World,
    devices: Vec<Device>,
    scopes: Vec<Scope>,
    documents: Vec<DocumentId>,
}

impl Storm {
    fn new(seed: u64) -> Self {
        let mut world = World::new();
        let scopes: Vec<_> = ["east", "west", "north"].map(scope).into();
        let granted: [&[usize]; 4] = [&[0], &[0, 1], &[1, 2], &[0, 1, 2]];
        let devices = (1..).zip(granted).map(|(number, granted)| {
            let granted: Vec<_> = granted.iter().map(|it| &scopes[*it]).collect();
            Device::enrolled(&mut world, number, &granted)
        });
        let devices = devices.collect();
        Self {
            random: Random::from_number(seed),
            world,
            devices,
            scopes,
            documents: Vec::new(),
        }
    }

    fn pick(&mut self, end: usize) -> usize {
        usize::try_from(self.random.below(end as u64)).unwrap()
    }

    fn is_connected(&self, device: usize) -> bool {
        let session = self.devices[device].session;
        session != SessionId(0) && !self.world.closed.contains_key(&session)
    }

    fn step(&mut self) {
        let device = self.pick(self.devices.len());
        match self.random.below(100) {
            0..35 => self.save(device),
            35..55 if !self.is_connected(device) => self.devices[device].greet(&mut self.world),
            35..55 => self.devices[device].send_outbox(&mut self.world),
            55..75 => {
                for _ in 0..self.random.below(6) {
                    self.world.step();
                }
            }
            75..84 if self.is_connected(device) => self.devices[device].take(&mut self.world),
            84..90 => self.devices[device].disconnect(&mut self.world),
            90..94 => self.place(),
            94..96 => self.world.break_disk(false),
            96..98 => self.world.break_disk(true),
            98 => self.restart(),
            _ => self.world.wait(Duration::from_secs(5)),
        }
    }

    fn save(&mut self, device: usize) {
        let held: Vec<_> = self.devices[device]
            .scopes
            .iter()
            .flat_map(|(scope, mirror)| mirror.heads.keys().map(|id| (scope.clone(), *id)))
            .collect();
        let value = self.random.number();
        if held.is_empty() || self.random.chance(300) {
            let granted: Vec<_> = self.devices[device].scopes.keys().cloned().collect();
            let scope = granted[self.pick(granted.len())].clone();
            let id = DocumentId::mint(self.world.now.wall, &mut self.random);
            self.documents.push(id);
            self.devices[device].save(&scope, id, &format!("text={value}"));
        } else {
            let (scope, id) = held[self.pick(held.len())].clone();
            self.devices[device].save(&scope, id, &format!("field{}={value}", value % 3));
        }
    }

    fn place(&mut self) {
        if self.documents.is_empty() {
            return;
        }
        let (document, scope) = (
            self.pick(self.documents.len()),
            self.pick(self.scopes.len()),
        );
        let id = self.documents[document];
        let scope = self.scopes[scope].clone();
        let attach = self.random.chance(700);
        self.world.relay.place(self.world.now, id, scope, attach);
        self.world.collect();
    }

    fn restart(&mut self) {
        self.world.break_disk(true);
        self.world.restart();
        for device in &mut self.devices {
            device.disconnect(&mut self.world);
        }
    }

    fn calm(&mut self) {
        self.world.break_disk(true);
        self.world.pump();
        for device in &mut self.devices {
            device.disconnect(&mut self.world);
            device.connect(&mut self.world);
        }
        for device in &mut self.devices {
            device.send_outbox(&mut self.world);
        }
        // Once around for what each pushed, and once for what that was to the others.
        for _ in 0..2 {
            self.world.pump();
            for device in &mut self.devices {
                device.take(&mut self.world);
            }
        }
    }

    fn check(&self) {
        for row in self.world.store.scopes().unwrap() {
            for device in &self.devices {
                let Some(mirror) = device.scopes.get(&row.scope) else {
                    continue;
                };
                assert_eq!((mirror.cursor, mirror.digest()), (row.head, row.digest));
                assert_eq!(mirror.heads.len() as u64, row.documents);
            }
        }
        for device in &self.devices {
            for (id, hash) in &device.durable {
                assert!(self.world.store.contains(*id, hash).unwrap());
            }
        }
        self.world.store.check().unwrap();
        assert_eq!(self.world.relay.counters().sessions_misbehaved, 0);
        assert_eq!(self.world.relay.counters().digest_mismatches, 0);
    }
}

#[test]
fn after_any_storm_all_hold_the_same_and_nothing_acknowledged_is_missing() {
    for seed in 0..SEEDS {
        println!("seed {seed}");
        let mut storm = Storm::new(seed);
        for _ in 0..STEPS {
            storm.step();
        }
        storm.calm();
        storm.check();
    }
}
