// The native tests: one executable, no Node. Filters, repeats and reports are doctest's (`--help`).
#define DOCTEST_CONFIG_IMPLEMENT_WITH_MAIN
#include <doctest.h>
