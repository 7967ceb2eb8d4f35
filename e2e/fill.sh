# shellcheck shell=bash
#
# Root file systems from this machine's programs, for images and for the machine's disk; sourced.
#
#   fill_root ROOT            the folders that every root has
#   fill ROOT FILE[:DEST]…    copies files with the libraries that they load; a word without a
#                             slash is a program of PATH and goes to /usr/bin
#   fill_busybox ROOT APPLET… links to a busybox that was filled in

fill_root() {
  local d
  mkdir -p "$1"/{dev,proc,sys,run,tmp,root,etc,var/lib,var/log,usr/bin,usr/sbin,usr/lib,usr/lib64}
  for d in bin sbin lib lib64; do ln -sfn "usr/$d" "$1/$d"; done
  ln -sfn ../run "$1/var/run"
  chmod 1777 "$1/tmp"
}

_fill_copy() { # ROOT SRC DEST
  [ ! -e "$1$3" ] || return 0
  mkdir -p "$1$(dirname "$3")" && cp -L "$2" "$1$3"
}

_fill_loaded() { # PROGRAM: the libraries that it loads by name, and what these need
  local name path
  for name in $("$(dirname "${BASH_SOURCE[0]}")/../hack/loaded-by-name" "$1"); do
    path=$(PATH=$PATH:/usr/sbin:/sbin ldconfig -p | sed -n "s|.*[[:space:]]$name .*=> ||p" | head -n 1)
    [ -n "$path" ] || { echo "$1 loads $name, which is not on this machine" >&2 && return 1; }
    echo "$path"
    ldd "$path" | grep -o '/[^ ]*'
  done
}

fill() {
  local root=$1 word src dest lib loaded
  shift
  for word; do
    case $word in
    */*) src=${word%%:*} dest=${word#*:} ;;
    *)
      src=$(PATH=$PATH:/usr/sbin:/sbin command -v "$word") || {
        echo "no program $word on this machine" >&2
        return 1
      }
      dest=/usr/bin/$word
      ;;
    esac
    _fill_copy "$root" "$src" "$dest" || return
    loaded=$(_fill_loaded "$src") || return
    # Nothing is printed for what is not a dynamic program.
    for lib in $(ldd "$src" 2>/dev/null | grep -o '/[^ ]*') $loaded; do
      _fill_copy "$root" "$lib" "$lib" || return
    done
  done
}

fill_busybox() {
  local root=$1 applet
  shift
  for applet; do
    [ -e "$root/usr/bin/$applet" ] || ln -s busybox "$root/usr/bin/$applet"
  done
}
