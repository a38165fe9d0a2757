#!/bin/sh
# Whether settings that are saved a hundred times a second, half of them garbage, disturb a transfer or let a bad value hold.
# Run as root. `reload.sh --help` tells what can be chosen; one JSON object a line is printed.
set -eu
cd "$(dirname "$0")/.."
cargo build --quiet --release -p rdcq -p rdcq-lab
exec "${CARGO_TARGET_DIR:-target}/release/lab" reload "$@"
