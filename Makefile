# harmony-agent. `make help` lists the targets. Quiet unless V=1; objects under build/.
#
# Every lib/NAME/*.c goes into one archive, from which each program takes what it needs. Programs
# are cmd/NAME/*.c; unit tests test/unit/test_NAME.c, one binary each.

VERSION := $(shell cat VERSION)
BUILD   ?= build
CC      ?= cc
PREFIX  ?= /usr
DESTDIR ?=

# One object tree per variant, so that switching does not rebuild.
ifdef ASAN
VARIANT  := /asan
VARFLAGS := -fsanitize=address,undefined -fno-sanitize-recover=all -fno-omit-frame-pointer
else ifdef TSAN
VARIANT  := /tsan
VARFLAGS := -fsanitize=thread -fno-omit-frame-pointer
else ifdef COVERAGE
VARIANT  := /cov
VARFLAGS := --coverage -O0
else
HARDEN   := -D_FORTIFY_SOURCE=2 -fstack-protector-strong -fstack-clash-protection -fcf-protection
endif
O := $(BUILD)$(VARIANT)

ifeq ($(findstring x86_64,$(shell $(CC) -dumpmachine)),)
HARDEN := $(filter-out -fcf-protection,$(HARDEN))
endif

# libcurl is loaded when it is needed (lib/http/curl_load.c), and never linked with.
PKGS := json-c libmnl libnftnl libsodium libssl libcrypto yaml-0.1 libevent \
        libevent_openssl libcap-ng libseccomp zlib

CPPFLAGS += -D_GNU_SOURCE -Ilib -DHARMONY_VERSION='"$(VERSION)"'
CFLAGS   ?= -O2 -g
ALLCFLAGS = -std=gnu17 -Wall -Wextra -Wno-unused-parameter -Wshadow -Wstrict-prototypes \
            -Wmissing-prototypes -Wvla -Wformat=2 -Wundef -fno-common -fPIE -pthread \
            $(if $(CI),-Werror) $(HARDEN) $(VARFLAGS) $(CFLAGS)
LDFLAGS  += -pie -pthread -Wl,-z,relro,-z,now,-z,noexecstack -Wl,--as-needed $(VARFLAGS)

Q := $(if $(V),,@)
say = $(if $(V),,@printf '  %-6s %s\n' '$(1)' '$(2)';)

# Asked for once, and only where something is compiled.
pkgs_cflags = $(eval pkgs_cflags := $(shell pkg-config --cflags libcurl $(PKGS)))$(pkgs_cflags)
pkgs_libs   = $(eval pkgs_libs := $(shell pkg-config --libs $(PKGS)) -lm -ldl)$(pkgs_libs)
check_libs  = $(eval check_libs := $(shell pkg-config --libs check))$(check_libs)

LIB_SRC  := $(sort $(wildcard lib/*/*.c))
LIB_OBJ  := $(LIB_SRC:%.c=$(O)/%.o)
ARCHIVE  := $(O)/libharmony.a
PROGRAMS := $(sort $(notdir $(patsubst %/main.c,%,$(wildcard cmd/*/main.c))))
BINS     := $(PROGRAMS:%=$(O)/%)

UNIT_SRC    := $(sort $(wildcard test/unit/test_*.c))
UNIT_BINS   := $(UNIT_SRC:test/unit/%.c=$(O)/test/%)
UNIT_COMMON := $(patsubst %.c,$(O)/%.o,$(filter-out $(UNIT_SRC),$(sort $(wildcard test/unit/*.c))))

.PHONY: all clean
.DEFAULT_GOAL := all
.DELETE_ON_ERROR:
.SECONDARY:

all: $(BINS) ## build every program

$(O)/%.o: %.c
	@mkdir -p $(@D)
	$(call say,CC,$<)$(CC) $(CPPFLAGS) $(pkgs_cflags) $(ALLCFLAGS) -MMD -MP -c -o $@ $<

$(ARCHIVE): $(LIB_OBJ)
	$(call say,AR,$@)rm -f $@ && $(AR) rcs $@ $(LIB_OBJ)

define program_rule
$(O)/$(1): $(patsubst %.c,$(O)/%.o,$(sort $(wildcard cmd/$(1)/*.c))) $(ARCHIVE)
	$$(call say,LD,$$@)$$(CC) $$(LDFLAGS) -o $$@ $$(filter %.o,$$^) $(ARCHIVE) $$(pkgs_libs)
endef
$(foreach p,$(PROGRAMS),$(eval $(call program_rule,$(p))))

$(O)/test/%: $(O)/test/unit/%.o $(UNIT_COMMON) $(ARCHIVE)
	@mkdir -p $(@D)
	$(call say,LD,$@)$(CC) $(LDFLAGS) $(WRAP) -o $@ $(filter %.o,$^) $(ARCHIVE) $(check_libs) $(pkgs_libs)

clean: ## remove build/
	$(Q)rm -rf $(BUILD)

-include $(shell find $(O) -name '*.d' 2>/dev/null)
-include $(sort $(wildcard mk/*.mk))
