"""The two links of a simulated node.

Each has info(); write(), which may return messages of the node; receive(), which waits for messages; and close().
"""

import http.client, socket, time, urllib.parse

from primitives import parse

PATIENCE = 300  # seconds for an answer or an outcome: longer than any join and its registration
# Endpoints: number, path over HTTP. The UUIDs differ in the number after the service's.
ENDPOINTS = {"info": (0, "/api/v1/info"), "session": (1, "/api/v1/session"), "scan": (2, "/api/v1/scan-networks"),
             "k2": (3, "/api/v1/provision/k2"), "credentials": (4, "/api/v1/provision"), "status": (5, "/api/v1/status")}


class Http:  # section "Over HTTP"
    def __init__(self, url):
        self.host, self.session = urllib.parse.urlsplit(url).netloc, None

    def call(self, method, path, body=None):
        connection = http.client.HTTPConnection(self.host, timeout=60)
        headers = {"accept": "application/x-protobuf", "content-type": "application/x-protobuf"}
        connection.request(method, path, body, headers | ({"jarvis-session": self.session} if self.session else {}))
        answer = connection.getresponse()
        self.session = answer.getheader("jarvis-session", self.session)
        data = answer.read()
        if answer.status >= 400 and not (data and answer.getheader("content-type") == "application/x-protobuf"):
            raise ConnectionError(f"{method} {path}: HTTP status {answer.status}")
        return data

    def info(self):
        return self.call("GET", ENDPOINTS["info"][1])

    def write(self, endpoint, data):
        return parse(self.call("POST", ENDPOINTS[endpoint][1], data)).get(1, [])

    def receive(self):
        time.sleep(0.5)
        return parse(self.call("GET", "/api/v1/events")).get(1, [])

    def close(self):
        if self.session:
            self.call("DELETE", ENDPOINTS["session"][1])


class SimulatedBluetooth:  # sections "Framing" and "The simulated link"
    def __init__(self, path):
        self.socket = socket.socket(socket.AF_UNIX)
        self.socket.settimeout(PATIENCE)
        self.socket.connect(path)
        self.mtu, self.partial, self.messages = 23, None, []
        self.packet(0x81)
        self.mtu = int.from_bytes(self.packet(0x03), "big")
        self.request(0x80, "status", b"", 0x13)

    def exactly(self, count):
        data = b""
        while len(data) < count:
            more = self.socket.recv(count - len(data))
            if not more:
                raise ConnectionError("the node closed the link")
            data += more
        return data

    def packet(self, kind):
        """Waits for a packet of that kind, and keeps the messages that arrive before it."""
        while True:
            found, *body = self.exactly(int.from_bytes(self.exactly(2), "big"))
            if found == 0x1b:
                self.frame(bytes(body[16:]))
            elif found != kind:
                raise ConnectionError(f"packet {found:#04x} {bytes(body).hex()} instead of {kind:#04x}")
            if found == kind:
                return bytes(body)

    def request(self, kind, endpoint, value, answer):
        uuid = bytes.fromhex(f"6a617276{ENDPOINTS[endpoint][0] + 1:04x}4b329d5e70c04e7f1a00")
        body = bytes([kind]) + uuid + value
        self.socket.sendall(len(body).to_bytes(2, "big") + body)
        return self.packet(answer)

    def frame(self, frame):
        if frame[0] & 0x80:
            self.expected, self.partial, self.next, frame = int.from_bytes(frame[1:3], "big"), b"", 0, frame[:1] + frame[3:]
        if self.partial is None or frame[0] & 63 != self.next:
            raise ConnectionError("a frame out of order")
        self.partial, self.next = self.partial + frame[1:], (self.next + 1) % 64
        if len(self.partial) >= self.expected:
            self.messages.append(self.partial)
            self.partial = None

    def info(self):
        data = b""
        while True:
            part = self.request(0x0c, "info", len(data).to_bytes(2, "big"), 0x0d)
            data += part
            if len(part) < self.mtu - 1:
                return data

    def write(self, endpoint, data):
        data, count, size = len(data).to_bytes(2, "big") + data, 0, min(self.mtu - 3, 495) - 1
        for at in range(0, len(data), size):
            self.request(0x12, endpoint, bytes([(0 if at else 0x80) | count]) + data[at:at + size], 0x13)
            count = (count + 1) % 64
        return []

    def receive(self):
        if not self.messages:
            self.packet(0x1b)
        messages, self.messages = self.messages, []
        return messages

    def close(self):
        self.socket.close()
