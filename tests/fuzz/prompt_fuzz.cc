// SPDX-License-Identifier: Apache-2.0
// libFuzzer target: any bytes as a prompt either are refused with ConfigError or give valid UTF-8 whose only
// white space is single spaces inside.
#include <cstdlib>
#include <string>
#include <string_view>

#include "engine/base/error.h"
#include "engine/base/utf8.h"
#include "engine/text/clean_prompt.h"

namespace {

void require(bool condition) {
  if (!condition) std::abort();
}

}  // namespace

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  const std::string_view bytes(reinterpret_cast<const char*>(data), size);
  std::string clean;
  try {
    clean = vorta::engine::clean_prompt(bytes);
  } catch (const vorta::ConfigError&) {
    require(!vorta::is_utf8(bytes));
    return 0;
  }
  require(vorta::is_utf8(clean));
  require(clean.find_first_of("\n\r\t") == std::string::npos && clean.find("  ") == std::string::npos);
  require(clean.empty() || (clean.front() != ' ' && clean.back() != ' '));
  return 0;
}
