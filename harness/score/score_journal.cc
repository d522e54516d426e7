// SPDX-License-Identifier: Apache-2.0
#include "harness/score/score_journal.h"

#include <fcntl.h>
#include <fmt/format.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <cstring>
#include <fstream>
#include <nlohmann/json.hpp>

#include "engine/base/error.h"
#include "engine/base/log.h"
#include "engine/base/sha256.h"
#include "harness/score/score_files.h"

namespace vorta::harness {
namespace fs = std::filesystem;
namespace {

using Json = nlohmann::ordered_json;

metrics::ScoreValue read_value(const Json& json) {
  if (json.is_boolean()) return json.get<bool>();
  if (json.is_number_integer()) return json.get<int64_t>();
  if (json.is_array()) return json.get<std::vector<double>>();
  return json.get<double>();
}

Json to_json(const metrics::VideoScore& score) {
  Json extra = Json::object();
  for (const auto& [key, value] : score.extra) extra[key] = score_value_json(value);
  return Json{{"value", score_value_json(score.value)},
              {"sum", score.sum},
              {"count", score.count},
              {"frames", score.frames},
              {"extra", extra}};
}

metrics::VideoScore from_json(const Json& json) {
  metrics::VideoScore score;
  score.value = read_value(json.at("value"));
  score.sum = json.at("sum").get<double>();
  score.count = json.at("count").get<double>();
  score.frames = json.at("frames").get<std::vector<double>>();
  for (const auto& [key, value] : json.at("extra").items()) score.extra.emplace_back(key, read_value(value));
  return score;
}

}  // namespace

nlohmann::json file_key(const fs::path& file) {
  std::error_code error;
  nlohmann::json key{{"video", fs::absolute(file).lexically_normal().string()}};
  if (fs::is_regular_file(file, error)) key["bytes"] = fs::file_size(file, error);
  key["changed"] = fs::last_write_time(file, error).time_since_epoch().count();
  return key;
}

std::string score_key(const nlohmann::json& decides) {
  return sha256_hex(decides.dump(-1, ' ', /*ensure_ascii=*/false, nlohmann::json::error_handler_t::replace));
}

ScoreJournal::ScoreJournal(const fs::path& folder, const std::string& suffix)
    : file_(folder / fmt::format("score_journal{}.jsonl", suffix)) {
  for (const auto& entry : fs::directory_iterator(folder)) {
    const std::string name = entry.path().filename().string();
    const bool journal = name.starts_with("score_journal") && name.ends_with(".jsonl") && entry.is_regular_file();
    if (journal) read(entry.path());
  }
  descriptor_ = ::open(file_.c_str(), O_RDWR | O_CREAT | O_APPEND | O_CLOEXEC, 0644);
  if (descriptor_ < 0) throw MachineError(file_.string(), fmt::format("cannot be written: {}", std::strerror(errno)));
  // A line that a killed run left half written must not swallow the next one.
  const off_t end = ::lseek(descriptor_, 0, SEEK_END);
  char last = '\n';
  const bool half = end > 0 && ::pread(descriptor_, &last, 1, end - 1) == 1 && last != '\n';
  if (half && ::write(descriptor_, "\n", 1) != 1) throw MachineError(file_.string(), "cannot be written");
}

ScoreJournal::~ScoreJournal() {
  if (descriptor_ >= 0) ::close(descriptor_);
}

void ScoreJournal::read(const fs::path& file) {
  std::ifstream lines(file);
  for (std::string line; std::getline(lines, line);) {
    try {
      const Json json = Json::parse(line);
      const Json& score = json.at("score");
      keep(json.at("key").get<std::string>(),
           {score.is_null() ? std::nullopt : std::optional(from_json(score)), json.value("error", std::string())});
    } catch (const Json::exception&) {  // a killed run's half line, or another program's
    }
  }
}

// A score counts before a failure: which of several files comes first is chance.
void ScoreJournal::keep(const std::string& key, Entry entry) {
  const Entry* known = find(key);
  if (known == nullptr || !known->error.empty() || entry.error.empty())
    entries_.insert_or_assign(key, std::move(entry));
}

const ScoreJournal::Entry* ScoreJournal::find(const std::string& key) const {
  const auto found = entries_.find(key);
  return found == entries_.end() ? nullptr : &found->second;
}

void ScoreJournal::add(const std::string& key, Entry entry, std::string_view what) {
  Json json{{"key", key}, {"score", entry.score ? to_json(*entry.score) : Json()}};
  if (!entry.error.empty()) json["error"] = entry.error;
  waiting_ += json.dump(-1, ' ', /*ensure_ascii=*/true, nlohmann::json::error_handler_t::replace) + "\n";
  keep(key, std::move(entry));
  const int error = write_waiting();
  if (error == 0) return;
  log_error(fmt::format("[{}] {}: not on disk yet, tried again after the next one: {}", file_.string(), what,
                        std::strerror(error)));
}

void ScoreJournal::flush() {
  const int error = write_waiting();
  if (error == 0) return;
  const auto lines = std::count(waiting_.begin(), waiting_.end(), '\n');
  throw MachineError(file_.string(), fmt::format("cannot be written: {}; {} scores are lost with this call, those "
                                                 "before are kept, the same command goes on from there",
                                                 std::strerror(error), lines));
}

// 0, or the errno of the write that failed.
int ScoreJournal::write_waiting() {
  std::size_t done = 0;
  int error = 0;
  while (done < waiting_.size() && error == 0) {
    const ssize_t written = ::write(descriptor_, waiting_.data() + done, waiting_.size() - done);
    if (written >= 0) done += static_cast<std::size_t>(written);
    else if (errno != EINTR) error = errno;
  }
  waiting_.erase(0, done);
  return error;
}

}  // namespace vorta::harness
