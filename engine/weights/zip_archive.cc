// SPDX-License-Identifier: Apache-2.0
#include "engine/weights/zip_archive.h"

#include <fmt/format.h>

#include <algorithm>
#include <array>
#include <limits>

#include "engine/base/error.h"

namespace vorta::engine {
namespace {

constexpr uint32_t kLocalHeader = 0x04034b50;
constexpr uint32_t kDirectoryHeader = 0x02014b50;
constexpr uint32_t kEnd = 0x06054b50;
constexpr uint32_t kZip64End = 0x06064b50;
constexpr uint32_t kZip64Locator = 0x07064b50;
constexpr uint64_t kLocalHeaderBytes = 30;
constexpr uint64_t kDirectoryHeaderBytes = 46;
constexpr uint64_t kEndBytes = 22;
constexpr uint64_t kZip64EndBytes = 56;
constexpr uint64_t kZip64LocatorBytes = 20;
constexpr uint64_t kMaxComment = 0xffff;
constexpr uint64_t kMaxEntries = 1'000'000;
constexpr uint64_t kInZip64 = 0xffffffff;  // a 32-bit field whose value is in the ZIP64 record
constexpr uint64_t kAlignment = 64;
constexpr uint16_t kUtf8Flag = 1 << 11;
constexpr uint16_t kEncryptedFlag = 1 << 0;

constexpr std::array<uint32_t, 256> make_crc_table() {
  std::array<uint32_t, 256> table{};
  for (uint32_t i = 0; i < 256; ++i) {
    uint32_t value = i;
    for (int bit = 0; bit < 8; ++bit) value = (value & 1) ? (value >> 1) ^ 0xEDB88320u : value >> 1;
    table[i] = value;
  }
  return table;
}
constexpr auto kCrcTable = make_crc_table();

void append_number(std::string& bytes, uint64_t value, int count) {
  for (int i = 0; i < count; ++i, value >>= 8) bytes.push_back(static_cast<char>(value & 0xff));  // count may exceed 8
}

}  // namespace

uint32_t crc32(std::string_view bytes) {
  uint32_t value = 0xffffffff;
  for (char c : bytes) value = kCrcTable[(value ^ static_cast<unsigned char>(c)) & 0xff] ^ (value >> 8);
  return ~value;
}

ZipArchive::ZipArchive(std::string_view file, std::string where) : file_(file), where_(std::move(where)) {
  read_directory(find_directory());
}

void ZipArchive::fail(std::string_view message) const { throw DataError(where_, fmt::format("zip: {}", message)); }

std::string_view ZipArchive::slice(uint64_t offset, uint64_t size, std::string_view what) const {
  if (offset > file_.size() || size > file_.size() - offset) {
    fail(fmt::format("{} at byte {} of {} bytes ends after the file's {}", what, offset, size, file_.size()));
  }
  return file_.substr(offset, size);
}

uint64_t ZipArchive::number(uint64_t offset, int bytes) const {
  const auto field = slice(offset, static_cast<uint64_t>(bytes), "a field");
  uint64_t value = 0;
  for (int i = 0; i < bytes; ++i) value |= static_cast<uint64_t>(static_cast<unsigned char>(field[i])) << (8 * i);
  return value;
}

// The end record is the last thing in the file, but for a comment of unknown length.
ZipArchive::Directory ZipArchive::find_directory() const {
  if (file_.size() < kEndBytes) fail("the file is too short for a zip archive");
  const uint64_t last = file_.size() - kEndBytes;
  const uint64_t first = last > kMaxComment ? last - kMaxComment : 0;
  for (uint64_t at = last + 1; at-- > first;) {
    if (number(at, 4) != kEnd || at + kEndBytes + number(at + 20, 2) != file_.size()) continue;
    const Directory plain{.offset = number(at + 16, 4), .size = number(at + 12, 4), .count = number(at + 10, 2)};
    const bool zip64 = plain.offset == kInZip64 || plain.size == kInZip64 || plain.count == 0xffff;
    return zip64 ? find_zip64_directory(at) : plain;
  }
  fail("no end of the directory; the file is truncated or no zip archive");
}

ZipArchive::Directory ZipArchive::find_zip64_directory(uint64_t end_offset) const {
  if (end_offset < kZip64LocatorBytes || number(end_offset - kZip64LocatorBytes, 4) != kZip64Locator) {
    fail("the ZIP64 locator is missing");
  }
  const uint64_t record = number(end_offset - kZip64LocatorBytes + 8, 8);
  slice(record, kZip64EndBytes, "the ZIP64 end record");
  if (number(record, 4) != kZip64End) fail("the ZIP64 end record is missing");
  return {.offset = number(record + 48, 8), .size = number(record + 40, 8), .count = number(record + 32, 8)};
}

void ZipArchive::read_directory(const Directory& directory) {
  slice(directory.offset, directory.size, "the directory");
  if (directory.count > kMaxEntries) fail(fmt::format("{} entries, {} are allowed", directory.count, kMaxEntries));
  uint64_t at = directory.offset;
  const uint64_t limit = directory.offset + directory.size;
  for (uint64_t i = 0; i < directory.count; ++i) at = read_directory_entry(at, limit);
  if (at != limit) fail("the directory is longer than its entries");
}

uint64_t ZipArchive::read_directory_entry(uint64_t offset, uint64_t limit) {
  if (limit - offset < kDirectoryHeaderBytes || number(offset, 4) != kDirectoryHeader) {
    fail(fmt::format("the directory is damaged at byte {}", offset));
  }
  const uint64_t name_bytes = number(offset + 28, 2);
  const uint64_t extra_bytes = number(offset + 30, 2);
  const uint64_t total = kDirectoryHeaderBytes + name_bytes + extra_bytes + number(offset + 32, 2);
  if (total > limit - offset) fail(fmt::format("the directory is damaged at byte {}", offset));
  const std::string name(slice(offset + kDirectoryHeaderBytes, name_bytes, "a name"));
  uint64_t packed = number(offset + 20, 4);
  Entry entry{.header_offset = number(offset + 42, 4),
              .size = number(offset + 24, 4),
              .crc = static_cast<uint32_t>(number(offset + 16, 4))};
  // ZIP64 extra field: the 64-bit values of just those fields that are saturated, in this order.
  uint64_t at = offset + kDirectoryHeaderBytes + name_bytes;
  const uint64_t extra_end = at + extra_bytes;
  while (extra_end - at >= 4) {
    const uint64_t field_bytes = number(at + 2, 2);
    if (field_bytes > extra_end - at - 4) fail(fmt::format("entry \"{}\": its extra field is damaged", name));
    uint64_t cursor = at + 4;
    const uint64_t field_end = cursor + field_bytes;
    for (uint64_t* value : {&entry.size, &packed, &entry.header_offset}) {
      if (number(at, 2) != 1 || *value != kInZip64) continue;
      if (field_end - cursor < 8) fail(fmt::format("entry \"{}\": its ZIP64 field is too short", name));
      *value = number(cursor, 8);
      cursor += 8;
    }
    at = field_end;
  }
  if (number(offset + 8, 2) & kEncryptedFlag) fail(fmt::format("entry \"{}\" is encrypted", name));
  entry.compressed = number(offset + 10, 2) != 0 || packed != entry.size;
  if (!entries_.emplace(name, entry).second) fail(fmt::format("entry \"{}\" is there twice", name));
  return offset + total;
}

std::string_view ZipArchive::read(const std::string& name) const {
  const auto found = entries_.find(name);
  if (found == entries_.end()) fail(fmt::format("entry \"{}\" is missing", name));
  const Entry& entry = found->second;
  if (entry.compressed)
    fail(fmt::format("entry \"{}\" is compressed; torch.save stores its entries as they are", name));
  slice(entry.header_offset, kLocalHeaderBytes, "a local header");
  if (number(entry.header_offset, 4) != kLocalHeader) fail(fmt::format("entry \"{}\" has no local header", name));
  const uint64_t name_bytes = number(entry.header_offset + 26, 2);
  const uint64_t skip = kLocalHeaderBytes + name_bytes + number(entry.header_offset + 28, 2);
  if (slice(entry.header_offset + kLocalHeaderBytes, name_bytes, "a name") != name) {
    fail(fmt::format("entry \"{}\": its local header has another name", name));
  }
  const auto content = slice(entry.header_offset + skip, entry.size, fmt::format("entry \"{}\"", name));
  if (crc32(content) != entry.crc) fail(fmt::format("entry \"{}\" is damaged: its checksum does not match", name));
  return content;
}

void ZipWriter::add(std::string_view name, std::string_view content) {
  constexpr uint64_t kExtraHeader = 4;
  const uint64_t unpadded = bytes_.size() + kLocalHeaderBytes + name.size() + kExtraHeader;
  const uint64_t padding = (kAlignment - unpadded % kAlignment) % kAlignment;
  if (unpadded + padding + content.size() > std::numeric_limits<uint32_t>::max() || count_ == 0xfffe) {
    throw InternalError("ZipWriter", "archives above 4 GiB or 65534 entries need ZIP64, which is not written");
  }
  const auto offset = bytes_.size();
  // The fields that a local header and its directory entry share: flags, method, time, date, CRC, sizes, name length.
  std::string shared;
  append_number(shared, kUtf8Flag, 2);
  append_number(shared, 0, 6);
  append_number(shared, crc32(content), 4);
  append_number(shared, content.size(), 4);
  append_number(shared, content.size(), 4);
  append_number(shared, name.size(), 2);

  append_number(bytes_, kLocalHeader, 4);
  append_number(bytes_, 0, 2);
  bytes_ += shared;
  append_number(bytes_, kExtraHeader + padding, 2);
  bytes_ += name;
  bytes_ += "FB";  // the id torch gives its padding field
  append_number(bytes_, padding, 2);
  bytes_.append(padding, 'Z');
  bytes_ += content;

  append_number(directory_, kDirectoryHeader, 4);
  append_number(directory_, 0, 4);
  directory_ += shared;
  append_number(directory_, 0, 12);  // extra, comment, disk, attributes
  append_number(directory_, offset, 4);
  directory_ += name;
  ++count_;
}

std::string ZipWriter::finish() {
  std::string bytes = std::move(bytes_);
  const auto offset = bytes.size();
  bytes += directory_;
  append_number(bytes, kEnd, 4);
  append_number(bytes, 0, 4);
  append_number(bytes, count_, 2);
  append_number(bytes, count_, 2);
  append_number(bytes, directory_.size(), 4);
  append_number(bytes, offset, 4);
  append_number(bytes, 0, 2);
  *this = ZipWriter();
  return bytes;
}

}  // namespace vorta::engine
