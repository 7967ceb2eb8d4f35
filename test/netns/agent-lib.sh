# shellcheck shell=bash
#
# What the tests of the running agent share: lib.sh, and a node with an agent beside an ordinary
# peer that wg(8) has set up.
#
#       namespace node                            namespace gw
#     +----------------------------+            +-----------------------------+
#     | harmony-agent              |            | wireguard-go                |
#     | wg0 10.100.0.2/24          | == wg ==== | wg0 10.100.0.1/24           |
#     |     fd64::2/64             |            |     fd64::1/64              |
#     | eth0 192.0.2.2/24 ---------+--- veth ---+--- eth0 192.0.2.1/24        |
#     +----------------------------+            +-----------------------------+
#
#     AGENT=path        the agent under test (default $BUILD_DIR/harmony-agent), also one built
#                       with sanitizers
#     DEVICE=program    the userspace device at both ends: wireguard-go (default; harmony-wg in a
#                       sanitizer's build), harmony-wg, boringtun-cli
#
#     topology               the two namespaces, the keys, and the gateway's device
#     config [EXTRA]         writes $conf: one peer, `gw`, with EXTRA lines in its network
#     agent_up [OPTION…]     the agent with $conf, until it answers; its log is $TMP/agent.log
#     agent_end [SIGNAL]     ends it; its exit status
#     log_has, log_count     fixed strings in the log
#     http PATH, http_code PATH, metric NAME, ready_is CODE, field JQ (of /healthz)
#     ping_start [TARGET]    pings twenty times a second until
#     ping_lost              prints how many of them were lost; `lossless` wants none

# shellcheck source=lib.sh
. "$(dirname "${BASH_SOURCE[0]}")/lib.sh"

AGENT=$(realpath -m "${AGENT:-$BUILD_DIR/harmony-agent}")
sanitized && DEVICE=${DEVICE:-harmony-wg}
DEVICE=${DEVICE:-wireguard-go}
device=$(_peer_program "$DEVICE")
conf=$TMP/net.toml
umask 077

need_agent() {
  need_netns
  need_tun
  need wg=wireguard-tools curl=curl jq=jq ping=iputils-ping nft=nftables "$@"
  peer_skip "$DEVICE" >"$TMP/skip" && skip_all "$(cat "$TMP/skip")"
  [ -x "$AGENT" ] || {
    not_ok "$TEST_NAME" "$AGENT is not built: make"
    exit 1
  }
}

keypair() { # NAME: $TMP/NAME.key, ${pub[NAME]}
  wg genkey >"$TMP/$1.key"
  pub[$1]=$(wg pubkey <"$TMP/$1.key")
}
declare -A pub=()

gw_up() {
  peer_start gw "$device" wg0 || return
  in_ns gw wg set wg0 private-key "$TMP/gw.key" listen-port 51820 \
    peer "${pub[node]}" allowed-ips 10.100.0.2/32,fd64::2/128 || return
  in_ns gw ip addr add 10.100.0.1/24 dev wg0
  in_ns gw ip addr add fd64::1/64 dev wg0 nodad
  in_ns gw ip link set wg0 mtu 1420 up
}

topology() {
  ns_add node
  ns_add gw
  veth node eth0 192.0.2.2/24,2001:db8::2/64 gw eth0 192.0.2.1/24,2001:db8::1/64 || exit 1
  keypair node
  keypair gw
  keypair other
  gw_up || exit 1
}

config_net() { # EXTRA lines of the network
  cat <<TOML
[network.default]
addresses = ["10.100.0.2/24", "fd64::2/64"]
private_key_path = "$TMP/node.key"
mtu = 1420
${1:-}
TOML
}
config_gw() { # EXTRA lines of the peer
  cat <<TOML
[[network.default.peers]]
name = "gw"
public_key = "${pub[gw]}"
endpoint = "${endpoint:-192.0.2.1:51820}"
allowed_ips = [${allowed:-\"10.100.0.1/32\", \"fd64::1/128\"}]
persistent_keepalive_secs = 2
${1:-}
TOML
}
config_other() { # EXTRA lines of the peer
  cat <<TOML
[[network.default.peers]]
name = "other"
public_key = "${pub[other]}"
endpoint = "192.0.2.99:51820"
allowed_ips = ["10.99.0.0/24"]
required = false
${1:-}
TOML
}
# Renamed into place, as an editor or a tool would.
install_config() { cat >"$TMP/.new" && mv "$TMP/.new" "${1:-$conf}"; }
config() {
  { config_net "${1:-}" && config_gw "${2:-}"; } | install_config
}
config_two() {
  { config_net "${1:-}" && config_gw && config_other "${2:-}"; } | install_config
}

# The log goes to a file of its own that grows over restarts: $TMP/agent.log is of the last one.
agent_start() {
  cat "$TMP/agent.log" >>"$TMP/agent.all" 2>/dev/null
  bg_ns agent node "$AGENT" up --userspace "$device" --state-dir "$TMP/state" \
    --node-name node --log-format json "$@"
}
agent_up() {
  agent_start --config "$conf" "$@"
  within 15 http_code_is /livez 200 && within 15 applied && return
  echo "agent_up: $(tail -n 3 "$TMP/agent.log")"
  return 1
}
agent_end() { bg_stop agent "${1:-TERM}"; }
agent_pid() { echo "${BG[agent]}"; }
applied() { [ "$(field '.generation == .applied_generation and .generation > 0')" = true ]; }

log_has() { grep -qF -- "$1" "$TMP/agent.log"; }
log_count() { grep -cF -- "$1" "$TMP/agent.log"; }
http() { in_ns node curl -s --max-time 5 "http://127.0.0.1:9586$1"; }
http_code() { in_ns node curl -s --max-time 5 -o /dev/null -w '%{http_code}' "http://127.0.0.1:9586$1"; }
http_code_is() { [ "$(http_code "$1")" = "$2" ]; }
ready_is() { http_code_is /readyz "$1"; }
field() { http '/healthz?always' | jq -r "$1"; }
field_is() { [ "$(field "$1")" = "$2" ]; }
field_has() { field "$1" | grep -qF -- "$2"; }
metric() { http /metrics | awk -v n="$1" 'index($0, n " ") == 1 {print $NF; f = 1} END {exit !f}'; }
metric_is() { [ "$(metric "$1")" = "$2" ]; }
drift_is() { metric_is "harmony_agent_drift_total{kind=\"$1\"}" "$2"; }
reload() { kill -HUP "$(agent_pid)"; }

up_is() { in_ns node ip link show "${1:-wg0}" up | grep -q "${1:-wg0}"; }
handshake() { in_ns node wg show wg0 latest-handshakes | awk -v k="${1:-${pub[gw]}}" '$1 == k && $2 > 0 {f = 1} END {exit !f}'; }
handshake_time() { in_ns node wg show wg0 latest-handshakes | awk -v k="${pub[gw]}" '$1 == k {print $2}'; }
reaches() { in_ns node ping -c 1 -W 1 "${1:-10.100.0.1}"; }
has_peer() { in_ns node wg show wg0 peers | grep -qxF "$1"; }
no_peer() { ! has_peer "$1"; }
allows() { in_ns node wg show wg0 allowed-ips | grep -F "$1" | grep -qF "$2"; }
ip_has() { # WORDS… -- TEXT
  local words=()
  while [ "$1" != -- ]; do
    words+=("$1")
    shift
  done
  in_ns node ip "${words[@]}" | grep -qF -- "$2"
}
ip_lacks() { ! ip_has "$@"; }
no_link() { ! in_ns node ip link show "$1" >/dev/null 2>&1; }
# Repaired within SECONDS (a fraction may be given): prints how long it took.
repaired() { # SECONDS COMMAND…
  local limit_ms start ms
  limit_ms=$(awk -v s="$1" 'BEGIN {print int(s * 1000)}')
  start=$(date +%s%N)
  shift
  within 15 "$@" || {
    echo "not repaired in 15 s: $*"
    return 1
  }
  ms=$((($(date +%s%N) - start) / 1000000))
  [ "$ms" -le "$limit_ms" ] || {
    echo "repaired after $ms ms only"
    return 1
  }
}

# Of what `changing` has made: by the log, which is written behind each operation.
repaired_in() { # SECONDS COMMAND…
  local limit=$1 ms
  shift
  within 15 "$@" || {
    echo "not repaired in 15 s: $*"
    return 1
  }
  # The last line may be a moment behind what it tells of.
  within 3 repaired_ms
  ms=$(repaired_ms) || {
    echo "repaired, but the log does not say so"
    return 1
  }
  echo "$limit $ms" >>"$TMP/repairs"
  sanitized && limit=$((limit * 2)) # whose looks take several times as long
  [ "$ms" -le $((limit * 1000)) ] || {
    echo "repaired after $ms ms only"
    return 1
  }
}
repairs() { # the slowest of each limit, for the record
  awk '{if ($2 > slowest[$1]) slowest[$1] = $2; n[$1]++}
    END {for (l in n) print "# " n[l] " repairs within " l " s: the slowest after " slowest[l] " ms"}' "$TMP/repairs"
}

ping_start() {
  bg_stop ping KILL
  bg_ns ping node ping -i 0.05 -D "${1:-10.100.0.1}"
}
# Counted between the first answer and one that comes after now: those behind it are on their way.
_answers() { grep -c 'bytes from' "$TMP/ping.log"; }
_more_answers() { [ "$(_answers)" -gt "$1" ]; }
ping_lost() {
  within 5 _more_answers "$(($(_answers) + 1))" || {
    echo "no answer any more"
    return
  }
  kill -INT "${BG[ping]}" 2>/dev/null
  ping_gaps "$TMP/ping.log"
}
lossless() {
  local n
  n=$(ping_lost)
  bg_stop ping KILL
  [ "$n" = 0 ] || {
    echo "$n packets lost: $(tail -n 3 "$TMP/ping.log")"
    return 1
  }
}

# No key that this run has made may be in anything that was written, in base64 or in hex.
no_key_in() { # FILES…
  local k hex
  for k in "$TMP"/*.key "$TMP"/*.psk "$TMP"/state/*.key; do
    [ -s "$k" ] || continue
    hex=$(base64 -d <"$k" | od -An -v -tx1 | tr -d ' \n')
    if grep -lFi -e "$(cat "$k")" -e "$hex" "$@"; then
      echo "the key $k is in it"
      return 1
    fi
  done
}
