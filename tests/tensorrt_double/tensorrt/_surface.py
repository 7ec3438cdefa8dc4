"""Classes made from the oracle: names, arity, read-only properties and enums as pybind11 makes them."""

import re
import sys
from typing import Any, Callable, Dict, List, Optional, Set, Tuple

TYPES: Dict[str, Any] = {}
touched: Set[Tuple[str, str, str]] = set()


def touch(owner: str, name: str) -> None:
    """Note a use of `owner.name`, if a module of edgeseg asks for it."""
    if name.startswith("_"):
        return
    frame = sys._getframe(2)
    if frame.f_globals.get("__name__", "").startswith("edgeseg."):
        touched.add((frame.f_code.co_filename, owner, name))


class _NativeType(type):
    def __call__(cls, *args: Any, **kwargs: Any) -> Any:
        made = super().__call__(*args, **kwargs)
        if isinstance(made, Native) and not hasattr(made, "_behaviour"):
            raise TypeError("{}.__init__() must be called when overriding __init__".format(_full(_owner(cls))))
        return made

    def __getattribute__(cls, name: str) -> Any:
        touch(super().__getattribute__("__name__"), name)
        return super().__getattribute__(name)


class Native(metaclass=_NativeType):
    """An instance without a dictionary: as with pybind11, an attribute that is not there cannot be set either."""

    __slots__ = ("__weakref__", "_behaviour")

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        raise TypeError("{}: No constructor defined!".format(_full(type(self).__name__)))

    def __getattribute__(self, name: str) -> Any:
        touch(_owner(type(self)), name)
        return super().__getattribute__(name)


def _owner(kind: type) -> str:
    """The class of TensorRT that a class is or extends."""
    return next(base.__name__ for base in kind.__mro__ if base.__module__ in ("tensorrt.tensorrt", __name__))


class _EnumType(type):
    def __getattribute__(cls, name: str) -> Any:
        touch(super().__getattribute__("__name__"), name)
        return super().__getattribute__(name)


class Enum(metaclass=_EnumType):
    """As py::enum_: no arithmetic, equal to members of the same enum only, never to a number."""

    __slots__ = ("_number",)
    __members__: Dict[str, Any] = {}

    def __init__(self, value: int) -> None:
        self._number = value

    @property
    def name(self) -> str:
        """Of several names for a value that which is itself a member: the oracle does not say which came first."""
        names = [name for name, member in self.__members__.items() if member._number == self._number]
        own = [name for name in names if self.__members__[name] is self]
        return (own + names + ["???"])[0]

    @property
    def value(self) -> int:
        return self._number

    def __int__(self) -> int:
        return self._number

    __index__ = __int__

    def __eq__(self, other: Any) -> bool:
        return type(other) is type(self) and other._number == self._number

    def __hash__(self) -> int:
        return hash(self._number)

    def __str__(self) -> str:
        return "{}.{}".format(type(self).__name__, self.name)

    def __repr__(self) -> str:
        return "<{}: {}>".format(self, self._number)


class Ordered(Enum):
    """As py::enum_ with py::arithmetic: may also be compared with its own kind."""

    __slots__ = ()

    def __lt__(self, other: Any) -> Any:
        return self._number < other._number if type(other) is type(self) else NotImplemented

    def __le__(self, other: Any) -> Any:
        return self._number <= other._number if type(other) is type(self) else NotImplemented


def make_enum(name: str, values: Dict[str, int], base: type = Enum) -> Any:
    enum: Any = type(base)(name, (base,), {"__slots__": (), "__module__": "tensorrt.tensorrt"})
    enum.__members__ = {member: enum(value) for member, value in values.items()}
    for member, instance in enum.__members__.items():
        setattr(enum, member, instance)
    return enum


def native(name: str, behaviour: Any) -> Any:
    """An instance of class `name` that TensorRT itself makes."""
    made = TYPES[name].__new__(TYPES[name])
    made._behaviour = behaviour
    return made


def behaviour_of(value: Any, name: str) -> Any:
    """The behaviour behind a `name`; TypeError for anything else, as pybind11 has it."""
    expect(value, TYPES[name])
    return value._behaviour


class Incompatible(TypeError):
    """An argument of another type, or arguments that no overload takes."""


def expect(value: Any, kind: Any) -> Any:
    """`value`, if it is a `kind` (a type, or the name of one of TensorRT's)."""
    wanted = TYPES[kind] if isinstance(kind, str) else kind
    if not isinstance(value, wanted) or (wanted is int and isinstance(value, bool)):
        raise Incompatible("{!r} is not a {}".format(value, wanted.__name__))
    return value


def generate(oracle: Dict[str, Any], behaviours: Dict[str, Any]) -> Dict[str, Any]:
    """Every public name of the version. `behaviours` are classes by the name of the class that they stand behind."""
    for name, described in oracle.items():
        if "enum" in described:
            TYPES[name] = make_enum(name, described["enum"])
        elif "function" in described:
            TYPES[name] = _function(name)
    severities = ("INTERNAL_ERROR", "ERROR", "WARNING", "INFO", "VERBOSE")
    severity = make_enum("Severity", {name: number for number, name in enumerate(severities)}, Ordered)
    constants = dict(severity.__members__, Severity=severity)
    for name in sorted(oracle, key=lambda name: name == "Logger"):  # a Logger is an ILogger, so it comes last
        if "class" in oracle[name]:
            TYPES[name] = _class(name, oracle[name]["class"], behaviours.get(name, object), constants)
    return dict(TYPES)


def _class(name: str, members: Dict[str, Any], behaviour: Any, constants: Dict[str, Any]) -> type:
    space: Dict[str, Any] = {"__slots__": (), "__module__": "tensorrt.tensorrt"}
    for member, described in members.items():
        if described == "value":
            space[member] = constants.get(member)
        elif isinstance(described, str):
            space[member] = _property(name, member, described == "rw")
        elif member == "__init__":
            space[member] = _constructor(name, described, behaviour)
        else:
            space[member] = _method(name, member, described)
    space.update(getattr(behaviour, "SPACE", {}))
    bases: Tuple[Any, ...] = (getattr(behaviour, "BASE", TYPES["ILogger"] if name == "Logger" else Native),)
    return type(bases[0])(name, bases, space)


def _constructor(owner: str, overloads: List[List[str]], behaviour: Any) -> Callable[..., None]:
    def construct(self: Any, *args: Any, **kwargs: Any) -> None:
        if behaviour is object:
            raise NotImplementedError("the double has no behaviour for {}".format(owner))
        try:
            self._behaviour = behaviour(**_bind(overloads, args, kwargs))
        except Incompatible as error:
            raise _mismatch("__init__(): incompatible constructor", overloads, args, error)

    return construct


def _method(owner: str, name: str, overloads: List[List[str]]) -> Callable[..., Any]:
    def call(self: Any, *args: Any, **kwargs: Any) -> Any:
        behaviour = getattr(self._behaviour, name, None)
        if behaviour is None:
            raise NotImplementedError("the double has no behaviour for {}.{}".format(owner, name))
        try:
            return behaviour(**_bind(overloads, args, kwargs))
        except Incompatible as error:
            raise _mismatch("{}(): incompatible function".format(name), overloads, args, error)

    return call


def _mismatch(what: str, overloads: List[List[str]], args: Tuple[Any, ...], error: Incompatible) -> TypeError:
    """The error that pybind11 raises."""
    rows = ["    {}. ({})".format(i + 1, ", ".join(names)) for i, names in enumerate(overloads)]
    invoked = ", ".join(map(repr, args))
    text = "{} arguments. The following argument types are supported:\n{}\n\nInvoked with: {} ({})"
    return TypeError(text.format(what, "\n".join(rows), invoked, error))


def _property(owner: str, name: str, is_writable: bool) -> property:
    def read(self: Any) -> Any:
        try:
            return getattr(self._behaviour, name)
        except AttributeError:
            raise NotImplementedError("the double has no behaviour for {}.{}".format(owner, name))

    def write(self: Any, value: Any) -> None:
        touch(owner, name)
        if not hasattr(self._behaviour, name):
            raise NotImplementedError("the double has no behaviour for {}.{}".format(owner, name))
        try:
            setattr(self._behaviour, name, value)
        except Incompatible as error:
            raise _mismatch("{}: incompatible function".format(name), [], (value,), error)

    return property(read, write if is_writable else None)


def _function(name: str) -> Callable[..., Any]:
    def call(*args: Any, **kwargs: Any) -> Any:
        raise NotImplementedError("the double has no behaviour for tensorrt.{}".format(name))

    return call


def _bind(overloads: List[List[str]], args: Tuple[Any, ...], kwargs: Dict[str, Any]) -> Dict[str, Any]:
    """Arguments by parameter name, for the first overload that takes them."""
    for overload in overloads:
        bound = _fit(overload, args, kwargs)
        if bound is not None:
            return bound
    raise Incompatible("no overload takes {} and {}".format(len(args), sorted(kwargs)))


def _fit(overload: List[str], args: Tuple[Any, ...], kwargs: Dict[str, Any]) -> Optional[Dict[str, Any]]:
    names = [name.rstrip("=") for name in overload]
    nameable = [name for name in names[len(args) :] if not re.match(r"arg\d+$", name)]
    if len(args) > len(names) or not set(kwargs) <= set(nameable):
        return None
    bound = dict(zip(names, args), **kwargs)
    required = [name for name in overload if not name.endswith("=")]
    return bound if set(required) <= set(bound) else None


def _full(name: str) -> str:
    return "tensorrt.tensorrt." + name
