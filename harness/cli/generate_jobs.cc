// SPDX-License-Identifier: Apache-2.0
#include "harness/cli/generate_jobs.h"

#include <fmt/format.h>
#include <unistd.h>

#include <nlohmann/json.hpp>
#include <system_error>

#include "engine/base/error.h"
#include "engine/base/json_io.h"
#include "engine/base/utf8.h"
#include "engine/text/clean_prompt.h"
#include "harness/cli/slug.h"

namespace vorta::harness {
namespace fs = std::filesystem;
namespace {

std::vector<std::string> read_captions(const fs::path& path) {
  const nlohmann::json list = read_json_file(path);
  if (!list.is_array()) throw ConfigError(path.string() + "#", "expected a list of {\"caption\": ...}");
  std::vector<std::string> out;
  for (size_t i = 0; i < list.size(); ++i) {
    const auto caption = list[i].is_object() ? list[i].find("caption") : list[i].end();
    if (!list[i].is_object() || caption == list[i].end() || !caption->is_string()) {
      throw ConfigError(fmt::format("{}#/{}", path.string(), i), "expected an object with a string \"caption\"");
    }
    out.push_back(caption->get<std::string>());
  }
  return out;
}

void require_writable(const fs::path& folder, bool create) {
  std::error_code failure;
  if (create) fs::create_directories(folder, failure);
  if (failure || !fs::is_directory(folder)) {
    throw DataError(folder.string(), "expected a folder to write to, " +
                                         (failure ? "creating it failed: " + failure.message() : "found none"));
  }
  const fs::path probe = folder / fmt::format(".vorta-write-test-{}", static_cast<long>(getpid()));
  try {
    write_file_atomically(probe, "x");
  } catch (const DataError& error) {
    throw DataError(folder.string(), std::string("expected a writable folder: ") + error.what());
  }
  fs::remove(probe, failure);
}

/// Refuses before anything is loaded what the text encoder cannot read, or what says nothing.
void check_prompt(std::string_view where, std::string_view prompt) {
  if (!is_utf8(prompt)) throw ConfigError(where, "expected UTF-8 text, found bytes that are not UTF-8");
  if (engine::clean_prompt(prompt).empty()) {
    throw ConfigError(where, "expected a prompt with words, found an empty one");
  }
}

void check_output_kind(const GenerateFlags& f) {
  if (f.output_type != "video" && f.output_type != "latent") {
    throw ConfigError("--output-type", fmt::format("expected video or latent, found \"{}\"", f.output_type));
  }
  if (f.output.empty()) return;
  const std::string extension = fs::path(f.output).extension().string();
  const bool video_file = extension == ".mp4" && f.output_type == "video";
  if (video_file || extension == ".safetensors") return;
  throw ConfigError("--output", fmt::format("expected FILE.mp4 or FILE.safetensors for --output-type video, "
                                            "FILE.safetensors for latent; found \"{}\"",
                                            f.output));
}

}  // namespace

std::vector<Job> collect_jobs(const GenerateFlags& f) {
  check_output_kind(f);
  std::vector<std::string> prompts;
  if (!f.prompt_file.empty()) prompts = read_captions(f.prompt_file);
  for (size_t i = 0; i < prompts.size(); ++i) check_prompt(fmt::format("{}#/{}/caption", f.prompt_file, i), prompts[i]);
  if (f.has_prompt) check_prompt("--prompt", f.prompt);
  if (!is_utf8(f.negative_prompt)) {
    throw ConfigError("--negative-prompt", "expected UTF-8 text, found bytes that are not UTF-8");
  }
  if (f.has_prompt) prompts.insert(prompts.begin(), f.prompt);
  if (!f.prompt_embeds.empty()) {
    if (!prompts.empty() || !f.negative_prompt.empty()) {
      throw ConfigError("--prompt-embeds", "expected either text features or prompts");
    }
    prompts.emplace_back();
  }
  if (prompts.empty()) throw ConfigError("--prompt", "expected a prompt, or captions in --val_data_json_file");
  if (f.output.empty() == f.output_dir.empty()) {
    throw ConfigError("--output", "expected either --output FILE or --output_dir FOLDER");
  }
  if (!f.output.empty() && prompts.size() > 1) {
    throw ConfigError("--output", fmt::format("{} prompts need --output_dir FOLDER", prompts.size()));
  }
  std::vector<Job> jobs;
  const char* extension = f.output_type == "latent" ? ".safetensors" : ".mp4";
  for (size_t i = 0; i < prompts.size(); ++i) {
    const fs::path path = f.output.empty()
                              ? fs::path(f.output_dir) / (output_stem(static_cast<int64_t>(i), prompts[i]) + extension)
                              : fs::path(f.output);
    jobs.push_back({prompts[i], path});
  }
  return jobs;
}

void require_writable_output(const GenerateFlags& f) {
  const bool makes_folder = !f.output_dir.empty();
  require_writable(makes_folder ? fs::path(f.output_dir) : fs::absolute(f.output).parent_path(), makes_folder);
}

}  // namespace vorta::harness
