"""The small voice that ships with metavoice: its data, its training, its export. `python -m metavoice_voice --help`."""
