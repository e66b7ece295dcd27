"""The members that this machine gives to the consumer groups: one for each repository of each worker.

Each has a name of its own where membership is static, and a health file of its own:
``<consumer.health_file>.<repository>.<worker>``. Workers are numbered from 1.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

from stocktake.settings import Settings, SettingsError


def member_settings(settings: Settings, repository: str, worker: int) -> Settings:
    """The settings of one member: with its own ``kafka.instance_id`` and ``consumer.health_file``, if they are set."""
    instance_id, health_file = settings.kafka.instance_id, settings.consumer.health_file
    return replace(
        settings,
        # Each repository has a group of its own, so the worker's number is enough.
        kafka=replace(settings.kafka, instance_id=f"{instance_id}-{worker}" if instance_id else ""),
        consumer=replace(
            settings.consumer, health_file=health_file and member_health_file(health_file, repository, worker)
        ),
    )


def member_health_file(path: Path, repository: str, worker: int) -> Path:
    """The health file of one member."""
    return path.with_name(f"{path.name}.{repository}.{worker}")


def health_files(path: Path, repository: str) -> list[tuple[int, Path]]:
    """The workers of a repository that were announced, in their order, and their health files."""
    prefix = f"{path.name}.{repository}."
    numbers = [one.name.removeprefix(prefix) for one in path.parent.glob("*") if one.name.startswith(prefix)]
    workers = sorted(int(number) for number in numbers if number.isdecimal())
    return [(worker, member_health_file(path, repository, worker)) for worker in workers]


def announce(settings: Settings, repositories: Sequence[str], workers: int) -> None:
    """Say whom to expect: an empty health file for each member, and none of what ran before.

    Raises:
        SettingsError: the folder of ``consumer.health_file`` cannot be written.
    """
    path = settings.consumer.health_file
    if path is None:
        return
    try:
        for repository in repositories:
            for _, file in health_files(path, repository):
                file.unlink(missing_ok=True)
            for worker in range(1, workers + 1):
                member_health_file(path, repository, worker).touch()
    except OSError as error:
        raise SettingsError(f"consumer.health_file: {path} cannot be written: {error.strerror}") from None
