"""Lists of classes in JSON, as people and tools write them.

{"road": [128, 64, 128], "car": "#0000ff"}                  name: colour
{"0": "background", "1": "road"}                            value: name
{"background": 0, "road": 1}                                name: value
["background", "road"]                                      names in the order of their values
[{"name": "road", "color": [128, 64, 128], "id": 0}]        also as {"classes": [...]} or {"labels": [...]}
{"label_map": {"0": "road"}, "segmentation_colors": [[128, 64, 128]]}        Datumaro (dataset_meta.json)
"""

import json
import re
from typing import Any, List, Optional

from edgeseg.datasets.plain.class_lines import Entry
from edgeseg.errors import UsageError
from edgeseg.palette import Color

_FORM = 'write {"NAME": [R, G, B], ...}, colours in 0..255'


def parse_json(text: str, path: str) -> List[Entry]:
    """The classes of a JSON text; `path` is its name in messages. Raises UsageError for a text of another form."""
    try:
        return _entries(json.loads(text))
    except (ValueError, TypeError, KeyError, AttributeError, RecursionError) as error:
        raise UsageError("{} is no JSON list of classes ({})".format(path, error), _FORM)


def _entries(data: Any) -> List[Entry]:
    if isinstance(data, dict):
        wrapped = data.get("classes", data.get("labels"))
        if isinstance(wrapped, (list, dict)):
            return _entries(wrapped)
        if "label_map" in data:
            entries = _entries(data["label_map"])
            colors = data.get("segmentation_colors") or [None] * len(entries)
            return [entry._replace(color=_color(color)) for entry, color in zip(entries, colors)]
        return [_item(str(key), value, position) for position, (key, value) in enumerate(data.items())]
    if not isinstance(data, list):
        raise ValueError("neither a dictionary nor a list")
    return [_element(item, position) for position, item in enumerate(data)]


def _item(key: str, value: Any, position: int) -> Entry:
    if isinstance(value, int):
        return Entry(key, value, None)
    if isinstance(value, str) and key.isdigit():
        return Entry(value, int(key), None)
    return Entry(key, position, _color(value))


def _element(item: Any, position: int) -> Entry:
    if isinstance(item, str):
        return Entry(item, position, None)
    name = next(item[key] for key in ("name", "title", "label") if key in item)
    color = next((item[key] for key in ("color", "colour", "rgb") if key in item), None)
    value = next((item[key] for key in ("value", "id") if isinstance(item.get(key), int)), position)
    return Entry(str(name), value, _color(color))


def _color(value: Any) -> Optional[Color]:
    if value is None:
        return None
    if isinstance(value, str) and re.fullmatch("#?[0-9a-fA-F]{6}", value):
        return int(value[-6:-4], 16), int(value[-4:-2], 16), int(value[-2:], 16)
    if isinstance(value, dict):
        value = [value[channel] for channel in "rgb"]
    if not (isinstance(value, list) and len(value) == 3 and all(isinstance(v, int) for v in value)):
        raise ValueError("{!r} is no colour".format(value))
    return value[0], value[1], value[2]
