//! The power goes at every write of the metadata store, and before and after every request to the
//! bookie; the bookie itself loses nothing. `tests/crash.rs` does the same with the real one; here is
//! its control, which needs a bookie that breaks a rule on purpose.

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::Path;
use std::sync::Arc;

use crate::LogConfig;
use crate::bookie::BookieConfig;
use crate::client::memory_bookie::MemoryBookie;
use crate::disk::{Disk, FaultyDisk, OpenHow};
use crate::metadata::RedbMeta;
use crate::stream::Log;

use crate as crate_under_test;

#[path = "../../tests/workload/mod.rs"]
mod workload;

fn open(disk: &FaultyDisk, bookie: &Arc<MemoryBookie>) -> Result<Log, String> {
    let text = |error: &dyn ToString| error.to_string();
    let dir = Path::new("/data");
    disk.create_dir(dir).map_err(|e| text(&e))?;
    let power = dir.join("power");
    let how = if disk.exists(&power).map_err(|e| text(&e))? {
        OpenHow::Write
    } else {
        OpenHow::CreateNew
    };
    bookie.power(disk.open(&power, how, false).map_err(|e| text(&e))?);
    let meta = RedbMeta::open(disk, &dir.join("meta.redb")).map_err(|e| text(&e))?;
    Log::over(bookie.clone(), Arc::new(meta)).map_err(|e| text(&e))
}

#[test]
fn a_cut_anywhere_leaves_what_was_acknowledged_and_nothing_invented() {
    let mut cut = 0;
    loop {
        let (disk, bookie) = (FaultyDisk::new(), Arc::new(MemoryBookie::default()));
        disk.crash_after(cut);
        let mut model = workload::Model::default();
        let ran = model.run(&|| open(&disk, &bookie));
        assert!(ran.is_ok() || disk.is_cut(), "cut {cut}: {ran:?}");
        for seed in 0..2 {
            let (found, bookie) = (disk.reboot(seed), Arc::new(bookie.copy()));
            let told = format!("cut at operation {cut}, reboot seed {seed}");
            model.clone().check(&|| open(&found, &bookie), &told);
        }
        if !disk.is_cut() {
            break;
        }
        cut += 1;
    }
    assert!(cut > 300, "the workload has {cut} operations");
}

/// The control of `tests/crash.rs`: acknowledging before the journal is synced must be found out.
#[test]
fn acknowledging_before_the_sync_is_found_out() {
    let hasty = BookieConfig {
        journal_file_bytes: 64 << 10,
        write_cache_bytes: 512,
        background: false,
        acknowledge_before_sync: true,
        ..BookieConfig::default()
    };
    let open = |disk: &FaultyDisk| {
        let (disk, bookie) = (Some(Arc::new(disk.clone()) as Arc<_>), hasty.clone());
        let config = LogConfig { disk, bookie, ..LogConfig::default() };
        Log::open(Path::new("/data"), config).map_err(|error| error.to_string())
    };
    let found = (60..600).step_by(3).any(|cut| {
        let disk = FaultyDisk::new();
        disk.crash_after(cut);
        let mut model = workload::Model::default();
        let ran = model.run(&|| open(&disk));
        assert!(ran.is_err(), "cut {cut} is behind the end");
        (0..3).any(|seed| {
            let found = disk.reboot(seed);
            let check = || model.clone().check(&|| open(&found), "as it must be");
            catch_unwind(AssertUnwindSafe(check)).is_err()
        })
    });
    assert!(found, "these tests would not notice a lost record");
}
