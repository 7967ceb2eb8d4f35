# The programs that test/kube/*.test run: kubewatch (lib/kube from a command line) and faultproxy.

KUBE_TESTS := $(O)/test-kube/kubewatch $(O)/test-kube/faultproxy

$(O)/test-kube/%: $(O)/test/kube/%.o $(ARCHIVE)
	@mkdir -p $(@D)
	$(call say,LD,$@)$(CC) $(LDFLAGS) -o $@ $(filter %.o,$^) $(ARCHIVE) $(pkgs_libs)

test-programs: $(KUBE_TESTS)
