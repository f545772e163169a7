#pragma once

// Steps per second at the published size; in brief, of two rows at one position. -> an exit status
int run_bench(const char* json, bool brief);
