"""The rules a new configuration has to keep, as pure functions over ModelServerConfig messages."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

from ..rpc_status import Code, StatusError
from .states import ManagerState

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Mapping

    from .states import ModelConfig, ModelServerConfig, ServableState

TENSORFLOW_PLATFORM = "tensorflow"
_TENSORFLOW_TYPE = 1
_ABSOLUTE = re.compile(r"/|[a-zA-Z][a-zA-Z0-9.]*://")

#: The version of each label, by model.
Labels = dict[str, dict[str, int]]


def validate_transition(current: ModelServerConfig, new: ModelServerConfig) -> None:
    """Refuse anything but a first configuration, a list after a list, or the same again.

    Raises:
        StatusError: FAILED_PRECONDITION.
    """
    kinds = (current.WhichOneof("config"), new.WhichOneof("config"))
    if kinds[0] is not None and kinds != ("model_config_list", "model_config_list") and current != new:
        text = (
            "Cannot transition to requested config. It is only legal to transition from one ModelConfigList to another."
        )
        raise StatusError(Code.FAILED_PRECONDITION, text)


def validate_list(configs: Iterable[ModelConfig]) -> None:
    """Refuse duplicate names and relative paths.

    Raises:
        StatusError: INVALID_ARGUMENT.
    """
    names: set[str] = set()
    configs = list(configs)
    for config in configs:
        if config.name in names:
            text = f"Illegal to list model {config.name} multiple times in config list"
            raise StatusError(Code.INVALID_ARGUMENT, text)
        names.add(config.name)
    for config in configs:
        if not _ABSOLUTE.match(config.base_path):
            text = f"Expected model {config.name} to have an absolute path or URI; got base_path()={config.base_path}"
            raise StatusError(Code.INVALID_ARGUMENT, text)


def platform_of(config: ModelConfig) -> str:
    """Return the platform of a model, from the old field or the new one.

    Raises:
        StatusError: INVALID_ARGUMENT, none, both or an unknown type is given.
    """
    if config.model_type:
        if config.model_platform:
            text = (
                "Illegal setting both ModelServerConfig::model_type (deprecated) and ModelServerConfig::model_platform."
            )
            raise StatusError(Code.INVALID_ARGUMENT, text)
        if config.model_type != _TENSORFLOW_TYPE:
            text = f"ModelServerConfig::model_type choice {config.model_type} not supported."
            raise StatusError(Code.INVALID_ARGUMENT, text)
        return TENSORFLOW_PLATFORM
    if not config.model_platform:
        text = (
            "Illegal setting neither ModelServerConfig::model_type (deprecated) nor ModelServerConfig::model_platform, "
            f"model name is {config.name}"
        )
        raise StatusError(Code.INVALID_ARGUMENT, text)
    return str(config.model_platform)


def validate_same_platforms(current: Iterable[ModelConfig], new: Iterable[ModelConfig]) -> None:
    """Refuse another platform for a model that is in both lists.

    The current list is read first and whole: a model without a platform in it makes every later list fail.

    Raises:
        StatusError: INVALID_ARGUMENT.
    """
    platforms = {config.name: platform_of(config) for config in current}
    for config in new:
        old = platforms.get(config.name)
        if old is None:
            continue
        wanted = platform_of(config)
        if wanted != old:
            text = (
                f"Illegal to change a model's platform. For model {config.name} platform was {old} and new platform "
                f"requested is {wanted}"
            )
            raise StatusError(Code.INVALID_ARGUMENT, text)


def validate_supported(configs: Iterable[ModelConfig]) -> None:
    """Refuse every platform but the built-in one.

    Raises:
        StatusError: INVALID_ARGUMENT.
    """
    for config in configs:
        platform = platform_of(config)
        if platform != TENSORFLOW_PLATFORM:
            text = f"Model {config.name} requests unsupported platform {platform}"
            raise StatusError(Code.INVALID_ARGUMENT, text)


def validate_logging(configs: Iterable[ModelConfig]) -> None:
    """Refuse request logging, which the server is built without.

    Raises:
        StatusError: INVALID_ARGUMENT.
    """
    if any(config.HasField("logging_config") for config in configs):
        raise StatusError(Code.INVALID_ARGUMENT, "No request-logger-creator provided.")


def resolve_labels(
    configs: Iterable[ModelConfig],
    current: Labels,
    versions: Callable[[str], Mapping[int, ServableState]],
    *,
    allow_unavailable: bool,
) -> Labels:
    """Return the labels of a list.

    Args:
        configs: The models of the list.
        current: The labels in force.
        versions: The states of a model's versions.
        allow_unavailable: Accept a label for a version that is not available, unless that would move the label.

    Raises:
        StatusError: FAILED_PRECONDITION, a label may not be assigned to its version now.
    """
    labels: Labels = {}
    for config in configs:
        states = versions(config.name)
        for label, version in config.version_labels.items():
            held = current.get(config.name, {}).get(label, version)
            state = states.get(version)
            available = state is not None and state.state is ManagerState.AVAILABLE
            if not available and not (allow_unavailable and held == version):
                text = (
                    f"Request to assign label to version {version} of model {config.name}, which is not currently "
                    "available for inference"
                )
                raise StatusError(Code.FAILED_PRECONDITION, text)
            labels.setdefault(config.name, {})[label] = version
    return labels
