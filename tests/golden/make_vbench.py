# SPDX-License-Identifier: Apache-2.0
"""Writes vbench/: two clips, and what VBench's own functions give for them on weights by rule (vbench_weights.py).

python make_vbench.py                 the fixtures of tests/metrics: small networks of the official kinds
python make_vbench.py --full FOLDER   official sizes: checkpoints in VBench's layout under FOLDER (3 GB) and
                                      FOLDER/expected.json, to compare with
                                      VBENCH_CACHE_DIR=FOLDER vorta-bench score --mode custom_input ...
Versions: requirements-vbench.txt.
"""
import argparse
import json
import os
import sys
import tempfile
from pathlib import Path

import numpy as np
import torch
from vbench_networks import Dino, musiq
from vbench_weights import tensor

HERE = Path(__file__).parent / "vbench"


def clip_frames(frames, height, width, salt):
    """Moving discs over a gradient with a little noise: uint8 [F, H, W, 3]."""
    rng = np.random.default_rng(salt)
    y, x = np.mgrid[0:height, 0:width].astype(np.float64)
    out = []
    for f in range(frames):
        image = np.stack([90 + 60 * np.sin(x / 17 + f / 5), 110 + 50 * np.cos(y / 13), 128 + 40 * np.sin((x + y) / 23 + f / 3)], -1)
        for disc, colour in enumerate(((230, 40, 40), (40, 200, 60), (250, 240, 20))):
            cx, cy = width * (0.2 + 0.3 * disc) + 3 * f, height * (0.3 + 0.2 * disc) + (2 - disc) * f
            image[(x - cx) ** 2 + (y - cy) ** 2 < (height / 9) ** 2] = colour
        out.append(np.clip(image + rng.normal(0, 3, image.shape), 0, 255).astype(np.uint8))
    return out


def write_clip(path, frames, fps, colorspace=None):
    import av
    with av.open(str(path), "w") as container:
        stream = container.add_stream("libx264", rate=fps, options={"crf": "28", "preset": "medium"})
        stream.height, stream.width, stream.pix_fmt = *frames[0].shape[:2], "yuv420p"
        if colorspace:
            stream.codec_context.colorspace = colorspace
            stream.codec_context.color_range = 1
        for image in frames:
            for packet in stream.encode(av.VideoFrame.from_ndarray(image, format="rgb24")):
                container.mux(packet)
        for packet in stream.encode():
            container.mux(packet)


def pixel_summary(frames):
    """[F, H, W, 3] uint8 -> its shape, per-channel sums, and a position-weighted sum that notices any moved value."""
    frames = np.asarray(frames)
    weights = np.arange(frames.size, dtype=np.uint64) % np.uint64(65521) + np.uint64(1)
    return {"shape": list(frames.shape), "sums": frames.reshape(-1, 3).astype(np.int64).sum(0).tolist(),
            "weighted": int((frames.reshape(-1).astype(np.uint64) * weights).sum())}


def decoded(path):
    import cv2
    import decord
    decord.bridge.set_bridge("native")
    by_cv2, video = [], cv2.VideoCapture(str(path))
    while True:
        ok, frame = video.read()
        if not ok:
            break
        by_cv2.append(frame[:, :, ::-1])
    return {"decord": pixel_summary(decord.VideoReader(str(path), num_threads=1)[:].asnumpy()), "opencv": pixel_summary(by_cv2),
            "decord_384": pixel_summary(decord.VideoReader(str(path), num_threads=1, width=384, height=384)[:].asnumpy())}


def transforms(path):
    """First values and sums of what VBench's transforms make of the first two frames."""
    from PIL import Image
    from torchvision.transforms import CenterCrop, Compose, Resize
    from vbench.utils import clip_transform, clip_transform_Image, dino_transform, dino_transform_Image, load_video
    frames = load_video(str(path))[:2]
    pictures = [Image.fromarray(f) for f in frames.permute(0, 2, 3, 1).numpy().astype(np.uint8)]
    made = {"clip_float": clip_transform(224)(frames), "clip_uint8": clip_transform(224)(frames.to(torch.uint8)),
            "clip_pillow": torch.stack([clip_transform_Image(224)(p) for p in pictures]), "dino_float": dino_transform(224)(frames),
            "dino_pillow": torch.stack([dino_transform_Image(224)(p) for p in pictures])}
    picked = {name: {"shape": list(t.shape), "sum": t.double().sum().item(),
                     "values": t.flatten()[:: max(1, t.numel() // 40)].double().tolist()} for name, t in made.items()}
    picked["pillow_bytes"] = {str(size): pixel_summary([np.asarray(pictures[0].resize(size, kind))])
                              for kind, size in ((Image.BICUBIC, (97, 61)), (Image.BICUBIC, (301, 200)))}
    picked["pillow_bytes_bilinear"] = {str(size): pixel_summary([np.asarray(pictures[0].resize(size, Image.BILINEAR))])
                                       for size in ((97, 61), (301, 200))}
    return picked


def imaging(path):
    """imaging_quality's preprocessing of a frame with every pixel made 7 x 7."""
    import vbench.imaging_quality
    from vbench.utils import load_video
    frame = load_video(str(path))[:1].repeat_interleave(7, 2).repeat_interleave(7, 3)
    made = {mode: vbench.imaging_quality.transform(frame, mode) for mode in ("longer", "shorter", "shorter_centercrop", "None")}
    return {mode: {"shape": list(t.shape), "sum": t.double().sum().item(),
                   "values": t.flatten()[:: max(1, t.numel() // 40)].double().tolist()} for mode, t in made.items()}


def checkpoint(folder, name, make):
    """Weights by rule for what `make` builds; written in VBench's layout when `folder` is given."""
    shapes = {key: value.shape for key, value in make().state_dict().items() if value.is_floating_point()}
    state = {key: tensor(key, shape) for key, shape in shapes.items()}
    if folder:
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        torch.save(state, folder / name)
    return state


def openai_clip(state):
    """As clip.load has it on a CPU: matrices rounded to half precision, then everything in float."""
    import clip.model
    return clip.model.build_model(state).float().eval()


def score(paths, folder):
    """VBench's functions on the CPU: small networks, or those of the official sizes when `folder` is given."""
    import clip.model
    import vbench.aesthetic_quality
    import vbench.appearance_style
    import vbench.background_consistency
    import vbench.subject_consistency
    import vbench.temporal_flickering
    MUSIQ = musiq()  # pyiqa's stand-in must be there before VBench imports it
    import vbench.imaging_quality
    names = [str(p) for p in paths]
    results = {"temporal_flickering": vbench.temporal_flickering.temporal_flickering(names)}

    sizes = (768, 12, 12) if folder else (96, 3, 3)
    state = checkpoint(folder, "dino_model/dino_vitbase16_pretrain.pth", lambda: Dino(*sizes))
    dino = Dino(*sizes).eval()
    dino.load_state_dict(state)
    results["subject_consistency"] = vbench.subject_consistency.subject_consistency(dino, names, "cpu", False)
    del dino, state

    sizes = (512, 224, 12, 768, 32, 77, 49408, 512, 8, 12) if folder else (48, 224, 2, 128, 32, 77, 49408, 64, 1, 2)
    b32 = openai_clip(checkpoint(folder, "clip_model/ViT-B-32.pt", lambda: clip.model.CLIP(*sizes)))
    styles = [{"prompt": "p", "video_list": names, "auxiliary_info": {"appearance_style": "Van Gogh style"}}]
    results["background_consistency"] = vbench.background_consistency.background_consistency(b32, None, names, "cpu", False)
    results["appearance_style"] = vbench.appearance_style.appearance_style(b32, styles, "cpu")
    del b32

    sizes = (768, 224, 24, 1024, 14, 77, 49408, 768, 12, 12) if folder else (40, 224, 2, 64, 14, 77, 49408, 64, 1, 1)
    l14 = openai_clip(checkpoint(folder, "clip_model/ViT-L-14.pt", lambda: clip.model.CLIP(*sizes)))
    head = torch.nn.Linear(sizes[0], 1)
    head.load_state_dict(checkpoint(folder, "aesthetic_model/emb_reader/sa_0_4_vit_l_14_linear.pth", lambda: torch.nn.Linear(sizes[0], 1)))
    results["aesthetic_quality"] = vbench.aesthetic_quality.laion_aesthetic(head, l14, names, "cpu")
    del l14

    sizes = {} if folder else {"hidden_size": 48, "mlp_dim": 80, "num_heads": 6, "num_layers": 2}
    state = checkpoint(folder, "pyiqa_model/musiq_spaq_ckpt-358bb6af.pth", lambda: MUSIQ(pretrained=False, **sizes))
    rated = MUSIQ(pretrained=False, **sizes).eval()
    rated.load_state_dict(state)
    results["imaging_quality"] = vbench.imaging_quality.technical_quality(rated, names, "cpu", imaging_quality_preprocessing_mode="longer")
    return json.loads(json.dumps(results, default=float).replace(str(paths[0].parent) + "/", ""))


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("--full", type=Path)
    options = parser.parse_args()
    cwd = tempfile.mkdtemp()
    os.environ.setdefault("VBENCH_CACHE_DIR", cwd)
    torch.set_grad_enabled(False)
    HERE.mkdir(exist_ok=True)
    clips = [HERE / "discs.mp4", HERE / "discs_bt709.mp4", HERE / "discs_odd.mp4"]
    if not options.full:
        write_clip(clips[0], clip_frames(6, 96, 144, 1), 12)
        write_clip(clips[1], clip_frames(4, 128, 96, 2), 24, colorspace=1)
        write_clip(clips[2], clip_frames(3, 250, 330, 3), 8)
    out = options.full or HERE
    out.mkdir(exist_ok=True, parents=True)
    expected = {"scores": score(clips, options.full)}
    if not options.full:
        expected["pixels"] = {p.name: decoded(p) for p in clips}
        expected["imaging"] = imaging(clips[0])
        expected["transforms"] = {p.name: transforms(p) for p in clips[:2]}
    expected["versions"] = {"torch": torch.__version__, "python": sys.version.split()[0]}
    (out / "expected.json").write_text(json.dumps(expected, indent=1) + "\n")


if __name__ == "__main__":
    main()
