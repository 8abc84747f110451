#!/bin/bash -e
install -m 644 files/jarvis-provisioning_*.deb "$ROOTFS_DIR/jarvis-provisioning.deb"
on_chroot <<END
apt-get install --yes --no-install-recommends /jarvis-provisioning.deb ca-certificates
rm /jarvis-provisioning.deb
END
