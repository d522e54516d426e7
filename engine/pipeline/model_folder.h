// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cstdint>
#include <filesystem>
#include <optional>
#include <string>

#include "engine/weights/placement.h"

namespace vorta::engine {

/// What `generate` uses for flags that are not given. A model folder may hold "vorta_defaults.json" with some of these
/// keys; what it leaves out has the values of diffusers' pipeline of its class (here: Wan's).
struct GenerationDefaults {
  int64_t frames = 81;
  int64_t height = 480;
  int64_t width = 832;
  int64_t steps = 50;
  double guidance = 5.0;
  double fps = 16;
  int64_t max_sequence_length = 512;  // text tokens a prompt is cut or padded to
  std::optional<double> flow_shift;  // absent: the scheduler file's
  std::string scheduler;             // empty: the scheduler file's; not a key of the folder's file

  bool operator==(const GenerationDefaults&) const = default;
};

/// ConfigError with the JSON pointer on an unknown key or a wrong value.
GenerationDefaults read_generation_defaults(const std::filesystem::path& model_dir);

/// Where a generation's text features come from: the folder's encoders, or the caller (a request's own, or random
/// ones).
enum class TextSource { kEncoder, kGiven };

/// Where the parts of a diffusers pipeline folder lie.
struct ModelFolder {
  std::filesystem::path root;
  std::string pipeline_class;               // a row of pipeline_families()
  std::filesystem::path scheduler_config;   // scheduler/scheduler_config.json
  std::filesystem::path transformer;
  std::filesystem::path vae;
};

/// Reads and checks `dir`/model_index.json. DataError when the folder or a part of it is not there, ConfigError for a
/// class that a text-to-video pipeline of this kind does not have; the message says what is missing.
ModelFolder open_model_folder(const std::filesystem::path& dir, TextSource text = TextSource::kEncoder);

/// Where the router checkpoint that belongs to a model lies: `dir`/routers or its sibling of that name; empty if none.
std::filesystem::path find_bundled_routers(const std::filesystem::path& model_dir);

/// The folder of the embedded model: "suites/embedded" (or its "model") under $VORTA_DATA_DIR, above the executable, or
/// in the source tree. DataError lists where it looked.
std::filesystem::path find_embedded_model();

}  // namespace vorta::engine
