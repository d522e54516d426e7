// SPDX-License-Identifier: Apache-2.0
#include <httplib.h>

#include <csignal>
#include <filesystem>
#include <fstream>
#include <future>
#include <nlohmann/json.hpp>
#include <thread>

#include "engine/base/error.h"
#include "reports/serve/run_catalog.h"
#include "reports/serve/server.h"
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
  CHECK(client.Get("/api/runs", {{"Host", "results.example.org"}})->status == 403);
  CHECK(client.Get("/api/runs", {{"Host", "[::1]:8765"}})->status == 200);
  CHECK(client.Post("/api/runs", "", "text/plain")->status == 405);
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
