#!/bin/sh
# How long a file takes to many agents at once, by the least that their links allow.
# Run as root. `fanout.sh --help` tells what can be chosen; one JSON object a line is printed. With --beside, packages of other systems come from
# apt's configured sources and are unpacked into .tools/beside; what cannot be had is skipped, and its line says so.
set -eu
cd "$(dirname "$0")/.."
for argument in "$@"; do
    case $argument in
    --beside | --beside=*)
        netem-tests/unpack.sh beside aria2 opentracker python3-libtorrent uftp || echo "fanout.sh: not all packages could be had" >&2
        ;;
    esac
done
cargo build --quiet --release -p rdcq -p rdcq-lab
exec "${CARGO_TARGET_DIR:-target}/release/lab" fanout "$@"
