"""Golden numbers of the video networks of VBench: its own Python code on weights by the rule of counter_weights.py.

    pip install --no-deps vbench==0.1.5 openai-clip==1.0.1 timm==1.0.12 torchvision==0.26.0
    pip install torch==2.11.0 numpy==1.26.4 opencv-python-headless==4.11.0.86 easydict einops ftfy regex pyyaml
    for grit also fvcore iopath yacs pycocotools matplotlib cloudpickle boto3, transformers, and the sources of
    detectron2 on PYTHONPATH; for tag2text transformers==4.33.2
    python tests/golden/video_scorers.py [SUBJECT...]

Writes metrics/<subject>.json and metrics/<subject>_keys.txt (names and shapes of the state dict) for each subject.
"""
import importlib
import importlib.util
import json
import os
import sys
import tempfile
import types
from functools import partial

import numpy as np
import torch

import counter_weights

HERE = os.path.dirname(os.path.abspath(__file__))


def network(name):
    """A module of vbench.third_party without what `import vbench` would pull in."""
    if not getattr(sys.modules.get("vbench"), "bare", False):
        bare = types.ModuleType("vbench")
        bare.__path__, bare.bare = [os.path.dirname(importlib.util.find_spec("vbench").origin)], True
        sys.modules["vbench"] = bare
        fairscale = "fairscale.nn.checkpoint.checkpoint_activations"
        for unused in ("scipy", "scipy.interpolate", "imageio", "lvis", "fairscale", "fairscale.nn",
                       "fairscale.nn.checkpoint", fairscale):  # imported for functions that are not called here
            sys.modules.setdefault(unused, types.ModuleType(unused))
        sys.modules["scipy"].interpolate = sys.modules["scipy.interpolate"]
        sys.modules[fairscale].checkpoint_wrapper = None
        sys.modules["lvis"].LVIS = sys.modules["imageio"].imread = sys.modules["imageio"].imwrite = None
    return importlib.import_module("vbench.third_party." + name)


def formula_clip(frames, height, width, salt=0):
    """uint8 [frames, 3, height, width]; tests/support/formula_clip.h has the same."""
    f, c, y, x = np.meshgrid(np.arange(frames), np.arange(3), np.arange(height), np.arange(width), indexing="ij")
    smooth = 96 + 4 * x + 3 * y + 5 * f + 20 * c
    detail = (x * y * 3 + f * 7 + c * 11 + x * salt) % 29
    return torch.from_numpy(((smooth + detail) % 256).astype(np.uint8))


def write(subject, shapes, golden):
    folder = os.path.join(HERE, "metrics")
    if shapes:
        with open(os.path.join(folder, subject + "_keys.txt"), "w") as file:
            for name, shape in shapes.items():
                kind = "\tint64" if name.endswith("num_batches_tracked") else ""
                file.write(f"{name}\t({', '.join(map(str, shape))}){kind}\n")
    golden["versions"] = {"torch": torch.__version__, "vbench": "0.1.5"}
    with open(os.path.join(folder, subject + ".json"), "w") as file:
        lines = (f"  {json.dumps(key)}: {json.dumps(value)}" for key, value in golden.items())
        file.write("{\n" + ",\n".join(lines) + "\n}\n")


def samples(tensor, count=24):
    """Evenly spread elements and the mean of absolute values."""
    flat = tensor.detach().flatten().double()
    index = torch.linspace(0, flat.numel() - 1, count).long()
    return {"shape": list(tensor.shape), "index": index.tolist(), "values": flat[index].tolist(),
            "mean_abs": flat.abs().mean().item()}


def strength(flow, share):
    radius = np.sqrt(np.square(flow[0, 0].numpy()) + np.square(flow[0, 1].numpy()))
    count = int(radius.shape[0] * radius.shape[1] * share)
    return np.mean(abs(np.sort(-radius.flatten()))[:count]).item()


def raft():
    from easydict import EasyDict
    padder = network("RAFT.core.utils_core.utils").InputPadder
    model = network("RAFT.core.raft").RAFT(EasyDict(small=False, mixed_precision=False, alternate_corr=False)).eval()
    shapes = counter_weights.fill(model)
    frames = formula_clip(3, 130, 141).float()
    pairs = []
    for one, two in ((0, 1), (2, 0)):
        first, second = padder(frames[:1].shape).pad(frames[one:one + 1], frames[two:two + 1])
        _, flow = model(first, second, iters=20, test_mode=True)
        pairs.append({"from": one, "to": two, "flow": samples(flow), "top 5 %": strength(flow, 0.05),
                      "top 2 %": strength(flow, 0.02)})
    write("raft", shapes, {"clip": [3, 130, 141], "pairs": pairs})


def amt():
    utils = network("amt.utils.utils")
    model = network("amt.networks.AMT-S").Model().eval()
    shapes = counter_weights.fill(model)
    clip = formula_clip(6, 125, 141).permute(0, 2, 3, 1).numpy()
    inputs = [utils.img2tensor(frame) for frame in clip[0::2]]
    padder = utils.InputPadder(inputs[0].shape, 16)
    inputs = padder.pad(*inputs)
    errors, image = [], None
    for k, (first, second) in enumerate(zip(inputs[:-1], inputs[1:])):
        out = model(first, second, torch.tensor(0.5).view(1, 1, 1, 1), eval=True)["imgt_pred"]
        image = out if image is None else image
        predicted = utils.tensor2img(padder.unpad(out))
        errors.append(np.mean(np.abs(predicted.astype(np.int32) - clip[2 * k + 1])).item())
    write("amt", shapes, {"clip": [6, 125, 141], "between 0 and 2": samples(image), "errors": errors,
                          "motion_smoothness": (255.0 - np.mean(errors).item()) / 255.0})


def normalised(clip):
    """uint8 frames to about -2..2, without any resize."""
    return (clip.float() / 255.0 - 0.5) / 0.25


def viclip_modules():
    """VBench's modules of ViCLIP's two towers."""
    tools = types.ModuleType("vbench.utils")  # the tokenizer's file comes with openai-clip 1.0.1
    vocabulary = os.path.join(os.path.dirname(importlib.util.find_spec("clip").origin), "bpe_simple_vocab_16e6.txt.gz")
    tools.CACHE_DIR = tempfile.mkdtemp()
    os.makedirs(os.path.join(tools.CACHE_DIR, "ViCLIP"))
    os.symlink(vocabulary, os.path.join(tools.CACHE_DIR, "ViCLIP", os.path.basename(vocabulary)))
    network("RAFT")  # makes the bare package
    sys.modules["vbench.utils"] = tools
    return network("ViCLIP.viclip_vision"), network("ViCLIP.viclip_text")


def viclip():
    vision, text = viclip_modules()
    model = torch.nn.Module()
    model.vision_encoder = vision.VisionTransformer(input_resolution=56, patch_size=14, width=128, layers=2, heads=2,
                                                    output_dim=48)
    model.text_encoder = text.CLIP_TEXT(48, 32, 49408, 64, 1, 2, 0)
    model.temp = torch.nn.Parameter(torch.ones([]))
    shapes = counter_weights.fill(model.eval())
    clip = normalised(formula_clip(8, 56, 56))
    feature = model.vision_encoder(clip.permute(1, 0, 2, 3)[None])[0]
    prompts = ["A person is riding a bike", "don't  stop: 2024's  <b>café</b> &amp; naïve 東京 \U0001F600 rock'n'roll!!",
               "a very long prompt, " * 12, ""]
    tokens = model.text_encoder.tokenize(prompts, context_length=32)
    texts = model.text_encoder(tokens)
    write("viclip", shapes, {"frames": [8, 56, 56], "prompts": prompts, "tokens": tokens.tolist(),
                             "feature": samples(feature / feature.norm()),
                             "similarities": ((feature / feature.norm()) @ (texts / texts.norm(dim=-1, keepdim=True)).T).tolist()})


def umt():
    finetune = network("umt.models.modeling_finetune")
    model = finetune.VisionTransformer(img_size=48, patch_size=16, num_classes=11, embed_dim=96, depth=2, num_heads=3,
                                       mlp_ratio=4, qkv_bias=True, norm_layer=partial(torch.nn.LayerNorm, eps=1e-6),
                                       all_frames=16, tubelet_size=1, init_scale=0.001).eval()
    shapes = counter_weights.fill(model)
    logits = model(normalised(formula_clip(16, 48, 48)).permute(1, 0, 2, 3)[None])[0]
    table = finetune.get_sinusoid_encoding_table(3136, 64, 16)
    write("umt", shapes, {"frames": [16, 48, 48], "logits": logits.tolist(), "positions": samples(table)})


def cv_resize():
    import cv2
    sizes = [[65, 49, 37, 31], [48, 64, 24, 32], [20, 30, 41, 67], [48, 64, 24, 33], [31, 29, 62, 58]]
    cases = []
    for height, width, to_height, to_width in sizes:
        image = formula_clip(1, height, width, 3)[0].permute(1, 2, 0).numpy()
        out = cv2.resize(image, (to_width, to_height), interpolation=cv2.INTER_LINEAR).astype(np.int64)
        weights = np.arange(1, out.size + 1).reshape(out.shape)  # any moved byte changes the sum
        cases.append({"from": [height, width], "to": [to_height, to_width], "sum": int(out.sum()),
                      "weighted_sum": int((out * weights).sum())})
    write("cv_resize", None, {"cases": cases, "opencv": cv2.__version__})


class TokenNumbers:
    """Stands for BertTokenizer: a text is its token numbers, without the special ones."""

    cls_token_id, sep_token_id = 101, 102

    @classmethod
    def from_pretrained(cls, *_, **__):
        return cls()

    def decode(self, ids, skip_special_tokens):
        return [i for i in ids if i not in (0, 100, 101, 102, 103)]


def grit_model(task, tiny):
    """GRiT as VBench builds it; needs detectron2's sources (no compiled part of them) on PYTHONPATH."""
    import transformers
    transformers.BertTokenizer = TokenNumbers
    network("RAFT")  # makes the bare package
    tools = types.ModuleType("vbench.utils")
    tools.CACHE_DIR = ""
    sys.modules["vbench.utils"] = tools
    captions = network("grit_src.image_dense_captions")
    vit = network("grit_src.grit.modeling.backbone.vit")
    from detectron2.config import get_cfg
    from detectron2.modeling import BACKBONE_REGISTRY, build_model

    def build_tiny(cfg, input_shape):
        bottom_up = vit.ViT(img_size=96, embed_dim=64, depth=3, num_heads=2, window_size=14, window_block_indexes=[0, 1],
                            norm_layer=partial(torch.nn.LayerNorm, eps=1e-6), use_rel_pos=True, use_act_checkpoint=False)
        return vit.ViT_FPN(bottom_up, vit.LastLevelP6P7_P5(64, 64), 64, [8, 16, 32, 64, 128], 64)

    cfg = get_cfg()
    captions.add_centernet_config(cfg)
    captions.add_grit_config(cfg)
    folder = os.path.dirname(captions.__file__)
    cfg.merge_from_file(os.path.join(folder, "configs", "GRiT_B_DenseCap_ObjectDet.yaml"))
    cfg.MODEL.DEVICE, cfg.MODEL.ROI_HEADS.SCORE_THRESH_TEST, cfg.MODEL.TEST_TASK = "cpu", 0.5, task
    cfg.MODEL.BEAM_SIZE, cfg.MODEL.ROI_HEADS.SOFT_NMS_ENABLED, cfg.USE_ACT_CHECKPOINT = 1, False, False
    if tiny:
        if "build_tiny" not in BACKBONE_REGISTRY:
            BACKBONE_REGISTRY.register(build_tiny)
        cfg.MODEL.BACKBONE.NAME, cfg.MODEL.FPN.OUT_CHANNELS, cfg.MODEL.ROI_BOX_HEAD.FC_DIM = "build_tiny", 64, 48
        text = cfg.TEXT_DECODER
        text.VOCAB_SIZE, text.HIDDEN_SIZE, text.NUM_LAYERS, text.ATTENTION_HEADS, text.FEEDFORWARD_SIZE = 211, 32, 2, 2, 128
    return build_model(cfg).eval()


def grit():
    golden = {"clip": [1, 45, 62]}
    frame = formula_clip(1, 45, 62)[0].float()
    for task in ("ObjectDet", "DenseCap"):
        model = grit_model(task, tiny=True)
        shapes = counter_weights.fill(model)
        for scale in model.proposal_generator.centernet_head.scales:  # boxes of useful sizes
            scale.scale.fill_(3.0)
        found = model([{"image": frame, "height": 45, "width": 62}])[0]["instances"]
        golden[task] = {"boxes": found.pred_boxes.tensor.tolist(), "texts": found.pred_object_descriptions.data,
                        "names": found.det_obj.data}
    write("grit", shapes, golden)


class Tokens(types.SimpleNamespace):
    def to(self, _):
        return self


class TagNumbers:
    """Stands for BertTokenizer with Tag2Text's two tokens more: a word is a number, a text its numbers."""

    vocabulary = 300
    cls_token_id, sep_token_id, pad_token_id = 101, 102, 0
    bos_token_id, additional_special_tokens_ids = vocabulary - 2, [vocabulary - 1]
    seen = []

    @classmethod
    def from_pretrained(cls, *_, **__):
        return cls()

    def __len__(self):
        return self.vocabulary

    def add_special_tokens(self, *_):
        pass

    def __call__(self, texts, max_length=None, **_):
        rows = []
        for text in [texts] if isinstance(texts, str) else texts:
            words = [110 + sum(map(ord, word)) % 180 for word in text.split()]
            rows.append([101] + words[:max_length - 2 if max_length else None] + [102])
        if isinstance(texts, str):
            return Tokens(input_ids=rows[0])
        mask = torch.tensor([[1] * len(row) + [0] * ((max_length or len(row)) - len(row)) for row in rows])
        ids = torch.tensor([row + [0] * ((max_length or len(row)) - len(row)) for row in rows])
        self.seen.append([row[:] for row in rows])
        return Tokens(input_ids=ids, attention_mask=mask)

    def decode(self, ids, skip_special_tokens):
        return "a picture of " + " ".join(str(i) for i in ids.tolist()[4:] if i not in (0, 102))


def tag2text():
    """Needs transformers 4.33.2. Four frames, so captions of frames 0, 0, 0, 1."""
    import transformers
    transformers.BertTokenizer = TagNumbers
    module, med = network("tag2Text.tag2text"), network("tag2Text.med")
    sizes = dict(hidden_size=48, intermediate_size=192, vocab_size=TagNumbers.vocabulary, max_position_embeddings=64)

    def config(path):
        heads, layers = (2, 2) if "q2l" in path else (3, 3)
        return med.BertConfig(**sizes, num_attention_heads=heads, num_hidden_layers=layers, layer_norm_eps=1e-12,
                              add_cross_attention=True, encoder_width=768, add_tag_cross_attention=False)

    plain, grouped, decoder = module.BertConfig, module.GroupWiseLinear, module.BertLMHeadModel
    module.BertConfig = types.SimpleNamespace(from_json_file=config)
    module.GroupWiseLinear = lambda classes, width, bias: grouped(classes, 48, bias)
    module.BertLMHeadModel = lambda config: (setattr(config, "encoder_width", 48), decoder(config))[1]
    module.BertModel.from_pretrained = classmethod(lambda cls, *_, config, **__: cls(config, add_pooling_layer=False))
    module.read_json = lambda path: dict(image_res=384, window_size=12, embed_dim=16, depths=[2, 2, 2, 1],
                                         num_heads=[1, 2, 4, 8], vision_width=128)
    model = module.Tag2Text_Caption(vit="swin_b", image_size=384).eval()
    shapes = counter_weights.fill(model)
    model.fc.W.mul_(300.0)  # so that there are tags, and captions that change their words
    model.text_decoder.bert.embeddings.position_embeddings.weight.mul_(6.0)
    model.tag_array = np.array([f"t{i}" for i in range(len(model.tag_array))])
    images = normalised(formula_clip(4, 384, 384, 1))
    captions, _ = model.generate(images, tag_input=None, return_tag_predict=True)
    seen = model.visual_encoder(images[:2])
    tags = [TagNumbers.seen[0][0], TagNumbers.seen[0][3]]  # of frames 0 and 1; three beams each
    write("tag2text", shapes,
          {"frames": [2, 384, 384], "features": samples(seen), "tags": tags,
           "prompt": TagNumbers()("a picture of ").input_ids[1:-1],
           "captions": [[int(i) for i in caption.split()] for caption in (captions[0], captions[3])],
           "same": captions[0] == captions[2]})


SUBJECTS = {"tag2text": tag2text, "grit": grit, "raft": raft, "amt": amt, "viclip": viclip, "umt": umt, "cv_resize": cv_resize}

if __name__ == "__main__":
    with torch.no_grad():
        for subject in sys.argv[1:] or SUBJECTS:
            SUBJECTS[subject]()
