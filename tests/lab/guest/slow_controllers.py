#!/usr/bin/python3
"""Two virtual Bluetooth controllers that take a moment for the exchange of their features, as real ones do.

The signal USR1 removes one of them, and creates it again.

Real controllers need some connection events for it, virtual ones no time, and bluetoothd can then overlook that a device has
connected (see tests/lab/browser.rs). btvirt simulates the controllers and the air, and serves them on a socket; this program passes
their packets to the kernel, and holds the end of the exchange back.
"""

import os
import pathlib
import select
import signal
import socket
import subprocess
import sys
import time

# What the exchange takes, seconds; at usual intervals, real controllers need about half of it.
EXCHANGE = 0.2

# Types of packets (Core 6.0, vol. 4, part A, 2), and the size of their headers up to the payload.
COMMAND, ACL, EVENT, ISO = 1, 2, 4, 5
HEADERS = {COMMAND: 4, ACL: 5, EVENT: 3, ISO: 5}
# How often signals are noticed, seconds.
LOOK = 0.1
# Of the kernel's virtual driver: creates a controller.
CREATE = b"\xff\x00"
# The event "LE Read Remote Features Complete" (vol. 4, part E, 7.7.65.4), behind its length.
META, FEATURES = 0x3E, 0x04


def length(stream):
    """The length of the packet at the beginning of a stream; none if that has not arrived."""
    if not stream or len(stream) < HEADERS[stream[0]]:
        return None
    if stream[0] == ACL or stream[0] == ISO:
        return HEADERS[stream[0]] + int.from_bytes(stream[3:5], "little") % 0x4000
    return HEADERS[stream[0]] + stream[HEADERS[stream[0]] - 1]


class Controller:
    """A controller between the air and the kernel."""

    def __init__(self, air):
        self.air = socket.socket(socket.AF_UNIX)
        self.air.connect(air)
        self.kernel = os.open("/dev/vhci", os.O_RDWR)
        os.write(self.kernel, CREATE)
        os.read(self.kernel, 16)
        self.stream = b""
        self.packets = []
        self.held = None

    def remove(self):
        os.close(self.kernel)
        self.air.close()

    def from_kernel(self):
        self.air.sendall(os.read(self.kernel, 4096))

    def from_air(self):
        received = self.air.recv(4096)
        if not received:
            sys.exit("the controllers have ended")
        self.stream += received
        while (size := length(self.stream)) is not None and len(self.stream) >= size:
            self.packets.append(self.stream[:size])
            self.stream = self.stream[size:]

    def pass_on(self, now):
        """Passes packets in their order; returns how long the next one waits, none if there is none."""
        while self.packets:
            packet = self.packets[0]
            if packet[0] == EVENT and packet[1] == META and packet[3] == FEATURES:
                self.held = self.held or now + EXCHANGE
                if now < self.held:
                    return self.held - now
                self.held = None
            os.write(self.kernel, self.packets.pop(0))
        return None


def main():
    air = "/tmp/bt-server-le"
    # Those of an earlier scenario have left their socket.
    pathlib.Path(air).unlink(missing_ok=True)
    subprocess.Popen(["btvirt", "-s"])
    while not os.path.exists(air):
        time.sleep(0.1)
    controllers = [Controller(air) for _ in range(2)]
    signals = []
    signal.signal(signal.SIGUSR1, lambda *_: signals.append(None))
    while True:
        while signals:
            signals.pop()
            if len(controllers) > 1:
                controllers.pop().remove()
            else:
                controllers.append(Controller(air))
        sources = {end: act for one in controllers for end, act in [(one.air, one.from_air), (one.kernel, one.from_kernel)]}
        now = time.monotonic()
        waits = [wait for one in controllers if (wait := one.pass_on(now)) is not None]
        for ready in select.select(list(sources), [], [], min(waits, default=LOOK))[0]:
            sources[ready]()


main()
