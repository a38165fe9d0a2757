#!/bin/sh
# Whether a pull ends right, whatever a network does to packets.
# Run as root. `faults.sh --help` tells what can be chosen; one JSON object a line is printed.
set -eu
cd "$(dirname "$0")/.."
cargo build --quiet --release -p rdcq -p rdcq-lab
exec "${CARGO_TARGET_DIR:-target}/release/lab" faults "$@"
