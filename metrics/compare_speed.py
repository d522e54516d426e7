#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""Seconds per video and dimension: vorta-bench beside VBench 0.1.5's own functions, on this machine's CPU; or beside itself.

python metrics/compare_speed.py WEIGHTS VIDEOS OUT [--dimension NAME ...] [--threads N]
python metrics/compare_speed.py WEIGHTS VIDEOS OUT --devices cpu cuda [--profile vbench] [--dimension NAME ...] [--threads N]

WEIGHTS: a folder in VBench's layout; random weights do (tests/golden/make_vbench.py --full and official_sizes.py make them).
VIDEOS: a folder of .mp4 files; prompts are the file names. Each dimension runs in two processes, one after the other, with the
same number of threads. Neither time holds the loading of the network. Wall seconds, and CPU seconds of all threads, which do not
depend on what else the machine is doing. Python needs what official_sizes.py needs. Writes and adds to OUT/speed.json.

--devices: the program alone, all dimensions in one process a device, wall seconds and how far the scores are apart; needs no
Python but the standard library's, and writes OUT/devices.json.
"""
import argparse
import json
import os
import subprocess
import sys
import time
import types
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
GOLDEN = ROOT / "tests" / "golden"


def openai_clip(path):
    """The image and text towers as clip.load has them on a CPU; it cannot read a plain state dict."""
    import clip
    import torch
    try:
        state = torch.load(path, map_location="cpu", weights_only=True)
    except RuntimeError:  # a TorchScript archive, as OpenAI's files are
        return clip.load(str(path), device="cpu")[0]
    return clip.model.build_model(state).float().eval()


def dino(weights, paths):
    import torch
    from vbench.subject_consistency import subject_consistency
    from vbench_networks import Dino
    network = Dino().eval()
    network.load_state_dict(torch.load(weights / "dino_model/dino_vitbase16_pretrain.pth", map_location="cpu", weights_only=True))
    return lambda: subject_consistency(network, paths, "cpu", False)


def background(weights, paths):
    from vbench.background_consistency import background_consistency
    network = openai_clip(weights / "clip_model/ViT-B-32.pt")
    return lambda: background_consistency(network, None, paths, "cpu", False)


def appearance(weights, paths):
    from vbench.appearance_style import appearance_style
    network = openai_clip(weights / "clip_model/ViT-B-32.pt")
    entries = [{"prompt": "p", "auxiliary_info": {"appearance_style": "oil painting"}, "video_list": paths}]
    return lambda: appearance_style(network, entries, "cpu")


def imaging(weights, paths):
    import torch
    from vbench_networks import musiq
    network = musiq()(pretrained=False).eval()  # pyiqa's stand-in must be there before VBench imports it
    from vbench.imaging_quality import technical_quality
    network.load_state_dict(torch.load(weights / "pyiqa_model/musiq_spaq_ckpt-358bb6af.pth", map_location="cpu", weights_only=True))
    return lambda: technical_quality(network, paths, "cpu", imaging_quality_preprocessing_mode="longer")


def aesthetic(weights, paths):
    import torch
    from vbench.aesthetic_quality import laion_aesthetic
    head = torch.nn.Linear(768, 1)
    head.load_state_dict(torch.load(weights / "aesthetic_model/emb_reader/sa_0_4_vit_l_14_linear.pth", map_location="cpu", weights_only=True))
    network = openai_clip(weights / "clip_model/ViT-L-14.pt")
    return lambda: laion_aesthetic(head, network, paths, "cpu")


def flickering(weights, paths):
    from vbench.temporal_flickering import temporal_flickering
    return lambda: temporal_flickering(paths)


def raft(weights, paths):
    from easydict import EasyDict
    from vbench.dynamic_degree import DynamicDegree, dynamic_degree
    options = EasyDict(model=str(weights / "raft_model/models/raft-things.pth"), small=False, mixed_precision=False, alternate_corr=False)
    scorer = DynamicDegree(options, "cpu")
    return lambda: dynamic_degree(scorer, paths)


def amt(weights, paths):
    import torch
    import vbench
    from vbench.motion_smoothness import MotionSmoothness, motion_smoothness
    configuration = str(Path(vbench.__file__).parent / "third_party/amt/cfgs/AMT-S.yaml")
    scorer = MotionSmoothness(configuration, str(weights / "amt_model/amt-s.pth"), torch.device("cpu"))
    return lambda: motion_smoothness(scorer, paths)


def umt(weights, paths):
    from vbench import human_action
    path = weights / "umt_model/l16_ptk710_ftk710_ftk400_f16_res224.pth"
    make, began = human_action.create_model, []

    def remembered(*arguments, **keywords):  # this function loads the network itself
        began.append(make(*arguments, **keywords))
        return began[0]

    human_action.create_model = remembered
    load = human_action.torch.load
    human_action.torch.load = lambda *a, **k: load(*a, **(k | {"mmap": True}))
    return lambda: human_action.human_action(str(path), paths, "cpu")


def viclip(weights, paths):
    from vbench.overall_consistency import overall_consistency
    from vbench.third_party.ViCLIP.simple_tokenizer import SimpleTokenizer
    from vbench.third_party.ViCLIP.viclip import ViCLIP
    tokenizer = SimpleTokenizer(str(weights / "ViCLIP/bpe_simple_vocab_16e6.txt.gz"))
    network = ViCLIP(tokenizer=tokenizer, pretrain=str(weights / "ViCLIP/ViClip-InternVid-10M-FLT.pth")).eval()
    entries = [{"prompt": Path(p).stem.rsplit("-", 1)[0], "video_list": [p]} for p in paths]
    return lambda: overall_consistency(network, entries, tokenizer, "cpu")


def grit(weights, paths):
    import torch
    from vbench.object_class import object_class
    from vbench.third_party.grit_model import DenseCaptioning
    network = DenseCaptioning(torch.device("cpu"))
    network.initialize_model_det(str(weights / "grit_model/grit_b_densecap_objectdet.pth"))
    entries = [{"prompt": "p", "auxiliary_info": {"object": "cat"}, "video_list": paths}]
    return lambda: object_class(network, entries, "cpu")


def tag2text(weights, paths):
    from vbench.scene import scene
    from vbench.third_party.tag2Text import tag2text as module
    module.BertModel.from_pretrained = classmethod(lambda cls, *_, config, **__: cls(config, add_pooling_layer=False))
    network = module.tag2text_caption(pretrained=str(weights / "caption_model/tag2text_swin_14m.pth"), image_size=384, vit="swin_b").eval()
    entries = [{"prompt": "p", "auxiliary_info": {"scene": {"scene": "beach"}}, "video_list": paths}]
    return lambda: scene(network, entries, "cpu")


RELATION = {"object_a": "cat", "object_b": "dog", "relationship": "on the left of"}
# dimension: (VBench's function where it is compared, what the prompt list says of it)
DIMENSIONS = {
    "temporal_flickering": (flickering, None), "subject_consistency": (dino, None), "background_consistency": (background, None),
    "imaging_quality": (imaging, None), "aesthetic_quality": (aesthetic, None), "dynamic_degree": (raft, None),
    "motion_smoothness": (amt, None), "overall_consistency": (viclip, None), "human_action": (umt, None),
    "appearance_style": (appearance, {"appearance_style": "oil painting"}), "object_class": (grit, {"object": "cat"}),
    "scene": (tag2text, {"scene": {"scene": "beach"}}), "temporal_style": (None, None), "multiple_objects": (None, {"object": "cat and dog"}),
    "color": (None, {"color": "red"}), "spatial_relationship": (None, {"spatial_relationship": RELATION})}


def score(options, out, names, extra=()):
    """The details of `vorta-bench score` for these dimensions, by name."""
    out.mkdir(parents=True, exist_ok=True)
    for journal in out.glob("score_journal*"):
        journal.unlink()
    paths = sorted(options.videos.glob("*.mp4"))
    command = [*options.program.split(), "score", "--videos_path", str(options.videos), "--output_path", str(out), "--name", "speed",
               "--profile", options.profile, "--dimension", *names, *extra]
    auxiliary = {name: DIMENSIONS[name][1] for name in names if DIMENSIONS[name][1]}
    if not auxiliary or options.profile == "embedded":
        command += ["--mode", "custom_input"]
    else:  # only VBench's standard mode has auxiliary values: files are named PROMPT-INDEX.mp4
        listing = out / "prompts.json"
        listing.write_text(json.dumps([{"prompt_en": p.stem.rsplit("-", 1)[0], "dimension": names, "auxiliary_info": auxiliary} for p in paths]))
        command += ["--full_json_dir", str(listing)]
    run = subprocess.run(command, env=os.environ | {"VBENCH_CACHE_DIR": str(options.weights), "OMP_NUM_THREADS": str(options.threads)},
                         stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True, check=False)
    details = json.loads((out / "speed_score_details.json").read_text())[0]["dimensions"]
    missing = [name for name in names if details[name]["value"] is None]
    if missing:
        print(f"not scored: {', '.join(missing)}\n{run.stderr}", file=sys.stderr)
    return {name: details[name] for name in names if name not in missing}


def ours(options, name):
    details = score(options, options.out / name, [name], ["--device", "cpu"])
    if not details:
        sys.exit(1)
    return {"wall": details[name]["seconds_per_video"], "cpu": details[name]["cpu_seconds_per_video"], "score": details[name]["value"]}


def compare_devices(options):
    found = {device: score(options, options.out / device.replace(":", "_"), options.dimension, ["--device", device]) for device in options.devices}
    (options.out / "devices.json").write_text(json.dumps(found, indent=1) + "\n")
    print(f"{'seconds a video':<24}" + "".join(f"{device:>12}" for device in options.devices) + f"{'times':>9}  difference of the scores")
    for name in options.dimension:
        rows = [found[device].get(name) for device in options.devices]
        if None in rows:
            continue
        apart = max((abs(row["value"] - rows[0]["value"]) for row in rows[1:]), default=0.0)
        seconds = [row["seconds_per_video"] for row in rows]
        print(f"{name:<24}" + "".join(f"{value:>12.4f}" for value in seconds) + f"{seconds[0] / seconds[-1]:>8.1f}x  {apart:.2e} at {rows[0]['value']:.4f}")


def theirs(options, name):
    """In this process; see --reference."""
    sys.path.insert(0, str(GOLDEN))
    os.environ["VBENCH_CACHE_DIR"] = str(options.weights)
    import torch
    from official_sizes import stand_ins
    stand_ins()
    torch.set_num_threads(options.threads)
    paths = sorted(str(p) for p in options.videos.glob("*.mp4"))
    function = DIMENSIONS[name][0](options.weights, paths)
    with torch.no_grad():
        wall, cpu = time.perf_counter(), time.process_time()
        score = function()[0]
        wall, cpu = time.perf_counter() - wall, time.process_time() - cpu
    return {"wall": wall / len(paths), "cpu": cpu / len(paths), "score": float(score)}


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("weights", type=Path)
    parser.add_argument("videos", type=Path)
    parser.add_argument("out", type=Path)
    parser.add_argument("--dimension", nargs="+", choices=list(DIMENSIONS), help="default: all that the comparison has")
    parser.add_argument("--devices", nargs="+", help="compare the program on these instead, the first with the others")
    parser.add_argument("--profile", default="vbench", choices=("vbench", "embedded"), help="with --devices")
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--program", default=str(ROOT / "vorta-bench"))
    parser.add_argument("--reference", action="store_true", help=argparse.SUPPRESS)
    options = parser.parse_args()
    options.out.mkdir(parents=True, exist_ok=True)
    if options.devices:
        options.dimension = options.dimension or list(DIMENSIONS)
        compare_devices(options)
        return
    options.dimension = options.dimension or [name for name, row in DIMENSIONS.items() if row[0]]
    if options.reference:
        print(json.dumps(theirs(options, options.dimension[0])))
        return
    file = options.out / "speed.json"
    rows = json.loads(file.read_text()) if file.exists() else {}
    for name in options.dimension:
        command = [sys.executable, __file__, str(options.weights), str(options.videos), str(options.out), "--dimension", name, "--threads",
                   str(options.threads), "--reference"]
        reference = subprocess.run(command, env=os.environ | {"OMP_NUM_THREADS": str(options.threads)}, capture_output=True, text=True, check=False)
        if reference.returncode != 0:
            print(f"{name}: VBench's function failed: {reference.stderr.strip().splitlines()[-1]}", flush=True)
            continue
        rows[name] = {"vorta-bench": ours(options, name), "vbench": json.loads(reference.stdout.splitlines()[-1])}
        file.write_text(json.dumps(rows, indent=1) + "\n")
        print(f"{name}: done", flush=True)
    print(f"{'dimension':<24} {'vorta-bench CPU s':>18} {'vbench CPU s':>13} {'ratio':>7} {'wall':>7} {'difference':>11}")
    total = [0.0, 0.0]
    for name, row in rows.items():
        a, b = row["vorta-bench"], row["vbench"]
        total = [total[0] + a["cpu"], total[1] + b["cpu"]]
        print(f"{name:<24} {a['cpu']:>16.3f} s {b['cpu']:>11.3f} s {b['cpu'] / a['cpu']:>6.2f}x {b['wall'] / a['wall']:>6.2f}x {abs(a['score'] - b['score']):>11.2e}")
    print(f"{'total':<24} {total[0]:>16.3f} s {total[1]:>11.3f} s {total[1] / total[0]:>6.2f}x")


if __name__ == "__main__":
    main()
