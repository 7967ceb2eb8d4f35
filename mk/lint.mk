# Checks of the source: hack/lint says which; LINT="format shell" runs only these.
.PHONY: lint format
lint: ## check format, layers, analysers, scripts, manuals, texts
	$(Q)hack/lint $(LINT)

format: ## rewrite the C files as .clang-format wants them
	$(Q)clang-format -i $(shell find lib cmd test -name '*.[ch]')
