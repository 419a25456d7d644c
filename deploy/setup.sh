#!/bin/sh
# Prepare a Debian 12 machine: the Debian packages that are missing (as root, or with sudo), a virtual environment, the lab's guest image.
# Safe to run again: what is there stays.
set -eu
cd "$(dirname "$0")/.."

packages="qemu-system-x86 qemu-utils zstd redis-server openssh-server openssh-client openssh-sftp-server
          dosfstools mtools e2fsprogs syslinux syslinux-common cpio"

missing=""
for package in $packages; do
    dpkg-query -W -f='${db:Status-Status}' "$package" 2>/dev/null | grep -qx installed || missing="$missing $package"
done
python3 -c 'import ensurepip' 2>/dev/null || missing="$missing python3-venv"

as_root() {
    if [ "$(id -u)" -eq 0 ]; then "$@"; else sudo "$@"; fi
}

lists_are_fresh() {
    [ -n "$(find /var/lib/apt/lists -name '*_Packages*' -mtime -1 2>/dev/null | head -n 1)" ]
}

if [ -n "$missing" ] || ! lists_are_fresh; then
    echo "set-up: reading Debian's package lists"
    as_root env DEBIAN_FRONTEND=noninteractive apt-get update -qq
fi
if [ -n "$missing" ]; then
    echo "set-up: installing$missing"
    # The packages' own daemons must not start: tests and lab run private ones.
    as_root env DEBIAN_FRONTEND=noninteractive RUNLEVEL=1 apt-get install -y -qq --no-install-recommends $missing >/dev/null
fi

stamp=.venv/.installed
if [ ! -e "$stamp" ] || [ pyproject.toml -nt "$stamp" ]; then
    echo "set-up: Python packages"
    [ -x .venv/bin/python ] || python3 -m venv .venv
    .venv/bin/python -m pip install --quiet --disable-pip-version-check --editable '.[lab,dev]'
    touch "$stamp"
fi

.venv/bin/python -m backupsvc.lab.images
echo "set-up: ready"
