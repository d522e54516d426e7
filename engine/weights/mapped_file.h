// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cstddef>
#include <filesystem>
#include <memory>
#include <string_view>

namespace vorta::engine {

/// A whole regular file mapped privately: pages come from disk when they are touched, and writes stay in this process.
class MappedFile {
 public:
  /// @throws DataError when the path is no regular file or cannot be read.
  static std::shared_ptr<MappedFile> open(const std::filesystem::path& path);
  ~MappedFile();
  MappedFile(const MappedFile&) = delete;
  MappedFile& operator=(const MappedFile&) = delete;

  char* data() const { return static_cast<char*>(address_); }
  std::string_view bytes() const { return {data(), size_}; }

 private:
  MappedFile(void* address, std::size_t size) : address_(address), size_(size) {}

  void* address_;
  std::size_t size_;
};

}  // namespace vorta::engine
