#!/usr/bin/env python3
"""Writes after.nmconnection: before.nmconnection, stored and generated again by the netplan that is installed.

NetworkManager with netplan as its storage does the same: it hands libnetplan the keyfile of a profile, libnetplan writes YAML,
and `netplan generate` writes the keyfile that NetworkManager then reads.

Needs libnetplan 0.106 to 1.0 and netplan.io; run it as `python3 tests/node/nm/netplan/regenerate.py`.
"""

import ctypes
import os
import pathlib
import subprocess
import sys
import tempfile

HERE = pathlib.Path(__file__).parent
GENERATE = os.environ.get("NETPLAN_GENERATE", "/usr/libexec/netplan/generate")


class Error(ctypes.Structure):
    """The beginning of a GError."""

    _fields_ = [("domain", ctypes.c_uint32), ("code", ctypes.c_int), ("message", ctypes.c_char_p)]


library = ctypes.CDLL(os.environ.get("LIBNETPLAN", "libnetplan.so.0.0"))
library.netplan_parser_new.restype = ctypes.c_void_p
library.netplan_state_new.restype = ctypes.c_void_p
error = ctypes.POINTER(Error)()


def check(success):
    if not success:
        sys.exit(error.contents.message.decode())


parser = ctypes.c_void_p(library.netplan_parser_new())
state = ctypes.c_void_p(library.netplan_state_new())
with tempfile.TemporaryDirectory() as folder:
    profile = pathlib.Path(folder) / "before.nmconnection"
    profile.write_bytes((HERE / "before.nmconnection").read_bytes())
    profile.chmod(0o600)
    check(library.netplan_parser_load_keyfile(parser, str(profile).encode(), ctypes.byref(error)))
    check(library.netplan_state_import_parser_results(state, parser, ctypes.byref(error)))
    root = pathlib.Path(folder) / "root"
    (root / "etc/netplan").mkdir(parents=True)
    with open(root / "etc/netplan/90-NM.yaml", "wb", opener=lambda path, flags: os.open(path, flags, 0o600)) as yaml:
        check(library.netplan_state_dump_yaml(state, yaml.fileno(), ctypes.byref(error)))
    subprocess.run([GENERATE, "--root-dir", str(root)], check=True)
    (stored,) = (root / "run/NetworkManager/system-connections").iterdir()
    (HERE / "after.nmconnection").write_bytes(stored.read_bytes())
