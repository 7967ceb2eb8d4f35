# The chart, the sidecar and the node agent on a cluster made on this machine: e2e/README.md.
.PHONY: e2e
e2e: all ## tests on a Kubernetes cluster made on this machine (root; E2E=core: fewer nodes, minutes)
	$(Q)BUILD_DIR=$(O) e2e/run
