// SPDX-License-Identifier: Apache-2.0
#include "engine/weights/mapped_file.h"

#include <fcntl.h>
#include <fmt/format.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cerrno>
#include <cstring>

#include "engine/base/error.h"

namespace vorta::engine {
namespace {

// Closes the descriptor on every path; the mapping outlives it.
struct Descriptor {
  int value;
  ~Descriptor() {
    if (value >= 0) ::close(value);
  }
};

}  // namespace

std::shared_ptr<MappedFile> MappedFile::open(const std::filesystem::path& path) {
  const Descriptor file{::open(path.c_str(), O_RDONLY | O_CLOEXEC | O_NONBLOCK)};
  if (file.value < 0) throw DataError(path.string(), fmt::format("cannot be opened: {}", std::strerror(errno)));
  struct stat status{};
  if (::fstat(file.value, &status) != 0) {
    throw DataError(path.string(), fmt::format("cannot be read: {}", std::strerror(errno)));
  }
  if (!S_ISREG(status.st_mode)) throw DataError(path.string(), "a regular file was expected");
  const auto size = static_cast<std::size_t>(status.st_size);
  if (size == 0) throw DataError(path.string(), "the file is empty");
  void* address = ::mmap(nullptr, size, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_NORESERVE, file.value, 0);
  if (address == MAP_FAILED) {
    throw DataError(path.string(), fmt::format("{} bytes cannot be mapped: {}", size, std::strerror(errno)));
  }
  return std::shared_ptr<MappedFile>(new MappedFile(address, size));
}

MappedFile::~MappedFile() { ::munmap(address_, size_); }

}  // namespace vorta::engine
