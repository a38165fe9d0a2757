"""A torrent of one file: made, and shared by libtorrent. Used by the lab, with Debian's python3-libtorrent."""

import hashlib
import pathlib
import sys
import time


def bencode(value):
    if isinstance(value, int):
        return b"i%de" % value
    if isinstance(value, bytes):
        return b"%d:%s" % (len(value), value)
    if isinstance(value, str):
        return bencode(value.encode())
    return b"d" + b"".join(bencode(key) + bencode(value[key]) for key in sorted(value)) + b"e"


def make(file, piece, tracker, torrent):
    """Writes the torrent, and prints its hash, which a tracker must know."""
    data, piece = pathlib.Path(file).read_bytes(), int(piece)
    hashes = b"".join(hashlib.sha1(data[at : at + piece]).digest() for at in range(0, len(data), piece))
    name = pathlib.Path(file).name
    info = {"length": len(data), "name": name, "piece length": piece, "pieces": hashes}
    pathlib.Path(torrent).write_bytes(bencode({"announce": tracker, "info": info}))
    print(hashlib.sha1(bencode(info)).hexdigest())


def share(torrent, folder, address, done, role):
    """Shares the torrent until it is killed; a file named `done` appears when all of it is there."""
    import libtorrent

    session = libtorrent.session(
        {
            "listen_interfaces": address + ":6881",
            "enable_dht": False,
            "enable_lsd": False,
            "enable_upnp": False,
            "enable_natpmp": False,
            # Peers on one network are to find one another at once, and over TCP, which is what serves it best here.
            "allow_multiple_connections_per_ip": True,
            "enable_outgoing_utp": False,
            "enable_incoming_utp": False,
            "min_reconnect_time": 1,
            "unchoke_slots_limit": 8,
            "alert_mask": 0,
        }
    )
    params = libtorrent.add_torrent_params()
    params.ti = libtorrent.torrent_info(torrent)
    params.save_path = folder
    if role == "seed":
        params.flags |= libtorrent.torrent_flags.seed_mode
    handle = session.add_torrent(params)
    while not handle.status().is_seeding:
        time.sleep(0.02)
    pathlib.Path(done).touch()
    while True:
        time.sleep(3600)


{"make": make, "share": share}[sys.argv[1]](*sys.argv[2:])
