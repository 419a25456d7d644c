#!/bin/sh
# Prepare a Debian 12 machine: the Debian packages that are missing (as root, or with sudo), a virtual environment, the lab's guest
# image. Safe to run again: what is there stays.
set -eu
cd "$(dirname "$0")/.."

packages="qemu-system-x86 qemu-utils seabios zstd e2fsprogs util-linux openssh-server redis-server"
test_packages="postgresql slapd dosfstools mtools ntfs-3g xfsprogs fdisk"

as_root() {
    if [ "$(id -u)" -eq 0 ]; then "$@"; else sudo "$@"; fi
}

read_package_lists() {
    echo "set-up: reading Debian's package lists"
    as_root env DEBIAN_FRONTEND=noninteractive apt-get update -qq
}

# The daemons of these packages must not run: the lab and the tests start private ones. A server that was here before is left alone.
install_quietly() {
    policy=/usr/sbin/policy-rc.d
    ours=no
    if [ ! -e "$policy" ]; then
        printf '#!/bin/sh\nexit 101\n' | as_root tee "$policy" >/dev/null
        as_root chmod +x "$policy"
        ours=yes
    fi
    status=0
    as_root env DEBIAN_FRONTEND=noninteractive apt-get install -y -qq --no-install-recommends "$@" >/dev/null || status=$?
    if [ "$ours" = yes ]; then as_root rm -f "$policy"; fi
    if [ -d /run/systemd/system ]; then
        for package in "$@"; do
            case "$package" in
                openssh-server) as_root systemctl disable --quiet ssh.service || true ;;
                redis-server) as_root systemctl disable --quiet redis-server.service || true ;;
                postgresql) as_root systemctl disable --quiet postgresql.service || true ;;
                slapd) as_root systemctl disable --quiet slapd.service || true ;;
            esac
        done
    fi
    return "$status"
}

missing=""
for package in $packages $test_packages; do
    [ "$(dpkg-query -W -f='${db:Status-Status}' "$package" 2>/dev/null)" = installed ] || missing="$missing $package"
done
python3 -c 'import ensurepip, venv' 2>/dev/null || missing="$missing python3-venv"
if [ -n "$missing" ]; then
    read_package_lists
    echo "set-up: installing$missing"
    # shellcheck disable=SC2086
    install_quietly $missing
fi

stamp=.venv/.installed
if [ ! -e "$stamp" ] || [ pyproject.toml -nt "$stamp" ] || [ pvelab/pyproject.toml -nt "$stamp" ]; then
    echo "set-up: installing Python packages into .venv"
    [ -x .venv/bin/python ] || python3 -m venv .venv
    .venv/bin/python -m pip install --quiet --disable-pip-version-check --editable ./pvelab --editable '.[lab,dev]'
    touch "$stamp"
fi

# The guests' parts come from Debian as well, fetched without root; only stale package lists need it.
if ! .venv/bin/python -m pvelab.images; then
    read_package_lists
    .venv/bin/python -m pvelab.images
fi
