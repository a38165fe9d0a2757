//! UDP sockets with the buffers that a fast path needs.

use std::io;
use std::net::{SocketAddr, UdpSocket};

use socket2::{Domain, Protocol, SockAddr, Socket, Type};

/// A bound, non-blocking socket, and what the kernel really gave it.
#[derive(Debug)]
pub struct BoundUdp {
    /// The socket.
    pub socket: UdpSocket,
    /// Bytes of receive buffer granted; less than asked for where `net.core.rmem_max` is lower.
    pub receive_buffer: usize,
    /// Bytes of send buffer granted; less than asked for where `net.core.wmem_max` is lower.
    pub send_buffer: usize,
}

/// Binds a UDP socket and asks for `buffers` bytes each way. A kernel that grants less is no error: compare what came
/// back. An IPv6 wildcard address takes IPv4, too.
pub fn bind_udp(addr: SocketAddr, buffers: usize) -> io::Result<BoundUdp> {
    let socket = Socket::new(Domain::for_address(addr), Type::DGRAM, Some(Protocol::UDP))?;
    if addr.is_ipv6() && addr.ip().is_unspecified() {
        socket.set_only_v6(false)?;
    }
    socket.set_nonblocking(true)?;
    socket.set_recv_buffer_size(buffers)?;
    socket.set_send_buffer_size(buffers)?;
    socket.bind(&SockAddr::from(addr))?;
    let receive_buffer = granted(socket.recv_buffer_size()?);
    let send_buffer = granted(socket.send_buffer_size()?);
    Ok(BoundUdp { socket: socket.into(), receive_buffer, send_buffer })
}

/// Linux doubles the size for its bookkeeping and reports the double (socket(7)).
const fn granted(reported: usize) -> usize {
    if cfg!(target_os = "linux") { reported / 2 } else { reported }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_modest_buffer_is_granted_as_asked() {
        let bound = bind_udp("127.0.0.1:0".parse().unwrap(), 64 * 1024).unwrap();
        assert_eq!((bound.receive_buffer, bound.send_buffer), (64 * 1024, 64 * 1024));
        assert_ne!(bound.socket.local_addr().unwrap().port(), 0);
    }

    #[test]
    fn an_immodest_buffer_shows_what_the_kernel_granted_instead() {
        let ask = 1 << 30;
        let bound = bind_udp("127.0.0.1:0".parse().unwrap(), ask).unwrap();
        assert!(bound.receive_buffer > 0 && bound.receive_buffer <= ask);
    }
}
