# shellcheck shell=bash
#
# What the cluster's scripts and its tests share: where everything is, and how a command gets
# there. Sourced by e2e/cluster and e2e/lib.sh.
#
#   site namespaces (net, mount, pid, uts, ipc): everything below lives and dies with their init
#   +---------------------------------------------------------------------------------------+
#   |  node1 10.200.0.1      node2 10.200.0.2      node3 10.200.0.3     gateway 10.200.0.100  |
#   |  control plane         namespaces of its     a QEMU machine:      an ordinary peer      |
#   |  and kubelet; pods     own; pods             kernel WireGuard;        | 10.42.0.1       |
#   |  10.244.0.0/24         10.244.1.0/24         pods 10.244.2.0/24       | 10.42.0.2       |
#   |      |                      |                     |               server                |
#   |      +------------------ bridge lan0 -------------+---------------- (behind the tunnel) |
#   +---------------------------------------------------------------------------------------+
#
# The bridge is in a network namespace without a node: in a node's, br_netfilter would send its
# frames through that node's connection tracking a second time.
#
#   in_site COMMAND…        in the site's namespaces
#   in_node N COMMAND…      in node N, as root; N 3 is the machine: a line for its shell
#   in_net NAME COMMAND…    in the network namespace gateway or server
#   kubectl ARGS…, helm ARGS…       as the cluster's admin

TOP=${TOP:-$(cd "$(dirname "${BASH_SOURCE[0]}")/.." && pwd)}
E2E_DIR=${E2E_DIR:-/var/tmp/harmony-e2e}
E2E_CACHE=${HARMONY_CACHE:-${XDG_CACHE_HOME:-$HOME/.cache}/harmony-agent}
lan=10.200.0
pods=10.244.0.0/16
services=10.96.0.0/16
cluster_dns=10.96.0.10 # what pods are told; whether somebody answers there is a test's matter
gateway_ip=$lan.100
cgroup=harmony-e2e

node_ip() { echo "$lan.$1"; }
node_pods() { echo "10.244.$(($1 - 1)).0/24"; }
node_dir() { echo "$E2E_DIR/node$1"; }
is_machine() { [ -e "$E2E_DIR/node$1/machine" ]; }

# PID-FILE: the pid in it, if that process lives.
pid_in() {
  local pid
  pid=$(cat "$1" 2>/dev/null) && [ -d "/proc/${pid:-none}" ] && echo "$pid"
}

in_site() { nsenter -t "$(cat "$E2E_DIR/site.pid")" -m -n -p -u -i -- "$@"; }
in_net() { in_site ip netns exec "$@"; }

in_node() {
  local n=$1
  shift
  if is_machine "$n"; then
    machine_shell "$n" "$(printf '%q ' "$@")"
  else
    nsenter -t "$(cat "$E2E_DIR/node$n/pid")" -m -n -p -u -i -- "$@"
  fi
}

# The machine answers on its own port of the closed network with a shell; its last line is the status.
machine_shell() { # N LINE
  local out status
  out=$(printf '%s\necho "status $?"\nexit\n' "$2" |
    in_net gateway busybox nc -w "${MACHINE_WAIT:-60}" "$(node_ip "$1")" 2323)
  status=$(sed -n '$s/^status //p' <<<"$out")
  sed '$d' <<<"$out"
  return "${status:-255}"
}

# Only the network is node 1's: files are this machine's.
in_node1_net() { nsenter -t "$(cat "$E2E_DIR/node1/pid")" -n -- "$@"; }
kubectl() {
  HOME=$E2E_DIR/home in_node1_net "$E2E_DIR/bin/kubectl" --kubeconfig="$E2E_DIR/admin.conf" "$@"
}
helm() {
  HOME=$E2E_DIR/home KUBECONFIG=$E2E_DIR/admin.conf in_node1_net "$E2E_DIR/bin/${HELM:-helm3}" "$@"
}
