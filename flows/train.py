"""Flow `train`: a snapshot becomes a model."""

from __future__ import annotations

from prefect import flow, task

from flows.reporting import StageResult, stage
from flows.retries import ONCE
from vae_core.config import TrainingConfig
from vae_core.store import Store


# No retries: training is repeatable, what fails once fails again.
@task(name="train", **ONCE)
def train_task(snapshot: str, config: TrainingConfig, store: str, name: str | None = None) -> StageResult:
    """Learn a model from the snapshot, unless it stands. `name`: of the model, the snapshot's when not given."""
    from vae_core.training import train as run

    home = Store(store)
    source = home.open("snapshots", snapshot)
    with stage("train", "steps") as report:
        return report.done(run(source, config, home, name or source.name, report.progress))


@flow(name="train", flow_run_name="{snapshot}", persist_result=False)
def train(
    snapshot: str, config: TrainingConfig = TrainingConfig(), name: str | None = None, store: str = "artifacts"
) -> StageResult:
    """Learn a model from a snapshot.

    Args:
        snapshot: a name, name@version or path.
        config: the codec, the VAE and their training.
        name: of the model; the snapshot's when not given.
        store: the artifact store's folder.
    """
    return train_task(snapshot, config, store, name)
