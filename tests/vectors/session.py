#!/usr/bin/env python3
"""The session protocol of docs/protocol.md, a second time: Python 3.11 and its standard library, nothing else.

It shares no line with the Rust code and reads none of its output, so that a mistake would have to be made twice to stay
unseen. It is slow and leaks its secrets through timing: good for known answers, and for nothing else.

    session.py            writes session.json and wire.json beside this file
    session.py --check    exits with 1 if they are not what it would write
"""

import hashlib
import hmac
import json
import pathlib
import struct
import sys

# --- the field, X25519 (RFC 7748) and ristretto255 (RFC 9496) ---------------------------------------------------------

P = 2**255 - 19
L = 2**252 + 27742317777372353535851937790883648493
D = -121665 * pow(121666, -1, P) % P
SQRT_M1 = pow(2, (P - 1) // 4, P)


def x25519(scalar, point):
    k = int.from_bytes(scalar, "little") & ~7 & ~(1 << 255) | 1 << 254
    u = int.from_bytes(point, "little") & (1 << 255) - 1
    x1, x2, z2, x3, z3 = u, 1, 0, u, 1
    for t in reversed(range(255)):
        bit = k >> t & 1
        if bit:
            x2, x3, z2, z3 = x3, x2, z3, z2
        a, b, c, d = x2 + z2, x2 - z2, x3 + z3, x3 - z3
        aa, bb, da, cb = a * a % P, b * b % P, d * a % P, c * b % P
        e = aa - bb
        x3, z3 = (da + cb) ** 2 % P, x1 * (da - cb) ** 2 % P
        x2, z2 = aa * bb % P, e * (aa + 121665 * e) % P
        if bit:
            x2, x3, z2, z3 = x3, x2, z3, z2
    return (x2 * pow(z2, P - 2, P) % P).to_bytes(32, "little")


X25519_BASE = (9).to_bytes(32, "little")


def negative(x):
    return x % P & 1


def absolute(x):
    return -x % P if negative(x) else x % P


def sqrt_ratio(u, v):
    """Whether u/v is a square, and its non-negative root (or that of i*u/v)."""
    r = u * v**3 * pow(u * v**7, (P - 5) // 8, P) % P
    check = v * r * r % P
    flipped = check == -u % P
    if flipped or check == -u * SQRT_M1 % P:
        r = r * SQRT_M1 % P
    return check in (u % P, -u % P), absolute(r)


INVSQRT_A_MINUS_D = sqrt_ratio(1, -1 - D)[1]
SQRT_AD_MINUS_ONE = absolute(sqrt_ratio(-D - 1, 1)[1])
if negative(SQRT_AD_MINUS_ONE) == 0:
    # RFC 9496, 4.1 fixes the odd root.
    SQRT_AD_MINUS_ONE = -SQRT_AD_MINUS_ONE % P


class Point:
    """A point of edwards25519 in extended coordinates."""

    def __init__(self, x, y, z=1, t=None):
        self.x, self.y, self.z = x % P, y % P, z % P
        self.t = x * y % P if t is None else t % P

    def __add__(self, other):
        a = (self.y - self.x) * (other.y - other.x)
        b = (self.y + self.x) * (other.y + other.x)
        c = 2 * self.t * other.t * D
        d = 2 * self.z * other.z
        e, f, g, h = b - a, d - c, d + c, b + a
        return Point(e * f, g * h, f * g, e * h)

    def __rmul__(self, scalar):
        result, addend = Point(0, 1), self
        while scalar:
            if scalar & 1:
                result = result + addend
            addend = addend + addend
            scalar >>= 1
        return result

    def encode(self):
        u1 = (self.z + self.y) * (self.z - self.y) % P
        u2 = self.x * self.y % P
        invsqrt = sqrt_ratio(1, u1 * u2 * u2)[1]
        den1, den2 = invsqrt * u1 % P, invsqrt * u2 % P
        z_inv = den1 * den2 * self.t % P
        if negative(self.t * z_inv):
            x, y = self.y * SQRT_M1 % P, self.x * SQRT_M1 % P
            den = den1 * INVSQRT_A_MINUS_D % P
        else:
            x, y, den = self.x, self.y, den2
        if negative(x * z_inv):
            y = -y
        return absolute(den * (self.z - y)).to_bytes(32, "little")


class BadShare(Exception):
    pass


def decode_point(encoded):
    """RFC 9496, 4.3.1, and not the identity."""
    s = int.from_bytes(encoded, "little")
    if s >= P or negative(s) or s == 0:
        raise BadShare
    u1, u2 = (1 - s * s) % P, (1 + s * s) % P
    v = (-D * u1 * u1 - u2 * u2) % P
    square, invsqrt = sqrt_ratio(1, v * u2 * u2)
    den_x = invsqrt * u2 % P
    den_y = invsqrt * den_x * v % P
    x, y = absolute(2 * s * den_x), u1 * den_y % P
    if not square or negative(x * y) or y == 0:
        raise BadShare
    return Point(x, y)


def elligator(encoded):
    """RFC 9496, 4.3.4: MAP."""
    r0 = int.from_bytes(encoded, "little") & (1 << 255) - 1
    r = SQRT_M1 * r0 * r0 % P
    u = (r + 1) * (1 - D * D) % P
    v = (-1 - r * D) * (r + D) % P
    square, s = sqrt_ratio(u, v)
    c = -1
    if not square:
        s, c = -absolute(s * r0) % P, r
    n = (c * (r - 1) * (D - 1) ** 2 - v) % P
    w0, w1 = 2 * s * v, n * SQRT_AD_MINUS_ONE
    w2, w3 = 1 - s * s, 1 + s * s
    return Point(w0 * w3, w2 * w1, w1 * w3, w0 * w2)


def from_uniform(uniform):
    return elligator(uniform[:32]) + elligator(uniform[32:])


# --- ChaCha20-Poly1305 (RFC 8439) and HKDF (RFC 5869) -----------------------------------------------------------------


def chacha20_block(key, counter, nonce):
    words = [0x61707865, 0x3320646E, 0x79622D32, 0x6B206574]
    words += [*struct.unpack("<8L", key), counter, *struct.unpack("<3L", nonce)]
    state = list(words)

    def quarter(a, b, c, d):
        for x, y, z, shift in ((a, b, d, 16), (c, d, b, 12), (a, b, d, 8), (c, d, b, 7)):
            state[x] = (state[x] + state[y]) & 0xFFFFFFFF
            mixed = state[z] ^ state[x]
            state[z] = (mixed << shift | mixed >> 32 - shift) & 0xFFFFFFFF

    for _ in range(10):
        for column in range(4):
            quarter(column, column + 4, column + 8, column + 12)
        quarter(0, 5, 10, 15)
        quarter(1, 6, 11, 12)
        quarter(2, 7, 8, 13)
        quarter(3, 4, 9, 14)
    return struct.pack("<16L", *((x + y) & 0xFFFFFFFF for x, y in zip(state, words)))


def chacha20_poly1305(key, nonce, plaintext, data):
    """Ciphertext and tag."""
    one_time = chacha20_block(key, 0, nonce)[:32]
    blocks = (len(plaintext) + 63) // 64
    stream = b"".join(chacha20_block(key, index + 1, nonce) for index in range(blocks))
    sealed = bytes(a ^ b for a, b in zip(plaintext, stream))
    message = b""
    for part in (data, sealed):
        message += part + bytes(-len(part) % 16)
    message += struct.pack("<QQ", len(data), len(sealed))
    r = int.from_bytes(one_time[:16], "little") & 0x0FFFFFFC0FFFFFFC0FFFFFFC0FFFFFFF
    accumulator = 0
    for start in range(0, len(message), 16):
        accumulator = (accumulator + int.from_bytes(message[start : start + 16] + b"\x01", "little")) * r % (2**130 - 5)
    tag = (accumulator + int.from_bytes(one_time[16:], "little")) & (1 << 128) - 1
    return sealed + tag.to_bytes(16, "little")


def hkdf_sha512(salt, material, info, length):
    key = hmac.digest(salt, material, "sha512")
    assert length <= 64
    return hmac.digest(key, info + b"\x01", "sha512")[:length]


# --- CPace: CPACE-RISTR255-SHA512 (draft-irtf-cfrg-cpace-21) ----------------------------------------------------------


def leb128(number):
    encoded = b""
    while number >= 128:
        encoded += bytes([number & 127 | 128])
        number >>= 7
    return encoded + bytes([number])


def lv_cat(*parts):
    return b"".join(leb128(len(part)) + part for part in parts)


def generator(password, channel, session_id):
    dsi = b"CPaceRistretto255"
    padding = max(0, 128 - 1 - len(lv_cat(password)) - len(lv_cat(dsi)))
    return from_uniform(hashlib.sha512(lv_cat(dsi, password, bytes(padding), channel, session_id)).digest())


class Cpace:
    """One run, as one end sees it."""

    def __init__(self, password, channel, session_id, scalar):
        self.session_id = session_id
        self.scalar = int.from_bytes(scalar, "little") % L
        self.share = (self.scalar * generator(password, channel, session_id)).encode()

    def agree(self, peer, ya, ada, yb, adb):
        k = (self.scalar * decode_point(peer)).encode()
        if k == bytes(32):
            raise BadShare
        self.isk = hashlib.sha512(lv_cat(b"CPaceRistretto255_ISK", self.session_id, k, ya, ada, yb, adb)).digest()
        mac_key = hashlib.sha512(b"CPaceMac" + self.session_id + self.isk).digest()
        self.ta = hmac.digest(mac_key, lv_cat(ya, ada), "sha512")
        self.tb = hmac.digest(mac_key, lv_cat(yb, adb), "sha512")


# --- protobuf ---------------------------------------------------------------------------------------------------------


def number(field, value):
    """A varint field; absent if zero, as proto3 has it."""
    return leb128(field << 3) + leb128(value) if value else b""


def signed(field, value):
    return number(field, value << 1 if value >= 0 else (-value << 1) - 1)


def octets(field, value):
    value = value.encode() if isinstance(value, str) else value
    return message(field, value) if value else b""


def message(field, encoded):
    """A submessage: present even if it is empty."""
    return leb128(field << 3 | 2) + leb128(len(encoded)) + encoded


def packed(field, values):
    return octets(field, b"".join(leb128(value) for value in values))


def offer(versions, secret, key):
    return packed(1, versions) + number(2, {"code": 1, "qr": 2}[secret]) + octets(3, key)


def open_message(session_id, share, offered):
    return octets(1, session_id) + octets(2, share) + octets(3, offered)


def answer(version, key, node_id, versions, capabilities):
    encoded = number(1, version) + octets(2, key) + octets(3, node_id) + packed(4, versions)
    return encoded + b"".join(octets(5, capability) for capability in capabilities)


def accept_message(share, confirmation, answered):
    return octets(1, share) + octets(2, confirmation) + octets(3, answered)


def record(counter, sealed, confirmation=b""):
    return number(1, counter) + octets(2, sealed) + octets(3, confirmation)


def outbound(kind, encoded):
    return message({"accept": 1, "record": 2, "refusal": 3}[kind], encoded)


def refusal(fault, retry_after_seconds=0):
    return number(1, fault) + number(2, retry_after_seconds)


def request(kind, encoded):
    return message({"scan": 1, "k2": 2, "credentials": 3, "status": 4, "cancel": 5, "care": 6}[kind], encoded)


REPLIES = {
    "networks": 2, "k2_stored": 3, "accepted": 4, "status": 5, "done": 7, "care_status": 8, "saved": 9, "diagnosis": 10,
    "events": 11, "label": 12,
}  # fmt: skip


def reply(to, kind, encoded):
    return message(1, number(1, to) + message(REPLIES[kind], encoded))


def refused(to, fault):
    # A member of a oneof is present even if it is zero; no fault is.
    return message(1, number(1, to) + number(6, fault))


def event(status):
    return message(2, message(1, status))


def network(ssid, signal_dbm, security, frequency):
    return octets(1, ssid) + signed(2, signal_dbm) + number(3, security) + number(4, frequency)


def networks(listed, last):
    return b"".join(message(1, each) for each in listed) + number(2, last)


def flag(field, value):
    """A boolean in a oneof: present even if it is false."""
    return leb128(field << 3) + leb128(value)


def care(**f):
    ((kind, value),) = f.items()
    field = {
        "status": 1, "saved": 2, "join": 3, "forget": 4, "diagnose": 5, "hotspot": 6, "recover": 7, "restart": 8,
        "events": 9, "connect": 10, "label": 11, "reset": 12,
    }[kind]  # fmt: skip
    return request("care", flag(field, value) if kind == "hotspot" else message(field, value))


def connect(ssid, passphrase, hidden):
    return octets(1, ssid) + octets(2, passphrase) + number(3, hidden)


def care_status(connected, ssid, address, internet, hotspot, last_error, recovery=0):
    encoded = number(1, connected) + octets(2, ssid) + octets(3, address) + number(4, internet)
    return encoded + number(5, hotspot) + octets(6, last_error) + number(7, recovery)


def label(name, code, pairing_qr, size, modules):
    return octets(1, name) + octets(2, code) + octets(3, pairing_qr) + number(4, size) + octets(5, modules)


def saved_network(name, autoconnect, active):
    return octets(1, name) + number(2, autoconnect) + number(3, active)


def layer(name, verdict, evidence, advice):
    return octets(1, name) + number(2, verdict) + octets(3, evidence) + octets(4, advice)


def care_event(id, level, message, action, phase):
    return octets(1, id) + number(2, level) + octets(3, message) + octets(4, action) + number(5, phase)


def k2(key, kid, created_at):
    return octets(1, key) + octets(2, kid) + octets(3, created_at)


def credentials(**f):
    return (
        number(1, f["request_id"]) + octets(2, f["ssid"]) + octets(3, f["passphrase"]) + number(4, f["hidden"])
        + octets(5, f["room"]) + octets(6, f["command_center_url"]) + octets(7, f["config_service_url"])
        + octets(8, f["household_id"]) + octets(9, f["node_id"]) + octets(10, f["provisioning_token"])
    )  # fmt: skip


def status(state, progress, text, fault=0, retryable=0, request_id=0, ssid=b"", registration_status=0, limited=0):
    return (
        number(1, state) + number(2, progress) + octets(3, text) + number(4, fault) + number(5, retryable)
        + number(6, request_id) + octets(7, ssid) + number(8, registration_status) + number(9, limited)
    )  # fmt: skip


def info(node_id, name, firmware, hardware, capabilities, state, previously, versions):
    encoded = octets(1, node_id) + octets(2, name) + octets(3, firmware) + octets(4, hardware)
    encoded += b"".join(octets(5, capability) for capability in capabilities)
    return encoded + number(6, state) + number(7, previously) + packed(8, versions)


# --- the session ------------------------------------------------------------------------------------------------------

PROTOCOL = b"jarvis-provisioning/1"
ENDPOINTS = {"session": 1, "scan": 2, "k2": 3, "credentials": 4, "status": 5}
DIRECTIONS = {"phone": 0, "node": 1}


def prefixed(*parts):
    return b"".join(struct.pack(">L", len(part)) + part for part in parts)


def channel(node_id):
    return prefixed(PROTOCOL, b"phone", b"node", node_id.encode())


def record_keys(isk, secret, session_id, node_id, ya, ada, yb, adb):
    transcript = hashlib.sha512(prefixed(channel(node_id), session_id, ya, ada, yb, adb)).digest()
    keys = {}
    for sender, label in (("phone", b" phone to node"), ("node", b" node to phone")):
        keys[sender] = hkdf_sha512(transcript, isk + secret, PROTOCOL + label, 32)
    return transcript, keys


def seal(keys, sender, endpoint, counter, plaintext, confirmation=b""):
    associated = PROTOCOL + bytes([DIRECTIONS[sender], ENDPOINTS[endpoint]]) + struct.pack(">Q", counter)
    nonce = bytes(4) + struct.pack(">Q", counter)
    return record(counter, chacha20_poly1305(keys[sender], nonce, plaintext, associated), confirmation)


# --- the cases --------------------------------------------------------------------------------------------------------

NODE_ID = "jarvis-5b91b661"
CODE = "071934"
QR = bytes(range(0x30, 0x40))
CAPABILITIES = ["voice", "speaker"]

FAULT_WRONG_PASSWORD = 20
FAULT_MALFORMED = 1


def fixed(label, length):
    """Bytes that are the same in every run and have no other use."""
    return hashlib.shake_256(label.encode()).digest(length)


class Run:
    """Both ends of one handshake, and what an attacker between them changes."""

    def __init__(self, name, secret="code", phone_code=CODE, versions=(1,), offer_in_flight=None):
        self.name, self.secret = name, secret
        self.random = {
            "phone_key": fixed(name + "/phone key", 32),
            "session_id": fixed(name + "/session id", 16),
            "phone_scalar": fixed(name + "/phone scalar", 64),
            "node_key": fixed(name + "/node key", 32),
            "node_scalar": fixed(name + "/node scalar", 64),
        }
        self.phone_code = phone_code
        session_id = self.random["session_id"]
        phone_key, node_key = self.random["phone_key"], self.random["node_key"]
        known_by_phone = phone_code.encode() if secret == "code" else QR
        known_by_node = CODE.encode() if secret == "code" else QR
        ci = channel(NODE_ID)

        self.offer = offer(versions, secret, x25519(phone_key, X25519_BASE))
        phone = Cpace(known_by_phone, ci, session_id, self.random["phone_scalar"])
        self.ya = phone.share
        self.open = open_message(session_id, self.ya, self.offer)

        seen_by_node = self.offer if offer_in_flight is None else offer_in_flight
        self.open_in_flight = open_message(session_id, self.ya, seen_by_node)
        self.answer = answer(1, x25519(node_key, X25519_BASE), NODE_ID, [1], CAPABILITIES)
        node = Cpace(known_by_node, ci, session_id, self.random["node_scalar"])
        self.yb = node.share
        node.agree(self.ya, self.ya, seen_by_node, self.yb, self.answer)
        phone.agree(self.yb, self.ya, self.offer, self.yb, self.answer)
        self.phone, self.node = phone, node
        self.accept = accept_message(self.yb, node.tb, self.answer)

        shared = x25519(phone_key, x25519(node_key, X25519_BASE))
        self.x25519 = shared
        self.transcript, self.keys = record_keys(
            phone.isk, shared, session_id, NODE_ID, self.ya, self.offer, self.yb, self.answer
        )

    def described(self):
        values = {name: value.hex() for name, value in self.random.items()}
        return {"name": self.name, "secret": self.secret, "phone_code": self.phone_code, "random": values}

    def success(self, conversation):
        described = self.described() | {
            "open": self.open.hex(),
            "accept": outbound("accept", self.accept).hex(),
            "isk": self.phone.isk.hex(),
            "x25519": self.x25519.hex(),
            "transcript": self.transcript.hex(),
            "phone_to_node": self.keys["phone"].hex(),
            "node_to_phone": self.keys["node"].hex(),
            "records": [],
        }
        counters = {"phone": 0, "node": 0}
        for sender, endpoint, plaintext in conversation:
            counter = counters[sender]
            counters[sender] += 1
            confirmation = self.phone.ta if sender == "phone" and counter == 0 else b""
            sealed = seal(self.keys, sender, endpoint, counter, plaintext, confirmation)
            described["records"].append(
                {"from": sender, "endpoint": endpoint, "plaintext": plaintext.hex(), "record": sealed.hex()}
            )
        return described

    def phone_refuses(self, accept, error):
        described = self.described()
        return described | {"open": self.open.hex(), "accept": outbound("accept", accept).hex(), "error": error}


FIELDS = {
    "request_id": 0x0123456789ABCDEF, "ssid": "Café ☕".encode(), "passphrase": "correct horse battery", "hidden": 0,
    "room": "kitchen", "command_center_url": "https://center.example:7703", "config_service_url": "", "household_id": "h-1",
    "node_id": "0e8c1f5a-94d1-4d6f-9c39-2f5a7e0b1c2d", "provisioning_token": "token-of-the-vectors",
}  # fmt: skip
CREDENTIALS = credentials(**FIELDS)
WITHOUT_A_NETWORK = credentials(**FIELDS | {"ssid": b"", "passphrase": ""})
WITHOUT_A_PASSPHRASE = credentials(**FIELDS | {"passphrase": ""})
# The outlines of a certificate (RFC 5280, 4.1) and of a PKCS#12 (RFC 7292, 4).
CERTIFICATE = bytes.fromhex("300730003000030100")
PKCS12 = bytes.fromhex("30050201033000")
WITH_A_LOGIN = octets(2, "anna@example.org") + octets(3, "anonymous@example.org")
LOGINS = {
    "a password": number(1, 1) + WITH_A_LOGIN + octets(4, "s3cret") + octets(7, CERTIFICATE) + octets(8, "radius.example.org"),
    "a password and a public authority": number(1, 2) + WITH_A_LOGIN + octets(4, "s3cret") + octets(8, "example.org"),
    "a certificate": number(1, 3) + WITH_A_LOGIN + octets(5, PKCS12) + octets(6, "opens it") + octets(7, CERTIFICATE),
    "a password for any server": number(1, 1) + WITH_A_LOGIN + octets(4, "s3cret") + number(9, 1),
}
K2 = k2(bytes(range(32)), "k2-2026", "2026-03-01T12:00:00+00:00")
LISTED = [network("Café ☕", -41, 4, 5180), network(b"\x00\xff:\\", -87, 1, 0)]
FAILED = status(
    5, 35, "The Wi-Fi password is wrong.", FAULT_WRONG_PASSWORD, 1, 0x0123456789ABCDEF, "Café ☕".encode()
)
JOINING = status(2, 35, "Connecting to Café ☕...", request_id=0x0123456789ABCDEF, ssid="Café ☕".encode())
DONE = status(4, 100, "Connecting to Café ☕...", request_id=0x0123456789ABCDEF, ssid="Café ☕".encode())

CONVERSATION = [
    ("phone", "scan", request("scan", number(1, 1))),
    ("node", "status", reply(0, "networks", networks(LISTED[:1], 0))),
    ("node", "status", reply(0, "networks", networks(LISTED[1:], 1))),
    ("phone", "k2", request("k2", K2)),
    ("node", "status", reply(1, "k2_stored", octets(1, "k2-2026"))),
    ("phone", "credentials", request("credentials", CREDENTIALS)),
    ("node", "status", reply(2, "accepted", number(1, 0x0123456789ABCDEF))),
    ("node", "status", event(JOINING)),
    ("node", "status", event(FAILED)),
    ("phone", "status", request("status", b"")),
    ("node", "status", reply(3, "status", FAILED)),
]

# Encodings that are no element of the group: RFC 9496, 3.3 and 4.3.1, and draft-irtf-cfrg-cpace-21, B.3.11.
BAD_SHARES = {
    "the identity, which is zero": bytes(32),
    "the field's prime, zero a second time": P.to_bytes(32, "little"),
    "one more than the prime": (P + 1).to_bytes(32, "little"),
    "the highest bit set": ((1 << 255) | 2).to_bytes(32, "little"),
    "all bits set": b"\xff" * 32,
    "a negative element": (1).to_bytes(32, "little"),
    "minus one": (P - 1).to_bytes(32, "little"),
    "the draft's invalid point": bytes.fromhex("2b3c6b8c4f3800e7aef6864025b4ed79bd599117e427c41bd47d93d654b4a51c"),
}

# Points that give zero with every scalar: RFC 7748, 6.1.
LOW_ORDER_KEYS = {
    "zero": bytes(32),
    "one": (1).to_bytes(32, "little"),
    "order eight": bytes.fromhex("e0eb7a7c3b41b8ae1656e3faf19fc46ada098deb9c32b1fd866205165f49b800"),
    "order eight, the other": bytes.fromhex("5f9c95bca3508c24b1d0b1559c83ef5b04445cc4581c8e86d8224eddd09f1157"),
    "minus one": (P - 1).to_bytes(32, "little"),
    "the prime": P.to_bytes(32, "little"),
    "one more than the prime": (P + 1).to_bytes(32, "little"),
}


def sessions():
    success = [
        Run("success with the code").success(CONVERSATION),
        Run("success with the QR secret", secret="qr").success(CONVERSATION[:4]),
    ]

    phone_refuses = []
    wrong = Run("wrong code", phone_code="071935")
    phone_refuses.append(wrong.phone_refuses(wrong.accept, "WrongSecret"))

    run = Run("reflected share")
    phone_refuses.append(run.phone_refuses(accept_message(run.ya, run.node.tb, run.answer), "Malformed"))
    run = Run("reflected message: the phone's own tag")
    phone_refuses.append(run.phone_refuses(accept_message(run.yb, run.phone.ta, run.answer), "WrongSecret"))
    run = Run("confirmation cut short")
    phone_refuses.append(run.phone_refuses(accept_message(run.yb, run.node.tb[:63], run.answer), "Malformed"))

    added = Run("downgrade: a version added to the offer in flight")
    added = Run(added.name, offer_in_flight=offer([1, 2], "code", x25519(added.random["phone_key"], X25519_BASE)))
    phone_refuses.append(added.phone_refuses(added.accept, "WrongSecret"))
    run = Run("downgrade: a capability taken from the answer in flight")
    key = x25519(run.random["node_key"], X25519_BASE)
    stripped = answer(1, key, NODE_ID, [1], CAPABILITIES[:1])
    phone_refuses.append(run.phone_refuses(accept_message(run.yb, run.node.tb, stripped), "WrongSecret"))
    run = Run("downgrade: a version that was not offered")
    other = answer(2, x25519(run.random["node_key"], X25519_BASE), NODE_ID, [1], CAPABILITIES)
    phone_refuses.append(run.phone_refuses(accept_message(run.yb, run.node.tb, other), "Mismatch"))
    run = Run("another node answers")
    other = answer(1, x25519(run.random["node_key"], X25519_BASE), "jarvis-00000000", [1], CAPABILITIES)
    phone_refuses.append(run.phone_refuses(accept_message(run.yb, run.node.tb, other), "Mismatch"))

    for name, share in BAD_SHARES.items():
        run = Run("node's share: " + name)
        phone_refuses.append(run.phone_refuses(accept_message(share, run.node.tb, run.answer), "Malformed"))
    for name, key in LOW_ORDER_KEYS.items():
        run = Run("node's X25519 key: " + name)
        low = answer(1, key, NODE_ID, [1], CAPABILITIES)
        phone_refuses.append(run.phone_refuses(accept_message(run.yb, run.node.tb, low), "Malformed"))

    node_refuses = []
    honest = Run("honest")
    session_id, key = honest.random["session_id"], x25519(honest.random["phone_key"], X25519_BASE)

    def refuse(name, opened, fault):
        node_refuses.append({"name": name, "open": opened.hex(), "fault": fault})

    for name, share in BAD_SHARES.items():
        refuse("phone's share: " + name, open_message(session_id, share, honest.offer), "Malformed")
    for name, low in LOW_ORDER_KEYS.items():
        opened = open_message(session_id, honest.ya, offer([1], "code", low))
        refuse("phone's X25519 key: " + name, opened, "Malformed")
    for name, versions in (("only a newer version", [2]), ("no version", []), ("version zero", [0])):
        opened = open_message(session_id, honest.ya, offer(versions, "code", key))
        refuse("offer: " + name, opened, "UnsupportedVersion")
    refuse("offer: no kind of secret", open_message(session_id, honest.ya, packed(1, [1]) + octets(3, key)), "Malformed")
    refuse("a session id of 15 bytes", open_message(session_id[:15], honest.ya, honest.offer), "Malformed")
    refuse("a share of 31 bytes", open_message(session_id, honest.ya[:31], honest.offer), "Malformed")
    refuse("a share of 33 bytes", open_message(session_id, honest.ya + b"\0", honest.offer), "Malformed")
    refuse("a key of 31 bytes", open_message(session_id, honest.ya, offer([1], "code", key[:31])), "Malformed")
    refuse("nothing", b"", "Malformed")

    return {
        "node_id": NODE_ID,
        "code": CODE,
        "qr": QR.hex(),
        "capabilities": CAPABILITIES,
        "success": success,
        "phone_refuses": phone_refuses,
        "node_refuses": node_refuses,
    }


def wire():
    key, share, tag = bytes([0x11] * 32), bytes([0x22] * 32), bytes([0x33] * 64)
    offered = offer([1], "code", key)
    answered = answer(1, key, NODE_ID, [1], CAPABILITIES)
    accepted = accept_message(share, tag, answered)
    sealed = record(7, b"sealed")
    return {
        name: encoded.hex()
        for name, encoded in {
            "offer with the code": offered,
            "offer with the QR secret": offer([1, 2], "qr", key),
            "open": open_message(bytes([0x44] * 16), share, offered),
            "answer": answered,
            "accept": outbound("accept", accepted),
            "record": sealed,
            "first record": record(0, b"sealed", tag),
            "record outbound": outbound("record", sealed),
            "refusal": outbound("refusal", refusal(4)),
            "refusal with a time": outbound("refusal", refusal(5, 60)),
            "list of outbounds": message(1, outbound("refusal", refusal(4))) + message(1, outbound("record", sealed)),
            "info": info(NODE_ID, NODE_ID, "1.0.0", "linux-aarch64", CAPABILITIES, 1, 1, [1]),
            "info with a country": info(NODE_ID, NODE_ID, "1.0.0", "linux-aarch64", CAPABILITIES, 1, 1, [1]) + octets(9, "DE"),
            "public status": number(1, 1),
            "public status after a failure": number(1, 5) + number(2, 35) + number(3, FAULT_WRONG_PASSWORD),
            "scan request": request("scan", b""),
            "fresh scan request": request("scan", number(1, 1)),
            "scan request with a country": request("scan", octets(2, "DE")),
            "K2 request": request("k2", K2),
            "credentials request": request("credentials", CREDENTIALS),
            "credentials request with a provision code": request(
                "credentials", CREDENTIALS + octets(11, "ABCD1234EFGH5678")
            ),
            "credentials request with a time": request("credentials", CREDENTIALS + number(12, 1_800_000_000)),
            "credentials request with a country": request("credentials", CREDENTIALS + octets(13, "DE") + number(14, 2467)),
            **{
                f"credentials request with {name}": request("credentials", WITHOUT_A_PASSPHRASE + message(15, login))
                for name, login in LOGINS.items()
            },
            "credentials request without a network": request("credentials", WITHOUT_A_NETWORK),
            "status request": request("status", b""),
            "cancel request": request("cancel", number(1, 0x0123456789ABCDEF)),
            "care request for the status": care(status=b""),
            "care request for the saved networks": care(saved=b""),
            "care request to join": care(join="Café ☕".encode()),
            "care request to forget": care(forget="Café ☕".encode()),
            "care request to diagnose": care(diagnose=b""),
            "care request to open the hotspot": care(hotspot=True),
            "care request to close the hotspot": care(hotspot=False),
            "care request to recover": care(recover=b""),
            "care request to restart": care(restart=b""),
            "care request for the last events": care(events=b""),
            "care request for events": care(events=octets(1, "20260301120000-00000a")),
            "care request to connect": care(connect=connect("Café ☕", "correct horse", 1)),
            "care request to connect to an open network": care(connect=connect("Café ☕", "", 0)),
            "care request for the label": care(label=b""),
            "care request to reset": care(reset=b""),
            "done reply": reply(8, "done", b""),
            "care status reply": reply(9, "care_status", care_status(1, "Café ☕", "192.168.1.7", 1, 0, "")),
            "care status with a hotspot reply": reply(10, "care_status", care_status(0, "", "", 0, 1, "x")),
            "saved reply": reply(
                11, "saved", message(1, saved_network("Café ☕", 1, 1)) + message(1, saved_network("Attic", 0, 0)) + number(2, 1)
            ),
            "diagnosis reply": reply(
                12,
                "diagnosis",
                message(1, layer("radio", 1, "wlan0 is ready", ""))
                + message(1, layer("association", 2, "not connected", "Join a network."))
                + message(1, layer("address", 3, "not reached", "")),
            ),
            "events reply": reply(
                13,
                "events",
                message(1, care_event("20260301120000-00000b", 1, "Connecting to WiFi Café ☕", "network.connect", 1))
                + message(1, care_event("20260301120001-000000", 4, "The Wi-Fi password is wrong.", "network.connect", 3))
                + message(1, care_event("20260301120002-000000", 2, "x", "network.connect", 2))
                + message(1, care_event("20260301120003-000000", 3, "", "", 0))
                + number(2, 1)
                + number(3, 1),
            ),
            "care status of a recovery reply": reply(14, "care_status", care_status(0, "", "", 0, 0, "", 4)),
            "label reply": reply(
                15,
                "label",
                label(
                    "jarvis-5b91b661",
                    "071934",
                    "JARVIS:1:jarvis-5b91b661:00112233445566778899AABBCCDDEEFF",
                    3,
                    bytes([0b10101100, 0b10000000]),
                ),
            ),
            "networks reply": reply(3, "networks", networks(LISTED, 1)),
            "empty networks reply": reply(0, "networks", networks([], 1)),
            "K2 stored reply": reply(4, "k2_stored", octets(1, "k2-2026")),
            "accepted reply": reply(5, "accepted", number(1, 0x0123456789ABCDEF)),
            "status reply": reply(6, "status", FAILED),
            "refused reply": refused(7, FAULT_MALFORMED),
            "event": event(JOINING),
            "event with everything": event(status(5, 70, "x", 43, 1, 9, b"\xff", 422, 1)),
            "event of an appliance": event(JOINING + octets(10, "clinic-1-84:3A:5B:91:B6:61")),
            "event with a next page": event(DONE + octets(11, "https://home.example/devices")),
        }.items()
    }


def self_test():
    """The primitives against their own documents, so that a fault here is not taken for one over there."""
    # RFC 7748, 5.2.
    scalar = bytes.fromhex("a546e36bf0527c9d3b16154b82465edd62144c0ac1fc5a18506a2244ba449ac4")
    u = bytes.fromhex("e6db6867583030db3594c1a424b15f7c726624ec26b3353b10a903a6d0ab1c4c")
    assert x25519(scalar, u).hex() == "c3da55379de9c6908e94ea4df28d084f32eccf03491c71f754b4075577a28552"
    # draft-irtf-cfrg-cpace-21, B.3.
    draft = json.loads((pathlib.Path(__file__).parent / "cpace.json").read_text())
    b = {name: bytes.fromhex(value) for name, value in draft.items() if isinstance(value, str) and name != "source"}
    assert generator(b["password"], b["channel"], b["session_id"]).encode() == b["generator"]
    run = Cpace(b["password"], b["channel"], b["session_id"], b["ya"])
    assert run.share == b["Ya"]
    run.agree(b["Yb"], b["Ya"], b["ADa"], b["Yb"], b["ADb"])
    assert run.isk == b["ISK_IR"]
    # RFC 8439, 2.8.2: the tag.
    text = b"Ladies and Gentlemen of the class of '99: If I could offer you only one tip for the future, sunscreen would be it."
    data = bytes.fromhex("50515253c0c1c2c3c4c5c6c7")
    sealed = chacha20_poly1305(bytes(range(0x80, 0xA0)), bytes.fromhex("070000004041424344454647"), text, data)
    assert sealed[-16:].hex() == "1ae10b594f09e26a7e902ecbd0600691"


def main():
    self_test()
    folder = pathlib.Path(__file__).parent
    differs = False
    for name, value in (("session.json", sessions()), ("wire.json", wire())):
        text = json.dumps(value, indent=2, ensure_ascii=False) + "\n"
        if sys.argv[1:] == ["--check"]:
            if (folder / name).read_text() != text:
                print(f"{name} is not what session.py writes", file=sys.stderr)
                differs = True
        elif not sys.argv[1:]:
            (folder / name).write_text(text)
        else:
            sys.exit(__doc__)
    sys.exit(differs)


if __name__ == "__main__":
    main()
