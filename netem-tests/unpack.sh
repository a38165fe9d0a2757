#!/bin/sh
# Debian packages with what they need, unpacked into .tools/FOLDER/root; nothing is installed.
# Usage: unpack.sh FOLDER PACKAGE...
set -eu
cd "$(dirname "$0")/.."
tools=$PWD/.tools/$1
shift
mkdir -p "$tools"
exec 9>"$tools/lock"
flock 9
[ ! -e "$tools/done" ] || exit 0
rm -rf "$tools/apt" "$tools/root"
mkdir -p "$tools/apt/lists/partial" "$tools/apt/archives/partial" "$tools/root"

# apt with lists and downloads of its own.
own_apt() {
    apt-get -qq -o Dir::State="$tools/apt" -o Dir::State::status=/var/lib/dpkg/status -o Dir::Cache="$tools/apt" \
        -o Debug::NoLocking=1 -o APT::Sandbox::User=root "$@"
}

own_apt update
# One by one: what cannot be had does not keep the others away. Those of its libraries that the system has are not fetched.
for name in "$@"; do
    own_apt install --yes --download-only --no-install-recommends "$name" >/dev/null || echo "no package $name" >&2
done
for package in "$tools"/apt/archives/*.deb; do
    [ -e "$package" ] || continue
    dpkg-deb --extract "$package" "$tools/root"
done
rm -rf "$tools/apt"
touch "$tools/done"
