// SPDX-License-Identifier: Apache-2.0
// RAII around SQLite: the only file pair that sees sqlite3.h.
#pragma once

#include <cstdint>
#include <filesystem>
#include <memory>
#include <optional>
#include <span>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

struct sqlite3;
struct sqlite3_stmt;

namespace vorta::reports {

/// 'VBS1' as SQLite's application_id: tells our files from other programs'.
inline constexpr int64_t kApplicationId = 0x56425331;
/// Version of the newest migration.
int64_t schema_version();
/// The first schema that knows who else used the GPU, and the number of frames.
inline constexpr int64_t kOthersSchema = 6;
/// The first schema with keys that mean the same in every copy of a database.
inline constexpr int64_t kHistorySchema = 5;

enum class ColumnType { kNull, kInteger, kReal, kText, kBlob };

/// A prepared statement. Bind in order, then `step` until false. Columns count from 0. Reusable after `reset`.
class Statement {
 public:
  Statement(Statement&&) noexcept;
  ~Statement();

  Statement& bind(int64_t value);
  Statement& bind(double value);
  Statement& bind(std::string_view text);
  Statement& bind(const std::optional<int64_t>& value);
  Statement& bind(const std::optional<double>& value);
  Statement& bind_blob(std::span<const uint8_t> bytes);

  /// True while there is a row. DataError on any SQLite error.
  bool step();
  /// For statements without rows: runs and resets.
  void run();
  void reset();

  int columns() const;
  std::string name(int column) const;
  ColumnType type(int column) const;
  std::string hex(int column) const;
  int64_t integer(int column) const;
  double number(int column) const;
  std::string text(int column) const;
  std::optional<double> optional_number(int column) const;
  std::optional<int64_t> optional_integer(int column) const;

 private:
  friend class Database;
  struct State;
  explicit Statement(std::unique_ptr<State> state);
  void check(int code) const;
  std::unique_ptr<State> state_;
};

/// kPublish: a file that is there, to be written as it is, without a log or a migration.
enum class OpenMode { kReadOnly, kReadWrite, kPublish };

/// A connection. A file of an older schema can be read as it is: tables that it lacks hold nothing. All errors are
/// DataErrors with the path and SQLite's message.
class Database {
 public:
  /// kReadWrite creates the file, sets WAL and migrates; kReadOnly opens an existing one, of this schema or an older
  /// one.
  Database(const std::filesystem::path& path, OpenMode mode);
  Database(Database&&) noexcept;
  ~Database();

  Statement prepare(std::string_view sql) const;
  void execute(std::string_view sql) const;
  int64_t last_insert_id() const;
  /// Version of the schema that the file has.
  int64_t schema() const;
  const std::filesystem::path& path() const { return path_; }

 private:
  [[noreturn]] void fail(int code) const;
  void write_ahead();
  void migrate();
  void check_identity(OpenMode mode) const;

  std::filesystem::path path_;
  sqlite3* handle_ = nullptr;
};

/// What SQLite finds damaged in pages and (kWhole) indexes and constraints, at most twenty lines; empty: sound.
enum class CheckDepth { kPages, kWhole };
std::vector<std::string> damages(const Database& database, CheckDepth depth);
/// DataError when pages are damaged: before a file is changed, copied or listed, since a query alone may miss it.
void require_sound(const Database& database);

/// A database under a name of its own that goes away with its log, whatever happens; `keep_as` gives it its place.
class ScratchFile {
 public:
  explicit ScratchFile(std::filesystem::path path) : path_(std::move(path)) { remove(); }
  ~ScratchFile() { remove(); }
  ScratchFile(const ScratchFile&) = delete;
  ScratchFile& operator=(const ScratchFile&) = delete;
  const std::filesystem::path& path() const { return path_; }
  /// Renames it; DataError when that fails. Nothing may have it open.
  void keep_as(const std::filesystem::path& path) const;

 private:
  void remove() const;
  std::filesystem::path path_;
};

/// DataError unless the folder that `file` is to lie in is there.
void require_folder_of(const std::filesystem::path& file);

/// BEGIN IMMEDIATE now, COMMIT by `commit`, ROLLBACK when it was not called.
class Transaction {
 public:
  explicit Transaction(const Database& database);
  Transaction(const Transaction&) = delete;
  ~Transaction();
  void commit();

 private:
  const Database* database_;
};

}  // namespace vorta::reports
