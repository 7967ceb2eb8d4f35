# bash completion for harmony-agent(8)
_harmony_agent() {
  local cur=${COMP_WORDS[COMP_CWORD]} prev=${COMP_WORDS[COMP_CWORD - 1]} words=
  COMPREPLY=()
  if [ "$COMP_CWORD" -eq 1 ]; then
    words="up check plan status ready reload devices forget genkey pubkey --help --version"
  else
    case $prev in
    -c | --config | --kubeconfig | --userspace | --control | --socket | --program)
      compopt -o filenames 2>/dev/null
      mapfile -t COMPREPLY < <(compgen -f -- "$cur")
      return
      ;;
    --state-dir)
      compopt -o filenames 2>/dev/null
      mapfile -t COMPREPLY < <(compgen -d -- "$cur")
      return
      ;;
    --on-exit) words="keep remove" ;;
    --log-format) words="text json" ;;
    --log-level) words="debug info warn error" ;;
    --http) words="off 127.0.0.1:9586 [::1]:9586" ;;
    --kube-taint) words="harmony-agent/not-ready" ;;
    --kube-secret | --kube-configmap | --kube-publish | --node-name | --network | --poll | --daemonset | --wait | --hold) return ;;
    *)
      case ${COMP_WORDS[1]} in
      up)
        words="--config --kube-secret --kube-configmap --kubeconfig --kube-publish --kube-gate --kube-taint --node-name
          --network --on-exit --observe-only --no-nft --guard --userspace --poll --respawn --state-dir --http --control
          --log-format --log-level --help"
        ;;
      check) words="--node-name --network --keys --state-dir --json --help" ;;
      plan) words="--node-name --network --state-dir --no-nft --guard --json --help" ;;
      status) words="--json --control --http --help" ;;
      ready) words="--http --startup --wait --hold --help" ;;
      reload) words="--control --help" ;;
      forget) words="--state-dir --check --stay --daemonset --wait --kubeconfig --log-format --help" ;;
      devices) words="--socket --program --log-format --help" ;;
      esac
      case ${COMP_WORDS[1]}:$cur in
      check:[!-]* | plan:[!-]* | check: | plan:)
        compopt -o filenames 2>/dev/null
        mapfile -t COMPREPLY < <(compgen -f -- "$cur")
        return
        ;;
      esac
      ;;
    esac
  fi
  mapfile -t COMPREPLY < <(compgen -W "$words" -- "$cur")
}
complete -F _harmony_agent harmony-agent
