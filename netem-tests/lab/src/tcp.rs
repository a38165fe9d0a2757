//! One flow of TCP, as everybody has it.

use std::io::{Read as _, Write as _};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::time::{Duration, Instant};

use anyhow::Context as _;
use clap::Args;
use serde::{Deserialize, Serialize};

use crate::report::print;

/// Bytes read and written at once.
const CHUNK: usize = 64 * 1024;
/// How long a sender may take to start.
const PATIENCE: Duration = Duration::from_secs(10);

#[derive(Args)]
pub(crate) struct Send {
    #[arg(long)]
    to: SocketAddr,
    /// The kernel's congestion controller.
    #[arg(long)]
    congestion: String,
}

#[derive(Args)]
pub(crate) struct Receive {
    #[arg(long)]
    listen: SocketAddr,
    /// When what is received begins to count, in milliseconds.
    #[arg(long)]
    from_ms: u64,
    /// For how long, in milliseconds.
    #[arg(long)]
    ms: u64,
}

/// What came while it counted.
#[derive(Debug, Serialize, Deserialize)]
pub(crate) struct Received {
    pub(crate) seconds: f64,
    pub(crate) bytes: u64,
}

/// Sends until nobody receives any more.
pub(crate) fn send(arguments: &Send) -> anyhow::Result<()> {
    let Send { to, congestion } = arguments;
    // Asked before anybody is there to be disappointed.
    let probe = TcpListener::bind("127.0.0.1:0")?;
    let has = |socket: &dyn std::os::fd::AsFd| {
        rustix::net::sockopt::set_tcp_congestion(socket.as_fd(), congestion)
            .with_context(|| format!("the kernel's TCP has no {congestion}"))
    };
    has(&probe)?;
    let mut stream = TcpStream::connect(to).with_context(|| to.to_string())?;
    has(&stream)?;
    let chunk = vec![0; CHUNK];
    // It ends when the receiver has had enough.
    while stream.write_all(&chunk).is_ok() {}
    Ok(())
}

/// Takes one connection, if it comes soon.
fn accept(listener: &TcpListener) -> anyhow::Result<TcpStream> {
    listener.set_nonblocking(true)?;
    let began = Instant::now();
    loop {
        match listener.accept() {
            Ok((stream, _)) => {
                stream.set_nonblocking(false)?;
                return Ok(stream);
            }
            Err(error) if error.kind() != std::io::ErrorKind::WouldBlock => return Err(error.into()),
            Err(_) => anyhow::ensure!(
                began.elapsed() < PATIENCE,
                "no sender came; has the kernel's TCP the controller?"
            ),
        }
        std::thread::sleep(Duration::from_millis(10));
    }
}

/// Takes one connection, and says what it brought.
pub(crate) fn receive(arguments: &Receive) -> anyhow::Result<()> {
    let mut stream = accept(&TcpListener::bind(arguments.listen)?)?;
    let (began, mut bytes, mut chunk) = (Instant::now(), 0, vec![0; CHUNK]);
    let (from, until) = (Duration::from_millis(arguments.from_ms), Duration::from_millis(arguments.ms));
    // One that is starved brings nothing for long, and is to be seen as that.
    while began.elapsed() < until {
        stream.set_read_timeout(Some(Duration::from_millis(50)))?;
        let read = match stream.read(&mut chunk) {
            Ok(0) => anyhow::bail!("the sender ended early"),
            Ok(read) => read as u64,
            Err(_) => 0,
        };
        if (from..until).contains(&began.elapsed()) {
            bytes += read;
        }
    }
    print(&Received { seconds: (until - from).as_secs_f64(), bytes })
}
