"""What a codec found of how columns hang together, for people to read."""

from __future__ import annotations

from vae_core.codec.codec import Codec
from vae_core.codec.orders import in_words
from vae_core.codec.parts import Part
from vae_core.codec.relations import How


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
        found[names[relation.column]] = f"is {relation.formula(names)}{exact}"
    return [(name, found[name]) for name in names if name in found] + in_words(codec.orders, names)


def _columns(codec: Codec, parts: tuple[int, ...]) -> tuple[str, ...]:
    """The names of the parts' columns, in source order."""
    return tuple(codec.schema.columns[k].name for k in sorted(codec.parts[a].column for a in parts))
