# shellcheck shell=bash
#
# harmony-wg with another WireGuard, as test/netns/wg-interop.test and test/vm/wg-interop.test have
# them: source lib.sh first, then this, and call
#
#     interop_net
#     interop NAME        other_start NODE and other_stop NODE make and end NODE's wg0
#
#       namespace a (ours)                     namespace b (theirs)
#     +------------------------+             +------------------------+
#     | wg0 10.9.0.1/24        |             | wg0 10.9.0.2/24        |
#     |     fd09::1/64         |             |     fd09::2/64         |
#     | eth0 192.0.2.1, .3 ----+--- veth ----+---- eth0 192.0.2.2     |
#     |      fd00:2::1         |             |      fd00:2::2         |
#     +------------------------+             +------------------------+
#
# The NAT is test/tools/wgmangle.c, as $BUILD_DIR/tools/wgmangle.
#
# Theirs is changed as little as possible while it runs (boringtun ends a thread when a peer that it
# has is changed). Keys are new for each pair: a device that remembers the other's stamps refuses older ones, and
# boringtun's are ahead of its clock.

interop_net() {
  ns_add a
  ns_add b
  veth a eth0 192.0.2.1/32,192.0.2.3/32,fd00:2::1/64 b eth0 192.0.2.2/32,fd00:2::2/64
  in_ns a ip link set eth0 mtu 9000
  in_ns b ip link set eth0 mtu 9000
  in_ns a ip route add 192.0.2.0/24 dev eth0 src 192.0.2.1
  in_ns b ip route add 192.0.2.0/24 dev eth0 src 192.0.2.2
  head -c 1000000 /dev/urandom >"$TMP/data"
}

_keys() {
  (umask 077 && wg genkey >"$TMP/a.key" && wg genkey >"$TMP/b.key" && wg genpsk >"$TMP/psk")
  a_pub=$(wg pubkey <"$TMP/a.key") b_pub=$(wg pubkey <"$TMP/b.key")
}
_end() { # NODE NUMBER PEER-KEY ENDPOINT MTU PSK-FILE KEEPALIVE
  in_ns "$1" wg set wg0 private-key "$TMP/$1.key" listen-port 51820 peer "$3" \
    ${6:+preshared-key "$6"} allowed-ips 10.9.0.0/24,fd09::/64 ${4:+endpoint "$4"} \
    persistent-keepalive "${7:-off}" &&
    in_ns "$1" ip addr add "10.9.0.$2/24" dev wg0 &&
    in_ns "$1" ip addr add "fd09::$2/64" dev wg0 nodad && in_ns "$1" ip link set wg0 mtu "$5" up
}
_pair() { # FAMILY MTU [PSK-FILE] [KEEPALIVE-OF-THEIRS]
  local a=192.0.2.1 b=192.0.2.2
  [ "$1" = 4 ] || { a='[fd00:2::1]' b='[fd00:2::2]'; }
  _keys
  peer_start a harmony-wg wg0 && other_start b && _end a 1 "$b_pub" "$b:51820" "$2" "${3:-}" &&
    _end b 2 "$a_pub" "$a:51820" "$2" "${3:-}" "${4:-}"
}
# Node $1 behind a NAT, which stands in the other one.
_nat_pair() { # NODE SECONDS
  local outside=192.0.2.2
  [ "$1" = a ] || outside=192.0.2.1
  _keys
  peer_start a harmony-wg wg0 && other_start b && _nat "$1" $outside "$2" || return
  if [ "$1" = a ]; then
    _end a 1 "$b_pub" $outside:5000 1420 && _end b 2 "$a_pub" "" 1420
  else
    _end a 1 "$b_pub" "" 1420 && _end b 2 "$a_pub" $outside:5000 1420
  fi
}
_nat() { # NODE OTHER-ADDRESS SECONDS
  bg_ns nat "$([ "$1" = a ] && echo b || echo a)" "$BUILD_DIR/tools/wgmangle" 5000 "$2" 5001 "$2" 51820 nat="$3"
  sleep 0.2
}
_no_wg0() { ! in_ns "$1" ip link show wg0; }
_unpair() {
  bg_stop nat
  peer_stop a wg0
  other_stop b
  within 3 _no_wg0 a && within 3 _no_wg0 b
}
# An initiation that meets a port not open yet is sent again after five seconds.
_ping() { in_ns "$1" ping -c 2 -i 0.2 -W 7 "${@:2}"; }
_listens() { in_ns "$1" ss -Htln 'sport = :7000' | grep -q .; }
_transfer() { # FROM TO ADDRESS
  : >"$TMP/got"
  bg_ns sink "$2" socat -u TCP4-LISTEN:7000,reuseaddr "OPEN:$TMP/got,trunc"
  within 5 _listens "$2" && in_ns "$1" timeout 60 socat -u "OPEN:$TMP/data" "TCP4:$3:7000" || return
  within 10 _gone "${BG[sink]}"
  bg_stop sink
  cmp "$TMP/data" "$TMP/got"
}
_largest() { # MTU: packets of exactly that length pass whole, both ways and families
  _ping a -M "do" -s $(($1 - 28)) 10.9.0.2 && _ping b -M "do" -s $(($1 - 48)) fd09::1
}

_begun_by() { # NODE FAMILY [PSK-FILE] [KEEPALIVE]: who begins, then everything both ways
  _pair "$2" 1420 "${3:-}" "${4:-}" || return
  if [ "$1" = a ]; then _ping a 10.9.0.2; else _ping b fd09::1; fi || return
  _ping b 10.9.0.1 && _ping a fd09::2 && _transfer a b 10.9.0.2 && _transfer b a 10.9.0.1
}
_mtu() {
  # boringtun asks for its interface's MTU once a second.
  _pair 4 "$1" && _ping a 10.9.0.2 && within 15 _largest "$1"
}
# Ours gets another address, and the old one goes, so that a source that was kept cannot be used;
# theirs another port, which each of them can do while it runs.
_roaming() {
  in_ns a ip addr del 192.0.2.1/32 dev eth0 &&
    in_ns a ip route replace 192.0.2.0/24 dev eth0 src 192.0.2.3 && _ping a 10.9.0.2 &&
    in_ns b wg show wg0 endpoints | grep -qF 192.0.2.3:51820 &&
    in_ns b timeout 5 wg set wg0 listen-port 51999 && _ping b 10.9.0.1 &&
    in_ns a wg show wg0 endpoints | grep -qF 192.0.2.2:51999 && _ping a 10.9.0.2
}
_home() {
  in_ns a ip addr add 192.0.2.1/32 dev eth0 &&
    in_ns a ip route replace 192.0.2.0/24 dev eth0 src 192.0.2.1 || return
  # Ours learns where theirs is again by what theirs sends.
  in_ns b timeout 5 wg set wg0 listen-port 51820 && _ping b 10.9.0.1
}
# By the counters of ours, since not everyone counts keepalives.
_count() { in_ns a wg show wg0 transfer | cut -f "$1"; }
_idle() { # COLUMN: it counts on by itself
  local before
  before=$(_count "$1")
  sleep 2.6
  [ "$(_count "$1")" -ge $((before + 64)) ]
}
_ours_keepalive() {
  in_ns a wg set wg0 peer "$b_pub" persistent-keepalive 1 && _idle 3 &&
    in_ns a wg set wg0 peer "$b_pub" persistent-keepalive off
}
_new_key() { # NODE OTHER OLD-PUBLIC-KEY ENDPOINT
  (umask 077 && wg genkey >"$TMP/$1.key")
  in_ns "$1" timeout 5 wg set wg0 private-key "$TMP/$1.key" &&
    in_ns "$2" timeout 5 wg set wg0 peer "$3" remove &&
    in_ns "$2" timeout 5 wg set wg0 peer "$(wg pubkey <"$TMP/$1.key")" allowed-ips 10.9.0.0/24,fd09::/64 \
      endpoint "$4" && _ping a 10.9.0.2 && _ping b 10.9.0.1
}

# A NAT that forgets after a second: whoever is outside follows, as soon as something has come.
_forgotten() { # NODE ITS-INNER-ADDRESS OTHER OTHERS-INNER-ADDRESS
  local before after
  _nat_pair "$1" 1 && _ping "$1" "$4" || return
  before=$(in_ns "$3" wg show wg0 endpoints | cut -f 2)
  sleep 1.5
  _ping "$1" "$4" || return
  after=$(in_ns "$3" wg show wg0 endpoints | cut -f 2)
  echo "$before, then $after"
  [ "$before" != "$after" ] && in_ns "$3" ping -c 1 -W 2 "$2"
}
_kept() {
  local before
  bg_stop nat
  _nat a 192.0.2.2 2
  in_ns a wg set wg0 peer "$b_pub" persistent-keepalive 1 && _ping a 10.9.0.2 || return
  before=$(in_ns b wg show wg0 endpoints)
  sleep 3
  in_ns b ping -c 1 -W 2 10.9.0.1 && [ "$before" = "$(in_ns b wg show wg0 endpoints)" ]
}

interop() { # NAME
  check "$1: ours begins" _begun_by a 4
  # One pair lives on through these.
  check "$1: keepalives of ours" _ours_keepalive
  check "$1: roaming, ours and theirs" _roaming
  check "$1: and back" _home
  check "$1: a new key of ours" _new_key a b "$a_pub" 192.0.2.1:51820
  a_pub=$(wg pubkey <"$TMP/a.key")
  check "$1: a new key of theirs" _new_key b a "$b_pub" 192.0.2.2:51820
  _unpair
  check "$1: theirs begins, IPv6 outside, preshared key" _begun_by b 6 "$TMP/psk" 1
  check "$1: keepalives of theirs" _idle 2
  _unpair
  for mtu in 1280 8920; do
    check "$1: MTU $mtu" _mtu $mtu
    _unpair
  done
  check "$1: ours behind a NAT that forgets after a second" _forgotten a 10.9.0.1 b 10.9.0.2
  check "$1: a persistent keepalive of ours keeps the mapping" _kept
  _unpair
  check "$1: theirs behind a NAT that forgets after a second" _forgotten b 10.9.0.2 a 10.9.0.1
  _unpair
}
