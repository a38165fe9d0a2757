#!/bin/sh
# How exactly a limit is kept, read from the counters of the interface of the host that sends.
# Run as root. `accuracy.sh --help` tells what can be chosen; one JSON object a line is printed.
set -eu
cd "$(dirname "$0")/.."
cargo build --quiet --release -p rdcq -p rdcq-lab
exec "${CARGO_TARGET_DIR:-target}/release/lab" accuracy "$@"
