"""What the life cycle, the engines and the front ends of the model server agree on."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Protocol

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence


class Servable(Protocol):
    """One loaded version of a model. Methods may be called from many threads at once.

    Tensors cross this boundary as ``tensorflow.TensorProto`` messages, signatures as ``tensorflow.SignatureDef``.
    """

    @property
    def signatures(self) -> Mapping[str, Any]:
        """Return every SignatureDef of the meta graph by its key, ``__saved_model_init_op`` included."""

    def run(
        self, signature_key: str, inputs: Mapping[str, Any], outputs: Sequence[str], *, timeout_s: float | None = None
    ) -> dict[str, Any]:
        """Run one signature.

        Args:
            signature_key: A key of ``signatures``; its existence was checked by the caller.
            inputs: TensorProto by input alias; the aliases were checked by the caller.
            outputs: Output aliases to compute.
            timeout_s: Deadline of the run in seconds; none without.

        Returns:
            TensorProto by output alias, values in the typed fields (never ``tensor_content``) unless the server was
            told otherwise.

        Raises:
            StatusError: with the code and the message TensorFlow gave.
        """

    def run_many(
        self, feeds: Mapping[str, Any], fetches: Sequence[str], *, timeout_s: float | None = None
    ) -> dict[str, Any]:
        """Run graph tensors by their names (``tensor:0``) in one session run; for MultiInference.

        Raises:
            StatusError: as ``run``.
        """

    def close(self) -> None:
        """Free the model. Called once, when no request uses it any more."""


class LoadServable(Protocol):
    """Loads one version; called on a load thread, may take minutes."""

    def __call__(self, name: str, version: int, path: str) -> Servable:
        """Return the loaded and warmed-up version.

        Raises:
            StatusError: with the code and text of the failed load.
        """
