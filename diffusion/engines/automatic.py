"""The automatic engine: folded where every layer has a rule, else vmap, and why."""

from torch import Tensor, nn

from diffusion.clipping import Clipping
from diffusion.engines.folded import FoldedEngine, Uncovered
from diffusion.engines.rows import RowLoss, Rows
from diffusion.engines.vmap import VmapEngine


class AutomaticEngine:
    """Tries the folded engine, and stays with vmap once a rule is missing.

    The choice follows from the model's structure alone, never from the records.

    Attributes:
        note: Why vmap was chosen, on one line; empty while folded serves.
    """

    def __init__(self) -> None:
        self._folded = FoldedEngine()
        self._vmap: VmapEngine | None = None

    @property
    def name(self) -> str:
        """The engine that serves: "folded", or "vmap" once it had to be chosen."""
        return self._folded.name if self._vmap is None else self._vmap.name

    @property
    def note(self) -> str:
        """Why vmap was chosen, on one line; empty while folded serves."""
        return "" if self._vmap is None else self._vmap.note

    def clipped_sum(
        self,
        model: nn.Module,
        row_loss: RowLoss,
        rows: Rows,
        *,
        records: int,
        noise_multiplicity: int,
        clipping: Clipping,
    ) -> list[Tensor]:
        """See `diffusion.per_example.PerExampleEngine.clipped_sum`."""
        if self._vmap is None:
            found = self._folded.attempt(
                model,
                row_loss,
                rows,
                records=records,
                noise_multiplicity=noise_multiplicity,
                clipping=clipping,
            )
            if not isinstance(found, Uncovered):
                return found
            self._vmap = VmapEngine(note=f"vmap, because {found.error().message}")
        return self._vmap.clipped_sum(
            model,
            row_loss,
            rows,
            records=records,
            noise_multiplicity=noise_multiplicity,
            clipping=clipping,
        )
