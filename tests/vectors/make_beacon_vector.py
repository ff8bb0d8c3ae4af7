#!/usr/bin/env python3
"""Writes beacon.hex: the golden vector of the UDP beacon, made without any of this project's Rust code.

    pip install cryptography blake3
    python3 tests/vectors/make_beacon_vector.py
"""

import pathlib
import struct

from blake3 import blake3
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

key = Ed25519PrivateKey.from_private_bytes(bytes([7] * 32))
peer = key.public_key().public_bytes_raw()
network = blake3(b"lan", derive_key_context="djembe/v1 network").digest()[:8]

magic, version, query = b"DJBC", 1, 0b01
tcp, quic = 24365, 4242
boot, counter = 0x0102030405060708, 9

body = struct.pack("<4sBB8s32sHHQI", magic, version, query, network, peer, tcp, quic, boot, counter)
beacon = body + key.sign(b"djembe/v1 beacon\0" + body)
assert len(beacon) == 126

path = pathlib.Path(__file__).with_name("beacon.hex")
path.write_text(beacon.hex() + "\n")
print(path.read_text(), end="")
