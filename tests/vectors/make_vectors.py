#!/usr/bin/env python3
"""Golden vectors for the djembe protocol, written from docs/envelope.md and not from the Rust code.

    pip install blake3 cryptography argon2-cffi
    python make_vectors.py            # writes the JSON files beside itself
    python make_vectors.py --check    # says whether they are what it would write

The Rust tests in protocol/src/crypto/vectors.rs compare byte for byte. Byte strings are in hex.
"""

import hashlib
import json
import pathlib
import struct
import sys

from argon2.low_level import Type, hash_secret_raw
from blake3 import blake3
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from cryptography.hazmat.primitives.ciphers import Cipher, algorithms
from cryptography.hazmat.primitives.ciphers.aead import ChaCha20Poly1305
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat

HERE = pathlib.Path(__file__).parent
ZERO32 = bytes(32)


# --- BLAKE3 in its three modes ---

def derive_key(label, material):
    return blake3(material, derive_key_context="djembe/v1 " + label).digest()


def keyed(key, data, length=32):
    return blake3(data, key=key).digest(length=length)


def lp(text):
    raw = text.encode()
    return struct.pack("<I", len(raw)) + raw


def argon2id(passphrase, salt):
    return hash_secret_raw(passphrase.encode(), salt, time_cost=3, memory_cost=65536, parallelism=1,
                           hash_len=32, type=Type.ID, version=0x13)


# --- open groups ---

class OpenGroup:
    def __init__(self, network, group, passphrase):
        names = lp(network) + lp(group)
        self.salt = derive_key("open-group-salt", names)[:16]
        self.stretched = ZERO32 if passphrase is None else argon2id(passphrase, self.salt)
        flag = bytes([0 if passphrase is None else 1])
        self.gk = derive_key("open-group", names + flag + self.stretched)
        self.group_id = derive_key("group-id", self.gk)
        self.topic_secret = derive_key("topic-secret", self.gk)
        self.topic_tag = derive_key("topic", self.group_id + self.topic_secret)[:16]
        self.epoch_id = derive_key("open-epoch", self.gk)
        self.link = derive_key("link", self.gk)
        self.epoch_root = derive_key("epoch-root", self.gk + self.epoch_id)

    def chain(self, author):
        return derive_key("sender-chain", self.epoch_root + author)

    def message_key(self, author, lane, seq):
        if lane == 0:
            return derive_key("control", self.topic_secret + self.group_id + author)
        return keyed(self.chain(author), b"open\0" + struct.pack("<BQ", lane, seq))

    def link_proof(self, me, you, my_nonce, your_nonce):
        return keyed(self.link, b"subscribe\0" + me + you + my_nonce + your_nonce)


# --- messages ---

def encode_body(hlc, subject="", content_type="", headers=(), parents=(), content=b""):
    out = struct.pack("<BQB", 0, hlc, len(parents))
    for envelope, index in sorted(parents):
        out += envelope + struct.pack("<H", index)
    for text in (subject, content_type):
        raw = text.encode()
        out += bytes([len(raw)]) + raw
    out += bytes([len(headers)])
    for name, value in sorted(headers):
        name, value = name.encode(), value.encode()
        out += bytes([len(name)]) + name + struct.pack("<H", len(value)) + value
    return out + content


# --- Merkle tree ---

K_LEAF = derive_key("merkle-leaf", b"")
K_NODE = derive_key("merkle-node", b"")


def levels(leaves):
    result = [leaves]
    while len(result[-1]) > 1:
        below = result[-1]
        pairs = [below[i:i + 2] for i in range(0, len(below), 2)]
        result.append([keyed(K_NODE, pair[0] + pair[1]) if len(pair) == 2 else pair[0] for pair in pairs])
    return result


def siblings(leaves, index):
    path = []
    for level in levels(leaves)[:-1]:
        if index ^ 1 < len(level):
            path.append(level[index ^ 1])
        index >>= 1
    return path


# --- envelopes ---

def padme(length):
    exponent = length.bit_length() - 1
    free = exponent - exponent.bit_length()
    return -(-length >> free) << free


def public_key(seed):
    return Ed25519PrivateKey.from_private_bytes(seed).public_key().public_bytes(Encoding.Raw, PublicFormat.Raw)


def sign(seed, domain, data):
    return Ed25519PrivateKey.from_private_bytes(seed).sign(b"djembe/v1 " + domain + b"\0" + data)


def seal(seed, group, lane, seq, prev, skip, ttl_secs, frame_salt, bodies):
    author = public_key(seed)
    payload = b"".join(struct.pack("<I", len(body)) + body for body in bodies)
    payload += bytes(padme(len(payload)) - len(payload))
    epoch_id = ZERO32 if lane == 0 else group.epoch_id
    keyed_part = (b"DJ" + bytes([1, lane]) + group.topic_tag + author + struct.pack("<Q", seq) + prev + epoch_id
                  + struct.pack("<I", 0) + ZERO32 + frame_salt
                  + struct.pack("<HHIII", len(bodies), 0, len(payload) + 16, skip, ttl_secs))
    assert len(keyed_part) == 192
    mk = group.message_key(author, lane, seq)
    secrets = keyed(mk, keyed_part, 64)
    fk, sk = secrets[:32], secrets[32:]
    ct = ChaCha20Poly1305(fk).encrypt(bytes(12), payload, keyed_part)
    salt_bytes = keyed(sk, b"djembe/v1 salts", 16 * len(bodies))
    salts = [salt_bytes[16 * j:16 * j + 16] for j in range(len(bodies))]
    leaves = [keyed(K_LEAF, salt + body) for salt, body in zip(salts, bodies)]
    root = levels(leaves)[-1][0]
    signed_part = keyed_part + root + blake3(ct).digest()
    sig = sign(seed, b"envelope", signed_part)
    return {
        "message_key": mk, "fk": fk, "sk": sk, "salts": salts, "leaves": leaves, "root": root,
        "id": derive_key("envelope-id", signed_part), "header": signed_part + sig, "payload": payload,
        "envelope": signed_part + sig + ct,
    }


def proof(sealed, bodies, index):
    return (b"DJP1" + sealed["header"] + struct.pack("<HI", index, len(bodies[index])) + bodies[index]
            + sealed["salts"][index] + b"".join(siblings(sealed["leaves"], index)))


# --- one ciphertext that two keys open ("salamander": Dodis and others, "Fast message franking", 2018) ---

POLY_P = 2**130 - 5


def keystream(key, length):
    """ChaCha20 under a zero nonce, from block 1 on; and the Poly1305 key of block 0."""
    raw = Cipher(algorithms.ChaCha20(key, bytes(16)), mode=None).encryptor().update(bytes(64 + length))
    return raw[64:], raw[:32]


def poly_coefficients(one_time_key, aad, ct, free):
    """The tag as (constant, coefficient of each free block), modulo 2^130 - 5, and s."""
    r = int.from_bytes(one_time_key[:16], "little") & 0x0FFFFFFC0FFFFFFC0FFFFFFC0FFFFFFF
    blocks = [block for part in (aad, ct) for block in
              ((part + bytes(-len(part) % 16))[i:i + 16] for i in range(0, len(part), 16))]
    blocks.append(struct.pack("<QQ", len(aad), len(ct)))
    n_aad = -(-len(aad) // 16)
    constant, coefficients = 0, {}
    for i, block in enumerate(blocks):
        power = pow(r, len(blocks) - i, POLY_P)
        if i - n_aad in free:
            coefficients[i - n_aad] = power
        else:
            constant += (int.from_bytes(block, "little") + 2**128) * power
    return constant % POLY_P, [coefficients[i] for i in free], int.from_bytes(one_time_key[16:], "little")


def two_key_ciphertext(key1, key2, aad, payload):
    """A ciphertext that opens to `payload` under key1, but for two blocks in the middle, and to something else
    under key2, with one tag for both."""
    stream1, mac1 = keystream(key1, len(payload))
    _, mac2 = keystream(key2, len(payload))
    ct = bytes(a ^ b for a, b in zip(payload, stream1))
    free = [4, 5]
    c1, (x1, y1), s1 = poly_coefficients(mac1, aad, ct, free)
    c2, (x2, y2), s2 = poly_coefficients(mac2, aad, ct, free)
    inverse = pow(x1 * y2 - x2 * y1, POLY_P - 2, POLY_P)
    for tag in range(2**16):
        t1, t2 = (tag - s1) % 2**128 - c1, (tag - s2) % 2**128 - c2
        x, y = (t1 * y2 - t2 * y1) * inverse % POLY_P, (x1 * t2 - x2 * t1) * inverse % POLY_P
        if x >> 128 == 1 and y >> 128 == 1:
            blocks = b"".join((value - 2**128).to_bytes(16, "little") for value in (x, y))
            ct = ct[:64] + blocks + ct[96:] + tag.to_bytes(16, "little")
            for key in (key1, key2):
                ChaCha20Poly1305(key).decrypt(bytes(12), ct, aad)
            return ct
    raise AssertionError("one tag in 16 or so does")


def two_key_envelope(seed, topic_tag, epoch_id, message_keys):
    body = encode_body(1, content=bytes(200))
    payload = struct.pack("<I", len(body)) + body
    payload += bytes(padme(len(payload)) - len(payload))
    keyed_part = (b"DJ" + bytes([1, 1]) + topic_tag + public_key(seed) + bytes(8) + ZERO32 + epoch_id
                  + bytes(4) + ZERO32 + bytes(16) + struct.pack("<HHIII", 1, 0, len(payload) + 16, 0, 0))
    secrets = [keyed(key, keyed_part, 64) for key in message_keys]
    ct = two_key_ciphertext(secrets[0][:32], secrets[1][:32], keyed_part, payload)
    plain = ChaCha20Poly1305(secrets[0][:32]).decrypt(bytes(12), ct, keyed_part)
    salt = keyed(secrets[0][32:], b"djembe/v1 salts", 16)
    root = keyed(K_LEAF, salt + plain[4:4 + len(body)])
    signed_part = keyed_part + root + blake3(ct).digest()
    return signed_part + sign(seed, b"envelope", signed_part) + ct


# --- key files ---

def key_file(seed, data_key, passphrase=None, salt=None):
    if passphrase is None:
        out = b"DJK1" + bytes([0]) + seed + data_key
    else:
        out = b"DJK1" + bytes([1]) + salt
        out += ChaCha20Poly1305(argon2id(passphrase, salt)).encrypt(bytes(12), seed + data_key, out)
    return out + derive_key("key-file", out)[:8]


# --- Ed25519 by the book (RFC 8032, section 6), for signatures that a signing library would not make ---

P = 2**255 - 19
L = 2**252 + 27742317777372353535851937790883648493
D = -121665 * pow(121666, P - 2, P) % P
SQRT_M1 = pow(2, (P - 1) // 4, P)
IDENTITY = (0, 1)


def add(a, b):
    (x1, y1), (x2, y2) = a, b
    k = D * x1 * x2 * y1 * y2 % P
    return ((x1 * y2 + x2 * y1) * pow(1 + k, P - 2, P) % P, (y1 * y2 + x1 * x2) * pow(1 - k, P - 2, P) % P)


def mul(n, point):
    result = IDENTITY
    while n:
        if n & 1:
            result = add(result, point)
        point = add(point, point)
        n >>= 1
    return result


def recover_x(y, sign_bit):
    x2 = (y * y - 1) * pow(D * y * y + 1, P - 2, P) % P
    x = pow(x2, (P + 3) // 8, P)
    if (x * x - x2) % P:
        x = x * SQRT_M1 % P
    if (x * x - x2) % P:
        return None
    return P - x if x & 1 != sign_bit and x else x


def encode(point):
    return (point[1] | (point[0] & 1) << 255).to_bytes(32, "little")


def decode(raw):
    """Leniently: y is taken modulo p, and x = 0 may carry a sign."""
    value = int.from_bytes(raw, "little")
    y = (value & (1 << 255) - 1) % P
    x = recover_x(y, value >> 255)
    return None if x is None else (x, y)


BASE = (recover_x(4 * pow(5, P - 2, P) % P, 0), 4 * pow(5, P - 2, P) % P)


def h(*parts):
    return int.from_bytes(hashlib.sha512(b"".join(parts)).digest(), "little") % L


def secret_scalar(seed):
    digest = bytearray(hashlib.sha512(seed).digest()[:32])
    digest[0] &= 248
    digest[31] = digest[31] & 127 | 64
    return int.from_bytes(digest, "little")


def small_order_points():
    """The eight points of order 1, 2, 4 and 8: L times a point that is not in the prime-order group."""
    y = 2
    while True:
        x = recover_x(y, 0)
        if x is not None and mul(4 * L, (x, y)) != IDENTITY:
            generator = mul(L, (x, y))
            return [mul(i, generator) for i in range(8)]
        y += 1


def lenient_accepts(key, message, sig):
    """The equation without cofactor on leniently decoded points: what a careless verifier asks."""
    a, r, s = decode(key), decode(sig[:32]), int.from_bytes(sig[32:], "little")
    return (a is not None and r is not None and s < L
            and mul(s, BASE) == add(r, mul(h(sig[:32], key, message), a)))


def strict_accepts(key, message, sig):
    """What docs/envelope.md demands of a signature."""
    a, r = decode(key), decode(sig[:32])
    return (lenient_accepts(key, message, sig) and encode(a) == key and encode(r) == sig[:32]
            and mul(8, a) != IDENTITY and mul(8, r) != IDENTITY)


def messages():
    return (b"message %d" % i for i in range(10_000))


def ed25519_cases():
    seed = bytes([42]) * 32
    a, public = secret_scalar(seed), public_key(seed)
    assert encode(mul(a, BASE)) == public
    honest = Ed25519PrivateKey.from_private_bytes(seed).sign(b"message")
    assert strict_accepts(public, b"message", honest)
    s = int.from_bytes(honest[32:], "little")
    torsion = small_order_points()
    zero, one = bytes(32), encode(IDENTITY)
    yield "honest", public, b"message", honest
    yield "another message", public, b"massage", honest
    for k in (1, 2, 15):
        yield f"s + {k} L", public, b"message", honest[:32] + (s + k * L).to_bytes(32, "little")
    yield "s = L", public, b"message", honest[:32] + L.to_bytes(32, "little")
    yield "key, R identity and s zero", one, b"message", one + zero
    # For each key of small order, some R of small order and some message satisfy the equation with s = 0.
    for i, key in enumerate(torsion):
        r, message = next((r, m) for m in messages() for r in torsion
                          if lenient_accepts(encode(key), m, encode(r) + zero))
        yield f"key of small order {i}", encode(key), message, encode(r) + zero
    for i, r in enumerate(torsion):
        k = h(encode(r), public, b"message")
        # s B = k A: off by R, unless R is the identity.
        yield f"R of small order {i}", public, b"message", encode(r) + (k * a % L).to_bytes(32, "little")
    one_again = (P + 1).to_bytes(32, "little")
    k = h(one_again, public, b"message")
    yield "R identity, not canonical", public, b"message", one_again + (k * a % L).to_bytes(32, "little")
    yield "key identity, not canonical", one_again, b"message", one + zero
    signed_one = (1 | 1 << 255).to_bytes(32, "little")
    yield "key identity with a sign", signed_one, b"message", one + zero
    for y in range(19):
        key = (P + y).to_bytes(32, "little")
        if decode(key) is not None:
            yield f"key p + {y}", key, b"message", honest
    # A key with a part of small order: valid where the challenge cancels it, and then for everyone.
    mixed = encode(add(mul(a, BASE), torsion[1]))
    r = 12345
    point = encode(mul(r, BASE))
    message = next(m for m in messages() if h(point, mixed, m) % 8 == 0)
    good = point + ((r + h(point, mixed, message) * a) % L).to_bytes(32, "little")
    yield "key of mixed order, part cancelled", mixed, message, good
    message = next(m for m in messages() if h(point, mixed, m) % 8 == 1)
    bad = point + ((r + h(point, mixed, message) * a) % L).to_bytes(32, "little")
    yield "key of mixed order, part left", mixed, message, bad


# --- the files ---

def files():
    seed, other_seed = bytes(range(32)), bytes(range(100, 132))
    author, other = public_key(seed), public_key(other_seed)
    my_nonce, your_nonce = bytes([1]) * 16, bytes([2]) * 16

    groups = []
    for network, name, passphrase in [("home", "lobby", None), ("home", "Küche", "correct horse"),
                                      ("h", "omelobby", None)]:
        g = OpenGroup(network, name, passphrase)
        groups.append({
            "network": network, "group": name, "passphrase": passphrase, "salt": g.salt, "stretched": g.stretched,
            "group_key": g.gk, "group_id": g.group_id, "topic_secret": g.topic_secret, "topic_tag": g.topic_tag,
            "epoch_id": g.epoch_id, "link": g.link, "epoch_root": g.epoch_root, "author": author, "other": other,
            "sender_chain": g.chain(author), "message_key_control": g.message_key(author, 0, 7),
            "message_key_durable": g.message_key(author, 1, 7), "message_key_live": g.message_key(author, 2, 7),
            "my_nonce": my_nonce, "your_nonce": your_nonce,
            "link_proof": g.link_proof(author, other, my_nonce, your_nonce),
        })
    yield "keys.json", {"merkle_leaf": K_LEAF, "merkle_node": K_NODE, "seed": seed, "groups": groups}

    drafts = [
        {"hlc": 0},
        {"hlc": 0x0123456789ABCDEF, "subject": "küche/temperatur", "content_type": "text/plain; charset=utf-8",
         "headers": [("b", ""), ("a", "1"), ("B", "ünï")], "parents": [(bytes([2]) * 32, 0), (bytes([1]) * 32, 513),
         (bytes([1]) * 32, 2)], "content": b"21.5"},
        {"hlc": 2**64 - 1, "subject": "a/b", "content": bytes(range(256))},
        {"hlc": 4, "content": b"x" * 3000},
        {"hlc": 5, "content": b"last"},
    ]
    bodies = [encode_body(**draft) for draft in drafts]
    named = [dict({"subject": "", "content_type": "", "headers": [], "parents": [], "content": b""}, **draft)
             for draft in drafts]
    yield "message.json", [dict(draft, body=body) for draft, body in zip(named, bodies)]

    group = OpenGroup("home", "lobby", None)
    envelopes, first = [], None
    for lane, seq, prev, skip, ttl_secs, count in [(0, 0, ZERO32, 0, 0, 1), (1, 1030, bytes([7]) * 32, 5, 3600, 5),
                                                   (2, 2**40, bytes([8]) * 32, 0, 2**32 - 1, 2),
                                                   (1, 3, ZERO32, 3, 0, 3)]:
        frame_salt = bytes([0xA0 + lane]) * 16
        sealed = seal(seed, group, lane, seq, prev, skip, ttl_secs, frame_salt, bodies[:count])
        first = first or (sealed if count == 5 else None)
        envelopes.append({"lane": lane, "seq": seq, "prev": prev, "skip": skip, "ttl_secs": ttl_secs,
                          "frame_salt": frame_salt, "bodies": bodies[:count], **sealed})
    yield "envelope.json", {"network": "home", "group": "lobby", "seed": seed, "envelopes": envelopes}

    yield "proof.json", {"network": "home", "group": "lobby", "envelope": first["envelope"],
                         "proofs": [proof(first, bodies, index) for index in range(5)]}

    topic_tag, epoch_id, keys = bytes([3]) * 16, bytes([4]) * 32, [bytes([1]) * 32, bytes([2]) * 32]
    yield "two_keys.json", {"topic_tag": topic_tag, "epoch_id": epoch_id, "message_keys": keys,
                            "envelope": two_key_envelope(seed, topic_tag, epoch_id, keys)}

    data_key, salt = bytes([0xDA]) * 32, bytes([0x5A]) * 16
    yield "keyfile.json", {"seed": seed, "data_key": data_key, "plain": key_file(seed, data_key),
                           "passphrase": "correct horse", "salt": salt,
                           "locked": key_file(seed, data_key, "correct horse", salt)}

    domains = [b"envelope", b"beacon", b"alert", b"alive", b"op", b"root", b"address", b"member"]
    yield "ed25519.json", {
        "domains": [{"domain": d.decode(), "seed": seed, "bytes": b"bytes", "sig": sign(seed, d, b"bytes")}
                    for d in domains],
        "cases": [{"name": name, "key": key, "message": message, "sig": sig,
                   "lenient": lenient_accepts(key, message, sig), "accept": strict_accepts(key, message, sig)}
                  for name, key, message, sig in ed25519_cases()],
    }


def plain(value):
    if isinstance(value, bytes):
        return value.hex()
    if isinstance(value, dict):
        return {key: plain(item) for key, item in value.items()}
    if isinstance(value, (list, tuple)):
        return [plain(item) for item in value]
    return value


def main():
    stale = []
    for name, value in files():
        text = json.dumps(plain(value), indent=1, ensure_ascii=False) + "\n"
        path = HERE / name
        if "--check" not in sys.argv:
            path.write_text(text)
        elif not path.exists() or path.read_text() != text:
            stale.append(name)
    sys.exit(f"differ: {', '.join(stale)}" if stale else 0)


if __name__ == "__main__":
    main()
