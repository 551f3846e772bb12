"""The folder of a text encoder and its tokeniser, as transformers saves them.

    folder                                or the folder of a pipeline
    ├── config.json                       ├── text_encoder/   config.json, the weights
    ├── model.safetensors                 └── tokenizer/      the other two
    ├── tokenizer.json
    └── tokenizer_config.json

Only these files are read, and kept. None of them runs code when it is opened, and
nothing is fetched.

Edges: reads the folder, and copies it.
"""

import json
import shutil
from pathlib import Path
from typing import Any, Final, cast, get_args

from privplan import canonical, events, files
from privplan.borrowed import ElsewherePhase, PlanText, TextKind
from privplan.errors import DataError, ParameterError

FOLDER: Final = "text_encoder"
CONFIG, WEIGHTS = "config.json", "model.safetensors"
TOKENS, TOKEN_WORDS = "tokenizer.json", "tokenizer_config.json"
CURE: Final = "save both again with transformers: save_pretrained(folder)"
_NEEDED = (CONFIG, WEIGHTS, TOKENS, TOKEN_WORDS)
_MOST_TOKENS = 4096


def gathered(folder: Path) -> dict[str, Path]:
    """Return the files of an encoder and its tokeniser, by the name they are kept by.

    Args:
        folder: Holds both, or is that of a pipeline with `text_encoder` in it.

    Raises:
        DataError: One is missing; pickled weights do not count.
    """
    inner = folder / FOLDER if (folder / FOLDER).is_dir() else folder
    around = (inner, inner.parent / "tokenizer")
    found = {name: inner / name for name in (CONFIG, WEIGHTS)}
    for name in (TOKENS, TOKEN_WORDS):
        found[name] = next((p / name for p in around if (p / name).is_file()), inner)
    for name in _NEEDED:
        if not found[name].is_file():
            raise DataError(
                f"the text encoder {folder} has no {name}",
                hint=CURE + ", encoder and tokeniser alike",
            )
    return found


def digest(folder: Path) -> str:
    """Return the SHA-256 over all files of an encoder."""
    found = gathered(folder)
    return canonical.digest({n: canonical.file_digest(p) for n, p in found.items()})


def describe(folder: Path, *, declared_by: str, data_name: str) -> PlanText:
    """Say of an encoder what a plan says of it.

    Args:
        folder: As in `gathered`.
        declared_by: Who says that what it learned from is public.
        data_name: What that is called.

    Raises:
        DataError: A file is missing or damaged.
        ParameterError: It is of a class that is not supported, or does not say how
            many tokens it reads.
    """
    found = gathered(folder)
    settings, words = read_json(found[CONFIG]), read_json(found[TOKEN_WORDS])
    (kind, *_) = settings.get("architectures") or ("nothing",)
    if kind not in get_args(TextKind) or "quantization_config" in settings:
        raise ParameterError(
            f"the folder holds a {str(kind)[:60]}, which is no text encoder known here",
            hint=f"give a {' or '.join(get_args(TextKind))} that is not quantised",
        )
    limits = (words.get("model_max_length"), settings.get("max_position_embeddings"))
    tokens = min((x for x in limits if isinstance(x, int)), default=0)
    if not 1 <= tokens <= _MOST_TOKENS:
        raise ParameterError(
            "the tokeniser does not say how many tokens of a text are read",
            hint=f"write model_max_length, at most {_MOST_TOKENS}, into its "
            f"{TOKEN_WORDS}",
        )
    weights = canonical.file_digest(found[WEIGHTS])
    return PlanText(
        library="transformers",
        kind=cast("TextKind", kind),
        name=folder.resolve().name[:200],
        encoder_digest=digest(folder),
        tokens=tokens,
        width=int(settings.get("hidden_size") or settings.get("d_model") or 1),
        lineage=(_elsewhere(weights, declared_by, data_name),),
    )


def _elsewhere(weights: str, declared_by: str, data_name: str) -> ElsewherePhase:
    return ElsewherePhase(
        kind="elsewhere",
        name="elsewhere",
        steps=1,
        event=events.NoOpEvent(),
        data_name=data_name,
        weights_digest=weights,
        declared_by=declared_by,
    )


def keep(found: Path | None, folder: Path) -> None:
    """Keep a copy of an encoder in a folder, if there is none.

    Args:
        found: Where it is; None keeps nothing.
        folder: Of a checkpoint or a run.
    """
    kept = folder / FOLDER
    if found is None or (kept / CONFIG).is_file():
        return
    files.make_folder(kept)
    for name, path in reversed(gathered(found).items()):
        shutil.copyfile(path, kept / name)


def read_json(path: Path) -> dict[str, Any]:
    """Read a configuration.

    Raises:
        DataError: It is missing, or not JSON.
    """
    try:
        found = json.loads(path.read_bytes())
    except (OSError, ValueError) as error:
        raise DataError(f"{path} is missing or not JSON", hint=CURE) from error
    if not isinstance(found, dict):
        raise DataError(f"{path} holds no object", hint=CURE)
    return found
