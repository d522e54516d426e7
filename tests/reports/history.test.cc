// SPDX-License-Identifier: Apache-2.0
// Whole databases: migration, merging, many writers, kills, verification, export and publishing.
#include <signal.h>
#include <sqlite3.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include <algorithm>
#include <chrono>
#include <ctime>
#include <fstream>
#include <functional>
#include <nlohmann/json.hpp>
#include <random>
#include <sstream>
#include <thread>

#include "engine/base/error.h"
#include "engine/base/json_io.h"
#include "reports/query/audit.h"
#include "reports/query/measured.h"
#include "reports/query/report.h"
#include "reports/store/database.h"
#include "reports/store/history.h"
#include "reports/store/maintain.h"
#include "reports/store/owner.h"
#include "reports/store/run_store.h"
#include "tests/reports/sample_run.h"
#include "tests/support/catch.h"

using namespace vorta;
using namespace vorta::reports;
using vorta::tests::make_sample_run;
using vorta::tests::TempFolder;
namespace fs = std::filesystem;

namespace {

int64_t number_in(const fs::path& file, const std::string& query) {
  const Database database(file, OpenMode::kReadOnly);
  Statement statement = database.prepare(query);
  return statement.step() ? statement.integer(0) : -1;
}

RunRow row_of(const std::string& key) {
  RunRow run;
  run.suite = "small";
  run.title = "small";
  run.suite_json = R"({"a":1})";
  run.reference_variant = "dense";
  run.run_key = key;
  return run;
}

TrialResult result_of(int64_t value) {
  TrialResult result;
  result.samples = {{"step", 0, value, {}}, {"e2e", -1, 2 * value, {}}};
  result.memory = {{"host_rss", 1000 + value}};
  result.output_sha256 = "output" + std::to_string(value);
  return result;
}

// Trials [begin, end) of one run that several files share.
void write_part(const fs::path& file, const std::string& key, int64_t begin, int64_t end) {
  RunStore store = RunStore::open_or_create(file);
  const RunId run = store.begin_run(row_of(key), {}).id;
  const CaseId id = store.ensure_case(run, {"dense", "", "{}", 0});
  for (int64_t i = begin; i < end; ++i) {
    const ItemId item = store.ensure_item({"prompt " + std::to_string(i), "", "{}", 1});
    store.finish_trial(store.begin_trial({run, id, item, TrialRole::kTiming, 0}), result_of(i + 1));
  }
  store.end_run(run, "rounds used up");
}

std::string schema_text(const char* name) {
  return read_file(fs::path(VORTA_SOURCE_DIR) / "reports/store/migrations" / name);
}

// A database as schema 1 or 2 wrote it.
void write_old(const fs::path& file, int trials, int version = 2) {
  sqlite3* handle = nullptr;
  REQUIRE(sqlite3_open(file.c_str(), &handle) == SQLITE_OK);
  std::ostringstream sql;
  sql << "PRAGMA journal_mode = WAL; BEGIN;" << schema_text("0001_first.sql")
      << (version > 1 ? schema_text("0002_gpu.sql") : "")
      << "PRAGMA application_id = 1447187249; PRAGMA user_version = " << version
      << ";"
         "INSERT INTO environment VALUES (1, 'identity', '{\"cpu\":\"old\"}', '{}');"
         "INSERT INTO run VALUES (1, 1, 'old', 'Old', 'suite', '{}', '[]', '{}', 'dense', '0', '', 5, 9, 0);"
         "INSERT INTO case_row VALUES (1, 1, 'case', 'dense', '', '{}', 0);"
         "INSERT INTO prompt VALUES (1, 'words', '', '{}'); INSERT INTO item VALUES (1, 1, 7);";
  for (int i = 0; i < trials; ++i) {
    sql << "INSERT INTO trial VALUES (" << i + 1 << ", 1, 1, 1, 'timing', " << i << ", 0, 'ok', '', " << 100 + i
        << ", 200);"
        << "INSERT INTO sample VALUES (" << i + 1 << ", 0, 'e2e', -1, 1000, NULL);";
  }
  sql << "COMMIT;";
  char* message = nullptr;
  const int code = sqlite3_exec(handle, sql.str().c_str(), nullptr, nullptr, &message);
  INFO((message != nullptr ? message : ""));
  CHECK(code == SQLITE_OK);
  sqlite3_close(handle);
}

// Runs `work` in a process of its own and kills it after `delay`, unless it ended before.
void kill_after(std::chrono::microseconds delay, const std::function<void()>& work) {
  const pid_t child = ::fork();
  REQUIRE(child >= 0);
  if (child == 0) {
    work();
    ::_exit(0);
  }
  std::this_thread::sleep_for(delay);
  ::kill(child, SIGKILL);
  int status = 0;
  REQUIRE(::waitpid(child, &status, 0) == child);
}

std::string refusal_of(const std::function<void()>& call) {
  try {
    call();
  } catch (const std::exception& error) {
    return error.what();
  }
  return "";
}

}  // namespace

TEST_CASE("an old database migrates with all its rows, and every copy gets the same keys", "[reports][history]") {
  TempFolder folder;
  const auto old = folder.path() / "old.sqlite";
  write_old(old, 50);
  CHECK(read_report(old).variants.at(0).ok == 50);        // read as it is
  CHECK(read_measured(old).values.size() == 50);
  const auto copy = folder.path() / "copy.sqlite";
  fs::copy_file(old, copy);
  {
    const Database migrated(old, OpenMode::kReadWrite);
  }
  {
    const Database migrated(copy, OpenMode::kReadWrite);
  }
  CHECK(number_in(old, "PRAGMA user_version") == schema_version());
  CHECK(number_in(old, "SELECT count(*) FROM trial") == 50);
  CHECK(number_in(old, "SELECT count(*) FROM sample") == 50);
  CHECK(verify_database(old).problems.empty());
  CHECK(content_digest(old) == content_digest(copy));
  const auto all = folder.path() / "all.sqlite";
  CHECK(merge_databases(all, {old, copy}).trials == 50);
  CHECK(read_report(all).variants.at(0).ok == 50);
  const auto first = folder.path() / "first.sqlite";
  write_old(first, 3, 1);
  CHECK(read_report(first).variants.at(0).ok == 3);
  CHECK(Database(first, OpenMode::kReadOnly).schema() == 1);
  RunStore::open_or_create(first);
  CHECK(Database(first, OpenMode::kReadOnly).schema() == schema_version());
  CHECK(read_report(first).variants.at(0).ok == 3);
}

TEST_CASE("a migration that is killed at any time leaves the old database or the new one", "[reports][history][kill]") {
  TempFolder folder;
  const auto old = folder.path() / "old.sqlite";
  write_old(old, 3000);
  std::mt19937 random(1);
  int untouched = 0, migrated = 0;
  for (int round = 0; round < 40; ++round) {
    const auto file = folder.path() / ("copy" + std::to_string(round) + ".sqlite");
    fs::copy_file(old, file);
    kill_after(std::chrono::microseconds(random() % 60000),
               [&] { const Database database(file, OpenMode::kReadWrite); });
    const int64_t version = number_in(file, "PRAGMA user_version");
    untouched += version == 2 ? 1 : 0;
    migrated += version == schema_version() ? 1 : 0;
    {
      const Database again(file, OpenMode::kReadWrite);
    }
    const Verification found = verify_database(file);
    CHECK(found.problems.empty());
    CHECK(found.trials == 3000);
    CHECK(found.samples == 3000);
    fs::remove(file);
  }
  CHECK(untouched + migrated == 40);
}

TEST_CASE("a writer that is killed at any time has lost nothing that it was told is stored",
          "[reports][history][kill]") {
  TempFolder folder;
  const auto file = folder.path() / "run.sqlite";
  std::mt19937 random(2);
  int64_t acknowledged = 0;
  for (int round = 0; round < 30; ++round) {
    int ends[2];
    REQUIRE(::pipe(ends) == 0);
    kill_after(std::chrono::microseconds(20000 + random() % 300000), [&] {
      RunStore store = RunStore::open_or_create(file);
      const RunId run = store.begin_run(row_of(""), {}).id;
      const CaseId id = store.ensure_case(run, {"dense", "", "{}", 0});
      for (int64_t i = 0;; ++i) {
        const ItemId item = store.ensure_item({"prompt", "", "{}", round * 100000 + i});
        store.finish_trial(store.begin_trial({run, id, item, TrialRole::kTiming, 0}), result_of(7));
        if (::write(ends[1], "x", 1) != 1) ::_exit(1);
      }
    });
    ::close(ends[1]);
    char bytes[4096];
    for (ssize_t got = 0; (got = ::read(ends[0], bytes, sizeof bytes)) > 0;) acknowledged += got;
    ::close(ends[0]);
  }
  RunStore::open_or_create(file).begin_run(row_of(""), {});
  const Verification found = verify_database(file);
  CHECK(found.problems.empty());
  const int64_t finished = number_in(file, "SELECT count(*) FROM trial WHERE status = 'ok'");
  CHECK(finished >= acknowledged);
  CHECK(finished <= acknowledged + 30);  // a kill between the commit and its acknowledgement
  CHECK(found.samples == 2 * finished);
  CHECK(number_in(file, "SELECT count(*) FROM trial WHERE status = 'running'") == 0);
  CHECK(acknowledged > 0);
}

TEST_CASE("four writers at once lose nothing", "[reports][history]") {
  TempFolder folder;
  const auto file = folder.path() / "run.sqlite";
  constexpr int64_t kTrials = 60;
  std::vector<pid_t> writers;
  for (int64_t writer = 0; writer < 4; ++writer) {
    const pid_t child = ::fork();
    REQUIRE(child >= 0);
    if (child == 0) {
      try {
        RunStore store = RunStore::open_or_create(file);
        const RunId run = store.begin_run(row_of(""), {}).id;
        const CaseId id = store.ensure_case(run, {"dense", "", "{}", 0});
        for (int64_t i = 0; i < kTrials; ++i) {
          const ItemId item = store.ensure_item({"prompt", "", "{}", writer * kTrials + i});
          store.finish_trial(store.begin_trial({run, id, item, TrialRole::kTiming, 0}), result_of(i));
        }
        ::_exit(0);
      } catch (const std::exception& error) {
        std::fprintf(stderr, "writer %d: %s\n", static_cast<int>(writer), error.what());
        ::_exit(1);
      }
    }
    writers.push_back(child);
  }
  for (const pid_t writer : writers) {
    int status = 0;
    REQUIRE(::waitpid(writer, &status, 0) == writer);
    CHECK(status == 0);
  }
  CHECK(number_in(file, "SELECT count(*) FROM run") == 1);
  CHECK(number_in(file, "SELECT count(*) FROM trial WHERE status = 'ok'") == 4 * kTrials);  // none taken for dead
  CHECK(verify_database(file).problems.empty());
}

TEST_CASE("merging is idempotent and its order does not matter", "[reports][history]") {
  TempFolder folder;
  const auto at = [&](const char* name) { return folder.path() / name; };
  write_part(at("a.sqlite"), "shared", 0, 5);
  write_part(at("b.sqlite"), "shared", 3, 9);      // two trials were done by both
  write_part(at("c.sqlite"), "other", 0, 4);
  fs::create_directories(folder.path() / "sample");
  const auto sample = make_sample_run(folder.path() / "sample");
  merge_databases(at("abc.sqlite"), {at("a.sqlite"), at("b.sqlite"), at("c.sqlite"), sample});
  merge_databases(at("cba.sqlite"), {sample, at("c.sqlite"), at("b.sqlite"), at("a.sqlite")});
  merge_databases(at("nested.sqlite"), {at("b.sqlite"), at("cba.sqlite"), at("a.sqlite")});
  const std::string digest = content_digest(at("abc.sqlite"));
  CHECK(content_digest(at("cba.sqlite")) == digest);
  CHECK(content_digest(at("nested.sqlite")) == digest);
  const MergeSummary again = merge_databases(at("abc.sqlite"), {at("b.sqlite"), at("a.sqlite"), sample});
  CHECK(again.new_trials == 0);
  CHECK(content_digest(at("abc.sqlite")) == digest);
  CHECK(number_in(at("abc.sqlite"), "SELECT count(*) FROM run") == 3);
  CHECK(number_in(at("abc.sqlite"), "SELECT count(*) FROM trial t JOIN run USING (run_id) WHERE run_key = 'shared'") ==
        11);
  CHECK(number_in(at("abc.sqlite"),
                  "SELECT count(*) FROM trial t JOIN run USING (run_id) WHERE run_key = 'shared' AND attempt = 1") ==
        2);
  CHECK(read_measured(at("abc.sqlite"), "shared").values.size() == 9 * 3);
  const Verification found = verify_database(at("abc.sqlite"));
  for (const std::string& problem : found.problems) CHECK(problem == "");
  CHECK(content_digest(at("a.sqlite")) != digest);
  CHECK_THROWS_AS(merge_databases(at("a.sqlite"), {at("a.sqlite")}), ConfigError);
}

TEST_CASE("artefacts come along, named by what they hold", "[reports][history]") {
  TempFolder folder;
  fs::create_directories(folder.path() / "one");
  const auto sample = make_sample_run(folder.path() / "one");
  fs::create_directories(folder.path() / "all");
  const auto all = folder.path() / "all/history.sqlite";
  CHECK(merge_databases(all, {sample}).artefacts == 1);  // eleven rows, one content
  const Report report = read_report(all);
  const auto& artefact = report.variants.at(0).items.at(0).artefacts.at(0);
  CHECK(artefact.path.rfind("artefacts/", 0) == 0);
  CHECK(fs::file_size(all.parent_path() / artefact.path) == 85);
  CHECK(verify_database(all).problems.empty());
  std::ofstream(all.parent_path() / artefact.path, std::ios::app) << "tampered";
  const Verification found = verify_database(all);
  REQUIRE_FALSE(found.problems.empty());
  CHECK(found.problems.front().find("changed") != std::string::npos);
}

namespace {

// Overwrites a stretch in the middle, behind the pages that hold the schema.
void tear(const fs::path& file) {
  {
    Database(file, OpenMode::kReadWrite).execute("PRAGMA wal_checkpoint(TRUNCATE)");
  }
  std::fstream stream(file, std::ios::in | std::ios::out | std::ios::binary);
  stream.seekp(static_cast<std::streamoff>(fs::file_size(file) / 4096 / 2 * 4096));
  stream << std::string(4 * 4096, '\x5a');
}

std::vector<std::string> names_in(const fs::path& folder) {
  std::vector<std::string> names;
  for (const auto& entry : fs::directory_iterator(folder)) names.push_back(entry.path().filename().string());
  std::sort(names.begin(), names.end());
  return names;
}

}  // namespace

TEST_CASE("a merge or a copy that fails leaves nothing", "[reports][history]") {
  TempFolder folder;
  const auto at = [&](const char* name) { return folder.path() / name; };
  write_part(at("a.sqlite"), "one", 0, 3);
  write_part(at("torn.sqlite"), "two", 0, 200);
  tear(at("torn.sqlite"));
  std::ofstream(at("text.sqlite")) << "not a database";
  const std::vector<std::string> before = names_in(folder.path());
  for (const char* bad : {"missing.sqlite", "torn.sqlite", "text.sqlite"}) {
    INFO(bad);
    CHECK(refusal_of([&] { merge_databases(at("all.sqlite"), {at("a.sqlite"), at(bad)}); }).find(bad) !=
          std::string::npos);
    CHECK(refusal_of([&] { publish_database(at(bad), at("copy.sqlite")); }).find(bad) != std::string::npos);
    CHECK(names_in(folder.path()) == before);
  }
  CHECK_THROWS_AS(merge_databases(folder.path() / "no/all.sqlite", {at("a.sqlite")}), DataError);
  CHECK(refusal_of([&] {
          publish_database(at("a.sqlite"), folder.path() / "no/copy.sqlite");
        }).find("expected a folder") != std::string::npos);
  merge_databases(at("all.sqlite"), {at("a.sqlite")});
  const std::string digest = content_digest(at("all.sqlite"));
  CHECK_THROWS_AS(merge_databases(at("all.sqlite"), {at("torn.sqlite")}), DataError);
  CHECK(content_digest(at("all.sqlite")) == digest);
  std::ostringstream rows;
  CHECK(refusal_of([&] { export_rows(at("torn.sqlite"), "trial", ExportFormat::kCsv, rows); }).find("db verify") !=
        std::string::npos);
  CHECK(rows.str().empty());
  CHECK_FALSE(verify_database(at("torn.sqlite")).problems.empty());
}

TEST_CASE("a database with a baseline is sound", "[reports][history]") {
  TempFolder folder;
  const auto file = folder.path() / "run.sqlite";
  write_part(file, "first", 0, 2);
  for (int i = 0; i < 30; ++i) freeze_baseline(file, {"main", "class", "first", "someone", "again"});
  CHECK(verify_database(file).problems.empty());
  CHECK_NOTHROW(require_sound(Database(file, OpenMode::kReadOnly)));
}

TEST_CASE("verification names damage", "[reports][history]") {
  TempFolder folder;
  const auto file = folder.path() / "run.sqlite";
  write_part(file, "", 0, 3);
  {
    Database(file, OpenMode::kReadWrite).execute("DELETE FROM sample WHERE stage = 'e2e' AND trial_id = 2");
  }
  CHECK(verify_database(file).problems.at(0).find("trial 2") != std::string::npos);
  {
    Database(file, OpenMode::kReadWrite).execute("PRAGMA foreign_keys = OFF; DELETE FROM trial WHERE trial_id = 1");
  }
  CHECK(verify_database(file).problems.at(0).find("refers to") != std::string::npos);
  const auto torn = folder.path() / "torn.sqlite";
  write_part(torn, "", 0, 200);
  {
    Database(torn, OpenMode::kReadWrite).execute("PRAGMA wal_checkpoint(TRUNCATE)");
  }
  {
    std::fstream stream(torn, std::ios::in | std::ios::out | std::ios::binary);
    stream.seekp(6 * 4096);
    stream << std::string(6 * 4096, '\x5a');
  }
  CHECK(verify_database(torn).problems.at(0).find("integrity") == 0);
}

TEST_CASE("a published copy has no log and opens where nothing can be written", "[reports][history]") {
  TempFolder folder;
  const auto file = folder.path() / "run.sqlite", copy = folder.path() / "published.sqlite";
  write_part(file, "", 0, 3);
  publish_database(file, copy);
  CHECK(number_in(copy, "SELECT count(*) FROM trial") == 3);
  CHECK(number_in(copy, "SELECT count(*) FROM v_trial") == 3);
  {
    const Database database(copy, OpenMode::kReadOnly);
    Statement mode = database.prepare("PRAGMA journal_mode");
    REQUIRE(mode.step());
    CHECK(mode.text(0) == "delete");
  }
  CHECK_FALSE(fs::exists(copy.string() + "-wal"));
  publish_database(file, copy);  // again, over the old one
  CHECK_THROWS_AS(publish_database(file, file), ConfigError);
  // As another user: writing is refused with the file's name, reading works.
  fs::permissions(folder.path(), fs::perms::owner_all | fs::perms::group_read | fs::perms::group_exec |
                                     fs::perms::others_read | fs::perms::others_exec);
  const pid_t child = ::fork();
  if (child == 0) {
    if (::geteuid() == 0 && ::seteuid(65534) != 0) ::_exit(9);
    const bool reads = number_in(copy, "SELECT count(*) FROM trial") == 3;
    const std::string message = refusal_of([&] { write_part(copy, "", 0, 1); });
    ::_exit(reads && message.find("published.sqlite") != std::string::npos &&
                    message.find("readonly") != std::string::npos
                ? 0
                : 1);
  }
  int status = 0;
  REQUIRE(::waitpid(child, &status, 0) == child);
  if (::geteuid() == 0) CHECK(WEXITSTATUS(status) == 0);
}

TEST_CASE("exports hold every row in each format, and formulas are defused", "[reports][history]") {
  TempFolder folder;
  const auto file = make_sample_run(folder.path());
  std::ostringstream csv, json, lines;
  const int64_t rows = export_rows(file, "measurements", ExportFormat::kCsv, csv);
  CHECK(export_rows(file, "measurements", ExportFormat::kJson, json) == rows);
  CHECK(export_rows(file, "measurements", ExportFormat::kJsonLines, lines) == rows);
  const auto parsed = nlohmann::json::parse(json.str());
  CHECK(parsed.size() == static_cast<size_t>(rows));
  CHECK(parsed[0].contains("run_key"));
  std::istringstream stream(lines.str());
  int64_t count = 0;
  for (std::string line; std::getline(stream, line);) count += nlohmann::json::parse(line).is_object() ? 1 : 0;
  CHECK(count == rows);
  CHECK(csv.str().rfind("run_key,suite,variant,prompt,seed,role,", 0) == 0);
  {
    Database(file, OpenMode::kReadWrite).execute("UPDATE prompt SET text = '=1+1,\"x\"' WHERE prompt_id = 1");
  }
  std::ostringstream prompts;
  export_rows(file, "prompt", ExportFormat::kCsv, prompts);
  CHECK(prompts.str().find("\"'=1+1,\"\"x\"\"\"") != std::string::npos);
  CHECK_THROWS_AS(export_rows(file, "trail", ExportFormat::kCsv, csv), ConfigError);
}

TEST_CASE("baselines belong to a class of environments; the newest counts", "[reports][history]") {
  TempFolder folder;
  const auto file = folder.path() / "run.sqlite";
  write_part(file, "first", 0, 2);
  const std::string a = environment_class(R"({"cpu":"x","engine":"1"})", {"cpu", "gpu"});
  CHECK(a == environment_class(R"({"cpu":"x","engine":"2"})", {"cpu", "gpu"}));
  CHECK(a != environment_class(R"({"cpu":"y"})", {"cpu", "gpu"}));
  CHECK_FALSE(find_baseline(file, "main", a));
  freeze_baseline(file, {"main", a, "first", "someone", "a start"});
  CHECK(find_baseline(file, "main", a) == "first");
  CHECK_FALSE(find_baseline(file, "main", "another class"));
  CHECK_THROWS_AS(freeze_baseline(file, {"main", a, "none", "", ""}), ConfigError);
  accept_change(file, {"first", "*", "output", "someone", "wanted"});
  CHECK(accepted_changes(file).at(0).reason == "wanted");
  ComparisonSet set{R"({"name":"p"})", "first", "first", 1, {}};
  set.rows.push_back(
      {"dense", "time/step", "1", 1.0, 1.1, 0.1, 0.05, {}, {}, {}, {}, 6, "worse", "regression", "words"});
  store_comparisons(file, set);
  store_comparisons(file, set);
  CHECK(number_in(file, "SELECT count(*) FROM comparison WHERE harm_high IS NULL AND outcome = 'regression'") == 1);
}

TEST_CASE("audits hold for an honest run and name what breaks", "[reports][history]") {
  TempFolder folder;
  const auto file = folder.path() / "run.sqlite";
  {
    RunStore store = RunStore::open_or_create(file);
    const RunId run = store.begin_run(row_of(""), {}).id;
    for (int64_t v = 0; v < 2; ++v) {
      const CaseId id =
          store.ensure_case(run, {v == 0 ? "dense" : "vorta", "", "{\"steps\":2,\"v\":" + std::to_string(v) + "}", v});
      store.set_predictions(run, id, {{"flops/attention", "FLOP", 100, 101.0}});
      for (int64_t turn = 0; turn < 20; ++turn) {
        const int64_t round = turn / 5;
        const ItemId item = store.ensure_item({"prompt", "", "{}", turn % 5});
        TrialResult result;
        result.samples = {{"step", 0, 500, {}}, {"step", 1, 500, {}}, {"e2e", -1, 1000 + round, {}}};
        result.output_sha256 = "same";
        result.frames = 9;
        result.gpu.power.emplace();
        result.gpu.power->device = "a GPU";
        result.gpu.power->samples = 1;
        store.finish_trial(store.begin_trial({run, id, item, TrialRole::kTiming, round}, (round + v) % 2), result);
        if (round == 0)
          store.finish_trial(store.begin_trial({run, id, item, TrialRole::kProfile, 0}), [] {
            TrialResult r;
            r.output_sha256 = "same";
            return r;
          }());
      }
    }
  }
  for (const Audit& audit : audit_run(file)) {
    INFO(audit.name << ": " << audit.words);
    CHECK(audit.outcome == AuditOutcome::kHolds);
  }
  const auto broken = [&](const std::string& change) {
    const auto copy = folder.path() / "copy.sqlite";
    fs::remove(copy);
    publish_database(file, copy);
    Database(copy, OpenMode::kPublish).execute(change);
    std::vector<std::string> names;
    for (const Audit& audit : audit_run(copy)) {
      if (audit.outcome == AuditOutcome::kBroken) names.push_back(audit.name);
    }
    return names;
  };
  using Names = std::vector<std::string>;
  CHECK(broken("DELETE FROM sample WHERE trial_id = 1 AND step = 1") == Names{"steps executed"});
  CHECK(broken("UPDATE trial SET output_sha256 = 'other' WHERE role = 'profile' AND case_id = 2") ==
        Names{"modes agree"});
  CHECK(broken("UPDATE trial SET output_sha256 = 'other' WHERE repeat = 3 AND case_id = 1") ==
        Names{"rounds agree", "modes agree"});
  CHECK(broken("UPDATE sample SET host_ns = 800 WHERE stage = 'e2e' AND trial_id IN (SELECT trial_id FROM trial WHERE "
               "repeat > 0 AND case_id = 2)") == Names{"no memory of prompts"});
  CHECK(broken("UPDATE trial SET frames = 8 WHERE trial_id = 1") == Names{"whole videos"});
  CHECK(broken("INSERT INTO gpu_other_process VALUES (1, 77, 'miner', 1073741824)") == Names{"alone on the GPU"});
  CHECK(broken("UPDATE prediction SET measured = 60") == Names{"work as planned"});
  CHECK(broken("UPDATE trial SET position = 0 WHERE case_id = 1") == Names{"balanced order"});
  // Where a variant runs on some items only, the others are at the places that are left there.
  CHECK(broken("UPDATE trial SET status = 'skipped' WHERE case_id = 2 AND item_id > 2; UPDATE trial SET position = 0 "
               "WHERE item_id > 2")
            .empty());
}

TEST_CASE("processes are told apart by boot, number_in and start", "[reports][history]") {
  CHECK(is_alive(this_process()));
  CHECK_FALSE(is_alive(""));
  CHECK_FALSE(is_alive("another-boot/1/1"));
  std::string other = this_process();
  other.back() = other.back() == '1' ? '2' : '1';
  CHECK_FALSE(is_alive(other));
  CHECK(unique_key().size() == 32);
  CHECK(unique_key() != unique_key());
}

TEST_CASE("a million samples go in within ten seconds and a report over them takes five at most",
          "[reports][throughput]") {
  TempFolder folder;
  const auto file = folder.path() / "run.sqlite";
  const auto seconds_of = [](const std::function<void()>& work) {
    const std::clock_t begin = std::clock();  // processor time: what others do on the machine is not ours
    work();
    return static_cast<double>(std::clock() - begin) / CLOCKS_PER_SEC;
  };
  const double writing = seconds_of([&] {
    RunStore store = RunStore::open_or_create(file);
    const RunId run = store.begin_run(row_of(""), {}).id;
    for (int64_t v = 0; v < 4; ++v) {
      const CaseId id = store.ensure_case(
          run, {v == 0 ? "dense" : "v" + std::to_string(v), "", "{\"v\":" + std::to_string(v) + "}", v});
      for (int64_t i = 0; i < 250; ++i) {
        const ItemId item = store.ensure_item({"prompt " + std::to_string(i), "", "{}", 0});
        TrialResult result;
        for (int64_t step = 0; step < 999; ++step) result.samples.push_back({"step", step, 1000 + step + v, {}});
        result.samples.push_back({"e2e", -1, 1'000'000, {}});
        store.finish_trial(store.begin_trial({run, id, item, TrialRole::kTiming, 0}), result);
      }
    }
  });
  CHECK(number_in(file, "SELECT count(*) FROM sample") == 1'000'000);
  const double reading = seconds_of([&] { CHECK(read_report(file).variants.size() == 4); });
  const double measured = seconds_of([&] { CHECK(read_measured(file).values.size() == 2000); });
  std::printf(
      "1,000,000 samples: written in %.2f s of processor time, report read in %.2f s, measured values in %.2f s\n",
      writing, reading, measured);
  CHECK(writing < 10);
  CHECK(reading < 5);
  CHECK(measured < 5);
}
