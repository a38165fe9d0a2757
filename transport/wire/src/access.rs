//! The role table: who may ask whom for what. What is not allowed here is denied.

use crate::{Kind, Role, RoleSet};

/// One line of the table: a request, the role that serves it, the roles that may ask.
pub struct Rule {
    /// The request.
    pub request: Kind,
    /// Who serves it.
    pub server: Role,
    /// Who may ask.
    pub callers: &'static [Role],
}

/// The whole table, as PROTOCOL.md prints it.
pub const RULES: &[Rule] = &[
    rule(Kind::Offer, Role::Proxy, &[Role::Agent, Role::Client, Role::Operator]),
    rule(Kind::PutPieces, Role::Proxy, &[Role::Agent, Role::Client, Role::Operator]),
    rule(Kind::Commit, Role::Proxy, &[Role::Agent, Role::Client, Role::Operator]),
    rule(Kind::Offer, Role::Origin, &[Role::Proxy]),
    rule(Kind::PutPieces, Role::Origin, &[Role::Proxy]),
    rule(Kind::Seal, Role::Origin, &[Role::Proxy]),
    rule(Kind::Release, Role::Origin, &[Role::Proxy]),
    rule(Kind::GetManifest, Role::Origin, &[Role::Agent]),
    rule(Kind::GetPieces, Role::Origin, &[Role::Agent]),
    rule(Kind::Watch, Role::Origin, &[Role::Agent]),
    rule(Kind::Decline, Role::Origin, &[Role::Agent]),
    rule(Kind::Collect, Role::Origin, &[Role::BuildIndex]),
    rule(Kind::Resolve, Role::BuildIndex, &[Role::Proxy, Role::Agent, Role::Client, Role::Operator]),
    rule(Kind::List, Role::BuildIndex, &[Role::Client, Role::Operator]),
    rule(Kind::PutTag, Role::BuildIndex, &[Role::Proxy]),
    rule(Kind::RemoveTag, Role::BuildIndex, &[Role::Operator]),
    rule(Kind::Live, Role::BuildIndex, &[Role::Origin, Role::Agent]),
    rule(Kind::Seek, Role::Tracker, &[Role::Agent]),
    rule(Kind::Announce, Role::Tracker, &[Role::Agent]),
    rule(Kind::Collect, Role::Tracker, &[Role::BuildIndex]),
    rule(Kind::Pull, Role::Agent, &[Role::Controller, Role::Client, Role::Operator]),
    rule(Kind::GetManifest, Role::Agent, &[Role::Agent, Role::Client, Role::Operator]),
    rule(Kind::GetPieces, Role::Agent, &[Role::Agent, Role::Client, Role::Operator]),
    rule(Kind::Watch, Role::Agent, &[Role::Agent]),
    rule(Kind::Lend, Role::Agent, &[Role::Client]),
    rule(Kind::Release, Role::Agent, &[Role::Controller, Role::Client, Role::Operator]),
    rule(Kind::Collect, Role::Agent, &[Role::Tracker]),
    rule(Kind::Status, Role::Proxy, &[Role::Controller, Role::Operator]),
    rule(Kind::Status, Role::Origin, &[Role::Controller, Role::Operator]),
    rule(Kind::Status, Role::BuildIndex, &[Role::Controller, Role::Operator]),
    rule(Kind::Status, Role::Tracker, &[Role::Controller, Role::Operator]),
    rule(Kind::Status, Role::Agent, &[Role::Controller, Role::Client, Role::Operator]),
    rule(Kind::Reload, Role::Proxy, &[Role::Operator]),
    rule(Kind::Reload, Role::Origin, &[Role::Operator]),
    rule(Kind::Reload, Role::BuildIndex, &[Role::Operator]),
    rule(Kind::Reload, Role::Tracker, &[Role::Operator]),
    rule(Kind::Reload, Role::Agent, &[Role::Operator]),
    rule(Kind::Meter, Role::Proxy, &[Role::Controller, Role::Operator]),
    rule(Kind::Meter, Role::Origin, &[Role::Controller, Role::Operator]),
    rule(Kind::Meter, Role::BuildIndex, &[Role::Controller, Role::Operator]),
    rule(Kind::Meter, Role::Tracker, &[Role::Controller, Role::Operator]),
    rule(Kind::Meter, Role::Agent, &[Role::Controller, Role::Client, Role::Operator]),
];

/// Whether a caller with these roles may ask a node that serves as `server` for `request`.
pub fn allows(server: Role, request: Kind, caller: RoleSet) -> bool {
    find(server, request).is_some_and(|rule| rule.callers.iter().any(|role| caller.contains(*role)))
}

/// Whether a node that serves as `server` serves `request` at all.
pub fn serves(server: Role, request: Kind) -> bool {
    find(server, request).is_some()
}

/// Whether `kind` is a request of anybody to anybody; the others are answers, and greetings.
pub fn is_request(kind: Kind) -> bool {
    RULES.iter().any(|rule| rule.request == kind)
}

fn find(server: Role, request: Kind) -> Option<&'static Rule> {
    RULES.iter().find(|rule| rule.server == server && rule.request == request)
}

const fn rule(request: Kind, server: Role, callers: &'static [Role]) -> Rule {
    Rule { request, server, callers }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A row a request, a column a caller in the order of `Role::ALL`
    /// (Proxy, Origin, build-Index, Tracker, Agent, Controller, cLient, opeRator).
    const CELLS: &[(Role, Kind, &str)] = &[
        (Role::Proxy, Kind::Offer, "----A-LR"),
        (Role::Proxy, Kind::PutPieces, "----A-LR"),
        (Role::Proxy, Kind::Commit, "----A-LR"),
        (Role::Origin, Kind::Offer, "P-------"),
        (Role::Origin, Kind::PutPieces, "P-------"),
        (Role::Origin, Kind::Seal, "P-------"),
        (Role::Origin, Kind::Release, "P-------"),
        (Role::Origin, Kind::GetManifest, "----A---"),
        (Role::Origin, Kind::GetPieces, "----A---"),
        (Role::Origin, Kind::Watch, "----A---"),
        (Role::Origin, Kind::Decline, "----A---"),
        (Role::Origin, Kind::Collect, "--I-----"),
        (Role::BuildIndex, Kind::Resolve, "P---A-LR"),
        (Role::BuildIndex, Kind::List, "------LR"),
        (Role::BuildIndex, Kind::PutTag, "P-------"),
        (Role::BuildIndex, Kind::RemoveTag, "-------R"),
        (Role::BuildIndex, Kind::Live, "-O--A---"),
        (Role::Tracker, Kind::Seek, "----A---"),
        (Role::Tracker, Kind::Announce, "----A---"),
        (Role::Tracker, Kind::Collect, "--I-----"),
        (Role::Agent, Kind::Pull, "-----CLR"),
        (Role::Agent, Kind::GetManifest, "----A-LR"),
        (Role::Agent, Kind::GetPieces, "----A-LR"),
        (Role::Agent, Kind::Watch, "----A---"),
        (Role::Agent, Kind::Lend, "------L-"),
        (Role::Agent, Kind::Release, "-----CLR"),
        (Role::Agent, Kind::Collect, "---T----"),
        (Role::Proxy, Kind::Status, "-----C-R"),
        (Role::Origin, Kind::Status, "-----C-R"),
        (Role::BuildIndex, Kind::Status, "-----C-R"),
        (Role::Tracker, Kind::Status, "-----C-R"),
        (Role::Agent, Kind::Status, "-----CLR"),
        (Role::Proxy, Kind::Reload, "-------R"),
        (Role::Origin, Kind::Reload, "-------R"),
        (Role::BuildIndex, Kind::Reload, "-------R"),
        (Role::Tracker, Kind::Reload, "-------R"),
        (Role::Agent, Kind::Reload, "-------R"),
        (Role::Proxy, Kind::Meter, "-----C-R"),
        (Role::Origin, Kind::Meter, "-----C-R"),
        (Role::BuildIndex, Kind::Meter, "-----C-R"),
        (Role::Tracker, Kind::Meter, "-----C-R"),
        (Role::Agent, Kind::Meter, "-----CLR"),
    ];

    #[test]
    fn every_cell_of_the_table_is_as_written_and_the_rest_is_denied() {
        for server in Role::ALL {
            for request in Kind::ALL.iter().copied() {
                let row = CELLS.iter().find(|cell| cell.0 == server && cell.1 == request);
                for (column, caller) in Role::ALL.into_iter().enumerate() {
                    let wanted = row.is_some_and(|cell| cell.2.as_bytes()[column] != b'-');
                    assert_eq!(
                        allows(server, request, caller.into()),
                        wanted,
                        "{caller} asking a {server} for {request}"
                    );
                }
            }
        }
    }

    #[test]
    fn one_role_of_several_is_enough_and_none_is_nothing() {
        let both = [Role::Tracker, Role::Proxy].into_iter().collect();
        assert!(allows(Role::Origin, Kind::Seal, both));
        assert!(!allows(Role::Origin, Kind::Seal, RoleSet::default()));
    }

    #[test]
    fn an_answer_is_no_request() {
        assert!(is_request(Kind::GetPieces));
        assert!(!is_request(Kind::Pieces) && !is_request(Kind::Hello));
    }

    #[test]
    fn no_request_has_two_lines_for_one_server() {
        for (index, rule) in RULES.iter().enumerate() {
            let twin = RULES[..index].iter().find(|r| r.server == rule.server && r.request == rule.request);
            assert!(twin.is_none(), "{} at {}", rule.request, rule.server);
        }
    }
}
