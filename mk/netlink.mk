# The programs that test lib/netlink against a kernel: test/netns/netlink.test and
# test/vm/nlwg.test run them.

KERNEL_TESTS := $(O)/test-netns/netlink $(O)/test-vm/nlwg

$(O)/test-netns/%: $(O)/test/netns/%.o $(ARCHIVE)
	@mkdir -p $(@D)
	$(call say,LD,$@)$(CC) $(LDFLAGS) -o $@ $(filter %.o,$^) $(ARCHIVE) $(pkgs_libs)

$(O)/test-vm/%: $(O)/test/vm/%.o $(ARCHIVE)
	@mkdir -p $(@D)
	$(call say,LD,$@)$(CC) $(LDFLAGS) -o $@ $(filter %.o,$^) $(ARCHIVE) $(pkgs_libs)

test-programs: $(KERNEL_TESTS)
