# Allocations of the linked objects go through the test's own functions, which fail on demand.
$(O)/test/test_config_alloc: WRAP = -Wl,--wrap=malloc,--wrap=calloc,--wrap=realloc,--wrap=strdup
