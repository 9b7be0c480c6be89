"""`sweep watch`: a sweep on the full screen, read from its journal while it runs and afterwards.

`watched_sweep` follows the journal; `results.ranked_rows` and `results.terminal_columns` are the table's content,
`header` and `panel` the text around it; `table`, `dialogs` and `screen` draw them, and `snapshot` prints them without
a full screen.
"""
