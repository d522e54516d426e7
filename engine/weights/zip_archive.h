// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cstdint>
#include <map>
#include <string>
#include <string_view>

namespace vorta::engine {

/// The entries of a zip file that are stored without compression, as torch.save writes them. ZIP64 is
/// understood (APPNOTE.TXT 6.3.10, sections 4.3.7, 4.3.12 to 4.3.16).
class ZipArchive {
 public:
  /// Views `file`, which must outlive the archive. `where` is the path for messages.
  /// @throws DataError when the directory is damaged, an entry is encrypted, double, or outside the file.
  ZipArchive(std::string_view file, std::string where);

  /// Content by name. @throws DataError when it is compressed, its CRC is wrong, or there is none of that name.
  std::string_view read(const std::string& name) const;
  bool has(const std::string& name) const { return entries_.contains(name); }

  struct Entry {
    uint64_t header_offset;
    uint64_t size;
    uint32_t crc;
    bool compressed = false;  // cannot be read: the source code in a TorchScript archive
  };
  const std::map<std::string, Entry>& entries() const { return entries_; }

 private:
  struct Directory {
    uint64_t offset;
    uint64_t size;
    uint64_t count;
  };
  Directory find_directory() const;
  Directory find_zip64_directory(uint64_t end_offset) const;
  void read_directory(const Directory& directory);
  uint64_t read_directory_entry(uint64_t offset, uint64_t limit);
  std::string_view slice(uint64_t offset, uint64_t size, std::string_view what) const;
  uint64_t number(uint64_t offset, int bytes) const;  // little-endian
  [[noreturn]] void fail(std::string_view message) const;

  std::string_view file_;
  std::string where_;
  std::map<std::string, Entry> entries_;
};

/// Builds a zip of stored entries whose data begin at multiples of 64, as torch.save does. At most 4 GiB.
class ZipWriter {
 public:
  void add(std::string_view name, std::string_view content);
  /// The archive; the writer is empty afterwards.
  std::string finish();

 private:
  std::string bytes_;
  std::string directory_;
  uint16_t count_ = 0;
};

/// CRC-32 as zip uses it (reflected polynomial 0xEDB88320).
uint32_t crc32(std::string_view bytes);

}  // namespace vorta::engine
