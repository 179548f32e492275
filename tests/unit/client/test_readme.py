"""The examples of the client's README: they compile, and use only what is there."""

import ast
import re
from pathlib import Path

import pytest

import tocsin

README = Path(__file__).parents[3] / "clients" / "python" / "README.md"
EXAMPLES = re.findall(r"^```python\n(.*?)^```", README.read_text(encoding="utf-8"), re.DOTALL | re.MULTILINE)
GROUPS = {
    "inbox": tocsin.inbox.Inbox,
    "notifications": tocsin.notifications.Notifications,
    "recipients": tocsin.recipients.Recipients,
    "categories": tocsin.categories.Categories,
    "topics": tocsin.topics.Topics,
    "broadcasts": tocsin.broadcasts.Broadcasts,
    "preferences": tocsin.preferences.PreferenceCenter,
    "system": tocsin.system.System,
    "templates": tocsin.templates.Templates,
    "tenants": tocsin.tenants.Tenants,
}


@pytest.mark.parametrize("example", EXAMPLES)
def test_an_example_uses_only_public_names(example: str) -> None:
    code = compile(example, "README.md", "exec", ast.PyCF_ONLY_AST | ast.PyCF_ALLOW_TOP_LEVEL_AWAIT)
    attributes = [node for node in ast.walk(code) if isinstance(node, ast.Attribute)]
    assert [a.attr for a in attributes if is_name(a.value, "tocsin") and a.attr not in tocsin.__all__] == []
    of_client = [a.attr for a in attributes if is_name(a.value, "client")]
    assert [name for name in of_client if name not in GROUPS and not hasattr(tocsin.Client, name)] == []


def test_the_table_lists_all_methods_of_the_groups() -> None:
    table = dict(
        re.findall(r"^\| `client\.(\w+)` \| (.*) \|$", README.read_text(encoding="utf-8"), re.MULTILINE)
    )
    for name, group in GROUPS.items():
        public = [method for method in vars(group) if not method.startswith("_")]
        assert re.findall(r"`(\w+)`", table[name]) == public


def is_name(node: ast.expr, name: str) -> bool:
    return isinstance(node, ast.Name) and node.id == name
