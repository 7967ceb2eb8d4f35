# bash completion for harmony-wg(8)
_harmony_wg() {
  local cur=${COMP_WORDS[COMP_CWORD]} prev=${COMP_WORDS[COMP_CWORD - 1]} words=
  COMPREPLY=()
  case $prev in
  --state-dir)
    compopt -o filenames 2>/dev/null
    mapfile -t COMPREPLY < <(compgen -d -- "$cur")
    return
    ;;
  -l | --log)
    compopt -o filenames 2>/dev/null
    mapfile -t COMPREPLY < <(compgen -f -- "$cur")
    return
    ;;
  --user)
    mapfile -t COMPREPLY < <(compgen -u -- "$cur")
    return
    ;;
  --aead) words="ipsec-mb split evp" ;;
  --log-format) words="text json" ;;
  -v | --verbosity) words="trace debug info warn error silent" ;;
  --queues | -t | --threads | --tun-fd | --uapi-fd) return ;;
  *)
    words="--foreground --user --state-dir --aead --queues --no-gso --no-gro --no-tun-offload --no-sandbox
      --log-format --verbosity --log --threads --tun-fd --uapi-fd --disable-multi-queue
      --disable-drop-privileges --disable-connected-udp --help --version"
    ;;
  esac
  mapfile -t COMPREPLY < <(compgen -W "$words" -- "$cur")
}
complete -F _harmony_wg harmony-wg
