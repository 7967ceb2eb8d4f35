#compdef harmony-agent
# zsh completion for harmony-agent(8)

_harmony_agent() {
  local -a commands
  commands=(
    'up:bring the networks up and keep them as configured'
    'check:validate configuration files'
    'plan:show what up would change'
    'status:the state of the networks'
    'ready:whether the agent is ready, for probes'
    'reload:read the configuration again'
    'devices:start userspace devices for an agent in another container'
    'forget:remove the keys that the agent keeps'
    'genkey:write a new private key'
    'pubkey:read a private key, write its public key'
  )
  if (( CURRENT == 2 )); then
    _describe command commands
    _arguments '--help[list the commands]' '--version[print the version]'
    return
  fi
  local command=${words[2]}
  shift words
  (( CURRENT-- ))
  case $command in
    up)
      _arguments \
        '*'{-c,--config}'[configuration]:file or directory:_files' \
        '--kube-secret[Secret with documents and keys]:NAMESPACE/NAME:' \
        '--kube-configmap[ConfigMap with documents]:NAMESPACE/NAME:' \
        '--kubeconfig[how to reach the API server]:file:_files' \
        '--kube-publish[ConfigMap for the nodes'\'' states]:NAMESPACE/NAME:' \
        '--kube-gate[set the condition of pods that wait for the tunnel]' \
        '--kube-taint[taint of the node to remove when the tunnels are up]:key:(harmony-agent/not-ready)' \
        '--node-name[name of this node]:name:' \
        '--network[this network and no other]:name:' \
        '--on-exit[what becomes of the tunnels]:what:(keep remove)' \
        '--observe-only[report, change nothing]' \
        '--no-nft[leave nftables alone]' \
        '--guard[every network has a guard]' \
        '--userspace[program for userspace devices]:program:_files' \
        '--respawn[start again after a crash]' \
        '--poll[longest time between two looks]:seconds:' \
        '--state-dir[generated keys, last good configuration]:directory:_files -/' \
        '*--http[listen here]:address and port:(off 127.0.0.1\:9586)' \
        '--control[control socket]:path:_files' \
        '--log-format[format]:format:(text json)' \
        '--log-level[level]:level:(debug info warn error)' \
        '--help[list the options]' ;;
    check)
      _arguments '--node-name[name of the node]:name:' '--network[this network and no other]:name:' \
        '--keys[read the key files too]' '--state-dir[generated keys]:directory:_files -/' \
        '--json[as JSON]' '--help[list the options]' '*:file or directory:_files' ;;
    plan)
      _arguments '--node-name[name of the node]:name:' '--network[this network and no other]:name:' \
        '--state-dir[generated keys]:directory:_files -/' '--no-nft[leave nftables out]' '--guard[every network has a guard]' '--json[as JSON]' '--help[list the options]' \
        '*:file or directory:_files' ;;
    status)
      _arguments '--json[the whole answer]' '--control[control socket]:path:_files' \
        '--http[ask there]:address and port:(127.0.0.1\:9586)' \
        '--help[list the options]' ':network:' ;;
    ready)
      _arguments '--http[ask there]:address and port:(127.0.0.1\:9586)' \
        '--startup[the guards are in place, tunnel or not]' '--wait[so long]:seconds:' \
        '--hold[an answer that has not changed]:seconds:' \
        '--help[list the options]' ;;
    forget)
      _arguments '--state-dir[what to empty]:directory:_files -/' '--check[remove nothing]' \
        '--stay[until it is ended]' '--daemonset[wait for it]:NAMESPACE/NAME:' '--wait[so long]:seconds:' \
        '--kubeconfig[how to reach the API server]:file:_files' \
        '--log-format[format]:format:(text json)' '--help[list the options]' ;;
    devices)
      _arguments '--socket[listen here]:path:_files' '--program[the device]:path:_files' \
        '--log-format[format]:format:(text json)' '--help[list the options]' ;;
    reload) _arguments '--control[control socket]:path:_files' '--help[list the options]' ;;
  esac
}

_harmony_agent "$@"
