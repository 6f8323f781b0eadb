//! The background scrubber: everything is read again and again, and damage is told before a reader meets it.

use super::*;

const SLOT: u64 = (40 + 1000_u64).next_multiple_of(8);

/// A ledger over many extents.
fn live(disk: &FaultyDisk, config: BookieConfig) -> Bookie {
    let bookie = try_open(disk, config).unwrap();
    done(ask(&bookie, create_replicated(1, 1)));
    for entry in 0..60 {
        done(ask(&bookie, add_bytes(1, entry, 1, payload(1, entry, 1000))));
        if entry % 10 == 9 {
            bookie.checkpoint().unwrap();
        }
    }
    bookie
}

fn extents(disk: &FaultyDisk) -> Vec<PathBuf> {
    let files = disk.files().into_iter().map(|(path, _)| path);
    files.filter(|path| path.starts_with("/b/extents")).collect()
}

/// Scrubs until everything was read once more.
fn turn(bookie: &Bookie) {
    let turns = bookie.stats().scrub_turns;
    let most = 10_000;
    assert!((0..most).any(|_| bookie.scrub_some().scrub_turns > turns));
}

#[test]
fn a_turn_reads_every_entry_and_finds_what_is_damaged() {
    let disk = FaultyDisk::new();
    let bookie = live(&disk, small());
    turn(&bookie);
    let once = bookie.stats().scrubbed_bytes;
    assert!((60_000..70_000).contains(&once), "{once}");
    assert!(bookie.damaged().is_empty());
    let hurt = extents(&disk).swap_remove(2);
    disk.flip(&hurt, 4096 + SLOT + 500, 8);
    disk.flip(&extents(&disk)[0], 9, 1);
    turn(&bookie);
    let places = bookie.damaged();
    assert_eq!((places.len(), bookie.stats().damaged), (2, 2), "{places:?}");
    let entry = places[1].entry.unwrap();
    assert_eq!((&places[1].damage.file, entry.ledger), (&hurt, LedgerId(1)));
    let reply = ask(&bookie, read(1, entry.entry.0));
    assert!(matches!(reply, Reply::Unknown(_)), "{reply:?}");
    // Told once, however often it is found; and no more once it was mended.
    turn(&bookie);
    assert_eq!(bookie.damaged().len(), 2);
    let whole = add_bytes(1, entry.entry.0, 1, payload(1, entry.entry.0, 1000));
    let Request::Add { ledger, entry, term, lac, crc, payload, .. } = whole else { unreachable!() };
    done(ask(&bookie, Request::Add { ledger, entry, term, lac, crc, copy: true, payload }));
    bookie.checkpoint().unwrap();
    assert_eq!(bookie.damaged().len(), 1);
}

#[test]
fn a_restart_goes_on_where_the_scrub_was() {
    let disk = FaultyDisk::new();
    let bookie = live(&disk, small());
    let all = extents(&disk).len() as u64;
    turn(&bookie);
    let per_turn = bookie.stats().scrubbed_bytes;
    for _ in 0..all / 2 {
        bookie.scrub_some();
    }
    drop(bookie);
    let bookie = open(&disk);
    turn(&bookie);
    let rest = bookie.stats().scrubbed_bytes;
    assert!(rest > 0 && rest < per_turn * 3 / 4, "{rest} of {per_turn}");
    // Whatever a power cut left of the note, the scrub begins somewhere.
    for seed in 0..10 {
        let bookie = open(&disk.reboot(seed));
        turn(&bookie);
        turn(&bookie);
        assert!(bookie.stats().scrubbed_bytes >= per_turn);
    }
}

#[test]
fn the_background_finds_damage_by_itself_and_stops_when_told() {
    let disk = FaultyDisk::new();
    drop(live(&disk, small()));
    disk.flip(&extents(&disk)[1], 4096 + 500, 8);
    let config = BookieConfig { background: true, scrub_bytes_per_s: u64::MAX, ..small() };
    let bookie = try_open(&disk, config).unwrap();
    while bookie.damaged().is_empty() {
        std::thread::yield_now();
        done(ask(&bookie, add(1, 60, 1)));
    }
    bookie.close().unwrap();
}
