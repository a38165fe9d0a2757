#!/bin/sh
# How long a pull takes over long and lossy links, for each congestion controller.
# Run as root. `links.sh --help` tells what can be chosen; one JSON object a line is printed.
set -eu
cd "$(dirname "$0")/.."
cargo build --quiet --release -p rdcq -p rdcq-lab
exec "${CARGO_TARGET_DIR:-target}/release/lab" links "$@"
