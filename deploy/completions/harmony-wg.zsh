#compdef harmony-wg
# zsh completion for harmony-wg(8)

_harmony_wg() {
  _arguments \
    {-f,--foreground}'[do not go to the background]' \
    '--user[run as this user]:user:_users' \
    '--state-dir[endpoints and handshake stamps]:directory:_files -/' \
    '--aead[ChaCha20-Poly1305 by this]:backend:(ipsec-mb split evp)' \
    '--queues[queues, with two threads each]:number:' \
    '--no-gso[no segmentation offload on the sockets]' \
    '--no-gro[no receive offload on the sockets]' \
    '--no-tun-offload[no offloads on the interface]' \
    '--no-sandbox[keep all privileges]' \
    '--log-format[format]:format:(text json)' \
    {-v,--verbosity}'[level]:level:(trace debug info warn error silent)' \
    {-l,--log}'[append the log to this, in the background]:file:_files' \
    {-t,--threads}'[no more threads than these]:number:' \
    '--tun-fd[a TUN device that is open]:descriptor:' \
    '--uapi-fd[a UNIX socket that is open]:descriptor:' \
    '--disable-multi-queue[one queue]' \
    '--disable-drop-privileges[without effect]' \
    '--disable-connected-udp[without effect]' \
    '--help[list the options]' '--version[print the version]' \
    ':interface:'
}

_harmony_wg "$@"
