// SPDX-License-Identifier: Apache-2.0
#include "reports/store/database.h"

#include "vorta_migrations.h"

#include <fmt/format.h>
#include <sqlite3.h>

#include <array>
#include <chrono>
#include <filesystem>
#include <thread>
#include <utility>

#include "engine/base/error.h"

namespace vorta::reports {
namespace {

constexpr int kBusyTimeoutMs = 30000;  // SQLite's lock is not fair: one of many writers may wait long

// Removes a constraint that later schemas do without, whatever columns the table has by now. SQLite has no ALTER for
// it, so the table is made anew; foreign keys are off while migrations run.
void drop_unique_suite(const Database& database) {
  Statement query = database.prepare("SELECT sql FROM sqlite_schema WHERE type = 'table' AND name = 'run'");
  query.step();
  std::string sql = query.text(0);
  query.reset();
  for (const auto& [from, to] :
       {std::pair<std::string_view, std::string_view>{",\n  UNIQUE (suite_hash, environment_id)", ""},
        {"TABLE run (", "TABLE run_without_unique ("}}) {
    const std::size_t at = sql.find(from);
    if (at == std::string::npos)
      throw DataError(database.path().string(), fmt::format("expected '{}' in the run table", from));
    sql.replace(at, from.size(), to);
  }
  database.execute(sql);
  database.execute(
      "INSERT INTO run_without_unique SELECT * FROM run; DROP TABLE run; ALTER TABLE run_without_unique RENAME TO run");
}

// Brings an older schema to `version`; `before` does what SQL cannot.
struct Migration {
  int64_t version;
  std::string_view sql;
  void (*before)(const Database&) = nullptr;
};

// By ascending version, one line each.
std::span<const Migration> migrations() {
  static const std::array kMigrations{
      Migration{1, embedded::_0001_first_sql()},
      Migration{2, embedded::_0002_gpu_sql()},
      Migration{3, embedded::_0003_setup_sql()},
      Migration{4, embedded::_0004_calls_sql()},
      Migration{5, embedded::_0005_history_sql(), drop_unique_suite},
      Migration{6, embedded::_0006_others_sql()},
  };
  return kMigrations;
}

constexpr std::string_view kDamageHint = "; `vorta-bench db verify` lists what is damaged";

std::string words_of(int code, const char* words) {
  return fmt::format("SQLite: {}{}", words, (code & 0xff) == SQLITE_CORRUPT ? kDamageHint : "");
}

}  // namespace

int64_t schema_version() { return migrations().back().version; }

struct Statement::State {
  sqlite3_stmt* handle = nullptr;
  sqlite3* connection = nullptr;
  std::string where;
  int bound = 0;
  ~State() { sqlite3_finalize(handle); }
};

Statement::Statement(std::unique_ptr<State> state) : state_(std::move(state)) {}
Statement::Statement(Statement&&) noexcept = default;
Statement::~Statement() = default;

void Statement::check(int code) const {
  if (code == SQLITE_OK || code == SQLITE_ROW || code == SQLITE_DONE) return;
  throw DataError(state_->where, words_of(code, sqlite3_errmsg(state_->connection)));
}

Statement& Statement::bind(int64_t value) {
  check(sqlite3_bind_int64(state_->handle, ++state_->bound, value));
  return *this;
}

Statement& Statement::bind(double value) {
  check(sqlite3_bind_double(state_->handle, ++state_->bound, value));
  return *this;
}

Statement& Statement::bind(std::string_view text) {
  const char* bytes = text.data() == nullptr ? "" : text.data();
  check(sqlite3_bind_text64(state_->handle, ++state_->bound, bytes, text.size(), SQLITE_TRANSIENT, SQLITE_UTF8));
  return *this;
}

Statement& Statement::bind(const std::optional<int64_t>& value) {
  if (value) return bind(*value);
  check(sqlite3_bind_null(state_->handle, ++state_->bound));
  return *this;
}

Statement& Statement::bind(const std::optional<double>& value) {
  if (value) return bind(*value);
  check(sqlite3_bind_null(state_->handle, ++state_->bound));
  return *this;
}

Statement& Statement::bind_blob(std::span<const uint8_t> bytes) {
  check(sqlite3_bind_blob64(state_->handle, ++state_->bound, bytes.data(), bytes.size(), SQLITE_TRANSIENT));
  return *this;
}

bool Statement::step() {
  const int code = sqlite3_step(state_->handle);
  check(code);
  return code == SQLITE_ROW;
}

void Statement::run() {
  while (step()) {
  }
  reset();
}

void Statement::reset() {
  sqlite3_reset(state_->handle);
  state_->bound = 0;
}

int Statement::columns() const { return sqlite3_column_count(state_->handle); }
std::string Statement::name(int column) const { return sqlite3_column_name(state_->handle, column); }

ColumnType Statement::type(int column) const {
  switch (sqlite3_column_type(state_->handle, column)) {
    case SQLITE_NULL: return ColumnType::kNull;
    case SQLITE_INTEGER: return ColumnType::kInteger;
    case SQLITE_FLOAT: return ColumnType::kReal;
    case SQLITE_BLOB: return ColumnType::kBlob;
    default: return ColumnType::kText;
  }
}

std::string Statement::hex(int column) const {
  const auto* bytes = static_cast<const unsigned char*>(sqlite3_column_blob(state_->handle, column));
  std::string text;
  for (int i = 0; i < sqlite3_column_bytes(state_->handle, column); ++i) text += fmt::format("{:02x}", bytes[i]);
  return text;
}

int64_t Statement::integer(int column) const { return sqlite3_column_int64(state_->handle, column); }
double Statement::number(int column) const { return sqlite3_column_double(state_->handle, column); }

std::string Statement::text(int column) const {
  const auto* bytes = reinterpret_cast<const char*>(sqlite3_column_text(state_->handle, column));
  if (bytes == nullptr) return {};
  return {bytes, static_cast<std::size_t>(sqlite3_column_bytes(state_->handle, column))};
}

std::optional<double> Statement::optional_number(int column) const {
  if (sqlite3_column_type(state_->handle, column) == SQLITE_NULL) return std::nullopt;
  return number(column);
}

std::optional<int64_t> Statement::optional_integer(int column) const {
  if (sqlite3_column_type(state_->handle, column) == SQLITE_NULL) return std::nullopt;
  return integer(column);
}

Database::Database(const std::filesystem::path& path, OpenMode mode) : path_(path) {
  std::error_code ignored;
  if (mode != OpenMode::kReadWrite && !std::filesystem::is_regular_file(path, ignored)) {
    throw DataError(path.string(), "no such result database");
  }
  const int flags = mode == OpenMode::kReadOnly ? SQLITE_OPEN_READONLY : SQLITE_OPEN_READWRITE | SQLITE_OPEN_CREATE;
  std::string name = path.string();
  // A finished WAL database in a folder that cannot be written is readable only as immutable.
  const bool immutable = mode == OpenMode::kReadOnly && !std::filesystem::exists(name + "-wal", ignored);
  if (immutable) {
    std::string escaped;
    for (const char c : std::filesystem::absolute(path).string()) {
      if (c == '%' || c == '?' || c == '#') escaped += fmt::format("%{:02x}", static_cast<unsigned char>(c));
      else escaped += c;
    }
    name = fmt::format("file:{}?immutable=1", escaped);
  }
  const int code = sqlite3_open_v2(name.c_str(), &handle_, flags | (immutable ? SQLITE_OPEN_URI : 0), nullptr);
  try {
    if (code != SQLITE_OK) fail(code);
    sqlite3_extended_result_codes(handle_, 1);
    sqlite3_busy_timeout(handle_, kBusyTimeoutMs);
    check_identity(mode);
    if (mode == OpenMode::kReadWrite) {
      write_ahead();
      execute("PRAGMA synchronous = NORMAL");
      migrate();
    }
    execute("PRAGMA foreign_keys = ON");
  } catch (...) {
    sqlite3_close_v2(handle_);
    throw;
  }
}

Database::Database(Database&& other) noexcept
    : path_(std::move(other.path_)), handle_(std::exchange(other.handle_, nullptr)) {}

Database::~Database() { sqlite3_close_v2(handle_); }

void Database::fail(int code) const {
  const char* words = handle_ != nullptr ? sqlite3_errmsg(handle_) : sqlite3_errstr(code);
  const std::string message = words_of(code, words);
  if ((code & 0xff) == SQLITE_FULL) throw MachineError(path_.string(), message);
  throw DataError(path_.string(), message);
}

Statement Database::prepare(std::string_view sql) const {
  auto state = std::make_unique<Statement::State>();
  state->connection = handle_;
  state->where = path_.string();
  const int code = sqlite3_prepare_v2(handle_, sql.data(), static_cast<int>(sql.size()), &state->handle, nullptr);
  if (code != SQLITE_OK) fail(code);
  return Statement(std::move(state));
}

void Database::execute(std::string_view sql) const {
  const int code = sqlite3_exec(handle_, std::string(sql).c_str(), nullptr, nullptr, nullptr);
  if (code != SQLITE_OK) fail(code);
}

int64_t Database::schema() const {
  Statement statement = prepare("PRAGMA user_version");
  return statement.step() ? statement.integer(0) : 0;
}

int64_t Database::last_insert_id() const { return sqlite3_last_insert_rowid(handle_); }

void Database::check_identity(OpenMode mode) const {
  const auto pragma = [this](std::string_view sql) {
    Statement statement = prepare(sql);
    return statement.step() ? statement.integer(0) : 0;
  };
  execute("BEGIN");  // one state for all three: another process may be creating the tables
  const int64_t application = pragma("PRAGMA application_id");
  const int64_t version = pragma("PRAGMA user_version");
  const int64_t objects = pragma("SELECT count(*) FROM sqlite_schema");
  execute("COMMIT");
  if (application != kApplicationId && (objects > 0 || mode == OpenMode::kReadOnly)) {
    throw DataError(path_.string(),
                    fmt::format("expected a vorta-bench result database (application id {:#x}), found {:#x}",
                                kApplicationId, application));
  }
  if (version > schema_version()) {
    throw DataError(
        path_.string(),
        fmt::format("has schema version {}, this program knows versions up to {}: use the newer vorta-bench "
                    "that wrote it",
                    version, schema_version()));
  }
  if (mode == OpenMode::kReadOnly && version < 1) throw DataError(path_.string(), "holds no tables of vorta-bench yet");
}

// The change of the journal's mode needs the file alone, and SQLite does not wait for that itself: of several processes
// that create a database at once, all but one would be told that it is locked.
void Database::write_ahead() {
  const auto last = std::chrono::steady_clock::now() + std::chrono::milliseconds(kBusyTimeoutMs);
  while (true) {
    const int code = sqlite3_exec(handle_, "PRAGMA journal_mode = WAL", nullptr, nullptr, nullptr);
    if (code == SQLITE_OK) return;
    if ((code & 0xff) != SQLITE_BUSY || std::chrono::steady_clock::now() > last) fail(code);
    std::this_thread::sleep_for(std::chrono::milliseconds(5));
  }
}

void Database::migrate() {
  if (schema() == schema_version()) return;
  execute("PRAGMA foreign_keys = OFF");  // tables may be made anew; checked below
  Transaction transaction(*this);
  // Read inside the transaction: another process may have migrated meanwhile.
  Statement query = prepare("PRAGMA user_version");
  query.step();
  const int64_t version = query.integer(0);
  query.reset();
  if (version == schema_version()) return;
  for (const Migration& migration : migrations()) {
    if (migration.version <= version) continue;
    if (migration.before != nullptr) migration.before(*this);
    execute(migration.sql);
  }
  Statement dangling = prepare("PRAGMA foreign_key_check");
  if (dangling.step())
    throw DataError(path_.string(), fmt::format("migration: a row of {} refers to nothing", dangling.text(0)));
  dangling.reset();
  execute(fmt::format("PRAGMA application_id = {}; PRAGMA user_version = {}", kApplicationId, schema_version()));
  transaction.commit();
}

namespace {

// SQLite before 3.41 finds NULL in columns of WITHOUT ROWID tables whose key is not their beginning; the rows say
// otherwise.
bool is_false_alarm(const Database& database, const std::string& message) {
  constexpr std::string_view kNull = "NULL value in ";
  const std::size_t dot = message.rfind('.');
  if (!message.starts_with(kNull) || dot == std::string::npos) return false;
  const std::string table = message.substr(kNull.size(), dot - kNull.size()), column = message.substr(dot + 1);
  Statement known = database.prepare("SELECT 1 FROM pragma_table_info(?) WHERE name = ?");
  if (!known.bind(table).bind(column).step()) return false;
  Statement query = database.prepare(fmt::format("SELECT 1 FROM \"{}\" WHERE \"{}\" IS NULL LIMIT 1", table, column));
  return !query.step();
}

}  // namespace

std::vector<std::string> damages(const Database& database, CheckDepth depth) {
  constexpr std::size_t kMost = 20;
  std::vector<std::string> found;
  try {
    Statement query =
        database.prepare(depth == CheckDepth::kWhole ? "PRAGMA integrity_check(10000)" : "PRAGMA quick_check(10000)");
    while (found.size() < kMost && query.step()) {
      std::string line = query.text(0);
      // "*** in database main ***" comes first
      if (const auto last = line.rfind('\n'); last != std::string::npos) line = line.substr(last + 1);
      if (line != "ok" && !is_false_alarm(database, line)) found.push_back(line);
    }
  } catch (const DataError& error) {  // so damaged that it cannot even be checked
    const std::string words = error.what();
    found.push_back(words.substr(0, words.find(kDamageHint)));
  }
  return found;
}

void require_sound(const Database& database) {
  const std::vector<std::string> found = damages(database, CheckDepth::kPages);
  if (found.empty()) return;
  throw DataError(database.path().string(), fmt::format("is damaged ({}){}", found.front(), kDamageHint));
}

void ScratchFile::keep_as(const std::filesystem::path& path) const {
  std::error_code code;
  std::filesystem::rename(path_, path, code);
  if (code) throw DataError(path.string(), "cannot be written: " + code.message());
}

void ScratchFile::remove() const {
  std::error_code ignored;
  for (const char* suffix : {"", "-wal", "-shm", "-journal"}) std::filesystem::remove(path_.string() + suffix, ignored);
}

void require_folder_of(const std::filesystem::path& file) {
  std::error_code ignored;
  const std::filesystem::path folder = file.has_parent_path() ? file.parent_path() : std::filesystem::path(".");
  if (std::filesystem::is_directory(folder, ignored)) return;
  throw DataError(file.string(), fmt::format("expected a folder to write to, found none at {}", folder.string()));
}

Transaction::Transaction(const Database& database) : database_(&database) { database.execute("BEGIN IMMEDIATE"); }

Transaction::~Transaction() {
  if (database_ == nullptr) return;
  try {
    database_->execute("ROLLBACK");
  } catch (const std::exception&) {
    // SQLite rolls back by itself on a full disk; the error that brought us here is the one to report.
  }
}

void Transaction::commit() {
  database_->execute("COMMIT");
  database_ = nullptr;
}

}  // namespace vorta::reports
