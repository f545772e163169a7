#pragma once

// -> an exit status: 1 where a case failed. `small`: some narrow ones, for a memory checker.
int run_cases(bool small);
// Draws against the host's, and steps that follow each other without it.
int run_draw_cases(bool small);
