"""All that a report says, as types: ``Report > Level > Pooled > Figure``.

``report.json`` is these types and nothing else: names of fields are its names, their order its order; its JSON Schema
is made from them, and shipped as report.schema.json (``make docs``). A value that is undefined is None, and ``note``
says why.
"""
