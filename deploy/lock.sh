#!/bin/sh
# Write requirements.lock: what pyproject.toml wants of the application (with PostgreSQL, without lab and tests), each in one version
# and with the hashes of its files. Pins that still fit stay; UPGRADE=1 takes the newest.
set -eu
cd "$(dirname "$0")/.."

tools=$(mktemp -d)
trap 'rm -rf "$tools"' EXIT
python3 -m venv "$tools"
"$tools/bin/python" -m pip install --quiet --disable-pip-version-check 'uv>=0.13,<0.14'
"$tools/bin/uv" pip compile pyproject.toml --extra postgres --quiet \
    --universal --python-version 3.11 --generate-hashes --no-emit-index-url --custom-compile-command deploy/lock.sh \
    ${UPGRADE:+--upgrade} --output-file requirements.lock
