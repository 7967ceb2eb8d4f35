# shellcheck shell=bash
# shellcheck disable=SC2154 # pods, cluster_dns: site.sh
#
# One node's configuration files, on standard output; sourced. Paths are as the node sees them.
#
#   containerd_toml [LINE…]         LINE: further settings of the CRI plugin
#   kubelet_yaml PKI CGROUP-ROOT RESOLV.CONF
#   proxy_yaml PKI NODE-NAME
#   cni_list PODS
#   kubeconfig PKI NAME             PKI/NAME.crt, PKI/NAME.key, PKI/ca.crt

containerd_toml() {
  cat <<END
version = 2
disabled_plugins = ["io.containerd.snapshotter.v1.aufs", "io.containerd.snapshotter.v1.btrfs",
  "io.containerd.snapshotter.v1.zfs", "io.containerd.snapshotter.v1.devmapper",
  "io.containerd.internal.v1.tracing"]
[plugins."io.containerd.grpc.v1.cri"]
  sandbox_image = "harmony.test/pause:1"
  disable_apparmor = true
$(printf '  %s\n' "$@")
  [plugins."io.containerd.grpc.v1.cri".containerd]
    snapshotter = "overlayfs"
    default_runtime_name = "runc"
    [plugins."io.containerd.grpc.v1.cri".containerd.runtimes.runc]
      runtime_type = "io.containerd.runc.v2"
      [plugins."io.containerd.grpc.v1.cri".containerd.runtimes.runc.options]
        SystemdCgroup = false
  [plugins."io.containerd.grpc.v1.cri".cni]
    bin_dir = "/usr/lib/cni"
    conf_dir = "/run/cni"
END
}

kubelet_yaml() {
  cat <<END
apiVersion: kubelet.config.k8s.io/v1beta1
kind: KubeletConfiguration
containerRuntimeEndpoint: unix:///run/containerd/containerd.sock
cgroupDriver: cgroupfs
cgroupRoot: $2
failCgroupV1: false
failSwapOn: false
enforceNodeAllocatable: [none]
makeIPTablesUtilChains: false
volumePluginDir: /var/lib/kubelet/volume-plugins
authentication: {anonymous: {enabled: false}, webhook: {enabled: true}, x509: {clientCAFile: $1/ca.crt}}
authorization: {mode: Webhook}
tlsCertFile: $1/kubelet-serving.crt
tlsPrivateKeyFile: $1/kubelet-serving.key
clusterDomain: cluster.local
clusterDNS: [$cluster_dns]
resolvConf: $3
evictionHard: {memory.available: 100Mi, nodefs.available: "1%", nodefs.inodesFree: "1%", imagefs.available: "1%"}
imageGCHighThresholdPercent: 100
registerNode: true
registerWithTaints: [{key: harmony-agent/not-ready, effect: NoSchedule}]
END
}

proxy_yaml() {
  cat <<END
apiVersion: kubeproxy.config.k8s.io/v1alpha1
kind: KubeProxyConfiguration
mode: nftables
clientConnection: {kubeconfig: $1/proxy.conf}
clusterCIDR: $pods
hostnameOverride: $2
conntrack: {maxPerCore: 0, min: 0}
metricsBindAddress: 127.0.0.1:10249
END
}

cni_list() {
  cat <<END
{"cniVersion": "1.0.0", "name": "e2e", "plugins": [
  {"type": "bridge", "bridge": "cni0", "isGateway": true, "ipMasq": false, "hairpinMode": true,
   "ipam": {"type": "host-local", "ranges": [[{"subnet": "$1"}]], "routes": [{"dst": "0.0.0.0/0"}],
   "dataDir": "/run/cni-addresses"}}]}
END
}

kubeconfig() {
  cat <<END
apiVersion: v1
kind: Config
clusters: [{name: e2e, cluster: {certificate-authority: $1/ca.crt, server: "https://$(node_ip 1):6443"}}]
users: [{name: $2, user: {client-certificate: $1/$2.crt, client-key: $1/$2.key}}]
contexts: [{name: e2e, context: {cluster: e2e, user: $2}}]
current-context: e2e
END
}
