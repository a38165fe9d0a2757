#!/bin/sh
# Whether streams of one peer, and peers with few streams and with many, have the same of a limit.
# Run as root. `fairness.sh --help` tells what can be chosen; one JSON object a line is printed.
set -eu
cd "$(dirname "$0")/.."
cargo build --quiet --release -p rdcq -p rdcq-lab
exec "${CARGO_TARGET_DIR:-target}/release/lab" fairness "$@"
