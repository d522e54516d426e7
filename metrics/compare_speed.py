#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""Seconds per video and dimension: vorta-bench beside VBench's own functions, on this machine's CPU.

python metrics/compare_speed.py WEIGHTS VIDEOS OUT

WEIGHTS: a folder in VBench's layout (tests/golden/make_vbench.py --full makes one by rule). VIDEOS: a folder of .mp4 files.
Python needs tests/golden/requirements-vbench.txt. Neither time holds the loading of the network. Writes OUT/speed.json.
"""
import argparse
import json
import os
import subprocess
import sys
import time
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
DIMENSIONS = ["subject_consistency", "background_consistency", "aesthetic_quality", "imaging_quality", "temporal_flickering"]


def ours(weights, videos, out, program):
    command = [program, "score", "--videos_path", str(videos), "--mode", "custom_input", "--output_path", str(out), "--name", "speed",
               "--device", "cpu", "--dimension", *DIMENSIONS]
    (out / "score_journal.jsonl").unlink(missing_ok=True)
    subprocess.run(command, env=os.environ | {"VBENCH_CACHE_DIR": str(weights)}, check=True, stdout=subprocess.DEVNULL)
    details = json.loads((out / "speed_score_details.json").read_text())["dimensions"]
    return {name: {"seconds": details[name]["seconds_per_video"], "score": details[name]["value"]} for name in DIMENSIONS}


def theirs(weights, paths):
    sys.path.insert(0, str(ROOT / "tests" / "golden"))
    import clip
    import torch
    from vbench_networks import Dino, musiq
    MUSIQ = musiq()
    import vbench.aesthetic_quality
    import vbench.background_consistency
    import vbench.imaging_quality
    import vbench.subject_consistency
    import vbench.temporal_flickering
    results = {}

    def run(name, function):
        began = time.perf_counter()
        score = function()[0]
        results[name] = {"seconds": (time.perf_counter() - began) / len(paths), "score": float(score)}

    load = lambda name: torch.load(weights / name, map_location="cpu", weights_only=True)
    with torch.no_grad():
        run("temporal_flickering", lambda: vbench.temporal_flickering.temporal_flickering(paths))
        dino = Dino().eval()
        dino.load_state_dict(load("dino_model/dino_vitbase16_pretrain.pth"))
        run("subject_consistency", lambda: vbench.subject_consistency.subject_consistency(dino, paths, "cpu", False))
        del dino
        b32, _ = clip.load(str(weights / "clip_model/ViT-B-32.pt"), device="cpu")
        run("background_consistency", lambda: vbench.background_consistency.background_consistency(b32, None, paths, "cpu", False))
        del b32
        rated = MUSIQ(pretrained=False).eval()
        rated.load_state_dict(load("pyiqa_model/musiq_spaq_ckpt-358bb6af.pth"))
        run("imaging_quality", lambda: vbench.imaging_quality.technical_quality(rated, paths, "cpu", imaging_quality_preprocessing_mode="longer"))
        del rated
        head = torch.nn.Linear(768, 1)
        head.load_state_dict(load("aesthetic_model/emb_reader/sa_0_4_vit_l_14_linear.pth"))
        l14, _ = clip.load(str(weights / "clip_model/ViT-L-14.pt"), device="cpu")
        run("aesthetic_quality", lambda: vbench.aesthetic_quality.laion_aesthetic(head, l14, paths, "cpu"))
    return results


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("weights", type=Path)
    parser.add_argument("videos", type=Path)
    parser.add_argument("out", type=Path)
    parser.add_argument("--program", default=str(ROOT / "vorta-bench"))
    options = parser.parse_args()
    options.out.mkdir(parents=True, exist_ok=True)
    paths = sorted(str(p) for p in options.videos.glob("*.mp4"))
    rows = {"vorta-bench": ours(options.weights, options.videos, options.out, options.program), "vbench": theirs(options.weights, paths)}
    (options.out / "speed.json").write_text(json.dumps(rows, indent=1) + "\n")
    print(f"{'dimension':<24} {'vorta-bench':>12} {'vbench':>10} {'ratio':>7} {'difference':>11}")
    for name in DIMENSIONS:
        a, b = rows["vorta-bench"][name], rows["vbench"][name]
        print(f"{name:<24} {a['seconds']:>10.3f} s {b['seconds']:>8.3f} s {b['seconds'] / a['seconds']:>6.2f}x {abs(a['score'] - b['score']):>11.2e}")


if __name__ == "__main__":
    main()
