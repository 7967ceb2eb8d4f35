# Benchmarks: figures, no verdicts; docs/performance.md says what was measured and aimed at. The
# scripts say how long they run and by which variables that is changed.

$(O)/bench/%: $(O)/test/bench/%.o $(ARCHIVE)
	@mkdir -p $(@D)
	$(call say,LD,$@)$(CC) $(LDFLAGS) -o $@ $(filter %.o,$^) $(ARCHIVE) $(pkgs_libs)

# harmony-wg without a cipher, for benchmarks alone: see test/bench/aead_none.c.
$(O)/bench/harmony-wg-plain: $(patsubst %.c,$(O)/%.o,$(sort $(wildcard cmd/harmony-wg/*.c))) \
		$(O)/test/bench/aead_none.o $(ARCHIVE)
	@mkdir -p $(@D)
	$(call say,LD,$@)$(CC) $(LDFLAGS) -o $@ $(filter %.o,$^) $(ARCHIVE) $(pkgs_libs)

# Its peers are the unit tests'.
$(O)/bench/handshakes: $(O)/test/unit/wgpeer.o

BENCH_WG := $(addprefix $(O)/bench/,harmony-wg-plain wgload handshakes)
# Tests load tunnels with them.
test-programs: $(O)/bench/wgload $(O)/bench/handshakes

.PHONY: bench bench-agent bench-kube bench-wg bench-aead
bench: bench-agent bench-kube bench-wg bench-aead ## every benchmark: tables, and JSON under build/ (root; half an hour)

bench-agent: all $(O)/bench/bench_agent ## the agent with 10,000 peers beside wg(8) and an exporter (root)
	$(Q)BUILD_DIR=$(O) test/bench/agent.bench

bench-kube: all $(O)/bench/uapi_wait ## how fast an edit in the API server is in the device (root)
	$(Q)BUILD_DIR=$(O) test/bench/kube-latency

bench-wg: all $(BENCH_WG) ## userspace WireGuard devices side by side (root; minutes)
	$(Q)BUILD_DIR=$(O) test/bench/wg

.PHONY: profile-wg
profile-wg: $(O)/harmony-wg $(O)/bench/wgload ## where harmony-wg's processor time goes (root, perf; half a minute)
	$(Q)BUILD_DIR=$(O) test/bench/wg-profile

bench-aead: $(O)/bench/aead ## nanoseconds a packet by each AEAD backend
	$(Q)$(O)/bench/aead

.PHONY: soak-wg
soak-wg: $(O)/harmony-wg ## harmony-wg beside the others under load with renewed sessions (root; SOAK_SECONDS=1800)
	$(Q)BUILD_DIR=$(O) test/netns/wg-soak.sh
