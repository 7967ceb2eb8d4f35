#!/usr/bin/env bash
# Makes what test/vm boots, once per kernel version, and prints the directory it is in:
#
#     ${HARMONY_CACHE:-${XDG_CACHE_HOME:-~/.cache}/harmony-agent}/vm-KERNELVERSION/
#         vmlinuz     Debian's cloud kernel, as packaged
#         base.cpio   busybox, its applets, init, and the kernel's modules listed below with all
#                     that they depend on
#
# The package comes by `apt-get download`; where that cannot be asked, the newest kernel already
# in the cache is used. Programs and libraries are not in here: lib.sh adds them per run, so that
# they are always the ones just built. Several builds at once are safe.
#
# Ends with status 77, and says why on standard error, where this machine cannot make it.
set -eu -o pipefail

# Loaded by the kernel on demand (modprobe in the guest), so a long list costs no boot time.
modules='wireguard veth tun dummy bridge br_netfilter vrf sch_netem sch_tbf sch_fq cls_u32
  nf_tables nf_nat nf_conntrack nf_conntrack_netlink nft_chain_nat nft_compat nft_connlimit nft_ct
  nft_fib nft_fib_inet nft_fib_ipv4 nft_fib_ipv6 nft_limit nft_log nft_masq nft_nat nft_numgen
  nft_objref nft_queue nft_quota nft_redir nft_reject nft_reject_inet nft_reject_ipv4
  nft_reject_ipv6 nft_socket nft_tproxy nft_hash nfnetlink_log nfnetlink_queue nf_log_syslog
  xt_MASQUERADE xt_TCPMSS xt_tcpudp xt_conntrack xt_mark xt_comment xt_nat
  virtio_pci virtio_blk virtio_net virtio_rng ext4 overlay'

here=$(cd "$(dirname "$0")" && pwd)
cache=${HARMONY_CACHE:-${XDG_CACHE_HOME:-$HOME/.cache}/harmony-agent}
tmp=

cannot() {
  echo "$1" >&2
  exit 77
}
cleanup() { [ -z "$tmp" ] || rm -rf "$tmp"; }
trap cleanup EXIT
trap 'exit 130' INT TERM HUP

[ "$(uname -m)" = x86_64 ] || cannot "only x86-64 machines are emulated, and this is $(uname -m)"
missing=()
for pair in busybox=busybox-static cpio=cpio modprobe=kmod depmod=kmod apt-get=apt dpkg-deb=dpkg; do
  PATH=$PATH:/usr/sbin:/sbin command -v "${pair%=*}" >/dev/null || missing+=("${pair#*=}")
done
[ ${#missing[@]} -eq 0 ] || cannot "not installed: apt-get install ${missing[*]}"
PATH=$PATH:/usr/sbin:/sbin
if ldd "$(command -v busybox)" >/dev/null 2>&1; then
  cannot "busybox is not a static program: apt-get install busybox-static"
fi

mkdir -p "$cache"
package=$(apt-cache depends linux-image-cloud-amd64 2>/dev/null |
  sed -n 's/^ *Depends: \(linux-image-[^ ]*\)$/\1/p' | head -n 1)
if [ -z "$package" ]; then
  dir=$(find "$cache" -maxdepth 1 -name 'vm-*' -type d | sort -V | tail -n 1)
  [ -n "$dir" ] || cannot "no package linux-image-cloud-amd64: this needs Debian's package lists (apt-get update)"
  echo "$dir"
  exit 0
fi
version=${package#linux-image-}
dir=$cache/vm-$version
# The cached image is as good as the recipe that made it.
recipe=$(cat "$here/build.sh" "$here/init" | sha256sum | cut -c1-16)

exec 9>"$cache/vm.lock"
flock 9
if [ -f "$dir/vmlinuz" ] && [ "$(cat "$dir/recipe" 2>/dev/null)" = "$recipe" ]; then
  echo "$dir"
  exit 0
fi

tmp=$(mktemp -d "$cache/build-XXXXXX")
deb=$(find "$cache" -maxdepth 1 -name "${package}_*.deb" | sort -V | tail -n 1)
if [ -z "$deb" ]; then
  echo "downloading $package" >&2
  (cd "$tmp" && apt-get -q download "$package") >"$tmp/log" 2>&1 ||
    cannot "apt-get download $package: $(tail -n 1 "$tmp/log")"
  rm -f "$cache"/linux-image-*.deb
  mv "$tmp/$package"_*.deb "$cache/"
  deb=$(find "$cache" -maxdepth 1 -name "${package}_*.deb")
fi
dpkg-deb -x "$deb" "$tmp/kernel"
depmod -b "$tmp/kernel" "$version"

root=$tmp/root
mkdir -p "$root"/{dev,proc,sys,run,tmp,root,work,busybox,etc,var,usr/bin,usr/sbin,usr/lib,usr/lib64}
for d in bin sbin lib lib64; do ln -s "usr/$d" "$root/$d"; done
ln -s ../run "$root/var/run"
cp "$(command -v busybox)" "$root/usr/bin/busybox"
for applet in $(busybox --list); do ln -s /usr/bin/busybox "$root/busybox/$applet"; done
# bash comes with lib.sh: busybox's shell would prefer its own applets (ip, ping) to programs.
ln -s bash "$root/usr/bin/sh"
ln -s ../bin/busybox "$root/usr/sbin/modprobe"
cp "$here/init" "$root/init"
chmod 755 "$root/init"
echo 'root:x:0:0:root:/root:/bin/sh' >"$root/etc/passwd"
echo 'root:x:0:' >"$root/etc/group"
printf '127.0.0.1 localhost\n::1 localhost\n' >"$root/etc/hosts"
for m in $modules; do
  # "builtin" lines need nothing.
  modprobe -d "$tmp/kernel" -S "$version" --show-depends "$m" | sed -n 's/^insmod \([^ ]*\).*/\1/p'
done | sort -u | while read -r ko; do
  dest=$root/usr/lib/${ko#"$tmp"/kernel/lib/}
  mkdir -p "${dest%/*}"
  cp "$ko" "$dest"
done
cp "$tmp/kernel/lib/modules/$version"/modules.{builtin,builtin.modinfo,order} \
  "$root/usr/lib/modules/$version/"
depmod -b "$root" "$version"

mkdir "$tmp/out"
(cd "$root" && find . | cpio -o -H newc -R 0:0 --quiet) >"$tmp/out/base.cpio"
cp "$tmp/kernel/boot/vmlinuz-$version" "$tmp/out/vmlinuz"
chmod 644 "$tmp/out/vmlinuz"
echo "$recipe" >"$tmp/out/recipe"
chmod 755 "$tmp/out"
rm -rf "$dir"
mv "$tmp/out" "$dir"
echo "$dir"
