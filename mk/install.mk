# Installation: make install DESTDIR= PREFIX=/usr. What is the user's (/etc/harmony-agent/*.toml)
# is neither overwritten nor removed; only the example is ours.

BINDIR      ?= $(PREFIX)/bin
MANDIR      ?= $(PREFIX)/share/man
DOCDIR      ?= $(PREFIX)/share/doc/harmony-agent
UNITDIR     ?= $(PREFIX)/lib/systemd/system
TMPFILESDIR ?= $(PREFIX)/lib/tmpfiles.d
SYSCONFDIR  ?= /etc
COMPLETED   := $(basename $(notdir $(wildcard deploy/completions/*.bash)))
BASH_DIR    := $(PREFIX)/share/bash-completion/completions
ZSH_DIR     := $(PREFIX)/share/zsh/vendor-completions
FISH_DIR    := $(PREFIX)/share/fish/vendor_completions.d
COMPLETIONS := $(foreach p,$(COMPLETED),$(BASH_DIR)/$(p) $(ZSH_DIR)/_$(p) $(FISH_DIR)/$(p).fish)

MAN5 := $(sort $(wildcard docs/man/*.5))
MAN8 := $(sort $(wildcard docs/man/*.8))
INSTALL ?= install

.PHONY: install uninstall
install: all ## install programs, manual pages, systemd unit, completions (DESTDIR= PREFIX=)
	$(Q)$(INSTALL) -d $(addprefix $(DESTDIR),$(BINDIR) $(MANDIR)/man5 $(MANDIR)/man8 $(DOCDIR) $(UNITDIR))
	$(Q)$(INSTALL) -m 0755 $(BINS) $(DESTDIR)$(BINDIR)
	$(Q)$(INSTALL) -m 0644 $(MAN5) $(DESTDIR)$(MANDIR)/man5
	$(Q)$(INSTALL) -m 0644 $(MAN8) $(DESTDIR)$(MANDIR)/man8
	$(Q)$(INSTALL) -m 0644 README.md CHANGELOG.md LICENSE docs/*.md $(DESTDIR)$(DOCDIR)
	$(Q)sed 's|@BINDIR@|$(BINDIR)|' deploy/systemd/harmony-agent.service >$(DESTDIR)$(UNITDIR)/harmony-agent.service
	$(Q)chmod 0644 $(DESTDIR)$(UNITDIR)/harmony-agent.service
	$(Q)$(INSTALL) -D -m 0644 deploy/tmpfiles/harmony-agent.conf $(DESTDIR)$(TMPFILESDIR)/harmony-agent.conf
	$(Q)set -e; for p in $(COMPLETED); do \
		$(INSTALL) -D -m 0644 deploy/completions/$$p.bash $(DESTDIR)$(BASH_DIR)/$$p; \
		$(INSTALL) -D -m 0644 deploy/completions/$$p.zsh $(DESTDIR)$(ZSH_DIR)/_$$p; \
		$(INSTALL) -D -m 0644 deploy/completions/$$p.fish $(DESTDIR)$(FISH_DIR)/$$p.fish; \
	done
	$(Q)$(INSTALL) -d -m 0755 $(DESTDIR)$(SYSCONFDIR)/harmony-agent
	$(Q)$(INSTALL) -d -m 0755 $(DESTDIR)$(SYSCONFDIR)/harmony-agent/networks.d
	$(Q)$(INSTALL) -m 0644 deploy/networks.toml.example $(DESTDIR)$(SYSCONFDIR)/harmony-agent

uninstall: ## remove what install has put there; the user's configuration and keys stay
	$(Q)rm -f $(addprefix $(DESTDIR)$(BINDIR)/,$(PROGRAMS))
	$(Q)rm -f $(addprefix $(DESTDIR)$(MANDIR)/man5/,$(notdir $(MAN5))) $(addprefix $(DESTDIR)$(MANDIR)/man8/,$(notdir $(MAN8)))
	$(Q)rm -f $(addprefix $(DESTDIR),$(COMPLETIONS)) $(DESTDIR)$(UNITDIR)/harmony-agent.service \
		$(DESTDIR)$(TMPFILESDIR)/harmony-agent.conf
	$(Q)rm -rf $(DESTDIR)$(DOCDIR)
	$(Q)rm -f $(DESTDIR)$(SYSCONFDIR)/harmony-agent/networks.toml.example
	$(Q)rmdir --ignore-fail-on-non-empty $(DESTDIR)$(SYSCONFDIR)/harmony-agent/networks.d \
		$(DESTDIR)$(SYSCONFDIR)/harmony-agent 2>/dev/null || :

# Lines and branches by the unit tests, with gcov alone; gcovr's or lcov's report where one of them
# is installed. COVER=wg: of that module alone, by the tests that have its name.
COVER ?=
cover_tests := $(if $(COVER),$(patsubst test/unit/%.c,%,$(filter test/unit/test_$(COVER).c test/unit/test_$(COVER)_%.c,$(UNIT_SRC))))
.PHONY: coverage
coverage: ## line and branch coverage of lib by the unit tests (COVER=wg: of one module)
	$(if $(COVER),$(if $(cover_tests),,$(error COVER=$(COVER): there is no test/unit/test_$(COVER)*.c)))
	$(Q)$(MAKE) --no-print-directory COVERAGE=1 $(if $(COVER),$(cover_tests:%=$(BUILD)/cov/test/%),unit)
	$(Q)find $(BUILD)/cov -name '*.gcda' -delete
	$(Q)JOBS=$$(nproc) CK_FORK=no test/run unit $(BUILD)/cov $(cover_tests) >$(BUILD)/cov/run.log || \
		{ grep -v ' 0 failed ' $(BUILD)/cov/run.log; exit 1; }
	$(Q)hack/coverage $(BUILD)/cov $(COVER)
