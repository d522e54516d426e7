#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""How far the total of the preset vbench-mini may be from that of vbench-full: one standard error, in points of the total.

python metrics/mini_error.py VBENCH_full_info.json [--results full_eval_results.json] [--prompts 12]

Each of VBench's groups of prompts (those that serve the same dimensions) is a stratum of N prompts of which n are taken. The
variance of the total is the sum over groups of s^2 (1 - n/N) / n, s being the spread over prompts of what a prompt adds to the
total by all dimensions of its group. With --results (a full run's *_eval_results.json, one or more videos a prompt) s is measured.
Without, s is bounded: a score between 0 and 1 with mean m has a variance of at most m (1 - m), the means are HunyuanVideo's on
VBench's leaderboard, and the dimensions of a group are taken to move together. No model can be worse than that at those means.
"""
import argparse
import collections
import json
import math
import re
from pathlib import Path

# name: (min, max, weight, quality?, HunyuanVideo's score)
DIMENSIONS = {
    "subject_consistency": (0.1462, 1.0, 1.0, True, 0.9737), "background_consistency": (0.2615, 1.0, 1.0, True, 0.9776),
    "temporal_flickering": (0.6293, 1.0, 1.0, True, 0.9944), "motion_smoothness": (0.706, 0.9975, 1.0, True, 0.9899),
    "dynamic_degree": (0.0, 1.0, 0.5, True, 0.7083), "aesthetic_quality": (0.0, 1.0, 1.0, True, 0.6036),
    "imaging_quality": (0.0, 1.0, 1.0, True, 0.6756), "object_class": (0.0, 1.0, 1.0, False, 0.8610),
    "multiple_objects": (0.0, 1.0, 1.0, False, 0.6855), "human_action": (0.0, 1.0, 1.0, False, 0.9440),
    "color": (0.0, 1.0, 1.0, False, 0.9160), "spatial_relationship": (0.0, 1.0, 1.0, False, 0.6868),
    "scene": (0.0, 0.8222, 1.0, False, 0.5388), "appearance_style": (0.0009, 0.2855, 1.0, False, 0.1980),
    "temporal_style": (0.0, 0.364, 1.0, False, 0.2389), "overall_consistency": (0.0, 0.364, 1.0, False, 0.2644)}


def points(name):
    """Points of the total (in percent) that one unit of the raw score is worth."""
    low, high, weight, quality, _ = DIMENSIONS[name]
    return 100.0 * weight / (high - low) * (4 / 6.5 if quality else 1 / 9) / 5


def measured(results, prompts):
    """Standard deviation over prompts of what each adds, for each group."""
    values = collections.defaultdict(lambda: collections.defaultdict(list))
    for name, (_, items) in results.items():
        for item in items:
            prompt = re.sub(r"-\d+$", "", Path(item["video_path"]).stem)
            values[prompt][name].append(float(item["video_results"]) / (100.0 if name == "imaging_quality" else 1.0))
    spread = {}
    for group, members in prompts.items():
        added = [sum(points(name) * sum(values[p][name]) / len(values[p][name]) for name in group)
                 for p in members if all(values[p].get(name) for name in group)]
        mean = sum(added) / len(added)
        spread[group] = math.sqrt(sum((a - mean) ** 2 for a in added) / (len(added) - 1))
    return spread


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("full_info", type=Path)
    parser.add_argument("--results", type=Path)
    parser.add_argument("--prompts", type=int, default=12)
    options = parser.parse_args()
    prompts = collections.defaultdict(list)
    for entry in json.loads(options.full_info.read_text()):
        prompts[tuple(entry["dimension"])].append(entry["prompt_en"])
    if options.results:
        spread = measured(json.loads(options.results.read_text()), prompts)
    else:
        spread = {group: sum(points(d) * math.sqrt(DIMENSIONS[d][4] * (1 - DIMENSIONS[d][4])) for d in group) for group in prompts}
    variance = 0.0
    print(f"{'group':<70} {'prompts':>8} {'spread':>8} {'error':>7}")
    for group, members in prompts.items():
        count, whole = min(options.prompts, len(members)), len(members)
        error = spread[group] * math.sqrt((1 - count / whole) / count)
        variance += error**2
        print(f"{' '.join(group):<70} {count:>3}/{whole:<4} {spread[group]:>8.3f} {error:>7.3f}")
    kind = "measured" if options.results else "at most"
    print(f"standard error of the total: {kind} {math.sqrt(variance):.2f} points")


if __name__ == "__main__":
    main()
