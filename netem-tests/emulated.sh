#!/bin/sh
# The lab in an emulated machine with Debian's kernel, for machines whose own kernel has no netem.
# Installs nothing. `emulated.sh --help` tells what can be chosen.
set -eu
cd "$(dirname "$0")/.."

usage() {
    cat <<'END'
Usage: emulated.sh [options] [--] [command of the lab with its arguments]

Boots Debian's kernel under qemu without help of the hardware, and runs the lab there: the given command, or
`accuracy --rates 5Mbit/s --streams 1 --seconds 2 --size 1000000`. What it prints is printed here, and its exit code is this script's; 124 says that
time was over, and 125 that the machine failed.

The machine has one processor, whose clock counts its instructions, one a nanosecond, and leaps while it is idle: to the lab it is a steady
machine, however busy this one is. A second of its work takes about ten of this machine's; a second in which it waits takes none.

  --check            Runs no lab: sends pings over a veth pair, without and with `netem delay 10ms loss 1%`, and prints what came of them.
  --binaries FOLDER  Has `rdcq` and `lab` from there; without it, they are built.
  --memory SIZE      Memory of the machine, where its files are, too [4G]
  --timeout SECONDS  How long the machine may run [900]

Takes Debian on amd64 with iproute2, and cargo. qemu (if the system has none), busybox and the kernel come as packages from apt's configured sources,
are checked by apt's signatures, and are unpacked into .tools/emulated (600 MB). To have them anew, remove that folder.
END
}

fail() {
    echo "emulated.sh: $*" >&2
    exit 125
}

check='' binaries='' memory=4G seconds=900
while [ $# -gt 0 ]; do
    option=$1
    case $option in
    --help) usage && exit ;;
    --check) check=1 ;;
    --) shift && break ;;
    --binaries | --memory | --timeout)
        [ $# -gt 1 ] || fail "$option takes a value"
        shift
        ;;
    -*) fail "there is no option $option; --help lists them" ;;
    *) break ;;
    esac
    case $option in
    --binaries) binaries=$(realpath "$1") ;;
    --memory) memory=$1 ;;
    --timeout) seconds=$1 ;;
    esac
    shift
done
[ $# -gt 0 ] || set -- accuracy --rates 5Mbit/s --streams 1 --seconds 2 --size 1000000

tools=$PWD/.tools/emulated
# Where qemu and busybox are, and what the machine always has.
root=$tools/root image=$tools/image
PATH=$PATH:/usr/sbin:/sbin

# apt with lists and downloads of its own.
own_apt() {
    program=$1
    shift
    "$program" -qq -o Dir::State="$tools/apt" -o Dir::State::status=/var/lib/dpkg/status -o Dir::Cache="$tools/apt" \
        -o Debug::NoLocking=1 -o APT::Sandbox::User=root "$@"
}

# Fetches and unpacks the packages into $root.
unpack() {
    [ "$(dpkg --print-architecture)" = amd64 ] || fail "this takes Debian on amd64"
    rm -rf "$tools/apt" "$root"
    mkdir -p "$tools/apt/lists/partial" "$tools/apt/archives/partial" "$root"
    own_apt apt-get update
    # Those of its libraries that the system has are not fetched.
    command -v qemu-system-x86_64 >/dev/null ||
        own_apt apt-get install --yes --download-only --no-install-recommends qemu-system-x86
    kernel=$(own_apt apt-cache depends linux-image-amd64 | sed -n 's/.*Depends: \(linux-image-[0-9].*\)/\1/p')
    [ -n "$kernel" ] || fail "apt knows no linux-image-amd64; are Debian's own sources configured?"
    (cd "$tools/apt/archives" && own_apt apt-get download "$kernel" busybox-static)
    for package in "$tools"/apt/archives/*.deb; do
        dpkg-deb --extract "$package" "$root"
    done
    rm -rf "$tools/apt"
}

# Makes $image: busybox, and those of the kernel's modules that networks, and the machine's ports, may ask for.
lay_out() {
    release=$(basename "$root"/lib/modules/*)
    modules=$image/lib/modules/$release
    rm -rf "$image"
    mkdir -p "$image/bin" "$image/sbin" "$modules"
    (cd "$root/lib/modules/$release" && cp -r --parents modules.* kernel/net kernel/lib kernel/crypto kernel/arch/x86/crypto \
        kernel/drivers/virtio kernel/drivers/char/virtio_console.ko kernel/drivers/net/veth.ko kernel/drivers/net/tun.ko "$modules")
    "$root/bin/busybox" depmod -b "$image" "$release"
    for name in $("$root/bin/busybox" --list); do
        ln -s busybox "$image/bin/$name"
    done
    cp --remove-destination "$root/bin/busybox" "$image/bin"
    # The kernel looks for it here.
    ln -s ../bin/modprobe "$image/sbin"
}

# Copies programs and the libraries that they are linked with to the same places under a folder.
copy_linked() {
    into=$1
    shift
    for file in "$@" $(ldd "$@" | sed -n 's|^[^/]*\(/[^ ]*\) (0x.*|\1|p' | sort -u); do
        mkdir -p "$into${file%/*}"
        cp -L "$file" "$into$file"
    done
}

# Words as a shell reads them.
quoted() {
    for word in "$@"; do
        printf "'%s' " "$(printf %s "$word" | sed "s/'/'\\\\''/g")"
    done
}

# What the machine runs with --check: one JSON object a line.
check_text() {
    cat <<'END'
set -e
ip netns add far
ip link add near type veth peer name far netns far
ip addr add 10.98.0.1/24 dev near && ip link set near up
ip -n far addr add 10.98.0.2/24 dev far && ip -n far link set far up
pings() {
    # Exits with 1 only if none came back.
    ping -q -c "$2" -A -W 1 10.98.0.2 >/tmp/pings
    awk -v test="$1" -v kernel="$(uname -r)" '
        /packet loss/ { sent = $1; back = $4 }
        /round-trip/ { split($4, ms, "/") }
        END { printf "{\"test\":\"%s\",\"kernel\":\"%s\",\"sent\":%d,\"lost\":%d,\"least_ms\":%s,\"mean_ms\":%s}\n",
            test, kernel, sent, sent - back, ms[1], ms[2] }' /tmp/pings
}
pings "no qdisc" 100
tc qdisc add dev near root netem delay 10ms loss 1%
pings "netem delay 10ms loss 1%" 500
tc -s qdisc show dev near >&2
END
}

# What the machine starts with. Busybox as a shell would take its own `ip` before the system's, so the shell is another one.
# It ends by writing the exit code to the third port.
init_text() {
    cat <<'END'
#!/usr/bin/dash
export PATH=/usr/sbin:/usr/bin:/sbin:/bin HOME=/tmp
mount -t proc proc /proc
mount -t sysfs sys /sys
mount -t devtmpfs dev /dev
for module in virtio_pci virtio_console veth bridge tun sch_tbf sch_netem; do
    modprobe "$module" || poweroff -f
done
for wait in $(seq 100); do
    [ -c /dev/vport0p3 ] && break
    sleep 0.1
done
ulimit -n 65536
# As rdcq asks of a host.
sysctl -q -w net.core.rmem_max=4194304 net.core.wmem_max=4194304
ip link set lo up
{
    echo "Linux $(uname -r), emulated" >&2
    dash /command </dev/null
    echo $? >/run/code
} >/dev/vport0p1 2>/dev/vport0p2
cat /run/code >/dev/vport0p3
poweroff -f
END
}

mkdir -p "$tools"
(
    flock 9
    if [ ! -e "$tools/done" ]; then
        unpack
        lay_out
        touch "$tools/done"
    fi
) 9>"$tools/lock"
if [ -z "$binaries" ]; then
    cargo build --quiet --release -p rdcq -p rdcq-lab
    binaries=$(realpath "${CARGO_TARGET_DIR:-target}/release")
fi

run=$(mktemp -d) running=''
# Runs once, also when it is interrupted again meanwhile.
clean_up() {
    trap '' INT TERM HUP
    if [ -n "$running" ]; then
        kill "$running" 2>/dev/null || true
        wait "$running" || true
    fi
    rm -rf "$run"
}
trap clean_up EXIT
trap "trap '' INT TERM HUP; exit 130" INT
trap "trap '' INT TERM HUP; exit 143" TERM HUP

# What comes on top of the image in this run: programs, and what to do with them.
mkdir -p "$run/root/dev" "$run/root/proc" "$run/root/sys" "$run/root/tmp" "$run/root/run" "$run/root/usr/lib"
copy_linked "$run/root" /usr/bin/dash "$(command -v ip)" "$(command -v tc)" "$(command -v chrt)" "$binaries/rdcq" "$binaries/lab"
# Tables of netem's distributions, and no lines of the debugger, which would only take memory.
[ ! -d /usr/lib/tc ] || cp -r /usr/lib/tc "$run/root/usr/lib"
strip "$run/root$binaries/rdcq" "$run/root$binaries/lab" 2>/dev/null || true
if [ -n "$check" ]; then check_text; else quoted "$binaries/lab" "$@"; fi >"$run/root/command"
init_text >"$run/root/init"
chmod +x "$run/root/init"
for part in "$image" "$run/root"; do
    (cd "$part" && find . | "$root/bin/busybox" cpio -o -H newc -R 0:0 2>/dev/null)
done >"$run/initrd"
rm -rf "$run/root"

# Its processor's count of instructions is the kernel's clock. Nothing defends against what a real processor guesses, and programs begin where
# they began in the last process, so that what was translated serves again.
kernel_options='console=ttyS0 quiet panic=-1 mitigations=off tsc=reliable norandmaps'

# What the machine writes to its first two ports appears at once. The script keeps the pipes open until the machine is gone.
mkfifo "$run/out" "$run/err"
exec 3<>"$run/out" 4<>"$run/err"
cat <"$run/out" 3>&- 4>&- &
out=$!
cat <"$run/err" >&2 3>&- 4>&- &
err=$!
LD_LIBRARY_PATH=$root/usr/lib/x86_64-linux-gnu:$root/lib/x86_64-linux-gnu PATH=$root/usr/bin:$PATH \
    timeout --kill-after=5 "$seconds" qemu-system-x86_64 -nodefaults -no-user-config -display none -no-reboot \
    -L "$root/usr/share/qemu" -L "$root/usr/share/seabios" \
    -machine q35 -accel tcg,thread=single -icount shift=0,sleep=off -cpu max -smp 1 -m "$memory" \
    -kernel "$(echo "$root"/boot/vmlinuz-*)" -initrd "$run/initrd" -append "$kernel_options" \
    -serial "file:$run/console" -device virtio-serial-pci \
    -chardev "file,id=out,path=$run/out" -device virtserialport,chardev=out,nr=1 \
    -chardev "file,id=err,path=$run/err" -device virtserialport,chardev=err,nr=2 \
    -chardev "file,id=code,path=$run/code" -device virtserialport,chardev=code,nr=3 </dev/null &
running=$!
ended=0
wait "$running" || ended=$?
running=''
exec 3>&- 4>&-
wait "$out" "$err"
[ "$ended" != 124 ] || { echo "emulated.sh: stopped after $seconds s; --timeout gives more" >&2 && exit 124; }
[ -s "$run/code" ] || { tail -n 30 "$run/console" >&2 || true; fail "the machine ended early; above is the end of its console"; }
exit "$(cat "$run/code")"
