// SPDX-License-Identifier: Apache-2.0
// libFuzzer target: any bytes, as an archive and as the pickle inside a good one, either are refused with DataError or
// give views that lie inside the file.
#include <algorithm>
#include <cstdlib>
#include <string>
#include <string_view>

#include "engine/base/error.h"
#include "engine/weights/torch_archive.h"
#include "engine/weights/zip_archive.h"

namespace {

void require(bool condition) {
  if (!condition) std::abort();
}

void check(std::string_view file) {
  using namespace vorta::engine;
  try {
    unsigned sum = 0;
    for (const auto& tensor : parse_torch_archive(file, "fuzz")) {
      require(tensor.bytes.empty() || (tensor.bytes.data() >= file.data() &&
                                       tensor.bytes.data() + tensor.bytes.size() <= file.data() + file.size()));
      int64_t last = 0;
      for (std::size_t i = 0; i < tensor.view.sizes.size(); ++i) {
        if (!tensor.bytes.empty()) last += (tensor.view.sizes[i] - 1) * tensor.view.strides[i];
      }
      const int64_t bytes_each = element_type_info(tensor.view.type).bytes;
      require(tensor.bytes.empty() || (last + 1) * bytes_each == static_cast<int64_t>(tensor.bytes.size()));
      for (char c : tensor.bytes) sum += static_cast<unsigned char>(c);  // every byte is readable
    }
    volatile unsigned keep = sum;
    (void)keep;
  } catch (const vorta::DataError&) {
  }
}

}  // namespace

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  const std::string_view bytes(reinterpret_cast<const char*>(data), size);
  check(bytes);
  vorta::engine::ZipWriter zip;
  zip.add("archive/data.pkl", bytes);
  zip.add("archive/data/0", std::string(64, 'x'));
  zip.add("archive/data/1", std::string(8, 'y'));
  check(zip.finish());
  return 0;
}
