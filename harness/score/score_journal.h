// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <filesystem>
#include <map>
#include <nlohmann/json_fwd.hpp>
#include <optional>
#include <string>
#include <string_view>

#include "metrics/core/scorer.h"

namespace vorta::harness {

/// What a file is when it is scored: its place, size and date, for the key of a score.
nlohmann::json file_key(const std::filesystem::path& file);
/// The journal's key of what `decides` a score: the SHA-256 of its text, whatever bytes a file's name has.
std::string score_key(const nlohmann::json& decides);

/// What was scored, on disk as it happens: one JSON line a video and dimension, so that a killed run goes on where it
/// stopped and shards find each other's work. Half a line at the end of a file, or one that is no score, is not there.
class ScoreJournal {
 public:
  /// Reads score_journal*.jsonl in `folder`; writes go to score_journal<suffix>.jsonl.
  ScoreJournal(const std::filesystem::path& folder, const std::string& suffix);
  ~ScoreJournal();
  ScoreJournal(const ScoreJournal&) = delete;
  ScoreJournal& operator=(const ScoreJournal&) = delete;

  /// A row that was left out of the results on purpose is known and empty.
  struct Entry {
    std::optional<metrics::VideoScore> score;
    std::string error = {};  // why it could not be scored: its own shard tries again, the others need not wait for it
  };
  const Entry* find(const std::string& key) const;
  /// Known from now on, and written after what still waits. Where the disk takes no more the line waits in memory for
  /// the next call; said in the log, with `what` it is the score of.
  void add(const std::string& key, Entry entry, std::string_view what);
  /// Everything that was added is on disk.
  /// @throws MachineError where lines still wait: the disk is full or the file cannot be written.
  void flush();

 private:
  void read(const std::filesystem::path& file);
  void keep(const std::string& key, Entry entry);
  int write_waiting();

  std::filesystem::path file_;
  int descriptor_ = -1;
  std::map<std::string, Entry> entries_;
  std::string waiting_;  // whole lines, or the rest of one, that the disk has not taken
};

}  // namespace vorta::harness
