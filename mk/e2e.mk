# The chart, the sidecar and the node agent on a cluster made on this machine: e2e/README.md.
# Whole, it runs the image that hack/image makes; E2E_IMAGE=FILE is another one, IMAGE=no an image of
# the build directory's programs alone, as with E2E=core.
E2E ?= all
ifeq ($(E2E)$(IMAGE)$(E2E_IMAGE),all)
E2E_IMAGE := $(CURDIR)/build/image/harmony-agent.tar
e2e: image
endif

.PHONY: e2e
e2e: all ## tests on a Kubernetes cluster made on this machine (root; E2E=core: fewer nodes, minutes)
	$(Q)BUILD_DIR=$(O) E2E_IMAGE=$(E2E_IMAGE) e2e/run
