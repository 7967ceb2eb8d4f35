# Tests. `make check` is the quick loop; `make test` installs what it needs and runs all groups.

.PHONY: check unit test netns kube vm help quickstart test-asan test-tsan tsan-programs
unit: $(UNIT_BINS)

quickstart: ## the main job, shown step by step (root; KUBE=1 with an API server, CLUSTER=1 on a cluster)
	$(Q)BUILD_DIR=$(O) $(if $(CLUSTER),hack/quickstart-cluster,hack/quickstart)

check: $(UNIT_BINS) $(BINS) ## unit tests and the layer check: seconds, no root
	$(Q)hack/check-layers
	$(Q)test/run unit $(O)

test: ## install what is needed, run every group of tests
	$(Q)hack/test

netns: all test-programs ## tests in network namespaces (root)
	$(Q)test/run netns $(O)

test-asan: ## every unit test and namespace test under AddressSanitizer and UBSan (root; minutes)
	$(Q)$(MAKE) --no-print-directory ASAN=1 all unit test-programs
	$(Q)AS=asan CK_FORK=no test/run unit $(BUILD)/asan
	$(Q)AS=netns-asan test/run netns $(BUILD)/asan

tsan-programs: $(O)/harmony-wg $(O)/test/test_wg_threads
test-tsan: ## harmony-wg and the engine's threads under ThreadSanitizer (root)
	$(Q)TEST_GROUPS=tsan hack/test

kube: all test-programs ## tests against a real kube-apiserver and etcd
	$(Q)test/run kube $(O)

vm: all test-programs ## tests in a QEMU machine with kernel WireGuard
	$(Q)test/run vm $(O)

# Programs that tests drive; each file of mk/ that has some adds them as prerequisites.
.PHONY: test-programs
test-programs:

help: ## this text
	$(Q)sed -n 's/^\([a-z][a-z-]*\):.*## \(.*\)/\1|\2/p' Makefile mk/*.mk | sort -u | \
		while IFS='|' read -r t d; do printf '  make %-18s %s\n' "$$t" "$$d"; done
