# shellcheck shell=bash
#
# What the test scripts of every group share: result lines, polling, background processes, and a
# cleanup that runs however the script ends. Sourced, from bash; test/netns/lib.sh and
# test/vm/lib.sh source it and add their own.
#
#     ok NAME                     the case passed
#     not_ok NAME WHY             it failed; the script goes on and will end with status 1
#     skip NAME WHY               it cannot run here; WHY says what to install
#     skip_all WHY                the whole script cannot run here: says so and ends
#     check NAME COMMAND…         ok, or not ok with the command's output
#     need COMMAND=PACKAGE…       skip_all unless the commands are there
#     within SECONDS COMMAND…     runs COMMAND until it succeeds (then 0) or time is up (1)
#     bg NAME COMMAND…            starts a background process; its pid is ${BG[NAME]}, its output
#                                 is $TMP/NAME.log
#     bg_stop NAME [SIGNAL]       ends it and waits; its exit status
#     at_exit COMMAND             run (by eval) at the end, last registered first
#     $TMP                        a directory of this run; removed at the end
#     $TOP, $BUILD_DIR            the tree and the build directory, absolute
#
# Cleanup is by process id only, and by what this run has made. Background processes also die by
# the kernel's hand if this shell is killed outright (PR_SET_PDEATHSIG).

TOP=$(cd "$(dirname "${BASH_SOURCE[0]}")/.." && pwd)
BUILD_DIR=$(realpath -m "${BUILD_DIR:-$TOP/build}")
TEST_NAME=$(basename "$0" .test)
TMP=
declare -A BG=()
_at_exit=()
_failed=0

ok() { printf 'ok %s\n' "$1"; }
not_ok() {
  _failed=1
  printf 'not ok %s: %s\n' "$1" "${2:-}"
}
skip() { printf 'skip %s: %s\n' "$1" "$2"; }
skip_all() {
  skip "$TEST_NAME" "$1"
  exit 0
}

check() {
  local name=$1 status
  shift
  # To a file: in a command substitution a signal to this shell would wait for the command.
  "$@" >"$TMP/check.out" 2>&1
  status=$?
  if [ $status -eq 0 ]; then
    ok "$name"
  else
    # One line: a test's output is read by lines.
    not_ok "$name" "status $status of '$*': $(tail -n 5 "$TMP/check.out" | tr '\n' ' ')"
    return 1
  fi
}

need() {
  local pair missing=()
  for pair; do
    command -v "${pair%%=*}" >/dev/null || missing+=("${pair#*=}")
  done
  [ ${#missing[@]} -eq 0 ] || skip_all "not installed: apt-get install ${missing[*]}"
}

within() {
  local end=$(($(date +%s%N) + $1 * 1000000000))
  shift
  until "$@" >/dev/null 2>&1; do
    [ "$(date +%s%N)" -lt "$end" ] || return 1
    sleep 0.05
  done
}

# Runs a command so that a signal to this shell is acted on at once, and not when the command
# ends: bash runs traps between commands, and during `wait`.
_run() {
  env --default-signal=INT,QUIT "$@" <&0 &
  wait $!
}

bg() {
  local name=$1
  shift
  setpriv --pdeathsig KILL env --default-signal=INT,QUIT "$@" >"$TMP/$name.log" 2>&1 </dev/null &
  BG[$name]=$!
}

bg_stop() {
  local pid=${BG[$1]:-}
  [ -n "$pid" ] || return 0
  _signal "${2:-TERM}" "$pid"
  _reap "$pid"
  local status=$?
  unset "BG[$1]"
  return $status
}

# Only to a child that is still ours: one that has ended by itself was waited for by the shell, and
# on a busy machine its number is soon another's.
_signal() { # SIGNAL PID
  local stat
  read -r stat 2>/dev/null <"/proc/$2/stat" || return 0
  stat=${stat##*) }
  case $stat in ?" $$ "* | ?" $BASHPID "*) kill -"$1" "$2" 2>/dev/null ;; esac
}

# Waits up to 3 seconds for the end of a child that was told to end, then insists.
_reap() {
  within 3 _gone "$1" || _signal KILL "$1"
  wait "$1" 2>/dev/null
}
_gone() {
  local state
  state=$(sed 's/.*) //' "/proc/$1/stat" 2>/dev/null) || return 0
  [ "${state%% *}" = Z ] || [ -z "$state" ]
}

at_exit() { _at_exit+=("$1"); }

_cleanup() {
  local status=$? i name
  trap '' INT TERM HUP PIPE
  trap - EXIT
  set +e
  for ((i = ${#_at_exit[@]} - 1; i >= 0; i--)); do
    eval "${_at_exit[i]}"
  done
  for name in "${!BG[@]}"; do
    _signal TERM "${BG[$name]}"
  done
  for name in "${!BG[@]}"; do
    _reap "${BG[$name]}"
  done
  [ -z "$TMP" ] || rm -rf "$TMP"
  [ "$status" -ne 0 ] || status=$_failed
  exit "$status"
}
trap _cleanup EXIT
trap 'exit 129' HUP
trap 'exit 130' INT
trap 'exit 143' TERM
TMP=$(mktemp -d "${TMPDIR:-/tmp}/hm-$$-XXXXXX")
