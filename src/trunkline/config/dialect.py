"""The YAML that trunkline reads and writes: YAML 1.2's plain values, every key a text, no key twice.

PyYAML follows YAML 1.1, where `no` is false, `12:30` is 750, `007` is 7 and `1e-3` is text. In a config these are names
of columns and classes, and a learning rate. No tag makes anything but plain values, and no alias, nor a nest of lists,
makes a small file a large one in memory.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Hashable
from typing import Any

import yaml

from trunkline.errors import ConfigError

_FLOAT = re.compile(r"[-+]?(?:\d+\.\d*|\.\d+|\d+(?=[eE]))(?:[eE][-+]?\d+)?|[-+]?\.(?:inf|Inf|INF)|\.(?:nan|NaN|NAN)")
_PLAIN = {
    "null": (r"~|null|Null|NULL|", ["~", "n", "N", ""]),
    "bool": (r"true|True|TRUE|false|False|FALSE", list("tTfF")),
    "int": (r"[-+]?(?:0|[1-9]\d*)", list("-+0123456789")),
    "float": (_FLOAT.pattern, list("-+.0123456789")),
    "merge": (r"<<", ["<"]),
}
DEEPEST = 64  # levels of a config
REPEATED = 100_000  # values that aliases stand for, all together
TAG = "tag:yaml.org,2002:"


def _fault(problem: str, at: Any) -> yaml.MarkedYAMLError:
    """With the place of a node or an event."""
    return yaml.MarkedYAMLError(problem=problem, problem_mark=at.start_mark)


class _Loader(yaml.SafeLoader):
    """Reads the dialect."""

    def __init__(self, text: str) -> None:
        super().__init__(text)
        self.depth = self.values = self.repeated = 0
        self.sizes: dict[int, int] = {}  # of nodes that are whole, with all that their aliases stand for

    def compose_node(self, parent: yaml.Node | None, index: int) -> yaml.Node | None:
        event, before = self.peek_event(), self.values
        self.depth += 1
        if self.depth > DEEPEST:
            raise _fault(f"nested more than {DEEPEST} levels deep", event)
        node = super().compose_node(parent, index)
        self.depth -= 1
        if isinstance(event, yaml.AliasEvent):
            self._count_again(node, event)
        else:
            self.values += 1
            self.sizes[id(node)] = self.values - before
        return node

    def _count_again(self, node: yaml.Node | None, alias: yaml.AliasEvent) -> None:
        size = self.sizes.get(id(node))
        if size is None:
            problem = f"the alias *{alias.anchor} stands inside of what it names"
            raise _fault(problem, alias)
        self.values += size
        self.repeated += size
        if self.repeated > REPEATED:
            problem = f"aliases stand for more than {REPEATED} values"
            raise _fault(problem, alias)

    def construct_scalar(self, node: yaml.ScalarNode | yaml.MappingNode) -> Any:
        value = super().construct_scalar(node)
        if any("\ud800" <= letter <= "\udfff" for letter in value):
            raise _fault("half of a surrogate pair is no letter", node)
        return value

    def construct_mapping(self, node: yaml.MappingNode, deep: bool = False) -> dict[Hashable, Any]:
        self.flatten_mapping(node)
        own: dict[Hashable, Any] = {}
        for key, value in node.value:
            if not isinstance(key, yaml.ScalarNode):
                raise _fault("a key must be plain text", key)
            if key.value in own:
                raise _fault(f"{key.value!r} is given twice", key)
            own[self.construct_scalar(key)] = self.construct_object(value, deep=deep)
        return own


class _Dumper(yaml.SafeDumper):
    """Writes what the dialect reads back; quotes whatever YAML 1.1 would read otherwise, too."""

    def ignore_aliases(self, data: Any) -> bool:
        return True


_Loader.yaml_implicit_resolvers = {}
for _tag, (_pattern, _first) in _PLAIN.items():
    _Loader.add_implicit_resolver(f"tag:yaml.org,2002:{_tag}", re.compile(rf"^(?:{_pattern})$"), _first)
_Dumper.add_implicit_resolver("tag:yaml.org,2002:float", re.compile(rf"^(?:{_FLOAT.pattern})$"), list("-+.0123456789"))


def _plain(kind: str, read: Callable[[str], Any]) -> Callable[[_Loader, Any], Any]:
    """Reads a scalar of a kind; with its tag in front it may be none."""

    def construct(loader: _Loader, node: Any) -> Any:
        text = loader.construct_scalar(node)
        if re.fullmatch(_PLAIN[kind][0], text) is None:
            raise _fault(f"{text[:40]!r} is no {kind}", node)
        try:
            return read(text)
        except ValueError:  # Python reads no number of thousands of digits
            problem = f"a number of {len(text)} digits is too long"
            raise _fault(problem, node) from None

    return construct


_READ: dict[str, Callable[[str], Any]] = {
    "null": lambda text: None,
    "bool": lambda text: text.lower() == "true",
    "int": int,
    "float": lambda text: float(re.sub(r"\.(?=[in])", "", text.lower())),
}
_OTHERS = (None, f"{TAG}str", f"{TAG}seq", f"{TAG}map")  # the first is for unknown tags, and refuses them
_Loader.yaml_constructors = {tag: yaml.SafeLoader.yaml_constructors[tag] for tag in _OTHERS}
for _kind, _read in _READ.items():
    _Loader.add_constructor(f"{TAG}{_kind}", _plain(_kind, _read))
# PyYAML writes these line breaks bare and reads them as spaces; escaped, they come back.
_Dumper.add_representer(
    str,
    lambda dumper, value: dumper.represent_scalar(
        "tag:yaml.org,2002:str", value, style='"' if re.search("[\x85\u2028\u2029]", value) else None
    ),
)
_Dumper.add_representer(tuple, lambda dumper, value: dumper.represent_list(value))


def parse_yaml(text: str, where: str) -> Any:
    """YAML → plain values.

    Raises:
        ConfigError: it is not YAML, a key is given twice, it is nested too deeply, or aliases make too much of it;
            `where` and the line stand in front.
    """
    loader = None
    try:
        loader = _Loader(text)
        return loader.get_single_data()
    except yaml.MarkedYAMLError as error:
        line = "" if error.problem_mark is None else f", line {error.problem_mark.line + 1}"
        raise ConfigError(f"{where}{line}: {error.problem}") from error
    except yaml.reader.ReaderError as error:
        line = f"line {text.count(chr(10), 0, error.position) + 1}"
        raise ConfigError(f"{where}, {line}: the character U+{error.character:04X} may not stand in YAML") from error
    except (ValueError, OverflowError) as error:  # PyYAML of "\\UFFFFFFFF"
        line = "" if loader is None else f", line {loader.get_mark().line + 1}"
        raise ConfigError(f"{where}{line}: a letter that there is not: {error}") from error


def write_yaml(value: Any) -> str:
    """Plain values → YAML, keys in their order."""
    return yaml.dump(value, Dumper=_Dumper, sort_keys=False, allow_unicode=True, width=120)
