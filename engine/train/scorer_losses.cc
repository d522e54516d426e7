// SPDX-License-Identifier: Apache-2.0
#include "engine/train/scorer_losses.h"

#include <ATen/ATen.h>

#include <cmath>
#include <limits>

#include "engine/train/degrade.h"
#include "engine/train/scene.h"

namespace vorta::engine {
namespace {

constexpr double kTemperature = 0.1;
constexpr double kMildDamage = 0.2;      // of all frames that the networks learn from
constexpr double kCosineOfDamage = 0.6;  // features of a frame damaged with severity 1 have a cosine of 1 minus this
constexpr double kOtherColors = 0.2;     // the most cosine of a subject with that of swapped colours
constexpr double kMostScale = 100;

at::Tensor unit(const at::Tensor& x) {
  const at::Tensor exact = x.to(at::kFloat);
  return exact / exact.norm(2, -1, /*keepdim=*/true).clamp_min(1e-6);
}

at::Tensor cosine(const at::Tensor& a, const at::Tensor& b) { return (unit(a) * unit(b)).sum(-1); }

at::Tensor weighted_mean(const at::Tensor& values, const at::Tensor& weights) {
  return (values * weights).sum() / weights.sum().clamp_min(1);
}

at::Tensor cross_entropy(const at::Tensor& logits, const at::Tensor& target) {
  return -at::log_softmax(logits.to(at::kFloat), -1).gather(-1, target.unsqueeze(-1)).squeeze(-1);
}

at::Tensor binary_entropy(const at::Tensor& logits, const at::Tensor& target) {
  return at::binary_cross_entropy_with_logits(logits.to(at::kFloat), target);
}

at::Tensor images_of(const at::Tensor& frames, at::ScalarType dtype) {
  return ((frames - 0.5) * 3).to(dtype).contiguous(at::MemoryFormat::ChannelsLast);
}

// The truth in cells of the feature map.
struct DetectionTruth {
  at::Tensor heat;      // [N, 6, 16, 32] 1 at centres, falling off
  at::Tensor cell;      // [N, 3] int64, of the centre
  at::Tensor there;     // [N, 3]
  at::Tensor shape, color;  // [N, 3] int64
  at::Tensor box;       // [N, 3, 3]: offsets, log radius
};

DetectionTruth detection_truth(const at::Tensor& objects) {  // [N, 3, 6]
  constexpr int64_t kRows = kScorerHeight / kScorerCell, kColumns = kScorerWidth / kScorerCell;
  DetectionTruth truth;
  const at::Tensor x = objects.select(-1, 0) / kScorerCell, y = objects.select(-1, 1) / kScorerCell;
  const at::Tensor radius = objects.select(-1, 2) / kScorerCell;
  truth.there = objects.select(-1, 5);
  truth.shape = objects.select(-1, 3).to(at::kLong);
  truth.color = objects.select(-1, 4).to(at::kLong);
  const at::Tensor column = x.floor().clamp(0, kColumns - 1), row = y.floor().clamp(0, kRows - 1);
  truth.cell = (row * kColumns + column).to(at::kLong);
  truth.box = at::stack({x - column - 0.5, y - row - 0.5, (radius.clamp_min(0.1) * kScorerCell / 16).log()}, -1);
  const at::Tensor columns = at::arange(kColumns, objects.options()),
                   rows = at::arange(kRows, objects.options()).unsqueeze(-1);
  const auto away = [](const at::Tensor& centre, const at::Tensor& places) {
    return (places - centre.unsqueeze(-1).unsqueeze(-1)).square();
  };
  const at::Tensor width = (radius / 2.5).clamp_min(0.7).unsqueeze(-1).unsqueeze(-1);
  const at::Tensor bump = ((away(column, columns) + away(row, rows)) / (-2 * width.square())).exp() *
                          truth.there.unsqueeze(-1).unsqueeze(-1);
  const at::Tensor kinds =
      at::one_hot(truth.shape, kScorerShapes).to(at::kFloat).unsqueeze(-1).unsqueeze(-1);  // [N, 3, 6, 1, 1]
  truth.heat = (bump.unsqueeze(2) * kinds).amax(1);
  return truth;
}

NamedScalars detection_losses(const at::Tensor& detections, const at::Tensor& objects) {
  const DetectionTruth truth = detection_truth(objects);
  const at::Tensor out = detections.to(at::kFloat);
  const at::Tensor heat = out.narrow(1, 0, kScorerShapes);
  const at::Tensor found = heat.sigmoid().clamp(1e-4, 1 - 1e-4), centre = truth.heat.ge(0.999).to(at::kFloat);
  const at::Tensor right = centre * (1 - found).square() * found.log();
  const at::Tensor wrong = (1 - centre) * (1 - truth.heat).pow(4) * found.square() * (1 - found).log();
  const at::Tensor count = truth.there.sum().clamp_min(1);
  const at::Tensor places = truth.cell.unsqueeze(1).expand({-1, out.size(1), -1});
  const at::Tensor at_centre = out.flatten(2).gather(2, places).transpose(1, 2);  // [N, 3, 17]
  const at::Tensor color = cross_entropy(at_centre.narrow(-1, kScorerShapes, kScorerColors), truth.color);
  const at::Tensor box =
      at::smooth_l1_loss(at_centre.narrow(-1, kScorerShapes + kScorerColors, 3), truth.box, 0, 0.2).sum(-1);
  return {{"heat", -(right.sum() + wrong.sum()) / count},
          {"color", (color * truth.there).sum() / count},
          {"box", (box * truth.there).sum() / count}};
}

// Features [B, 9, 64] that agree along a clip and differ between clips of other keys.
at::Tensor contrast(const at::Tensor& features, const at::Tensor& key) {
  const at::Tensor z = unit(features);
  const at::Tensor logits = at::matmul(z.select(1, 1), z.select(1, 6).t()) / kTemperature;
  const at::Tensor same =
      key.unsqueeze(0).eq(key.unsqueeze(1)).logical_and(at::eye(key.size(0), logits.options()).eq(0));
  const at::Tensor masked = logits.masked_fill(same, -1e4);
  const at::Tensor spread = 1 - (z * unit(z.mean(1, /*keepdim=*/true))).sum(-1);
  return cross_entropy(masked, at::arange(key.size(0), key.options())).mean() + 4 * spread.mean();
}

// Frames for the features alone: one damaged, one with its channels exchanged.
struct OddFrames {
  at::Tensor damaged, severity, swapped;
};

OddFrames odd_frames(const at::Tensor& clips, uint64_t seed) {
  SceneRandom random(seed);
  const at::Tensor clean = clips.select(1, random.below(kScorerFrames));
  const auto generator = generator_on(at::kCPU, random.next());
  const at::Tensor gain = ((at::rand({clean.size(0), 1, 1, 1}, generator) - 0.5) * 0.9).to(clean.device());
  const Degraded damaged = degrade_imaging((clean * (1 + gain)).clamp(0, 1), 1, random.next());
  const at::Tensor severity = 1 - (1 - damaged.severity) * (-2 * gain.flatten().abs()).exp();
  return {damaged.frames, severity, random.chance(0.5) ? clean.flip(1) : clean.roll(1, 1)};
}

at::Tensor odd_loss(const at::Tensor& features, const at::Tensor& damaged, const at::Tensor& severity) {
  return (cosine(features.mean(1), damaged) - (1 - kCosineOfDamage * severity)).square().mean();
}

at::Tensor scale_of(const TextNetwork& text, int64_t index) {
  return text.scales().to(at::kFloat)[index].clamp_max(kMostScale);
}

NamedScalars video_losses(const ScorerNetworks& networks, const ScorerBatch& batch, const VideoOutputs& video,
                          uint64_t seed) {
  const TextOutputs texts = networks.text.forward(batch.texts.flatten(0, 1));
  const at::Tensor v = unit(video.whole), t = unit(texts.whole).view({v.size(0), kScorerTexts, -1});
  const at::Tensor others = (v.unsqueeze(1) * t.slice(1, 1)).sum(-1);
  const at::Tensor scale = scale_of(networks.text, 0), square = at::matmul(v, t.select(1, 0).t());
  const at::Tensor own = at::arange(v.size(0), batch.temporal.options());
  const at::Tensor whole =
      cross_entropy(scale * at::cat({square, others}, 1), own) + cross_entropy(scale * square.t(), own);
  const at::Tensor phrases = scorer_tokens(temporal_texts(seed)).to(v.device());
  const at::Tensor temporal = cross_entropy(
      scale_of(networks.text, 1) * at::matmul(unit(video.temporal), unit(networks.text.forward(phrases).temporal).t()),
      batch.temporal);
  const at::Tensor motion =
      at::binary_cross_entropy_with_logits(video.motion.to(at::kFloat), batch.motion, {}, {}, at::Reduction::None)
          .mean(-1);
  return {{"whole", weighted_mean(whole, batch.shown)},
          {"temporal", weighted_mean(temporal, batch.shown)},
          {"motion", weighted_mean(motion, batch.shown) * 8}};
}

at::Tensor style_logits(const ScorerNetworks& networks, const at::Tensor& style) {
  const at::Tensor phrases = scorer_tokens(style_texts()).to(style.device());
  return scale_of(networks.text, 2) * at::matmul(unit(style), unit(networks.text.forward(phrases).style).t());
}

// What belongs to objects, by differing from the corner, counts more.
at::Tensor flow_weight(const at::Tensor& truth) {
  const at::Tensor corner = truth.slice(2, 0, 1).slice(3, 0, 1);
  return 1 + 4 * (truth - corner).abs().sum(1, /*keepdim=*/true).gt(0.02).to(at::kFloat);
}

FlowNetwork::Flow flow_of_pairs(const ScorerNetworks& networks, const at::Tensor& images, const at::Tensor& pair) {
  const at::Tensor clip = at::arange(images.size(0), pair.options());
  return networks.flow.flow(networks.flow.encode(images.index({clip, pair})),
                            networks.flow.encode(images.select(1, kScorerFrames)));
}

at::Tensor flow_loss(const FlowNetwork::Flow& flow, const at::Tensor& truth) {
  const auto error = [](const at::Tensor& found, const at::Tensor& wanted) {
    const at::Tensor weight = flow_weight(wanted);
    return (((found - wanted).square().sum(1, /*keepdim=*/true) + 1e-3).sqrt() * weight).sum() / weight.sum();
  };
  return error(flow.fine, truth) + 0.3 * error(flow.coarse, at::avg_pool2d(truth, 2));
}

struct Graded {
  at::Tensor images, imaging, form;  // qualities 0..1
};

Graded graded_frames(const at::Tensor& clips, uint64_t seed) {
  SceneRandom random(seed);
  const int64_t place = random.below(kScorerFrames),
                other = (place + 1 + random.below(kScorerFrames - 1)) % kScorerFrames;
  const Degraded form = degrade_form(clips.select(1, place), clips.select(1, other), random.next());
  const Degraded imaging = degrade_imaging(form.frames, 1, random.next());
  return {imaging.frames, 1 - imaging.severity, 1 - form.severity};
}

}  // namespace

MicroBatch scorer_losses(const ScorerNetworks& networks, const ScorerBatch& batch, at::ScalarType dtype,
                         uint64_t seed) {
  SceneRandom random(seed);
  const int64_t clips = batch.frames.size(0), frames = batch.frames.size(1);
  const at::Tensor clean = batch.frames.to(at::kFloat) / 255;
  const at::Tensor seen = degrade_imaging(clean.flatten(0, 1), kMildDamage, random.next()).frames;
  const OddFrames odd = odd_frames(clean, random.next());
  const at::Tensor images = images_of(at::cat({seen, odd.damaged, odd.swapped}), dtype);
  const FrameOutputs out = networks.frame.forward(images);
  const auto of_clips = [&](const at::Tensor& x) {
    const at::Tensor first = x.slice(0, 0, clips * frames);
    std::vector<int64_t> sizes = first.sizes().vec();
    sizes[0] = clips;
    sizes.insert(sizes.begin() + 1, frames);
    return first.view(sizes);
  };
  const auto of_odd = [&](const at::Tensor& x, int64_t index) {
    return x.slice(0, clips * (frames + index), clips * (frames + index + 1));
  };
  NamedScalars terms = detection_losses(out.detections.slice(0, 0, clips * frames), batch.objects.flatten(0, 1));
  const at::Tensor subject = of_clips(out.subject), background = of_clips(out.background);
  const at::Tensor attributes = batch.attributes.unsqueeze(1).expand({-1, frames, -1});
  terms.emplace_back("attributes", binary_entropy(networks.frame.subject_attributes(subject), attributes) * 3);
  terms.emplace_back("subject", contrast(subject, batch.subject));
  terms.emplace_back("background", contrast(background, batch.background));
  const at::Tensor behind = batch.background.unsqueeze(1).expand({-1, frames});
  terms.emplace_back("scene", cross_entropy(of_clips(out.background_logits), behind).mean());
  terms.emplace_back("damage", 4 * (odd_loss(subject, of_odd(out.subject, 0), odd.severity) +
                                    odd_loss(background, of_odd(out.background, 0), odd.severity)));
  const at::Tensor swapped = (cosine(subject.mean(1), of_odd(out.subject, 1)) - kOtherColors).clamp_min(0);
  terms.emplace_back("swapped", weighted_mean(swapped, batch.shown));
  const at::Tensor style =
      cross_entropy(style_logits(networks, of_clips(out.style)), batch.style.unsqueeze(1).expand({-1, frames}));
  terms.emplace_back("style", weighted_mean(style.mean(1), batch.shown));
  const auto of_video = [&](const at::Tensor& x) { return of_clips(x).slice(1, 0, kScorerFrames); };
  const VideoOutputs video = networks.video.forward(of_video(out.map), object_paths(of_video(out.detections)));
  for (auto& term : video_losses(networks, batch, video, random.next())) terms.push_back(std::move(term));
  terms.emplace_back("flow", flow_loss(flow_of_pairs(networks, of_clips(images), batch.pair), batch.flow) * 2);
  const Graded graded = graded_frames(clean, random.next());
  const at::Tensor quality = networks.quality.forward(images_of(graded.images, dtype)).to(at::kFloat).sigmoid();
  terms.emplace_back("imaging", (quality.select(1, 0) - graded.imaging).square().mean() * 20);
  terms.emplace_back("form", (quality.select(1, 1) - graded.form).square().mean() * 20);
  MicroBatch result;
  for (const auto& [name, term] : terms) result.loss = result.loss.defined() ? result.loss + term : term;
  result.values = std::move(terms);
  return result;
}

namespace {

double total(const at::Tensor& flags) { return flags.to(at::kDouble).sum().item<double>(); }

// Frames whose objects are all found, by shape, colour and place, and nothing else: a share a clip.
struct DetectionFigures {
  double right = 0, colors = 0, distance = 0;
};

DetectionFigures detection_figures(const at::Tensor& detections, const at::Tensor& truth) {
  const auto found = found_objects(detections);
  const at::Tensor objects = truth.to(at::kCPU);
  const auto object = objects.accessor<float, 3>();
  DetectionFigures figures;
  double matched = 0;
  for (size_t f = 0; f < found.size(); ++f) {
    int64_t wanted = 0, right = 0, colored = 0;
    for (int64_t k = 0; k < kScorerMostObjects; ++k) {
      const auto row = object[static_cast<int64_t>(f)][k];
      if (row[5] == 0) continue;
      ++wanted;
      for (const FoundObject& one : found[f]) {
        const double away = std::hypot(one.x * kScorerWidth - row[0], one.y * kScorerHeight - row[1]);
        if (away > row[2]) continue;
        right += one.shape == static_cast<int64_t>(row[3]) && one.color == static_cast<int64_t>(row[4]) ? 1 : 0;
        colored += one.color == static_cast<int64_t>(row[4]) ? 1 : 0;
        figures.distance += away;
        ++matched;
        break;
      }
    }
    const bool none_more = static_cast<int64_t>(found[f].size()) == wanted;
    figures.right += right == wanted && none_more ? 1 : 0;
    figures.colors += colored == wanted && none_more ? 1 : 0;
  }
  const double frames = static_cast<double>(found.size());
  return {figures.right / frames, figures.colors / frames, figures.distance / std::max(matched, 1.0)};
}

}  // namespace

NamedValues scorer_figures(const ScorerNetworks& networks, const ScorerBatch& batch, at::ScalarType dtype,
                           uint64_t seed) {
  const int64_t clips = batch.frames.size(0), frames = batch.frames.size(1);
  const double count = static_cast<double>(clips), shown = total(batch.shown);
  const at::Tensor clean = batch.frames.to(at::kFloat) / 255;
  const at::Tensor images = images_of(clean.flatten(0, 1), dtype);
  const FrameOutputs out = networks.frame.forward(images);
  const auto per_clip = [&](const at::Tensor& x) {
    std::vector<int64_t> sizes = x.sizes().vec();
    sizes[0] = clips;
    sizes.insert(sizes.begin() + 1, frames);
    return x.view(sizes);
  };
  const DetectionFigures detection = detection_figures(out.detections, batch.objects.flatten(0, 1));
  const auto of_video = [&](const at::Tensor& x) { return per_clip(x).slice(1, 0, kScorerFrames); };
  const VideoOutputs video = networks.video.forward(of_video(out.map), object_paths(of_video(out.detections)));
  const TextOutputs texts = networks.text.forward(batch.texts.flatten(0, 1));
  const at::Tensor v = unit(video.whole), t = unit(texts.whole).view({clips, kScorerTexts, -1});
  const at::Tensor of_own = (v.unsqueeze(1) * t).sum(-1), of_all = at::matmul(v, t.select(1, 0).t());
  const at::Tensor own = at::arange(clips, batch.temporal.options());
  const at::Tensor phrases = unit(networks.text.forward(scorer_tokens(temporal_texts(seed)).to(v.device())).temporal);
  const at::Tensor temporal = at::matmul(unit(video.temporal), phrases.t()).argmax(-1).eq(batch.temporal);
  const at::Tensor best = video.motion.to(at::kFloat).argmax(-1, /*keepdim=*/true);
  const at::Tensor motion = batch.motion.gather(1, best).squeeze(1);
  const at::Tensor sure = video.motion.to(at::kFloat).gather(1, best).squeeze(1).sigmoid().ge(0.85);
  const at::Tensor style = style_logits(networks, per_clip(out.style).select(1, 3)).argmax(-1).eq(batch.style);
  const at::Tensor scene = per_clip(out.background_logits).select(1, 3).argmax(-1).eq(batch.background);
  const at::Tensor error =
      (flow_of_pairs(networks, per_clip(images), batch.pair).fine - batch.flow).norm(2, 1, /*keepdim=*/true);
  const at::Tensor on_objects = flow_weight(batch.flow).gt(1).to(at::kFloat);
  const Graded graded = graded_frames(clean, seed);
  const at::Tensor quality = networks.quality.forward(images_of(graded.images, dtype)).to(at::kFloat).sigmoid();
  const auto among_shown = [&](const at::Tensor& flags) { return total(flags * batch.shown) / shown; };
  const auto mean = [](const at::Tensor& x) { return x.mean().item<double>(); };
  return {{"clips", 1.0},
          {"objects_right", detection.right},
          {"objects_color_right", detection.colors},
          {"centre_error_pixels", detection.distance},
          {"motion_right", among_shown(motion)},
          {"motion_right_and_sure", among_shown(motion * sure)},
          {"temporal_1_of_60", among_shown(temporal)},
          {"caption_1_of_4", among_shown(of_own.argmax(-1).eq(0))},
          {"caption_1_of_batch", among_shown(of_all.argmax(-1).eq(own))},
          {"scene_right", total(scene) / count},
          {"style_1_of_8", among_shown(style)},
          {"flow_error_pixels", mean(error)},
          {"flow_error_on_objects", (error * on_objects).sum().item<double>() / std::max(total(on_objects), 1.0)},
          {"imaging_error", mean((quality.select(1, 0) - graded.imaging).abs())},
          {"form_error", mean((quality.select(1, 1) - graded.form).abs())}};
}

}  // namespace vorta::engine
