#!/usr/bin/python3
"""A phone: brings a node online over HTTP or over the simulated Bluetooth link.

Written from docs/protocol.md; the comments name its sections. Needs Python 3.11 and the package `cryptography`
(Debian: python3-cryptography).

The passphrase comes from JARVIS_PASSPHRASE, else from standard input, one per line: the next one is read after a wrong one.
The code and the token are arguments, or JARVIS_CODE and JARVIS_TOKEN, which other users of the machine cannot see.
Exit status: 0 if the node is PROVISIONED, otherwise 1; 2 for a wrong command line.
"""

import argparse, getpass, hashlib, hmac, os, re, secrets, sys, time
from pathlib import Path

from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric.x25519 import X25519PrivateKey, X25519PublicKey
from cryptography.hazmat.primitives.ciphers.aead import ChaCha20Poly1305
from cryptography.hazmat.primitives.kdf.hkdf import HKDF
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat

from links import ENDPOINTS, PATIENCE, Http, SimulatedBluetooth
from primitives import ORDER, decode_point, encode_point, first, message, multiply, parse, point_from, varint

PROTOCOL = b"jarvis-provisioning/1"
STATES = ["?", "AP_MODE", "CONNECTING", "REGISTERING", "PROVISIONED", "ERROR", "ONLINE"]
PROVISIONED, ERROR = 4, 5
# Faults: number, name and text are those of the table in the document beside this folder.
DOCUMENT = Path(__file__).resolve().parent.parent / "protocol.md"
ROWS = re.findall(r"^\| (\d+) \| `(FAULT_\w+)` \| \w+ \| (.*) \|$", DOCUMENT.read_text() if DOCUMENT.exists() else "", re.M)
FAULTS = {int(number): f"{name}: {text}" for number, name, text in ROWS}
MALFORMED, WRONG_CODE, NOT_AUTHENTICATED, WRONG_PASSWORD, PROBABLY_WRONG_PASSWORD = 1, 6, 7, 20, 21


class Fault(Exception):
    def __init__(self, number, wait=0):
        super().__init__(FAULTS.get(number, f"fault {number}") + (f" ({wait} seconds)" if wait else ""))
        self.number = number


# --- The session: sections "The handshake" and "Records".

def prefixed(*parts):
    return b"".join(len(part).to_bytes(4, "big") + part for part in parts)


def lv_cat(*parts):
    return b"".join(varint(len(part)) + part for part in parts)


def sha512(*parts):
    return hashlib.sha512(b"".join(parts)).digest()


class Session:
    def __init__(self, link, code):
        self.link, self.inbox, self.events, self.sent, self.opened = link, [], [], 0, -1
        node_id = first(parse(link.info()), 1)  # part of the handshake, so it is read right before
        prs, ci, sid = code.encode(), prefixed(PROTOCOL, b"phone", b"node", node_id), os.urandom(16)
        own, dsi = X25519PrivateKey.generate(), b"CPaceRistretto255"
        padding = bytes(max(0, 127 - len(lv_cat(prs)) - len(lv_cat(dsi))))
        generator = point_from(sha512(lv_cat(dsi, prs, padding, ci, sid)))
        scalar = int.from_bytes(os.urandom(64), "little") % ORDER
        ya = encode_point(multiply(scalar, generator))
        ada = message((1, b"\x01"), (2, 1), (3, own.public_key().public_bytes(Encoding.Raw, PublicFormat.Raw)))

        self.inbox += link.write("session", message((1, sid), (2, ya), (3, ada)))
        accept = parse(first(self.next(), 1))
        yb, tb, adb = (first(accept, field, b"") for field in (1, 2, 3))
        answer = parse(adb)
        if [len(yb), len(tb), len(first(answer, 2, b""))] != [32, 64, 32]:
            raise Fault(MALFORMED)
        k = encode_point(multiply(scalar, decode_point(yb)))
        if yb == ya or not any(k):
            raise Fault(MALFORMED)
        z = own.exchange(X25519PublicKey.from_public_bytes(first(answer, 2)))  # refuses a result of zeros
        isk = sha512(lv_cat(dsi + b"_ISK", sid, k, ya, ada, yb, adb))
        mac_key = sha512(b"CPaceMac", sid, isk)
        if first(answer, 1) != 1 or first(answer, 3) != node_id:
            raise ValueError("another device has answered")
        if not hmac.compare_digest(tb, hmac.digest(mac_key, lv_cat(yb, adb), "sha512")):
            raise Fault(WRONG_CODE)
        self.confirmation = hmac.digest(mac_key, lv_cat(ya, ada), "sha512")
        salt = sha512(prefixed(ci, sid, ya, ada, yb, adb))
        self.to_node, self.to_phone = (
            ChaCha20Poly1305(HKDF(hashes.SHA512(), 32, salt, PROTOCOL + way).derive(isk + z))
            for way in (b" phone to node", b" node to phone"))

    def next(self):
        """The node's next message, which is an Accept or a Record."""
        until = time.monotonic() + PATIENCE
        while not self.inbox and time.monotonic() < until:
            self.inbox += self.link.receive()
        outbound = parse(self.inbox.pop(0))
        if 3 in outbound:
            refusal = parse(first(outbound, 3))
            raise Fault(first(refusal, 1), first(refusal, 2))
        return outbound

    def request(self, endpoint, kind, *fields):
        """Sends a sealed request; its counter identifies the replies."""
        number, counter = ENDPOINTS[endpoint][0], self.sent
        sealed = self.to_node.encrypt(*self.nonce_and(message((kind, message(*fields))), 0, number, counter))
        self.sent, confirmation, self.confirmation = counter + 1, self.confirmation, b""
        self.inbox += self.link.write(endpoint, message((1, counter), (2, sealed), (3, confirmation)))
        return counter

    @staticmethod
    def nonce_and(text, direction, endpoint, counter):
        count = counter.to_bytes(8, "big")
        return bytes(4) + count, text, PROTOCOL + bytes([direction, endpoint]) + count

    def receive(self):
        """Opens the node's next record: a Message."""
        record = parse(first(self.next(), 2))
        counter = first(record, 1)
        if counter <= self.opened:
            raise Fault(NOT_AUTHENTICATED)
        text = self.to_phone.decrypt(*self.nonce_and(first(record, 2), 1, 5, counter))
        self.opened = counter
        return parse(text)

    def reply(self, counter):
        """The next reply to a request. Events that arrive before it are kept."""
        while True:
            received = self.receive()
            self.events += [parse(first(parse(event), 1)) for event in received.get(2, [])]
            reply = parse(first(received, 1, b""))
            if 1 in received and first(reply, 1) == counter:
                if 6 in reply:
                    raise Fault(first(reply, 6))
                return reply

    def event(self):
        """The next status that the node reports."""
        while not self.events:
            received = self.receive()
            self.events += [parse(first(parse(event), 1)) for event in received.get(2, [])]
        return self.events.pop(0)


# --- What the app does.

def scan(session):
    counter, last = session.request("scan", 1), False
    while not last:
        part = parse(first(session.reply(counter), 2))
        for network in map(parse, part.get(1, [])):
            zigzag = first(network, 2)
            print(f"network: {first(network, 1, b'')!r}, {zigzag >> 1 ^ -(zigzag & 1)} dBm")
        last = first(part, 2)


def send_k2(session):
    kid, created_at = f"k2-{secrets.token_hex(4)}", time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime())
    key = os.urandom(32)  # an app keeps it, and later seals the node's settings with it
    stored = session.reply(session.request("k2", 2, (1, key), (2, kid), (3, created_at)))
    print("K2 is stored:", first(parse(first(stored, 3)), 1).decode())


def attempt(session, wanted, passphrase):
    request_id = 1 + secrets.randbelow(2**64 - 1)
    session.reply(session.request(
        "credentials", 3, (1, request_id), (2, wanted.ssid), (3, passphrase), (5, wanted.room), (6, wanted.command_center),
        (8, wanted.household), (9, wanted.node_id), (10, wanted.token)))
    print("accepted")
    while True:
        status = session.event()
        state, fault, retryable = first(status, 1), first(status, 4), first(status, 5)
        if first(status, 6) == request_id:
            print(f"{STATES[state]} {first(status, 2)} % {FAULTS.get(fault, fault or '')}".rstrip())
            if state == PROVISIONED or state == ERROR and retryable:
                return state, fault


def provision(link, wanted):
    info = parse(link.info())
    print(f"node: {first(info, 2).decode()}, node id {first(info, 1).decode()}, {STATES[first(info, 6)]}")
    session = Session(link, wanted.code)
    print("paired")
    scan(session)
    send_k2(session)
    for passphrase in passphrases():
        state, fault = attempt(session, wanted, passphrase)
        if fault not in (WRONG_PASSWORD, PROBABLY_WRONG_PASSWORD):
            return state == PROVISIONED
        print("the session is still open: type the password again")
    return False


def passphrases():
    if "JARVIS_PASSPHRASE" in os.environ:
        yield os.environ["JARVIS_PASSPHRASE"]
        return
    while sys.stdin.isatty():
        yield getpass.getpass("Wi-Fi password: ")
    for line in sys.stdin:
        yield line.rstrip("\n")


def main():
    parser = argparse.ArgumentParser(description=__doc__.split("\n\n")[0])
    link = parser.add_mutually_exclusive_group(required=True)
    link.add_argument("--http", metavar="URL", help="for example http://127.0.0.1:8080")
    link.add_argument("--socket", metavar="PATH", help="of the simulated Bluetooth link")
    for name in ("ssid", "command-center", "node-id", "household"):
        parser.add_argument(f"--{name}", required=True)
    parser.add_argument("--room", default="kitchen")
    for name in ("code", "token"):
        value = os.environ.get(f"JARVIS_{name.upper()}")
        parser.add_argument(f"--{name}", default=value, required=not value)
    wanted = parser.parse_args()
    try:
        link = Http(wanted.http) if wanted.http else SimulatedBluetooth(wanted.socket)
        try:
            return 0 if provision(link, wanted) else 1
        finally:
            link.close()
    except (Fault, OSError, ValueError, LookupError, InvalidTag) as error:
        print(f"failed: {error or type(error).__name__}")
        return 1


if __name__ == "__main__":
    sys.exit(main())
