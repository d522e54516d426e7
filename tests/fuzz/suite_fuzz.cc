// SPDX-License-Identifier: Apache-2.0
// libFuzzer target: any bytes as a suite file, with what stands before a first NUL as a `--set`, either are refused
// with ConfigError or DataError or give a suite whose resolved form reads back as the same suite.
#include <sys/mman.h>
#include <unistd.h>

#include <cstdlib>
#include <string>
#include <string_view>

#include "engine/base/error.h"
#include "harness/suite/suite_spec.h"

namespace {

void require(bool condition) {
  if (!condition) std::abort();
}

// A file without a disk. load_suite wants a path.
class MemoryFile {
 public:
  explicit MemoryFile(std::string_view bytes) : descriptor_(::memfd_create("suite", 0)) {
    require(descriptor_ >= 0);
    require(::write(descriptor_, bytes.data(), bytes.size()) == static_cast<ssize_t>(bytes.size()));
  }
  ~MemoryFile() { ::close(descriptor_); }
  MemoryFile(const MemoryFile&) = delete;
  MemoryFile& operator=(const MemoryFile&) = delete;
  std::string path() const { return "/proc/self/fd/" + std::to_string(descriptor_); }

 private:
  int descriptor_;
};

void check(const vorta::harness::SuiteSpec& spec) {
  require(spec.variant(spec.reference).name == spec.reference);
  require(!spec.prompts.empty() && !spec.seeds.empty() && spec.measurement.trials >= 1);
  for (const auto& variant : spec.variants) {
    require(!variant.attention.name.empty());
    require(variant.config.steps >= 0 && variant.config.steps <= 1000);
    require(variant.config.frames >= 0 && variant.config.frames <= 4096);
  }
  const MemoryFile resolved(spec.resolved_json);
  require(vorta::harness::load_suite(resolved.path()).resolved_json == spec.resolved_json);
}

}  // namespace

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  const std::string_view bytes(reinterpret_cast<const char*>(data), size);
  const std::size_t nul = bytes.find('\0');
  std::vector<std::string> overrides;
  if (nul != std::string_view::npos) overrides.emplace_back(bytes.substr(0, nul));
  const MemoryFile file(nul == std::string_view::npos ? bytes : bytes.substr(nul + 1));
  std::optional<vorta::harness::SuiteSpec> spec;
  try {
    spec = vorta::harness::load_suite(file.path(), overrides);
  } catch (const vorta::ConfigError&) {
  } catch (const vorta::DataError&) {
  }
  if (spec) check(*spec);
  return 0;
}
