// SPDX-License-Identifier: Apache-2.0
#include <httplib.h>

#include <algorithm>
#include <csignal>
#include <filesystem>
#include <fstream>
#include <future>
#include <nlohmann/json.hpp>
#include <thread>

#include "engine/base/error.h"
#include "reports/query/report.h"
#include "reports/serve/run_catalog.h"
#include "reports/serve/server.h"
#include "reports/store/database.h"
#include "reports/store/maintain.h"
#include "reports/store/run_store.h"
#include "tests/reports/sample_run.h"
#include "tests/support/catch.h"

using namespace vorta;
using namespace vorta::reports;

namespace {

// A server on a free port for as long as it lives.
class Running {
 public:
  explicit Running(const std::filesystem::path& folder) {
    std::promise<std::string> promise;
    auto ready = promise.get_future();
    thread_ = std::thread([folder, &promise] {
      serve({.paths = {folder}, .host = "127.0.0.1", .port = 0},
            [&promise](const std::string& address) { promise.set_value(address); });
    });
    address_ = ready.get();
    address_.pop_back();  // the slash
  }
  ~Running() {
    while (!httplib::Client(address_).Get("/api/runs"))
      std::this_thread::yield();  // it listens a moment after it is ready
    std::raise(SIGTERM);
    thread_.join();
  }
  httplib::Client client() const { return httplib::Client(address_); }

 private:
  std::thread thread_;
  std::string address_;
};

}  // namespace

TEST_CASE("the server shows runs, their reports and their files, and nothing else", "[reports][serve]") {
  tests::TempFolder folder;
  tests::make_sample_run(folder.path());
  const Running server(folder.path());
  httplib::Client client = server.client();
  client.set_connection_timeout(5);

  httplib::Result answer = client.Get("/api/runs");
  for (int tries = 0; !answer && tries < 100; ++tries) answer = client.Get("/api/runs");
  REQUIRE(answer);
  const auto runs = nlohmann::json::parse(answer->body);
  REQUIRE(runs.size() == 1);
  CHECK(runs[0].at("suite") == "sample");
  CHECK(runs[0].at("trials").at("failed") == 1);
  const std::string base = "/runs/" + runs[0].at("id").get<std::string>();

  answer = client.Get(base + "/report.json");
  REQUIRE(answer);
  CHECK(nlohmann::json::parse(answer->body).at("reference_variant") == "dense");
  CHECK(client.Get(base + "/report.html")->body.find("Side by side") != std::string::npos);
  CHECK(client.Get("/")->get_header_value("Content-Security-Policy").find("default-src 'none'") == 0);
  CHECK(nlohmann::json::parse(client.Get("/api/history")->body).size() > 3);

  const auto report = nlohmann::json::parse(client.Get(base + "/report.json")->body);
  const std::string picture = report["variants"][0]["items"][0]["artefacts"][0]["path"];
  CHECK(client.Get(base + "/files/" + picture)->get_header_value("Content-Type") == "image/png");
  CHECK(client.Get(base + "/files/run.sqlite")->status == 404);
  CHECK(client.Get(base + "/files/../run.sqlite")->status == 404);
  CHECK(client.Get(base + "/files/%2e%2e/%2e%2e/etc/passwd")->status == 404);
  CHECK(client.Get("/runs/none/report.json")->status == 404);
  CHECK(nlohmann::json::parse(client.Get("/no/such/page")->body).contains("error"));
  CHECK(client.Get("/api/runs", {{"Host", "results.example.org"}})->status == 403);
  CHECK(client.Get("/api/runs", {{"Host", "[::1]:8765"}})->status == 200);
  CHECK(client.Post("/api/runs", "", "text/plain")->status == 405);
}

TEST_CASE("every run of a history is in the catalogue, with its commit and its own report", "[reports][serve]") {
  tests::TempFolder folder;
  const auto file = tests::make_sample_run(folder.path());
  const auto second = folder.path() / "second.sqlite";
  publish_database(file, second);
  Database(second, OpenMode::kPublish)
      .execute(
          "UPDATE run SET run_key = 'second-key', started_unix_ns = started_unix_ns + 1000000000, title = 'Second', "
          "build_json = "
          "'{\"commit\":\"abc\"}'; UPDATE trial SET trial_key = '2' || trial_key");
  std::filesystem::create_directories(folder.path() / "all");
  merge_databases(folder.path() / "all/history.sqlite", {file, second});
  const auto runs = find_runs({folder.path() / "all"});
  REQUIRE(runs.size() == 2);
  CHECK(runs[1].id == "all-history-cond-key");
  const auto first_status = run_status(runs[0]), second_status = run_status(runs[1]);
  CHECK(first_status.at("title") != "Second");
  CHECK(first_status.at("commit") == "");
  CHECK(second_status.at("title") == "Second");
  CHECK(second_status.at("commit") == "abc");
  CHECK(first_status.at("trials") == second_status.at("trials"));
  CHECK(read_report(runs[0].database, runs[0].run_key).title != "Second");
  CHECK(read_report(runs[1].database, "second-key").title == "Second");
  CHECK(read_report(runs[1].database).title == "Second");  // the newest
  CHECK_THROWS_AS(read_report(runs[1].database, "third"), DataError);
  const auto history = run_history(runs);
  CHECK(std::count_if(history.begin(), history.end(), [](const auto& row) { return row.at("commit") == "abc"; }) * 2 ==
        static_cast<std::ptrdiff_t>(history.size()));
}

TEST_CASE("progress counts what each variant runs on, and the rounds that were asked for", "[reports][serve]") {
  tests::TempFolder folder;
  const auto file = folder.path() / "run.sqlite";
  RunStore store = RunStore::open_or_create(file);
  RunRow row{.suite = "s", .title = "S"};
  row.suite_json = R"({"prompts": [{"text": "a"}, {"text": "b"}], "seeds": [0, 1], "measurement": {"trials": 2},
    "variants": [{"name": "dense"}, {"name": "first", "prompts": 1},
                 {"name": "odd", "seeds": [1], "profile": false}]})";
  row.argv_json = row.model_json = "{}";
  const RunId run = store.begin_run(row, {.identity_json = "{}", .volatile_json = "{}"}).id;
  std::vector<ItemId> items;
  for (const char* prompt : {"a", "b"}) {
    for (const int64_t seed : {0, 1}) items.push_back(store.ensure_item({prompt, "", "{}", seed}));
  }
  store.ensure_item({"a", "", "{}", 7});  // of another run
  const CaseId dense = store.ensure_case(run, {"dense", "", "{}", 0});
  store.ensure_case(run, {"first", "", R"({"v": 1})", 1});
  store.ensure_case(run, {"odd", "", R"({"v": 2})", 2});
  store.ensure_case(run, {"dense-9-steps", "", R"({"control_for": "first, odd"})", 3});
  store.ensure_case(run, {"dense-again", "", R"({"control_for": "dense"})", 4});
  const auto expected = [&] { return run_status(find_runs({file}).at(0)).at("expected").get<int64_t>(); };
  CHECK(expected() == 2 * (4 + 2 + 2 + 4 + 2) + 2);
  store.begin_trial({run, dense, items[0], TrialRole::kTiming, 4});  // --rounds 5, each with its profile
  store.begin_trial({run, dense, items[0], TrialRole::kProfile, 4});
  CHECK(expected() == 5 * (4 + 2 + 2 + 4 + 2) + 5 * 2);
}

TEST_CASE("the catalogue names each database once and says what it cannot read", "[reports][serve]") {
  tests::TempFolder folder;
  for (const char* name : {"a/same", "b/same"}) {
    std::filesystem::create_directories(folder.path() / name);
    tests::make_sample_run(folder.path() / name);
  }
  std::ofstream(folder.path() / "a/not.sqlite") << "no database";
  const auto runs = find_runs({folder.path()});
  REQUIRE(runs.size() == 3);
  CHECK(runs[0].id == "a-not");
  CHECK(run_status(runs[0]).contains("error"));
  CHECK(runs[1].id == "same");
  CHECK(runs[2].id == "same-2");
  CHECK(run_history(runs).size() == 2 * run_history({runs[1]}).size());
  CHECK_THROWS_AS(find_runs({folder.path() / "none"}), DataError);
  std::filesystem::create_directories(folder.path() / "empty");
  CHECK_THROWS_AS(find_runs({folder.path() / "empty"}), DataError);
}
