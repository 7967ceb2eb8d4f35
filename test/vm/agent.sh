# shellcheck shell=bash
#
# Shared by test/vm/agent*.test; sourced in the guest. The agent on one side of a veth pair, a
# peer set up with wg(8) on the other, both with the kernel's WireGuard:
#
#       namespace node                          namespace gw
#     +------------------------+              +------------------------+
#     | wg0 10.9.0.1/24        | ==== wg ==== | wg0 10.9.0.2/24        |
#     | eth0 192.0.2.1/24 -----+---- veth ----+---- eth0 192.0.2.2/24  |
#     +------------------------+              +------------------------+

. test/netns/lib.sh

conf=$TMP/conf
mkdir -p "$conf"
umask 077

keypair() { # NAME: $TMP/NAME.key, and the public key in the variable NAME_pub
  wg genkey >"$TMP/$1.key"
  declare -g "$1_pub=$(wg pubkey <"$TMP/$1.key")"
}

# The configuration: a file that is swapped in whole.
configure() { # standard input
  cat >"$conf/.new" && mv "$conf/.new" "$conf/net.toml"
}
network() { # LINE…: what stands beside the key
  printf '[network.default]\nprivate_key_path = "%s"\n' "$TMP/node.key"
  printf '%s\n' "$@"
}
peer() { # NAME PUBLIC-KEY ALLOWED-IPS LINE…
  printf '[[network.default.peers]]\nname = "%s"\npublic_key = "%s"\nallowed_ips = [%s]\n' "$1" "$2" "$3"
  shift 3
  [ $# -eq 0 ] || printf '%s\n' "$@"
}

agent_start() { # [OPTION…]; AGENT_NODE: another namespace than node
  bg_ns agent "${AGENT_NODE:-node}" harmony-agent up -c "$conf" --log-format json \
    --state-dir "$TMP/state" "$@"
}
agent_stop() { bg_stop agent "$@"; }
log() { cat "$TMP/agent.log"; }
logged() { grep -q -- "$1" "$TMP/agent.log"; }
count() { grep -c -- "$1" "$TMP/agent.log"; }
# The agent says that the configuration is in force for the Nth time since it was started.
applied() { within "${2:-20}" logged "\"configuration applied\".*\"generation\":$1\\b"; }
says() { grep "$1" "$TMP/agent.log" | head -n 1; }

http() { # PATH: the whole answer
  # shellcheck disable=SC2016 # expanded by the inner shell
  in_ns "${AGENT_NODE:-node}" bash -c 'exec 3<>/dev/tcp/127.0.0.1/9586 &&
    printf "GET %s HTTP/1.0\r\n\r\n" "$1" >&3 && cat <&3' sh "$1"
}
http_names() { http /readyz | grep -q "$1"; }
ready() { http /readyz | head -n 1 | grep -q ' 200 '; }

not() { ! "$@"; }
now_ms() { echo $(($(date +%s%N) / 1000000)); }

# A ping of 100 a second, which must not miss one. The last one may be on its way when it ends.
flood_start() { bg_ns "flood$1" node ping -i 0.01 "$1"; }
flood_stop() {
  bg_stop "flood$1" INT
  awk -F'icmp_seq=| ttl' '/icmp_seq=/ {n++; if ($2 > max) max = $2}
    END {print n + 0 " of " max + 0 " answered"; exit !(n >= 20 && n == max)}' "$TMP/flood$1.log"
}
handshake_of() { in_ns node wg show wg0 latest-handshakes | awk -v k="$1" '$1 == k {print $2}'; }
has_handshake() { [ "$(handshake_of "$1")" -gt 0 ]; }
# /sys shows the interfaces of the namespace that it was mounted in.
link() { in_ns node ip -j link show wg0 | jq -r ".[0].$1"; } # KEY
