# The table and the verdicts of test/bench/wg from its JSON: lines of fields with tabs between.
def about:
  [["tcp", "TCP, 1 stream", "Gb/s"], ["tcp8", "TCP, 8 streams", "Gb/s"],
   ["reverse", "TCP, 1 stream, reverse", "Gb/s"], ["cpu", "CPU of both ends", "s/GB"],
   ["memory8", "peak memory, 8 streams", "MB"], ["udp64", "64-byte UDP, 1 % lost", "kpps"],
   ["udp64_cpu", "CPU of both ends, 64-byte UDP at 50 kpps", "us/packet"],
   ["rr_p50", "request/response p50", "us"], ["rr_p99", "request/response p99", "us"],
   ["start", "start to first handshake", "ms"],
   ["handshakes", "handshakes a second and core", ""], ["setconf", "setconf of 10,000 peers", "s"],
   ["dump", "dump of 10,000 peers", "s"], ["memory10k", "peak memory, 10,000 peers", "MB"]];

# [what, measure, device, beside (null: as it is), "least" or "most", must, aim]
def targets:
  [["TCP 1 stream / wireguard-go", "tcp", "harmony-wg", "wireguard-go", "least", 2.0, 2.5],
   ["  with OpenSSL alone", "tcp", "split", "wireguard-go", "least", 1.6, 2.0],
   ["64-byte UDP / wireguard-go", "udp64", "harmony-wg", "wireguard-go", "least", 2.5, 3.5],
   ["64-byte UDP / boringtun", "udp64", "harmony-wg", "boringtun", "least", 2.5, 2.5],
   ["p50 / wireguard-go", "rr_p50", "harmony-wg", "wireguard-go", "most", 0.8, 0.6],
   ["p50 / boringtun", "rr_p50", "harmony-wg", "boringtun", "most", 1, 1],
   ["CPU per GB / wireguard-go", "cpu", "harmony-wg", "wireguard-go", "most", 0.5, 0.4],
   ["peak memory, 8 streams, MB", "memory8", "harmony-wg", null, "most", 16, 8],
   ["peak memory, 10,000 peers, MB", "memory10k", "harmony-wg", null, "most", 40, 20],
   ["setconf of 10,000 peers, s", "setconf", "harmony-wg", null, "most", 0.3, 0.15],
   ["dump of 10,000 peers, s", "dump", "harmony-wg", null, "most", 0.06, 0.06],
   ["TCP 1 stream / without a cipher", "tcp", "harmony-wg", "plain", "least", 0.7, 0.8]];

def round3: if . >= 100 then round else . * 1000 | round / 1000 end;
def median($r; $m; $d): first($r[] | select(.measure == $m and .device == $d) | .median) // null;

"\(.machine.cpu), \(.machine.cores) cores, Linux \(.machine.kernel), \(.at)",
"load before \(.machine.load_before), after \(.machine.load_after); \(.seconds_each) s each; "
  + (.versions | to_entries | map("\(.key) \(.value)") | join(", ")),
"",
(["", "device", "median", "min", "max", "rounds"] | @tsv),
(.results as $r | about[] as [$m, $name, $unit]
 | ($r | map(select(.measure == $m)) | sort_by(.median))[]
 | ["\($name) \($unit)", .device, (.median, .min, .max | round3), .n] | @tsv),
"",
(["target", "is", "must", "aim", "verdict"] | @tsv),
(.results as $r | targets[] as [$what, $m, $d, $base, $way, $must, $aim]
 | median($r; $m; $d) as $is
 | (if $base then median($r; $m; $base) else 1 end) as $beside
 | select($is and $beside)
 | ($is / $beside) as $v
 | (if $way == "least" then $v >= $must else $v <= $must end) as $met
 | (if $way == "least" then $v >= $aim else $v <= $aim end) as $aimed
 | [$what, ($v | round3), $must, $aim,
    (if $aimed then "met, also the aim" elif $met then "met" else "MISSED" end)] | @tsv)
