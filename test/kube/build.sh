#!/usr/bin/env bash
# Builds Kubernetes components from Go modules into the cache and prints the folder:
#   test/kube/build.sh [--check] [COMPONENT…]        default: etcd kube-apiserver kubectl
# Further components: kube-controller-manager kube-scheduler kube-proxy kubelet helm3 helm4; "cluster"
# alone is all of them.
#
# What is there already is not built again; one build runs at a time. The folder is keyed by the
# version: ${HARMONY_CACHE:-${XDG_CACHE_HOME:-~/.cache}/harmony-agent}/kube-VERSION. Exit status
# 77, with one line on standard error that says what to install, where Go is missing or too old.
# --check builds nothing, and says only whether they are there or Go is.
#
# k8s.io/kubernetes requires its staging modules at v0.0.0 and replaces them with folders of its
# own repository, which does not count when it is a dependency: the tools module made here
# replaces each of them with the release that belongs to the version. etcd's server module has
# replaces too, so its program is a main of three lines.
set -euo pipefail

top=$(cd "$(dirname "$0")/../.." && pwd)
kube=1.34.4 etcd=3.6.16 helm3=3.22.0 helm4=4.3.1
cache=${HARMONY_CACHE:-${XDG_CACHE_HOME:-$HOME/.cache}/harmony-agent}/kube-$kube

say() { printf '%s\n' "$*" >&2; }

# build NAME COMMAND…: tells what is being built, and how long it took.
build() {
  local name=$1 start
  shift
  start=$(date +%s)
  say "  build  $name (once; kept in $cache)"
  if ! "$@" >"$cache/$name.log" 2>&1; then
    tail -n 20 "$cache/$name.log" >&2
    say "building $name failed; the whole log is $cache/$name.log"
    exit 1
  fi
  say "  build  $name took $(($(date +%s) - start)) s"
}

kube_module() {
  [ ! -e "$cache/src/kube/ready" ] || return 0
  mkdir -p "$cache/src/kube"
  cd "$cache/src/kube"
  rm -f go.mod go.sum
  go mod init harmony.test/kube
  local dir m
  dir=$(go mod download -json "k8s.io/kubernetes@v$kube" | sed -n 's/^\t"Dir": "\(.*\)",*$/\1/p')
  while read -r m; do
    go mod edit -replace "$m=$m@v0.${kube#1.}"
  done < <(sed -n 's/^\t*\(k8s\.io\/[a-z0-9-]*\) => \.\/staging.*/\1/p' "$dir/go.mod" | sort -u)
  go mod edit -require "k8s.io/kubernetes@v$kube"
  {
    printf '//go:build tools\n\npackage tools\n\nimport (\n'
    for m in kube-apiserver kubectl kubelet kube-controller-manager kube-scheduler kube-proxy; do
      printf '\t_ "k8s.io/kubernetes/cmd/%s"\n' "$m"
    done
    printf ')\n'
  } >tools.go
  go mod tidy
  touch ready
}

kube_program() {
  local p=k8s.io/component-base/version flags="-s -w"
  flags+=" -X $p.gitVersion=v$kube -X $p.gitMajor=1 -X $p.gitMinor=34 -X $p.gitTreeState=clean"
  flags+=" -X $p.gitCommit=0000000000000000000000000000000000000000"
  cd "$cache/src/kube"
  go build -trimpath -ldflags "$flags" -o "$cache/$1.new" "k8s.io/kubernetes/cmd/$1"
}

etcd_program() {
  mkdir -p "$cache/src/etcd"
  cd "$cache/src/etcd"
  rm -f go.mod go.sum
  printf '%s\n' 'package main' 'import ("os"; "go.etcd.io/etcd/server/v3/etcdmain")' \
    'func main() { etcdmain.Main(os.Args) }' >main.go
  go mod init harmony.test/etcd
  go mod edit -require "go.etcd.io/etcd/server/v3@v$etcd"
  go mod tidy
  go build -trimpath -ldflags "-s -w" -o "$cache/etcd.new" .
}

helm_program() {
  mkdir -p "$cache/src/$1"
  GOBIN=$cache/src/$1 go install -trimpath -ldflags "-s -w" "helm.sh/helm/v$2/cmd/helm@v$3"
  mv "$cache/src/$1/helm" "$cache/$1.new"
}

component() {
  case $1 in
  etcd) build etcd etcd_program ;;
  helm3) build helm3 helm_program helm3 3 $helm3 ;;
  helm4) build helm4 helm_program helm4 4 $helm4 ;;
  kube-apiserver | kubectl | kubelet | kube-controller-manager | kube-scheduler | kube-proxy)
    [ -e "$cache/src/kube/ready" ] || build modules kube_module
    build "$1" kube_program "$1"
    ;;
  *)
    say "no such component: $1"
    exit 2
    ;;
  esac
  mv "$cache/$1.new" "$cache/$1" # whole or not at all
}

check=
[ "${1:-}" != --check ] || { check=1 && shift; }
[ $# -gt 0 ] || set -- etcd kube-apiserver kubectl
[ "$*" != cluster ] || set -- etcd kube-apiserver kubectl kubelet kube-controller-manager kube-scheduler kube-proxy helm3 helm4
export CGO_ENABLED=0 GOFLAGS=-mod=mod
for c in "$@"; do
  [ ! -x "$cache/$c" ] || continue
  "$top/hack/need-go" "Kubernetes $kube"
  [ -z "$check" ] || continue
  mkdir -p "$cache"
  exec 8>"$cache/lock"
  flock 8
  [ -x "$cache/$c" ] || component "$c"
  exec 8>&-
done
[ -n "$check" ] || echo "$cache"
