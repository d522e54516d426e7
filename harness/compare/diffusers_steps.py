#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""Time of one denoising step: vorta-bench against diffusers, same weights, same machine, same run.

A step is everything between two scheduler updates: both guidance passes, the guidance sum and the update itself.
The first step of every generation is left out (first-touch memory, kernel selection).
"""
import argparse
import json
import os
import platform
import statistics
import subprocess
import tempfile
import time
from pathlib import Path

import torch
from diffusers import WanPipeline

ROOT = Path(__file__).resolve().parents[2]
PROMPT = "a red circle slides to the right on a plain background"


def diffusers_steps(pipeline, dtype, settings):
    """Seconds of each step but the first."""
    stamps = []

    def on_step_end(_pipe, _index, _timestep, kwargs):
        stamps.append(time.perf_counter())
        return kwargs

    pipeline.transformer.to(dtype)
    generator = torch.Generator("cpu").manual_seed(0)
    with torch.inference_mode():
        pipeline(
            prompt=PROMPT,
            height=settings["height"],
            width=settings["width"],
            num_frames=settings["frames"],
            num_inference_steps=settings["steps"],
            guidance_scale=settings["guidance"],
            generator=generator,
            output_type="latent",
            max_sequence_length=settings.get("max_sequence_length", 512),
            callback_on_step_end=on_step_end,
        )
    return [b - a for a, b in zip(stamps, stamps[1:])]


def vorta_steps(args, attention, dtype, settings, scratch):
    timings = Path(scratch) / "timings.json"
    command = [
        str(args.binary), "generate", "--model", str(args.model), "--attention", attention, "--dtype", dtype,
        "--prompt", PROMPT, "--frames", str(settings["frames"]), "--height", str(settings["height"]),
        "--width", str(settings["width"]), "--steps", str(settings["steps"]), "--guidance", str(settings["guidance"]),
        "--seed", "0", "--output-type", "latent", "--output", str(Path(scratch) / "latents.safetensors"),
        "--timings", str(timings), "--device", "cpu",
    ]
    if attention == "vorta":
        command += ["--routers", str(args.routers)]
    subprocess.run(command, check=True, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    return json.loads(timings.read_text())["step_seconds"][1:]


def percentile(values, fraction):
    ordered = sorted(values)
    return ordered[min(len(ordered) - 1, int(fraction * len(ordered)))]


def main():
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--model", type=Path, default=ROOT / "suites/embedded")
    parser.add_argument("--routers", type=Path, default=ROOT / "suites/embedded/routers")
    parser.add_argument("--binary", type=Path, default=ROOT / "build/bin/vorta-bench")
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--steps", type=int, default=8)
    parser.add_argument("--json", type=Path, help="write all samples here")
    args = parser.parse_args()

    settings = json.loads((args.model / "vorta_defaults.json").read_text())
    settings["steps"] = args.steps
    pipeline = WanPipeline.from_pretrained(args.model, torch_dtype=torch.float32)
    pipeline.set_progress_bar_config(disable=True)

    contenders = {
        "diffusers float32": lambda tmp: diffusers_steps(pipeline, torch.float32, settings),
        "diffusers bfloat16": lambda tmp: diffusers_steps(pipeline, torch.bfloat16, settings),
        "vorta-bench dense float32": lambda tmp: vorta_steps(args, "dense", "float32", settings, tmp),
        "vorta-bench dense bfloat16": lambda tmp: vorta_steps(args, "dense", "bfloat16", settings, tmp),
        "vorta-bench vorta bfloat16": lambda tmp: vorta_steps(args, "vorta", "bfloat16", settings, tmp),
    }
    samples = {name: [] for name in contenders}
    with tempfile.TemporaryDirectory() as scratch:
        for round_index in range(args.rounds):
            names = list(contenders)
            names = names[round_index % len(names):] + names[:round_index % len(names)]
            for name in names:
                samples[name].append(contenders[name](scratch))

    print(f"machine: {platform.processor() or platform.machine()}, {os.cpu_count()} cores, torch {torch.__version__}")
    print(f"model: {args.model}, {settings['frames']}x{settings['height']}x{settings['width']}, {args.rounds} rounds "
          f"of {args.steps - 1} steps")
    medians = {name: [statistics.median(steps) for steps in rounds] for name, rounds in samples.items()}
    best_peer = [min(pair) for pair in zip(medians["diffusers float32"], medians["diffusers bfloat16"])]
    print(f"{'contender':30} {'step ms':>9} {'p10':>8} {'p90':>8} {'vs best diffusers':>18}")
    for name, rounds in samples.items():
        flat = [1e3 * value for steps in rounds for value in steps]
        ratio = statistics.median(peer / own for peer, own in zip(best_peer, medians[name]))
        print(f"{name:30} {statistics.median(flat):9.1f} {percentile(flat, .1):8.1f} {percentile(flat, .9):8.1f} {ratio:17.2f}x")
    if args.json:
        args.json.write_text(json.dumps({"settings": settings, "samples": samples}, indent=1))


if __name__ == "__main__":
    main()
