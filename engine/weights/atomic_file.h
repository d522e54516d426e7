// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <filesystem>
#include <string>
#include <string_view>

namespace vorta::engine {

/// Streams bytes to a temporary file beside `path`; commit() flushes it to disk and renames it. Without commit the
/// temporary is removed and the old file stays. For files too large for write_file_atomically's one buffer.
class AtomicFile {
 public:
  explicit AtomicFile(const std::filesystem::path& path);
  ~AtomicFile();
  AtomicFile(const AtomicFile&) = delete;
  AtomicFile& operator=(const AtomicFile&) = delete;

  void write(std::string_view bytes);
  void commit();

 private:
  std::filesystem::path path_;
  std::string temporary_;
  int file_ = -1;
};

}  // namespace vorta::engine
