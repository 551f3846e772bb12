"""Small real networks of diffusers, saved as diffusers saves them."""

import json

import torch

SCHEDULER = {
    "_class_name": "DDPMScheduler",
    "num_train_timesteps": 100,
    "beta_schedule": "scaled_linear",
    "beta_start": 0.0015,
    "beta_end": 0.15,
    "prediction_type": "epsilon",
}


def unet(classes=10, **wanted):
    from diffusers import UNet2DModel

    return UNet2DModel(
        sample_size=8, in_channels=1, out_channels=1, block_out_channels=(8, 16),
        layers_per_block=1, down_block_types=("DownBlock2D", "AttnDownBlock2D"),
        up_block_types=("AttnUpBlock2D", "UpBlock2D"), norm_num_groups=4,
        attention_head_dim=8, num_class_embeds=classes, **wanted,
    )  # fmt: skip


def conditioned():
    from diffusers import UNet2DConditionModel

    return UNet2DConditionModel(
        sample_size=8, in_channels=1, out_channels=1, block_out_channels=(8, 16),
        layers_per_block=1, down_block_types=("CrossAttnDownBlock2D", "DownBlock2D"),
        up_block_types=("UpBlock2D", "CrossAttnUpBlock2D"), norm_num_groups=4,
        attention_head_dim=4, cross_attention_dim=16,
    )  # fmt: skip


def reader():
    """A network that is small enough to learn from captions in a test."""
    from diffusers import UNet2DConditionModel

    return UNet2DConditionModel(
        sample_size=4, in_channels=1, out_channels=1, block_out_channels=(16,),
        layers_per_block=1, down_block_types=("CrossAttnDownBlock2D",),
        up_block_types=("CrossAttnUpBlock2D",), mid_block_type=None,
        norm_num_groups=4, attention_head_dim=8, cross_attention_dim=16,
    )  # fmt: skip


def dit():
    from diffusers import DiTTransformer2DModel

    return DiTTransformer2DModel(
        num_attention_heads=2, attention_head_dim=8, in_channels=1, out_channels=2,
        num_layers=2, sample_size=8, patch_size=2, num_embeds_ada_norm=10,
        norm_num_groups=4,
    )  # fmt: skip


MAKERS = {"unet": unet, "conditioned": conditioned, "dit": dit}
READS_TEXT = {"reader": reader}


def saved(folder, name="unet", *, scheduler=None, **wanted):
    """Save a network with a scheduler beside it; return the folder."""
    with torch.random.fork_rng():
        torch.manual_seed(7)
        made = (MAKERS | READS_TEXT)[name](**wanted)
    made.save_pretrained(folder)
    text = json.dumps(SCHEDULER | (scheduler or {}))
    (folder / "scheduler_config.json").write_text(text)
    return folder
