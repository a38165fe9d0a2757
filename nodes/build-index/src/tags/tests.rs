//! What a history promises, checked on a disk that forgets what was not synced.

use rdcq_env::SimDisk;
use rdcq_store::MemoryCatalogue;
use rdcq_wire::{Attributes, Name, State};

use super::*;

struct Herd {
    env: Env,
    disk: SimDisk,
    catalogue: MemoryCatalogue,
    tags: Tags,
    push: u64,
}

impl Herd {
    async fn new() -> Self {
        let disk = SimDisk::default();
        let env = Env::simulated(1, disk.clone());
        let catalogue = MemoryCatalogue::default();
        let tags = open(&env, &catalogue).await.unwrap();
        Self { env, disk, catalogue, tags, push: 0 }
    }

    /// Power goes, and comes back.
    async fn crash(&mut self) {
        self.disk.crash();
        self.tags = open(&self.env, &self.catalogue).await.unwrap();
    }

    async fn put(&mut self, version: Option<&str>, content: &str) -> Result<(Record, Fresh), TagsError> {
        self.push += 1;
        self.tags.put(self.request(version, content)).await
    }

    fn request(&self, version: Option<&str>, content: &str) -> PutTag {
        PutTag {
            push: self.push,
            name: Name::conventional("h".parse().unwrap(), "/d", "f").unwrap(),
            version: version.map(|version| version.parse().unwrap()),
            digest: Digest::of(content.as_bytes()),
            manifest: Digest::of(b"manifest"),
            size: 1,
            pieces: 1,
            by: "h".parse().unwrap(),
            attributes: Attributes::default(),
        }
    }

    async fn remove(&self, tag: &str) -> Result<Record, TagsError> {
        self.tags.remove(tag.parse().unwrap(), "op".parse().unwrap()).await
    }

    #[track_caller]
    fn check(&self, tag: &str, content: Option<&str>) {
        let found = self.tags.resolve(&tag.parse().unwrap()).unwrap();
        let digest = content.map(|content| Digest::of(content.as_bytes()));
        assert_eq!(found.map(|record| record.digest), digest, "{tag}");
    }

    #[track_caller]
    fn check_live(&self, content: &str, live: bool) {
        assert_eq!(self.tags.is_live(&Digest::of(content.as_bytes())).unwrap(), live, "{content}");
    }

    fn all(&self) -> Vec<String> {
        let mut all = Vec::new();
        let mut take = |record: &Record| {
            all.push(record.version.to_string());
            Taken::Yes
        };
        assert!(self.tags.list(&Selection::Prefix("".parse().unwrap()), None, &mut take).unwrap().is_none());
        all
    }
}

async fn open(env: &Env, catalogue: &MemoryCatalogue) -> Result<Tags, TagsError> {
    let folder = Path::new("/build-index");
    env.disk().create_dir_all(folder).unwrap();
    env.disk().sync_dir(Path::new("/")).unwrap();
    Tags::open(env, folder, &"h".parse().unwrap(), Arc::new(catalogue.clone())).await
}

#[tokio::test(start_paused = true)]
async fn a_push_without_a_version_is_named_after_its_sequence() {
    let mut herd = Herd::new().await;
    for number in 1..=3 {
        let (record, fresh) = herd.put(None, "same").await.unwrap();
        assert_eq!(
            (record.version.to_string(), record.seq, fresh),
            (number.to_string(), number, Fresh::Written)
        );
    }
}

#[tokio::test(start_paused = true)]
async fn a_sequence_whose_number_is_taken_is_named_after_the_next() {
    let mut herd = Herd::new().await;
    herd.put(Some("2"), "a").await.unwrap();
    let (record, _) = herd.put(None, "b").await.unwrap();
    assert_eq!((record.version.to_string(), record.seq), ("3".to_owned(), 2));
}

#[tokio::test(start_paused = true)]
async fn a_version_stands_as_it_was_first_written() {
    let mut herd = Herd::new().await;
    herd.put(Some("1"), "a").await.unwrap();
    let conflict = herd.put(Some("1"), "b").await.unwrap_err();
    assert!(matches!(conflict, TagsError::Conflict { standing, .. } if standing == Digest::of(b"a")));
    assert_eq!(herd.put(Some("1"), "a").await.unwrap().1, Fresh::Standing);
    herd.check("h-/d-f:1", Some("a"));
    herd.check_live("b", false);
}

#[tokio::test(start_paused = true)]
async fn a_key_stays_with_the_host_that_named_content_by_it_first() {
    let mut herd = Herd::new().await;
    herd.put(Some("1"), "a").await.unwrap();
    herd.push += 1;
    let mut other = herd.request(Some("2"), "b");
    other.name.host = "h-".parse().unwrap();
    let refused = herd.tags.put(other).await.unwrap_err();
    assert!(matches!(refused, TagsError::OtherHost { .. }), "{refused}");
    herd.check("h-/d-f", Some("a"));
}

#[tokio::test(start_paused = true)]
async fn a_commit_that_is_repeated_finds_its_own_record() {
    let mut herd = Herd::new().await;
    let (first, _) = herd.put(None, "a").await.unwrap();
    let again = herd.tags.put(herd.request(None, "a")).await.unwrap().0;
    assert_eq!(first, again);
}

#[tokio::test(start_paused = true)]
async fn a_removed_version_is_gone_and_may_be_pushed_again_corrected() {
    let mut herd = Herd::new().await;
    herd.put(Some("1"), "old").await.unwrap();
    herd.put(Some("2"), "wrong").await.unwrap();
    herd.check("h-/d-f", Some("wrong"));
    assert_eq!(herd.remove("h-/d-f:2").await.unwrap().state, State::Removed);
    herd.check("h-/d-f:2", None);
    herd.check("h-/d-f:latest", Some("old"));
    herd.check_live("wrong", false);
    herd.put(Some("2"), "right").await.unwrap();
    herd.check("h-/d-f:2", Some("right"));
    herd.check("h-/d-f", Some("right"));
    assert_eq!(herd.all(), ["1", "2"]);
    assert!(matches!(herd.remove("h-/d-f:9").await, Err(TagsError::NotFound(_))));
}

#[tokio::test(start_paused = true)]
async fn the_oldest_version_pushed_again_is_the_latest() {
    let mut herd = Herd::new().await;
    herd.put(Some("1"), "a").await.unwrap();
    herd.put(Some("2"), "b").await.unwrap();
    herd.remove("h-/d-f:1").await.unwrap();
    herd.check("h-/d-f", Some("b"));
    herd.put(Some("1"), "c").await.unwrap();
    herd.check("h-/d-f", Some("c"));
}

#[tokio::test(start_paused = true)]
async fn content_is_live_while_one_version_names_it() {
    let mut herd = Herd::new().await;
    herd.put(Some("1"), "a").await.unwrap();
    herd.put(Some("2"), "a").await.unwrap();
    herd.remove("h-/d-f:1").await.unwrap();
    herd.check_live("a", true);
    herd.remove("h-/d-f:2").await.unwrap();
    herd.check_live("a", false);
}

#[tokio::test(start_paused = true)]
async fn what_was_answered_survives_a_power_cut() {
    let mut herd = Herd::new().await;
    herd.put(Some("1"), "a").await.unwrap();
    herd.put(Some("2"), "b").await.unwrap();
    herd.remove("h-/d-f:1").await.unwrap();
    herd.crash().await;
    herd.check("h-/d-f:1", None);
    herd.check("h-/d-f:2", Some("b"));
}

#[tokio::test(start_paused = true)]
async fn a_lost_catalogue_is_rebuilt_from_the_log() {
    let mut herd = Herd::new().await;
    for number in 0..5 {
        herd.put(None, &format!("content {number}")).await.unwrap();
    }
    herd.remove("h-/d-f:3").await.unwrap();
    herd.put(Some("3"), "again").await.unwrap();
    herd.catalogue = MemoryCatalogue::default();
    herd.crash().await;
    assert_eq!(herd.all(), ["1", "2", "4", "5", "3"]);
    herd.check_live("content 2", false);
    herd.check("h-/d-f", Some("again"));
    assert_eq!(herd.put(None, "next").await.unwrap().0.seq, 8);
}

#[tokio::test(start_paused = true)]
async fn a_listing_goes_on_where_a_full_page_ended() {
    let mut herd = Herd::new().await;
    for _ in 0..5 {
        herd.put(None, "a").await.unwrap();
    }
    let mut seen = Vec::new();
    let mut cursor = None;
    loop {
        let mut room = 2;
        let mut take = |record: &Record| {
            if room == 0 {
                return Taken::Full;
            }
            room -= 1;
            seen.push(record.seq);
            Taken::Yes
        };
        cursor =
            herd.tags.list(&Selection::Prefix("h-".parse().unwrap()), cursor.as_ref(), &mut take).unwrap();
        if cursor.is_none() {
            break;
        }
    }
    assert_eq!(seen, [1, 2, 3, 4, 5]);
}

#[tokio::test(start_paused = true)]
async fn a_full_disk_refuses_a_push_and_the_next_goes_on_once_there_is_room() {
    let mut herd = Herd::new().await;
    herd.put(None, "a").await.unwrap();
    herd.disk.set_capacity(herd.disk.used_bytes() + 10);
    for _ in 0..2 {
        assert!(matches!(herd.put(None, "b").await, Err(TagsError::Log(_))));
    }
    herd.disk.set_capacity(SimDisk::AMPLE);
    assert_eq!(herd.put(None, "c").await.unwrap().0.seq, 2);
    herd.crash().await;
    herd.check("h-/d-f", Some("c"));
    assert_eq!(herd.all(), ["1", "2"]);
}

impl Herd {
    /// Pushes a file of a host's directory.
    async fn put_file(&mut self, host: &str, directory: &str, file: &str) {
        self.push += 1;
        let name = Name::conventional(host.parse().unwrap(), directory, file).unwrap();
        self.tags.put(PutTag { name, ..self.request(None, file) }).await.unwrap();
    }

    /// The tags of a selection, read in pages of `page` records.
    fn select(&self, what: &Selection, page: usize) -> Vec<String> {
        let (mut tags, mut after) = (Vec::new(), None);
        loop {
            let mut room = page;
            let mut take = |record: &Record| {
                if room == 0 {
                    return Taken::Full;
                }
                room -= 1;
                let removed = if record.state == State::Removed { " removed" } else { "" };
                tags.push(format!("{}{removed}", record.tag()));
                Taken::Yes
            };
            match self.tags.list(what, after.as_ref(), &mut take).unwrap() {
                Some(cursor) => after = Some(cursor),
                None => return tags,
            }
        }
    }
}

#[tokio::test(start_paused = true)]
async fn a_file_is_found_by_its_name_and_its_host_in_pages_of_any_size() {
    let mut herd = Herd::new().await;
    for (host, directory, file) in
        [("b", "/x", "f"), ("a", "/x", "f"), ("a", "/y", "f"), ("a", "/x", "g"), ("a", "/x", "f.1")]
    {
        herd.put_file(host, directory, file).await;
    }
    herd.put_file("a", "/x", "f").await;
    let by =
        |host: Option<&str>| Selection::File("f".parse().unwrap(), host.map(|host| host.parse().unwrap()));
    for page in 1..5 {
        assert_eq!(herd.select(&by(None), page), ["a-/x-f:2", "a-/y-f:1", "b-/x-f:1"], "pages of {page}");
        assert_eq!(herd.select(&by(Some("a")), page), ["a-/x-f:2", "a-/y-f:1"]);
        assert_eq!(herd.select(&by(Some("c")), page), [""; 0]);
    }
    herd.remove("a-/y-f:1").await.unwrap();
    herd.remove("a-/x-f:2").await.unwrap();
    herd.crash().await;
    assert_eq!(herd.select(&by(Some("a")), 9), ["a-/x-f:1"]);
    assert_eq!(herd.select(&Selection::File("".parse().unwrap(), None), 9), [""; 0]);
}

#[tokio::test(start_paused = true)]
async fn a_key_that_names_another_file_by_now_is_found_by_that_one() {
    let mut herd = Herd::new().await;
    for file in ["old", "new"] {
        herd.push += 1;
        let name = Name { file: file.parse().unwrap(), ..herd.request(None, "x").name };
        herd.tags.put(PutTag { name, ..herd.request(None, file) }).await.unwrap();
    }
    let by = |file: &str| Selection::File(file.parse().unwrap(), None);
    assert_eq!(herd.select(&by("old"), 9), [""; 0]);
    assert_eq!(herd.select(&by("new"), 9), ["h-/d-f:2"]);
    herd.remove("h-/d-f:2").await.unwrap();
    assert_eq!(herd.select(&by("old"), 9), ["h-/d-f:1"]);
}

#[tokio::test(start_paused = true)]
async fn a_history_has_all_that_happened_the_newest_first() {
    let mut herd = Herd::new().await;
    herd.put(Some("a"), "1").await.unwrap();
    herd.put(Some("b"), "2").await.unwrap();
    herd.remove("h-/d-f:a").await.unwrap();
    herd.put(Some("a"), "3").await.unwrap();
    let history = Selection::History("h-/d-f".parse().unwrap());
    let wanted = ["h-/d-f:a", "h-/d-f:a removed", "h-/d-f:b", "h-/d-f:a"];
    for page in 1..6 {
        assert_eq!(herd.select(&history, page), wanted, "pages of {page}");
    }
    assert_eq!(herd.select(&Selection::History("h-/d".parse().unwrap()), 9), [""; 0]);
}
