use rdcq_env::{Fault, SimDisk};

use super::*;

const REPLACED: Existing = Existing::Replaced;
const LEFT: Existing = Existing::Left { name: None };

fn left_for(name: &str) -> Existing {
    Existing::Left { name: Some(name.parse().unwrap()) }
}

fn flag_named(name: &str) -> Option<Flag> {
    Some(Flag::Named(name.parse().unwrap()))
}

/// A folder with files, each of which holds its own name; `x/` is a folder.
fn disk_with(names: &[&str]) -> SimDisk {
    let disk = SimDisk::new();
    disk.create_dir_all(Path::new("/d")).unwrap();
    for name in names {
        let path = Path::new("/d").join(name);
        if name.ends_with('/') {
            disk.create_dir_all(&path).unwrap();
        } else {
            let file = disk.create_new(&path, Mode::Shared).unwrap();
            file.write_all_at(name.as_bytes(), 0).unwrap();
            file.sync_all().unwrap();
        }
    }
    disk.sync_dir(Path::new("/d")).unwrap();
    disk.sync_dir(Path::new("/")).unwrap();
    disk
}

fn deliver(disk: &SimDisk, existing: Existing, flag: Option<Flag>) -> Result<Published, OperationError> {
    let target = Path::new("/d/f");
    let destination = Destination { place: Place::As(target.to_owned()), existing, flag };
    destination.check_target(disk, target)?;
    let part = Path::new("/d/.part");
    let written = disk.create_new(part, Mode::Shared).and_then(|file| {
        file.write_all_at(b"new", 0)?;
        file.sync_all()
    });
    written.map_err(|error| OperationError::of_file("write", part, &error))?;
    destination.publish(disk, part, target, Path::new("/d/.spare"))
}

/// What is in the folder, as `name=content`; a flag file is empty.
fn listing(disk: &SimDisk) -> Vec<String> {
    let entries = disk.read_dir(Path::new("/d")).unwrap();
    let files = entries.into_iter().filter(|entry| entry.kind == EntryKind::File);
    let files = files.map(|entry| {
        let bytes = disk.read(&Path::new("/d").join(&entry.name), 100).unwrap();
        format!("{}={}", entry.name.display(), String::from_utf8(bytes).unwrap())
    });
    files.collect()
}

#[track_caller]
fn check(present: &[&str], existing: Existing, flag: Option<Flag>, wanted: &[&str]) {
    let disk = disk_with(present);
    let published = deliver(&disk, existing, flag.clone()).unwrap();
    // It is as durable as it is there.
    disk.crash();
    assert_eq!(listing(&disk), wanted);
    assert_eq!(disk.read(&published.target, 100).unwrap(), b"new");
    assert_eq!(published.flag.is_some(), flag.is_some());
    if let Some(flag) = published.flag {
        assert_eq!(disk.read(&flag, 100).unwrap(), b"");
    }
}

#[track_caller]
fn check_refused(present: &[&str], existing: Existing, flag: Option<Flag>, code: ErrorCode) {
    let disk = disk_with(present);
    let before = listing(&disk);
    assert_eq!(deliver(&disk, existing, flag).unwrap_err().code, code);
    assert_eq!(listing(&disk), before);
}

#[test]
fn a_file_that_is_there_is_replaced_or_left() {
    check(&[], REPLACED, None, &["f=new"]);
    check(&["f"], REPLACED, None, &["f=new"]);
    check(&[], LEFT, None, &["f=new"]);
    check(&["f"], LEFT, None, &["f=f", "f.1=new"]);
    check(&["f", "f.1", "f.3"], LEFT, None, &["f=f", "f.1=f.1", "f.2=new", "f.3=f.3"]);
    check(&["f/", "f.1/"], LEFT, None, &["f.2=new"]);
}

#[test]
fn a_new_name_is_for_a_file_that_is_there() {
    check(&[], left_for("g"), None, &["f=new"]);
    check(&["f"], left_for("g"), None, &["f=f", "g=new"]);
    check_refused(&["f", "g"], left_for("g"), None, ErrorCode::Conflict);
}

#[test]
fn a_flag_file_has_the_name_of_what_was_written_or_its_own() {
    check(&[], REPLACED, Some(Flag::OfFile), &["f=new", "f.flag="]);
    check(&["f", "f.flag"], REPLACED, Some(Flag::OfFile), &["f=new", "f.flag="]);
    check(&["f", "f.flag"], LEFT, Some(Flag::OfFile), &["f=f", "f.1=new", "f.1.flag=", "f.flag=f.flag"]);
    check(&["f"], left_for("g"), Some(Flag::OfFile), &["f=f", "g=new", "g.flag="]);
    check(&["f"], REPLACED, flag_named("ok"), &["f=new", "ok="]);
    check(&["f", "f.flag"], REPLACED, None, &["f=new", "f.flag=f.flag"]);
}

#[test]
fn no_file_is_its_own_flag_file() {
    check_refused(&["f"], REPLACED, flag_named("f"), ErrorCode::BadRequest);
    check_refused(&["f"], left_for("g"), flag_named("g"), ErrorCode::BadRequest);
    check(&["f"], LEFT, flag_named("f.1"), &["f=f", "f.1=", "f.2=new"]);
}

#[test]
fn a_folder_is_never_replaced_by_a_file() {
    check_refused(&["f/"], REPLACED, None, ErrorCode::BadRequest);
    let disk = disk_with(&["f", "f.flag/"]);
    let error = deliver(&disk, REPLACED, Some(Flag::OfFile)).unwrap_err();
    assert!(error.to_string().contains("f.flag"), "{error}");
    assert_eq!(listing(&disk), [".part=new", "f=f"]);
}

#[test]
fn wherever_the_power_fails_a_flag_file_stands_beside_a_whole_file_alone() {
    let count = {
        let disk = disk_with(&["f", "f.flag"]);
        let before = disk.changes();
        deliver(&disk, REPLACED, Some(Flag::OfFile)).unwrap();
        disk.changes() - before
    };
    for after in 0..count {
        for seed in 0..20 {
            let disk = disk_with(&["f", "f.flag"]);
            disk.set_fault(Some(Fault::PowerLoss { after }));
            assert!(deliver(&disk, REPLACED, Some(Flag::OfFile)).is_err(), "{after}");
            disk.crash_partly(seed);
            let content = |name: &str| disk.read(&Path::new("/d").join(name), 100).ok();
            let (file, flag) = (content("f").unwrap(), content("f.flag"));
            assert!(file == b"f" || file == b"new", "{after}, {seed}: {file:?}");
            // The old flag is the old file's, and an empty one the new file's.
            let theirs: &[u8] = if file == b"new" { b"" } else { b"f.flag" };
            assert!(flag.is_none_or(|flag| flag == theirs), "{after}, {seed}");
        }
    }
}
