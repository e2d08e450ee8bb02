"""A function of tensors as the list of operations that it calls, written out as straight-line code.

What runs beneath modules, autograd and autocast is recorded while the function is called once; the list is then
shortened and written out as a Python function of its own. `make_fx` records as well, but brings
PyTorch's whole compiler into memory, which takes seconds and more than a hundred megabytes.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, cast

import torch
from torch import Tensor
from torch._ops import OpOverload
from torch.utils._python_dispatch import TorchDispatchMode

Code = Callable[..., Sequence[Tensor]]

UNSTEADY = (torch.Tag.data_dependent_output, torch.Tag.dynamic_output_shape)
"""Operations whose answers say what is called next, or how large it is: other values would need another list."""
LIFTED = ("aten::lift_fresh", "aten::lift_fresh_copy")
"""By these alone numbers that the code itself holds become tensors."""
LITERALS = (bool, int, str, type(None))


class CannotRecordError(Exception):
    """The function is no list of operations that is the same for other values."""


@dataclass(frozen=True)
class Value:
    """A tensor in the list: an argument, a constant or an operation's answer."""

    number: int


@dataclass(frozen=True)
class Call:
    """One operation.

    Attributes:
        operation: as PyTorch's dispatcher knows it.
        arguments, keywords: of it, with a `Value` in the place of each tensor.
        results: the values it answers with; of several None where there is none.
        several: it answers with a tuple or list.
    """

    operation: OpOverload
    arguments: tuple[Any, ...]
    keywords: Mapping[str, Any]
    results: tuple[Value | None, ...]
    several: bool

    @property
    def reads(self) -> Iterator[Value]:
        """The values among its arguments."""
        return _values((self.arguments, tuple(self.keywords.values())))

    @property
    def writes(self) -> bool:
        """Does it change one of its arguments?"""
        return self.operation._schema.is_mutable

    @property
    def is_view(self) -> bool:
        """Is its answer the memory of its first argument?"""
        aliases = [argument.alias_info for argument in self.operation._schema.arguments if argument.alias_info]
        first = bool(self.arguments) and isinstance(self.arguments[0], Value)
        return first and bool(aliases) and not self.several and not self.writes


@dataclass
class Recording(TorchDispatchMode):
    """Notes every operation that is called while it is entered.

    Attributes:
        tensors: by number. They are kept, so that no other tensor gets the place of one that is gone.
        constants: the numbers of those that the function itself brought along.
        calls: in their order.
    """

    tensors: list[Tensor] = field(default_factory=list)
    constants: set[int] = field(default_factory=set)
    calls: list[Call] = field(default_factory=list)

    def __post_init__(self) -> None:
        super().__init__()  # type: ignore[no-untyped-call]
        self._numbers: dict[int, Value] = {}

    @classmethod
    def _should_skip_dynamo(cls) -> bool:
        """Else PyTorch would load its compiler at the first operation, only to tell it to leave this alone."""
        return False

    def value(self, tensor: Tensor) -> Value:
        """The number of a tensor that is known, or will be from now on."""
        if id(tensor) not in self._numbers:
            self._numbers[id(tensor)] = Value(len(self.tensors))
            self.tensors.append(tensor)
        return self._numbers[id(tensor)]

    def known(self, tensor: Tensor) -> Value:
        """The number of a tensor that an earlier operation gave or that was an argument.

        Raises:
            CannotRecordError: it comes from elsewhere, so that nobody knows what it would be another time.
        """
        if id(tensor) not in self._numbers:
            raise CannotRecordError(f"a tensor {tuple(tensor.shape)} from outside")
        return self._numbers[id(tensor)]

    def __torch_dispatch__(
        self, func: OpOverload, types: Any, args: tuple[Any, ...] = (), kwargs: Mapping[str, Any] | None = None
    ) -> Any:
        keywords = dict(kwargs or {})
        if any(tag in func.tags for tag in UNSTEADY):
            raise CannotRecordError(str(func))
        if func._schema.name in LIFTED and id(args[0]) not in self._numbers:
            self.constants.add(self.value(args[0]).number)
        arguments = _replaced(args, self.known)
        others = _replaced(keywords, self.known)
        answer = func(*args, **keywords)
        several = isinstance(answer, tuple | list)
        parts = tuple(answer) if several else (answer,)
        if not all(part is None or isinstance(part, Tensor) for part in parts):
            raise CannotRecordError(f"{func} answers with {type(answer).__name__}")
        results = tuple(None if part is None else self.value(part) for part in parts)
        self.calls.append(Call(func, arguments, others, results, several))
        return answer


def recorded(function: Code, arrays: Sequence[Tensor], most: int) -> tuple[Code, Sequence[Tensor]]:
    """`function` as straight-line code for arrays of these shapes, and its answer to these arrays.

    The code calls the same operations in the same order, without those whose answer is known already: repeated ones,
    and views that are where they began. Random numbers are drawn anew at each call.

    Args:
        function: answers with tensors; it may take gradients, but leaves none behind.
        most: calls.

    Raises:
        CannotRecordError: it looks at values to decide what to do, uses tensors from elsewhere, or calls too much.
    """
    recording = Recording()
    inputs = [recording.value(array) for array in arrays]
    with recording:
        answer = function(*arrays)
    if len(recording.calls) > most:
        raise CannotRecordError(f"{len(recording.calls)} calls")
    outputs = [recording.known(tensor) for tensor in answer]
    calls, stands = _shortened(recording, outputs)
    outputs = [stands.get(value, value) for value in outputs]
    return _written(recording, _needed(calls, outputs), inputs, outputs), answer


def _shortened(recording: Recording, outputs: Sequence[Value]) -> tuple[list[Call], dict[Value, Value]]:
    """Calls without those whose answer is there already, and which value stands for which."""
    tensors = recording.tensors
    written = {_memory(tensors[value.number]) for call in recording.calls if call.writes for value in call.reads}
    # What is answered must stay apart: whoever gets it may write to it.
    apart = written | {_memory(tensors[value.number]) for value in outputs}
    stands: dict[Value, Value] = {}
    origins: dict[Value, Value] = {}
    known: dict[Any, Call] = {}
    kept = []
    for before in recording.calls:
        call = Call(
            before.operation,
            _replaced(before.arguments, lambda value: stands.get(value, value), Value),
            _replaced(before.keywords, lambda value: stands.get(value, value), Value),
            before.results,
            before.several,
        )
        result = call.results[0]
        if call.is_view and result is not None:
            origins[result] = call.arguments[0]
            if (same := _same_place(result, origins, tensors)) is not None:
                stands[result] = same
                continue
        memories = {_memory(tensors[value.number]) for value in (*call.reads, *filter(None, call.results))}
        if not call.writes and torch.Tag.nondeterministic_seeded not in call.operation.tags and not memories & apart:
            key = (call.operation, repr(call.arguments), repr(call.keywords))
            if key in known:
                pairs = zip(call.results, known[key].results, strict=True)
                stands.update({one: other for one, other in pairs if one is not None and other is not None})
                continue
            known[key] = call
        kept.append(call)
    return kept, stands


def _same_place(view: Value, origins: Mapping[Value, Value], tensors: Sequence[Tensor]) -> Value | None:
    """What a view is a view of, if one is the same numbers in the same shape."""
    wanted, origin = _place(tensors[view.number]), origins.get(view)
    while origin is not None:
        if _place(tensors[origin.number]) == wanted:
            return origin
        origin = origins.get(origin)
    return None


def _place(tensor: Tensor) -> tuple[object, ...]:
    """Where a tensor's numbers lie, and how they are to be read."""
    return tensor.data_ptr(), tensor.shape, tensor.stride(), tensor.dtype, tensor.is_conj(), tensor.is_neg()


def _memory(tensor: Tensor) -> int:
    return int(tensor.untyped_storage()._cdata)


def _needed(calls: Sequence[Call], outputs: Sequence[Value]) -> list[Call]:
    """The calls whose answers are read by others, or that write."""
    wanted, found = set(outputs), []
    for call in reversed(calls):
        if call.writes or any(value in wanted for value in call.results):
            wanted.update(call.reads)
            found.append(call)
    return found[::-1]


def _written(recording: Recording, calls: Sequence[Call], inputs: Sequence[Value], outputs: Sequence[Value]) -> Code:
    """The calls as a Python function; values are forgotten as soon as nobody needs them any more."""
    names: dict[str, Any] = {f"v{number}": recording.tensors[number] for number in recording.constants}
    last = {value: line for line, call in enumerate(calls) for value in (*call.reads, *filter(None, call.results))}
    stay = {*inputs, *outputs, *map(Value, recording.constants)}
    used = {value for call in calls for value in call.reads} | set(outputs)
    lines = [f"def run({', '.join(_name(value) for value in inputs)}):"]
    for line, call in enumerate(calls):
        arguments = [_text(argument, names) for argument in call.arguments]
        keywords = [f"{name}={_text(argument, names)}" for name, argument in call.keywords.items()]
        function = _quickest(call.operation, arguments, names)
        results = [_name(value) if value in used else "_" for value in call.results]
        answer = f"({', '.join(results)},)" if call.several else results[0]
        lines.append(f"    {answer} = {function}({', '.join((*arguments, *keywords))})")
        gone = [_name(value) for value, at in last.items() if at == line and value in used and value not in stay]
        if gone:
            lines.append(f"    del {', '.join(gone)}")
    lines.append(f"    return ({''.join(f'{_name(value)}, ' for value in outputs)})")
    exec(compile("\n".join(lines), "<recorded>", "exec"), names)
    return cast(Code, names["run"])


def _quickest(operation: OpOverload, arguments: list[str], names: dict[str, Any]) -> str:
    """The expression that calls an operation; a method's own tensor is taken out of the arguments.

    PyTorch's own functions and methods take the same arguments as the dispatcher, and read them in half the time.
    """
    name = operation._schema.name.removeprefix("aten::")
    if type(vars(torch).get(name)) is type(torch.add):
        names[f"torch_{name}"] = vars(torch)[name]
        return f"torch_{name}"
    if arguments and type(vars(torch._C.TensorBase).get(name)) is type(torch._C.TensorBase.view):
        return f"{arguments.pop(0)}.{name}"
    names[f"op_{len(names)}"] = operation
    return next(reversed(names))


def _text(argument: Any, names: dict[str, Any]) -> str:
    """An argument as an expression; what has none of its own gets a name."""
    if isinstance(argument, Value):
        return _name(argument)
    if isinstance(argument, list | tuple):
        inner = "".join(f"{_text(item, names)}, " for item in argument)
        return f"[{inner}]" if isinstance(argument, list) else f"({inner})"
    if isinstance(argument, LITERALS):
        return repr(argument)
    names[f"given_{len(names)}"] = argument
    return next(reversed(names))


def _name(value: Value | None) -> str:
    return "_" if value is None else f"v{value.number}"


def _values(tree: Any) -> Iterator[Value]:
    if isinstance(tree, Value):
        yield tree
    elif isinstance(tree, list | tuple):
        for item in tree:
            yield from _values(item)


def _replaced(tree: Any, change: Callable[[Any], Value], kind: type = Tensor) -> Any:
    """A tree of tuples, lists and dictionaries with other leaves in the place of those of this kind."""
    if isinstance(tree, kind):
        return change(tree)
    if isinstance(tree, dict):
        return {name: _replaced(item, change, kind) for name, item in tree.items()}
    if isinstance(tree, list | tuple):
        return type(tree)(_replaced(item, change, kind) for item in tree)
    return tree
