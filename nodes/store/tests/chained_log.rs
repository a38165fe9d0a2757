//! The log keeps what it acknowledged, and tells a torn end from damage.

use std::path::{Path, PathBuf};

use rdcq_env::{Disk, DiskFile, Env, Fault, SimDisk};
use rdcq_store::chained_log::Head;
use rdcq_store::{ChainedLog, LogError, StampError};

fn at() -> PathBuf {
    PathBuf::from("/node/tags.log")
}

async fn open(disk: &SimDisk) -> Result<(ChainedLog, Vec<String>), LogError> {
    open_as(disk, "herd-1").await
}

async fn open_as(disk: &SimDisk, herd: &str) -> Result<(ChainedLog, Vec<String>), LogError> {
    let env = Env::simulated(1, disk.clone());
    let mut seen = Vec::new();
    let herd = herd.parse().expect("a herd's name");
    let mut visit = |payload: &[u8]| seen.push(String::from_utf8_lossy(payload).into_owned());
    let log = ChainedLog::open(&env, at(), &herd, &mut visit).await?;
    Ok((log, seen))
}

fn payloads(texts: &[&str]) -> Vec<Vec<u8>> {
    texts.iter().map(|text| text.as_bytes().to_vec()).collect()
}

/// A disk with a log of the records `one`, `two` and `three` in appends of their own, and where each ends.
async fn three_records() -> (SimDisk, Vec<u64>) {
    let disk = SimDisk::new();
    let (log, _) = open(&disk).await.expect("an empty disk takes a log");
    let mut ends = vec![len(&disk)];
    for text in ["one", "two", "three"] {
        log.append(payloads(&[text])).await.expect("an append");
        ends.push(len(&disk));
    }
    (disk, ends)
}

fn len(disk: &SimDisk) -> u64 {
    disk.metadata(&at()).expect("the log exists").len
}

fn flip(file: &dyn DiskFile, offset: u64) {
    let mut byte = [0];
    file.read_exact_at(&mut byte, offset).expect("a byte of the file");
    file.write_all_at(&[byte[0] ^ 0x10], offset).expect("a byte of the file");
}

#[tokio::test(start_paused = true)]
async fn records_are_replayed_in_order_with_the_same_head() {
    let disk = SimDisk::new();
    let (log, seen) = open(&disk).await.unwrap();
    assert_eq!((seen, log.head().count), (vec![], 0));
    log.append(payloads(&["one", "two"])).await.unwrap();
    log.append(vec![]).await.unwrap();
    let head = log.append(payloads(&["three"])).await.unwrap();
    assert_eq!((head, head.count), (log.head(), 3));
    let (again, seen) = open(&disk).await.unwrap();
    assert_eq!(seen, ["one", "two", "three"]);
    assert_eq!(again.head(), head);
}

#[tokio::test(start_paused = true)]
async fn what_was_acknowledged_survives_a_crash_at_any_step() {
    let mut after = 0;
    loop {
        for seed in 0..6 {
            let disk = SimDisk::new();
            let (log, _) = open(&disk).await.unwrap();
            log.append(payloads(&["one"])).await.unwrap();
            disk.set_fault(Some(Fault::PowerLoss { after }));
            let two = log.append(payloads(&["two", "2"])).await.is_ok();
            let three = log.append(payloads(&["three"])).await.is_ok();
            if seed == 0 {
                disk.crash()
            } else {
                disk.crash_partly(seed)
            }
            let (_, seen) = open(&disk).await.unwrap();
            let all = ["one", "two", "2", "three"];
            let acknowledged = 1 + if two { 2 } else { 0 } + usize::from(three);
            assert!(
                seen.len() >= acknowledged && seen == all[..seen.len()],
                "step {after}, seed {seed}: {seen:?}"
            );
            if two && three {
                return;
            }
        }
        after += 1;
    }
}

#[tokio::test(start_paused = true)]
async fn without_its_sync_an_append_is_lost() {
    let (disk, _) = three_records().await;
    let (log, _) = open(&disk).await.unwrap();
    disk.set_fault(Some(Fault::SkipSync { nth: 0 }));
    log.append(payloads(&["four"])).await.unwrap();
    disk.crash();
    assert_eq!(open(&disk).await.unwrap().1, ["one", "two", "three"]);
}

#[tokio::test(start_paused = true)]
async fn an_end_cut_anywhere_loses_only_the_last_record_and_takes_new_ones() {
    let (disk, ends) = three_records().await;
    let whole = disk.read(&at(), 10_000).unwrap();
    for cut in ends[2]..ends[3] {
        let file = disk.open(&at()).unwrap();
        file.set_len(0).unwrap();
        file.write_all_at(&whole[..usize::try_from(cut).unwrap()], 0).unwrap();
        let (log, seen) = open(&disk).await.unwrap();
        assert_eq!(seen, ["one", "two"], "cut at {cut}");
        log.append(payloads(&["new"])).await.unwrap();
        assert_eq!(open(&disk).await.unwrap().1, ["one", "two", "new"]);
    }
}

#[tokio::test(start_paused = true)]
async fn a_flipped_bit_is_an_error_unless_it_is_in_the_last_record() {
    let (disk, ends) = three_records().await;
    for offset in ends[0]..ends[3] {
        let file = disk.open(&at()).unwrap();
        flip(&*file, offset);
        let record = ends.iter().rposition(|end| *end <= offset).unwrap();
        match open(&disk).await {
            Ok((_, seen)) => assert!(record == 2 && seen == ["one", "two"], "byte {offset}: {seen:?}"),
            Err(LogError::Damaged { offset: found, .. }) => {
                assert!(record < 2 && found == ends[record], "byte {offset}: found at {found}");
            }
            Err(other) => panic!("byte {offset}: {other}"),
        }
        if record == 2 {
            break;
        }
        flip(&*file, offset);
    }
}

#[tokio::test(start_paused = true)]
async fn a_hole_in_the_last_append_is_a_torn_end_even_if_later_parts_of_it_are_sound() {
    let (disk, ends) = three_records().await;
    let (log, _) = open(&disk).await.unwrap();
    log.append(payloads(&["four", "five", "six"])).await.unwrap();
    disk.open(&at()).unwrap().write_all_at(&[0; 12], ends[3]).unwrap();
    assert_eq!(open(&disk).await.unwrap().1, ["one", "two", "three"]);
    assert_eq!(len(&disk), ends[3]);
}

#[tokio::test(start_paused = true)]
async fn damage_far_before_a_sound_record_is_still_found() {
    let disk = SimDisk::new();
    let (log, _) = open(&disk).await.unwrap();
    let start = len(&disk);
    let large = vec![vec![7; ChainedLog::MAX_PAYLOAD_BYTES]; 200];
    log.append(large).await.unwrap();
    log.append(payloads(&["last"])).await.unwrap();
    flip(&*disk.open(&at()).unwrap(), start + 2);
    assert!(matches!(open(&disk).await, Err(LogError::Damaged { offset, .. }) if offset == start));
}

#[tokio::test(start_paused = true)]
async fn another_herd_s_log_and_a_damaged_header_are_refused() {
    let (disk, _) = three_records().await;
    let other = open_as(&disk, "herd-2").await.err().unwrap();
    assert!(matches!(&other, LogError::Stamp(StampError::Herd { .. })), "{other}");
    flip(&*disk.open(&at()).unwrap(), 12);
    let damaged = open(&disk).await.err().unwrap();
    assert!(matches!(&damaged, LogError::Stamp(StampError::Foreign { .. })), "{damaged}");
}

#[tokio::test(start_paused = true)]
async fn a_full_disk_refuses_the_append_and_leaves_the_log_as_it_was() {
    let (disk, _) = three_records().await;
    let (log, _) = open(&disk).await.unwrap();
    let head: Head = log.head();
    disk.set_capacity(disk.used_bytes() + 10);
    assert!(matches!(log.append(payloads(&["four"])).await, Err(LogError::Io { .. })));
    assert_eq!(log.head(), head);
    disk.set_capacity(SimDisk::AMPLE);
    log.append(payloads(&["five"])).await.unwrap();
    assert_eq!(open(&disk).await.unwrap().1, ["one", "two", "three", "five"]);
}

#[tokio::test(start_paused = true)]
async fn after_a_failed_sync_nothing_is_appended() {
    let (disk, _) = three_records().await;
    let (log, _) = open(&disk).await.unwrap();
    disk.set_fault(Some(Fault::FailSync { nth: 0 }));
    for text in ["four", "five"] {
        assert!(matches!(log.append(payloads(&[text])).await, Err(LogError::Poisoned { .. })));
    }
}

#[tokio::test(start_paused = true)]
async fn a_record_whose_sync_failed_is_not_there_after_a_restart() {
    let (disk, _) = three_records().await;
    let (log, _) = open(&disk).await.unwrap();
    disk.set_fault(Some(Fault::FailSync { nth: 0 }));
    assert!(matches!(log.append(payloads(&["four"])).await, Err(LogError::Poisoned { .. })));
    disk.restart();
    assert_eq!(open(&disk).await.unwrap().1, ["one", "two", "three"]);
    disk.crash();
    assert_eq!(open(&disk).await.unwrap().1, ["one", "two", "three"]);
}

#[tokio::test(start_paused = true)]
async fn wherever_the_process_is_killed_what_the_next_one_reads_survives_a_power_loss() {
    for after in 0.. {
        let disk = SimDisk::new();
        disk.set_fault(Some(Fault::PowerLoss { after }));
        let killed = match open(&disk).await {
            Ok((log, _)) => log.append(payloads(&["one", "two"])).await.is_err(),
            Err(_) => true,
        };
        disk.restart();
        let (log, read) = open(&disk).await.unwrap();
        disk.crash();
        let (again, left) = open(&disk).await.unwrap();
        assert_eq!((again.head(), left), (log.head(), read), "step {after}");
        if !killed {
            return;
        }
    }
}

#[tokio::test(start_paused = true)]
async fn payloads_of_impossible_lengths_are_refused() {
    let (log, _) = open(&SimDisk::new()).await.unwrap();
    let max = ChainedLog::MAX_PAYLOAD_BYTES;
    assert!(matches!(log.append(vec![vec![]]).await, Err(LogError::PayloadLength(0))));
    assert!(matches!(log.append(vec![vec![0; max + 1]]).await, Err(LogError::PayloadLength(_))));
    let many = vec![vec![0; max]; ChainedLog::MAX_APPEND_BYTES / max + 1];
    assert!(matches!(log.append(many).await, Err(LogError::AppendLength(_))));
}

#[tokio::test]
async fn a_log_on_a_real_disk_reads_back() {
    let folder = tempfile::tempdir().unwrap();
    let env = Env::system();
    let herd = "herd-1".parse().unwrap();
    let path: &Path = &folder.path().join("logs/tags.log");
    let log = ChainedLog::open(&env, path.into(), &herd, &mut |_| ()).await.unwrap();
    log.append(payloads(&["one", "two"])).await.unwrap();
    let mut count = 0;
    let again = ChainedLog::open(&env, path.into(), &herd, &mut |_| count += 1).await.unwrap();
    assert_eq!((again.head(), count), (log.head(), 2));
}
