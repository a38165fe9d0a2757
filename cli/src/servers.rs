//! Whom a command asks that concerns nodes: those named, or all that the settings name.

use std::ffi::OsStr;
use std::fmt;
use std::net::SocketAddr;
use std::str::FromStr;

use clap::Args;
use futures_util::{StreamExt, stream};
use rdcq_client::{OperationError, Session};
use rdcq_wire::{Kind, Role, access};
use serde::Serialize;

use crate::caller::{Caller, Rights};
use crate::console::Console;
use crate::failure::{Exit, Failure};

/// Nodes asked at a time. More would make the caller's own socket the slow one.
const AT_A_TIME: usize = 64;

/// Which servers are asked.
#[derive(Debug, Args)]
pub(crate) struct Servers {
    /// Ask only these: IP:PORT, or ROLE=IP:PORT as `rdcq node` writes it.
    /// Left out, they are all servers that the settings name, and this host's agent.
    #[arg(value_name = "ADDR")]
    only: Vec<Server>,
}

/// An address to ask, and what it serves where that is known.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Server {
    pub(crate) role: Option<Role>,
    pub(crate) addr: SocketAddr,
}

impl FromStr for Server {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let (role, addr) = match text.split_once('=') {
            Some((role, addr)) => (Some(role.parse::<Role>().map_err(|error| error.to_string())?), addr),
            None => (None, text),
        };
        if let Some(role) = role.filter(|role| !access::serves(*role, Kind::Status)) {
            return Err(format!("no node serves as {role}; it is a caller's role"));
        }
        let addr = addr.parse().map_err(|_| "write IP:PORT, or ROLE=IP:PORT".to_owned())?;
        Ok(Self { role, addr })
    }
}

impl Servers {
    /// Those named, as what the settings know them, or all that the settings name.
    pub(crate) fn of(self, session: &Session) -> Vec<Server> {
        let known = session.servers();
        if self.only.is_empty() {
            return known.into_iter().map(|(role, addr)| Server { role: Some(role), addr }).collect();
        }
        let role_of = |addr| known.iter().find(|(_, known)| *known == addr).map(|(role, _)| *role);
        let named = self.only.into_iter();
        named.map(|server| Server { role: server.role.or_else(|| role_of(server.addr)), ..server }).collect()
    }
}

/// Asks each of them, several at a time; the answers are in their order.
pub(crate) async fn ask_each<T, F>(
    servers: &[Server],
    ask: impl Fn(Server) -> F,
) -> Vec<Result<T, OperationError>>
where
    F: Future<Output = Result<T, OperationError>>,
{
    stream::iter(servers).map(|server| ask(*server)).buffered(AT_A_TIME).collect().await
}

impl Servers {
    /// Asks them with an operator's rights, and shows what `shown` makes of what each answered.
    pub(crate) async fn show<T, S: Serialize + fmt::Display>(
        self,
        console: &Console,
        herd: Option<&OsStr>,
        undone: Undone,
        ask: impl AsyncFn(&Session, Server) -> Result<T, OperationError>,
        shown: impl FnOnce(Vec<(Server, Result<T, OperationError>)>) -> S,
    ) -> Result<(), Failure> {
        let caller = Caller::open(console, herd, Rights::Operator, None).await?;
        let servers = self.of(&caller.session);
        let asking = ask_each(&servers, |server| ask(&caller.session, server));
        let answers = caller.attend(async { Ok(asking.await) }).await?;
        let verdict = verdict(console, &servers, &answers, undone);
        let shown = shown(servers.into_iter().zip(answers).collect());
        console.result(Some(caller.herd.as_str()), &shown)?;
        verdict
    }
}

/// What nodes that failed did not do, and what is to be done about it.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Undone {
    pub(crate) what: &'static str,
    pub(crate) hint: &'static str,
}

/// Tells people which nodes failed, and says how the command ends.
pub(crate) fn verdict<T>(
    console: &Console,
    servers: &[Server],
    outcomes: &[Result<T, OperationError>],
    undone: Undone,
) -> Result<(), Failure> {
    let failed =
        servers.iter().zip(outcomes).filter_map(|(server, outcome)| Some((server, outcome.as_ref().err()?)));
    let failures: Vec<_> = failed
        .map(|(Server { addr, .. }, error)| {
            console.note(format_args!("{addr}: {error}"));
            error
        })
        .collect();
    end(servers.len(), &failures, undone)
}

/// How a command ends when these of so many nodes failed.
fn end(asked: usize, failures: &[&OperationError], undone: Undone) -> Result<(), Failure> {
    let Some(first) = failures.first() else { return Ok(()) };
    let first = Exit::of(first.code);
    let alike = failures.iter().all(|error| Exit::of(error.code) == first);
    let exit = match (failures.len() < asked, alike) {
        (true, _) => Exit::Partly,
        (false, true) => first,
        (false, false) => Exit::Unavailable,
    };
    let failure = Failure::new(exit, format!("{} of {asked} nodes did not {}", failures.len(), undone.what));
    Err(match first {
        Exit::Denied if alike => failure.with_hint(
            "operators may ask every node, controllers and a client's agent less; name an operator's settings with --herd",
        ),
        _ => failure.with_hint(undone.hint),
    })
}

#[cfg(test)]
mod tests {
    use rdcq_wire::ErrorCode;

    use super::*;

    #[test]
    fn an_address_is_given_with_the_role_that_it_serves_or_without() {
        let server = |text: &str| text.parse::<Server>();
        let addr = "127.0.0.1:7404".parse().unwrap();
        assert_eq!(server("127.0.0.1:7404"), Ok(Server { role: None, addr }));
        assert_eq!(server("tracker=127.0.0.1:7404"), Ok(Server { role: Some(Role::Tracker), addr }));
        for text in
            ["", "tracker", "tracker=", "king=127.0.0.1:7404", "client=127.0.0.1:7404", "localhost:7404"]
        {
            assert!(server(text).is_err(), "{text:?}");
        }
    }

    #[test]
    fn the_exit_code_says_whether_all_some_or_none_answered_and_why() {
        let error = |code| OperationError::new(code, "why");
        let (gone, slow) = (error(ErrorCode::Unavailable), error(ErrorCode::TimedOut));
        let (denied, malformed) = (error(ErrorCode::Denied), error(ErrorCode::Integrity));
        let end = |asked, failures: &[&OperationError]| {
            end(asked, failures, Undone { what: "tell how they are", hint: "try again" })
        };
        let exit = |asked, failures: &[&OperationError]| end(asked, failures).map_err(|failure| failure.exit);
        assert_eq!(exit(0, &[]), Ok(()));
        assert_eq!(exit(2, &[]), Ok(()));
        assert_eq!(exit(3, &[&gone, &slow]), Err(Exit::Partly));
        assert_eq!(exit(2, &[&gone, &slow]), Err(Exit::Unavailable));
        assert_eq!(exit(2, &[&denied, &denied]), Err(Exit::Denied));
        assert_eq!(exit(2, &[&denied, &malformed]), Err(Exit::Unavailable));
        let failure = end(1, &[&denied]).unwrap_err();
        assert_eq!(failure.what, "1 of 1 nodes did not tell how they are");
        assert!(failure.hint.unwrap().contains("operator"));
    }
}
