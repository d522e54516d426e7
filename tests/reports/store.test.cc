// SPDX-License-Identifier: Apache-2.0
#include <sqlite3.h>
#include <sys/wait.h>
#include <unistd.h>

#include <fstream>

#include "engine/base/error.h"
#include "engine/base/sha256.h"
#include "reports/query/report.h"
#include "reports/store/database.h"
#include "reports/store/run_store.h"
#include "tests/reports/sample_run.h"
#include "tests/support/catch.h"

using namespace vorta;
using namespace vorta::reports;
using vorta::tests::make_sample_run;
using vorta::tests::TempFolder;

namespace {

RunRow small_run() {
  RunRow run;
  run.suite = "small";
  run.title = "small";
  run.suite_json = R"({"a":1})";
  run.reference_variant = "dense";
  return run;
}

int64_t count(const std::filesystem::path& file, const std::string& query) {
  const Database database(file, OpenMode::kReadOnly);
  Statement statement = database.prepare(query);
  return statement.step() ? statement.integer(0) : -1;
}

struct Begun {
  RunStore store;
  TrialKey key;
};

Begun begin(const std::filesystem::path& file) {
  RunStore store = RunStore::open_or_create(file);
  const RunId run = store.begin_run(small_run(), {}).id;
  const CaseId id = store.ensure_case(run, {"dense", "", "{}", 0});
  const ItemId item = store.ensure_item({"a prompt", "", "{}", 1});
  return {std::move(store), {run, id, item, TrialRole::kTiming, 0}};
}

std::string message_of(const std::function<void()>& call) {
  try {
    call();
  } catch (const std::exception& error) {
    return error.what();
  }
  return "";
}

TEST_CASE("a layer that no forward of a step ran has no routes in a report", "[reports][store]") {
  TempFolder folder;
  const auto file = folder.path() / "run.sqlite";
  {
    auto [store, key] = begin(file);
    store.finish_trial(store.begin_trial(key), {{{"e2e", -1, 5, {}}}, {}, {}, {}, {}});
    store.set_routes(key.run, key.case_id,
                     {{0, 0, 2, 0, 0}, {0, 1, 2, 0, 0}, {1, 0, 2, 0, 0}, {1, 1, 2, 0, 0}, {2, 0, 2, 0, 0}});
    store.set_calls(key.run, key.case_id,
                    {{0, "positive", "XX", 0},
                     {0, "negative", "Xc", 0},
                     {1, "positive", "pc", 0},
                     {1, "negative", "pc", 0},
                     {2, "positive", "..", 0}});
    store.end_run(key.run);
  }
  std::vector<std::pair<int64_t, int64_t>> kept;
  const Report report = read_report(file);
  for (const RouteRow& row : report.variants.at(0).routes) kept.emplace_back(row.step, row.layer);
  CHECK(kept == std::vector<std::pair<int64_t, int64_t>>{{0, 0}, {0, 1}, {1, 0}});
}

}  // namespace

TEST_CASE("sha-256 gives the digests of the standard", "[reports][store]") {
  CHECK(sha256_hex("") == "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855");
  CHECK(sha256_hex("abc") == "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad");
  CHECK(sha256_hex(std::string(1'000'000, 'a')) == "cdc76e5c9914fb9281a1c7e284d73e67f1809a48a497200e046d39ccc7112cd0");
  CHECK(json_hash(R"({"b": 1, "a": 2})") == json_hash(R"({"a":2,"b":1})"));
}

TEST_CASE("a resumed run keeps its ids, its finished trials and marks what was cut off", "[reports][store]") {
  TempFolder folder;
  const auto file = folder.path() / "run.sqlite";
  TrialKey first;
  {
    auto [store, key] = begin(file);
    first = key;
    store.finish_trial(store.begin_trial(key), {{{"e2e", -1, 5, {}}}, {}, {}, {}, {}});
    TrialKey second = key;
    second.repeat = 1;
    store.begin_trial(second);  // the process dies here
  }
  auto store = RunStore::open_or_create(file);
  const BegunRun resumed = store.begin_run(small_run(), {});
  CHECK(resumed.resumed);
  CHECK(resumed.id == first.run);
  CHECK(resumed.interrupted_trials == 1);
  CHECK(store.ensure_case(resumed.id, {"dense", "", "{}", 0}) == first.case_id);
  CHECK(store.ensure_item({"a prompt", "", "{}", 1}) == first.item);
  CHECK(store.is_settled(first));
  TrialKey second = first;
  second.repeat = 1;
  CHECK_FALSE(store.is_settled(second));
  CHECK(store.find_trial(second)->status == TrialStatus::kInterrupted);
  store.fail_trial(store.begin_trial(second), {"data", "no", "", -1});
  CHECK(store.find_trial(second)->attempt == 1);
  CHECK(store.is_settled(second));
}

TEST_CASE("a database of another suite or environment is refused, naming what differs", "[reports][store]") {
  TempFolder folder;
  auto store = begin(folder.path() / "run.sqlite").store;
  RunRow other = small_run();
  other.suite_json = R"({"a":2})";
  CHECK_THROWS_AS(store.begin_run(other, {}), ConfigError);
  const std::string message = message_of([&] { store.begin_run(small_run(), {R"({"cpu":"other"})", "{}"}); });
  CHECK(message.find("/cpu") != std::string::npos);
}

TEST_CASE("a process killed inside a transaction leaves nothing of it", "[reports][store]") {
  TempFolder folder;
  const auto file = folder.path() / "run.sqlite";
  TrialId trial = 0;
  {
    auto [store, key] = begin(file);
    trial = store.begin_trial(key);
  }
  const pid_t child = fork();
  REQUIRE(child >= 0);
  if (child == 0) {
    const Database database(file, OpenMode::kReadWrite);
    const Transaction transaction(database);
    database.execute("INSERT INTO sample SELECT trial_id, 0, 'e2e', -1, 5, NULL FROM trial");
    _exit(9);  // no destructor, no rollback: as a kill would
  }
  int status = 0;
  waitpid(child, &status, 0);
  REQUIRE(WEXITSTATUS(status) == 9);
  CHECK(count(file, "SELECT count(*) FROM sample") == 0);
  auto store = RunStore::open_or_create(file);
  store.finish_trial(trial, {{{"e2e", -1, 5, {}}}, {}, {}, {}, {}});
  CHECK(count(file, "SELECT count(*) FROM sample") == 1);
}

TEST_CASE("a result that breaks a rule is rolled back whole", "[reports][store]") {
  TempFolder folder;
  const auto file = folder.path() / "run.sqlite";
  auto [store, key] = begin(file);
  const TrialId trial = store.begin_trial(key);
  TrialResult result;
  result.samples = {{"e2e", -1, 5, {}}};
  result.scores = {{"a metric that nobody defined", 1.0, ""}};
  CHECK_THROWS_AS(store.finish_trial(trial, result), DataError);
  CHECK(count(file, "SELECT count(*) FROM sample") == 0);
  CHECK(store.find_trial(key)->status == TrialStatus::kRunning);
}

TEST_CASE("a newer schema is refused with both versions, and left as it was", "[reports][store]") {
  TempFolder folder;
  const auto file = make_sample_run(folder.path());
  {
    const Database database(file, OpenMode::kReadWrite);
    database.execute("PRAGMA user_version = 99");
  }
  const std::string message = message_of([&] { RunStore::open_or_create(file); });
  CHECK(message.find("99") != std::string::npos);
  CHECK(message.find("up to " + std::to_string(schema_version())) != std::string::npos);
  CHECK(message.find("run.sqlite") != std::string::npos);
  CHECK_THROWS_AS(read_report(file), DataError);
}

TEST_CASE("another program's database, a text file and a missing file are data errors", "[reports][store]") {
  TempFolder folder;
  const auto file = folder.path() / "x.sqlite";
  {
    sqlite3* handle = nullptr;
    sqlite3_open(file.c_str(), &handle);
    sqlite3_exec(handle, "CREATE TABLE t (a)", nullptr, nullptr, nullptr);
    sqlite3_close(handle);
  }
  CHECK_THROWS_AS(RunStore::open_or_create(file), DataError);
  const auto text = folder.path() / "text.sqlite";
  std::ofstream(text)
      << "this is not a database, but it is long enough to hold a header of one hundred bytes, as it seems to be.";
  CHECK(message_of([&] { RunStore::open_or_create(text); }).find("text.sqlite") != std::string::npos);
  CHECK_THROWS_AS(read_report(folder.path() / "missing.sqlite"), DataError);
  CHECK_THROWS_AS(RunStore::open_or_create(folder.path() / "no" / "such" / "run.sqlite"), DataError);
}

TEST_CASE("a full disk is a data error and keeps what was written before", "[reports][store]") {
  TempFolder folder;
  const auto file = folder.path() / "run.sqlite";
  begin(file);
  const Database database(file, OpenMode::kReadWrite);
  Statement pages = database.prepare("PRAGMA page_count");
  pages.step();
  const int64_t size = pages.integer(0);
  pages.reset();
  database.execute("PRAGMA max_page_count = " + std::to_string(size + 2));
  const std::string message = message_of([&] {
    Transaction transaction(database);
    Statement insert = database.prepare("INSERT INTO prompt (text, negative_text, tags_json) VALUES (?, '', '{}')");
    for (int i = 0; i < 100; ++i) insert.bind(std::string(1000, 'x') + std::to_string(i)).run();
    transaction.commit();
  });
  CHECK(message.find("full") != std::string::npos);
  CHECK(message.find("run.sqlite") != std::string::npos);
  CHECK(count(file, "SELECT count(*) FROM prompt") == 1);
}
