"""Environments by name: registered with Gymnasium, or made by a function of one's own."""

from __future__ import annotations

import copy
import difflib
import importlib
import inspect
import json
import sys
from collections.abc import Callable, Mapping
from pathlib import Path
from types import ModuleType
from typing import Any
from urllib.parse import parse_qsl

from lamina.data.schema import Json
from lamina.errors import InputError, MissingDependencyError, nearest

Make = Callable[[str | None], Any]
"""Opens a fresh copy of an environment, with a render mode or None."""

INTERFACE = ("reset", "step", "observation_space", "action_space")


def maker(name: str, base: Path | None) -> Make:
    """How copies of the environment `name` are opened; see `lamina.environments.spaces.open_world`.

    Raises:
        InputError: there is no such environment, module or function. What is returned raises it where the environment
            cannot be made.
        MissingDependencyError: it needs Gymnasium.
    """
    return _registered(name, base) if name.startswith("gym:") else _made_by(name, base)


def close(environment: Any) -> None:
    """Give back what an environment holds, if it knows how to."""
    if callable(found := getattr(environment, "close", None)):
        found()


def _registered(name: str, base: Path | None) -> Make:
    """Opens "gym:ID?option=value"."""
    try:
        import gymnasium
    except ImportError:
        raise MissingDependencyError("gymnasium", f"The environment {name!r}", "control") from None
    identity, _, query = name.removeprefix("gym:").partition("?")
    module, colon, short = identity.partition(":")
    if colon:
        # Importing a package is how it registers its environments.
        _module(module, base, name)
        identity = short
    options = _options(query, name)
    try:
        spec = copy.copy(gymnasium.spec(identity))
    except (gymnasium.error.Error, ValueError, KeyError):
        known = sorted(gymnasium.registry, key=lambda other: (_distance(identity, other), other))[:10]
        raise InputError(
            f"There is no environment {identity!r}.",
            where=name,
            fix=f"{nearest(identity, known)}, ... If a package brings it, name that first: gym:PACKAGE:{identity}",
        ) from None
    # Both only watch for mistakes in the order of calls, at every step.
    spec.order_enforce, spec.disable_env_checker = False, True

    def make(mode: str | None) -> Any:
        given = {**options, "render_mode": mode} if mode else options
        return _made(name, lambda: gymnasium.make(spec, **given), spec, options)

    return make


def _distance(name: str, other: str) -> float:
    return -difflib.SequenceMatcher(None, name.casefold(), other.casefold()).ratio()


def _options(query: str, name: str) -> dict[str, Json]:
    """Keyword arguments of "a=1&b=false": JSON where it is, also as Python writes it, else text."""
    options: dict[str, Json] = {}
    for key, text in parse_qsl(query, keep_blank_values=True):
        if key == "render_mode":
            raise InputError(
                "The render mode is no option.", where=name, fix="Leave it out: films are made by themselves."
            )
        written = {"True": "true", "False": "false", "None": "null"}.get(text, text)
        try:
            options[key] = json.loads(written)
        except ValueError:
            options[key] = text
    return options


def _made_by(name: str, base: Path | None) -> Make:
    """Opens "module:factory"."""
    path, _, called = name.partition(":")
    module = _module(path, base, name)
    factory = getattr(module, called, None)
    if not callable(factory):
        known = [key for key, value in vars(module).items() if callable(value) and not key.startswith("_")]
        raise InputError(f"The module {path!r} has no factory {called!r}.", where=name, fix=nearest(called, known))
    takes_mode = _takes_render_mode(factory)

    def make(mode: str | None) -> Any:
        environment = _made(name, (lambda: factory(render_mode=mode)) if mode and takes_mode else factory)
        missing = [part for part in INTERFACE if not hasattr(environment, part)]
        if missing:
            raise InputError(
                f"What {called}() gives is no environment: {type(environment).__name__} has no {', '.join(missing)}.",
                where=name,
                fix="Give an object with the interface of gymnasium.Env.",
            )
        return _limited(environment)

    return make


def _takes_render_mode(factory: Callable[..., Any]) -> bool:
    try:
        parameters = inspect.signature(factory).parameters.values()
    except (ValueError, TypeError):
        return False
    return any(item.name == "render_mode" or item.kind is item.VAR_KEYWORD for item in parameters)


def _limited(environment: Any) -> Any:
    """With the time limit that its specification asks for, unless it has one already."""
    limit = getattr(getattr(environment, "spec", None), "max_episode_steps", None)
    # Who has a specification has imported Gymnasium; nothing is imported for the others.
    if not limit or "gymnasium" not in sys.modules:
        return environment
    from gymnasium import Env
    from gymnasium.wrappers import TimeLimit

    inner = environment
    while inner is not None and not isinstance(inner, TimeLimit):
        inner = getattr(inner, "env", None)
    return environment if inner is not None or not isinstance(environment, Env) else TimeLimit(environment, limit)


def _made(name: str, call: Callable[[], Any], spec: Any = None, options: Mapping[str, Json] | None = None) -> Any:
    """What `call` gives; whatever it raises, as an error that names the environment."""
    try:
        return call()
    except InputError:
        raise
    except Exception as error:
        fix = "Correct the function that makes the environment."
        if spec is not None:
            fix = "Install what it asks for, or correct its options."
            unknown = [(option, known) for option in options or () if option not in (known := _known_options(spec))]
            if unknown:
                fix = f"It has no option {unknown[0][0]!r}: {nearest(*unknown[0])}"
        reason = f"{type(error).__name__}: {str(error).rstrip('.')}"
        raise InputError(f"The environment cannot be made ({reason}).", where=name, fix=fix) from error


def _known_options(spec: Any) -> list[str]:
    from gymnasium.envs.registration import load_env_creator

    try:
        maker: Any = spec.entry_point if callable(spec.entry_point) else load_env_creator(spec.entry_point)
        found = [*inspect.signature(maker).parameters, "max_episode_steps"]
    except (ImportError, ValueError, TypeError, AttributeError):
        return []
    return [option for option in found if option not in ("self", "render_mode", "args", "kwargs")]


def _module(path: str, base: Path | None, name: str) -> ModuleType:
    """Import a module, also from the folder `base`, which stays importable: environments may import later on."""
    folder = str((base or Path.cwd()).resolve())
    if folder not in sys.path:
        sys.path.insert(0, folder)
    importlib.invalidate_caches()
    try:
        return importlib.import_module(path)
    except ModuleNotFoundError as error:
        if error.name and (path == error.name or path.startswith(f"{error.name}.")):
            known = sorted(file.stem for file in Path(folder).glob("*.py"))
            raise InputError(
                f"There is no module {path!r}, neither in {folder} nor installed.",
                where=name,
                fix=f"Go to the folder that holds {path.partition('.')[0]}.py, or install it. {nearest(path, known)}",
            ) from None
        raise InputError(
            f"The module {path!r} needs {error.name!r}, which is not installed.", where=name, fix="Install it."
        ) from error
    except Exception as error:
        raise InputError(
            f"The module {path!r} cannot be imported ({type(error).__name__}: {error}).",
            where=name,
            fix=f"Correct it until `python -c 'import {path}'` works.",
        ) from error
