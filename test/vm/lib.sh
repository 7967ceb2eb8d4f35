# shellcheck shell=bash
#
# A virtual machine with kernel WireGuard and nf_tables for test/vm/*.test. It boots in about four
# seconds of software emulation, needs no root, no disk and no network, and runs one script:
#
#     . "$(dirname "$0")/lib.sh"
#     need_vm
#     vm_run - "$BUILD_DIR/harmony-agent" "$BUILD_DIR/test/test_wgnl" tcpdump <<'GUEST'
#     ip link add wg0 type wireguard && echo "ok kernel wireguard" || echo "not ok kernel wireguard: $?"
#     harmony-agent --version
#     GUEST
#
#     vm_run SCRIPT [FILE…]   boots, runs SCRIPT (- is standard input) with bash in the guest, its
#                             output on standard output as it comes, and returns its status; 124
#                             when VM_TIMEOUT seconds (default 120) have passed, 125 when the
#                             machine ended before the script: then with the kernel's last words
#     need_vm                 skip_all, with what to install, where there can be no machine
#
# FILE: a word without a slash is a program of this machine's PATH; SRC[:DEST] is a file or folder
# that goes to /work/NAME, or to DEST. Whatever is a program brings its shared libraries. Always
# there: bash, ip, tc, wg, nft, ping, and busybox for all else; iperf3 and jq where this machine
# has them; and test/common.sh and test/netns/lib.sh as /work/test/…, so that a guest script may
# use ns_add, veth, check and the rest (`. test/netns/lib.sh`).
# In the guest: root, working directory /work, PATH begins with /work, one serial line, lo is up,
# kernel modules load on demand, $VM is 1, $BUILD_DIR is /work.
#
# VM_MEMORY is the megabytes (512), VM_CPUS the processors (2); VM_KERNEL_ARGS adds to the
# kernel's command line; VM_CONSOLE names a file for the kernel's messages. VM_ACCEL=kvm is for who
# knows that it works: there are machines where it starts and then fails in the guest's boot.

# shellcheck source=../common.sh
. "$(dirname "${BASH_SOURCE[0]}")/../common.sh"

_vm_dir=

need_vm() {
  local why
  need qemu-system-x86_64=qemu-system-x86 cpio=cpio ip=iproute2 wg=wireguard-tools nft=nftables \
    ping=iputils-ping setpriv=util-linux
  _vm_dir=$("$TOP/test/vm/build.sh" 2>"$TMP/vm-build") && return
  why=$(tail -n 1 "$TMP/vm-build")
  skip_all "no virtual machine: $why"
}

# Copies SRC to the guest's DEST; a path below /bin or /lib goes below /usr, where the guest's
# links of those names point.
_vm_copy() { # ROOT SRC DEST
  local dest=$3
  case $dest in /bin/* | /sbin/* | /lib/* | /lib64/*) dest=/usr$dest ;; esac
  [ ! -e "$1$dest" ] || return 0
  mkdir -p "$1$(dirname "$dest")" && cp -rL "$2" "$1$dest"
}

_vm_libraries() { # ROOT FILE
  local lib
  # Nothing is printed for what is not a dynamic program.
  ldd "$2" 2>/dev/null | grep -o '/[^ ]*' | while read -r lib; do
    _vm_copy "$1" "$lib" "$lib" || return
  done
}

_vm_add() { # ROOT FILE
  local src dest f
  case $2 in
    */*)
      src=${2%%:*} dest=/work/$(basename "$src")
      [ "$src" = "$2" ] || dest=${2#*:}
      ;;
    *)
      src=$(PATH=$PATH:/usr/sbin:/sbin command -v "$2") || {
        echo "vm_run: no program $2 here" >&2
        return 1
      }
      dest=/usr/bin/$2
      ;;
  esac
  [ -e "$src" ] || {
    echo "vm_run: $src does not exist" >&2
    return 1
  }
  _vm_copy "$1" "$src" "$dest" || return
  find -L "$src" -type f -perm -u=x | while read -r f; do
    _vm_libraries "$1" "$f" || return
  done
}

# Everything of this run as a second archive, which the kernel unpacks over the first.
_vm_image() { # SCRIPT OUTPUT FILES…
  local root script=$1 output=$2 f
  root=$(mktemp -d "$TMP/root-XXXXXX")
  shift 2
  # Of busybox's own env, date, realpath, setpriv and nsenter, test/common.sh would miss options.
  for f in bash ip tc wg nft ping env date realpath setpriv unshare nsenter "$@"; do
    _vm_add "$root" "$f" || return
  done
  for f in iperf3 jq; do
    ! command -v $f >/dev/null || _vm_add "$root" $f || return
  done
  # Loaded by name when a thread is cancelled.
  f=$(ldconfig -p 2>/dev/null | sed -n 's/.*libgcc_s\.so\.1 (libc6,x86-64.*=> //p' | head -n 1)
  [ -z "$f" ] || _vm_copy "$root" "$f" "$f"
  _vm_add "$root" "$TOP/test/common.sh:/work/test/common.sh" &&
    _vm_add "$root" "$TOP/test/netns/lib.sh:/work/test/netns/lib.sh" || return
  cat "$script" >"$root/work/guest"
  { cat "$_vm_dir/base.cpio" && (cd "$root" && find . | cpio -o -H newc -R 0:0 --quiet); } >"$output"
  rm -rf "$root"
}

# Passes the guest's lines on; the last one is its status, for the file.
_vm_output() { # STATUS-FILE
  local line held=
  while IFS= read -r line || [ -n "$line" ]; do
    case $line in
      'vm-exit '*) echo "${line#vm-exit }" >"$1" && break ;;
    esac
    # An empty line is held back: it may be the one before the status.
    [ -z "$held" ] || echo
    held=
    if [ -n "$line" ]; then printf '%s\n' "$line"; else held=1; fi
  done
  cat >/dev/null
}

vm_run() {
  local script=$1 run output qemu_pid status
  shift
  [ -n "$_vm_dir" ] || need_vm
  run=$(mktemp -d "$TMP/vm-XXXXXX")
  if [ "$script" = - ]; then
    cat >"$run/script"
    script=$run/script
  fi
  _vm_image "$script" "$run/initrd" "$@" || return 125
  mkfifo "$run/output"
  _vm_output "$run/status" <"$run/output" &
  output=$!
  setpriv --pdeathsig TERM timeout --foreground -k 5 "${VM_TIMEOUT:-120}" setpriv --pdeathsig KILL \
    qemu-system-x86_64 -nodefaults -no-user-config -no-reboot -display none -M q35,hpet=off \
    -accel "${VM_ACCEL:-tcg,thread=multi}" -cpu max,la57=off -smp "${VM_CPUS:-2}" -m "${VM_MEMORY:-512}" \
    -kernel "$_vm_dir/vmlinuz" -initrd "$run/initrd" \
    -append "console=ttyS0 quiet panic=-1 random.trust_cpu=on ${VM_KERNEL_ARGS:-}" \
    -serial "file:$run/console" -serial stdio >"$run/output" 2>"$run/qemu" </dev/null &
  qemu_pid=$!
  BG[vm-${run##*/}]=$qemu_pid
  wait $qemu_pid
  status=$?
  unset "BG[vm-${run##*/}]"
  wait $output
  if [ -s "$run/status" ]; then
    status=$(cat "$run/status")
  elif [ $status -eq 124 ] || [ $status -eq 137 ]; then
    status=124
    echo "# vm_run: ended after ${VM_TIMEOUT:-120} seconds"
    _vm_console "$run"
  else
    echo "# vm_run: the machine ended (status $status) before its script did"
    _vm_console "$run"
    status=125
  fi
  [ -z "${VM_CONSOLE:-}" ] || cp "$run/console" "$VM_CONSOLE"
  rm -rf "$run"
  return "$status"
}

_vm_console() {
  cat "$1/qemu" "$1/console" 2>/dev/null | tr -d '\r' | tail -n 30 | sed 's/^/#   /'
}
