# make && make install    build and install (make install as root)
# make installcheck       all tests against what is installed, as an ordinary user
# make test, make demo    everything from bare Debian on, see README.md
#
# MQ_FAULTS=1 fault points, ASSERTS=1 assertions, SELFTEST=1 unit tests,
# WERROR=0 warnings stay warnings.  Objects are rebuilt when a flag changes.

PG_CONFIG ?= $(firstword $(wildcard /usr/lib/postgresql/15/bin/pg_config) pg_config)
PGXS := $(shell $(PG_CONFIG) --pgxs 2>/dev/null)

EXTENSION = mq_ext
EXTVERSION := $(shell sed -n "s/^default_version *= *'\(.*\)'/\1/p" mq_ext.control)
MODULE_big = mq_ext
ROOMS = base storage broker kafka kafka/handlers replication bgworker mq_ext
OBJS = $(patsubst %.c,%.o,$(sort $(wildcard $(addsuffix /*.c,$(ROOMS)))))
DATA = $(wildcard mq_ext/install/upgrade/mq_ext--*.sql)
DATA_built = mq_ext--$(EXTVERSION).sql

PG_CPPFLAGS = $(if $(filter 1,$(MQ_FAULTS)),-DMQ_FAULTS) \
	$(if $(filter 1,$(ASSERTS)),-DUSE_ASSERT_CHECKING)
# what the server's headers and calling conventions ask for is let pass
WARNINGS = -Wall -Wextra -Wno-unused-parameter -Wno-sign-compare \
	-Wno-missing-field-initializers -Wno-ignored-attributes $(if $(filter 0,$(WERROR)),,-Werror)
# the same source gives the same file, in whatever folder it is built; nobody
# puts himself in between, so calls inside the library are direct ones
PG_CFLAGS = $(WARNINGS) -ffile-prefix-map=$(CURDIR)=. -fno-semantic-interposition
CODEC_LIBS = -llz4 -lz -lzstd -lsnappy
SHLIB_LINK = $(CODEC_LIBS) -Wl,-Bsymbolic-functions

EXTRA_CLEAN = .flavour tmp_check $(wildcard */*.bc) $(SELFTESTS) $(FUZZERS)

.PHONY: all default-goal
all: default-goal

ifneq ($(wildcard $(PGXS)),)
# bitcode would only serve to inline our functions in JIT; make with_llvm=yes builds it
ifneq ($(origin with_llvm),command line)
override with_llvm := no
endif
NO_INSTALLCHECK = 1
include $(PGXS)
default-goal:
else
default-goal install installcheck clean:
	@echo "$(PG_CONFIG) --pgxs leads nowhere: install postgresql-server-dev-15 first (tools/packages.sh does)" >&2; exit 1
endif

# The server is configured without dependency tracking, and PGXS inherits that.
HEADERS_ALL = $(wildcard $(addsuffix /*.h,$(ROOMS)))
$(OBJS): $(HEADERS_ALL) .flavour
$(OBJS:.o=.bc): $(HEADERS_ALL) .flavour

.PHONY: FORCE
FLAVOUR = $(CC) $(CFLAGS) $(CPPFLAGS)
.flavour: FORCE
	@echo '$(FLAVOUR)' | cmp -s - $@ || echo '$(FLAVOUR)' > $@

mq_ext--$(EXTVERSION).sql: $(sort $(wildcard mq_ext/install/*.sql)) mq_ext.control
	@{ printf '%s\n' '\echo Use "CREATE EXTENSION mq_ext" to load this file. \quit'; \
	   for f in $(filter %.sql,$^); do echo; cat $$f; done; } > $@

# Unit tests and fuzzers link the pure files alone, outside the server; what
# else stands in those files is never called and thrown away by the linker.
PURE = base/mq_bytes.c storage/mq_append_plain.c storage/mq_batch.c storage/mq_batches.c storage/mq_codec.c \
	storage/mq_retention.c storage/mq_segment.c storage/mq_state.c
SELFTESTS = selftest/selftest selftest/selftest_asan
FUZZERS = $(patsubst %.c,%,$(wildcard selftest/fuzz_*.c))
SELFTEST_SRCS = $(filter-out selftest/fuzz_%,$(wildcard selftest/*.c)) $(PURE)
FUZZ_SRCS = $(filter-out selftest/test_% selftest/mq_selftest.c,$(SELFTEST_SRCS))
PURE_FLAGS = -DFRONTEND -DUSE_ASSERT_CHECKING -Iselftest -g -O1 -fwrapv -fno-strict-aliasing -ffunction-sections -Wl,--gc-sections $(WARNINGS)
PURE_LIBS = -L'$(pkglibdir)' -lpgcommon -lpgport $(CODEC_LIBS) -lm
SANITIZE = address,undefined -fno-sanitize-recover=all

ifeq ($(SELFTEST),1)
all: $(if $(wildcard selftest/*.c),$(SELFTESTS) $(FUZZERS))
endif
$(SELFTESTS) $(FUZZERS): $(PURE) $(HEADERS_ALL) $(wildcard selftest/*.h) .flavour
selftest/selftest: $(SELFTEST_SRCS)
	$(CC) $(CPPFLAGS) $(PURE_FLAGS) $(SELFTEST_SRCS) $(PURE_LIBS) -o $@
selftest/selftest_asan: $(SELFTEST_SRCS)
	$(CC) $(CPPFLAGS) $(PURE_FLAGS) -fsanitize=$(SANITIZE) $(SELFTEST_SRCS) $(PURE_LIBS) -o $@
selftest/fuzz_%: selftest/fuzz_%.c
	$(CLANG) $(CPPFLAGS) $(PURE_FLAGS) -fsanitize=fuzzer,$(SANITIZE) $< $(FUZZ_SRCS) $(PURE_LIBS) -o $@

# A second opinion on warnings; nothing is kept.
.PHONY: clang
clang:
	printf '%s\n' $(OBJS:.o=.c) $(wildcard selftest/*.c) | xargs -P 2 -n 6 \
	  $(CLANG) -fsyntax-only -O1 -fwrapv -fno-strict-aliasing $(WARNINGS) $(CPPFLAGS)

# Tests of an installed extension.  Files that arm fault points are left out
# when the installed library has none.
CHECKDIR = $(CURDIR)/tmp_check
FAULTY = $(shell grep -qs 'mq\.faults' '$(pkglibdir)/mq_ext.so' && echo 1)
stems = $(sort $(basename $(notdir $(if $(FAULTY),$(1),$(if $(1),$(shell grep -Ls 'mq\.faults' $(1)))))))
REGRESS ?= $(call stems,$(wildcard sql/*.sql))
ISOLATION ?= $(call stems,$(wildcard specs/*.spec))
PROVE_TESTS ?= $(sort $(wildcard t/*.pl))
PROVE_FLAGS ?= -j2
CHECK_OPTS = --load-extension=mq_ext --temp-config=mq_ext.conf --encoding=UTF8 --no-locale
check_opts = --temp-instance=$(CHECKDIR)/$(1)/server --outputdir=$(CHECKDIR)/$(1) $(CHECK_OPTS)
check_prep = @rm -rf '$(CHECKDIR)/$(1)' && mkdir -p '$(CHECKDIR)/$(1)'

.PHONY: installcheck installcheck-user installcheck-regress installcheck-isolation installcheck-tap
installcheck: installcheck-regress installcheck-isolation installcheck-tap

installcheck-user:
	@test "$$(id -u)" != 0 || { echo "PostgreSQL refuses to run as root: run 'make installcheck' as an ordinary user" >&2; exit 1; }

installcheck-regress: installcheck-user
	$(call check_prep,regress)
	$(if $(strip $(REGRESS)),$(top_builddir)/src/test/regress/pg_regress --inputdir=. \
	  --bindir='$(bindir)' $(call check_opts,regress) $(REGRESS))

installcheck-isolation: installcheck-user
	$(call check_prep,isolation)
	$(if $(strip $(ISOLATION)),$(top_builddir)/src/test/isolation/pg_isolation_regress --inputdir=. \
	  --bindir='$(bindir)' $(call check_opts,isolation) $(ISOLATION))

installcheck-tap: installcheck-user
	$(call check_prep,tap)
	$(if $(strip $(PROVE_TESTS)),PATH='$(bindir)':"$$PATH" LANG=C.UTF-8 PGPORT=65432 \
	  TESTDIR='$(CHECKDIR)/tap' PG_TEST_PORT_DIR='$(CHECKDIR)/tap/ports' \
	  PG_REGRESS='$(top_builddir)/src/test/regress/pg_regress' \
	  prove -I '$(top_srcdir)/src/test/perl' -I '$(CURDIR)/t' $(PROVE_FLAGS) $(PROVE_TESTS))

.PHONY: test demo demo-stop house torture bench
test: ; @tools/test.sh
demo: ; @tools/demo.sh start
demo-stop: ; @tools/demo.sh stop
house: ; @sh tools/check_house.sh
torture: ; @tools/torture.sh
bench: ; @bench/run.sh
