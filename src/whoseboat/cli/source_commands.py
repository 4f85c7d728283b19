"""`whoseboat sources`."""

from __future__ import annotations

import json
from dataclasses import asdict
from typing import Annotated, Any

import typer

# Below it the cells of the table would be a word wide.
_WIDTH_OF_TABLE = 140


def list_sources(
    name: Annotated[str | None, typer.Argument(help="Tell all of this source, its options too.")] = None,
    as_json: Annotated[bool, typer.Option("--json", help="Print as JSON.")] = False,
) -> None:
    """List the preference sets that can be read: what a pair is, licence, size, languages, users, safety labels."""
    from whoseboat import sources

    wanted = [sources.find(name)] if name else sources.known()
    facts = [{item: value for item, value in vars(source).items() if item != "read"} for source in wanted]
    if as_json:
        for fact in facts:
            fact |= {"takes": sorted(fact["takes"]), "options": [asdict(option) for option in fact["options"]]}
        typer.echo(json.dumps(facts, ensure_ascii=False))
    elif name:
        _show_source(facts[0])
    else:
        _show_sources(facts)


def _show_sources(facts: list[dict[str, Any]]) -> None:
    """Show a table on a terminal that has room for one; elsewhere its cells line by line, whatever the width."""
    from rich.console import Console
    from rich.table import Table

    console = Console()
    if not console.is_terminal or console.width < _WIDTH_OF_TABLE:
        for fact in facts:
            _show_source(fact | {"options": ()})
    else:
        table = Table(
            "source", "licence", "revision", "size", "language", "a pair, users, safety labels", show_lines=True
        )
        table.columns[0].no_wrap = True
        for column, width in zip(table.columns[1:5], (22, 14, 24, 12), strict=True):
            column.max_width = width
        for fact in facts:
            revision = fact["revision"][:12] if fact["revision"] else "resolved when read" if fact["repo"] else ""
            about = "\n".join((fact["about"], f"Users: {fact['users'].rstrip('.')}.", f"Safety: {fact['safety']}"))
            licence = f"{fact['license']}\n({fact['license_known_from']})"
            table.add_row(fact["name"], licence, revision, fact["size"], ", ".join(fact["languages"]), about)
        console.print(table)
    typer.echo("whoseboat sources NAME tells all of one, its options too")


def _show_source(fact: dict[str, Any]) -> None:
    repo = f"{fact['repo']}{'@' + fact['revision'][:12] if fact['revision'] else ''}"
    lines = {
        "repo": repo,
        "licence": f"{fact['license']} ({fact['license_known_from']})",
        "size": fact["size"],
        "languages": ", ".join(fact["languages"]),
        "a pair": fact["about"],
        "users": fact["users"],
        "safety": fact["safety"],
        "mixture of": fact["mixture_of"],
        "personas": fact["personas_about"] or ("published with the set" if fact["has_personas"] else ""),
        "test set": "all of it" if fact["only_test"] else "",
    }
    typer.secho(fact["name"], bold=True)
    for name, value in lines.items():
        if value:
            typer.echo(f"  {name + ':':12}{value}")
    for option in fact["options"]:
        choices = f" ({', '.join(option.choices)})" if option.choices else ""
        default = f" [{option.default}]" if option.default else ""
        typer.echo(f"  --option {option.name}=: {option.help}{choices}{default}")
