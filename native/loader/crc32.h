// The checksum of zip files.
#pragma once

#include <cstddef>
#include <cstdint>

namespace metavoice::loader {

// Goes on from `crc`, which starts and ends inverted.
uint32_t crc_more(uint32_t crc, const uint8_t* data, size_t length);

}  // namespace metavoice::loader
