//! Frames and packs from anybody: read within bounds, and what is read can be said again.

use gridbeat_base::{Digest, Scope};
use gridbeat_sync_protocol::{
    Compared, Feed, Frame, FrameReader, PackForm, Push, Snapshot, decode, encode, write_prefixed,
};

use crate::input::Input;

/// Longest input whose frame is written again: beyond it a frame's canonical form may be over a limit.
const WRITTEN_AGAIN_MAX: usize = 64 * 1024;

/// How a stored pack begins, which is the end of the frames that have one: with changes as they are, and taken apart.
const STORED_PACKS: [[u8; 2]; 2] = [[0x82, 0x00], [0x82, 0x02]];

/// Reads any bytes as a frame, and as a stream of frames cut anywhere.
pub(crate) fn frame(bytes: &[u8]) {
    read_and_say_again(bytes);
    let mut input = Input::new(bytes);
    let cut = usize::from(input.byte()) + 1;
    for mut reader in [FrameReader::for_relay(), FrameReader::for_device()] {
        for piece in input.rest.chunks(cut) {
            reader.handle(piece);
            while let Ok(Some(frame)) = reader.poll_frame() {
                assert!(frame.len() <= input.rest.len());
                read_and_say_again(frame);
            }
        }
    }
}

/// Reads any bytes as the body of a pack: stored, or as a compressor's output with any size declared.
pub(crate) fn pack(bytes: &[u8]) {
    let mut input = Input::new(bytes);
    let mode = input.byte();
    let apart = usize::from(mode & 0x40 != 0);
    let stored = STORED_PACKS[apart];
    let mut frame = encode(&without_body(mode));
    let pack = frame.windows(2).rposition(|it| it == STORED_PACKS[0]);
    frame.truncate(pack.expect("a body of a few bytes is stored"));
    if mode & 0x80 == 0 {
        frame.extend(stored);
    } else {
        let declared = input.number() as u32;
        frame.extend([0x83, stored[1] + 1, 0x1a]);
        frame.extend(declared.to_be_bytes());
    }
    frame.push(0x5a);
    frame.extend((input.rest.len() as u32).to_be_bytes());
    frame.extend(input.rest);
    read_and_say_again(&frame);
}

fn without_body(mode: u8) -> Frame {
    let scope = Scope::new("s").expect("a letter is a scope");
    let digest = Digest::from_bytes([0; 16]);
    if mode & 0x20 != 0 {
        return Frame::Snapshot(Snapshot {
            scope,
            number: 1,
            seq: 1,
            digest,
            mark: 0,
            last: true,
            documents: Vec::new(),
            form: PackForm::Whole,
        });
    }
    match mode % 3 {
        0 => Frame::Push(Push {
            form: PackForm::Whole,
            number: 1,
            after: 0,
            scope,
            documents: Vec::new(),
            seal: None,
        }),
        1 => Frame::Feed(Feed {
            form: PackForm::Whole,
            scope,
            first_seq: 1,
            digest,
            head: 1,
            entries: Vec::new(),
        }),
        _ => Frame::Compared(Compared {
            form: PackForm::Whole,
            scope,
            seq: 1,
            digest,
            last: true,
            documents: Vec::new(),
        }),
    }
}

fn read_and_say_again(bytes: &[u8]) {
    let Ok(frame) = decode(bytes) else {
        return;
    };
    if bytes.len() > WRITTEN_AGAIN_MAX {
        return;
    }
    let again = encode(&frame);
    assert_eq!(decode(&again).as_ref(), Ok(&frame));
    let mut stream = Vec::new();
    write_prefixed(&again, &mut stream);
    let mut reader = FrameReader::for_device();
    reader.handle(&stream);
    assert_eq!(reader.poll_frame(), Ok(Some(again.as_slice())));
}
