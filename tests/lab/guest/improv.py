"""Home Assistant's client of Improv, as its integration uses it:  improv.py ADAPTER NODE

NODE is the node's Bluetooth address, ADAPTER the client's controller, as hci1. Reads `{"ssid": …, "passwords": […]}` from standard input,
and gives the node the network with one password after another. Prints what it has seen as one JSON object.
"""

import asyncio
import json
import sys

sys.path.insert(0, f"/lab/clients/python{sys.version_info[0]}.{sys.version_info[1]}")

from bleak import BleakScanner
from improv_ble_client import ImprovBLEClient, State, device_filter
from improv_ble_client.errors import ProvisioningFailed

# Seconds.
PATIENCE = 60
# A virtual controller cannot be connected before its kernel advertises again.
AFTER_A_LINK = 0.5


async def find(adapter, node):
    """The node, once it is found as one that can be provisioned."""
    found = asyncio.get_running_loop().create_future()

    def seen(device, advertisement):
        if device.address == node and device_filter(advertisement) and not found.done():
            found.set_result((device, advertisement))

    async with BleakScanner(seen, bluez={"adapter": adapter}):
        return await asyncio.wait_for(found, PATIENCE)


async def provision(client, ssid, password):
    ended = asyncio.Event()
    await client.subscribe_state_updates(lambda state: ended.set() if state == State.DISCONNECTED else None)
    try:
        return {"url": await client.provision(ssid, password, None)}
    except ProvisioningFailed as failure:
        # The client ends its link after an error, and makes a new one for the next try.
        await asyncio.wait_for(ended.wait(), PATIENCE)
        await asyncio.sleep(AFTER_A_LINK)
        return {"error": failure.error.name}


async def main():
    adapter, node = sys.argv[1:]
    network = json.load(sys.stdin)
    client = ImprovBLEClient(*await find(adapter, node))
    seen = {"authorized": not await client.need_authorization()}
    await client.identify()
    info = await client.get_device_info()
    seen["info"] = [text.decode() for text in (info.firmware_name, info.firmware_version, info.hardware_chip, info.device_name)]
    if seen["authorized"]:
        seen["networks"] = [name.decode() for name, _, _ in (await client.scan_wifi()).networks]
    seen["outcomes"] = [await provision(client, network["ssid"], password) for password in network["passwords"]]
    print(json.dumps(seen))


asyncio.run(asyncio.wait_for(main(), 2 * PATIENCE))
