# shellcheck shell=bash
# An API server for tests: etcd and kube-apiserver on loopback, with real TLS, RBAC and
# ServiceAccount tokens, in a folder that is taken away again. For sourcing by bash.
#
#   . test/kube/lib.sh
#   kube_build || …                  # 77: cannot be built here, the reason is on stderr
#   kube_dir=$(mktemp -d); trap kube_down EXIT
#   kube_up                          # about 3 s; then:
#   kube get nodes                   # kubectl as the cluster's admin
#   kube_token NS SERVICEACCOUNT [SECONDS]          # prints a bound token
#   kube_mount DIR NS SERVICEACCOUNT [SECONDS]      # token, ca.crt, namespace as in a pod
#   kube_mount_again DIR …           # the same, by the swap of ..data as a kubelet does it
#   kube_stop_api, kube_start_api    # a restart on the same port, the data stays
#   kube_down                        # ends what kube_up started, by process id, and its folder
#
# Set by kube_up: kube_port, kube_server, kube_etcd_port, kube_admin (a kubeconfig file),
# kube_api_pid, kube_etcd_pid. Needs openssl; `kube_dir` is the caller's.

kube_top=$(cd "$(dirname "${BASH_SOURCE[0]}")/../.." && pwd)
kube_api_pid='' kube_etcd_pid=''

kube_build() {
  kube_bin=$("$kube_top/test/kube/build.sh" etcd kube-apiserver kubectl)
}

# A port that nobody listens on now. Between this and its use somebody may take it, so whoever
# starts a server tries again with another one.
kube_free_port() {
  local p
  for _ in 1 2 3 4 5 6 7 8 9 10; do
    p=$((20000 + (RANDOM * 32768 + RANDOM) % 12000))
    if ! (exec 3<>"/dev/tcp/127.0.0.1/$p") 2>/dev/null; then
      echo "$p"
      return
    fi
  done
  return 1
}

kube_ca() { # NAME SUBJECT
  openssl req -x509 -newkey ec -pkeyopt ec_paramgen_curve:P-256 -nodes -days 30 -subj "$2" \
    -addext basicConstraints=critical,CA:true -addext keyUsage=critical,keyCertSign,cRLSign \
    -keyout "$kube_dir/pki/$1.key" -out "$kube_dir/pki/$1.crt" 2>/dev/null
}

kube_cert() { # NAME CA SUBJECT serverAuth|clientAuth; KUBE_SAN: a server's names
  local d=$kube_dir/pki san=${KUBE_SAN:-DNS:localhost,DNS:kubernetes.default.svc,IP:127.0.0.1}
  openssl req -new -newkey ec -pkeyopt ec_paramgen_curve:P-256 -nodes -subj "$3" \
    -keyout "$d/$1.key" -out "$d/$1.csr" 2>/dev/null
  {
    echo "keyUsage=critical,digitalSignature"
    echo "extendedKeyUsage=$4"
    [ "$4" != serverAuth ] || echo "subjectAltName=$san"
  } >"$d/$1.ext"
  openssl x509 -req -in "$d/$1.csr" -CA "$d/$2.crt" -CAkey "$d/$2.key" -days 30 \
    -set_serial "0x$(openssl rand -hex 8)" -extfile "$d/$1.ext" -out "$d/$1.crt" 2>/dev/null
  rm -f "$d/$1.csr" "$d/$1.ext"
}

kube_pki() {
  mkdir -p "$kube_dir/pki"
  kube_ca ca /CN=test-ca
  kube_cert apiserver ca /CN=kube-apiserver serverAuth
  kube_cert admin ca /O=system:masters/CN=admin clientAuth
  openssl genrsa -out "$kube_dir/pki/sa.key" 2048 2>/dev/null
  openssl rsa -in "$kube_dir/pki/sa.key" -pubout -out "$kube_dir/pki/sa.pub" 2>/dev/null
}

kube_start_etcd() {
  local peer
  kube_etcd_port=$(kube_free_port) peer=$(kube_free_port)
  setpriv --pdeathsig KILL "$kube_bin/etcd" --name e --data-dir "$kube_dir/etcd" \
    --listen-client-urls "http://127.0.0.1:$kube_etcd_port" \
    --advertise-client-urls "http://127.0.0.1:$kube_etcd_port" \
    --listen-peer-urls "http://127.0.0.1:$peer" --initial-advertise-peer-urls "http://127.0.0.1:$peer" \
    --initial-cluster "e=http://127.0.0.1:$peer" --unsafe-no-fsync --log-level warn \
    >"$kube_dir/etcd.log" 2>&1 &
  kube_etcd_pid=$!
}

# Starts it on kube_port and waits until it is ready: at most 60 s on a busy machine.
kube_start_api() {
  local d=$kube_dir/pki
  # shellcheck disable=SC2086 # KUBE_API_FLAGS is a list of words
  setpriv --pdeathsig KILL "$kube_bin/kube-apiserver" --etcd-servers="http://127.0.0.1:$kube_etcd_port" \
    --bind-address=127.0.0.1 --secure-port="$kube_port" --advertise-address=127.0.0.1 \
    --tls-cert-file="$d/apiserver.crt" --tls-private-key-file="$d/apiserver.key" \
    --client-ca-file="$d/ca.crt" --authorization-mode=RBAC --anonymous-auth=true \
    --service-cluster-ip-range=10.96.0.0/16 --allow-privileged=true \
    --disable-admission-plugins=ServiceAccount \
    --service-account-issuer=https://kubernetes.default.svc.cluster.local \
    --service-account-key-file="$d/sa.pub" --service-account-signing-key-file="$d/sa.key" \
    ${KUBE_API_FLAGS:-} >>"$kube_dir/apiserver.log" 2>&1 &
  kube_api_pid=$!
  for _ in $(seq 600); do
    if kube get --raw /readyz >/dev/null 2>&1; then return 0; fi
    kill -0 "$kube_api_pid" 2>/dev/null || return 1
    sleep 0.1
  done
  return 1
}

kube_stop() { # PID [SIGNAL]
  [ -n "$1" ] || return 0
  # None of these may end a caller that runs with set -e: the rest would be left behind.
  kill -CONT "$1" 2>/dev/null || true
  kill "-${2:-TERM}" "$1" 2>/dev/null || true
  wait "$1" 2>/dev/null || true
}

# Killed: what a server does in its grace period is not what the tests are about.
kube_stop_api() {
  kube_stop "$kube_api_pid" KILL
  kube_api_pid=
}

kube_write_admin() {
  local d=$kube_dir/pki
  kube_server=https://127.0.0.1:$kube_port kube_admin=$kube_dir/admin.conf
  cat >"$kube_admin" <<END
apiVersion: v1
kind: Config
clusters: [{name: test, cluster: {certificate-authority: $d/ca.crt, server: "$kube_server"}}]
users: [{name: admin, user: {client-certificate: $d/admin.crt, client-key: $d/admin.key}}]
contexts: [{name: test, context: {cluster: test, user: admin}}]
current-context: test
END
}

kube_up() {
  kube_pki
  kube_start_etcd
  for _ in 1 2 3; do
    kube_port=$(kube_free_port)
    kube_write_admin
    if kube_start_api; then return 0; fi
    kube_stop_api
  done
  echo "the API server did not become ready:" >&2
  tail -n 5 "$kube_dir/apiserver.log" "$kube_dir/etcd.log" >&2
  return 1
}

kube_down() {
  kube_stop_api
  kube_stop "$kube_etcd_pid" KILL
  kube_etcd_pid=
  [ -z "${kube_dir:-}" ] || rm -rf "$kube_dir"
}

kube() {
  HOME=$kube_dir "$kube_bin/kubectl" --kubeconfig="$kube_admin" "$@"
}

kube_token() {
  kube -n "$1" create token "$2" --duration="${3:-3600}s"
}

# Fills DIR as a kubelet mounts a projected volume: ..data is a link to a folder with a time in
# its name, and is renamed over when the content changes.
kube_mount_again() { # DIR NS SERVICEACCOUNT [SECONDS]
  local new
  new=..$(date +%Y_%m_%d_%H_%M_%S.%N)
  mkdir -p "$1/$new"
  kube_token "$2" "$3" "${4:-3600}" >"$1/$new/token" || return 1
  cp "$kube_dir/pki/ca.crt" "$1/$new/ca.crt"
  printf %s "$2" >"$1/$new/namespace"
  local old
  old=$(readlink "$1/..data" || true)
  ln -sfn "$new" "$1/..data_tmp"
  mv -T "$1/..data_tmp" "$1/..data"
  [ -z "$old" ] || rm -rf "${1:?}/$old"
}

kube_mount() {
  mkdir -p "$1"
  kube_mount_again "$@" || return 1
  local f
  for f in token ca.crt namespace; do ln -sfn "..data/$f" "$1/$f"; done
}
