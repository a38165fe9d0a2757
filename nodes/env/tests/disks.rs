//! What every disk must do, and what the simulated one loses.

use std::io::{self, ErrorKind};
use std::path::{Path, PathBuf};

use rdcq_env::disk::{create_dir_durable, write_durable};
use rdcq_env::{Disk, EntryKind, Fault, FileAttributes, Mode, SimDisk, SystemDisk};

/// Runs a check on both disks, each in a folder of its own.
fn check(on_disk: impl Fn(&dyn Disk, &Path)) {
    let folder = tempfile::tempdir().expect("a temporary folder");
    on_disk(&SystemDisk, folder.path());
    let simulated = SimDisk::new();
    simulated.create_dir_all(Path::new("/node")).expect("an empty disk takes a folder");
    on_disk(&simulated, Path::new("/node"));
}

fn kind_of<T>(result: io::Result<T>) -> ErrorKind {
    result.err().expect("an error").kind()
}

#[test]
fn what_is_written_at_a_place_is_read_there() {
    check(|disk, root| {
        let file = disk.create_new(&root.join("a"), Mode::Private).unwrap();
        file.write_all_at(b"light", 6).unwrap();
        file.write_all_at(b"first ", 0).unwrap();
        assert_eq!(disk.read(&root.join("a"), 100).unwrap(), b"first light");
        let mut buffer = [0; 5];
        disk.open(&root.join("a")).unwrap().read_exact_at(&mut buffer, 6).unwrap();
        assert_eq!(&buffer, b"light");
        assert_eq!(file.read_at(&mut buffer, 100).unwrap(), 0);
        assert_eq!(kind_of(file.read_exact_at(&mut buffer, 8)), ErrorKind::UnexpectedEof);
    });
}

#[test]
fn lengths_grow_with_zeros_and_shrink() {
    check(|disk, root| {
        let file = disk.create_new(&root.join("a"), Mode::Shared).unwrap();
        file.allocate(0).unwrap();
        assert!(file.is_empty().unwrap());
        file.write_all_at(b"xyz", 0).unwrap();
        file.allocate(5).unwrap();
        file.allocate(2).unwrap();
        assert_eq!(disk.read(&root.join("a"), 5).unwrap(), b"xyz\0\0");
        file.set_len(2).unwrap();
        assert_eq!(file.len().unwrap(), 2);
        file.sync_data().unwrap();
        file.sync_all().unwrap();
        assert_eq!(disk.metadata(&root.join("a")).unwrap().len, 2);
    });
}

#[test]
fn a_file_over_the_maximum_is_not_read() {
    check(|disk, root| {
        write_durable(disk, &root.join("a"), &[7; 11], Mode::Private).unwrap();
        assert_eq!(kind_of(disk.read(&root.join("a"), 10)), ErrorKind::FileTooLarge);
        assert_eq!(disk.read(&root.join("a"), 11).unwrap().len(), 11);
    });
}

#[test]
fn a_taken_name_is_not_created_again_and_a_missing_one_not_opened() {
    check(|disk, root| {
        disk.create_new(&root.join("a"), Mode::Private).unwrap();
        assert_eq!(kind_of(disk.create_new(&root.join("a"), Mode::Private)), ErrorKind::AlreadyExists);
        assert_eq!(kind_of(disk.open(&root.join("b"))), ErrorKind::NotFound);
        assert_eq!(kind_of(disk.create_new(&root.join("no/a"), Mode::Private)), ErrorKind::NotFound);
        assert_eq!(kind_of(disk.remove_file(&root.join("b"))), ErrorKind::NotFound);
        assert_eq!(kind_of(disk.rename(&root.join("b"), &root.join("c"))), ErrorKind::NotFound);
        assert_eq!(kind_of(disk.read_dir(&root.join("b"))), ErrorKind::NotFound);
        assert_eq!(kind_of(disk.metadata(&root.join("b"))), ErrorKind::NotFound);
    });
}

#[test]
fn a_rename_replaces_a_file_and_an_open_handle_keeps_the_old_one() {
    check(|disk, root| {
        create_dir_durable(disk, &root.join("deep/er")).unwrap();
        write_durable(disk, &root.join("a"), b"new", Mode::Private).unwrap();
        write_durable(disk, &root.join("deep/er/b"), b"old", Mode::Private).unwrap();
        let old = disk.open(&root.join("deep/er/b")).unwrap();
        disk.rename(&root.join("a"), &root.join("deep/er/b")).unwrap();
        assert!(!disk.exists(&root.join("a")).unwrap());
        assert_eq!(disk.read(&root.join("deep/er/b"), 10).unwrap(), b"new");
        let mut buffer = [0; 3];
        old.read_exact_at(&mut buffer, 0).unwrap();
        assert_eq!(&buffer, b"old");
    });
}

#[test]
fn a_rename_to_a_new_name_replaces_nothing() {
    check(|disk, root| {
        let at = |name: &str| root.join(name);
        disk.create_dir_all(&at("folder")).unwrap();
        write_durable(disk, &at("a"), b"a", Mode::Private).unwrap();
        write_durable(disk, &at("b"), b"b", Mode::Private).unwrap();
        for taken in ["b", "folder", "a"] {
            assert_eq!(kind_of(disk.rename_new(&at("a"), &at(taken))), ErrorKind::AlreadyExists, "{taken}");
        }
        assert_eq!(kind_of(disk.rename_new(&at("none"), &at("c"))), ErrorKind::NotFound);
        disk.rename_new(&at("a"), &at("folder/c")).unwrap();
        assert!(!disk.exists(&at("a")).unwrap());
        assert_eq!(disk.read(&at("folder/c"), 10).unwrap(), b"a");
        assert_eq!(disk.read(&at("b"), 10).unwrap(), b"b");
    });
}

#[test]
fn a_stamp_tells_that_a_file_was_written_to_and_not_that_it_was_read_or_renamed() {
    check(|disk, root| {
        let file = disk.create_new(&root.join("a"), Mode::Private).unwrap();
        file.write_all_at(b"old", 0).unwrap();
        let before = file.stamp().unwrap();
        // File systems take the time from a clock that ticks every few milliseconds.
        std::thread::sleep(std::time::Duration::from_millis(50));
        disk.read(&root.join("a"), 10).unwrap();
        disk.rename(&root.join("a"), &root.join("b")).unwrap();
        assert_eq!(file.stamp().unwrap(), before);
        file.write_all_at(b"new", 0).unwrap();
        let written = file.stamp().unwrap();
        assert!(written != before && written.len == before.len);
        file.set_len(1).unwrap();
        assert_eq!(file.stamp().unwrap().len, 1);
    });
}

#[test]
fn a_folder_lists_its_names_in_order_with_their_kinds() {
    check(|disk, root| {
        write_durable(disk, &root.join("b"), b"", Mode::Private).unwrap();
        disk.create_dir_all(&root.join("a/x")).unwrap();
        write_durable(disk, &root.join("c"), b"", Mode::Private).unwrap();
        let names = |disk: &dyn Disk| -> Vec<_> {
            let entries = disk.read_dir(root).unwrap();
            entries.into_iter().map(|entry| (entry.name.into_string().unwrap(), entry.kind)).collect()
        };
        let expected = [("a", EntryKind::Directory), ("b", EntryKind::File), ("c", EntryKind::File)];
        assert_eq!(names(disk), expected.map(|(name, kind)| (name.to_owned(), kind)));
        disk.remove_dir_all(&root.join("a")).unwrap();
        disk.remove_file(&root.join("b")).unwrap();
        assert_eq!(names(disk), [("c".to_owned(), EntryKind::File)]);
        assert_eq!(disk.metadata(root).unwrap().kind, EntryKind::Directory);
    });
}

#[test]
fn a_durable_write_replaces_the_file_and_a_leftover_of_an_earlier_try() {
    check(|disk, root| {
        disk.create_new(&root.join("a.tmp"), Mode::Private).unwrap().write_all_at(b"leftover", 0).unwrap();
        write_durable(disk, &root.join("a"), b"one", Mode::Private).unwrap();
        write_durable(disk, &root.join("a"), b"two", Mode::Shared).unwrap();
        assert_eq!(disk.read(&root.join("a"), 10).unwrap(), b"two");
        assert!(!disk.exists(&root.join("a.tmp")).unwrap());
        assert!(disk.free_bytes(root).unwrap() > 0);
    });
}

#[cfg(unix)]
#[test]
fn a_private_file_is_its_owner_s_alone() {
    use std::os::unix::fs::PermissionsExt as _;
    let folder = tempfile::tempdir().unwrap();
    SystemDisk.create_new(&folder.path().join("key"), Mode::Private).unwrap();
    let mode = std::fs::metadata(folder.path().join("key")).unwrap().permissions().mode();
    assert_eq!(mode & 0o777, 0o600);
}

fn path(name: &str) -> PathBuf {
    Path::new("/").join(name)
}

/// A disk with a durable file `/a` of the bytes `old`.
fn disk_with_a() -> SimDisk {
    let disk = SimDisk::new();
    write_durable(&disk, &path("a"), b"old", Mode::Private).expect("an empty disk takes a file");
    disk
}

#[test]
fn a_crash_takes_back_unsynced_bytes_and_lengths() {
    let disk = disk_with_a();
    let file = disk.open(&path("a")).unwrap();
    file.write_all_at(b"newer", 1).unwrap();
    file.set_len(2).unwrap();
    file.write_all_at(b"!", 9).unwrap();
    disk.crash();
    assert_eq!(disk.read(&path("a"), 10).unwrap(), b"old");
    assert_eq!(disk.used_bytes(), 3);
    assert!(file.write_all_at(b"x", 0).is_err(), "a handle outlived the crash");
}

#[test]
fn a_durable_name_of_an_unsynced_file_is_an_empty_file_after_a_crash() {
    let disk = disk_with_a();
    disk.create_new(&path("b"), Mode::Private).unwrap().write_all_at(b"new", 0).unwrap();
    disk.rename(&path("b"), &path("a")).unwrap();
    disk.sync_dir(&path("")).unwrap();
    disk.crash();
    assert_eq!(disk.read(&path("a"), 10).unwrap(), b"");
}

#[test]
fn a_crash_takes_back_names_until_their_folder_is_synced() {
    let disk = disk_with_a();
    disk.create_dir_all(&path("dir")).unwrap();
    disk.sync_dir(&path("")).unwrap();
    let file = disk.create_new(&path("b"), Mode::Private).unwrap();
    file.write_all_at(b"new", 0).unwrap();
    file.sync_all().unwrap();
    disk.rename(&path("a"), &path("dir/a")).unwrap();
    disk.crash();
    assert!(disk.exists(&path("a")).unwrap() && !disk.exists(&path("dir/a")).unwrap());
    assert!(!disk.exists(&path("b")).unwrap());

    disk.rename(&path("a"), &path("dir/a")).unwrap();
    disk.sync_dir(&path("dir")).unwrap();
    disk.crash();
    assert_eq!(disk.read(&path("dir/a"), 10).unwrap(), b"old");
    assert!(disk.exists(&path("a")).unwrap(), "the old name went without a sync of its folder");

    disk.remove_file(&path("a")).unwrap();
    disk.crash();
    assert!(disk.exists(&path("a")).unwrap());
    disk.remove_file(&path("a")).unwrap();
    disk.sync_dir(&path("")).unwrap();
    disk.crash();
    assert!(!disk.exists(&path("a")).unwrap());
}

#[test]
fn a_partial_crash_keeps_an_early_part_of_the_changes_and_a_moved_file_somewhere() {
    let mut seen = std::collections::BTreeSet::new();
    for seed in 0..64 {
        let disk = disk_with_a();
        create_dir_durable(&disk, &path("dir")).unwrap();
        let file = disk.open(&path("a")).unwrap();
        file.write_all_at(b"1", 0).unwrap();
        file.write_all_at(b"2", 1).unwrap();
        disk.rename(&path("a"), &path("dir/a")).unwrap();
        disk.crash_partly(seed);
        let bytes = disk.read(&path("a"), 10).unwrap();
        seen.insert((bytes, disk.exists(&path("dir/a")).unwrap()));
    }
    let contents: Vec<_> = seen.iter().map(|(bytes, _)| &bytes[..]).collect();
    assert!([b"old", b"1ld", b"12d"].iter().all(|bytes| contents.contains(&&bytes[..])), "{seen:?}");
    assert_eq!(seen.len(), 6, "{seen:?}");
}

#[test]
fn a_durable_write_is_all_there_or_not_at_all_wherever_the_power_fails() {
    let steps = {
        let disk = disk_with_a();
        let before = disk.changes();
        write_durable(&disk, &path("a"), b"new", Mode::Private).unwrap();
        disk.changes() - before
    };
    for after in 0..=steps {
        for seed in 0..8 {
            let disk = disk_with_a();
            disk.set_fault(Some(Fault::PowerLoss { after }));
            let written = write_durable(&disk, &path("a"), b"new", Mode::Private);
            assert_eq!(written.is_ok(), after == steps);
            if seed == 0 {
                disk.crash()
            } else {
                disk.crash_partly(seed)
            }
            let bytes = disk.read(&path("a"), 10).unwrap();
            assert!(
                bytes == b"new" || (bytes == b"old" && after < steps),
                "step {after}, seed {seed}: {bytes:?}"
            );
        }
    }
}

#[test]
fn each_sync_of_a_durable_write_is_needed() {
    for nth in 0..2 {
        let disk = disk_with_a();
        disk.set_fault(Some(Fault::SkipSync { nth }));
        write_durable(&disk, &path("a"), b"new", Mode::Private).unwrap();
        disk.crash();
        assert_ne!(disk.read(&path("a"), 10).unwrap(), b"new", "without sync {nth}");
    }
}

#[test]
fn after_a_failed_sync_later_ones_lie() {
    let disk = disk_with_a();
    let file = disk.open(&path("a")).unwrap();
    file.write_all_at(b"new", 0).unwrap();
    disk.set_fault(Some(Fault::FailSync { nth: 0 }));
    assert!(file.sync_data().is_err());
    file.sync_data().unwrap();
    disk.crash();
    assert_eq!(disk.read(&path("a"), 10).unwrap(), b"old");
}

#[test]
fn a_restart_keeps_what_was_not_synced_and_ends_all_handles() {
    let disk = disk_with_a();
    let file = disk.open(&path("a")).unwrap();
    file.write_all_at(b"new", 0).unwrap();
    disk.restart();
    assert!(file.sync_data().is_err());
    assert_eq!(disk.read(&path("a"), 10).unwrap(), b"new");
    disk.crash();
    assert_eq!(disk.read(&path("a"), 10).unwrap(), b"old");
}

#[test]
fn a_folder_that_a_killed_process_made_is_durable_once_it_is_asked_for_again() {
    let steps = 2 * 2;
    for after in 0..=steps {
        let disk = SimDisk::new();
        disk.set_fault(Some(Fault::PowerLoss { after }));
        assert_eq!(create_dir_durable(&disk, &path("dir/in")).is_ok(), after > steps);
        disk.restart();
        create_dir_durable(&disk, &path("dir/in")).unwrap();
        disk.crash();
        assert!(disk.exists(&path("dir/in")).unwrap(), "step {after}");
    }
}

#[test]
fn a_full_disk_says_so_and_takes_more_once_there_is_room() {
    let disk = SimDisk::with_capacity(10);
    let file = disk.create_new(&path("a"), Mode::Private).unwrap();
    file.write_all_at(&[1; 6], 0).unwrap();
    assert_eq!(kind_of(file.allocate(11)), ErrorKind::StorageFull);
    assert_eq!(kind_of(file.write_all_at(&[2; 6], 5)), ErrorKind::StorageFull);
    file.write_all_at(&[2; 6], 0).unwrap();
    assert_eq!(disk.free_bytes(&path("")).unwrap(), 4);
    disk.set_capacity(11);
    file.allocate(11).unwrap();
    disk.remove_file(&path("a")).unwrap();
    assert_eq!(disk.free_bytes(&path("")).unwrap(), 11);
}

#[test]
fn a_path_that_climbs_is_refused() {
    assert_eq!(kind_of(SimDisk::new().open(Path::new("/a/../b"))), ErrorKind::InvalidInput);
}

#[test]
fn a_file_takes_permissions_and_a_time_and_tells_them() {
    check(|disk, folder| {
        let file = disk.create_new(&folder.join("a"), Mode::Private).unwrap();
        assert_eq!(file.attributes().unwrap().mode, 0o600);
        file.write_all_at(b"x", 0).unwrap();
        for (mode, modified_unix_ns) in [(0o640, 1_700_000_000_123_456_789), (0o4755, 0), (0o444, -1)] {
            let attributes = FileAttributes { mode, modified_unix_ns };
            file.set_attributes(attributes).unwrap();
            file.sync_all().unwrap();
            assert_eq!(disk.open_read(&folder.join("a")).unwrap().attributes().unwrap(), attributes);
        }
        assert_eq!(disk.read(&folder.join("a"), 9).unwrap(), b"x");
    });
}
