"""Step 1: which columns say who had what and when, and what is known of items and users."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from lamina import registry
from lamina.data.column_roles import split_reason
from lamina.data.schema import Field, Json, Role, Values
from lamina.data.tables import Table
from lamina.errors import InputError
from lamina.modalities._canonical import canonical
from lamina.modalities._moments import is_time
from lamina.narrate import Narrator
from lamina.networks.recommenders._recommender import HISTORY
from lamina.plan import Plan, TaskPlan
from lamina.steps.recommend import described
from lamina.steps.recommend.described import Described
from lamina.steps.request import Request
from lamina.steps.understand import check_columns, check_roles, open_data, overrides, place_of
from lamina.tasks.recommend import COLUMNS, LISTS, UNLABELLED, check_options

SAMPLE = 50_000
"""Rows that columns are recognised from."""
CONSTANT = 0.98
"""Share of items (or users) within which a column must not vary to be their feature."""
FEWEST_GROUPS = 5
"""Items that occur at least twice in the sample: fewer do not show whether a column is constant within them."""
DEFAULTS: Mapping[str, Json] = {"liked": 0.0, "history": 50, "repeat": False, "k": 10}
FEATURES = ("number", "category", "set", "time", "text")
"""Modalities that items and users are described by."""

_ENDING = r"(?P<id>[_\-. ]?(?:id|key|code|no|nr|number|uri|hash|asin))?(?P<name>[_\-. ]?(?:name|title))?"
_NAMES = {
    "user": r"(?:user|customer|client|member|visitor|reviewer|account|person|people|buyer|shopper|subscriber|household|"
    r"patient|student|player|listener|reader|session|cust|u)",
    "item": r"(?:item|product|article|movie|film|song|track|artist|book|isbn|sku|asin|game|app|video|show|anime|"
    r"business|restaurant|recipe|course|news|story|page|url|content|offer|good|material|"
    r"stock[_ ]?code|parent[_ ]?asin|thing|i)",
}
_TIME = re.compile(
    r"time(?:s?(?-i:(?![a-z]))|[_\-. ]?stamp)|date|(?:^|[_\-. ])(?:day|ts|when|at|created|month|year)(?:$|[_\-. ])",
    re.IGNORECASE,
)
_DURATION = re.compile(
    r"(?:play|run|watch|listen|dwell|wait|life|screen|cook|prep|total)[_\-. ]?time|"
    r"time[_\-. ]?(?:spent|played|watched)",
    re.IGNORECASE,
)
_RATING = re.compile(r"^(?:rating|ratings|stars?|score|overall|grade|vote|preference|[a-z]+[_ ]rating)$", re.IGNORECASE)


@dataclass(frozen=True)
class Understood:
    """The table, what is known of items beside it, and a plan whose task says what each column is for."""

    table: Table
    plan: Plan
    described: Described | None = None


def understand(request: Request, narrator: Narrator) -> Understood:
    """Read the data and recognise its columns.

    Raises:
        InputError: an option is wrong or names no column, or there is no column of users or items.
    """
    narrator.step("Understand")
    _check(request)
    task = {UNLABELLED: TaskPlan("recommend")}
    plan = Plan(name=request.name, seed=request.seed or 0, budget=request.budget, task=task)
    plan = plan.with_set(item for item in request.sets if item.split(".")[0] in ("data", "task", "seed"))
    check_options(plan.task[UNLABELLED].options)
    table, _ = open_data(request.data, None)
    narrator.say(f"{table.name}: {len(table):,} rows, {len(table.columns)} columns")
    settings = overrides(request)
    beside = described.opened(plan.task[UNLABELLED].options, request.base)
    check_columns(settings, (*table.columns, *(beside.columns if beside else ())), "--set schema")
    check_roles(
        settings, ("ignore", "split"), "recommend",
        f"Columns are named by task.{', task.'.join((*COLUMNS, *LISTS))}. Any can be set aside: "
        "schema.COLUMN.role=ignore.",
    )  # fmt: skip
    ignored = {name for name, changes in settings.items() if changes.get("role") == "ignore"}
    fields, options = recognise(table, plan.task[UNLABELLED].options, request.split, ignored, beside)
    items = None if beside is None else described.by_id(beside, options["item"])
    if items is not None:
        _tell_items(items, table, options, narrator)
    by_column = bool(request.split)
    data = replace(
        plan.data, train=place_of(request.data), fingerprint=table.fingerprint,
        split="column" if by_column else "time", column=request.split or options["time"],
    )  # fmt: skip
    plan = replace(
        plan, data=data, schema=fields, task={UNLABELLED: TaskPlan("recommend", options)},
        reasons={f"task.{UNLABELLED}": "recommend: you asked for it"},
    )  # fmt: skip
    for field in fields:
        role = {"group": "  [user]", "target": "  [item]", "time": "  [time]"}.get(field.role, "")
        narrator.say(f"{field.name}: {'left out' if field.role == 'ignore' else field.modality}{role} - {field.reason}")
    return Understood(table, plan, items)


def _tell_items(items: Described, table: Table, options: Mapping[str, Json], narrator: Narrator) -> None:
    """What there is in the table of items, and what of it is not used."""
    left_out = f" (rows left out, without an id or with one that came before: {items.left_out:,})"
    narrator.say(f"{items.table.name}: {len(items.places):,} items{left_out if items.left_out else ''}")
    both = set(items.table.columns) & set(table.columns) - {options["item"], *options["about_items"]}
    for name in sorted(both):
        narrator.say(f"{name} of {items.table.name}: left out - the interactions have a column of this name")


def _check(request: Request) -> None:
    """Find wishes that make no sense for interactions."""
    fixes = {
        "--target": (request.targets, "Leave it out; name the column of items with --set task.item=COLUMN."),
        "--test": (request.test is not None, "Put all rows into one table: the latest ones are the test part."),
        "--also": (bool(request.also), "Put all rows into one table: who has what is learned from the earlier ones."),
        "--weights": (request.weights, "Leave it out: recommenders start from scratch."),
    }
    for option, (given, fix) in fixes.items():
        if given:
            raise InputError(f"The task 'recommend' takes no {option}.", where=option, fix=fix)


def recognise(
    table: Table,
    given: Mapping[str, Json],
    split: str = "",
    ignored: set[str] | frozenset[str] = frozenset(),
    beside: Table | None = None,
) -> tuple[tuple[Field, ...], dict[str, Json]]:
    """(Every column with its role and reason, the task's options with all columns named).

    Args:
        given: options of the user's; what they name is not looked for.
        split: the column that says which part a row belongs to.
        ignored: columns that are for nothing.
        beside: a table of items; where both have a column that describes items, its own counts.

    Raises:
        InputError: a named column is not there, or no column of users or items is found.
    """
    for name in COLUMNS:
        check_columns([given[name]] if given.get(name) else [], table.columns, f"task.options.{name}")
    more = () if beside is None else beside.columns
    check_columns(given.get("about_items", ()), (*table.columns, *more), "task.options.about_items")
    check_columns(given.get("about_users", ()), table.columns, "task.options.about_users")
    check_columns([split] if split else [], table.columns, "--split")
    ignored = ignored - _named(given, split)
    values = {name: column for name, column in table.take(_sampled(table)).items() if name not in ignored}
    texts = {name: canonical(column) for name, column in values.items()}
    options: dict[str, Json] = {**DEFAULTS, **given}
    free = [name for name in texts if name not in _named(options, split)]
    for what in ("user", "item"):
        if not options.get(what):
            options[what] = _by_name(what, free, texts)
            free.remove(options[what])
    free = [name for name in free if name != split and not split_reason(name, values[name])]
    if not options.get("time"):
        options["time"] = _time(free, values, texts[options["user"]], texts[options["item"]])
    if not options.get("rating"):
        options["rating"] = next((name for name in free if _RATING.search(name)), "")
    if options["liked"] and not options["rating"]:
        raise InputError(
            "There is no column of ratings, of which 'liked' would be the lowest that counts.",
            where="task.options.liked",
            fix=f"Name it with --set task.rating=COLUMN. There are: {', '.join(table.columns)}",
        )
    free = [name for name in free if name not in (options["time"], options["rating"])]
    for key, group in (("about_items", "item"), ("about_users", "user")):
        if key not in given:
            other = options["about_items"] if key == "about_users" else given.get("about_users", ())
            options[key] = [
                name for name in free
                if name not in other and name != HISTORY and _describes(texts[options[group]], texts[name])
            ]  # fmt: skip
    if beside is not None:
        own = {name: column for name, column in beside.take(_sampled(beside)).items() if name not in ignored}
        if "about_items" not in given:
            own = {name: own[name] for name in own if name in options["about_items"] or name not in table.columns}
            options["about_items"] = list(dict.fromkeys([*options["about_items"], *own]))
        values |= own
    columns = dict.fromkeys((*table.columns, *more))
    return tuple(_field(name, values.get(name), options) for name in columns), options


def _sampled(table: Table) -> np.ndarray[Any, Any]:
    """Row numbers, as many as columns are recognised from."""
    return np.unique(np.linspace(0, len(table) - 1, min(len(table), SAMPLE)).astype(np.int64))


def _named(options: Mapping[str, Json], split: str) -> set[str]:
    lists = [name for key in LISTS for name in options.get(key, ())]
    return {split, *lists, *(str(options[key]) for key in COLUMNS if options.get(key))}


def _by_name(what: str, columns: Sequence[str], texts: Mapping[str, Values]) -> str:
    """The column of users or items: by its name, an id before a name, and of values that come again."""
    ranked = []
    for place, name in enumerate(columns):
        found = re.fullmatch(_NAMES[what] + _ENDING, name, re.IGNORECASE)
        if found and _comes_again(texts[name]):
            ranked.append((bool(found["name"]), not found["id"], place, name))
    if ranked:
        return min(ranked)[-1]
    raise InputError(
        f"No column looks like {what}s: none is called so and has values that come again.",
        where=f"task.options.{what}",
        fix=f"Name it with --set task.{what}=COLUMN. There are: {', '.join(columns) or 'none'}",
    )


def _time(columns: Sequence[str], values: Mapping[str, Values], users: Values, items: Values) -> str:
    """The column that says when, or "": by its name and values.

    What is constant for each item, such as the day it came out, is never when somebody had it. What is constant for
    each user may be a birthday, or the moment of a session with all its items: it is taken where there is no other.
    """
    found = [
        name for name in columns
        if _TIME.search(name) and not _DURATION.search(name) and is_time(values[name])
        and not _describes(items, canonical(values[name]))
    ]  # fmt: skip
    return min(found, key=lambda name: _describes(users, canonical(values[name])), default="")


def _comes_again(texts: Values) -> bool:
    present = [text for text in texts if text is not None]
    return bool(present) and len(set(present)) < len(present)


def _describes(keys: Values, texts: Values) -> bool:
    """Is a column constant within each key, and not within all of them together?"""
    pairs = [(key, text) for key, text in zip(keys, texts, strict=True) if key is not None and text is not None]
    if len(pairs) < 0.1 * len(keys) or len({text for _, text in pairs}) < 2:
        return False
    found: dict[str, set[str]] = {}
    counts: dict[str, int] = {}
    for key, text in pairs:
        found.setdefault(key, set()).add(text)
        counts[key] = counts.get(key, 0) + 1
    several = [key for key, count in counts.items() if count > 1]
    constant = sum(len(found[key]) == 1 for key in several)
    return len(several) >= FEWEST_GROUPS and constant >= CONSTANT * len(several)


def _field(name: str, values: Values | None, options: Mapping[str, Json]) -> Field:
    roles: dict[str, tuple[str, Role, str]] = {
        options["user"]: ("category", "group", "who"),
        options["item"]: ("category", "target", "had what"),
        options["time"]: ("time", "time", "when"),
        options["rating"]: (
            "number", "label",
            f"interactions below {options['liked']:g} are left out" if options["liked"] else
            "ratings are not learned from: every row is an interaction (--set task.liked=4 keeps those from 4 on)",
        ),
    }  # fmt: skip
    if name in roles:
        modality, role, reason = roles[name]
        return Field(name, modality, role, reason=reason)
    for key, what in (("about_items", "item"), ("about_users", "user")):
        if name in options[key] and values is not None:
            return Field(name, modality_of(values, name), reason=f"describes the {what}: constant for each")
    return Field(name, "text", "ignore", reason="says nothing that is constant for an item or a user")


def modality_of(values: Values, name: str) -> str:
    """The modality of a feature of items or users that is surest of its values."""
    sure: dict[str, float] = {}
    for modality in FEATURES:
        found: Any = registry.module("modalities", modality).recognise(values, name)
        if found is not None:
            sure[modality] = found.confidence
    return max(sure, key=lambda modality: sure[modality]) if sure else "category"
