"""The offline engine: finds in what two responses differ most, and words that as two opposite personas; and its reader.

It is a heuristic. No language model is used, so its personas say how responses differ on interpretable axes, not what
people are like. Everything fixed ships with the package and carries `VERSION`: the axes with their words
(`lexicon.json`), the spreads that scale them (`scales.json`), the phrases (`wording.json`) and the weights of the
reader (`reader.json`).
"""

from whoseboat.contrast.axes import AXES, STRUCTURAL, measure
from whoseboat.contrast.reader import preference
from whoseboat.contrast.wording import ENGINE, VERSION, personas

__all__ = ["AXES", "ENGINE", "STRUCTURAL", "VERSION", "measure", "personas", "preference"]
