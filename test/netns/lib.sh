# shellcheck shell=bash
#
# Network namespaces for test/netns/*.test. Each test opens with its topology drawn, as this one:
#
#       namespace node                          namespace gw
#     +------------------------+              +------------------------+
#     | wg0 10.9.0.1/24        |              | wg0 10.9.0.2/24        |
#     | eth0 192.0.2.1/24 -----+---- veth ----+---- eth0 192.0.2.2/24  |
#     +------------------------+              +------------------------+
#
#     . "$(dirname "$0")/lib.sh"
#     ns_add node
#     ns_add gw
#     veth node eth0 192.0.2.1/24 gw eth0 192.0.2.2/24,fd00::2/64
#     peer_start gw wireguard-go wg0
#     in_ns gw wg set wg0 listen-port 51820 …
#     check "node reaches gw" in_ns node ping -c1 -W2 192.0.2.2
#
#     ns_add NODE                     a namespace named hm-PID-NODE, lo up
#     ns NODE                         prints that name
#     veth NODE IF ADDRS NODE IF ADDRS    a pair, created inside, up; ADDRS by commas, or -
#     in_ns NODE COMMAND…             runs COMMAND there
#     bg_ns NAME NODE COMMAND…        the same in the background: see bg in common.sh
#     peer_start NODE IMPL IF         a userspace WireGuard device there, when its socket answers;
#                                     IMPL: wireguard-go, boringtun-cli, harmony-wg, or a path
#     peer_stop NODE IF
#     peer_skip IMPL                  why IMPL cannot run here; empty (and status 1) when it can
#     need_netns, need_tun            skip_all without root, namespaces, /dev/net/tun
#     changing COMMAND…               COMMAND, which makes drift; repaired_ms then prints how many
#                                     milliseconds later, by its own log ($TMP/agent.log), the agent had
#                                     repaired the last of it
#     sanitized                       true where $BUILD_DIR is a sanitizer's
#     (and all of test/common.sh)
#
# In a sanitizer's build every finding in one of our programs, leaks at the end too, is a failed
# case, also of a device whose output goes nowhere: the programs report into $TMP/san.*.
#
# A node also has a mount namespace of its own with an empty /run (which is /var/run too) and
# /var/lib/harmony-wg, so that two nodes may both have a wg0 and no test meets the machine's own. A process, `sleep`, holds it.
#
# At the end every process inside a namespace of this run is ended, also one that put itself in
# the background, and the namespaces go, with all interfaces in them: nothing is ever created in
# the machine's own namespace.

# shellcheck source=../common.sh
. "$(dirname "${BASH_SOURCE[0]}")/../common.sh"

declare -A _holder=()
_nodes=()
_ns_prefix=hm-$$

ns() { echo "$_ns_prefix-$1"; }

need_netns() {
  [ "$(id -u)" -eq 0 ] || skip_all "needs root (network namespaces)"
  need ip=iproute2 nsenter=util-linux setpriv=util-linux
  unshare -nm true 2>/dev/null || skip_all "needs CAP_SYS_ADMIN (network and mount namespaces)"
}

need_tun() {
  { [ -c /dev/net/tun ] && (: <>/dev/net/tun) 2>/dev/null; } ||
    skip_all "needs /dev/net/tun (modprobe tun; in a container: --device /dev/net/tun)"
}

ns_add() {
  local n
  n=$(ns "$1")
  _nodes+=("$1")
  ip netns add "$n" || return
  # shellcheck disable=SC2016 # expanded by the inner shell
  setpriv --pdeathsig KILL nsenter --net="/run/netns/$n" unshare -m --propagation private sh -c '
    mount -t tmpfs -o mode=0755 tmpfs /run && mkdir -m 0700 /run/wireguard /run/harmony-agent &&
      mkdir -p /var/lib/harmony-wg && mount -t tmpfs -o mode=0700 tmpfs /var/lib/harmony-wg || exit
    ip link set lo up && : >"$1" && exec sleep infinity' sh "$TMP/ns.$1" &
  _holder[$1]=$!
  within 5 test -e "$TMP/ns.$1" || {
    not_ok "$TEST_NAME" "namespace $n: could not be set up"
    exit 1
  }
}

veth() {
  ip link add "$2" netns "$(ns "$1")" type veth peer name "$5" netns "$(ns "$4")" || return
  _addrs "$1" "$2" "$3" && _addrs "$4" "$5" "$6"
}
_addrs() {
  local a
  for a in ${3//,/ }; do
    # nodad: an IPv6 address can be used at once.
    case $a in
      -) ;;
      *:*) ip -n "$(ns "$1")" addr add "$a" dev "$2" nodad || return ;;
      *) ip -n "$(ns "$1")" addr add "$a" dev "$2" || return ;;
    esac
  done
  ip -n "$(ns "$1")" link set "$2" up
}

_enter() { echo "nsenter -t ${_holder[$1]:?no namespace $1} -n -m --"; }

# Pings without an answer before the last that has one.
ping_gaps() { # PING-LOG
  awk '/bytes from/ && match($0, /icmp_seq=[0-9]+/) {
      seq = substr($0, RSTART + 9, RLENGTH - 9) + 0
      if (seq > last) last = seq
      n++
    }
    END {print last - n}' "$1"
}

# A look from outside, process after process, would add its own time to the agent's.
changing() {
  _logged=$(awk 'END {print NR}' "$TMP/agent.log" 2>/dev/null)
  _changed=${EPOCHREALTIME/,/.}
  "$@"
}
repaired_ms() {
  tail -n +$((${_logged:-0} + 1)) "$TMP/agent.log" | awk -v from="$_changed" '
    /"msg":"drift repaired"/ && match($0, /T[0-9:.]+Z/) {
      split(substr($0, RSTART + 1, RLENGTH - 2), t, ":")
      at = t[1] * 3600 + t[2] * 60 + t[3]
      n++
    }
    END {
      if (!n) exit 1
      ms = (at - from % 86400) * 1000
      printf "%d\n", ms < -43200000 ? ms + 86400000 : ms
    }'
}

in_ns() {
  local enter
  enter=$(_enter "$1")
  shift
  # shellcheck disable=SC2086 # words
  _run $enter "$@"
}

bg_ns() {
  local name=$1 enter
  enter=$(_enter "$2")
  shift 2
  # shellcheck disable=SC2086 # words
  bg "$name" $enter "$@"
}

sanitized() { case $BUILD_DIR in */asan | */tsan) ;; *) return 1 ;; esac; }
if sanitized; then
  export ASAN_OPTIONS=detect_leaks=1:log_path=$TMP/san:${ASAN_OPTIONS:-}
  export UBSAN_OPTIONS=print_stacktrace=1:${UBSAN_OPTIONS:-}
  export TSAN_OPTIONS=log_path=$TMP/san:${TSAN_OPTIONS:-}
  # The agent starts a device without its own environment.
  mkdir -p "$TMP/sanbin"
  cat >"$TMP/sanbin/harmony-wg" <<END
#!/bin/sh
export ASAN_OPTIONS='$ASAN_OPTIONS' UBSAN_OPTIONS='$UBSAN_OPTIONS' TSAN_OPTIONS='$TSAN_OPTIONS'
exec '$BUILD_DIR/harmony-wg' "\$@"
END
  chmod +x "$TMP/sanbin/harmony-wg"
fi
_sanitizers_silent() {
  local f
  for f in "$TMP"/san.*; do
    [ -s "$f" ] || continue
    not_ok "$TEST_NAME: sanitizer" "$(grep -m1 -E 'ERROR|WARNING|runtime error' "$f") $(grep -m6 '^ *#' "$f" | tr -s '\n ' ' ')"
  done
}

_peer_program() {
  case $1 in
    harmony-wg) if sanitized; then echo "$TMP/sanbin/harmony-wg"; else echo "$BUILD_DIR/harmony-wg"; fi ;;
    boringtun-cli) command -v "$1" || "$TOP/hack/build-boringtun" --cached 2>/dev/null ;;
    *) command -v "$1" ;;
  esac
}

peer_skip() {
  local program
  program=$(_peer_program "$1")
  [ -x "$program" ] && return 1
  case $1 in
    wireguard-go) echo "not installed: apt-get install wireguard-go" ;;
    boringtun-cli) echo "not built: hack/build-boringtun (needs cargo)" ;;
    harmony-wg) echo "not built: make harmony-wg" ;;
    *) echo "not installed: $1" ;;
  esac
}

peer_start() {
  local node=$1 impl=$2 ifname=$3 program args=(-f)
  program=$(_peer_program "$impl")
  # boringtun drops to the login user unless told otherwise, and there is none here.
  [ "${impl##*/}" != boringtun-cli ] || args+=(--disable-drop-privileges)
  bg_ns "peer-$node-$ifname" "$node" env LOG_LEVEL="${PEER_LOG_LEVEL:-error}" WG_PROCESS_FOREGROUND=1 \
    "$program" "${args[@]}" "$ifname"
  within 5 in_ns "$node" wg show "$ifname" && return
  echo "peer_start: $impl did not come up on $node:" >&2
  cat "$TMP/peer-$node-$ifname.log" >&2
  return 1
}

peer_stop() { bg_stop "peer-$1-$2"; }

_ns_pids() {
  local node
  for node in "${_nodes[@]}"; do
    ip netns pids "$(ns "$node")" 2>/dev/null
  done
}

_ns_cleanup() {
  local node pid pids
  for pid in $(_ns_pids); do
    kill -TERM "$pid" 2>/dev/null
  done
  within 2 _ns_empty
  while pids=$(_ns_pids) && [ -n "$pids" ]; do
    for pid in $pids; do
      kill -KILL "$pid" 2>/dev/null
    done
    sleep 0.02
  done
  for node in "${_nodes[@]}"; do
    [ -z "${_holder[$node]:-}" ] || wait "${_holder[$node]}" 2>/dev/null
    ip netns del "$(ns "$node")" 2>/dev/null
  done
}
_ns_empty() { [ -z "$(_ns_pids)" ]; }
at_exit _sanitizers_silent # after the next one: what is ended there reports, too
at_exit _ns_cleanup
