// SPDX-License-Identifier: Apache-2.0
// The house's include rules, read from the tree itself: who may include whom, and where Torch may appear.
#include <algorithm>
#include <filesystem>
#include <fstream>
#include <map>
#include <regex>
#include <set>
#include <string>
#include <vector>

#include "tests/support/catch.h"

namespace fs = std::filesystem;

namespace {

const fs::path kRoot = VORTA_SOURCE_DIR;

std::vector<fs::path> sources() {
  std::vector<fs::path> found;
  for (const char* top : {"engine", "kernels", "metrics", "reports", "harness"}) {
    for (const auto& entry : fs::recursive_directory_iterator(kRoot / top)) {
      const auto extension = entry.path().extension();
      if (extension == ".h" || extension == ".cc" || extension == ".cu" || extension == ".cuh") {
        found.push_back(fs::relative(entry.path(), kRoot));
      }
    }
  }
  return found;
}

std::vector<std::string> includes(const fs::path& file) {
  static const std::regex kInclude(R"(^\s*#\s*include\s*[<"]([^>"]+)[>"])");
  std::vector<std::string> found;
  std::ifstream stream(kRoot / file);
  for (std::string line; std::getline(stream, line);) {
    std::smatch match;
    if (std::regex_search(line, match, kInclude)) found.push_back(match[1]);
  }
  return found;
}

bool starts_with_any(const std::string& text, const std::vector<std::string>& prefixes) {
  return std::any_of(prefixes.begin(), prefixes.end(), [&](const auto& prefix) { return text.rfind(prefix, 0) == 0; });
}

bool is_torch(const std::string& include) { return starts_with_any(include, {"ATen/", "c10/", "torch/"}); }

// What a folder must never include, by prefix of the include line.
const std::map<std::string, std::vector<std::string>> kForbidden{
    {"kernels/", {"engine/", "metrics/", "reports/", "harness/", "fmt/", "spdlog/", "ATen/", "c10/", "torch/"}},
    {"engine/base/", {"ATen/", "c10/", "torch/", "kernels/", "metrics/", "reports/", "harness/"}},
    {"engine/", {"metrics/", "reports/", "harness/"}},
    {"engine/attention/", {"engine/models/", "engine/pipeline/", "engine/train/"}},
    {"engine/cache/", {"engine/attention/", "engine/models/", "engine/pipeline/", "engine/train/"}},
    {"engine/media/", {"ATen/", "c10/", "torch/"}},
    {"metrics/", {"engine/models/", "engine/pipeline/", "engine/train/", "harness/", "reports/"}},
    {"reports/", {"ATen/", "c10/", "torch/", "metrics/", "harness/", "kernels/"}},
    {"harness/", {"sqlite3.h"}},
};

}  // namespace

TEST_CASE("no folder includes what the house forbids it", "[arch][includes]") {
  for (const auto& file : sources()) {
    for (const auto& [folder, forbidden] : kForbidden) {
      if (file.generic_string().rfind(folder, 0) != 0) continue;
      for (const auto& include : includes(file)) {
        INFO(file.generic_string() << " includes " << include);
        CHECK_FALSE(starts_with_any(include, forbidden));
      }
    }
  }
}

TEST_CASE("headers include only the tensor body of Torch, and torch.h is nowhere", "[arch][includes]") {
  for (const auto& file : sources()) {
    for (const auto& include : includes(file)) {
      INFO(file.generic_string() << " includes " << include);
      CHECK(include != "torch/torch.h");
      if (file.extension() == ".h" && is_torch(include)) {
        CHECK((include == "ATen/core/TensorBody.h" || include == "ATen/core/Generator.h" ||
               starts_with_any(include, {"c10/"})));
      }
    }
  }
}

TEST_CASE("kernels include CUDA's headers in .cu and .cuh files only", "[arch][includes]") {
  for (const auto& file : sources()) {
    const bool device = file.extension() == ".cu" || file.extension() == ".cuh";
    if (device || file.generic_string().rfind("kernels/", 0) != 0) continue;
    for (const auto& include : includes(file)) {
      INFO(file.generic_string() << " includes " << include);
      CHECK_FALSE(starts_with_any(include, {"cuda", "cute/", "cutlass/"}));
      CHECK(include.find(".cuh") == std::string::npos);
    }
  }
}

TEST_CASE("no file asks the preprocessor whether CUDA is there: CMake picks the sources", "[arch][includes]") {
  static const std::regex kAsks(R"(^\s*#\s*(if|ifdef|ifndef|elif)\b.*CUDA)");
  for (const auto& file : sources()) {
    INFO(file.generic_string());
    std::ifstream stream(kRoot / file);
    for (std::string line; std::getline(stream, line);) CHECK_FALSE(std::regex_search(line, kAsks));
  }
}

TEST_CASE("no line of a source or test is longer than .clang-format lets it be", "[arch][format]") {
  constexpr int kMostColumns = 120;
  const std::set<std::string> tables{"code_pages.cc", "html_entities.cc"};  // a line a row
  for (const char* top : {"engine", "kernels", "metrics", "reports", "harness", "tests"}) {
    for (const auto& entry : fs::recursive_directory_iterator(kRoot / top)) {
      const auto extension = entry.path().extension();
      const bool source = extension == ".h" || extension == ".cc" || extension == ".cu" || extension == ".cuh";
      if (!source || tables.contains(entry.path().filename().string())) continue;
      std::ifstream stream(entry.path());
      for (std::string line; std::getline(stream, line);) {
        // Bytes that go on with a character of UTF-8 take no column.
        const auto columns = std::count_if(line.begin(), line.end(), [](char c) { return (c & 0xc0) != 0x80; });
        INFO(fs::relative(entry.path(), kRoot).generic_string() << ": " << line);
        CHECK(columns <= kMostColumns);
      }
    }
  }
}

TEST_CASE("every source and test is named in a CMake list", "[arch][cmake]") {
  for (const char* top : {"engine", "kernels", "metrics", "reports", "harness", "tests"}) {
    std::map<fs::path, std::string> lists;
    for (const auto& entry : fs::recursive_directory_iterator(kRoot / top)) {
      const auto extension = entry.path().extension();
      if (extension != ".cc" && extension != ".cu") continue;
      bool named = false;
      for (fs::path folder = entry.path().parent_path(); !named && folder != kRoot.parent_path();
           folder = folder.parent_path()) {
        const fs::path list = folder / "CMakeLists.txt";
        if (!fs::exists(list)) continue;
        std::ifstream stream(list);
        const std::string text((std::istreambuf_iterator<char>(stream)), {});
        named = text.find(entry.path().filename().string()) != std::string::npos;
      }
      if (entry.path() == kRoot / "tests/support/main.cc") named = true;  // vorta_test adds it
      INFO(fs::relative(entry.path(), kRoot).generic_string());
      CHECK(named);
    }
  }
}

TEST_CASE("every folder with sources has a README", "[arch][readme]") {
  std::set<fs::path> folders;
  for (const auto& file : sources()) folders.insert(file.parent_path());
  for (const auto& folder : folders) {
    const bool documented =
        fs::exists(kRoot / folder / "README.md") || fs::exists(kRoot / folder.parent_path() / "README.md");
    INFO(folder.generic_string());
    CHECK(documented);
  }
}
