"""A client of nymea's setup over Bluetooth, as an independent test peer: it behaves as an Android app does.

It was written from the wire format alone and shares no code with the node. It needs the standard library only.

    peer.py PATH SCENARIO   runs a scenario at the simulated link at PATH; reads `{"ssid": …, "password": …}` from standard input, and
                            prints its result as one JSON object
"""

import json
import socket
import struct
import sys
import time

WIRELESS = "e081fec{}-f757-4449-b9c9-bfa83133f7fc"
NETWORK = "ef6d661{}-b8af-49e0-9eca-ab343513641c"
COMMANDER, ANSWER, STATE, MODE = (WIRELESS.format(digit) for digit in "1234")
NETWORK_STATE, _, _, NETWORKING, WIRELESS_ENABLED = (NETWORK.format(digit) for digit in "12345")

GET_NETWORKS, CONNECT, CONNECT_HIDDEN, SCAN, GET_CONNECTION = 0, 1, 2, 4, 5
# Seconds.
PATIENCE, AFTER_SUCCESS, SETTLING = 15, 2, 0.3
PIECE = 20


def uuid(text):
    return bytes.fromhex(text.replace("-", ""))


class Link:
    """The simulated link: packets with a length, a kind and a body."""

    def __init__(self, path):
        self.socket = socket.socket(socket.AF_UNIX)
        self.socket.settimeout(60)
        self.socket.connect(path)
        self.notified = []
        assert self.packet()[0] == 0x81, "an advertisement"
        assert self.packet()[0] == 0x03, "the MTU"

    def exactly(self, count):
        data = b""
        while len(data) < count:
            part = self.socket.recv(count - len(data))
            assert part, "the node has closed the link"
            data += part
        return data

    def packet(self):
        (length,) = struct.unpack(">H", self.exactly(2))
        return self.exactly(length)

    def ask(self, kind, body):
        self.socket.sendall(struct.pack(">HB", 1 + len(body), kind) + body)
        while True:
            packet = self.packet()
            if packet[0] != 0x1B:
                assert packet[0] != 0x01, f"error {packet[1]}"
                return packet[1:]
            self.notified.append(packet)

    def subscribe(self, characteristic):
        self.ask(0x80, uuid(characteristic))

    def write(self, characteristic, value):
        self.ask(0x12, uuid(characteristic) + value)

    def read(self, characteristic):
        return self.ask(0x0C, uuid(characteristic) + b"\0\0")

    def notification(self):
        packet = self.notified.pop(0) if self.notified else self.packet()
        assert packet[0] == 0x1B, "a notification"
        return packet[1:17], packet[17:]

    def close(self):
        self.socket.close()


class App:
    """What the app does: subscribes to the answers, waits a moment, and has one command at a time."""

    def __init__(self, path):
        self.link = Link(path)
        self.link.subscribe(ANSWER)
        time.sleep(SETTLING)
        self.buffer = b""

    def send(self, command, **parameters):
        message = {"c": command}
        if parameters:
            message["p"] = parameters
        text = json.dumps(message, separators=(",", ":")).encode() + b"\n"
        for start in range(0, len(text), PIECE):
            self.link.write(COMMANDER, text[start : start + PIECE])

    def answer(self, patience=PATIENCE):
        self.link.socket.settimeout(patience)
        while not self.buffer.endswith(b"\n"):
            characteristic, value = self.link.notification()
            assert characteristic == uuid(ANSWER) and 0 < len(value) <= PIECE
            self.buffer += value
        text, self.buffer = self.buffer, b""
        self.link.socket.settimeout(60)
        return json.loads(text)

    def ask(self, command, patience=PATIENCE, **parameters):
        self.send(command, **parameters)
        answer = self.answer(patience)
        assert answer["c"] == command, answer
        return answer


def provision(path, given):
    app = App(path)
    result = {"scan": app.ask(SCAN)["r"]}
    seen, names = set(), []
    for network in app.ask(GET_NETWORKS)["p"]:
        assert set(network) == {"e", "m", "s", "p"} and 0 <= network["s"] <= 100 and network["p"] in (0, 1)
        assert network["m"] not in seen, "each has an address of its own"
        seen.add(network["m"])
        names.append(network["e"])
    result["networks"] = names
    result["wrong"] = app.ask(CONNECT, e=given["ssid"], p=given["wrong"])["r"]
    result["connect"] = app.ask(CONNECT, e=given["ssid"], p=given["password"])["r"]
    result["connection"] = app.ask(GET_CONNECTION, AFTER_SUCCESS)["p"]
    return result


def unauthorized(path, given):
    app = App(path)
    return {
        "codes": [
            app.ask(SCAN)["r"],
            app.ask(GET_NETWORKS)["r"],
            app.ask(CONNECT, e=given["ssid"], p=given["password"])["r"],
            app.ask(CONNECT_HIDDEN, e=given["ssid"], p=given["password"])["r"],
            app.ask(GET_CONNECTION)["r"],
        ],
        "states": [app.link.read(which)[0] for which in (STATE, MODE, NETWORK_STATE, NETWORKING, WIRELESS_ENABLED)],
    }


def vanishing(path, given):
    """Vanishes after each step, and comes back."""
    text = json.dumps({"c": CONNECT, "p": {"e": given["ssid"], "p": given["password"]}}).encode()
    for length in range(0, len(text), 7):
        app = App(path)
        app.link.write(COMMANDER, text[:length] or b" ")
        app.link.close()
    for command in (SCAN, GET_NETWORKS, GET_CONNECTION):
        app = App(path)
        app.send(command)
        app.link.close()
    app = App(path)
    app.send(CONNECT, e=given["ssid"], p=given["password"])
    app.link.close()
    # Its attempt goes on. The same network, sent again, has its outcome; later the state says so.
    app = App(path)
    code = app.ask(CONNECT, e=given["ssid"], p=given["password"])["r"]
    until = time.monotonic() + 60
    while app.link.read(STATE) != b"\x0a":
        assert time.monotonic() < until, "it is online"
        time.sleep(0.05)
    return {"code": code}


def main():
    path, scenario = sys.argv[1:]
    given = json.load(sys.stdin)
    print(json.dumps({"provision": provision, "unauthorized": unauthorized, "vanishing": vanishing}[scenario](path, given)))


if __name__ == "__main__":
    main()
