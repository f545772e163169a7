// How exactly libtorch computes: settings of the whole process that networks and tests rely on.
#pragma once

namespace metavoice::core {

// What is said to be float32 is float32, sums of 16-bit products are too, and a new length of text costs no new plan.
void settle_precision();

}  // namespace metavoice::core
