"""The YAML that trunkline reads and writes: YAML 1.2's plain values, every key a text, no key twice.

PyYAML follows YAML 1.1, where `no` is false, `12:30` is 750, `007` is 7 and `1e-3` is text. In a config these are names
of columns and classes, and a learning rate.
"""

from __future__ import annotations

import re
from collections.abc import Hashable
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


class _Loader(yaml.SafeLoader):
    """Reads the dialect."""

    def construct_mapping(self, node: yaml.MappingNode, deep: bool = False) -> dict[Hashable, Any]:
        self.flatten_mapping(node)
        own: dict[Hashable, Any] = {}
        for key, value in node.value:
            if not isinstance(key, yaml.ScalarNode):
                raise yaml.MarkedYAMLError(problem="a key must be plain text", problem_mark=key.start_mark)
            if key.value in own:
                raise yaml.MarkedYAMLError(problem=f"{key.value!r} is given twice", problem_mark=key.start_mark)
            own[key.value] = self.construct_object(value, deep=deep)
        return own


class _Dumper(yaml.SafeDumper):
    """Writes what the dialect reads back; quotes whatever YAML 1.1 would read otherwise, too."""

    def ignore_aliases(self, data: Any) -> bool:
        return True


_Loader.yaml_implicit_resolvers = {}
for _tag, (_pattern, _first) in _PLAIN.items():
    _Loader.add_implicit_resolver(f"tag:yaml.org,2002:{_tag}", re.compile(rf"^(?:{_pattern})$"), _first)
_Dumper.add_implicit_resolver("tag:yaml.org,2002:float", re.compile(rf"^(?:{_FLOAT.pattern})$"), list("-+.0123456789"))
_Loader.add_constructor("tag:yaml.org,2002:int", lambda loader, node: int(node.value))
_Loader.add_constructor(
    "tag:yaml.org,2002:float", lambda loader, node: float(re.sub(r"\.(?=[in])", "", node.value.lower()))
)
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
        ConfigError: it is not YAML, or a key is given twice; `where` and the line stand in front.
    """
    try:
        return yaml.load(text, _Loader)
    except yaml.MarkedYAMLError as error:
        line = "" if error.problem_mark is None else f", line {error.problem_mark.line + 1}"
        raise ConfigError(f"{where}{line}: {error.problem}") from error
    except yaml.YAMLError as error:
        raise ConfigError(f"{where}: {error}") from error


def write_yaml(value: Any) -> str:
    """Plain values → YAML, keys in their order."""
    return yaml.dump(value, Dumper=_Dumper, sort_keys=False, allow_unicode=True, width=120)
