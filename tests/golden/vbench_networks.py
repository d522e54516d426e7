# SPDX-License-Identifier: Apache-2.0
"""The public networks behind VBench's dimensions, at any size: timm's blocks, OpenAI's clip, pyiqa's MUSIQ."""
import importlib
import importlib.machinery
import math
import sys
import types

import torch


class Dino(torch.nn.Module):
    """DINO's vision transformer: timm's has the same blocks and names, the positions of other sizes follow DINO."""

    def __init__(self, width=768, layers=12, heads=12):
        super().__init__()
        from timm.models.vision_transformer import VisionTransformer
        vit = VisionTransformer(patch_size=16, embed_dim=width, depth=layers, num_heads=heads, num_classes=0)
        vit.patch_embed.strict_img_size = False
        self.cls_token, self.pos_embed, self.patch_embed = vit.cls_token, vit.pos_embed, vit.patch_embed
        self.blocks, self.norm = vit.blocks, vit.norm

    def positions(self, height, width):
        stored = self.pos_embed.shape[1] - 1
        rows, columns = height // 16, width // 16
        if rows * columns == stored and height == width:
            return self.pos_embed
        side = int(math.sqrt(stored))
        grid = self.pos_embed[:, 1:].reshape(1, side, side, -1).permute(0, 3, 1, 2)
        factors = ((rows + 0.1) / math.sqrt(stored), (columns + 0.1) / math.sqrt(stored))
        grid = torch.nn.functional.interpolate(grid, scale_factor=factors, mode="bicubic")
        assert grid.shape[-2:] == (rows, columns)
        return torch.cat([self.pos_embed[:, :1], grid.flatten(2).transpose(1, 2)], 1)

    def forward(self, images):
        patches = self.patch_embed.proj(images).flatten(2).transpose(1, 2)
        x = torch.cat([self.cls_token.expand(len(images), -1, -1), patches], 1)
        x = x + self.positions(images.shape[2], images.shape[3])
        for block in self.blocks:
            x = block(x)
        return self.norm(x)[:, 0]


def musiq(**sizes):
    """pyiqa's MUSIQ without the rest of pyiqa, whose imports want dozens of packages."""
    root = importlib.util.find_spec("pyiqa").submodule_search_locations[0]
    for name, path in (("pyiqa", root), ("pyiqa.archs", f"{root}/archs"), ("pyiqa.utils", f"{root}/utils"),
                       ("pyiqa.data", f"{root}/data"), ("pyiqa.matlab_utils", f"{root}/matlab_utils")):
        module = types.ModuleType(name)
        module.__path__ = [path]
        module.__spec__ = importlib.machinery.ModuleSpec(name, None, is_package=True)
        sys.modules[name] = module
    arch_util = types.ModuleType("pyiqa.archs.arch_util")
    arch_util.dist_to_mos = lambda q: q if q.shape[-1] == 1 else (q * torch.arange(1, q.shape[-1] + 1)).sum(-1, True)
    arch_util.get_url_from_name = lambda name: name

    def load(net, path, strict=True, weight_keys=None):
        net.load_state_dict(torch.load(path, map_location="cpu", weights_only=True), strict=strict)

    arch_util.load_pretrained_network = load
    sys.modules["pyiqa.archs.arch_util"] = arch_util
    padding = importlib.import_module("pyiqa.matlab_utils.padding")
    sys.modules["pyiqa.matlab_utils"].ExactPadding2d = padding.ExactPadding2d
    sys.modules["pyiqa.matlab_utils"].exact_padding_2d = padding.exact_padding_2d
    return importlib.import_module("pyiqa.archs.musiq_arch").MUSIQ
