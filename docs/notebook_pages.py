"""Pages of the notebooks, from their stored cells and outputs."""

import json
import re


def page_of(path):
    """A notebook as Markdown: its texts, its code, and what that printed or drew."""
    notebook = json.loads(path.read_text(encoding="utf-8"))
    parts = [
        f"*This page is `notebooks/{path.name}` of the repository, as it was executed.*"
    ]
    for cell in notebook["cells"]:
        source = "".join(cell["source"])
        if cell["cell_type"] == "markdown":
            parts.append(_text(source))
        else:
            parts.append(f"```python\n{source}\n```")
            parts += _outputs(cell["outputs"])
    title, *rest = parts[1:]
    heading, _, lead = title.partition("\n")
    return "\n\n".join([heading, parts[0], lead, *rest])


def _text(source):
    # Within HTML, Markdown is read only where this asks for it.
    source = source.replace("<details>", '<details markdown="1">')
    source = re.sub(r"\]\((\d\d_\w+)\.ipynb\)", r"](\1.md)", source)
    source = re.sub(r"\\tag\{(\d)\}", r"\\qquad (\1)", source)
    # A list needs a blank line before it here, and does not in a notebook.
    return re.sub(r"(?m)^(?![-*] |\s*$|\||\d+\. )(.+)\n(?=[-*] )", r"\1\n\n", source)


def _outputs(outputs):
    """What a cell printed, in one piece, and what it drew or returned."""
    printed = "".join("".join(o["text"]) for o in outputs if o["output_type"] == "stream")
    parts = [_box(printed)] if printed else []
    for output in outputs:
        if output["output_type"] == "error":
            parts.append(_box(f"{output['ename']}: {output['evalue']}"))
        elif "image/png" in output.get("data", {}):
            image = "".join("".join(output["data"]["image/png"]).split())
            parts.append(f"![what the cell above draws](data:image/png;base64,{image})")
        elif output["output_type"] != "stream":
            parts.append(_box("".join(output["data"]["text/plain"])))
    return parts


def _box(text):
    return f"```{{.text .output}}\n{text.rstrip()}\n```"
