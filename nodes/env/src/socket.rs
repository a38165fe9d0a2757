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
    /// Its send buffer; shorter than asked for where `net.core.wmem_max` is lower.
    pub send_buffer: SendBuffer,
}

/// A bound socket's send buffer.
#[derive(Debug)]
pub struct SendBuffer {
    socket: Socket,
    most: usize,
}

impl SendBuffer {
    /// Bytes that were granted when the socket was bound.
    pub const fn most(&self) -> usize {
        self.most
    }

    /// Bytes that it has.
    pub fn bytes(&self) -> io::Result<usize> {
        self.socket.send_buffer_size().map(granted)
    }

    /// Asks for so many bytes.
    pub fn set(&self, bytes: usize) -> io::Result<()> {
        self.socket.set_send_buffer_size(bytes)
    }
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
    let most = granted(socket.send_buffer_size()?);
    let send_buffer = SendBuffer { socket: socket.try_clone()?, most };
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
        assert_eq!((bound.receive_buffer, bound.send_buffer.most()), (64 * 1024, 64 * 1024));
        assert_ne!(bound.socket.local_addr().unwrap().port(), 0);
    }

    #[test]
    fn a_send_buffer_changes_while_the_socket_is_in_use() {
        let bound = bind_udp("127.0.0.1:0".parse().unwrap(), 64 * 1024).unwrap();
        bound.send_buffer.set(8 * 1024).unwrap();
        assert_eq!((bound.send_buffer.bytes().unwrap(), bound.send_buffer.most()), (8 * 1024, 64 * 1024));
        bound.socket.send_to(b"still here", bound.socket.local_addr().unwrap()).unwrap();
    }

    #[test]
    fn an_immodest_buffer_shows_what_the_kernel_granted_instead() {
        let ask = 1 << 30;
        let bound = bind_udp("127.0.0.1:0".parse().unwrap(), ask).unwrap();
        assert!(bound.receive_buffer > 0 && bound.receive_buffer <= ask);
    }
}
