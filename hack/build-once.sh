# shellcheck shell=bash
#
# Programs of others that tests use, built once into a cache outside of the tree; sourced.
#
#   build_once WHAT FOLDER PROGRAM [--cached]   prints the path of PROGRAM in FOLDER of the cache
#
# Where it is not there yet, `tool` (of the caller) finds what builds it, or says why not and fails,
# and `build INTO` builds. Status 1, and why on standard error, when it cannot be had; with --cached
# nothing is built. HARMONY_CACHE names the cache.

build_once() {
  local what=$1 root=${HARMONY_CACHE:-${XDG_CACHE_HOME:-$HOME/.cache}/harmony-agent}/$2 program
  program=$root/$3
  if [ ! -x "$program" ]; then
    if [ "${4:-}" = --cached ]; then
      echo "$what is not built: hack/${0##*/} builds it" >&2
      return 1
    fi
    tool || return 1
    mkdir -p "$(dirname "$root")"
    echo "  build  $2 (once; kept in $root)" >&2
    exec 9>"$root.lock"
    flock 9
    # Moved into place whole, so that an interrupted build is not taken for a program.
    if [ ! -x "$program" ]; then
      rm -rf "$root.new"
      mkdir "$root.new"
      if ! (build "$root.new") >"$root.log" 2>&1; then
        echo "$what does not build: $(tail -n 1 "$root.log") (all of it: $root.log)" >&2
        return 1
      fi
      rm -rf "$root"
      mv "$root.new" "$root"
    fi
  fi
  echo "$program"
}
