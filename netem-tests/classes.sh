#!/bin/sh
# Whether classes share a limit by their weights.
# Run as root. `classes.sh --help` tells what can be chosen; one JSON object a line is printed.
set -eu
cd "$(dirname "$0")/.."
cargo build --quiet --release -p rdcq -p rdcq-lab
exec "${CARGO_TARGET_DIR:-target}/release/lab" classes "$@"
