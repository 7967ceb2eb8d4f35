# Fuzz targets, test/fuzz/fuzz_NAME.c with the seeds test/fuzz/corpus/NAME/.
#
#   make fuzz FUZZ_SECONDS=60      each target for that long, with clang's libFuzzer
#   make fuzz FUZZ=toml            only this one
#   make fuzz-replay               the corpora through the same targets, gcc, ASan and UBSan
#
# libFuzzer's objects are a tree of their own; what it finds lands under build/fuzz/found/.

FUZZ_SECONDS ?= 60
FUZZ_SRC     := $(sort $(wildcard test/fuzz/fuzz_*.c))
FUZZ         ?= $(FUZZ_SRC:test/fuzz/fuzz_%.c=%)
FO           := $(BUILD)/fuzz
FUZZ_FLAGS   := -std=gnu17 -g -O1 -fno-omit-frame-pointer -Itest/unit
FUZZ_SAN     := -fsanitize=fuzzer-no-link,address,undefined -fno-sanitize-recover=all

$(FO)/%.o: %.c
	@mkdir -p $(@D)
	$(call say,CLANG,$<)clang $(CPPFLAGS) $(pkgs_cflags) $(FUZZ_FLAGS) $(FUZZ_SAN) -MMD -MP -c -o $@ $<

$(FO)/libharmony.a: $(LIB_SRC:%.c=$(FO)/%.o)
	$(Q)rm -f $@ && ar rcs $@ $^

$(FO)/fuzz_%: $(FO)/test/fuzz/fuzz_%.o $(FO)/libharmony.a
	$(call say,LD,$@)clang -fsanitize=fuzzer,address,undefined -o $@ $(filter %.o,$^) $(FO)/libharmony.a $(pkgs_libs)

.PHONY: fuzz fuzz-replay
fuzz: $(FUZZ:%=$(FO)/fuzz_%) ## run every fuzz target (FUZZ_SECONDS=60 each, FUZZ=name)
	$(Q)for f in $(FUZZ); do \
		mkdir -p $(FO)/found/$$f $(FO)/corpus/$$f; \
		echo "fuzz $$f for $(FUZZ_SECONDS) s"; \
		$(FO)/fuzz_$$f -max_total_time=$(FUZZ_SECONDS) -timeout=10 -rss_limit_mb=1024 \
			-print_final_stats=1 -verbosity=0 -artifact_prefix=$(FO)/found/$$f/ \
			$(FO)/corpus/$$f test/fuzz/corpus/$$f || exit 1; \
	done

# Replays need no clang: the sanitized gcc tree and a main() that feeds files.
# libFuzzer calls the target by a name that no header declares.
$(O)/test/fuzz/%.o: CFLAGS += -Itest/unit -Wno-missing-prototypes

REPLAY_BINS := $(FUZZ_SRC:test/fuzz/%.c=$(O)/replay/%)
$(O)/replay/%: $(O)/test/fuzz/%.o $(O)/test/fuzz/replay.o $(ARCHIVE)
	@mkdir -p $(@D)
	$(call say,LD,$@)$(CC) $(LDFLAGS) -o $@ $(filter %.o,$^) $(ARCHIVE) $(pkgs_libs)

# What a target is compared with.
OFFLOAD_REFERENCE := test/unit/offloadraw.o test/unit/offloadref.o
$(FO)/fuzz_offload: $(OFFLOAD_REFERENCE:%=$(FO)/%)
$(O)/replay/fuzz_offload: $(OFFLOAD_REFERENCE:%=$(O)/%)

.PHONY: replay-bins
replay-bins: $(REPLAY_BINS)

fuzz-replay: ## feed the corpora to the fuzz targets under ASan and UBSan
	$(Q)$(MAKE) --no-print-directory ASAN=1 replay-bins
	$(Q)test/run fuzz $(BUILD)/asan
