#pragma once

// -> how many cases failed, as an exit status.
int run_cases();
