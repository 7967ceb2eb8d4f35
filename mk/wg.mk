# Slots for secrets come from the system, not from malloc; the test's own functions fail on demand.
$(O)/test/test_wg_memory: WRAP = -Wl,--wrap=secret_new,--wrap=secret_copy
