"""What a store keeps when it is pruned."""

from __future__ import annotations

from itertools import count
from pathlib import Path
from tempfile import TemporaryDirectory

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from vae_core.errors import ArtifactError
from vae_core.store import KINDS, Artifact, Store, digest_of, prune, replaced, version_of

NIGHTS = st.lists(
    st.tuples(st.sampled_from(["orders", "flights"]), st.sampled_from(["passes", "refused", "private", "again"])),
    min_size=1,
    max_size=8,
)


def make(store: Store, kind: str, name: str, what: object, **fields: object) -> Artifact:
    digest = digest_of({"kind": kind, "name": name, "what": what})
    version = version_of(digest)
    with store.stage(kind, name, version, {"digest": digest, "rows": 1} | fields) as folder:
        (folder / "data").write_text(str(what))
    return store.open(kind, f"{name}@{version}")


def filled(store: Store, nights: list[tuple[str, str]]) -> list[list[Artifact]]:
    """A store after so many nights: a model that passes becomes the champion and gets a dataset, others don't."""
    made, number = [], count()
    for name, how in nights:
        old = [run for run in made if run[0].name == name]
        if how == "again" and old:  # the source is as it was: only a dataset is new
            snapshot, model = old[0][:2]
        else:
            snapshot = make(store, "snapshots", name, next(number))
            spent = {"privacy": {"epsilon": 1}} if how == "private" else {}
            model = make(store, "models", name, next(number), inputs={"snapshot": snapshot.digest}, **spent)
        run = [snapshot, model]
        if how in ("passes", "again"):
            store.set_alias(name, "champion", model.version)
            run.append(make(store, "datasets", name, next(number), inputs={"model": model.digest}))
        made.append(run)
    return made


def content(store: Store) -> set[str]:
    return {artifact.digest for kind in KINDS for artifact in store.list(kind)}


@settings(max_examples=12, deadline=None)
@given(nights=NIGHTS, keep=st.integers(1, 3))
def test_what_is_used_stays_and_what_was_replaced_goes(nights: list[tuple[str, str]], keep: int) -> None:
    with TemporaryDirectory() as folder:
        store = Store(folder)
        made = filled(store, nights)
        before = content(store)
        champions = {name: store.alias(name) for name, _ in nights}
        fewer = {artifact.digest for artifact in replaced(store, keep + 1)}
        gone = {artifact.digest for artifact in prune(store, keep)}
        assert content(store) == before - gone
        assert fewer <= gone
        assert prune(store, keep) == []
        for kind in KINDS:
            for name in {name for name, _ in nights}:
                there = [each for run in made for each in run if (each.kind, each.name) == (kind, name)]
                newest = list(dict.fromkeys(each.digest for each in there))[-keep:]
                assert not gone & set(newest)
        for name, aliases in champions.items():
            for version in aliases.values():  # it can still be measured again
                model = store.open("models", f"{name}@{version}")
                assert model.manifest["inputs"]["snapshot"] in content(store)
        left = [model for model in store.list("models") if "privacy" not in model.manifest]
        assert len(left) <= sum(keep + len(aliases) for aliases in champions.values())
        assert {model.digest for model in store.list("models")} >= {
            model.digest for run in made for model in run if "privacy" in model.manifest
        }


def test_only_the_name_that_was_given_and_not_what_is_spared(tmp_path: Path) -> None:
    store = Store(tmp_path)
    made = filled(store, [("orders", "passes")] * 3 + [("flights", "passes")] * 3)
    spared = made[0][2]
    assert {a.digest for a in prune(store, 1, "orders", [spared.digest])} == {
        each.digest for run in made[:2] for each in run if each is not spared
    }
    assert content(store) >= {each.digest for run in made[3:] for each in run}


def test_a_name_that_is_not_there_and_a_folder_of_somebody_else(tmp_path: Path) -> None:
    store = Store(tmp_path)
    filled(store, [("orders", "passes")] * 3)
    with pytest.raises(ArtifactError, match="did you mean 'orders'"):
        prune(store, 1, "order")
    (tmp_path / "datasets/orders/mine").mkdir()
    (tmp_path / "datasets/orders/mine/notes.txt").write_text("keep")
    prune(store, 1)
    assert (tmp_path / "datasets/orders/mine/notes.txt").read_text() == "keep"
    assert not list(tmp_path.rglob(".staging-*"))
