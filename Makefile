# difs, the extension (PGXS).  The chunk server has its own Makefile in chunkd/, library and command in client/, what all share in common/.
#
#	make                  extension, chunk server, libdifs and the command difs
#	make install          all of it, where pg_config says
#	make WITH= …          the extension alone, as packages of it want it
#	make FAULTS=1 …       with fault points, for tests only (common/fault.h); in a copy of the source
#	make installcheck     regression, isolation and TAP tests; starts its own servers; not as root
#
#	make deb              Debian packages, into dist/
#	make dist             the source as PGXN wants it, into dist/
#	make package-test     builds the Debian packages, installs, uses and purges them in a bare Debian 12; as root: 3 minutes
#
#	make deps             installs the Debian packages that the rest needs
#	make demo [TREE=dir]  everything once, on real files, in a private directory
#	make check            all tests, in a private directory
#	make coverage         which part of the lines a selection of the tests runs, by directory
#	make check-long       the fault tests at full length (doc/faults.md): hours; as root
#	make bench-quick      speed beside large objects, bytea and plain files: under 4 minutes
#	make bench-scale      the same operations with 10 thousand, 1 million and 10 million files: up to 30 minutes, 25 GB
#	make bench            the same at full length: 15 minutes, 60 GB of disk while it runs
#
# The last ten work before anything is installed and do everything by themselves, also as root.

ifneq ($(filter deps demo check coverage check-long bench bench-quick bench-scale deb dist package-test,$(MAKECMDGOALS)),)

.PHONY: deps demo check coverage check-long bench bench-quick bench-scale deb dist package-test
deps:
	scripts/install-packages
demo: deps
	scripts/demo $(TREE)
check: deps
	scripts/check
coverage: deps
	scripts/coverage
check-long: deps
	scripts/check-long
bench: deps
	bench/run full
bench-quick: deps
	bench/run quick
bench-scale: deps
	bench/scale
deb:
	scripts/build-packages dist
dist:
	scripts/build-archive dist
package-test:
	scripts/package-test

else

MODULE_big = difs
OBJS = $(patsubst %.c,%.o,$(sort $(wildcard src/*.c worker/*.c)))
EXTENSION = difs
DATA = $(sort $(wildcard difs--*.sql))
PGFILEDESC = "difs - files inside transactions"

COMMON = common/libdifs_common.a
PG_CPPFLAGS = -I$(CURDIR)
DIFS_VERSION = $(shell sed -n "s/^default_version *= *'\(.*\)'/\1/p" difs.control)
PG_CPPFLAGS += -DDIFS_VERSION='"$(DIFS_VERSION)"'
PG_CFLAGS = -std=gnu11 -Wextra -Wno-unused-parameter -Wno-sign-compare -Wno-missing-field-initializers
ifdef FAULTS
PG_CPPFLAGS += -DDIFS_FAULTS
endif
SHLIB_LINK = $(COMMON) -lzstd -lssl -lcrypto -lisal -lxxhash -lcurl -lmicrohttpd

REGRESS = $(patsubst sql/%.sql,%,$(sort $(wildcard sql/*.sql)))
ISOLATION = $(patsubst specs/%.spec,%,$(sort $(wildcard specs/*.spec)))
TEMP = $(CURDIR)/tmp_check
REGRESS_OPTS = --temp-instance=$(TEMP)/regress --temp-config=$(CURDIR)/test/temp.conf --load-extension=difs
ISOLATION_OPTS = --temp-instance=$(TEMP)/isolation --temp-config=$(CURDIR)/test/temp.conf --load-extension=difs
TAP_TESTS = 1
PROVE_FLAGS += -I$(CURDIR)/t/lib
EXTRA_CLEAN = tmp_check log results output_iso

PG_CONFIG ?= pg_config
PGXS := $(shell $(PG_CONFIG) --pgxs)
ifeq ($(PGXS),)
$(error $(PG_CONFIG) is missing: install postgresql-server-dev-15, or run "make deps")
endif
override with_llvm := no
include $(PGXS)

# What goes with the extension.
WITH ?= difsd client
all: $(WITH)
$(shlib): $(COMMON)
$(OBJS): $(sort $(wildcard common/*.h src/*.h worker/*.h))

# Their Makefiles know better what is out of date.
.PHONY: difsd client $(COMMON)
$(COMMON):
	$(MAKE) -C common
difsd: $(COMMON)
	$(MAKE) -C chunkd
client: $(COMMON)
	$(MAKE) -C client

install: $(WITH:%=install-%)
install-difsd: difsd
	$(MAKE) -C chunkd install bindir='$(bindir)' PG_CONFIG='$(PG_CONFIG)' DESTDIR='$(DESTDIR)'
install-client: client
	$(MAKE) -C client install PG_CONFIG='$(PG_CONFIG)' DESTDIR='$(DESTDIR)'
uninstall: $(WITH:%=uninstall-%)
uninstall-difsd:
	$(MAKE) -C chunkd uninstall bindir='$(bindir)' PG_CONFIG='$(PG_CONFIG)' DESTDIR='$(DESTDIR)'
uninstall-client:
	$(MAKE) -C client uninstall PG_CONFIG='$(PG_CONFIG)' DESTDIR='$(DESTDIR)'
clean: clean-parts
clean-parts:
	$(MAKE) -C common clean
	$(MAKE) -C chunkd clean
	$(MAKE) -C client clean
	$(MAKE) -C test/client clean
	$(MAKE) -C test/unit clean
	$(MAKE) -C test/faults clean
.PHONY: install-difsd uninstall-difsd install-client uninstall-client clean-parts

temp-dir:
	mkdir -p $(TEMP)
installcheck: temp-dir

endif
