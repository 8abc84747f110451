"""A client of Espressif's unified provisioning, Security 2, as an independent test peer.

It was written from the wire format alone and shares no code with the node. It needs OpenSSL 3 for AES-GCM; everything else is in
the standard library.

    peer.py vectors             prints tests/vectors/espressif.json
    peer.py ADDRESS SCENARIO    runs a scenario against a node at http://ADDRESS, or at the simulated link `unix:PATH`;
                                reads `{"code": …, …}` from standard input, and prints its result as one JSON object
"""

import ctypes
import hashlib
import http.client
import json
import os
import socket
import sys
import time

# RFC 5054, appendix A: the 3072-bit group. Its prime is the one of RFC 3526: 2^3072 - 2^3008 - 1 + 2^64 * (floor(2^2942 * pi) + 1690314).
PRIME = int(
    "FFFFFFFFFFFFFFFFC90FDAA22168C234C4C6628B80DC1CD129024E088A67CC74020BBEA63B139B22514A08798E3404DDEF9519B3CD3A431B302B0A6D"
    "F25F14374FE1356D6D51C245E485B576625E7EC6F44C42E9A637ED6B0BFF5CB6F406B7EDEE386BFB5A899FA5AE9F24117C4B1FE649286651ECE45B3D"
    "C2007CB8A163BF0598DA48361C55D39A69163FA8FD24CF5F83655D23DCA3AD961C62F356208552BB9ED529077096966D670C354E4ABC9804F1746C08"
    "CA18217C32905E462E36CE3BE39E772C180E86039B2783A2EC07A28FB5C55DF06F4C52C9DE2BCBF6955817183995497CEA956AE515D2261898FA0510"
    "15728E5A8AAAC42DAD33170D04507A33A85521ABDF1CBA64ECFB850458DBEF0A8AEA71575D060C7DB3970F85A6E1E4C7ABF5AE8CDB0933D71E8C94E0"
    "4A25619DCEE3D2261AD2EE6BF12FFA06D98A0864D87602733EC86A64521F2B18177B200CBBE117577A615D6C770988C0BAD946E208E24FA074E5AB31"
    "43DB5BFCE0FD108E4B82D120A93AD2CAFFFFFFFFFFFFFFFF",
    16,
)
GENERATOR = 5
SIZE = 384
CODE_USER, QR_USER = b"wifiprov", b"wifiprov-qr"


# -- SRP-6a: the client's side.


def sha512(*parts):
    return hashlib.sha512(b"".join(parts)).digest()


def plain(number):
    """An integer without leading zeros."""
    return number.to_bytes(max(1, (number.bit_length() + 7) // 8), "big")


def padded(number):
    return number.to_bytes(SIZE, "big")


def integer(data):
    return int.from_bytes(data, "big")


MULTIPLIER = integer(sha512(padded(PRIME), padded(GENERATOR)))
GROUP_HASH = bytes(a ^ b for a, b in zip(sha512(padded(PRIME)), sha512(padded(GENERATOR))))


def private_key(salt, user, password):
    return integer(sha512(plain(integer(salt)), sha512(user + b":" + password)))


class Client:
    def __init__(self, user, password, exponent=None):
        self.user, self.password = user, password
        self.exponent = exponent or integer(os.urandom(32)) | 1 << 255
        self.share = pow(GENERATOR, self.exponent, PRIME)

    def prove(self, salt, server_share):
        """M1, from the node's challenge."""
        scramble = integer(sha512(padded(self.share), padded(server_share)))
        x = private_key(salt, self.user, self.password)
        base = (server_share - MULTIPLIER * pow(GENERATOR, x, PRIME)) % PRIME
        self.secret = pow(base, self.exponent + scramble * x, PRIME)
        self.key = sha512(plain(self.secret))
        head = GROUP_HASH + sha512(self.user) + plain(integer(salt))
        self.proof = sha512(head, plain(self.share), plain(server_share), self.key)
        self.expected = sha512(plain(self.share), self.proof, self.key)
        return self.proof


# -- AES-256-GCM.


OPENSSL = ctypes.CDLL("libcrypto.so.3")
OPENSSL.EVP_CIPHER_CTX_new.restype = OPENSSL.EVP_aes_256_gcm.restype = ctypes.c_void_p
GET_TAG, SET_TAG, TAG = 0x10, 0x11, 16


def aes_gcm(is_seal, key, nonce, data):
    """Seals, or opens; the tag is at the end of what is sealed."""
    data, tag = (data, bytes(TAG)) if is_seal else (data[:-TAG], data[-TAG:])
    context, tag = ctypes.c_void_p(OPENSSL.EVP_CIPHER_CTX_new()), ctypes.create_string_buffer(tag, TAG)
    output, length = ctypes.create_string_buffer(len(data) + TAG), ctypes.c_int()
    cipher = ctypes.c_void_p(OPENSSL.EVP_aes_256_gcm())
    try:
        assert OPENSSL.EVP_CipherInit_ex(context, cipher, None, key, nonce, int(is_seal)) == 1
        assert OPENSSL.EVP_CipherUpdate(context, output, ctypes.byref(length), data, len(data)) == 1
        if not is_seal:
            assert OPENSSL.EVP_CIPHER_CTX_ctrl(context, SET_TAG, TAG, tag) == 1
        assert OPENSSL.EVP_CipherFinal_ex(context, None, ctypes.byref(length)) == 1, "an authentic message"
        if is_seal:
            assert OPENSSL.EVP_CIPHER_CTX_ctrl(context, GET_TAG, TAG, tag) == 1
    finally:
        OPENSSL.EVP_CIPHER_CTX_free(context)
    return output.raw[: len(data)] + (tag.raw if is_seal else b"")


# -- Protobuf: enough of it.


def varint(number):
    data = b""
    while number > 0x7F:
        data, number = data + bytes([number & 0x7F | 0x80]), number >> 7
    return data + bytes([number])


def field(number, value):
    """A field. Numbers that are 0 are absent, as Espressif's encoders leave them out; an empty message is present."""
    if isinstance(value, int):
        return varint(number << 3) + varint(value) if value else b""
    return varint(number << 3 | 2) + varint(len(value)) + value


def message(*fields):
    return b"".join(field(number, value) for number, value in fields)


def parse(data):
    """The fields of a message, each with the list of its values."""
    fields, position = {}, 0

    def number():
        nonlocal position
        value, shift = 0, 0
        while True:
            byte = data[position]
            position, value, shift = position + 1, value | (byte & 0x7F) << shift, shift + 7
            if byte < 0x80:
                return value

    while position < len(data):
        key = number()
        if key & 7 == 0:
            value = number()
        else:
            assert key & 7 == 2, "a field of another kind"
            length = number()
            value, position = data[position : position + length], position + length
        fields.setdefault(key >> 3, []).append(value)
    return fields


def only(fields, number, default=0):
    values = fields.get(number, [default])
    assert len(values) == 1, f"field {number} occurs {len(values)} times"
    return values[0]


# -- The session.


class Refused(Exception):
    """The node has answered with an error of the transport, or with a status that is none of success."""


class Http:
    """The transport of the apps for the access point."""

    def __init__(self, address):
        self.connection = http.client.HTTPConnection(address, timeout=40)
        self.cookie = None

    def send(self, endpoint, data):
        headers = {"Content-type": "application/x-www-form-urlencoded"}
        if self.cookie:
            headers["Cookie"] = self.cookie
        self.connection.request("POST", "/" + endpoint, data, headers)
        answer = self.connection.getresponse()
        body = answer.read()
        cookie = answer.getheader("Set-Cookie")
        if cookie and cookie.startswith("session="):
            self.cookie = cookie.split(";")[0]
        if answer.status != 200:
            raise Refused(answer.status)
        return body


class Ble:
    """The transport over GATT, on the node's simulated link: a write, then reads of the same characteristic."""

    NUMBERS = {"prov-ctrl": 0xFF4F, "prov-scan": 0xFF50, "prov-session": 0xFF51, "prov-config": 0xFF52, "proto-ver": 0xFF53, "jarvis": 0xFF54}

    def __init__(self, path):
        self.socket = socket.socket(socket.AF_UNIX)
        self.socket.settimeout(40)
        self.socket.connect(path)
        self.stream = self.socket.makefile("rb")
        assert self.packet()[0] == 0x81, "an advertisement"
        kind, body = self.packet()
        self.mtu = integer(body)

    def packet(self):
        length = integer(self.stream.read(2))
        packet = self.stream.read(length)
        return packet[0], packet[1:]

    def request(self, kind, body):
        self.socket.sendall((len(body) + 1).to_bytes(2, "big") + bytes([kind]) + body)
        kind, body = self.packet()
        if kind == 0x01:
            raise Refused(body[0])
        return kind, body

    def send(self, endpoint, data):
        uuid = bytes.fromhex("1775%04x6b43439b877c060f2d9bed07" % self.NUMBERS[endpoint])
        assert self.request(0x12, uuid + data)[0] == 0x13
        value = b""
        while True:
            kind, part = self.request(0x0C, uuid + len(value).to_bytes(2, "big"))
            assert kind == 0x0D
            value += part
            if len(part) < self.mtu - 1:
                return value


def transport_to(address):
    return Ble(address[5:]) if address.startswith("unix:") else Http(address)


def hello(user, share):
    return message((2, 2), (12, message((20, message((1, user), (2, share))))))


def proof_of(proof):
    return message((2, 2), (12, message((1, 2), (22, message((1, proof))))))


def challenge_in(data):
    """Status, B and salt."""
    answer = parse(only(parse(data), 12))
    assert only(answer, 1) == 1, "a challenge"
    challenge = parse(only(answer, 21))
    return only(challenge, 1), only(challenge, 2, b""), only(challenge, 3, b"")


class Session:
    def __init__(self, transport, user, password, exponent=None):
        self.transport, self.client = transport, Client(user, password, exponent)
        self.log = []

    def open(self, pad=True):
        share = padded(self.client.share) if pad else plain(self.client.share)
        status, public_key, salt = challenge_in(self.transport.send("prov-session", hello(self.client.user, share)))
        if status:
            raise Refused(status)
        assert len(public_key) == SIZE and public_key[0] and salt[0], "no leading zeros"
        self.salt, self.public_key = salt, public_key
        proof = self.client.prove(salt, integer(public_key))
        answer = parse(only(parse(self.transport.send("prov-session", proof_of(proof))), 12))
        assert only(answer, 1) == 3, "a proof"
        verified = parse(only(answer, 23))
        assert only(verified, 1) == 0
        assert only(verified, 2) == self.client.expected, "the node knows the password"
        nonce = only(verified, 3)
        assert len(nonce) == 12 and integer(nonce[8:]) == 1
        self.prefix, self.counter = nonce[:8], 1
        return self

    def nonce(self):
        nonce = self.prefix + self.counter.to_bytes(4, "big")
        self.counter += 1
        return nonce

    def ask(self, endpoint, data):
        sealed = aes_gcm(True, self.client.key[:32], self.nonce(), data)
        self.log.append((endpoint, sealed))
        return parse(aes_gcm(False, self.client.key[:32], self.nonce(), self.transport.send(endpoint, sealed)))

    # What the apps do.

    def version(self):
        return json.loads(self.transport.send("proto-ver", b"ESP"))

    def scan(self):
        start = message((1, 1), (3, 5), (4, 120))
        answer = self.ask("prov-scan", message((10, start)))
        assert only(answer, 1) == 1 and 11 in answer
        if only(answer, 2):
            raise Refused(only(answer, 2))
        answer = self.ask("prov-scan", message((1, 2), (12, b"")))
        finished = parse(only(answer, 13))
        assert only(answer, 1) == 3 and only(finished, 1) == 1, "the Android app waits for ever if it is not finished"
        count, networks = only(finished, 2), []
        while len(networks) < count:
            wanted = min(4, count - len(networks))
            answer = self.ask("prov-scan", message((1, 4), (14, message((1, len(networks)), (2, wanted)))))
            assert only(answer, 1) == 5
            entries = [parse(entry) for entry in parse(only(answer, 15)).get(1, [])]
            assert len(entries) == wanted
            networks += entries
        return [
            {"ssid": only(entry, 1).decode(), "channel": only(entry, 2), "signal": signed(only(entry, 3)), "auth": only(entry, 5)}
            for entry in networks
        ]

    def set(self, ssid, passphrase):
        answer = self.ask("prov-config", message((1, 2), (12, message((1, ssid.encode()), (2, passphrase.encode())))))
        assert only(answer, 1) == 3
        return only(parse(only(answer, 13)), 1)

    def apply(self):
        answer = self.ask("prov-config", message((1, 4), (14, b"")))
        assert only(answer, 1) == 5
        return only(parse(only(answer, 15)), 1)

    def state(self):
        """The state of the station, and the reason of a failure."""
        answer = self.ask("prov-config", message((10, b"")))
        assert only(answer, 1) == 1
        station = parse(only(answer, 11))
        assert only(station, 1) == 0
        state = ["connected", "connecting", "disconnected", "failed"][only(station, 2)]
        if state == "failed":
            return ["wrong password", "not found"][only(station, 10)]
        if state == "connected":
            assert 11 in station
        return state

    def outcome(self):
        """Polls as the apps do, but faster."""
        until = time.monotonic() + 60
        while (state := self.state()) == "connecting":
            assert time.monotonic() < until, "an outcome in time"
        return state

    def control(self, kind):
        answer = self.ask("prov-ctrl", message((1, kind), (10 + kind, b"")))
        assert only(answer, 1) == kind + 1 and 11 + kind in answer
        return only(answer, 2)

    def custom(self, data):
        return self.ask("jarvis", data)


def signed(number):
    return number - (1 << 64) if number >> 63 else number


# -- Vectors: what a server computes from given random bytes.


def vectors():
    """Cases with and without leading zeros in A, B, S and K."""
    cases = []
    source = hashlib.shake_256(b"espressif").digest(1 << 20)
    position = 0

    def draw(count):
        nonlocal position
        position += count
        return source[position - count : position]

    def case(name, wanted, user=CODE_USER, password=b"042137"):
        while True:
            a, salt, b = integer(draw(32)) | 1 << 255, draw(16), draw(32)
            if salt[0] == 0:
                continue
            client = Client(user, password, a)
            if not wanted("A", padded(client.share)):
                continue
            verifier = pow(GENERATOR, private_key(salt, user, password), PRIME)
            share = (MULTIPLIER * verifier + pow(GENERATOR, integer(b), PRIME)) % PRIME
            redrawn = b""
            if wanted("redrawn", padded(share)):
                redrawn, b = b, draw(32)
                share = (MULTIPLIER * verifier + pow(GENERATOR, integer(b), PRIME)) % PRIME
            if padded(share)[0] == 0:
                continue
            client.prove(salt, share)
            if wanted("S", padded(client.secret)) and wanted("K", client.key):
                break
        cases.append(
            {
                "name": name,
                "user": user.decode(),
                "random": (salt + redrawn + b).hex(),
                "hello": hello(user, padded(client.share)).hex(),
                "salt": salt.hex(),
                "server_share": padded(share).hex(),
                "proof": proof_of(client.proof).hex(),
                "server_proof": client.expected.hex(),
                "key": client.key[:32].hex(),
            }
        )

    def zero(place):
        return lambda at, data: (data[0] == 0) if at == place else at != "redrawn"

    case("ordinary", lambda at, data: at != "redrawn")
    case("the QR secret", lambda at, data: at != "redrawn", QR_USER, b"a5" * 16)
    for place in ["A", "S", "K"]:
        case(f"{place} begins with a zero", zero(place))
    # The first exponent gives a B that begins with a zero, so the node draws another one.

    def first_is_zero(at, data):
        return at != "redrawn" or data[0] == 0

    while True:
        case("B would begin with a zero", first_is_zero)
        if len(cases[-1]["random"]) == 2 * (16 + 32 + 32):
            break
        cases.pop()
    return {"code": "042137", "secret": "a5" * 16, "cases": cases}


# -- Scenarios. Each takes what makes a transport and what the test has sent, and returns what the test checks.


def secret_of(given):
    return given["code"].encode()


def wrong_code(given):
    return b"000001" if given["code"] == "000000" else b"000000"


def refusal(action):
    """The status with which something is refused; none if it is not."""
    try:
        action()
    except Refused as refused:
        return refused.args[0]
    return None


SCENARIOS = {}


def scenario(function):
    SCENARIOS[function.__name__] = function
    return function


@scenario
def provision(connect, given):
    """What an app does: version, session, scan, network, polls. With a wrong password, its owner first types that and a wrong code."""
    transport = connect()
    session = Session(transport, CODE_USER, secret_of(given))
    version = session.version()
    denied = refusal(Session(transport, CODE_USER, wrong_code(given)).open) if "wrong" in given else None
    session.open()
    networks = session.scan()
    first = None
    if "wrong" in given:
        assert session.set(given["ssid"], given["wrong"]) == 0 and session.apply() == 0
        first = session.outcome()
        assert session.control(1) == 0, "a reset is not needed, and harmless"
    assert session.set(given["ssid"], given["passphrase"]) == 0
    applied = session.apply()
    seen = {"version": version, "denied": denied, "networks": networks, "first": first, "applied": applied}
    return seen | {"outcome": session.outcome()}


@scenario
def with_the_qr_secret(connect, given):
    session = Session(connect(), QR_USER, given["secret"].encode()).open()
    return {"state": session.state()}


@scenario
def enroll(connect, given):
    """The same with a key and a command center over the custom endpoint."""
    session = Session(connect(), CODE_USER, secret_of(given)).open()
    key = message((1, bytes(range(32))), (2, b"k-1"), (3, b"2026-03-01T12:00:00Z"))
    stored = parse(only(session.custom(message((2, key))), 1))
    assert only(parse(only(stored, 3)), 1) == b"k-1"
    center = message(
        (1, 7), (5, b"kitchen"), (6, given["url"].encode()), (8, b"home"), (9, given["node_id"].encode()), (10, given["token"].encode())
    )
    accepted = parse(only(session.custom(message((3, center))), 1))
    assert only(parse(only(accepted, 4)), 1) == 7, accepted
    assert session.set(given["ssid"], given["passphrase"]) == 0 and session.apply() == 0
    return {"outcome": session.outcome()}


@scenario
def guesses(connect, given):
    """Wrong codes until the node compares none, not even the right one."""
    statuses = [refusal(Session(connect(), CODE_USER, wrong_code(given)).open) for _ in range(6)]
    return {"statuses": statuses, "right": refusal(Session(connect(), CODE_USER, secret_of(given)).open)}


@scenario
def hostile(connect, given):
    """Shares that would fix the key, cut and confused messages, the wrong order, and replays: all refused, none counted."""
    transport = connect()
    shares = [b"", b"\0" * SIZE, padded(PRIME), b"\xff" * SIZE, b"\1" * (SIZE + 1)]
    statuses = [challenge_in(transport.send("prov-session", hello(CODE_USER, share)))[0] for share in shares if len(share) <= SIZE]
    client = Client(CODE_USER, secret_of(given), 5)
    good = hello(CODE_USER, padded(client.share))
    failures = []
    for data in [good[:length] for length in range(0, len(good), 7)] + [
        message((2, 1), (12, message((20, message((1, CODE_USER), (2, padded(client.share))))))),  # another scheme's number
        message((2, 2), (11, b"")),  # another scheme's message
        good + message((11, b"")),  # both
        message((2, 2), (12, message((1, 2), (20, message((1, CODE_USER)))))),  # the kind of a proof
        proof_of(bytes(64)),  # before a hello
    ]:
        failures.append(refusal(lambda data=data: connect().send("prov-session", data)))
    for endpoint in ["prov-scan", "prov-config", "prov-ctrl", "jarvis"]:
        failures.append(refusal(lambda endpoint=endpoint: transport.send(endpoint, bytes(40))))
    session = Session(connect(), CODE_USER, secret_of(given)).open()
    state = session.state()
    endpoint, sealed = session.log[0]
    replays = [refusal(lambda: session.transport.send(endpoint, sealed)) for _ in range(3)]
    return {"statuses": statuses, "failures": sorted(set(failures)), "replays": replays, "state": [state, session.state()]}


@scenario
def long(connect, given):
    """Sealed messages of these sizes, filled with a field that the node does not know, and values of others."""
    session = Session(connect(), CODE_USER, secret_of(given)).open()
    states = []
    for size in given["sizes"]:
        query = message((10, b""))
        # The field has a header of three bytes.
        answer = session.ask("prov-config", query + field(9, bytes(size - TAG - len(query) - 3)))
        states.append(only(parse(only(answer, 11)), 1))
        assert len(session.log[-1][1]) == size
    others = [refusal(lambda size=size: session.transport.send("prov-config", bytes(size))) for size in given.get("others", [])]
    return {"states": states, "others": others}


@scenario
def busy(connect, given):
    """A second app while the first one has the session, and after it has gone."""
    first = Session(connect(), CODE_USER, secret_of(given)).open()
    second = Session(connect(), CODE_USER, secret_of(given))
    status = refusal(second.open)
    return {"second": status, "first": first.state()}


def exponent_with_zeros():
    """An exponent whose share begins with a zero byte, as one of 256 does."""
    exponent = integer(os.urandom(32)) | 1 << 255
    share = pow(GENERATOR, exponent, PRIME)
    while padded(share)[0]:
        exponent, share = exponent + 1, share * GENERATOR % PRIME
    return exponent


@scenario
def many(connect, given):
    """Sessions on one link. Half of the shares begin with a zero byte; half of these are sent with it. The node must never send one."""
    transport, zeros, begin = connect(), {"A": 0, "S": 0, "K": 0}, time.monotonic()
    for number in range(given["count"]):
        session = Session(transport, CODE_USER, secret_of(given), exponent_with_zeros() if number % 4 < 2 else None)
        # Apps differ in whether they send leading zeros.
        session.open(pad=number % 2 == 0)
        session.state()
        zeros["A"] += padded(session.client.share)[0] == 0
        zeros["S"] += padded(session.client.secret)[0] == 0
        zeros["K"] += session.client.key[0] == 0
    return {"zeros": zeros, "seconds": time.monotonic() - begin}


def main():
    if sys.argv[1:] == ["vectors"]:
        print(json.dumps(vectors(), indent=1))
        return
    address, name = sys.argv[1:]
    print(json.dumps(SCENARIOS[name](lambda: transport_to(address), json.load(sys.stdin))))


if __name__ == "__main__":
    main()
