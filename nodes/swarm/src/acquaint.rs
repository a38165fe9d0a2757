//! The tracker's side: who is named to whom.

use std::collections::BTreeMap;
use std::time::Duration;

use rand::Rng;
use rand::seq::index;

/// How many others an agent should know: twice the binary logarithm of how many there are, within these bounds. What many know of
/// is near to all in large herds; in small ones, on slow links, every further neighbour costs messages and wins nothing.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct AcquaintSettings {
    /// The least.
    pub least: usize,
    /// The most.
    pub most: usize,
}

impl Default for AcquaintSettings {
    fn default() -> Self {
        Self { least: 8, most: 20 }
    }
}

impl AcquaintSettings {
    /// As many as each of so many should know.
    pub fn wanted(self, herd: usize) -> usize {
        (2 * herd.max(1).ilog2() as usize).clamp(self.least, self.most.max(self.least))
    }

    /// As many are named to one that asks for the first time. Less than half of what is wanted, as others are named to it later:
    /// with more, those that came early have no room soon, each knows only those that came about when it did, and a piece
    /// takes dozens of steps to reach all. Where all know all in the end, they do so at once.
    pub fn at_first(self, herd: usize) -> usize {
        let wanted = self.wanted(herd);
        if herd <= wanted { wanted } else { (2 * wanted).div_ceil(5) }
    }

    /// One that knows so many is named to nobody else, as long as there are enough others.
    pub fn known_to(self, herd: usize) -> usize {
        self.wanted(herd) + 2 * self.wanted(herd) / 5
    }
}

/// How soon one that seeks asks again at the soonest: until then it knows only some of those that it should.
pub const SEEK_SOONEST: Duration = Duration::from_millis(500);

/// How soon one that has sought for so long asks again. Half as long as it has sought, as what another neighbour wins it is less the longer
/// it goes on: a tracker of slow agents would else send them a file's worth of names. Never later than `latest`, as a tracker that starts
/// anew knows only those that have asked since.
pub fn seek_again(sought: Duration, latest: Duration) -> Duration {
    (sought / 2).min(latest).max(SEEK_SOONEST)
}

/// Who knows whom of those that have or seek one content: nearly the same number for each, and otherwise as the lot falls.
///
/// Who is named to many is asked by many and serves each of them late; and where the first to come know one another and are known
/// to all, they are served last. With even numbers all end within a few pieces of one another. What is fetched from whom
/// does not matter here: two that know one another ask one another.
#[derive(Debug)]
pub struct Acquaintances<K> {
    settings: AcquaintSettings,
    places: BTreeMap<K, usize>,
    nodes: Vec<Node<K>>,
    /// The places of those that may be named to more.
    open: Vec<usize>,
}

#[derive(Debug)]
struct Node<K> {
    key: K,
    known: Vec<K>,
    /// Where in `open` it stands.
    open_at: Option<usize>,
    /// Whether it has asked whom it should know.
    has_sought: bool,
}

impl<K: Ord + Clone> Acquaintances<K> {
    /// Nobody is there.
    pub const fn new(settings: AcquaintSettings) -> Self {
        Self { settings, places: BTreeMap::new(), nodes: Vec::new(), open: Vec::new() }
    }

    /// One is there, and may be named to others.
    pub fn joined(&mut self, key: &K) {
        if self.places.contains_key(key) {
            return;
        }
        let place = self.nodes.len();
        self.places.insert(key.clone(), place);
        self.nodes.push(Node { key: key.clone(), known: Vec::new(), open_at: None, has_sought: false });
        self.file(place);
        self.resized(place);
    }

    /// One is gone; those that knew it are named others when they ask again.
    pub fn left(&mut self, key: &K) {
        let Some(place) = self.places.remove(key) else { return };
        self.close(place);
        let known = std::mem::take(&mut self.nodes[place].known);
        let last = self.nodes.len() - 1;
        self.nodes.swap_remove(place);
        if place < last {
            self.places.insert(self.nodes[place].key.clone(), place);
            if let Some(at) = self.nodes[place].open_at {
                self.open[at] = place;
            }
        }
        for other in known {
            let Some(&other) = self.places.get(&other) else { continue };
            self.nodes[other].known.retain(|one| one != key);
            self.file(other);
        }
        self.resized(last + 1);
    }

    /// One that seeks asks whom it should know: those that it was named or named to before, and others if they are too few.
    pub fn seeks(&mut self, key: &K, rng: &mut impl Rng) -> &[K] {
        self.joined(key);
        let place = self.places[key];
        let is_new = !std::mem::replace(&mut self.nodes[place].has_sought, true);
        let herd = self.nodes.len();
        let enough = if is_new { self.settings.at_first(herd) } else { self.settings.wanted(herd) };
        // Nobody is named to itself.
        self.close(place);
        // Of those who may be named to more; if these are too few, of all.
        for is_open in [true, false] {
            for other in self.some(DRAWS_FOR_EACH * enough, is_open, rng) {
                if self.nodes[place].known.len() >= enough {
                    break;
                }
                self.acquaint(place, other);
            }
        }
        self.file(place);
        &self.nodes[place].known
    }

    /// Some by lot.
    fn some(&self, count: usize, is_open: bool, rng: &mut impl Rng) -> Vec<usize> {
        let among = if is_open { self.open.len() } else { self.nodes.len() };
        let drawn = index::sample(rng, among, count.min(among)).into_iter();
        drawn.map(|drawn| if is_open { self.open[drawn] } else { drawn }).collect()
    }

    /// There were so many, and are one more or fewer: who may be named to more can be others then.
    fn resized(&mut self, before: usize) {
        if self.settings.known_to(before) == self.settings.known_to(self.nodes.len()) {
            return;
        }
        for place in 0..self.nodes.len() {
            self.close(place);
            self.file(place);
        }
    }

    fn acquaint(&mut self, one: usize, other: usize) {
        if one == other || self.nodes[one].known.contains(&self.nodes[other].key) {
            return;
        }
        let (key, other_key) = (self.nodes[one].key.clone(), self.nodes[other].key.clone());
        self.nodes[one].known.push(other_key);
        self.nodes[other].known.push(key);
        if self.nodes[other].known.len() >= self.settings.known_to(self.nodes.len()) {
            self.close(other);
        }
    }

    /// Notes that one may be named to more, if so.
    fn file(&mut self, place: usize) {
        let most = self.settings.known_to(self.nodes.len());
        let node = &mut self.nodes[place];
        if node.open_at.is_none() && node.known.len() < most {
            node.open_at = Some(self.open.len());
            self.open.push(place);
        }
    }

    fn close(&mut self, place: usize) {
        let Some(at) = self.nodes[place].open_at.take() else { return };
        self.open.swap_remove(at);
        if let Some(moved) = self.open.get(at) {
            self.nodes[*moved].open_at = Some(at);
        }
    }
}

/// Of so many drawn for each that is to be named, enough are new unless hardly anybody is there.
const DRAWS_FOR_EACH: usize = 4;

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use rand::SeedableRng;
    use rand::rngs::StdRng;

    use super::*;

    fn few() -> AcquaintSettings {
        AcquaintSettings::default()
    }

    fn herd(count: u32, rng: &mut StdRng) -> Acquaintances<u32> {
        let mut herd = Acquaintances::new(few());
        for _round in 0..2 {
            (0..count).for_each(|agent| drop(herd.seeks(&agent, rng).to_vec()));
        }
        herd
    }

    fn check(herd: &Acquaintances<u32>) {
        for (place, node) in herd.nodes.iter().enumerate() {
            assert_eq!(herd.places[&node.key], place);
            assert!(!node.known.contains(&node.key));
            assert_eq!(node.known.iter().collect::<BTreeSet<_>>().len(), node.known.len());
            for other in &node.known {
                assert!(herd.nodes[herd.places[other]].known.contains(&node.key));
            }
            assert_eq!(node.open_at.is_some(), node.known.len() < few().known_to(herd.nodes.len()));
            assert!(node.open_at.is_none_or(|at| herd.open[at] == place));
        }
    }

    #[test]
    fn each_knows_about_as_many_and_all_are_near() {
        let herd = herd(400, &mut StdRng::seed_from_u64(1));
        check(&herd);
        assert!(herd.nodes.iter().all(|node| (16..=22).contains(&node.known.len())));
        let mut reached = BTreeSet::from([0]);
        for _step in 0..3 {
            let next = reached.iter().flat_map(|agent| herd.nodes[herd.places[agent]].known.clone());
            reached = next.chain(reached.clone()).collect();
        }
        assert_eq!(reached.len(), 400);
    }

    #[test]
    fn who_is_one_of_many_knows_more() {
        let known = [1, 8, 16, 32, 300, 1000, 10_000, 1_000_000].map(|herd| few().wanted(herd));
        assert_eq!(known, [8, 8, 8, 10, 16, 18, 20, 20]);
        assert_eq!((few().at_first(300), few().known_to(300)), (7, 22));
        assert_eq!([8, 9].map(|herd| few().at_first(herd)), [8, 4]);
        let fixed = AcquaintSettings { least: 5, most: 5 };
        assert_eq!([1, 100, 10_000].map(|herd| fixed.wanted(herd)), [5; 3]);
    }

    #[test]
    fn who_comes_to_a_growing_herd_of_those_who_ask_no_more_knows_enough() {
        let mut rng = StdRng::seed_from_u64(1);
        let mut herd = Acquaintances::new(few());
        for agent in 0..150 {
            herd.joined(&agent);
            let first = herd.seeks(&agent, &mut rng).len();
            assert_eq!(first, few().at_first(agent as usize + 1).min(agent as usize), "{agent}");
            let known = herd.seeks(&agent, &mut rng).len();
            assert!(known >= few().wanted(agent as usize + 1).min(agent as usize), "{agent} knows {known}");
            check(&herd);
        }
    }

    #[test]
    fn few_all_know_one_another() {
        let herd = herd(5, &mut StdRng::seed_from_u64(1));
        check(&herd);
        assert!(herd.nodes.iter().all(|node| node.known.len() == 4));
    }

    #[test]
    fn who_seeks_for_long_asks_less_often() {
        let ms = Duration::from_millis;
        let again = [0, 600, 3000, 9000, 60_000].map(|sought| seek_again(ms(sought), ms(5000)));
        assert_eq!(again, [500, 500, 1500, 4500, 5000].map(ms));
        assert_eq!(seek_again(ms(60_000), ms(100)), SEEK_SOONEST);
    }

    #[test]
    fn who_leaves_is_replaced_when_others_ask_again() {
        let mut rng = StdRng::seed_from_u64(1);
        let mut herd = herd(300, &mut rng);
        for agent in (0..300).step_by(3) {
            herd.left(&agent);
            check(&herd);
        }
        herd.left(&0);
        for agent in (0..300).filter(|agent| agent % 3 != 0) {
            let known = herd.seeks(&agent, &mut rng);
            assert!(known.len() >= few().wanted(200) && known.iter().all(|other| other % 3 != 0));
        }
        check(&herd);
    }

    #[test]
    fn who_only_has_the_content_is_named_to_those_that_seek() {
        let mut rng = StdRng::seed_from_u64(1);
        let mut herd = Acquaintances::new(few());
        (0..8).for_each(|seed| herd.joined(&seed));
        assert_eq!(herd.seeks(&9, &mut rng).len(), few().at_first(9));
    }
}
