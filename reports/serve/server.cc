// SPDX-License-Identifier: Apache-2.0
#include "reports/serve/server.h"

#include <fmt/format.h>
#include <httplib.h>

#include <algorithm>
#include <atomic>
#include <csignal>
#include <nlohmann/json.hpp>

#include "engine/base/error.h"
#include "engine/base/json_io.h"
#include "reports/query/report.h"
#include "reports/render/json_format.h"
#include "reports/render/renderer.h"
#include "reports/serve/run_catalog.h"
#include "reports/store/database.h"
#include "vorta_live.h"

namespace vorta::reports {
namespace {

using httplib::Request;
using httplib::Response;
using nlohmann::json;
namespace fs = std::filesystem;

constexpr const char* kJson = "application/json; charset=utf-8";
// Scripts are our own files; `unsafe-eval` is there because Vega compiles its expressions.
constexpr const char* kPagePolicy =
    "default-src 'none'; script-src 'self' 'unsafe-eval'; style-src 'self' 'unsafe-inline'; img-src 'self' data:; "
    "connect-src 'self'; base-uri 'none'; form-action 'none'; frame-ancestors 'none'";

// A signal handler can reach nothing else.
std::atomic<httplib::Server*> running{nullptr};
void stop_running(int /*signal*/) {
  if (httplib::Server* server = running.load()) server->stop();
}

std::string host_name(const Request& request) {
  const std::string host = request.get_header_value("Host");
  if (!host.empty() && host.front() == '[') return host.substr(0, host.find(']') + 1);
  return host.substr(0, host.find(':'));
}

bool is_address(const std::string& name) {
  return !name.empty() && (name.front() == '[' || name.find_first_not_of("0123456789.") == std::string::npos);
}

void say_not_found(Response& response, const std::string& what) {
  response.status = 404;
  response.set_content(json{{"error", what}}.dump(), kJson);
}

void send_json(Response& response, const json& value) {
  response.set_content(value.dump(-1, ' ', false, json::error_handler_t::replace), kJson);
}

// The artefact's type as the run recorded it, or nothing when the run has no such artefact.
std::optional<std::string> artefact_type(const fs::path& database, const std::string& path) {
  const Database opened(database, OpenMode::kReadOnly);
  Statement row = opened.prepare("SELECT mime FROM artefact WHERE path = ?1 LIMIT 1");
  row.bind(std::string_view(path));
  return row.step() ? std::optional(row.text(0)) : std::nullopt;
}

void send_artefact(const CatalogEntry& entry, const std::string& path, Response& response) {
  const fs::path relative = fs::path(path).lexically_normal();
  const std::optional<std::string> type = artefact_type(entry.database, path);
  const bool inside = !relative.is_absolute() && !relative.empty() && *relative.begin() != "..";
  const fs::path file = entry.database.parent_path() / relative;
  if (!type || !inside || !fs::is_regular_file(file))
    return say_not_found(response, "this run recorded no file of that name");
  response.set_content(read_file(file), type->c_str());
}

class Site {
 public:
  explicit Site(const ServeOptions& options) : options_(options) { find_runs(options_.paths); }

  void add_to(httplib::Server& server) const {
    server.set_pre_routing_handler(
        [this](const Request& request, Response& response) { return guard(request, response); });
    server.set_exception_handler([](const Request&, Response& response, std::exception_ptr thrown) {
      response.status = 500;
      try {
        std::rethrow_exception(thrown);
      } catch (const std::exception& error) {
        response.set_content(json{{"error", error.what()}}.dump(-1, ' ', false, json::error_handler_t::replace), kJson);
      }
    });
    server.set_error_handler([](const Request&, Response& response) {
      if (response.body.empty() && response.status == 404) say_not_found(response, "nothing has this address");
    });
    add_page(server);
    server.Get("/api/runs", [this](const Request&, Response& response) {
      json all = json::array();
      for (const CatalogEntry& entry : runs()) all.push_back(run_status(entry));
      send_json(response, all);
    });
    server.Get("/api/history",
               [this](const Request&, Response& response) { send_json(response, run_history(runs())); });
    server.Get(R"(/runs/([^/]+)/report\.(json|html))", [this](const Request& request, Response& response) {
      const std::optional<CatalogEntry> entry = find(request.matches[1]);
      if (!entry) return say_not_found(response, "no run of that name");
      const Report report = read_report(entry->database, entry->run_key);
      if (request.matches[2] == "json") return send_json(response, report_json(report));
      response.set_content(render_html(report, {.out_dir = entry->database.parent_path()}), "text/html; charset=utf-8");
    });
    server.Get(R"(/runs/([^/]+)/files/(.+))", [this](const Request& request, Response& response) {
      const std::optional<CatalogEntry> entry = find(request.matches[1]);
      if (!entry) return say_not_found(response, "no run of that name");
      send_artefact(*entry, request.matches[2], response);
    });
  }

 private:
  std::vector<CatalogEntry> runs() const { return find_runs(options_.paths); }

  std::optional<CatalogEntry> find(const std::string& id) const {
    for (CatalogEntry& entry : runs()) {
      if (entry.id == id) return std::move(entry);
    }
    return std::nullopt;
  }

  httplib::Server::HandlerResponse guard(const Request& request, Response& response) const {
    const std::string name = host_name(request);
    response.set_header("X-Content-Type-Options", "nosniff");
    if (!is_address(name) && name != "localhost" && name != options_.host) {
      response.status = 403;
      response.set_content(
          json{{"error", "expected an address, localhost or the configured host as Host, found " + name}}.dump(),
          kJson);
      return httplib::Server::HandlerResponse::Handled;
    }
    if (request.method != "GET" && request.method != "HEAD") {
      response.status = 405;
      response.set_header("Allow", "GET, HEAD");
      return httplib::Server::HandlerResponse::Handled;
    }
    return httplib::Server::HandlerResponse::Unhandled;
  }

  static void add_page(httplib::Server& server) {
    struct File {
      const char* address;
      std::string_view text;
      const char* type;
    };
    static const File kFiles[] = {{"/", embedded::live_html(), "text/html; charset=utf-8"},
                                  {"/live.css", embedded::live_css(), "text/css; charset=utf-8"},
                                  {"/live.js", embedded::live_js(), "text/javascript; charset=utf-8"},
                                  {"/vega.js", chart_library(), "text/javascript; charset=utf-8"}};
    for (const File& file : kFiles) {
      server.Get(file.address, [&file](const Request&, Response& response) {
        response.set_header("Content-Security-Policy", kPagePolicy);
        response.set_content(file.text.data(), file.text.size(), file.type);
      });
    }
  }

  ServeOptions options_;
};

}  // namespace

void serve(const ServeOptions& options, const std::function<void(const std::string& address)>& ready) {
  const Site site(options);
  httplib::Server server;
  site.add_to(server);
  const int port = options.port == 0 ? server.bind_to_any_port(options.host) : options.port;
  const bool bound = options.port == 0 ? port > 0 : server.bind_to_port(options.host, port);
  if (!bound)
    throw ConfigError("--port",
                      fmt::format("expected a free port of {}, {} cannot be bound", options.host, options.port));
  running = &server;
  std::signal(SIGINT, stop_running);
  std::signal(SIGTERM, stop_running);
  ready(fmt::format("http://{}:{}/", options.host, port));
  server.listen_after_bind();
  running = nullptr;
}

}  // namespace vorta::reports
