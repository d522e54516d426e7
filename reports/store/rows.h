// SPDX-License-Identifier: Apache-2.0
// The rows of run.sqlite as plain values: the contract between the harness (which writes) and reports (which read).
#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "reports/store/gpu_rows.h"

namespace vorta::reports {

/// What a trial is for. Only kTiming trials enter the speed tables; a timing trial is also where the scores of its own
/// frames belong, so that no speed stands without the quality of what it made.
enum class TrialRole { kTiming, kProfile, kQuality, kWarmup };
/// kRunning: the row exists, the work is under way (or the process died: a resumed run turns it into kInterrupted).
enum class TrialStatus { kRunning, kOk, kFailed, kSkipped, kInterrupted };
/// Which way a metric is better; kTarget: neither (a description, such as a density).
enum class Direction { kHigher, kLower, kTarget };

std::string_view to_string(TrialRole role);
std::string_view to_string(TrialStatus status);
std::string_view to_string(Direction direction);
/// DataError (naming `where`) when the text is none of the names above.
TrialRole parse_trial_role(std::string_view text, std::string_view where);
TrialStatus parse_trial_status(std::string_view text, std::string_view where);
Direction parse_direction(std::string_view text, std::string_view where);

/// The machine and the build. `identity_json` decides whether two measurements may be compared (CPU, threads, GPU,
/// LibTorch, build flags, engine version, weights); `volatile_json` is only told (host name, load, free memory).
/// Both are JSON objects of scalars, shown in the report in key order.
struct EnvironmentRow {
  std::string identity_json = "{}";
  std::string volatile_json = "{}";
};

/// A sentence to be tested on the results. `quantity` is "speedup/<stage>" (paired by prompt and seed against
/// `reference`), "seconds/<stage>" (mean over items; "seconds/forward": a step's, shared by the transformer's forwards
/// in it), "ratio/measured_to_predicted" (measured over predicted speed-up of a step), "delta/<metric key>" (paired
/// difference to `reference`) or "<metric key>" (mean over items). It holds when its 95 % interval lies in the band.
struct ClaimRow {
  std::string key;        ///< Unique in a run, e.g. "vorta-step-speedup".
  std::string sentence;   ///< What is claimed, in words.
  std::string quantity;
  std::string variant;
  std::string reference;  ///< Variant compared with; empty for quantities that compare nothing.
  std::optional<double> at_least;
  std::optional<double> at_most;
};

/// A number that the paper (or another publication) states. Shown beside ours, never computed with.
struct PublishedRow {
  std::string sentence;   ///< "Speed-up of VORTA over the original model"
  std::string value;      ///< "1.76x"
  std::string setting;    ///< "HunyuanVideo, H100, 720p"
  std::string source;     ///< "VORTA, NeurIPS 2025"
};

struct RunRow {
  std::string suite = {};  ///< Suite key, e.g. "vbench-speedup".
  std::string title = {};
  std::string suite_json = {};  ///< The resolved suite; its hash and the environment identify the run when it resumes.
  std::string argv_json = "[]";
  std::string model_json = "{}";  ///< Name, sizes, folder, weights hash: scalars, shown in the report.
  std::string reference_variant = {};  ///< The variant that speed-ups and fidelity are measured against ("dense").
  std::string tool_version = {};
  std::string notes = {};
  std::vector<ClaimRow> claims = {};
  std::vector<PublishedRow> published = {};
  std::string run_key = {};  ///< The same in every copy; empty: a new one. Shards of one run share theirs.
  std::string build_json = "{}";  ///< What was built: {"commit": ..., "branch": ...} where the caller says.
};

/// One configuration. `params_json` is the effective configuration; variant and parameters make the case's hash.
struct CaseRow {
  std::string variant;  ///< Name shown in tables: dense, sliding, coreset, vorta.
  std::string description;
  std::string params_json = "{}";
  int64_t ordinal = 0;  ///< Order of rows in reports.
};

/// The pairing key: the same item in two cases starts from the same prompt and noise.
struct ItemRow {
  std::string prompt;
  std::string negative_prompt;
  std::string tags_json = "{}";  ///< Object of scalars, e.g. {"split": "held-out"}.
  int64_t seed = 0;
};

/// A duration on the host clock. Stages: "text", "denoise", "vae", "e2e", "step" (with `step` >= 0), "load"; where only
/// the first steps of a schedule ran, "denoise_timed" and "denoise_extrapolated" stand in place of "denoise" and "e2e".
struct SampleRow {
  std::string stage;
  int64_t step = -1;  ///< Index of the denoising step, or -1.
  int64_t host_ns = 0;
  std::optional<int64_t> bytes;  ///< Bytes live after the stage, where known.
};

/// Peak of one counter during a trial. Scopes: "host_rss", "tensor"; of a GPU's allocator "device" (the whole trial),
/// "device/<stage>" and "device_reserved" (what it took from the driver).
struct MemoryPeakRow {
  std::string scope;
  int64_t bytes = 0;
};

/// Time summed over a profiled trial. kind "operator": an ATen or engine operator by name; kind "layer": a transformer
/// layer (`layer` >= 0) or a part of it ("self_attention", "cross_attention", "ffn").
struct RangeRow {
  std::string kind;
  std::string name;
  int64_t layer = -1;
  int64_t calls = 0;
  int64_t self_ns = 0;  ///< Without the ranges nested in it.
  int64_t total_ns = 0;  ///< With them.
  std::optional<double> flops;
  /// Of operators: self time of a call of mean work at the rate of the fastest one, which what disturbs the machine
  /// hardly touches; 0 where it was not recorded.
  int64_t fastest_ns = 0;
};

/// Heads of one layer at one step by branch, from the route table.
struct RouteRow {
  int64_t step = 0;
  int64_t layer = 0;
  int64_t dense_heads = 0;
  int64_t coreset_heads = 0;
  int64_t sliding_heads = 0;
};

/// One forward of the network in a generation; `blocks` has a letter each: X computed, p parts of it given back as
/// kept, c replaced by what was kept, . the whole forward skipped (runs of older versions have . for c too).
struct CallRow {
  int64_t step = 0;
  std::string pass;  ///< positive, negative or both
  std::string blocks;
  double signal = 0;  ///< what the cache decided on; 0 where it was decided before sampling
};

/// A quantity that the plan predicts and, where it can be, the run measures. Quantities: "flops/attention",
/// "flops/linear", "flops/vae", "flops/total", "speedup/step", "speedup/denoise", "speedup/e2e", "density/attention",
/// "evaluations" (forwards of the network, those skipped in part counting in part), "cache/bytes".
struct PredictionRow {
  std::string quantity;
  std::string unit;  ///< "FLOP", "x", "1"
  double predicted = 0;
  std::optional<double> measured;
};

struct MetricDefRow {
  std::string key;  ///< "fidelity/psnr", "quality/temporal_flickering"
  std::string name;  ///< "PSNR to dense"
  std::string unit;  ///< "dB", "0..1"
  Direction direction = Direction::kHigher;
  std::string family;  ///< speed, memory, fidelity (to the reference variant), quality, work; "embedded" for a
                       ///< profile's totals, "embedded/dimension" for what they sum up
  std::string version = "1";
};

/// A score of a trial's frames; `value` absent means that scoring failed, `detail` says why.
/// How the detail of a score begins that has no value and lacks none: frames of two sizes have no difference.
inline constexpr std::string_view kNotCompared = "not compared: ";

struct ScoreRow {
  std::string metric_key;
  std::optional<double> value;
  std::string detail;
};

/// A file that the trial made. `path` is relative to the database's folder. Kinds: "video", "filmstrip", "latents",
/// "trace", "log".
struct ArtefactRow {
  std::string kind;
  std::string path;
  std::string mime;
  int64_t bytes = 0;
  std::string sha256 = {};  ///< Of the file; empty in old databases.
};

/// Why a trial failed. Kinds: "config", "data", "machine", "memory", "numerics", "internal"; of a worker process that
/// died or was ended: "crash", "signal", "timeout", "stalled".
struct ErrorRow {
  std::string kind;
  std::string message;
  std::string stage;  ///< Last stage entered, may be empty.
  int64_t step = -1;
};

/// How a trial was made. Trials of old databases have none: weights from files, all steps.
struct TrialSetup {
  std::string weights = "files";  ///< Or "random": latency alone, no quality.
  int64_t timed_steps = 0;  ///< Denoising steps that ran,
  int64_t schedule_steps = 0;  ///< and those of the schedule.
  int64_t forwards = 1;  ///< Of the transformer, a step: 2 with guidance.
  std::string attention_kernels;  ///< What computed the self attentions, by name; "" where not known.
  std::string offload = "none";
  std::string quantization = "none";

  bool is_random() const { return weights == "random"; }
  bool is_partial() const { return timed_steps < schedule_steps; }
};

/// Everything a finished trial leaves; written in one transaction.
struct TrialResult {
  std::vector<SampleRow> samples;
  std::vector<MemoryPeakRow> memory;
  std::vector<RangeRow> ranges;
  std::vector<ScoreRow> scores;
  std::vector<ArtefactRow> artefacts;
  GpuResult gpu = {};  ///< Empty on a machine without a GPU.
  std::string output_sha256 = {};  ///< Of the frames as eight-bit RGB; empty where none were made.
  int64_t frames = -1;  ///< How many; -1 where none were made.
  std::optional<TrialSetup> setup = {};
};

}  // namespace vorta::reports
