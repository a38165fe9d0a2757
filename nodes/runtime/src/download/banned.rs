//! Who is not asked again.

use std::net::SocketAddr;

use rdcq_wire::NodeId;
use rdcq_wire::message::Neighbour;

/// Those that sent one download wrong bytes.
#[derive(Default)]
pub(super) struct Banned(Vec<(Option<NodeId>, SocketAddr)>);

impl Banned {
    /// One sent wrong bytes; its name is that of its certificate, where that is known.
    pub(super) fn add(&mut self, node: Option<NodeId>, addr: SocketAddr) {
        self.0.push((node, addr));
    }

    /// How many there are.
    pub(super) const fn len(&self) -> usize {
        self.0.len()
    }

    /// Whether a neighbour is one of them: by its name, or it would come back from another port; by its address where a name is not
    /// known.
    pub(super) fn contains(&self, neighbour: &Neighbour) -> bool {
        self.0.iter().any(|(node, addr)| match (node, &neighbour.node) {
            (Some(banned), Some(node)) => banned == node,
            _ => *addr == neighbour.addr,
        })
    }
}

#[cfg(test)]
mod tests {
    use rdcq_wire::Role;

    use super::*;

    fn neighbour(node: Option<&str>, port: u16) -> Neighbour {
        let node = node.map(|node| node.parse().unwrap());
        Neighbour { node, role: Role::Agent, addr: SocketAddr::from(([10, 0, 0, 1], port)) }
    }

    #[test]
    fn a_liar_is_known_by_its_name_wherever_it_is_and_without_one_by_where_it_is() {
        let mut banned = Banned::default();
        let liar = neighbour(Some("liar"), 1);
        banned.add(liar.node.clone(), liar.addr);
        banned.add(None, neighbour(None, 2).addr);
        let is_banned = |node, port| banned.contains(&neighbour(node, port));
        assert!(is_banned(Some("liar"), 1) && is_banned(Some("liar"), 3) && is_banned(None, 1));
        assert!(is_banned(None, 2) && is_banned(Some("other"), 2));
        assert!(!is_banned(Some("other"), 1), "who has the place of a liar that is gone need not lie");
        assert!(!is_banned(Some("other"), 3) && !is_banned(None, 3));
    }
}
