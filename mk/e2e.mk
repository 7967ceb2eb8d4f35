# The chart, the sidecar and the node agent on a cluster made on this machine: e2e/README.md.
# Whole, it runs the image that hack/image makes; E2E_IMAGE=FILE is another one, IMAGE=no an image of
# the build directory's programs alone, as with E2E=core.
E2E ?= all
e2e_image := $(E2E_IMAGE)
ifeq ($(E2E)$(IMAGE)$(E2E_IMAGE),all)
e2e_image := $(CURDIR)/build/image/harmony-agent.tar
endif

.PHONY: e2e
e2e: all ## tests on a Kubernetes cluster made on this machine (root; E2E=core: fewer nodes, minutes)
	$(if $(filter-out $(E2E_IMAGE),$(e2e_image)),$(Q)OUT=$(e2e_image) hack/image)
	$(Q)BUILD_DIR=$(O) E2E_IMAGE=$(e2e_image) e2e/run
