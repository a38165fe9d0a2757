//! A client that leaves gaps in its streams. It writes as any other; the key that seals its packets moves apart what they say,
//! so that no frame touches the one before, and no gap is ever filled.

use std::any::Any;
use std::sync::Arc;

use bytes::BytesMut;
use quinn::crypto::rustls::QuicClientConfig;
use quinn_proto::crypto::{
    ClientConfig, CryptoError, ExportKeyingMaterialError, HeaderKey, KeyPair, Keys, PacketKey, Session,
};
use quinn_proto::transport_parameters::TransportParameters;
use quinn_proto::{ConnectError, ConnectionId, Side, TransportError};
use rdcq_transport::Security;

/// Up to here streams are sent as they are. Beyond, offsets take four bytes, which leaves room for larger ones.
pub(crate) const WHOLE: u64 = 16 * 1024;

/// A client's configuration with a gap behind every frame of a stream, as long as the frame.
pub(crate) fn config(security: &Security) -> quinn::ClientConfig {
    let crypto = QuicClientConfig::try_from(Arc::clone(&security.client)).unwrap();
    quinn::ClientConfig::new(Arc::new(Gapping(Arc::new(crypto))))
}

struct Gapping(Arc<dyn ClientConfig>);

impl ClientConfig for Gapping {
    fn start_session(
        self: Arc<Self>,
        version: u32,
        server_name: &str,
        params: &TransportParameters,
    ) -> Result<Box<dyn Session>, ConnectError> {
        let session = Arc::clone(&self.0).start_session(version, server_name, params)?;
        Ok(Box::new(GappingSession(session)))
    }
}

struct GappingSession(Box<dyn Session>);

impl Session for GappingSession {
    fn initial_keys(&self, dst_cid: &ConnectionId, side: Side) -> Keys {
        self.0.initial_keys(dst_cid, side)
    }

    fn handshake_data(&self) -> Option<Box<dyn Any>> {
        self.0.handshake_data()
    }

    fn peer_identity(&self) -> Option<Box<dyn Any>> {
        self.0.peer_identity()
    }

    fn early_crypto(&self) -> Option<(Box<dyn HeaderKey>, Box<dyn PacketKey>)> {
        self.0.early_crypto()
    }

    fn early_data_accepted(&self) -> Option<bool> {
        self.0.early_data_accepted()
    }

    fn is_handshaking(&self) -> bool {
        self.0.is_handshaking()
    }

    fn read_handshake(&mut self, buf: &[u8]) -> Result<bool, TransportError> {
        self.0.read_handshake(buf)
    }

    fn transport_parameters(&self) -> Result<Option<TransportParameters>, TransportError> {
        self.0.transport_parameters()
    }

    fn write_handshake(&mut self, buf: &mut Vec<u8>) -> Option<Keys> {
        let Keys { header, packet } = self.0.write_handshake(buf)?;
        Some(Keys { header, packet: gapping(packet) })
    }

    fn next_1rtt_keys(&mut self) -> Option<KeyPair<Box<dyn PacketKey>>> {
        self.0.next_1rtt_keys().map(gapping)
    }

    fn is_valid_retry(&self, orig_dst_cid: &ConnectionId, header: &[u8], payload: &[u8]) -> bool {
        self.0.is_valid_retry(orig_dst_cid, header, payload)
    }

    fn export_keying_material(
        &self,
        output: &mut [u8],
        label: &[u8],
        context: &[u8],
    ) -> Result<(), ExportKeyingMaterialError> {
        self.0.export_keying_material(output, label, context)
    }
}

fn gapping(keys: KeyPair<Box<dyn PacketKey>>) -> KeyPair<Box<dyn PacketKey>> {
    KeyPair { local: Box::new(GappingKey(keys.local)), remote: keys.remote }
}

struct GappingKey(Box<dyn PacketKey>);

impl PacketKey for GappingKey {
    fn encrypt(&self, packet: u64, buf: &mut [u8], header_len: usize) {
        let end = buf.len() - self.0.tag_len();
        // Streams are sent in packets with short headers only.
        if buf[0] & 0x80 == 0 {
            part_frames(&mut buf[header_len..end]);
        }
        self.0.encrypt(packet, buf, header_len);
    }

    fn decrypt(&self, packet: u64, header: &[u8], payload: &mut BytesMut) -> Result<(), CryptoError> {
        self.0.decrypt(packet, header, payload)
    }

    fn tag_len(&self) -> usize {
        self.0.tag_len()
    }

    fn confidentiality_limit(&self) -> u64 {
        self.0.confidentiality_limit()
    }

    fn integrity_limit(&self) -> u64 {
        self.0.integrity_limit()
    }
}

/// Moves every stream frame twice as far from where gaps begin; leaves a packet alone from the first frame on that it does not
/// know.
fn part_frames(payload: &mut [u8]) -> Option<()> {
    let mut at = 0;
    while at < payload.len() {
        let kind = payload[at];
        at += 1;
        match kind {
            // Padding and PING.
            0x00 | 0x01 => {}
            // ACK: largest, delay, count, first range; gaps and ranges; counts of ECN marks.
            0x02 | 0x03 => {
                number(payload, &mut at)?;
                number(payload, &mut at)?;
                let ranges = number(payload, &mut at)?;
                let marks = if kind == 0x03 { 3 } else { 0 };
                for _ in 0..1 + 2 * ranges + marks {
                    number(payload, &mut at)?;
                }
            }
            0x08..=0x0f => {
                number(payload, &mut at)?;
                if kind & 0x04 != 0 {
                    let place = at;
                    let offset = number(payload, &mut at)?;
                    if offset >= WHOLE {
                        let moved =
                            u32::try_from(WHOLE + 2 * (offset - WHOLE)).ok().filter(|m| *m < 1 << 30)?;
                        payload[place..at].copy_from_slice(&(moved | 2 << 30).to_be_bytes());
                    }
                }
                at = match kind & 0x02 {
                    0 => payload.len(),
                    _ => usize::try_from(number(payload, &mut at)?).ok()? + at,
                };
            }
            _ => return None,
        }
    }
    Some(())
}

/// Reads a number as QUIC writes it: the first two bits tell how many bytes it has.
fn number(payload: &[u8], at: &mut usize) -> Option<u64> {
    let len = 1 << (payload.get(*at)? >> 6);
    let bytes = payload.get(*at..*at + len)?;
    *at += len;
    let value = bytes.iter().fold(0, |value, byte| value << 8 | u64::from(*byte));
    Some(value & (u64::MAX >> (66 - 8 * len)))
}

#[test]
fn frames_are_moved_apart_and_all_else_is_left() {
    // PING, ACK of one range, a stream's bytes before the gaps, two frames behind them, the latter to the packet's end.
    let packet = |first: u32, second: u32| {
        let ack = [0x01, 0x02, 9, 1, 0, 3];
        let early = [0x0e, 4, 0x40, 100, 2, b'a', b'b'];
        let later = |kind: u8, offset: u32| [&[kind, 4][..], &(offset | 2 << 30).to_be_bytes()].concat();
        [&ack[..], &early, &later(0x0e, first), &[3, 1, 2, 3], &later(0x0c, second), &[8; 50]].concat()
    };
    let mut payload = packet(20_000, 20_003);
    part_frames(&mut payload).unwrap();
    assert_eq!(payload, packet(23_616, 23_622));
}
