# Slots for secrets come from the system, not from malloc; the test's own functions fail on demand.
$(O)/test/test_wg_memory: WRAP = -Wl,--wrap=secret_new,--wrap=secret_copy
# All lanes at once, by the queue that the device has between them and control.
$(O)/test/test_wg_threads: $(O)/cmd/harmony-wg/handshake.o
