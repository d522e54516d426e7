// SPDX-License-Identifier: Apache-2.0
#include <fmt/format.h>
#include <unistd.h>

#include <algorithm>
#include <array>
#include <memory>

#include "engine/base/error.h"
#include "engine/base/json_io.h"
#include "engine/base/sha256.h"
#include "reports/store/database.h"
#include "reports/store/maintain.h"

namespace vorta::reports {
namespace fs = std::filesystem;
namespace {

// Tables whose rows have a local number and a key that is the same everywhere. In order of their references.
struct Identity {
  std::string_view table;
  std::string_view id;
  std::vector<std::string_view> key;
};

const std::vector<Identity>& identities() {
  static const std::vector<Identity> kTables{
      {"environment", "environment_id", {"identity_hash"}}, {"run", "run_id", {"run_key"}},
      {"prompt", "prompt_id", {"text", "negative_text"}},   {"item", "item_id", {"prompt_id", "seed"}},
      {"case_row", "case_id", {"run_id", "case_hash"}},     {"trial", "trial_id", {"trial_key"}}};
  return kTables;
}

const Identity* identity_of_table(std::string_view table) {
  const auto found =
      std::find_if(identities().begin(), identities().end(), [&](const auto& i) { return i.table == table; });
  return found == identities().end() ? nullptr : &*found;
}

const Identity* identity_of_column(std::string_view column) {
  const auto found =
      std::find_if(identities().begin(), identities().end(), [&](const auto& i) { return i.id == column; });
  return found == identities().end() ? nullptr : &*found;
}

struct TableColumn {
  std::string name;
  std::string type;
  bool in_primary_key = false;
};

std::vector<std::string> tables_of(const Database& database) {
  std::vector<std::string> tables;
  Statement query = database.prepare(
      "SELECT name FROM main.sqlite_schema WHERE type = 'table' AND name NOT LIKE 'sqlite_%' ORDER BY name");
  while (query.step()) tables.push_back(query.text(0));
  return tables;
}

// Columns that are copied: without numbers that mean something in one file only (artefact_id).
std::vector<TableColumn> columns_of(const Database& database, std::string_view table) {
  std::vector<TableColumn> columns;
  int64_t keys = 0;
  Statement query = database.prepare(fmt::format("SELECT name, type, pk FROM pragma_table_info('{}')", table));
  while (query.step()) {
    columns.push_back({query.text(0), query.text(1), query.integer(2) > 0});
    keys += columns.back().in_primary_key ? 1 : 0;
  }
  const Identity* own = identity_of_table(table);
  std::erase_if(columns, [&](const TableColumn& column) {
    if (own != nullptr && column.name == own->id) return true;
    return keys == 1 && column.in_primary_key && column.type == "INTEGER" && identity_of_column(column.name) == nullptr;
  });
  return columns;
}

// The row's value in the numbers of the database that takes it.
std::string mapped(const TableColumn& column) {
  const Identity* other = identity_of_column(column.name);
  if (other == nullptr) return "s." + column.name;
  return fmt::format("(SELECT new FROM temp.map_{} WHERE old = s.{})", other->table, column.name);
}

bool is_key(const Identity* own, const TableColumn& column) {
  if (own == nullptr) return column.in_primary_key;
  return std::find(own->key.begin(), own->key.end(), column.name) != own->key.end();
}

// "The larger stays": a rule that needs no order of arrival. A run begins with the first of its shards, whatever is
// merged.
std::string resolution(const Identity* own, const std::vector<TableColumn>& columns) {
  std::string updates;
  for (const TableColumn& column : columns) {
    if (is_key(own, column) || identity_of_column(column.name) != nullptr) continue;
    const bool smallest = column.name == "started_unix_ns" || column.name == "ordinal";
    updates += fmt::format("{}{} = coalesce({}({}, excluded.{}), {}, excluded.{})", updates.empty() ? "" : ", ",
                           column.name, smallest ? "min" : "max", column.name, column.name, column.name, column.name);
  }
  return updates.empty() ? "DO NOTHING" : "DO UPDATE SET " + updates;
}

void copy_rows(const Database& database, const std::string& table) {
  const Identity* own = identity_of_table(table);
  const std::vector<TableColumn> columns = columns_of(database, table);
  std::string names, values;
  for (const TableColumn& column : columns) {
    names += (names.empty() ? "" : ", ") + column.name;
    values += (values.empty() ? "" : ", ") + mapped(column);
  }
  database.execute(fmt::format("INSERT INTO main.{0} ({1}) SELECT {2} FROM src.{0} s WHERE true ON CONFLICT {3}", table,
                               names, values, resolution(own, columns)));
}

void make_map(const Database& database, const Identity& own) {
  std::string same;
  for (const std::string_view key : own.key) {
    same += fmt::format("{}d.{} = {}", same.empty() ? "" : " AND ", key, mapped({std::string(key), "", false}));
  }
  database.execute(
      fmt::format("CREATE TEMP TABLE map_{0} (old INTEGER PRIMARY KEY, new INTEGER NOT NULL); "
                  "INSERT INTO temp.map_{0} SELECT s.{1}, d.{1} FROM src.{0} s JOIN main.{0} d ON {2}",
                  own.table, own.id, same));
}

// Trials come in below all numbers of attempts, then all attempts at the same thing are numbered by their start.
void copy_trials(const Database& database) {
  const std::vector<TableColumn> columns = columns_of(database, "trial");
  std::string names, values, finished;
  for (const TableColumn& column : columns) {
    names += (names.empty() ? "" : ", ") + column.name;
    values += (values.empty() ? "" : ", ") + (column.name == "attempt" ? "-1 - s.trial_id" : mapped(column));
    if (column.name == "attempt" || column.name == "trial_key" || identity_of_column(column.name) != nullptr) continue;
    finished += fmt::format("{}{} = s.{}", finished.empty() ? "" : ", ", column.name, column.name);
  }
  constexpr std::string_view kRank = "instr('running    interrupted skipped    failed     ok', {}.status)";
  const std::string here = fmt::format(fmt::runtime(kRank), "d"), there = fmt::format(fmt::runtime(kRank), "s");
  database.execute(
      fmt::format("UPDATE main.trial AS d SET {} FROM src.trial s WHERE s.trial_key = d.trial_key AND {} > {}",
                  finished, there, here));
  database.execute(
      fmt::format("INSERT INTO main.trial ({}) SELECT {} FROM src.trial s WHERE NOT EXISTS (SELECT 1 FROM main.trial d "
                  "WHERE d.trial_key = s.trial_key)",
                  names, values));
  database.execute(
      "CREATE TEMP TABLE renumber AS SELECT trial_id, row_number() OVER (PARTITION BY run_id, case_id, item_id, role, "
      "repeat "
      "ORDER BY started_unix_ns, trial_key) - 1 AS number FROM main.trial;"
      "DELETE FROM temp.renumber WHERE (SELECT attempt FROM main.trial t WHERE t.trial_id = renumber.trial_id) = "
      "number;"
      "UPDATE main.trial SET attempt = -1000000000 - trial_id WHERE trial_id IN (SELECT trial_id FROM temp.renumber);"
      "UPDATE main.trial SET attempt = r.number FROM temp.renumber r WHERE r.trial_id = trial.trial_id;"
      "DROP TABLE temp.renumber");
}

void merge_attached(const Database& database) {
  Transaction transaction(database);
  for (const Identity& own : identities()) {
    if (own.table == "trial") copy_trials(database);
    else copy_rows(database, std::string(own.table));
    make_map(database, own);
  }
  for (const std::string& table : {std::string("metric_def"), std::string("policy")}) copy_rows(database, table);
  for (const std::string& table : tables_of(database)) {
    if (identity_of_table(table) == nullptr && table != "metric_def" && table != "policy") copy_rows(database, table);
  }
  for (const Identity& own : identities()) database.execute(fmt::format("DROP TABLE temp.map_{}", own.table));
  transaction.commit();
}

// Names artefacts by content and brings the files to `folder`/artefacts.
int64_t bring_artefacts(const Database& copy, const fs::path& from, const fs::path& folder) {
  struct Row {
    int64_t id;
    fs::path path;
    std::string sha256;
  };
  std::vector<Row> rows;
  Statement query = copy.prepare("SELECT artefact_id, path, sha256 FROM artefact");
  while (query.step()) rows.push_back({query.integer(0), query.text(1), query.text(2)});
  Transaction transaction(copy);
  Statement update = copy.prepare("UPDATE artefact SET path = ?, sha256 = ? WHERE artefact_id = ?");
  int64_t brought = 0;
  std::error_code code;
  for (Row& row : rows) {
    const fs::path file = from / row.path;
    const bool there = fs::is_regular_file(file, code);
    if (there && row.sha256.empty()) row.sha256 = sha256_hex(read_file(file));
    if (row.sha256.empty()) continue;
    const fs::path name =
        fs::path("artefacts") / row.sha256.substr(0, 2) / (row.sha256.substr(2) + row.path.extension().string());
    if (there && !fs::exists(folder / name, code)) {
      fs::create_directories((folder / name).parent_path(), code);
      fs::create_hard_link(file, folder / name, code);
      if (code) fs::copy_file(file, folder / name, fs::copy_options::overwrite_existing, code);
      if (code) throw DataError((folder / name).string(), "the artefact cannot be written: " + code.message());
      ++brought;
    }
    update.bind(name.generic_string()).bind(row.sha256).bind(row.id).run();
  }
  transaction.commit();
  return brought;
}

std::string quoted(const fs::path& path) {
  std::string text = "'";
  for (const char c : path.string()) text += c == '\'' ? std::string("''") : std::string(1, c);
  return text + "'";
}

int64_t count(const Database& database, std::string_view table) {
  Statement query = database.prepare(fmt::format("SELECT count(*) FROM {}", table));
  query.step();
  return query.integer(0);
}

// The row as JSON with keys instead of local numbers.
std::string portable_row(const std::string& table, const std::vector<TableColumn>& columns) {
  std::string values;
  for (const TableColumn& column : columns) {
    const Identity* other = identity_of_column(column.name);
    std::string value = fmt::format("t.{}", column.name);
    if (column.type == "BLOB") value = fmt::format("hex({})", value);
    if (other != nullptr)
      value = fmt::format("(SELECT key FROM temp.key_{} WHERE id = t.{})", other->table, column.name);
    values += (values.empty() ? "" : ", ") + value;
  }
  return fmt::format("SELECT json_array({}) FROM main.{} t ORDER BY 1", values, table);
}

}  // namespace

namespace {

// A source as it is now, in this program's schema.
struct Copy {
  std::unique_ptr<ScratchFile> scratch;
  fs::path folder;  // where the source's artefacts start
};

// Reads all sources before the target is touched: what is wrong with one leaves the target as it was.
std::vector<Copy> copies_of(const std::vector<fs::path>& sources, const fs::path& into) {
  std::vector<Copy> copies;
  for (const fs::path& source : sources) {
    std::error_code ignored;
    const fs::path file = fs::is_directory(source, ignored) ? source / "run.sqlite" : source;
    if (fs::equivalent(file, into, ignored)) throw ConfigError(file.string(), "is the database to merge into");
    const std::string name = fmt::format("{}.merging-{}-{}", into.string(), ::getpid(), copies.size());
    copies.push_back(
        {std::make_unique<ScratchFile>(name), file.has_parent_path() ? file.parent_path() : fs::path(".")});
    const Database original(file, OpenMode::kReadOnly);
    require_sound(original);
    original.execute("VACUUM INTO " + quoted(copies.back().scratch->path()));
    const Database migrated(copies.back().scratch->path(), OpenMode::kReadWrite);
  }
  return copies;
}

MergeSummary add_copies(const fs::path& into, const fs::path& folder, const std::vector<Copy>& copies) {
  const Database database(into, OpenMode::kReadWrite);
  require_sound(database);
  MergeSummary summary;
  const int64_t before = count(database, "trial");
  for (const Copy& copy : copies) {
    summary.artefacts += bring_artefacts(Database(copy.scratch->path(), OpenMode::kReadWrite), copy.folder, folder);
    database.execute("ATTACH " + quoted(copy.scratch->path()) + " AS src");
    merge_attached(database);
    database.execute("DETACH src");
  }
  summary.runs = count(database, "run");
  summary.trials = count(database, "trial");
  summary.new_trials = summary.trials - before;
  return summary;
}

}  // namespace

MergeSummary merge_databases(const fs::path& into, const std::vector<fs::path>& sources) {
  require_folder_of(into);
  const fs::path folder = into.has_parent_path() ? into.parent_path() : fs::path(".");
  const std::vector<Copy> copies = copies_of(sources, into);
  std::error_code code;
  if (fs::exists(into, code)) return add_copies(into, folder, copies);
  // A new one gets its name when it is whole.
  const ScratchFile whole(fmt::format("{}.merging-{}", into.string(), ::getpid()));
  const MergeSummary summary = add_copies(whole.path(), folder, copies);
  fs::create_hard_link(whole.path(), into, code);  // unlike a rename, fails where another merge was faster
  if (!code) return summary;
  if (fs::exists(into)) return merge_databases(into, {whole.path()});
  whole.keep_as(into);  // a file system without hard links
  return summary;
}

std::string content_digest(const fs::path& file) {
  const Database database(file, OpenMode::kReadOnly);
  for (const Identity& own : identities()) {
    std::string key;
    for (const std::string_view column : own.key) {
      const Identity* other = identity_of_column(column);
      const std::string value =
          other == nullptr ? fmt::format("t.{}", column)
                           : fmt::format("(SELECT key FROM temp.key_{} WHERE id = t.{})", other->table, column);
      key += (key.empty() ? "" : ", ") + value;
    }
    database.execute(
        fmt::format("CREATE TEMP TABLE key_{0} (id INTEGER PRIMARY KEY, key TEXT NOT NULL); "
                    "INSERT INTO temp.key_{0} SELECT t.{1}, json_array({2}) FROM main.{0} t",
                    own.table, own.id, key));
  }
  std::string all;
  for (const std::string& table : tables_of(database)) {
    std::string rows = table + "\n";
    Statement query = database.prepare(portable_row(table, columns_of(database, table)));
    while (query.step()) rows += query.text(0) + "\n";
    all += sha256_hex(rows);
  }
  return sha256_hex(all);
}

}  // namespace vorta::reports
