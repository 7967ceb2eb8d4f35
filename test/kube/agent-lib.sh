# shellcheck shell=bash
# The running agent on nodes that are network namespaces, with its configuration in a real API
# server; for test/kube/agent*.test and the latency measurement.
#
#       namespace a (b, c)                 namespace gw              the machine's own
#     +------------------------+         +-------------------+     +------------------------+
#     | harmony-agent          |         | an ordinary peer  |     | kube-apiserver, etcd   |
#     | wg0 10.100.0.N/24      | == wg = | wg0 10.100.0.1/24 |     | 127.0.0.1:kube_port    |
#     | eth0 192.0.N.2/24 -----+- veth --+- ethN 192.0.N.1   |     +-----------+------------+
#     |                        |         | lo 198.51.100.1   |                 |
#     | 127.0.0.1:kube_port ---+-- socat, a Unix socket, socat -----------------+
#     +------------------------+         +-------------------+
#
#     agent_world                 the API server, the rights of rbac.yaml in namespace vpn, gw
#     agent_node NODE             the next such node; its number is ${number[NODE]}
#     agent_start NAME NODE ARG…  an agent (AGENT, default the build's) with the ServiceAccount's
#                                 token and a state directory $TMP/state-NODE; log $TMP/NAME.log
#     agent_stop NAME [SIGNAL]
#     document NODE… [PEER…]      prints a TOML document with network default for those nodes
#     put_config FILE…            the ConfigMap's entries, put_secret FILE…: the Secret's
#     health NODE JQ              true where the expression is, about /healthz
#     readyz NODE, metric NODE NAME
#     entry NODE                  what the node has published
#     event PATTERN               true where an Event's line (type reason count note) matches
#     about KIND PATTERN          the same of "NAME REASON NODE" of Events about a KIND
#     wg_is NODE IF WHAT VALUE    true where `wg show IF WHAT` has VALUE in it
#     no_secrets NAME FILE…       a case: no private or preshared key in the logs, the Events,
#                                 the published state, status and metrics, the files

# shellcheck source=test/netns/lib.sh
. "$(dirname "${BASH_SOURCE[0]}")/../netns/lib.sh"
# shellcheck source=test/kube/lib.sh
. "$TOP/test/kube/lib.sh"

AGENT=${AGENT:-$BUILD_DIR/harmony-agent}
device=${DEVICE:-wireguard-go}
declare -A number=() pub=()
secrets=() # base64 of every key that must not be seen
agents=()

new_key() { # NAME: $TMP/keys/NAME, ${pub[NAME]}
  wg genkey >"$TMP/keys/$1"
  pub[$1]=$(wg pubkey <"$TMP/keys/$1")
  secrets+=("$(cat "$TMP/keys/$1")")
}

agent_world() {
  need openssl=openssl curl=curl jq=jq socat=socat wg=wireguard-tools ping=iputils-ping
  need_netns
  need_tun
  local why
  if why=$(peer_skip "$device"); then skip_all "$why"; fi
  kube_build 2>"$TMP/build.err"
  case $? in
    0) ;;
    77) skip_all "$(tail -n 1 "$TMP/build.err")" ;;
    *) not_ok build "$(tail -n 1 "$TMP/build.err")" && exit 1 ;;
  esac
  umask 077
  kube_dir=$TMP/kube
  mkdir -p "$kube_dir" "$TMP/keys"
  at_exit kube_down
  if ! kube_up 2>"$TMP/up.err"; then
    not_ok api-server "$(tail -n 3 "$TMP/up.err" | tr '\n' '|')"
    exit 1
  fi
  api_door
  kube create ns vpn >/dev/null
  sed 's/NAMESPACE/vpn/' "$TOP/test/kube/rbac.yaml" | kube apply -f - >/dev/null
  cat >"$TMP/kubeconfig" <<END
apiVersion: v1
kind: Config
clusters: [{name: c, cluster: {certificate-authority: $kube_dir/pki/ca.crt, server: "$kube_server"}}]
users: [{name: agent, user: {token: $(kube_token vpn harmony-agent)}}]
contexts: [{name: c, context: {cluster: c, user: agent, namespace: vpn}}]
current-context: c
END
  ns_add gw
  in_ns gw ip addr add 198.51.100.1/32 dev lo
  new_key gw
  gateway_up || exit 1
}

# Where the nodes get to the API server.
api_door() {
  bg api socat "UNIX-LISTEN:$TMP/api.sock,fork,mode=600" "TCP:127.0.0.1:$kube_port"
  within 5 test -S "$TMP/api.sock"
}

gateway_up() {
  peer_start gw "$device" wg0 || return
  in_ns gw wg set wg0 private-key "$TMP/keys/gw" listen-port 51820 &&
    in_ns gw ip addr add 10.100.0.1/24 dev wg0 && in_ns gw ip link set wg0 up mtu 1420
}

gateway_knows() { # KEY NUMBER
  in_ns gw wg set wg0 peer "${pub[$1]}" allowed-ips "10.100.0.$2/32"
}

agent_node() {
  local n=$((${#number[@]} + 2))
  number[$1]=$n
  ns_add "$1"
  veth "$1" eth0 "192.0.$n.2/24" gw "eth$n" "192.0.$n.1/24"
  in_ns "$1" ip route add 198.51.100.1 via "192.0.$n.1"
  bg_ns "door-$1" "$1" socat "TCP-LISTEN:$kube_port,bind=127.0.0.1,fork,reuseaddr" "UNIX:$TMP/api.sock"
  new_key "$1"
  gateway_knows "$1" "$n"
}

agent_start() { # NAME NODE ARG…
  local name=$1 node=$2
  shift 2
  local args=(--kubeconfig "$TMP/kubeconfig")
  case " $* " in *" --kubeconfig "* | *" --in-cluster "*) args=() ;; esac
  agents+=("$name")
  case " $* " in
    *" --in-cluster "*) in_cluster "$name" "$node" "${@/--in-cluster/--no-nft}" ;;
    *)
      bg_ns "$name" "$node" "$AGENT" up --node-name "$node" --no-nft --userspace "$(_peer_program "$device")" \
        --state-dir "$TMP/state-$node" --log-format json --log-level debug "${args[@]}" "$@"
      ;;
  esac
}

# As in a pod: the environment and the mounted folder, $TMP/pod-NODE, where Kubernetes has it.
in_cluster() { # NAME NODE ARG…
  local name=$1 node=$2 dir=/run/secrets/kubernetes.io/serviceaccount
  shift 2
  # shellcheck disable=SC2016 # expanded by the inner shell
  bg_ns "$name" "$node" env KUBERNETES_SERVICE_HOST=127.0.0.1 KUBERNETES_SERVICE_PORT="$kube_port" \
    unshare -m --propagation private bash -c 'dir=$1 pod=$2; shift 2
      mount -t tmpfs -o mode=0755 tmpfs /run/secrets 2>/dev/null ||
        { mkdir -p /run/secrets && mount -t tmpfs tmpfs /run/secrets; }
      mkdir -p "$dir" && mount --bind "$pod" "$dir" && exec "$@"' - "$dir" "$TMP/pod-$node" \
    "$AGENT" up --node-name "$node" --userspace "$(_peer_program "$device")" \
    --state-dir "$TMP/state-$node" --log-format json --log-level debug "$@"
}

agent_stop() { # its status counts: a sanitizer's finding at the end is one
  bg_stop "$1" "${2:-TERM}" && return
  not_ok "ends-$1" "status $?: $(tail -n 3 "$TMP/$1.log" | tr '\n' '|' | cut -c1-600)"
}
# shellcheck disable=SC2034 # for the tests
usual=(--kube-secret harmony-agent-keys --kube-configmap harmony-agent-config
  --kube-publish harmony-agent-nodes)

# document [-h HEAD] NODE…: HEAD are lines of the network's own table.
document() {
  local head='' node
  if [ "${1:-}" = -h ]; then
    head=$2
    shift 2
  fi
  printf '[network.default]\nmtu = 1420\n%s\n' "$head"
  for node; do
    printf '[network.default.nodes."%s"]\naddresses = ["10.100.0.%s/24"]\nprivate_key_secret = "%s.key"\n' \
      "$node" "${number[$node]}" "$node"
  done
  gateway_peer
}

gateway_peer() {
  printf '[[network.default.peers]]\nname = "gateway"\npublic_key = "%s"\nendpoint = "198.51.100.1:51820"\n' \
    "${pub[gw]}"
  printf 'allowed_ips = ["10.100.0.1/32"]\npersistent_keepalive_secs = 5\nrequired = true\n'
}

peer_of() { # KEY ALLOWED-IP
  printf '[[network.default.peers]]\nname = "%s"\npublic_key = "%s"\nallowed_ips = ["%s"]\n' "$1" "${pub[$1]}" "$2"
}

_put() { # KIND NAME FILE…: FILE or ENTRY=FILE
  local kind=$1 name=$2 f args=()
  shift 2
  for f; do args+=("--from-file=$f"); done
  # shellcheck disable=SC2086 # two words
  kube -n vpn create $kind "$name" --dry-run=client -o yaml "${args[@]}" |
    kube -n vpn replace --force=false -f - >/dev/null 2>&1 ||
    kube -n vpn create $kind "$name" "${args[@]}" >/dev/null
}
put_config() { _put configmap harmony-agent-config "$@"; }
put_secret() { _put "secret generic" harmony-agent-keys "$@"; }

http() { in_ns "$1" curl -s --max-time 3 "http://127.0.0.1:9586$2"; }
# Slurped: of no answer at all jq 1.6 says that it is so.
health() { http "$1" '/healthz?always' | jq -es "length == 1 and (.[0] | $2)" >/dev/null; }
readyz() { http "$1" /readyz; }
ready() { [ "$(readyz "$1")" = ok ]; }
says() { readyz "$1" | grep -q -- "$2"; }
metric() { http "$1" /metrics | awk -v n="$2" '$1 == n {print $2}'; }
metric_is() { [ "$(metric "$1" "$2")" = "$3" ]; }
entry() { kube -n vpn get configmap harmony-agent-nodes -o jsonpath="{.data.$1}"; }
entry_has() { entry "$1" | grep -qF -- "$2"; }
entry_lacks() { ! entry_has "$1" "$2"; }
events() {
  kube -n vpn get events.v1.events.k8s.io \
    -o jsonpath='{range .items[*]}{.type} {.reason} {.series.count} {.reportingInstance} {.note}{"\n"}{end}'
}
about() { # KIND PATTERN of "NAME REASON INSTANCE"
  kube -n vpn get events.v1.events.k8s.io -o json | jq -r --arg k "$1" '.items[] | select(.regarding.kind == $k)
    | "\(.regarding.name) \(.reason) \(.reportingInstance)"' | grep -q -- "$2"
}
event() { events | grep -q -- "$1"; }
logged() { grep -q -- "$2" "$TMP/$1.log"; }
wg_is() { in_ns "$1" wg show "$2" "$3" 2>/dev/null | grep -qF -- "$4"; }
wg_lacks() { in_ns "$1" wg show "$2" "$3" >"$TMP/lacks" && ! grep -qF -- "$4" "$TMP/lacks"; }
pings() { in_ns "$1" ping -c 1 -W 2 -q 10.100.0.1 >/dev/null; }
no_link() { ! in_ns "$1" ip link show "$2" >/dev/null 2>&1; }

# Traffic through the tunnel in the background, and a case that none of it was lost.
traffic() { bg_ns "traffic-$1" "$1" ping -n -i "${2:-0.1}" -W 2 10.100.0.1; }
no_loss() { # CASE NODE
  local summary
  bg_stop "traffic-$2" INT
  summary=$(grep 'packets transmitted' "$TMP/traffic-$2.log")
  # The last one may be on its way when ping is ended.
  if awk '{exit !($1 > 5 && $1 - $4 <= 1)}' <<<"$summary"; then
    ok "$1"
    echo "# $summary"
  else
    not_ok "$1" "$summary"
  fi
}

no_secrets() { # CASE FILE…
  local name=$1 seen=$TMP/seen k hex node
  shift
  {
    events
    kube -n vpn get configmap harmony-agent-nodes -o yaml
    for node in "${!number[@]}"; do
      http "$node" '/healthz?always'
      http "$node" /metrics
      in_ns "$node" "$AGENT" status --json
    done
    for k in "${agents[@]}"; do cat "$TMP/$k.log"; done
    cat /dev/null "$@"
  } >"$seen" 2>&1
  for k in "${secrets[@]}"; do
    hex=$(base64 -d <<<"$k" | od -An -v -tx1 | tr -d ' \n')
    # A part of a key is too much too.
    if grep -qF -e "${k:0:12}" -e "$(base64 -w 0 <<<"$k" | cut -c1-20)" "$seen" || grep -qiF -e "${hex:0:16}" "$seen"; then
      not_ok "$name" "a key was seen: $(grep -F -m 1 "${k:0:12}" "$seen" | cut -c1-200)"
      return
    fi
  done
  ok "$name"
}
