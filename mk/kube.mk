# The programs that test/kube/*.test run: kubewatch (lib/kube from a command line) and faultproxy.

KUBE_TESTS := $(O)/test-kube/kubewatch $(O)/test-kube/faultproxy

$(O)/test-kube/%: $(O)/test/kube/%.o $(ARCHIVE)
	@mkdir -p $(@D)
	$(call say,LD,$@)$(CC) $(LDFLAGS) -o $@ $(filter %.o,$^) $(ARCHIVE) $(pkgs_libs)

test-programs: $(KUBE_TESTS)

# The clocks and the timers are the tests' own (test/unit/kubeclock.h).
$(addprefix $(O)/test/,test_kube_events test_kube_publish): \
	WRAP = -Wl,--wrap=mono_now,--wrap=wall_now,--wrap=kube_timer_in
