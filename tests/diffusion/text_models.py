"""A tiny text encoder, trained on public captions that a program writes.

Pictures are drawn in one shade and one shape, and the captions say which. Encoder and
a small image network learn to find each other's partner (contrastive), a few steps
long: enough that words of different meaning have different states.
"""

import json
from pathlib import Path

import torch
from torch import nn

SHADES, SHAPES = ("dark", "bright"), ("square", "disc", "cross")
TOKENS, WIDTH = 8, 16
WORDS = ("<pad>", "<start>", "<end>", "<other>", "a", "an", "image", "of", *SHADES,
         *SHAPES)  # fmt: skip


def drawn(shade, shape, side=8):
    """Draw a picture, in [-1, 1]."""
    rows, columns = torch.meshgrid(*2 * [torch.linspace(-1, 1, side)], indexing="ij")
    inside = {
        "square": (rows.abs() < 0.6) & (columns.abs() < 0.6),
        "disc": rows**2 + columns**2 < 0.5,
        "cross": (rows.abs() < 0.25) | (columns.abs() < 0.25),
    }[shape]
    level = {"dark": -0.7, "bright": 0.7}[shade]
    return torch.where(inside, level, level - 0.25)[None]


def caption(shade, shape):
    return f"a {shade} {shape}"


def tokeniser():
    from tokenizers import Tokenizer
    from tokenizers.models import WordLevel
    from tokenizers.pre_tokenizers import Whitespace
    from tokenizers.processors import TemplateProcessing

    made = Tokenizer(
        WordLevel({w: i for i, w in enumerate(WORDS)}, unk_token="<other>")  # noqa: S106
    )
    made.pre_tokenizer = Whitespace()
    made.post_processor = TemplateProcessing(
        single="<start> $A <end>", special_tokens=[("<start>", 1), ("<end>", 2)]
    )
    return made


def clip(width=WIDTH):
    from transformers import CLIPTextConfig, CLIPTextModel

    return CLIPTextModel(
        CLIPTextConfig(
            vocab_size=len(WORDS), hidden_size=width, intermediate_size=2 * width,
            num_hidden_layers=1, num_attention_heads=2, max_position_embeddings=TOKENS,
            bos_token_id=1, eos_token_id=2, pad_token_id=0,
        )
    )  # fmt: skip


def t5(width=WIDTH):
    from transformers import T5Config, T5EncoderModel

    return T5EncoderModel(
        T5Config(
            vocab_size=len(WORDS), d_model=width, d_kv=8, d_ff=width, num_layers=1,
            num_heads=2, pad_token_id=0, eos_token_id=2, dropout_rate=0.0,
        )
    )  # fmt: skip


def numbers(texts):
    made = tokeniser()
    made.enable_padding(length=TOKENS, pad_id=0, pad_token="<pad>")  # noqa: S106
    return torch.tensor([line.ids for line in made.encode_batch(list(texts))])


def trained(make=clip, steps=30):
    """Train an encoder on all public pairs of picture and caption."""
    pairs = [(shade, shape) for shade in SHADES for shape in SHAPES]
    pictures = torch.stack([drawn(*pair) for pair in pairs])
    read = numbers(caption(*pair) for pair in pairs)
    with torch.random.fork_rng():
        torch.manual_seed(5)
        encoder, eye = make(), nn.Linear(pictures[0].numel(), WIDTH)
        both = [*encoder.parameters(), *eye.parameters()]
        optimiser = torch.optim.Adam(both, lr=0.01)
        for _ in range(steps):
            states = encoder(input_ids=read).last_hidden_state.mean(dim=1)
            agree = (
                nn.functional.normalize(states)
                @ nn.functional.normalize(eye(pictures.flatten(1))).T
            )
            loss = nn.functional.cross_entropy(10 * agree, torch.arange(len(pairs)))
            optimiser.zero_grad()
            loss.backward()
            optimiser.step()
    return encoder.eval(), float(loss.detach())


def saved(folder: Path, make=clip, steps=30):
    """Save a trained encoder with its tokeniser, as transformers does."""
    import transformers

    transformers.utils.logging.disable_progress_bar()
    encoder, _ = trained(make, steps)
    encoder.save_pretrained(folder)
    tokeniser().save(str(folder / "tokenizer.json"))
    words = {"model_max_length": TOKENS, "pad_token": "<pad>"}
    (folder / "tokenizer_config.json").write_text(json.dumps(words))
    return folder
