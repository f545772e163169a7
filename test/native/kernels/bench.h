#pragma once

// Steps per second at the published size. -> an exit status
int run_bench(const char* json);
