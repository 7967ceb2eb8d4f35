# The driver of lib/device for test/netns/device.test and test/vm/device.test (linked by the rule
# in mk/netlink.mk).
test-programs: $(O)/test-netns/device
