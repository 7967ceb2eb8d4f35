# test/preload/NAME.c: libraries that stand between a program and libc in a test (LD_PRELOAD); each
# becomes BUILD_DIR/preload/NAME.so.

PRELOAD := $(patsubst test/preload/%.c,$(O)/preload/%.so,$(sort $(wildcard test/preload/*.c)))

$(O)/preload/%.so: test/preload/%.c
	@mkdir -p $(@D)
	$(call say,CC,$<)$(CC) $(CPPFLAGS) $(ALLCFLAGS) -fPIC -shared -o $@ $< -ldl

test-programs: $(PRELOAD)
