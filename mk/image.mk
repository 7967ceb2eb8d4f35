# The image: hack/image says what can be set (TOOL, ARCH, BASE).
.PHONY: image
image: ## the image, by docker, podman or buildah: build/image/harmony-agent.tar
	$(Q)hack/image

.PHONY: image-test
image-test: all ## the image taken apart, also for arm64 (root; FULL=1 builds it twice)
	$(Q)TEST_TIMEOUT=1800 test/run image $(O)
