//! Many clients, each with a connection of its own, that pull one content from an origin and check every piece.
//!
//! Orders: `pull`.

use std::net::SocketAddr;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Instant;

use clap::Args;
use rdcq_wire::{Digest, Hasher, Manifest, PieceIndex, Role, Span};
use serde::{Deserialize, Serialize};
use tokio::task::JoinSet;

use crate::client::{Caller, Member};
use crate::processes;

/// Clients on one socket.
const PER_SOCKET: usize = 50;
/// Bytes asked for at once, unless a piece is longer.
const SPAN_BYTES: u64 = 256 * 1024;

#[derive(Args)]
pub(crate) struct Arguments {
    /// Folder with ca.pem, node.pem and node.key.
    certs: PathBuf,
    /// Where the origin listens.
    server: SocketAddr,
    /// How many clients.
    clients: usize,
    /// The content.
    digest: Digest,
    /// Its manifest.
    manifest: Digest,
}

/// What all clients pulled.
#[derive(Debug, Serialize, Deserialize)]
pub(crate) struct Pulled {
    pub(crate) seconds: f64,
    pub(crate) bytes: u64,
    /// Clients of whose pieces each was what the manifest says.
    pub(crate) right: usize,
    /// What went wrong last, if anything did.
    pub(crate) why: Option<String>,
}

pub(crate) async fn run(arguments: Arguments) -> anyhow::Result<()> {
    let Arguments { certs, server, clients, digest, manifest } = arguments;
    let mut orders = processes::orders();
    let member = Member::load(&certs)?;
    let mut callers = Vec::new();
    let mut socket = member.dialler()?;
    for client in 0..clients {
        if client > 0 && client % PER_SOCKET == 0 {
            socket = member.dialler()?;
        }
        let caller = socket.caller(server, Role::Origin);
        // Connects.
        caller.ask().await?;
        callers.push(caller);
    }
    processes::say("ready")?;
    while let Some(order) = orders.recv().await {
        anyhow::ensure!(order == "pull", "pullers are told {order:?}");
        processes::answer(&pull_all(&callers, digest, manifest).await?)?;
    }
    Ok(())
}

async fn pull_all(callers: &[Caller], digest: Digest, manifest: Digest) -> anyhow::Result<Pulled> {
    let started = Instant::now();
    let mut pulls = JoinSet::new();
    for caller in callers {
        let caller = caller.clone();
        pulls.spawn(async move { pull(&caller, digest, manifest).await });
    }
    let mut pulled = Pulled { seconds: 0.0, bytes: 0, right: 0, why: None };
    while let Some(pull) = pulls.join_next().await {
        match pull? {
            Ok(bytes) => {
                pulled.bytes += bytes;
                pulled.right += 1;
            }
            Err(error) => pulled.why = Some(format!("{error:#}")),
        }
    }
    pulled.seconds = started.elapsed().as_secs_f64();
    Ok(pulled)
}

async fn pull(caller: &Caller, digest: Digest, manifest: Digest) -> anyhow::Result<u64> {
    let manifest = Arc::new(caller.manifest(digest, manifest).await?);
    let (mut first, mut total) = (0, 0);
    while first < manifest.pieces.len() {
        let asked = span(&manifest, first);
        let (span, bytes) = caller.pieces(digest, asked).await?;
        anyhow::ensure!(span.first == asked.first && (1..=asked.count).contains(&span.count), "{span:?}");
        total += check(&manifest, span, bytes.iter().map(|bytes| &bytes[..]))?;
        first += span.count;
    }
    anyhow::ensure!(total == manifest.pieces.size(), "{total} bytes of {}", manifest.pieces.size());
    Ok(total)
}

/// As many pieces from the first on as are asked for at once.
fn span(manifest: &Manifest, first: u32) -> Span {
    let (mut count, mut bytes) = (0, 0);
    while let Some(piece) = manifest.pieces.piece(PieceIndex(first + count)) {
        bytes += u64::from(piece.len);
        if count > 0 && bytes > SPAN_BYTES {
            break;
        }
        count += 1;
    }
    Span { first: PieceIndex(first), count }
}

/// Checks each piece against the manifest, and returns how many bytes they have.
fn check<'a>(manifest: &Manifest, span: Span, chunks: impl Iterator<Item = &'a [u8]>) -> anyhow::Result<u64> {
    let mut pieces = span.indices().filter_map(|index| manifest.pieces.piece(index));
    let mut piece = pieces.next();
    let (mut hasher, mut hashed, mut total) = (Hasher::default(), 0, 0);
    for mut chunk in chunks {
        total += chunk.len() as u64;
        while let Some(wanted) = piece.filter(|_| !chunk.is_empty()) {
            let (part, rest) = chunk.split_at(chunk.len().min(wanted.len as usize - hashed));
            hasher.update(part);
            hashed += part.len();
            chunk = rest;
            if hashed == wanted.len as usize {
                let got = std::mem::take(&mut hasher).finish();
                anyhow::ensure!(got == wanted.hash, "a piece of {span:?} has other bytes");
                (piece, hashed) = (pieces.next(), 0);
            }
        }
        anyhow::ensure!(chunk.is_empty(), "more bytes than {span:?} has");
    }
    anyhow::ensure!(piece.is_none(), "fewer bytes than {span:?} has");
    Ok(total)
}

#[cfg(test)]
mod tests {
    use rdcq_wire::{Piece, PieceTable};

    use super::*;

    fn manifest(pieces: &[&[u8]]) -> Manifest {
        let piece = |bytes: &&[u8]| Piece { len: bytes.len() as u32, hash: Digest::of(bytes) };
        let table = PieceTable::new(pieces.iter().map(piece).collect()).unwrap();
        Manifest::of_file(Digest::of(&pieces.concat()), table)
    }

    fn checked(span: Span, chunks: &[&[u8]]) -> Option<u64> {
        check(&manifest(&[b"one", b"second", b"3"]), span, chunks.iter().copied()).ok()
    }

    #[test]
    fn pieces_are_right_however_their_bytes_are_cut() {
        assert_eq!(checked(Span::new(0, 3), &[b"onesecond3"]), Some(10));
        assert_eq!(checked(Span::new(0, 2), &[b"o", b"", b"nesec", b"ond"]), Some(9));
        assert_eq!(checked(Span::new(1, 2), &[b"second", b"3"]), Some(7));
    }

    #[test]
    fn one_wrong_byte_or_one_too_few_or_too_many_is_noticed() {
        assert_eq!(checked(Span::new(0, 2), &[b"onesecone"]), None);
        assert_eq!(checked(Span::new(0, 2), &[b"onesecon"]), None);
        assert_eq!(checked(Span::new(0, 2), &[b"onesecond3"]), None);
        assert_eq!(checked(Span::new(0, 2), &[b"one"]), None);
    }

    #[test]
    fn what_is_asked_for_at_once_is_bounded_and_never_nothing() {
        let long = vec![0; SPAN_BYTES as usize + 1];
        let manifest = manifest(&[b"one", b"second", &long, b"3"]);
        let counts: Vec<_> = (0..4).map(|first| span(&manifest, first).count).collect();
        assert_eq!(counts, [2, 1, 1, 1]);
    }
}
