"""What every command takes: which cluster, which Temporal, how long to wait. Given before or after its other words."""

import functools
import inspect
import os
from collections.abc import Callable
from dataclasses import dataclass, fields
from typing import Annotated, Any, Final, get_type_hints

import typer

from runtime.settings import WorkerSettings, read_settings

WHERE: Final = "Where, and for how long"


def _option(help: str, *names: str, **more: Any) -> Any:
    return typer.Option(*names, help=help, rich_help_panel=WHERE, show_default=bool(more), **more)


@dataclass(frozen=True)
class Options:
    """The shared options of one call."""

    kubeconfig: Annotated[str, _option("File for the cluster, in place of KUBECONFIG.")] = ""
    context: Annotated[str, _option("Context of the kubeconfig.")] = ""
    namespace: Annotated[str, _option("Only BtpOperators of this namespace.", "--namespace", "-n")] = ""
    temporal_address: Annotated[str, _option("host:port, in place of TEMPORAL_ADDRESS.")] = ""
    temporal_namespace: Annotated[str, _option("In place of TEMPORAL_NAMESPACE.")] = ""
    timeout: Annotated[float, _option("Seconds that one question may take.", min=0.1, max=3600)] = 10.0

    def take_effect(self) -> None:
        """An option stands for the variable of the same meaning, so everything else reads the environment as ever."""
        for name, value in (
            ("KUBECONFIG", self.kubeconfig),
            ("TEMPORAL_ADDRESS", self.temporal_address),
            ("TEMPORAL_NAMESPACE", self.temporal_namespace),
        ):
            if value:
                os.environ[name] = value

    def settings(self) -> WorkerSettings:
        """Raises SettingsError: a variable has a value that is not accepted."""
        return read_settings(WorkerSettings)


def command(app: typer.Typer, name: str | None = None) -> Callable[[Callable[..., None]], Callable[..., None]]:
    """Make a function a command. Its first argument is the Options, the others are its own arguments and options."""

    def register(function: Callable[..., None]) -> Callable[..., None]:
        @functools.wraps(function)
        def called(**given: Any) -> None:
            options = Options(**{each.name: given.pop(each.name) for each in fields(Options)})
            options.take_effect()
            function(options, **given)

        own = list(inspect.signature(function, eval_str=True).parameters.values())[1:]
        hints = get_type_hints(Options, include_extras=True)
        shared = [
            inspect.Parameter(
                each.name, inspect.Parameter.KEYWORD_ONLY, default=each.default, annotation=hints[each.name]
            )
            for each in fields(Options)
        ]
        parameters = [each.replace(kind=inspect.Parameter.KEYWORD_ONLY) for each in own] + shared
        del called.__wrapped__  # else its signature would be read in place of this one
        called.__signature__ = inspect.Signature(parameters)  # type: ignore[attr-defined]
        called.__annotations__ = {each.name: each.annotation for each in parameters}
        app.command(name)(called)
        return called

    return register
