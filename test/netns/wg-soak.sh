#!/usr/bin/env bash
# harmony-wg for SOAK_SECONDS (1800) beside itself and the tools that it replaces, under load, so
# that sessions are renewed again and again: make soak-wg. Not part of the quick groups.
#
#       namespace a                       namespaces b0 … bN
#     +------------------+              +--------------------------------------+
#     | wg0, wg1 …  ours |==== veth ====| wg0  itself, wireguard-go, boringtun |
#     +------------------+              +--------------------------------------+
#
# Each pair carries one TCP stream at RATE for the whole time, and a ping each 100 ms. In the end:
# no silence of a second, the stream never without a byte in a second, a new session
# every two minutes, memory and descriptors as at the beginning. A device that ends meanwhile is told
# of when it does: its status, its last words, and the kernel's. SOAK_WITH=NAME: only with programs of such a name.
# shellcheck source=lib.sh
. "$(dirname "$0")/lib.sh"
need_netns
need_tun
need wg=wireguard-tools ping=iputils-ping iperf3=iperf3 jq=jq
seconds=${SOAK_SECONDS:-1800} rate=${RATE:-20M}
read -r booted _ </proc/uptime
export PEER_LOG_LEVEL=${PEER_LOG_LEVEL:-info}

others=()
for program in "$BUILD_DIR/harmony-wg" "$(command -v wireguard-go)" \
  "$("$TOP/hack/build-go" --cached wireguard-go 2>/dev/null)" "$("$TOP/hack/build-boringtun" --cached 2>/dev/null)"; do
  [ ! -x "$program" ] || [[ ${program##*/} != *${SOAK_WITH:-}* ]] || others+=("$program")
done
# Two programs may have one name: the newest wireguard-go is in a folder that says so.
name_of() {
  case $1 in */wireguard-go-v*/*) echo "${1##*/}, newest" ;; *) echo "${1##*/}" ;; esac
}

ns_add a
pair() { # NUMBER PROGRAM
  local b=b$1 port=$((51820 + $1)) key
  ns_add "$b"
  veth a "eth$1" "192.0.$1.1/24" "$b" eth0 "192.0.$1.2/24" || return
  (umask 077 && for key in a b; do wg genkey >"$TMP/$key$1.key"; done)
  peer_start a harmony-wg "wg$1" && peer_start "$b" "$2" wg0 || return
  in_ns a wg set "wg$1" private-key "$TMP/a$1.key" listen-port "$port" \
    peer "$(wg pubkey <"$TMP/b$1.key")" allowed-ips "10.$1.0.0/24" endpoint "192.0.$1.2:51820" &&
    in_ns "$b" wg set wg0 private-key "$TMP/b$1.key" listen-port 51820 \
      peer "$(wg pubkey <"$TMP/a$1.key")" allowed-ips "10.$1.0.0/24" endpoint "192.0.$1.1:$port" &&
    in_ns a ip addr add "10.$1.0.1/24" dev "wg$1" && in_ns a ip link set "wg$1" up &&
    in_ns "$b" ip addr add "10.$1.0.2/24" dev wg0 && in_ns "$b" ip link set wg0 up &&
    in_ns a ping -q -c 1 -W 7 "10.$1.0.2" && bg_ns "server$1" "$b" iperf3 -s -1 &&
    within 5 in_ns "$b" sh -c "ss -Htln 'sport = :5201' | grep -q ." || return
  bg_ns "stream$1" a timeout $((seconds + 30)) iperf3 -c "10.$1.0.2" -t "$seconds" -b "$rate" -i 1 -J
  bg_ns "ping$1" a ping -D -O -i 0.1 -w "$seconds" "10.$1.0.2"
}

# kB in memory and descriptors of ours in pair NUMBER
size() { awk '/VmRSS/ {print $2}' "/proc/${BG[peer-a-wg$1]}/status"; }
descriptors() { find "/proc/${BG[peer-a-wg$1]}/fd" -type l | wc -l; }
stat_of() { # NUMBER KEY
  printf 'stats=1\n\n' | in_ns a timeout 5 socat -t 2 - "UNIX-CONNECT:/run/wireguard/wg$1.sock" |
    sed -n "s/^$2=//p"
}

declare -A size0=() fds0=()
for i in "${!others[@]}"; do
  check "$(name_of "${others[i]}"): up" pair "$i" "${others[i]}" || exit
done
sleep 10
for i in "${!others[@]}"; do
  size0[$i]=$(size "$i") fds0[$i]=$(descriptors "$i")
done

# An end by a signal has the status 128 and its number; 139 may be abort(3): docs/wireguard-device.md.
declare -A lost=()
kernel_said() { # of these programs, since the start
  dmesg 2>&1 | awk -F '[][]' -v from="$booted" '/^\[/ && $2 + 0 < from {next}
    /harmony-wg|path\/[0-9]|wireguard|boringtun|[Oo]ut of memory|not permitted/' | tail -n 5 | tr '\n' ' '
}
watch() { # NUMBER
  local name status
  for name in "peer-a-wg$1" "peer-b$1-wg0"; do
    if [ -n "${lost[$name]:-}" ] || ! _gone "${BG[$name]}"; then
      continue
    fi
    wait "${BG[$name]}"
    status=$?
    lost[$name]=$status
    not_ok "$(name_of "${others[$1]}"): $name" "ended after $SECONDS s with status $status; last words: $(tail -n 5 "$TMP/$name.log" | tr '\n' ' '); kernel: $(kernel_said)"
  done
}
streaming() {
  local i
  for i in "${!others[@]}"; do
    _gone "${BG[stream$i]}" || return 0
  done
  return 1
}
while streaming; do
  sleep 1
  for i in "${!others[@]}"; do
    watch "$i"
  done
done
for i in "${!others[@]}"; do
  wait "${BG[stream$i]}" "${BG[ping$i]}"
  unset "BG[stream$i]" "BG[ping$i]"
done

steady() { # NUMBER: no second of the stream was without a byte
  jq -e '[.intervals[].sum.bytes] | length > 5 and min > 0' "$TMP/stream$1.log"
}
answered() { # NUMBER: ten pings in a row without an answer are a second
  awk '/no answer yet/ {if (++n > worst) worst = n} /bytes from/ {n = 0}
    END {print "worst: " worst + 0 " in a row"; exit worst > 9}' "$TMP/ping$1.log"
}
renewed() {
  local n want=$((seconds / 125 + 1))
  n=$(stat_of "$1" sessions)
  echo "$n sessions"
  [ "$n" -ge "$want" ] && [ "$n" -le $((2 * want + 2)) ]
}
as_before() {
  echo "${size0[$1]} kB and ${fds0[$1]} descriptors, then $(size "$1") kB and $(descriptors "$1")"
  [ "$(size "$1")" -le $((size0[$1] + 1024)) ] && [ "$(descriptors "$1")" = "${fds0[$1]}" ]
}
for i in "${!others[@]}"; do
  name=$(name_of "${others[i]}")
  check "$name: the stream never stood still" steady "$i"
  check "$name: answered" answered "$i"
  echo "# $(cat "$TMP/check.out"), $(tail -n 2 "$TMP/ping$i.log" | head -n 1)"
  check "$name: sessions renewed" renewed "$i"
  echo "# $(cat "$TMP/check.out")"
  check "$name: memory and descriptors" as_before "$i"
  echo "# $(cat "$TMP/check.out")"
done
