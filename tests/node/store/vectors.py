"""Prints the files of a node as the existing Python software writes them, with fixed time and random bytes.

Needs the package `cryptography`. The output is frozen in `formats.rs`.
"""

import base64
import json

from cryptography.fernet import Fernet

KEY = base64.urlsafe_b64encode(bytes(range(32)))
TIME = 1769950800
IV = bytes(range(100, 116))
WIFI = {"ssid": "Café 😀", "password": 'hunter22 "quoted"'}
CONFIG = {
    "node_id": "0e8c1f5a-94d1-4d6f-9c39-2f5a7e0b1c2d",
    "volume": 0.8,
    "api_key": "the-node-key",
    "room": "küche",
    "jarvis_command_center_api_url": "http://10.0.0.2:7703//",
    "jarvis_config_service_url": "http://10.0.0.2:7700",
}


def sealed(plain: bytes) -> str:
    return Fernet(KEY)._encrypt_from_parts(plain, TIME, IV).decode()


print("secrets.key", KEY.decode(), sep="\n")
print("k2.enc", sealed(bytes(range(200, 232))), sep="\n")
print("wifi_credentials.enc", sealed(json.dumps(WIFI).encode()), sep="\n")
print("k2_metadata.json", json.dumps({"kid": "kid-1", "created_at": "2026-02-01T13:00:00+00:00"}, indent=2), sep="\n")
print("config.json", json.dumps(CONFIG, indent=2), sep="\n")
