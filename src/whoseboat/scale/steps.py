"""Steps of datatrove pipelines: a part of a build, the joining of its parts, and personas for pipelines of one's own.

`datatrove` runs pipelines of steps by tasks, on this machine, on Slurm, on Ray or on Hugging Face Jobs. It comes with
the extra `scale`.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any

from datatrove.data import Document
from datatrove.pipeline.base import PipelineStep
from datatrove.utils.logging import logger

from whoseboat import engines
from whoseboat.llm.settings import LanguageModel
from whoseboat.records import Drop, Message, Origin, Pair, Row
from whoseboat.redaction import Redactor
from whoseboat.scale import running
from whoseboat.scale.plan import Plan


class BuildPart(PipelineStep):  # type: ignore[misc]  # datatrove has no types
    """Builds the part of a task, and puts it into the shared folder.

    What goes wrong is written down there, for the finishing step to tell.

    Args:
        plan: what is built.
        go_on: do not raise it as well, which would end the other tasks.

    """

    name = "build a part"
    type = "whoseboat"

    def __init__(self, plan: Plan, *, go_on: bool = False) -> None:
        super().__init__()
        self.plan, self.go_on = plan, go_on

    def run(self, data: object = None, rank: int = 0, world_size: int = 1) -> Iterable[Document]:
        """Build the part; no document comes or goes."""
        try:
            made = running.run_task(self.plan, rank)
        except Exception as error:
            running.note_failure(self.plan, rank, error)
            if not self.go_on:
                raise
            logger.exception(error)
            return ()
        if made is not None:
            self.stat_update("rows", value=sum(made.rows.get("pairs", {}).values()), unit="rows")
            self.stat_update("dropped", value=sum(made.dropped.values()), unit="rows")
        return ()


class JoinParts(PipelineStep):  # type: ignore[misc]  # datatrove has no types
    """Joins the parts of all tasks into the dataset folder."""

    name = "join the parts"
    type = "whoseboat"

    def __init__(self, plan: Plan, out: Path, *, overwrite: bool = False) -> None:
        super().__init__()
        self.plan, self.out, self.overwrite = plan, out, overwrite

    def run(self, data: object = None, rank: int = 0, world_size: int = 1) -> Iterable[Document]:
        """Join them; no document comes or goes."""
        running.finish(self.plan, self.out, overwrite=self.overwrite)
        return ()


class PersonaInference(PipelineStep):  # type: ignore[misc]  # datatrove has no types
    """Adds personas to documents that are preference pairs, between a reader and a writer of one's own.

    A document's metadata has `prompt` (a text, or messages `{role, content}`), `chosen` and `rejected` (texts); it goes
    on with `chosen_persona`, `rejected_persona` and `persona_engine` beside them, and `pair_id`, the id that the pair
    has in a build. Documents without a persona on both sides are left out, and counted by their reason. Keys and
    tokens in the texts reach neither the engine nor the personas; the texts themselves stay as they are. A language
    model is asked with the settings given by every task, budget and requests at once included.

    Args:
        engine: what infers personas: a `LanguageModel`, or `contrast`, which uses none.
        prompt: the name of the prompt in the metadata.
        chosen: the name of the chosen response there.
        rejected: the name of the rejected one.

    """

    name = "persona inference"
    type = "whoseboat"

    def __init__(
        self,
        engine: str | LanguageModel = "contrast",
        *,
        prompt: str = "prompt",
        chosen: str = "chosen",
        rejected: str = "rejected",
    ) -> None:
        super().__init__()
        self.engine, self.prompt, self.chosen, self.rejected = engine, prompt, chosen, rejected

    def run(self, data: Iterable[Document] | None, rank: int = 0, world_size: int = 1) -> Iterator[Document]:
        """Yield the documents with their personas, in their order."""
        waiting: deque[Document] = deque()
        redactor = Redactor()

        def items() -> Iterator[Pair | Drop]:
            for number, document in enumerate(data or ()):
                waiting.append(document)
                pair = self._pair(document, number)
                yield redactor.pair(pair)[0] if isinstance(pair, Pair) else pair

        for found in engines.find(self.engine).infer(items()):
            document = waiting.popleft()
            if isinstance(found, Row):
                document.metadata |= _personas(redactor.row(found))
                self.stat_update("rows", unit="rows")
                yield document
            else:
                self.stat_update("dropped", f"dropped: {found.reason}", unit="rows")

    def _pair(self, document: Document, number: int) -> Pair | Drop:
        origin = Origin(str(document.id), number + 1)
        try:
            given = document.metadata[self.prompt]
            turns = [{"role": "user", "content": given}] if isinstance(given, str) else given
            prompt = tuple(Message(turn["role"], str(turn["content"])) for turn in turns)  # type: ignore[arg-type]  # Pair checks
            chosen, rejected = (_text(document.metadata[name]) for name in (self.chosen, self.rejected))
            return Pair(prompt, chosen, rejected, origin)
        except (KeyError, TypeError, ValueError) as error:
            return Drop(origin, "read", "malformed", f"{type(error).__name__}: {error}"[:200])


def _text(response: Any) -> str:  # noqa: ANN401 - a text, or a list of one message
    return response if isinstance(response, str) else str(response[-1]["content"])


def _personas(row: Row) -> dict[str, str]:
    return {
        "pair_id": row.pair.id,
        "chosen_persona": row.chosen_persona.text,
        "rejected_persona": row.rejected_persona.text,
        "persona_engine": row.chosen_persona.engine,
    }
