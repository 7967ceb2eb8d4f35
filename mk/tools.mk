# test/tools/NAME.c: small programs by which tests in namespaces and in the machine call the
# library; each becomes BUILD_DIR/tools/NAME.

TOOLS := $(patsubst test/tools/%.c,$(O)/tools/%,$(sort $(wildcard test/tools/*.c)))

$(O)/tools/%: $(O)/test/tools/%.o $(ARCHIVE)
	@mkdir -p $(@D)
	$(call say,LD,$@)$(CC) $(LDFLAGS) -o $@ $(filter %.o,$^) $(ARCHIVE) $(pkgs_libs)

test-programs: $(TOOLS)

# These speak WireGuard as the unit tests' peer does.
$(O)/tools/wgattack $(O)/tools/wgspeak: $(O)/test/unit/wgpeer.o
