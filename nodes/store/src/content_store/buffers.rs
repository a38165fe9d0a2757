//! Buffers that are used again.
//!
//! A fresh buffer costs a page fault and the zeroing of a page for every four KiB, about what its bytes' way through the
//! cipher costs; one that was just sent or written is warm.

use std::fmt;
use std::sync::{Arc, Mutex};

use bytes::Bytes;

use super::lock;

/// Shorter buffers come from the allocator, which keeps such ones itself.
const MIN_BYTES: usize = 128 * 1024;
/// Bytes kept for later at most: what one fast download and one fast upload have under way.
const MAX_KEPT_BYTES: usize = 32 * 1024 * 1024;

/// A store's buffers. Clones share them.
#[derive(Clone, Default)]
pub(super) struct Buffers(Arc<Mutex<Kept>>);

#[derive(Default)]
struct Kept {
    /// Each as long as its capacity, a power of two.
    free: Vec<Box<[u8]>>,
    bytes: usize,
}

impl Buffers {
    /// A buffer for `len` bytes.
    pub(super) fn take(&self, len: usize) -> Buffer {
        let size = if len < MIN_BYTES { len } else { len.next_power_of_two() };
        let bytes = lock(&self.0).take(size).unwrap_or_else(|| vec![0; size].into());
        Buffer { bytes, len, filled: 0, home: self.clone() }
    }
}

impl Kept {
    fn take(&mut self, size: usize) -> Option<Box<[u8]>> {
        // The one used last is the warmest.
        let index = self.free.iter().rposition(|bytes| bytes.len() == size)?;
        self.bytes -= size;
        Some(self.free.remove(index))
    }

    fn put(&mut self, bytes: Box<[u8]>) {
        if bytes.len() < MIN_BYTES {
            return;
        }
        while self.bytes + bytes.len() > MAX_KEPT_BYTES && !self.free.is_empty() {
            self.bytes -= self.free.remove(0).len();
        }
        if self.bytes + bytes.len() <= MAX_KEPT_BYTES {
            self.bytes += bytes.len();
            self.free.push(bytes);
        }
    }
}

/// A buffer of fixed length that is filled from its beginning. It returns to its store when the last reference to its
/// bytes is gone.
pub struct Buffer {
    bytes: Box<[u8]>,
    len: usize,
    filled: usize,
    home: Buffers,
}

impl Buffer {
    /// Bytes that it has room for.
    pub const fn room(&self) -> usize {
        self.len - self.filled
    }

    /// Adds bytes, of which there may be no more than there is [`Self::room`] for.
    ///
    /// # Panics
    ///
    /// If there are more.
    pub fn extend_from_slice(&mut self, bytes: &[u8]) {
        self.spare()[..bytes.len()].copy_from_slice(bytes);
        self.filled += bytes.len();
    }

    /// Fills what is left by `fill`.
    pub(super) fn fill<E>(&mut self, fill: impl FnOnce(&mut [u8]) -> Result<(), E>) -> Result<(), E> {
        fill(self.spare())?;
        self.filled = self.len;
        Ok(())
    }

    fn spare(&mut self) -> &mut [u8] {
        &mut self.bytes[self.filled..self.len]
    }

    /// What was filled in, without a copy.
    pub fn freeze(self) -> Bytes {
        Bytes::from_owner(self)
    }
}

impl AsRef<[u8]> for Buffer {
    fn as_ref(&self) -> &[u8] {
        &self.bytes[..self.filled]
    }
}

impl Drop for Buffer {
    fn drop(&mut self) {
        let bytes = std::mem::take(&mut self.bytes);
        lock(&self.home.0).put(bytes);
    }
}

impl fmt::Debug for Buffer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Buffer").field("len", &self.len).field("filled", &self.filled).finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const MIB: usize = 1024 * 1024;

    fn kept(buffers: &Buffers) -> (usize, usize) {
        let kept = lock(&buffers.0);
        assert_eq!(kept.bytes, kept.free.iter().map(|bytes| bytes.len()).sum::<usize>());
        (kept.free.len(), kept.bytes)
    }

    #[test]
    fn a_buffer_comes_back_when_the_last_slice_of_it_is_gone_and_is_used_again() {
        let buffers = Buffers::default();
        let mut buffer = buffers.take(MIB - 1);
        buffer.extend_from_slice(b"one");
        assert_eq!(buffer.room(), MIB - 4);
        let bytes = buffer.freeze();
        let slice = bytes.slice(1..);
        drop(bytes);
        assert_eq!((&slice[..], kept(&buffers)), (&b"ne"[..], (0, 0)));
        drop(slice);
        assert_eq!(kept(&buffers), (1, MIB));
        let again = buffers.take(MIB - 7);
        assert_eq!((again.room(), again.as_ref().len(), kept(&buffers)), (MIB - 7, 0, (0, 0)));
    }

    #[test]
    fn what_is_kept_is_bounded_and_the_oldest_go_first() {
        let buffers = Buffers::default();
        let taken: Vec<_> = (0..40).map(|_| buffers.take(MIB)).collect();
        drop(taken);
        assert_eq!(kept(&buffers), (32, MAX_KEPT_BYTES));
        drop(buffers.take(8 * MIB));
        assert_eq!(kept(&buffers), (25, MAX_KEPT_BYTES));
        drop(buffers.take(2 * MAX_KEPT_BYTES));
        assert_eq!(kept(&buffers).0, 0);
    }

    #[test]
    fn a_short_buffer_is_as_long_as_asked_and_not_kept() {
        let buffers = Buffers::default();
        let buffer = buffers.take(1000);
        assert_eq!(buffer.bytes.len(), 1000);
        drop(buffer);
        assert_eq!(kept(&buffers), (0, 0));
    }

    #[test]
    #[should_panic(expected = "out of range")]
    fn more_than_there_is_room_for_is_refused() {
        Buffers::default().take(2).extend_from_slice(b"one");
    }
}
