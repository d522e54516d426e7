// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cstddef>
#include <filesystem>
#include <string>
#include <string_view>

namespace vorta {

/// The content of a gzip file of one member (RFC 1952, deflate of RFC 1951), checked against its length and CRC-32.
/// `where` names the file in messages. @throws DataError when it is damaged or unpacks to more than `most` bytes.
std::string gunzip(std::string_view packed, std::string_view where, std::size_t most = std::size_t{64} << 20);

/// The same of a file. @throws DataError also when it cannot be read.
std::string read_gzip_file(const std::filesystem::path& path);

}  // namespace vorta
