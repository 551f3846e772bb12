"""A frozen text encoder: captions become what a network is shown beside an image.

    captions of records  --encode, once, in memory-->  table (labels, tokens * width)
                                                       └─ a row's label picks its row

It is a public map applied to each caption alone: it learns nothing from records, costs
nothing and moves no sensitivity. Captions are encoded once, in memory; nothing here
writes an encoding, and no run folder holds one. A caption longer than the plan's most
tokens is cut there, and nobody is told.

The library is an optional extra; it is imported when an encoder is loaded, and nothing
is ever fetched.

Edges: reads the encoder's folder, which lies in that of a checkpoint or run.
Source: Rombach et al. 2022, arXiv:2112.10752, section 3.3 (cross-attention on text).
"""

import os
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from jaxtyping import Float32
from safetensors import SafetensorError
from torch import Tensor

from diffusion import text_folder
from diffusion.borrowed import BorrowedNetwork
from diffusion.pretrained import PretrainedWeights
from diffusion.readers.image_set import ImageSet
from diffusion.text_folder import (
    CONFIG,
    CURE,
    FOLDER,
    TOKEN_WORDS,
    TOKENS,
    digest,
    gathered,
    read_json,
)
from privplan.borrowed import PlanText
from privplan.errors import (
    DataError,
    ParameterError,
    PolicyError,
    PrivplanError,
    StepFailedError,
)
from privplan.plan import Plan

_BROKEN = (OSError, ValueError, RuntimeError, KeyError, TypeError, SafetensorError)
_ROWS_AT_ONCE = 64
_SOME = "an image"  # what label SOME stands for


@dataclass(frozen=True, slots=True, kw_only=True)
class TextEncoder:
    """A frozen text encoder.

    Attributes:
        known: What a plan says of it.
        encode: From texts to the states of their tokens, (texts, tokens * width).
        folder: Where it came from.
    """

    known: PlanText
    encode: Callable[[Sequence[str]], Tensor]
    folder: Path

    def table(self, texts: Sequence[str]) -> Float32[Tensor, "labels states"]:
        """Return what each label of `readers.captions` is shown as.

        Args:
            texts: From label `FIRST` on.
        """
        parts = [self.encode((_SOME, ""))]
        for start in range(0, len(texts), _ROWS_AT_ONCE):
            parts.append(self.encode(texts[start : start + _ROWS_AT_ONCE]))
        return torch.cat(parts)


def load(folder: Path, known: PlanText, *, device: str = "cpu") -> TextEncoder:
    """Load an encoder, frozen, and check that it keeps captions apart.

    Args:
        folder: As in `gathered`.
        known: What a plan says of it.
        device: Where it computes; encodings come back to the processor.

    Raises:
        DataError: A file is missing or damaged.
        ParameterError: One caption moves the encoding of another.
        PolicyError: It is another than the plan names, or transformers is missing.
    """
    if digest(folder) != known.encoder_digest:
        raise PolicyError(
            "this is not the text encoder that the plan was made with",
            hint="give --from the checkpoint that the plan was made with",
        )
    found = gathered(folder)
    network, tokeniser = _network(found, known), _tokeniser(found, known)
    network = network.eval().requires_grad_(False).to(device)  # noqa: FBT003 - torch's

    def encode(texts: Sequence[str]) -> Tensor:
        numbers = [line.ids for line in tokeniser.encode_batch(list(texts))]
        with torch.no_grad():
            shown = network(input_ids=torch.tensor(numbers, device=device))
        states: Tensor = shown.last_hidden_state
        return states.flatten(1).float().cpu()

    encoder = TextEncoder(known=known, encode=encode, folder=folder)
    check_captions_stay_apart(encoder)
    return encoder


def _network(found: dict[str, Path], known: PlanText) -> Any:  # noqa: ANN401 - theirs
    try:
        import transformers  # noqa: PLC0415 - an optional extra
    except ImportError:
        raise _missing(known.kind) from None
    classes: dict[str, Any] = {
        "CLIPTextModel": transformers.CLIPTextModel,
        "T5EncoderModel": transformers.T5EncoderModel,
    }
    transformers.utils.logging.disable_progress_bar()  # type: ignore[no-untyped-call]
    try:
        network, said = classes[known.kind].from_pretrained(
            found[CONFIG].parent,
            local_files_only=True,
            use_safetensors=True,
            output_loading_info=True,
            dtype=torch.float32,
        )
    except _BROKEN:
        raise _damaged(known.name) from None
    if said["missing_keys"] or said["mismatched_keys"]:
        raise _damaged(known.name)
    return network


def _tokeniser(found: dict[str, Path], known: PlanText) -> Any:  # noqa: ANN401 - theirs
    try:
        import tokenizers  # noqa: PLC0415 - an optional extra
    except ImportError:
        raise _missing(known.kind) from None
    try:
        made = tokenizers.Tokenizer.from_file(os.fspath(found[TOKENS]))
    except Exception:  # the library raises nothing narrower
        raise _damaged(known.name) from None
    word = read_json(found[TOKEN_WORDS]).get("pad_token")
    word = word.get("content") if isinstance(word, dict) else word
    number = made.token_to_id(word) if isinstance(word, str) else None
    if number is None:
        raise ParameterError(
            "the tokeniser has no token to fill short texts up with",
            hint=f"name one of its tokens as pad_token in {TOKEN_WORDS}",
        )
    made.enable_truncation(known.tokens)
    made.enable_padding(length=known.tokens, pad_id=number, pad_token=word)
    return made


def check_captions_stay_apart(encoder: TextEncoder) -> None:
    """Refuse an encoder in which one caption moves the encoding of another.

    Raises:
        ParameterError: It does, or states have another shape than the plan says.
        DataError: It has no word for what its tokeniser says.
    """
    known = encoder.known
    try:
        first, again, alone = (
            encoder.encode(texts)[0]
            for texts in (("a", "b c", ""), ("a", "", "d e f"), ("a",))
        )
    except (IndexError, RuntimeError):
        raise _damaged(known.name) from None
    if first.shape != (known.tokens * known.width,):
        raise _damaged(known.name)
    # 1e-4: kernels may round differently beside other rows, by far less than this.
    for other in (again, alone):
        if not torch.allclose(first, other, rtol=1e-4, atol=1e-4):
            raise ParameterError(
                "the encoding of one caption depends on other captions",
                hint="use an encoder of transformers as it is",
            )


def for_run(
    plan: Plan,
    weights: PretrainedWeights | None,
    folder: Path,
    device: str = "cpu",
) -> TextEncoder | None:
    """Return the text encoder of a run; None if its plan has none. Writes nothing.

    Args:
        plan: The plan.
        weights: The checkpoint that was named; None takes the copy in the run folder.
        folder: The run folder.
        device: Where it computes.

    Raises:
        ParameterError: The plan needs one and there is none.
        PolicyError: It is another than the plan names.
    """
    known = plan.training.text
    if known is None:
        return None
    named = None if weights is None else weights.folder
    for place in (named, folder):
        if place is not None and (place / FOLDER).is_dir():
            return load(place / FOLDER, known, device=device)
    raise ParameterError(
        "this plan reads captions, and its text encoder is not here",
        hint="add --from with the checkpoint that the plan was made with",
    )


def keep(encoder: TextEncoder | None, folder: Path) -> None:
    """Keep a copy of a run's text encoder in its folder."""
    if encoder is not None:
        text_folder.keep(encoder.folder, folder)


def read_captions(network: torch.nn.Module, table: Tensor | None) -> None:
    """Let a network show the rows of a table; None leaves it as it is."""
    if table is not None and isinstance(network, BorrowedNetwork):
        network.texts = table.to(network.texts)


def of_records(encoder: TextEncoder | None, images: ImageSet) -> Tensor | None:
    """Encode the captions of records, each alone, in memory.

    Raises:
        StepFailedError: They could not be encoded; why is withheld.
    """
    if encoder is None or images.captions is None:
        return None
    try:
        return encoder.table(images.captions.texts)
    except PrivplanError:
        raise
    except Exception as error:
        kind = type(error).__name__
        raise StepFailedError(
            f"encoding the captions failed with {kind}; what it says may depend on the "
            "records and is withheld",
            hint="if memory is short, take an encoder that reads fewer tokens",
        ) from None


def _damaged(name: str) -> DataError:
    return DataError(
        f"the files of the text encoder {name} are damaged, or of different ones",
        hint=CURE,
    )


def _missing(kind: str) -> PolicyError:
    return PolicyError(
        f"a {kind} is of transformers, which is not installed",
        hint="install it with pip install privplan[diffusers]",
    )
