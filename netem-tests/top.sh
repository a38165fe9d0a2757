#!/bin/sh
# Whether `rdcq top` shows what the interface of the node counts.
# Run as root. `top.sh --help` tells what can be chosen; one JSON object a line is printed.
set -eu
cd "$(dirname "$0")/.."
cargo build --quiet --release -p rdcq -p rdcq-lab
exec "${CARGO_TARGET_DIR:-target}/release/lab" top "$@"
