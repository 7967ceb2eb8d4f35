# shellcheck shell=bash
#
# What the tests of `make quickstart` share. It is run as a user runs it, and whatever became of it,
# nothing of it is there afterwards: no namespace, no interface, no process, no file. Its topology is
# drawn in hack/quickstart; its namespaces have its process id in their names, so that it may run beside
# other tests.
#
#     need_quickstart                     skip_all where it cannot run
#     quickstart NAME [VARIABLE=VALUE…]   starts it, in a session of its own; its output is $TMP/NAME.log
#     reached NAME TEXT                   true when that was printed; notes its namespaces, too
#     ends NAME                           waits for its end, at most 100 s; its exit status
#     nothing_left NAME
#     quickstart_interrupted              cases: Ctrl-C in the middle, and a failure there
#     refused NAME TEXT COMMAND…          a case: it says TEXT in one line, before anything is changed

# shellcheck source=lib.sh
. "$(dirname "${BASH_SOURCE[0]}")/lib.sh"

declare -A marks=()
links() { ip -o link show | awk -F': ' '{sub(/@.*/, "", $2); print $2}' | sort; }

need_quickstart() {
  local missing
  need_netns
  need_tun
  mapfile -t missing < <("$TOP/hack/deps" --missing build run)
  [ ${#missing[@]} -eq 0 ] || skip_all "not installed: apt-get install ${missing[*]}"
  links >"$TMP/links"
}

# The tree that is tested: make has BUILD, and ASAN=1 for BUILD/asan.
build=$(realpath --relative-to="$TOP" "$BUILD_DIR")
make=(make -s -C "$TOP" "BUILD=${build%/[at]san}")
case $build in */asan) make+=(ASAN=1) ;; */tsan) make+=(TSAN=1) ;; esac
plain=(env -u MAKEFLAGS -u MFLAGS -u MAKELEVEL -u MAKEOVERRIDES -u BUILD_DIR -u KUBE -u CLUSTER)

quickstart() { # NAME [VARIABLE=VALUE…]
  local name=$1
  shift
  mkdir "$TMP/$name"
  bg "$name" setsid "${plain[@]}" TMPDIR="$TMP/$name" HARMONY_TEST_RUN="$$-$name" "$@" "${make[@]}" quickstart
  at_exit "kill -TERM -- -${BG[$name]} 2>/dev/null"
}

reached() { # NAME TEXT
  local pid node
  grep -qF -- "$2" "$TMP/$1.log" || return
  for pid in "$TMP/$1"/hm-*; do
    pid=${pid##*/hm-}
    for node in node gateway; do
      marks[$1]+=" $(stat -L -c %i "/run/netns/hm-${pid%%-*}-$node" 2>/dev/null)"
    done
  done
}

ends() { # NAME
  within 100 _gone "${BG[$1]}" || return 124
  wait "${BG[$1]}"
  local status=$?
  unset "BG[$1]"
  return $status
}

leftovers() { # NAME
  local inode
  ls -A "$TMP/$1"
  for inode in ${marks[$1]}; do
    find /run/netns -inum "$inode" 2>/dev/null
    find /proc/[0-9]*/ns/net -maxdepth 0 -lname "net:\[$inode\]" 2>/dev/null
  done
  grep -lsF "HARMONY_TEST_RUN=$$-$1" /proc/[0-9]*/environ
  # Of what it makes: others may be at work here.
  links | comm -13 "$TMP/links" - | grep -E '^(wg|eth|tun|veth)'
}
nothing_left() { # NAME
  local left
  [ -n "${marks[$1]// /}" ] || { echo "its namespaces were not seen" && return 1; }
  left=$(leftovers "$1")
  [ -z "$left" ] || { echo "$left" && return 1; }
}

failed_as() { # NAME TEXT
  ends "$1"
  local status=$?
  [ $status -ne 0 ] && [ $status -ne 124 ] && grep -qF -- "$2" "$TMP/$1.log" && return
  echo "status $status: $(tail -n 3 "$TMP/$1.log")"
  return 1
}

quickstart_interrupted() { # [VARIABLE=VALUE…]
  quickstart interrupted "$@"
  check "it has begun" within 60 reached interrupted "/readyz 200"
  kill -INT -- "-${BG[interrupted]}"
  check "Ctrl-C: it ends" failed_as interrupted ""
  check "Ctrl-C: in the middle" sh -c "! grep -q 'gateway back' '$TMP/interrupted.log'"
  check "Ctrl-C: nothing is left" nothing_left interrupted

  # Of all that socat does, the transfer through the tunnel fails.
  mkdir -p "$TMP/bin"
  printf '#!/bin/sh\ncase "$*" in *10.100.0.1:5001) exit 1 ;; esac\nexec %s "$@"\n' "$(command -v socat)" >"$TMP/bin/socat"
  chmod +x "$TMP/bin/socat"
  quickstart broken "$@" PATH="$TMP/bin:$PATH"
  check "it has begun again" within 60 reached broken "ping through the tunnel"
  check "a step fails: told, with the end of the log" failed_as broken "quickstart: the transfer failed. The end of the agent's log:"
  check "a step fails: nothing is left" nothing_left broken
}

refused() { # NAME TEXT COMMAND…
  local name=$1 text=$2 status
  shift 2
  mkdir -p "$TMP/refused"
  "${plain[@]}" TMPDIR="$TMP/refused" "$@" >"$TMP/refused.log" 2>&1
  status=$?
  if [ $status -ne 0 ] && [ "$(grep -v '^make' "$TMP/refused.log" | grep -c .)" = 1 ] &&
    grep -qF "quickstart: $text" "$TMP/refused.log" && [ -z "$(ls -A "$TMP/refused")" ]; then
    ok "$name"
  else
    not_ok "$name" "status $status: $(tail -n 5 "$TMP/refused.log" | tr '\n' '|')"
  fi
}
