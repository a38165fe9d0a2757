//! Desks of a real machine: a Unix socket under an abstract name, which is in no folder and so nobody's to permit.

use std::io::{self, IoSlice, IoSliceMut};
use std::mem::MaybeUninit;
use std::sync::Arc;

use rustix::net::{
    RecvAncillaryBuffer, RecvAncillaryMessage, RecvFlags, SendAncillaryBuffer, SendAncillaryMessage,
    SendFlags, recvmsg, sendmsg,
};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _, Interest};
use tokio::net::{UnixListener, UnixStream};

use super::{DeskName, DeskToken, NONCE_LEN, nothing};
use crate::DiskFile;
use crate::system_disk::SystemFile;

/// Goes with a descriptor, for one cannot travel without a byte.
const HERE: u8 = 1;

/// What whoever runs other programs must not pass on to them.
#[cfg(target_os = "linux")]
const RECEIVE: RecvFlags = RecvFlags::CMSG_CLOEXEC;
#[cfg(not(target_os = "linux"))]
const RECEIVE: RecvFlags = RecvFlags::empty();

/// A NUL in front makes a name abstract on Linux (unix(7)), and no name at all elsewhere. What goes before the random part
/// keeps whoever is told a name from speaking to any other socket of the machine.
fn path(name: DeskName) -> String {
    let hex: String = name.as_bytes().iter().map(|byte| format!("{byte:02x}")).collect();
    format!("\0rdcq-desk-{hex}")
}

pub(super) fn bind(name: DeskName) -> io::Result<UnixListener> {
    UnixListener::bind(path(name))
}

pub(super) async fn read_token(stream: &mut UnixStream) -> io::Result<DeskToken> {
    let mut token = [0; NONCE_LEN];
    stream.read_exact(&mut token).await?;
    Ok(DeskToken::from_bytes(token))
}

pub(super) async fn send_file(stream: &UnixStream, file: &dyn DiskFile) -> io::Result<()> {
    let descriptor = [file.descriptor().ok_or(io::ErrorKind::Unsupported)?];
    let send = || {
        let mut space = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(1))];
        let mut rights = SendAncillaryBuffer::new(&mut space);
        rights.push(SendAncillaryMessage::ScmRights(&descriptor));
        sendmsg(stream, &[IoSlice::new(&[HERE])], &mut rights, SendFlags::NOSIGNAL)?;
        Ok(())
    };
    stream.async_io(Interest::WRITABLE, send).await
}

pub(super) async fn pick_up(name: DeskName, token: DeskToken) -> io::Result<Arc<dyn DiskFile>> {
    let mut stream = UnixStream::connect(path(name)).await?;
    stream.write_all(token.as_bytes()).await?;
    let receive = || {
        let mut space = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(1))];
        let mut rights = RecvAncillaryBuffer::new(&mut space);
        let mut answer = [0];
        recvmsg(&stream, &mut [IoSliceMut::new(&mut answer)], &mut rights, RECEIVE)?;
        Ok(rights.drain().find_map(|message| match message {
            RecvAncillaryMessage::ScmRights(mut descriptors) => descriptors.next(),
            _ => None,
        }))
    };
    let descriptor = stream.async_io(Interest::READABLE, receive).await?.ok_or_else(nothing)?;
    Ok(Arc::new(SystemFile::adopt(descriptor)?))
}
