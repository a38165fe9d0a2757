//! Which node's page is shown.

use super::rates::{Page, Pages};

/// The node whose page is shown: by name, so that it stays when others come and go.
#[derive(Debug, Default)]
pub(super) struct Selection {
    name: Option<String>,
    /// Where it was when it was last there.
    place: usize,
}

impl Selection {
    /// The page, and its place among the others; of a node that is gone, the one that took its place.
    pub(super) fn find<'a>(&mut self, pages: &'a Pages) -> (Option<&'a Page>, usize) {
        let named = pages.nodes.iter().position(|page| Some(page.name()) == self.name);
        self.place = named.unwrap_or_else(|| self.place.min(pages.nodes.len().saturating_sub(1)));
        let page = pages.nodes.get(self.place);
        if let Some(page) = page {
            self.name = Some(page.name());
        }
        (page, self.place)
    }

    /// Goes to the page after it; from the last to the first.
    pub(super) fn next(&mut self, pages: &Pages) {
        self.step(pages, 1);
    }

    /// Goes to the page before it; from the first to the last.
    pub(super) fn previous(&mut self, pages: &Pages) {
        self.step(pages, pages.nodes.len().saturating_sub(1));
    }

    fn step(&mut self, pages: &Pages, by: usize) {
        if let Some(place) = (self.place + by).checked_rem(pages.nodes.len()) {
            self.name = Some(pages.nodes[place].name());
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn pages(ports: &[u16]) -> Pages {
        let page = |port: &u16| Page::Silent {
            role: None,
            addr: ([127, 0, 0, 1], *port).into(),
            error: String::new(),
        };
        Pages { nodes: ports.iter().map(page).collect() }
    }

    #[test]
    fn keys_go_round_and_a_page_stays_when_others_come_and_go() {
        let mut selection = Selection::default();
        let none = pages(&[]);
        assert!(selection.find(&none).0.is_none());
        selection.next(&none);
        selection.previous(&none);
        let three = pages(&[1, 2, 3]);
        let at = |selection: &mut Selection, pages: &Pages| selection.find(pages).1;
        assert_eq!(at(&mut selection, &three), 0);
        selection.previous(&three);
        assert_eq!(at(&mut selection, &three), 2);
        selection.next(&three);
        assert_eq!(at(&mut selection, &three), 0);
        selection.next(&three);
        assert_eq!(at(&mut selection, &three), 1);
        assert_eq!(at(&mut selection, &pages(&[2, 3])), 0, "the same page at another place");
        assert_eq!(at(&mut selection, &pages(&[3, 4])), 0, "gone");
        assert_eq!(at(&mut selection, &pages(&[4, 3])), 1);
        assert_eq!(at(&mut selection, &pages(&[])), 0);
        assert_eq!(at(&mut selection, &pages(&[3, 4])), 0);
    }
}
