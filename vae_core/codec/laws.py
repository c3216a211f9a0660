"""What a codec found of how columns hang together, for people to read."""

from __future__ import annotations

from collections.abc import Sequence

from vae_core.codec.codec import Codec
from vae_core.codec.orders import in_words
from vae_core.codec.parts import Part
from vae_core.codec.relations import How, Relation


def dependencies(codec: Codec) -> list[tuple[tuple[str, ...], str]]:
    """(columns of its one or two determinants in source order, dependent column) of every part that is looked up.

    For example (("origin", "dest"), "distance").
    """
    names = [column.name for column in codec.schema.columns]
    return [
        (_columns(codec, part.determinants), names[part.column])
        for part in codec.parts
        if isinstance(part, Part) and part.determinants
    ]


def laws(codec: Codec) -> list[tuple[str, str]]:
    """Columns that are not learned by themselves, as others say them, or that keep an order; and what is said."""
    names = [column.name for column in codec.schema.columns]
    rests = {names[relation.column]: f"the rest of {names[relation.column]}" for relation in codec.relations}
    found = {
        name: f"follows from {' and '.join(dict.fromkeys(rests.get(each, each) for each in said))}"
        for said, name in dependencies(codec)
    }
    for part in codec.parts:
        if isinstance(part, Part) and part.nest is not None:
            found[names[part.column]] = f"is one that goes with {' and '.join(_columns(codec, part.nest.sources))}"
    for relation in codec.relations:
        exact = "" if relation.how is How.TIME else ", except where the source differs"
        found[names[relation.column]] = f"is {formula(relation, names)}{exact}"
    return [(name, found[name]) for name in names if name in found] + in_words(codec.orders, names)


def formula(relation: Relation, names: Sequence[str]) -> str:
    """What the others, of these names, say: "fare + tip - 2 × discount + 3", or "departure + a time"."""
    said = [relation.ladder.formula(names[k]) if relation.ladder else names[k] for k in relation.sources]
    if relation.how is How.TIME:
        return f"{said[0]} + a time"
    if relation.how is How.REPEAT:
        return said[0]
    if relation.bend is not None:
        return _bend_formula(said[0], relation.bend, relation.constant, *relation.coefficients)
    if relation.how is How.PRODUCT:
        factors = (
            f"(1 - {name})" if k in relation.shares else name for k, name in zip(relation.sources, said, strict=True)
        )
        return _term(relation.coefficients[0], " × ".join(factors))
    if relation.how is How.QUOTIENT:
        return _term(relation.coefficients[0], " / ".join(said))
    return _sum_formula([*zip(relation.coefficients, said, strict=True)], relation.constant)


def _columns(codec: Codec, parts: tuple[int, ...]) -> tuple[str, ...]:
    """The names of the parts' columns, in source order."""
    return tuple(codec.schema.columns[k].name for k in sorted(codec.parts[a].column for a in parts))


def _bend_formula(name: str, at: float, constant: float, below: float, above: float) -> str:
    """Of two lines that meet: "max(hours - 40, 0)", "min(amount, 500)", "|change|"."""
    off = _sum_formula([(1.0, name)], -at)
    if below == -above:
        return _sum_formula([(above, f"|{off}|")], constant)
    if above == 0 and below == 1 and constant == at:
        return f"min({name}, {at:g})"
    terms = [(below, f"min({off}, 0)"), (above, f"max({off}, 0)")]
    return _sum_formula([term for term in terms if term[0]], constant)


def _sum_formula(terms: list[tuple[float, str]], constant: float) -> str:
    terms = sorted(terms, key=lambda term: term[0] < 0) + ([(constant, "")] if constant else [])
    first, *more = (_term(factor, name) for factor, name in terms)
    return first + "".join(f" - {term[1:]}" if term.startswith("-") else f" + {term}" for term in more)


def _term(factor: float, name: str) -> str:
    """A factor and a name, as in -2 × tip, or the number alone."""
    if not name:
        return f"{factor:g}"
    return name if factor == 1 else f"-{name}" if factor == -1 else f"{factor:g} × {name}"
