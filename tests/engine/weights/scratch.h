// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <unistd.h>

#include <filesystem>
#include <fstream>
#include <string>
#include <string_view>

#include "engine/base/error.h"
#include "tests/support/catch.h"

/// A folder that lives as long as the test.
struct Scratch {
  std::filesystem::path dir;
  Scratch() {
    std::string name = (std::filesystem::temp_directory_path() / "vorta-weights-XXXXXX").string();
    dir = mkdtemp(name.data());
  }
  ~Scratch() {
    std::error_code ignored;
    std::filesystem::remove_all(dir, ignored);
  }
  std::filesystem::path write(const std::string& name, std::string_view bytes) const {
    std::ofstream(dir / name, std::ios::binary) << bytes;
    return dir / name;
  }
};

/// The message of the DataError that `action` throws; the test fails when it throws none.
template <typename Action>
std::string data_error(Action action) {
  try {
    action();
  } catch (const vorta::DataError& error) {
    return error.what();
  }
  FAIL("a DataError was expected");
  return {};
}

inline bool mentions(const std::string& message, std::string_view words) {
  return message.find(words) != std::string::npos;
}

inline std::filesystem::path golden(const std::string& name) {
  return std::filesystem::path(VORTA_SOURCE_DIR) / "tests/golden/weights" / name;
}
