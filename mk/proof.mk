# The running agent in one process with its test, whose system calls and allocations fail on demand
# (test/netns/agent-faults.test).
$(O)/test-netns/agent_faults: $(O)/test/unit/fault.o
test-programs: $(O)/test-netns/agent_faults
