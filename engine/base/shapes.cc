// SPDX-License-Identifier: Apache-2.0
#include "engine/base/shapes.h"

#include <fmt/format.h>
#include <fmt/ranges.h>

#include <sstream>
#include <vector>

#include "engine/base/error.h"

namespace vorta {
namespace {

std::vector<std::string> split_letters(std::string_view letters) {
  std::istringstream stream{std::string(letters)};
  std::vector<std::string> parts;
  for (std::string part; stream >> part;) parts.push_back(part);
  return parts;
}

bool is_number(const std::string& text) { return text.find_first_not_of("0123456789") == std::string::npos; }

}  // namespace

std::string to_string(const VideoGrid& grid) { return fmt::format("{}x{}x{}", grid.frames, grid.height, grid.width); }

void ShapeBinder::bind(std::span<const int64_t> sizes, std::string_view name, std::string_view letters) {
  const auto parts = split_letters(letters);
  if (parts.size() != sizes.size()) {
    throw InternalError(subject_,
                        fmt::format("{} must be [{}], has shape [{}]", name, letters, fmt::join(sizes, ", ")));
  }
  for (std::size_t axis = 0; axis < parts.size(); ++axis) {
    const int64_t size = sizes[axis];
    if (is_number(parts[axis])) {
      if (std::stoll(parts[axis]) != size) {
        throw InternalError(subject_, fmt::format("axis {} of {} must be {}, is {}", axis, name, parts[axis], size));
      }
      continue;
    }
    const auto [entry, is_new] = bound_.try_emplace(parts[axis].front(), size, std::string(name));
    if (!is_new && entry->second.first != size) {
      throw InternalError(subject_, fmt::format("{} is {} in {} but {} in {}", parts[axis], entry->second.first,
                                                entry->second.second, size, name));
    }
  }
}

int64_t ShapeBinder::operator[](char letter) const {
  const auto found = bound_.find(letter);
  VORTA_CHECK(found != bound_.end(), fmt::format("letter {} was never bound in {}", letter, subject_));
  return found->second.first;
}

}  // namespace vorta
