#!/bin/sh
# What a pull leaves to a flow of TCP on the same link, and has itself, for each congestion controller.
# Run as root. `beside_tcp.sh --help` tells what can be chosen; one JSON object a line is printed.
set -eu
cd "$(dirname "$0")/.."
cargo build --quiet --release -p rdcq -p rdcq-lab
exec "${CARGO_TARGET_DIR:-target}/release/lab" beside-tcp "$@"
