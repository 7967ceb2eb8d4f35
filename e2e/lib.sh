# shellcheck shell=bash
#
# What e2e/*.test share: test/common.sh, and the cluster of e2e/cluster (e2e/site.sh draws it). A
# test leaves the cluster as it found it: no release, no object of its own, no tunnel on a node.
#
#   $NODES                     the nodes that are up, by number: "1 2 3"
#   gateway_up, gateway_down   the gateway's devices wg0 (10.100.0.1, port 51820) and wg1
#                              (10.101.0.1, 51821), by another implementation of WireGuard
#   gateway_learn [SECONDS [NETWORK]]   makes the nodes its peers, by the public keys that they
#                              publish within so long; of `default` (wg0) or another network (wg1)
#   gateway_knows I COMMAND…   makes the nodes peers of wgI, by the keys that COMMAND N prints
#   server_up                  behind the gateway, 10.42.0.2: port 7 echoes, 5001 sends 20 MB
#   published NETWORK N        the public key that node N has published for a network
#   addresses I LENGTH         the nodes' parts of network I, with an address for each
#   values [JQ]                the chart's values for a network `default` on every node, changed by that
#   install [JQ [ARGS…]]       helm upgrade --install with those values
#   agent_pod N                the name of the agent's pod on node N
#   ready N, not_ready N       whether that pod is; all_ready; restarts: of all containers of all
#   processes N UID NAME       of a pod, by their name, as node N sees them
#   untaint                    takes off what only agent.test's agents take off
#   traffic_start N ADDRESS    20 packets a second from the node; traffic_stop N prints
#                              "SENT LOST", of all but the last second's, which may be on their way
#   tools_pod NAME NODE APP    a manifest of a pod with a shell, ping, curl, socat
#   key WG-INTERFACE           the gateway's public key

TEST_DIR=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)
# shellcheck source=../test/common.sh
. "$TEST_DIR/../test/common.sh"
# shellcheck source=site.sh
. "$TEST_DIR/site.sh"

[ -n "$(pid_in "$E2E_DIR/site.pid")" ] || skip_all "no cluster is up: make e2e, or e2e/cluster up"
NODES=$(cd "$E2E_DIR" && echo node[0-9]* | tr -d 'node')
chart=$TOP/charts/harmony-agent
ns=harmony-system
E2E=${E2E:-all} # core: shorter outages
app=app.kubernetes.io/name=harmony-agent

# The kubelets register their nodes with a taint, which agent.test has the agent remove. Alone, another
# test has to.
untaint() { kubectl taint nodes --all harmony-agent/not-ready- >/dev/null 2>&1; }

# --- the other end ---

gateway_up() {
  local i
  for i in 0 1; do
    [ -s "$E2E_DIR/gateway$i.key" ] || (umask 077 && wg genkey >"$E2E_DIR/gateway$i.key")
    # Ends with the site, or by gateway_down.
    in_net gateway setsid -f env LOG_LEVEL=error WG_PROCESS_FOREGROUND=1 sh -c \
      'echo $$ >"$1" && exec wireguard-go -f "$2"' sh "/run/gateway$i.pid" "wg$i" \
      >"$E2E_DIR/gateway$i.log" 2>&1 </dev/null
    within 5 in_net gateway wg show "wg$i" || return
    in_net gateway wg set "wg$i" private-key "$E2E_DIR/gateway$i.key" listen-port $((51820 + i))
    in_net gateway ip addr add "10.10$i.0.1/24" dev "wg$i"
    in_net gateway ip link set "wg$i" mtu 1420 up
    [ ! -s "$E2E_DIR/gateway$i.peers" ] || in_net gateway wg addconf "wg$i" "$E2E_DIR/gateway$i.peers"
  done
}

gateway_down() {
  local i
  for i in 0 1; do
    in_site sh -c '[ ! -s "$1" ] || kill -KILL "$(cat "$1")" 2>/dev/null; rm -f "$1" /run/wireguard/wg*' sh "/run/gateway$i.pid"
  done
}

key() { wg pubkey <"$E2E_DIR/gateway${1#wg}.key"; }

# published NETWORK N: the node's public key, as it has published it.
published() {
  kubectl -n $ns get configmap harmony-agent-nodes -o json |
    jq -rse --arg n "node$2" --arg w "$1" '.[0].data[$n] | fromjson | .keys[$w] // empty'
}

gateway_knows() {
  local i=$1 n public
  shift
  for n in $NODES; do
    public=$("$@" "$n") || return
    printf '[Peer]\nPublicKey = %s\nAllowedIPs = 10.10%s.0.1%s/32\n' "$public" "$i" "$n"
  done >"$E2E_DIR/gateway$i.peers"
  in_net gateway wg syncconf "wg$i" <(
    printf '[Interface]\nPrivateKey = %s\nListenPort = %s\n' "$(cat "$E2E_DIR/gateway$i.key")" $((51820 + i))
    cat "$E2E_DIR/gateway$i.peers"
  )
}
gateway_learn() {
  local n i=0 network=${2:-default}
  [ "$network" = default ] || i=1
  for n in $NODES; do within "${1:-30}" published "$network" "$n" || return; done
  gateway_knows $i published "$network"
}

server_up() {
  [ -e "$E2E_DIR/20MB" ] || head -c 20000000 /dev/urandom >"$E2E_DIR/20MB"
  in_net server setsid -f socat TCP-LISTEN:7,fork,reuseaddr EXEC:cat >/dev/null 2>&1 </dev/null
  # The file second: it is opened for each connection.
  in_net server setsid -f socat -U TCP-LISTEN:5001,fork,reuseaddr "OPEN:$E2E_DIR/20MB,rdonly" >/dev/null 2>&1 </dev/null
}

# --- the agent ---

# addresses I LENGTH: the nodes' parts of a network, with an address for each.
addresses() {
  # shellcheck disable=SC2086 # words
  printf '%s\n' $NODES | jq -nRc --arg i "$1" --arg l "$2" '[inputs | {("node" + .): {address: "10.10\($i).0.1\(.)/\($l)"}}] | add'
}

# values [JQ-EXPRESSION]: JSON, changed by the expression.
values() {
  jq -n --argjson nodes "$(addresses 0 24)" --arg key "$(key wg0)" --arg endpoint "$gateway_ip:51820" '{
    image: {repository: "harmony.test/harmony-agent", tag: "e2e"},
    taint: {enabled: true}, readinessGate: {enabled: true},
    networks: {default: {forward: true, masquerade: true, nodes: $nodes, peers: [{name: "gateway",
      public_key: $key, endpoint: $endpoint, allowed_ips: ["10.100.0.1/32", "10.42.0.0/16"],
      persistent_keepalive_secs: 1, stale_after_secs: 5}]}}}' | jq "${1:-.}"
}

# install [JQ-EXPRESSION [HELM-ARGS…]]
install() {
  local change=${1:-.}
  [ $# -eq 0 ] || shift
  values "$change" >"$TMP/values.json"
  helm upgrade --install harmony-agent "$chart" -n $ns --create-namespace -f "$TMP/values.json" "$@"
}

# What a failed test may leave.
uninstall() {
  helm uninstall harmony-agent -n $ns --wait --ignore-not-found
  local n
  for n in $NODES; do
    in_node "$n" sh -c 'for i in wg0 wg1; do ip link del $i; done; nft delete table inet harmony
      rm -rf /var/lib/harmony-agent/*' >/dev/null 2>&1
  done
}

agent_pod() {
  kubectl -n $ns get pods -l $app --field-selector "spec.nodeName=node$1" -o json |
    jq -rse '[.[0].items[] | select(.metadata.deletionTimestamp | not)][0].metadata.name'
}
pod_is() { # POD NAMESPACE True|False
  [ "$(kubectl -n "$2" get pod "$1" -o jsonpath='{.status.conditions[?(@.type=="Ready")].status}')" = "$3" ]
}
processes() {
  in_node "$1" bash -c 'for p in $(grep -ls "$1" /proc/[0-9]*/cgroup); do
    p=${p%/cgroup}
    [ "$(cat $p/comm)" != "$2" ] || echo ${p#/proc/}
  done' bash "$2" "$3" 2>/dev/null
}
ready() { pod_is "$(agent_pod "$1")" $ns True; }
not_ready() { pod_is "$(agent_pod "$1")" $ns False; }
all_ready() {
  local n
  for n in $NODES; do ready "$n" || return; done
}
restarts() { # of all containers
  kubectl -n $ns get pods -l $app -o json | jq '[.items[].status.containerStatuses[].restartCount] | add'
}

# --- pods of the test's own ---

# tools_pod NAME NODE APP: a manifest.
tools_pod() {
  cat <<END
---
apiVersion: v1
kind: Pod
metadata: {name: $1, labels: {app: $3}}
spec:
  nodeName: $2
  terminationGracePeriodSeconds: 0
  containers:
  - {name: tools, image: "harmony.test/tools:1", imagePullPolicy: IfNotPresent, command: [sleep, "100000"]}
END
}

# --- traffic of a node itself ---

traffic_start() {
  in_node "$1" sh -c 'env --default-signal=INT ping -n -i 0.05 "$1" >/run/traffic 2>&1 </dev/null &
    echo $! >/run/traffic.pid' sh "$2"
}
# By the numbers that were not answered, not by ping's own sum: the packets of the last second are on
# their way perhaps. Of what a caller wants counted the last has to be a second old.
traffic_stop() {
  in_node "$1" sh -c 'kill -INT "$(cat /run/traffic.pid)"; sleep 0.3; cat /run/traffic' >"$TMP/traffic$1"
  awk '/bytes from/ && match($0, /icmp_seq=[0-9]+/) {answered[substr($0, RSTART + 9, RLENGTH - 9) + 0] = 1}
    /packets transmitted/ {
      sent = $1 > 20 ? $1 - 20 : 0
      for (i = 1; i <= sent; i++) if (!(i in answered)) lost++
      print sent, lost + 0
    }' "$TMP/traffic$1"
}
