//! The disk forgets what it is meant to forget, and nothing else.

use snowtide::store::{Batch, Family, Medium};

use super::disk::{Disk, Failure};

fn put(key: u8, value: u8) -> Batch {
    let mut batch = Batch::default();
    batch.put(Family::Rows, [key], vec![value]);
    batch
}

fn held(disk: &Disk) -> Vec<(u8, u8)> {
    let mut cursor = disk.cursor(Family::Rows).unwrap();
    cursor.seek(&[]);
    let mut held = Vec::new();
    while let Some((key, value)) = cursor.item().unwrap() {
        held.push((key[0], value[0]));
        cursor.advance();
    }
    held
}

#[test]
fn a_power_cut_keeps_a_prefix_of_what_was_not_synced() {
    let disk = Disk::default();
    disk.write_synced(put(1, 1)).unwrap();
    disk.write_unsynced(put(1, 2)).unwrap();
    let mut removal = Batch::default();
    removal.delete_range(Family::Rows, [0], [9]);
    removal.put(Family::Rows, [5], vec![5]);
    disk.write_unsynced(removal).unwrap();
    assert_eq!(held(&disk), [(5, 5)]);
    disk.cut_power(1);
    assert_eq!(held(&disk), [(1, 2)]);
    disk.cut_power(0);
    assert_eq!(held(&disk), [(1, 1)]);
}

#[test]
fn a_sync_covers_everything_before_it() {
    let disk = Disk::default();
    disk.write_unsynced(put(1, 1)).unwrap();
    disk.write_synced(put(2, 2)).unwrap();
    disk.cut_power(0);
    assert_eq!(held(&disk), [(1, 1), (2, 2)]);
}

#[test]
fn a_failure_is_final_until_the_disk_is_opened_again() {
    let disk = Disk::default();
    disk.fail_next(Failure::Sync);
    disk.write_synced(put(1, 1)).unwrap_err();
    disk.write_synced(put(2, 2)).unwrap_err();
    disk.get(Family::Rows, &[1]).unwrap_err();
    disk.health().unwrap_err();
    disk.reopen();
    assert_eq!(held(&disk), [(1, 1)], "what was written may be there after all");
    disk.fail_next(Failure::Full);
    disk.write_synced(put(3, 3)).unwrap_err();
    disk.reopen();
    assert_eq!(held(&disk), [(1, 1)]);
}
