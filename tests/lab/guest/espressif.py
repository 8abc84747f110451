"""A client of Espressif's protocol over Bluetooth:  espressif.py ADAPTER NODE MODULES SCENARIO

NODE is the node's Bluetooth address, ADAPTER the client's controller, as hci1. Runs a scenario of `tests/espressif/peer.py`,
which is in the folder MODULES: reads `{"code": …, …}` from standard input, and prints the result as one JSON object. With
`"address"`, that of the client's controller, its ATT MTU is the smallest.
"""

import asyncio
import json
import os
import socket
import subprocess
import sys
import tempfile

sys.path[:0] = [sys.argv[3], f"/lab/clients/python{sys.version_info[0]}.{sys.version_info[1]}"]

import peer
from bleak import BleakClient, BleakScanner
from bleak.exc import BleakGATTProtocolError

# Seconds.
PATIENCE = 60
# A controller reports a device once in a discovery, and that report can be lost.
DISCOVERY = 3
PREFIX = "jarvis-"
# The descriptor with the name of an endpoint.
DESCRIPTION = "00002901-0000-1000-8000-00805f9b34fb"


class Bluez:
    """The transport over GATT, as the apps use it: a write, then a read of the same characteristic."""

    def __init__(self, adapter, node):
        self.loop = asyncio.new_event_loop()
        self.loop.run_until_complete(asyncio.wait_for(self.connect(adapter, node), 2 * PATIENCE))
        self.mtu = self.endpoints["prov-session"].max_write_without_response_size + 3

    async def find(self, adapter, node):
        """The node, and the service that it advertises, by the prefix of its name."""
        while True:
            async with BleakScanner(bluez={"adapter": adapter}) as scanner:
                await asyncio.sleep(DISCOVERY)
            for device, advertisement in scanner.discovered_devices_and_advertisement_data.values():
                if device.address == node and (advertisement.local_name or "").startswith(PREFIX):
                    [service] = advertisement.service_uuids
                    return device, service

    async def connect(self, adapter, node):
        device, service = await self.find(adapter, node)
        self.client = BleakClient(device, timeout=PATIENCE, bluez={"adapter": adapter})
        await self.client.connect()
        self.endpoints = {}
        for characteristic in self.client.services.get_service(service).characteristics:
            assert sorted(characteristic.properties) == ["read", "write"], characteristic.properties
            [description] = characteristic.descriptors
            assert description.uuid == DESCRIPTION
            name = await self.client.read_gatt_descriptor(description)
            self.endpoints[name.decode()] = characteristic

    def send(self, endpoint, data):
        async def exchange():
            await self.client.write_gatt_char(self.endpoints[endpoint], data, response=True)
            return bytes(await self.client.read_gatt_char(self.endpoints[endpoint]))

        try:
            return self.loop.run_until_complete(exchange())
        except BleakGATTProtocolError as error:
            raise peer.Refused(int(error.code)) from error

    def leave(self):
        self.loop.run_until_complete(self.client.disconnect())


# Bluetooth Core Specification 5.4, volume 3, part F, 3.4: the opcodes in use here.
ERROR, READ_BY_TYPE, READ, READ_BLOB = 0x01, 0x08, 0x0A, 0x0C
WRITE, PREPARE, EXECUTE, INDICATION, CONFIRMATION = 0x12, 0x16, 0x18, 0x1D, 0x1E


class Att:
    """The same over the kernel's socket: BlueZ has no client with the smallest MTU. Without discovery by advertisement."""

    mtu = 23

    def __init__(self, own, node):
        path = os.path.join(tempfile.mkdtemp(), "packets")
        listener = socket.socket(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        listener.bind(path)
        listener.listen()
        listener.settimeout(PATIENCE)
        # AF_BLUETOOTH, BTPROTO_L2CAP, SOCK_SEQPACKET; Python constructs no address of the Attribute Protocol's channel.
        bluetooth = f"SOCKET-CONNECT:31:0:{self.address(node)},type=5,bind={self.address(own)}"
        self.socat = subprocess.Popen(["socat", bluetooth, f"UNIX-CONNECT:{path},type=5"])
        self.socket, _ = listener.accept()
        self.socket.settimeout(PATIENCE)
        # A declaration has the properties, the handle of the value, and the UUID.
        handles = [int.from_bytes(declaration[1:3], "little") for _, declaration in self.of_type(0x2803)]
        self.endpoints = {}
        for handle, name in self.of_type(0x2901):
            self.endpoints[name.decode()] = max(value for value in handles if value < handle)

    @staticmethod
    def address(text):
        """A `sockaddr_l2` after its family, as `socat` reads it: no PSM, the address, the channel, LE with a public address."""
        return "x0000" + "".join(reversed(text.split(":"))) + "04000100"

    def ask(self, opcode, *parts):
        packet = bytes([opcode]) + b"".join(part.to_bytes(2, "little") if isinstance(part, int) else part for part in parts)
        assert len(packet) <= self.mtu
        self.socket.send(packet)
        while True:
            answer = self.socket.recv(512)
            assert answer and len(answer) <= self.mtu, answer
            if answer[0] == ERROR and answer[1] == opcode:
                raise peer.Refused(answer[4])
            if answer[0] == opcode + 1:
                return answer[1:]
            if answer[0] == INDICATION:
                self.socket.send(bytes([CONFIRMATION]))
            elif answer[0] % 2 == 0:
                # A request of the node, such as for a larger MTU: 6 is "request not supported".
                self.socket.send(bytes([ERROR, answer[0], 0, 0, 6]))

    def of_type(self, kind):
        """The attributes of a type, which have short values: their handles and values."""
        start = 1
        while True:
            try:
                answer = self.ask(READ_BY_TYPE, start, 0xFFFF, kind)
            except peer.Refused:
                return
            for position in range(1, len(answer), answer[0]):
                entry = answer[position : position + answer[0]]
                start = int.from_bytes(entry[:2], "little") + 1
                yield start - 1, entry[2:]

    def send(self, endpoint, data):
        handle = self.endpoints[endpoint]
        if len(data) <= self.mtu - 3:
            self.ask(WRITE, handle, data)
        else:
            for offset in range(0, len(data), self.mtu - 5):
                part = data[offset : offset + self.mtu - 5]
                assert self.ask(PREPARE, handle, offset, part)[4:] == part
            self.ask(EXECUTE, b"\x01")
        value = part = self.ask(READ, handle)
        while len(part) == self.mtu - 1:
            part = self.ask(READ_BLOB, handle, len(value))
            value += part
        return value

    def leave(self):
        self.socket.close()
        self.socat.wait(PATIENCE)


def main():
    adapter, node, _, name = sys.argv[1:]
    given = json.load(sys.stdin)
    link = Att(given["address"], node) if "address" in given else Bluez(adapter, node)
    result = peer.SCENARIOS[name](lambda: link, given)
    result |= {"endpoints": sorted(link.endpoints), "mtu": link.mtu}
    link.leave()
    print(json.dumps(result))


main()
