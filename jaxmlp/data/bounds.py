"""Preprocessing from bounds that are known without a look at the data."""

import json
import math
from collections import Counter
from pathlib import Path
from typing import Any

from jaxmlp.data.errors import DataError, one_line
from jaxmlp.data.files import read_json
from jaxmlp.data.preprocess import Preprocessor
from jaxmlp.data.rules import CategoricalRule, NumericRule, Rule, check_text


def read_bounds(path: str | Path) -> Preprocessor:
    """Makes the rules of all columns from a JSON file.

    The file holds an object: of a number the least and the greatest value that it can
    have, of a category the list of its values, such as
    `{"age": [17, 90], "job": ["clerk", "cook"]}`. A number is centred at the middle of
    its bounds, which become -1 and 1; one outside is bent to within ±3, and a missing one
    counts as the middle. A category gets a column for each value, and one for all others.
    Each has a column for missing. So nothing is learned from the table.

    Raises:
      DataError: The file cannot be read, or does not hold bounds; names the column.
    """
    path = Path(path)
    bounds = read_json(path, make_object=_without_twins)
    if not isinstance(bounds, dict) or not bounds:
        raise DataError(
            f"{path}: must hold bounds by column, such as "
            '{"age": [17, 90], "job": ["clerk", "cook"]}'
        )
    try:
        return Preprocessor(tuple(_rule(*named) for named in bounds.items()))
    except (ValueError, RecursionError) as error:
        raise DataError(f"{path}: {one_line(error)}") from error


def _rule(name: str, bounds: Any) -> Rule:
    check_text(name)
    if isinstance(bounds, list) and bounds:
        if all(isinstance(value, str) for value in bounds):
            levels = tuple(dict.fromkeys(map(check_text, bounds)))
            return CategoricalRule(name, levels, joins_rare=True, marks_missing=True)
        if len(bounds) == 2 and all(_is_finite(value) for value in bounds):
            low, high = map(float, bounds)
            middle, half = low / 2 + high / 2, high / 2 - low / 2
            if half > 0:
                return NumericRule(name, middle, middle, half, marks_missing=True)
    raise ValueError(
        f"column {name!r}: {json.dumps(bounds)} is neither a least and a greater number, "
        "such as [17, 90], nor a list of texts"
    )


def _without_twins(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    """As `dict`, which would keep the last of two bounds for a column in silence."""
    found = dict(pairs)
    if len(found) < len(pairs):
        (twin, _), *_ = Counter(name for name, _ in pairs).most_common(1)
        raise ValueError(f"column {twin!r} is given twice")
    return found


def _is_finite(value: Any) -> bool:
    is_number = isinstance(value, int | float) and not isinstance(value, bool)
    try:
        return is_number and math.isfinite(value)
    except OverflowError:  # a whole number of hundreds of digits
        return False
